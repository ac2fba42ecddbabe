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

-- name: runs_after
-- Walk the runs with what never changes about them, a page at a time.
SELECT runs.no, runs.id, runs.status, runs.branch, runs.n, runs.seq, runs.due_at, runs.crashes, runs.tenant,
    runs.definition, runs.tags, runs.thread, runs.place, runs.created_at, records.digest, records.body
FROM runs NOT INDEXED LEFT JOIN records ON records.no = runs.no
WHERE runs.no > ?1
ORDER BY runs.no
LIMIT ?2;

-- name: questions_beside
-- Read the questions of a run with their places.
SELECT no, digest, body, id, status FROM questions WHERE run_no = ? ORDER BY no;

-- name: effects_beside
-- Read a run's lines of the effect ledger with their places.
SELECT no, digest, body, tree, address, run, branch, name, key FROM effects WHERE run = ? ORDER BY no;

-- name: branch_of_manifest
-- Say on which branch the snapshot at an event stands.
SELECT branch FROM manifests WHERE id = ?;

-- name: branch_begins
-- Say whether a branch has a snapshot to begin with.
SELECT 1 FROM manifests WHERE id > (?1 << 32) AND id < ((?1 + 1) << 32) AND branch = ?2 LIMIT 1;

-- name: was_cut
-- Say whether a repair has kept anything of a run's log or ledger apart.
SELECT 1 FROM lost_and_found WHERE id >= (?1 << 32) AND id < ((?1 + 1) << 32) AND kind NOT IN ('question', 'snapshot')
LIMIT 1;

-- name: records_without_runs
-- Find what never changes about runs whose line is gone.
SELECT no, digest, body FROM records WHERE NOT EXISTS (SELECT 1 FROM runs WHERE runs.no = records.no) ORDER BY no;

-- name: manifests_of_run
-- Read all snapshots of a run.
SELECT id, branch, n, digest, blobs, body FROM manifests WHERE id > (?1 << 32) AND id < ((?1 + 1) << 32) ORDER BY id;

-- name: children_without_parents
-- Find child runs whose parent is gone, though it waits for them.
SELECT runs.id, runs.no, json_extract(CAST(records.body AS TEXT), '$.origin.run') AS above
FROM records JOIN runs ON runs.no = records.no
WHERE instr(records.body, CAST('"origin":{' AS BLOB)) AND json_valid(CAST(records.body AS TEXT))
AND above IS NOT NULL
AND NOT coalesce(json_extract(CAST(records.body AS TEXT), '$.origin.detached'), 0)
AND NOT EXISTS (SELECT 1 FROM runs AS parents WHERE parents.id = above)
ORDER BY runs.no;
