-- name: tally
-- Read a shared number.
SELECT body, version, at, digest FROM tallies WHERE key = ?;

-- name: save_tally
-- Let a shared number stand at something else.
INSERT INTO tallies (key, version, at, digest, body) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (key) DO UPDATE
SET version = excluded.version, at = excluded.at, digest = excluded.digest, body = excluded.body;

-- name: drop_tally
-- Forget a shared number of which nothing is left to know.
DELETE FROM tallies WHERE key = ?;

-- name: drop_held
-- Forget what runs held of a budget that is gone: all keys from a text to what is behind it.
DELETE FROM tallies WHERE key >= ?1 AND key < ?2;

-- name: list_tallies
-- List shared numbers whose keys begin with a text, in the order of their keys; `beyond` is behind all of them.
SELECT body, version, at, digest, key FROM tallies
WHERE key >= :prefix AND key < :beyond
AND (:kind IS NULL OR (key >= :kind || '|' AND key < :kind || '}'))
ORDER BY key
LIMIT :limit;

-- name: list_some_tallies
-- As list_tallies, of the keys given.
SELECT body, version, at, digest, key FROM tallies
WHERE key IN (SELECT value FROM json_each(:keys))
AND key >= :prefix AND key < :beyond
AND (:kind IS NULL OR (key >= :kind || '|' AND key < :kind || '}'))
ORDER BY key
LIMIT :limit;

-- name: all_tallies
-- Walk the shared numbers.
SELECT body, version, at, digest, key FROM tallies;

-- name: save_letter
-- Insert a dead letter or replace it; a replaced one keeps its place.
INSERT INTO dead_letters (id, run, tenant, definition, node, pattern, reason, status, at, digest, body)
VALUES (?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
ON CONFLICT (id) DO UPDATE
SET run = excluded.run, tenant = excluded.tenant, definition = excluded.definition, node = excluded.node,
    pattern = excluded.pattern, reason = excluded.reason, status = excluded.status, at = excluded.at,
    digest = excluded.digest, body = excluded.body;

-- name: letter_digest
-- Say how a dead letter is signed.
SELECT digest FROM dead_letters WHERE id = ?;

-- name: list_letters
-- List dead letters of some statuses, newest first; each other filter that is NULL lets everything pass.
SELECT digest, body FROM dead_letters
WHERE status IN (SELECT value FROM json_each(:statuses))
AND (:after IS NULL OR no < (SELECT earlier.no FROM dead_letters AS earlier WHERE earlier.id = :after))
AND (:definitions IS NULL OR definition IN (SELECT value FROM json_each(:definitions)))
AND (:node IS NULL OR node = :node)
AND (:pattern IS NULL OR pattern = :pattern)
AND (:reason IS NULL OR reason = :reason)
AND (:tenant IS NULL OR tenant = :tenant)
AND (:since IS NULL OR at >= :since)
AND (:until IS NULL OR at < :until)
ORDER BY no DESC
LIMIT :limit;

-- name: list_some_letters
-- As list_letters, of a run or of the ids given.
SELECT digest, body FROM dead_letters
WHERE no IN (
    SELECT wanted.no FROM json_each(:ids) CROSS JOIN dead_letters AS wanted ON wanted.id = json_each.value
    WHERE :run IS NULL OR wanted.run = :run
    UNION ALL
    SELECT no FROM dead_letters WHERE :ids IS NULL AND run = :run
)
AND status IN (SELECT value FROM json_each(:statuses))
AND (:after IS NULL OR no < (SELECT earlier.no FROM dead_letters AS earlier WHERE earlier.id = :after))
AND (:definitions IS NULL OR definition IN (SELECT value FROM json_each(:definitions)))
AND (:node IS NULL OR node = :node)
AND (:pattern IS NULL OR pattern = :pattern)
AND (:reason IS NULL OR reason = :reason)
AND (:tenant IS NULL OR tenant = :tenant)
AND (:since IS NULL OR at >= :since)
AND (:until IS NULL OR at < :until)
ORDER BY no DESC
LIMIT :limit;

-- name: all_dead_letters
-- Walk the dead letters.
SELECT no, digest, body, id, run, tenant, definition, node, pattern, reason, status, at FROM dead_letters NOT INDEXED;

-- name: bodies_of_dead_letters
-- Walk the dead letters for references to large values.
SELECT no, body FROM dead_letters WHERE no > ?1 ORDER BY no LIMIT 500;

-- name: drop_letter
-- Take a dead letter away.
DELETE FROM dead_letters WHERE id = ?;

-- name: drop_letters
-- Remove a run's dead letters, but not those that wait for a person.
DELETE FROM dead_letters WHERE run = ? AND status <> 'open';
