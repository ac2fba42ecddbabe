-- name: all_rows
-- Walk the whole log, run by run and in order.
SELECT log.id, log.span, log.digest, log.body, runs.id, runs.seq
FROM log LEFT JOIN runs ON runs.no = log.id >> 32
ORDER BY log.id;

-- name: all_manifests
-- Walk all snapshots.
SELECT manifests.id, manifests.digest, manifests.blobs, manifests.body, runs.id
FROM manifests LEFT JOIN runs ON runs.no = manifests.id >> 32
ORDER BY manifests.id;

-- name: all_blobs
-- Walk all large values.
SELECT digest, size, packed, content FROM blobs;

-- name: runs_without_rows
-- Find runs whose whole log is gone.
SELECT id FROM runs WHERE NOT EXISTS (SELECT 1 FROM log WHERE log.id > (runs.no << 32) AND log.id < ((runs.no + 1) << 32));

-- name: count_runs
-- Count runs.
SELECT count(*) FROM runs;

-- name: manifest_keys
-- Name the events at which a log may begin.
SELECT id FROM manifests;

-- name: blob_digests
-- Name the large values that are there.
SELECT digest FROM blobs;

-- name: all_records
-- Walk what never changes about runs.
SELECT digest, body FROM records;

-- name: all_questions
-- Walk all questions.
SELECT digest, body FROM questions;

-- name: all_effects
-- Walk the effect ledger.
SELECT digest, body FROM effects;

-- name: all_commands
-- Walk the requests that nobody has taken yet.
SELECT digest, body FROM commands WHERE body IS NOT NULL;

-- name: all_items
-- Walk all stream items.
SELECT digest, body FROM items;
