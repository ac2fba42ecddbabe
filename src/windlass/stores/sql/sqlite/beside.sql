-- name: save_question
-- Insert a question or replace it.
INSERT INTO questions (run_no, id, status, digest, body) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (id) DO UPDATE SET status = excluded.status, digest = excluded.digest, body = excluded.body;

-- name: question
-- Read a question by its id.
SELECT digest, body FROM questions WHERE id = ?;

-- name: list_questions
-- List questions of all runs, oldest first.
SELECT digest, body FROM questions
WHERE status IN (SELECT value FROM json_each(:statuses))
ORDER BY no
LIMIT :limit;

-- name: list_questions_of_run
-- List the questions of a run, oldest first.
SELECT digest, body FROM questions
WHERE run_no = :run_no AND status IN (SELECT value FROM json_each(:statuses))
ORDER BY no
LIMIT :limit;

-- name: list_some_questions
-- List those of the given ids, oldest first.
SELECT digest, body FROM questions
WHERE id IN (SELECT value FROM json_each(:ids))
AND (:run_no IS NULL OR run_no = :run_no)
AND status IN (SELECT value FROM json_each(:statuses))
ORDER BY no
LIMIT :limit;

-- name: save_effect
-- Insert a line of the effect ledger or replace it; a replaced line keeps its place.
INSERT INTO effects (tree, address, run, branch, name, key, digest, body) VALUES (?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
ON CONFLICT (tree, address, run, branch, name, key) DO UPDATE SET digest = excluded.digest, body = excluded.body;

-- name: effects_of_address
-- Read the effect ledger of an activation's address in a tree of runs, oldest first.
SELECT digest, body FROM effects WHERE tree = ?1 AND address = ?2 AND (?3 IS NULL OR run = ?3) ORDER BY no;

-- name: effects_of_tree
-- Read the effect ledger of a tree of runs, oldest first.
SELECT digest, body FROM effects WHERE tree = ?1 AND (?2 IS NULL OR run = ?2) ORDER BY no;

-- name: effects_of_run
-- Read the effect ledger of a run, oldest first: of one address or of all.
SELECT digest, body FROM effects WHERE run = ?1 AND (?2 IS NULL OR address = ?2) ORDER BY no;

-- name: command
-- Say whether a command was ever posted.
SELECT 1 FROM commands WHERE id = ?;

-- name: post_command
-- Keep a request for the run's owner.
INSERT INTO commands (run_no, id, digest, body) VALUES (?1, ?2, ?3, ?4);

-- name: post_to_other
-- Keep a request of one run to another, unless nobody would take it, or it was posted before.
INSERT INTO commands (run_no, id, digest, body)
SELECT no, ?2, ?5, ?6 FROM runs
WHERE id = ?3 AND status NOT IN ('completed', 'cancelled') AND (status <> 'failed' OR ?4)
ON CONFLICT (id) DO NOTHING;

-- name: take_command
-- Consume a request of the run; the stub that stays makes posting it again do nothing.
INSERT INTO commands (run_no, id, body) VALUES (?1, ?2, NULL)
ON CONFLICT (id) DO UPDATE SET body = NULL WHERE run_no = excluded.run_no;

-- name: waiting_commands
-- Read the requests that nobody has taken yet, in the order in which they were posted.
SELECT digest, body FROM commands WHERE run_no = ? AND body IS NOT NULL ORDER BY no;

-- name: add_item
-- Keep a stream item; the same one again changes nothing.
INSERT OR REPLACE INTO items (run_no, arrival, lane, address, attempt, ordinal, digest, body)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8);

-- name: item
-- Say whether an item is kept.
SELECT 1 FROM items WHERE run_no = ? AND arrival = ? AND lane = ? AND address = ? AND attempt = ? AND ordinal = ?;

-- name: drop_items
-- Delete the items of an attempt that arrived before a number; of one lane, or of both when it is empty.
DELETE FROM items INDEXED BY items_of_attempt
WHERE run_no = ?1 AND address = ?2 AND attempt = ?3
AND (?4 = '' OR lane = ?4) AND (?5 IS NULL OR arrival < ?5);

-- name: list_items
-- Read stream items in order of arrival.
SELECT digest, body FROM items
WHERE run_no = ?1 AND arrival > ?2 AND (?3 IS NULL OR lane = ?3)
ORDER BY arrival, lane, address, attempt, ordinal
LIMIT ?4;
