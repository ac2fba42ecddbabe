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
SELECT no, id FROM runs NOT INDEXED
WHERE NOT EXISTS (SELECT 1 FROM log WHERE log.id > (runs.no << 32) AND log.id < ((runs.no + 1) << 32));

-- name: count_runs
-- Count runs.
SELECT count(*) FROM runs NOT INDEXED;

-- name: manifest_keys
-- Name the events at which a log may begin.
SELECT id FROM manifests NOT INDEXED;

-- name: blob_digests
-- Name the large values that are there.
SELECT digest FROM blobs NOT INDEXED;

-- name: all_records
-- Walk what never changes about runs, beside what stands in their lines.
SELECT records.no, records.digest, records.body, runs.id, runs.tenant, runs.definition
FROM records LEFT JOIN runs ON runs.no = records.no;

-- name: all_questions
-- Walk all questions.
SELECT questions.run_no, questions.digest, questions.body, questions.id, questions.status, runs.id
FROM questions LEFT JOIN runs ON runs.no = questions.run_no;

-- name: all_effects
-- Walk the effect ledger.
SELECT run, digest, body, tree, address, run, branch, name, key FROM effects NOT INDEXED;

-- name: numbers_of_runs
-- Translate the ids of all runs, without the index that does so otherwise.
SELECT id, no FROM runs NOT INDEXED;

-- name: all_commands
-- Walk the requests that nobody has taken yet.
SELECT commands.run_no, commands.digest, commands.body, commands.id, runs.id
FROM commands NOT INDEXED LEFT JOIN runs ON runs.no = commands.run_no
WHERE commands.body IS NOT NULL;

-- name: all_items
-- Walk all stream items, but not of a run that a prune has removed and whose items it is still deleting.
SELECT items.run_no, items.digest, items.body,
    items.arrival, items.lane, items.address, items.attempt, items.ordinal, runs.id
FROM items LEFT JOIN runs ON runs.no = items.run_no
WHERE NOT EXISTS (SELECT 1 FROM meta WHERE name = 'prune.run:' || items.run_no);
