-- name: pruned_run_marks
-- Name the runs that were removed and whose rows are still being deleted: number, id.
SELECT CAST(substr(name, 11) AS INTEGER), value FROM meta WHERE name >= 'prune.run:' AND name < 'prune.run;';

-- name: mark_run
-- Note that a run was removed; its log, snapshots and items follow.
INSERT INTO meta (name, value) VALUES ('prune.run:' || ?1, ?2);

-- name: unmark_run
-- Nothing of a removed run is left.
DELETE FROM meta WHERE name = 'prune.run:' || ?1;

-- name: prune_candidates
-- List runs, newest first, that match by status, tenant and age: of the last write for whole runs, else of the run.
SELECT no, id, branch, seq FROM runs
WHERE no < :below
AND (:statuses IS NULL OR status IN (SELECT value FROM json_each(:statuses)))
AND (:tenant IS NULL OR tenant = :tenant)
AND CASE WHEN :whole THEN updated_at ELSE created_at END < :before
ORDER BY no DESC
LIMIT 200;

-- name: prune_fence
-- Look again, in the transaction that removes a run.
SELECT status, updated_at, owner FROM runs WHERE no = ?;

-- name: records_after
-- Read what never changes about runs, from a number on.
SELECT no, digest, body FROM records WHERE no > ? ORDER BY no LIMIT 500;

-- name: has_open_question
-- Say whether somebody may still answer.
SELECT 1 FROM questions WHERE run_no = ? AND status IN ('open', 'answered') LIMIT 1;

-- name: is_quarantined
-- Say whether a run was found damaged.
SELECT 1 FROM quarantine WHERE run_no = ?;

-- name: has_command
-- Say whether a request waits for the run; what other runs posted to it is of no use to one that has ended.
SELECT 1 FROM commands WHERE run_no = ? AND body IS NOT NULL
AND NOT (json_extract(CAST(body AS TEXT), '$.verb') = 'child'
    OR coalesce(json_extract(CAST(body AS TEXT), '$.arguments.cascade'), 0))
LIMIT 1;

-- name: count_rows
-- Count the rows of a run that are not stubs, and its snapshots.
SELECT (SELECT count(*) FROM log WHERE id > (?1 << 32) AND id < ((?1 + 1) << 32) AND kind <> 'pruned'),
    (SELECT count(*) FROM manifests WHERE id > (?1 << 32) AND id < ((?1 + 1) << 32));

-- name: marks
-- Walk a run's log for what pruning has to know.
SELECT id, branch, n, kind, at, instr(body, ?3) FROM log WHERE id > ?1 AND id < ?2 ORDER BY id LIMIT 1000;

-- name: last_step
-- Find the last step of a branch.
SELECT max(id) FROM log WHERE id > (?1 << 32) AND id < ((?1 + 1) << 32) AND kind = 'step' AND branch = ?2;

-- name: manifest_at
-- Say whether a snapshot stands at an event.
SELECT 1 FROM manifests WHERE id = ?;

-- name: row_exists
-- Say whether a row ends at an event.
SELECT 1 FROM log WHERE id = ? AND kind <> 'pruned';

-- name: last_of_stretch
-- Read the last rows of a stretch, latest first; a stub among them is taken up by the next.
SELECT id, span, branch, n, at, kind, length(body) FROM log WHERE id >= ?1 AND id <= ?2 ORDER BY id DESC LIMIT ?3;

-- name: drop_rows
-- Delete a stretch of a log.
DELETE FROM log WHERE id >= ?1 AND id <= ?2;

-- name: drop_manifests
-- Delete the snapshots in a stretch of a log.
DELETE FROM manifests WHERE id >= ?1 AND id <= ?2;

-- name: drop_run
-- Remove a run.
DELETE FROM runs WHERE no = ?;

-- name: drop_record
-- Remove what never changed about a run.
DELETE FROM records WHERE no = ?;

-- name: drop_questions
-- Remove a run's questions.
DELETE FROM questions WHERE run_no = ?;

-- name: drop_commands
-- Remove a run's requests and their stubs.
DELETE FROM commands WHERE run_no = ?;

-- name: drop_ledger
-- Remove the effects of a tree of runs.
DELETE FROM effects WHERE tree = ?;

-- name: some_rows_of
-- Name rows of a removed run.
SELECT id, length(body) FROM log WHERE id > (?1 << 32) AND id < ((?1 + 1) << 32) ORDER BY id LIMIT ?2;

-- name: some_manifests_of
-- Name snapshots of a removed run.
SELECT id, length(body) FROM manifests WHERE id > (?1 << 32) AND id < ((?1 + 1) << 32) ORDER BY id LIMIT ?2;

-- name: drop_items_until
-- Delete items of a removed run, some at a time.
DELETE FROM items WHERE run_no = ?1 AND arrival <= (
    SELECT max(arrival) FROM (SELECT arrival FROM items WHERE run_no = ?1 ORDER BY arrival LIMIT ?2)
);

-- name: bodies_of_log
-- Walk the log for references to large values.
SELECT id, body FROM log WHERE id > ?1 ORDER BY id LIMIT 500;

-- name: bodies_of_questions
-- Walk the questions for references to large values.
SELECT no, body FROM questions WHERE no > ?1 ORDER BY no LIMIT 500;

-- name: bodies_of_effects
-- Walk the effect ledger for references to large values.
SELECT no, body FROM effects WHERE no > ?1 ORDER BY no LIMIT 500;

-- name: bodies_of_commands
-- Walk the requests for references to large values.
SELECT no, body FROM commands WHERE no > ?1 AND body IS NOT NULL ORDER BY no LIMIT 500;

-- name: bodies_of_items
-- Walk the items of a run for references to large values, whole arrivals at a time.
SELECT arrival, body FROM items WHERE run_no = ?1 AND arrival > ?2 AND arrival <= (
    SELECT max(arrival) FROM (
        SELECT arrival FROM items WHERE run_no = ?1 AND arrival > ?2 ORDER BY arrival LIMIT 500
    )
) ORDER BY arrival;

-- name: runs_with_items
-- Name the runs that have items.
SELECT DISTINCT run_no FROM items;

-- name: names_of_manifests
-- Walk the snapshots for the large values that they name.
SELECT id, blobs FROM manifests WHERE id > ?1 ORDER BY id LIMIT 500;

-- name: mark_blob
-- Note when a large value was first found to be referred to by nothing.
INSERT OR IGNORE INTO meta (name, value) VALUES ('prune.blob:' || ?1, ?2);

-- name: unmark_blob
-- A large value is referred to again.
DELETE FROM meta WHERE name = 'prune.blob:' || lower(hex(?2));

-- name: marked_blobs
-- Name the large values that nothing referred to, and since when.
SELECT substr(name, 12), CAST(value AS REAL) FROM meta WHERE name >= 'prune.blob:' AND name < 'prune.blob;';

-- name: drop_blob
-- Delete a large value, if it is still marked.
DELETE FROM blobs WHERE digest = ?1 AND EXISTS (SELECT 1 FROM meta WHERE name = 'prune.blob:' || lower(hex(?1)));
