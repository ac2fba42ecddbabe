-- name: progress
-- Say where a run stands: its last event, and how many writes raised no event.
SELECT seq, tick FROM runs WHERE no = ?;

-- name: touch_run
-- Count a write that raises no event.
UPDATE runs SET tick = tick + 1 WHERE no = ? RETURNING tick;

-- name: quarantine
-- Set a damaged run apart; what was found first stays.
INSERT OR IGNORE INTO quarantine (run_no, at, reason) VALUES (?, ?, ?);

-- name: release_quarantined
-- Let a run go on again.
DELETE FROM quarantine WHERE run_no = ?;

-- name: quarantined
-- List the runs that are set apart.
SELECT quarantine.run_no, runs.id, quarantine.reason, quarantine.at
FROM quarantine LEFT JOIN runs ON runs.no = quarantine.run_no
ORDER BY quarantine.run_no;

-- name: quarantine_unfinished
-- Set every run apart that would go on by itself.
INSERT OR IGNORE INTO quarantine (run_no, at, reason)
SELECT no, ?, ? FROM runs WHERE status IN ('created', 'running', 'waiting');

-- name: owned_tails
-- The last row of each run that somebody holds.
SELECT runs.id, runs.no, runs.seq, log.span, log.digest, log.body
FROM runs INDEXED BY runs_owned
LEFT JOIN log ON log.id = (runs.no << 32 | runs.seq)
WHERE runs.owner IS NOT NULL
LIMIT ?;

-- name: note
-- Keep a fact about the store.
INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: noted
-- Read a fact about the store.
SELECT value FROM meta WHERE name = ?;

-- name: keep_lost
-- Keep rows that are cut off a log.
INSERT INTO lost_and_found (found_at, id, span, branch, n, kind, at, digest, body)
SELECT ?1, id, span, branch, n, kind, at, digest, body FROM log WHERE id > ?2 AND id <= ?3;

-- name: cut_log
-- Cut the end off a log.
DELETE FROM log WHERE id > ?1 AND id <= ?2;

-- name: cut_manifests
-- Drop the snapshots of what was cut off.
DELETE FROM manifests WHERE id > ?1 AND id <= ?2;

-- name: set_head
-- Let a run stand where its log ends.
UPDATE runs SET branch = ?2, n = ?3, seq = ?4, owner = NULL, epoch = epoch + 1, tick = tick + 1 WHERE no = ?1;

-- name: last_run_number
-- Say which number was given last.
SELECT seq FROM sqlite_sequence WHERE name = 'runs';

-- name: names_of_run
-- Read what names a run without its record.
SELECT id, definition, tenant FROM runs WHERE no = ?;

-- name: keep_row
-- Keep a row of a table beside the log that a repair replaces or takes away.
INSERT INTO lost_and_found (found_at, id, span, branch, n, kind, at, digest, body)
VALUES (?1, ?2 << 32, 0, 0, 0, ?3, ?1, ?4, ?5);

-- name: keep_manifest
-- Keep a snapshot that a repair takes away.
INSERT INTO lost_and_found (found_at, id, span, branch, n, kind, at, digest, body)
SELECT ?1, id, 0, branch, n, 'snapshot', ?1, digest, body FROM manifests WHERE id = ?2;

-- name: put_question
-- Write a question as a log tells it, in its place if it has one.
INSERT INTO questions (no, run_no, id, status, digest, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6);

-- name: take_question
-- Take a question away by its place.
DELETE FROM questions WHERE no = ?;

-- name: take_effect
-- Take a line of the effect ledger away by its place.
DELETE FROM effects WHERE no = ?;

-- name: stand
-- Let a run stand where its log says.
UPDATE runs SET status = ?2, branch = ?3, n = ?4, seq = ?5, due_at = ?6, crashes = ?7, tenant = ?8, definition = ?9,
    tags = ?10, thread = ?11, place = ?12, created_at = ?13, owner = NULL, epoch = epoch + 1, tick = tick + 1
WHERE no = ?1;

-- name: make_run
-- Make the line of a run anew; nobody can hold it, so its epoch only has to be one.
INSERT INTO runs (no, id, tenant, definition, tags, thread, place, status, epoch, owner, branch, n, seq, due_at, crashes,
    created_at, updated_at)
VALUES (?1, ?8, ?9, ?10, ?11, ?12, ?13, ?2, 1, NULL, ?3, ?4, ?5, ?6, ?7, ?14, ?15);

-- name: branch_off
-- Let a run go on from where it stands on another branch.
UPDATE runs SET branch = ?2 WHERE no = ?1;

-- name: logs_without_runs
-- Find logs whose run is gone, but not those that a prune is still deleting.
SELECT DISTINCT id >> 32 FROM log
WHERE NOT EXISTS (SELECT 1 FROM runs WHERE runs.no = log.id >> 32)
AND NOT EXISTS (SELECT 1 FROM meta WHERE name = 'prune.run:' || (log.id >> 32));

-- name: drop_items_of
-- Delete the items of a run that is gone.
DELETE FROM items WHERE run_no = ?;

-- name: forget
-- Take a fact about the store away.
DELETE FROM meta WHERE name = ?;
