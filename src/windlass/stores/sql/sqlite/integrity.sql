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
