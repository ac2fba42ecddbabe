-- name: add_run
-- Make a run; its number is the key of its log.
INSERT INTO runs (id, tenant, definition, tags, thread, place, status, epoch, owner, branch, n, seq, due_at, crashes,
    created_at, updated_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: add_record
-- Keep what never changes about a run.
INSERT INTO records (no, digest, body) VALUES (?, ?, ?);

-- name: move_head
-- Fence and advance: nothing matches when another owner claimed the run or another write came first.
UPDATE runs
SET status = ?, branch = ?, n = ?, seq = ?, due_at = ?, crashes = ?, updated_at = ?
WHERE no = ? AND epoch = ? AND seq = ?;

-- name: move_head_and_release
-- As move_head, and give the run up in the same statement.
UPDATE runs
SET status = ?, branch = ?, n = ?, seq = ?, due_at = ?, crashes = ?, updated_at = ?, owner = NULL
WHERE no = ? AND epoch = ? AND seq = ?;

-- name: add_row
-- Append to a run's log.
INSERT INTO log (id, span, branch, n, kind, at, digest, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: run_number
-- Translate a run's id.
SELECT no FROM runs WHERE id = ?;

-- name: run_fence
-- Say which epoch and last event a run has.
SELECT no, epoch, seq FROM runs WHERE id = ?;

-- name: row_digest
-- Say how the row that ends at an event is signed.
SELECT digest FROM log WHERE id = ?;

-- name: take_run
-- Claim: every later write of the owner before is refused.
UPDATE runs SET epoch = epoch + 1, owner = ? WHERE no = ?;

-- name: release_run
-- Give a run up, unless another owner has it by now.
UPDATE runs SET owner = NULL WHERE id = ? AND epoch = ?;

-- name: claim_of_run
-- Say who owns a run, and by which epoch.
SELECT owner, epoch FROM runs WHERE id = ?;

-- name: lease
-- Say until when an owner's lease lasts.
SELECT until FROM owners WHERE id = ?;

-- name: keep_lease
-- Enter an owner's lease, or lengthen it.
INSERT INTO owners (id, host, boot, pid, started, until) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET until = excluded.until;

-- name: release_all
-- Give up every run of an owner.
UPDATE runs SET owner = NULL WHERE owner = ?;

-- name: drop_leases
-- Forget an owner, and those whose lease ran out long ago and who hold nothing.
DELETE FROM owners
WHERE id = ?1 OR (until < ?2 AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.owner = owners.id));

-- name: leases
-- List the owners whose lease has not run out.
SELECT id, host, boot, pid, started FROM owners WHERE until > ?;

-- name: one_run
-- Read a run by its id.
SELECT runs.no, runs.status, runs.branch, runs.n, runs.seq, runs.due_at, runs.crashes, runs.epoch, runs.updated_at,
    records.digest, records.body, owners.id, owners.host, owners.boot, owners.pid, owners.started, owners.until,
    quarantine.reason
FROM runs
JOIN records ON records.no = runs.no
LEFT JOIN owners ON owners.id = runs.owner
LEFT JOIN quarantine ON quarantine.run_no = runs.no
WHERE runs.id = ?;

-- name: list_runs
-- List runs, newest first; each filter that is NULL lets everything pass. `low` and `high` are run numbers.
SELECT runs.no, runs.status, runs.branch, runs.n, runs.seq, runs.due_at, runs.crashes, runs.epoch, runs.updated_at,
    records.digest, records.body, owners.id, owners.host, owners.boot, owners.pid, owners.started, owners.until,
    quarantine.reason
FROM runs
JOIN records ON records.no = runs.no
LEFT JOIN owners ON owners.id = runs.owner
LEFT JOIN quarantine ON quarantine.run_no = runs.no
WHERE runs.no BETWEEN :low AND :high
AND (:after IS NULL OR runs.no < (SELECT earlier.no FROM runs AS earlier WHERE earlier.id = :after))
AND (:tenant IS NULL OR runs.tenant = :tenant)
AND (:definitions IS NULL OR runs.definition IN (SELECT value FROM json_each(:definitions)))
AND (:statuses IS NULL OR runs.status IN (SELECT value FROM json_each(:statuses)))
AND NOT EXISTS (
    SELECT 1 FROM json_each(:tags) AS wanted
    WHERE NOT EXISTS (
        SELECT 1 FROM json_each(runs.tags) AS had WHERE had.key = wanted.key AND had.value = wanted.value
    )
)
ORDER BY runs.no DESC
LIMIT :limit;

-- name: list_some_runs
-- As list_runs, but only of the ids given, or only runs that may be claimed and have work: never started or
-- interrupted (unless NOT `started`: such statuses are not asked for), due, or with a command waiting. `live` names the
-- owners that are alive. The indexes are named because the planner, which knows no statistics, would walk all runs.
WITH wanted (no) AS (
    SELECT runs.no FROM json_each(:ids) CROSS JOIN runs ON runs.id = json_each.value WHERE :ids IS NOT NULL
    UNION ALL
    SELECT no FROM runs INDEXED BY runs_free
    WHERE :ids IS NULL AND :started AND owner IS NULL AND status IN ('created', 'running')
    AND (place IS NULL OR status = 'running')
    UNION ALL
    SELECT no FROM runs INDEXED BY runs_queued
    WHERE :ids IS NULL AND :started AND place IS NOT NULL AND owner IS NULL AND status = 'created'
    UNION ALL
    SELECT no FROM runs INDEXED BY runs_due
    WHERE :ids IS NULL AND :due_before IS NOT NULL AND owner IS NULL AND status = 'waiting' AND due_at <= :due_before
    UNION ALL
    SELECT run_no FROM commands INDEXED BY commands_waiting WHERE :ids IS NULL AND body IS NOT NULL
    UNION ALL
    SELECT runs.no FROM owners CROSS JOIN runs INDEXED BY runs_owned ON runs.owner = owners.id
    WHERE :ids IS NULL AND owners.id NOT IN (SELECT value FROM json_each(:live))
)
SELECT runs.no, runs.status, runs.branch, runs.n, runs.seq, runs.due_at, runs.crashes, runs.epoch, runs.updated_at,
    records.digest, records.body, owners.id, owners.host, owners.boot, owners.pid, owners.started, owners.until,
    quarantine.reason
FROM runs
JOIN records ON records.no = runs.no
LEFT JOIN owners ON owners.id = runs.owner
LEFT JOIN quarantine ON quarantine.run_no = runs.no
WHERE runs.no IN (SELECT no FROM wanted)
AND (
    NOT :claimable
    OR ((runs.status = 'running' OR (runs.status = 'waiting' AND runs.due_at <= :due_before)
        OR (runs.status = 'created' AND (runs.place IS NULL OR NOT EXISTS (
            SELECT 1 FROM runs AS before INDEXED BY runs_live
            WHERE before.thread = runs.thread AND before.tenant = runs.tenant AND before.definition = runs.definition
            AND before.place < runs.place AND before.place IS NOT NULL
            AND before.status IN ('created', 'running', 'waiting', 'paused'))))
        OR (runs.status IN ('created', 'waiting', 'paused') AND EXISTS (
            SELECT 1 FROM commands INDEXED BY commands_waiting WHERE run_no = runs.no AND body IS NOT NULL)))
        AND (runs.owner IS NULL OR runs.owner NOT IN (SELECT value FROM json_each(:live)))
        AND quarantine.reason IS NULL)
)
AND (:after IS NULL OR runs.no < (SELECT earlier.no FROM runs AS earlier WHERE earlier.id = :after))
AND (:tenant IS NULL OR runs.tenant = :tenant)
AND (:definitions IS NULL OR runs.definition IN (SELECT value FROM json_each(:definitions)))
AND (:statuses IS NULL OR runs.status IN (SELECT value FROM json_each(:statuses)))
AND NOT EXISTS (
    SELECT 1 FROM json_each(:tags) AS wanted_tag
    WHERE NOT EXISTS (
        SELECT 1 FROM json_each(runs.tags) AS had WHERE had.key = wanted_tag.key AND had.value = wanted_tag.value
    )
)
ORDER BY runs.no DESC
LIMIT :limit;

-- name: root_of_run
-- Name the first run of the tree that a run is in.
SELECT coalesce(json_extract(CAST(records.body AS TEXT), '$.origin.line[0]'), runs.id)
FROM runs JOIN records ON records.no = runs.no
WHERE runs.id = ?;

-- name: list_children
-- As list_runs, of the runs of one tree: their ids begin with that of its first run. `above` is their parent, or with
-- `deep` any run above them.
SELECT runs.no, runs.status, runs.branch, runs.n, runs.seq, runs.due_at, runs.crashes, runs.epoch, runs.updated_at,
    records.digest, records.body, owners.id, owners.host, owners.boot, owners.pid, owners.started, owners.until,
    quarantine.reason
FROM runs
JOIN records ON records.no = runs.no
LEFT JOIN owners ON owners.id = runs.owner
LEFT JOIN quarantine ON quarantine.run_no = runs.no
WHERE runs.id > :first AND runs.id < :beyond
AND (:ids IS NULL OR runs.id IN (SELECT value FROM json_each(:ids)))
AND (json_extract(CAST(records.body AS TEXT), '$.origin.run') = :above OR (:deep AND EXISTS (
    SELECT 1 FROM json_each(CAST(records.body AS TEXT), '$.origin.line') AS one WHERE one.value = :above
)))
AND (:after IS NULL OR runs.no < (SELECT earlier.no FROM runs AS earlier WHERE earlier.id = :after))
AND (:tenant IS NULL OR runs.tenant = :tenant)
AND (:definitions IS NULL OR runs.definition IN (SELECT value FROM json_each(:definitions)))
AND (:statuses IS NULL OR runs.status IN (SELECT value FROM json_each(:statuses)))
AND NOT EXISTS (
    SELECT 1 FROM json_each(:tags) AS wanted
    WHERE NOT EXISTS (
        SELECT 1 FROM json_each(runs.tags) AS had WHERE had.key = wanted.key AND had.value = wanted.value
    )
)
ORDER BY runs.no DESC
LIMIT :limit;
