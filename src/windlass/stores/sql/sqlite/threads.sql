-- name: place_taken
-- Say whether a place of a thread was given.
SELECT 1 FROM runs INDEXED BY runs_turns
WHERE thread = ?1 AND tenant = ?2 AND definition = ?3 AND place = ?4 AND place IS NOT NULL;

-- name: turn_waits
-- Say whether a turn has to wait: one before it is live, or one since `after` was asked to go on; or to be begun
-- otherwise: one since `after` has begun, or `after` has gone on.
SELECT 1 FROM runs AS mine
WHERE mine.no = ?1 AND (
    EXISTS (
        SELECT 1 FROM runs AS before INDEXED BY runs_live
        WHERE before.thread = mine.thread AND before.tenant = mine.tenant AND before.definition = mine.definition
        AND before.place < mine.place AND before.place IS NOT NULL
        AND before.status IN ('created', 'running', 'waiting', 'paused')
    )
    OR EXISTS (
        SELECT 1 FROM runs AS before
        JOIN commands INDEXED BY commands_waiting ON commands.run_no = before.no AND commands.body IS NOT NULL
        WHERE before.id = ?2 AND json_extract(CAST(commands.body AS TEXT), '$.verb') IN ('resume', 'rollback')
    )
    OR EXISTS (
        SELECT 1 FROM runs AS before INDEXED BY runs_turns
        JOIN commands INDEXED BY commands_waiting ON commands.run_no = before.no AND commands.body IS NOT NULL
        WHERE before.thread = mine.thread AND before.tenant = mine.tenant AND before.definition = mine.definition
        AND before.place < mine.place AND before.place IS NOT NULL
        AND before.place > coalesce((SELECT place FROM runs WHERE id = ?2), 0)
        AND json_extract(CAST(commands.body AS TEXT), '$.verb') IN ('resume', 'rollback')
    )
    OR EXISTS (
        SELECT 1 FROM runs AS before INDEXED BY runs_turns
        WHERE before.thread = mine.thread AND before.tenant = mine.tenant AND before.definition = mine.definition
        AND before.place < mine.place AND before.place IS NOT NULL
        AND before.place > coalesce((SELECT place FROM runs WHERE id = ?2), 0)
        AND (before.n > 0 OR before.branch > 0)
    )
    OR EXISTS (SELECT 1 FROM runs AS base WHERE base.id = ?2 AND ?3 > 0 AND base.seq <> ?3)
);

-- name: turn_is_behind
-- Say whether a turn before this one is live.
SELECT 1 FROM runs AS mine JOIN runs AS before INDEXED BY runs_live ON before.thread = mine.thread
    AND before.tenant = mine.tenant AND before.definition = mine.definition
    AND before.place < mine.place AND before.place IS NOT NULL
    AND before.status IN ('created', 'running', 'waiting', 'paused')
WHERE mine.no = ?1
LIMIT 1;

-- name: turn_over
-- Name a run that has begun with what a turn left, or that continues it.
SELECT later.id FROM runs AS mine
JOIN runs AS later INDEXED BY runs_turns ON later.thread = mine.thread AND later.tenant = mine.tenant
    AND later.definition = mine.definition AND later.place > mine.place AND later.place IS NOT NULL
WHERE mine.no = ?1 AND (later.n > 0 OR later.branch > 0 OR later.place >> 20 = mine.place >> 20)
UNION ALL
SELECT later.id FROM runs AS mine
JOIN runs AS later INDEXED BY runs_turns ON later.thread = mine.id AND later.tenant = mine.tenant
    AND later.definition = mine.definition AND later.place = (1 << 20 | 1) AND later.place IS NOT NULL
JOIN records ON records.no = later.no AND json_extract(CAST(records.body AS TEXT), '$.continues') = mine.id
WHERE mine.no = ?1 AND mine.place IS NULL
LIMIT 1;

-- name: turn_stays
-- Say whether a turn has to stay while others are pruned: it is the last that has begun, so its state is the thread's.
SELECT 1 FROM runs AS mine
WHERE mine.no = ?1 AND mine.place IS NOT NULL AND (mine.n > 0 OR mine.branch > 0)
AND NOT EXISTS (
    SELECT 1 FROM runs AS later INDEXED BY runs_turns
    WHERE later.thread = mine.thread AND later.tenant = mine.tenant AND later.definition = mine.definition
    AND later.place > mine.place AND (later.n > 0 OR later.branch > 0) AND later.place IS NOT NULL
)
AND EXISTS (
    SELECT 1 FROM runs AS other INDEXED BY runs_turns
    WHERE other.thread = mine.thread AND other.tenant = mine.tenant AND other.definition = mine.definition
    AND other.place <> mine.place AND other.place IS NOT NULL
);

-- name: is_waiting_turn
-- Say whether a run is a turn that has not begun.
SELECT 1 FROM runs WHERE no = ? AND place IS NOT NULL AND n = 0;

-- name: turn_ids
-- Name the turns of all threads of a name.
SELECT id FROM runs INDEXED BY runs_turns WHERE thread = ? AND place IS NOT NULL;

-- name: list_turns
-- List turns of one thread, the last first.
SELECT runs.no, runs.status, runs.branch, runs.n, runs.seq, runs.due_at, runs.crashes, runs.epoch, runs.updated_at,
    records.digest, records.body, owners.id, owners.host, owners.boot, owners.pid, owners.started, owners.until,
    quarantine.reason
FROM runs INDEXED BY runs_turns
JOIN records ON records.no = runs.no
LEFT JOIN owners ON owners.id = runs.owner
LEFT JOIN quarantine ON quarantine.run_no = runs.no
WHERE runs.thread = :thread AND runs.tenant = :tenant AND runs.definition = :definition
AND runs.place < :below AND runs.place > :above AND runs.place IS NOT NULL
ORDER BY runs.place DESC
LIMIT :limit;

-- name: list_live_turns
-- As list_turns, of those that have not ended, the first of them first.
SELECT runs.no, runs.status, runs.branch, runs.n, runs.seq, runs.due_at, runs.crashes, runs.epoch, runs.updated_at,
    records.digest, records.body, owners.id, owners.host, owners.boot, owners.pid, owners.started, owners.until,
    quarantine.reason
FROM runs INDEXED BY runs_live
JOIN records ON records.no = runs.no
LEFT JOIN owners ON owners.id = runs.owner
LEFT JOIN quarantine ON quarantine.run_no = runs.no
WHERE runs.thread = :thread AND runs.tenant = :tenant AND runs.definition = :definition
AND runs.place < :below AND runs.place > :above AND runs.place IS NOT NULL
AND runs.status IN ('created', 'running', 'waiting', 'paused')
ORDER BY runs.place
LIMIT :limit;

-- name: list_threads
-- List the last turn of each thread, newest first; each filter that is NULL lets everything pass.
SELECT runs.no, runs.status, runs.branch, runs.n, runs.seq, runs.due_at, runs.crashes, runs.epoch, runs.updated_at,
    records.digest, records.body, owners.id, owners.host, owners.boot, owners.pid, owners.started, owners.until,
    quarantine.reason
FROM runs INDEXED BY runs_threads
JOIN records ON records.no = runs.no
LEFT JOIN owners ON owners.id = runs.owner
LEFT JOIN quarantine ON quarantine.run_no = runs.no
WHERE runs.place IS NOT NULL
AND NOT EXISTS (
    SELECT 1 FROM runs AS later INDEXED BY runs_turns
    WHERE later.thread = runs.thread AND later.tenant = runs.tenant AND later.definition = runs.definition
    AND later.place > runs.place AND later.place IS NOT NULL
)
AND (:after IS NULL OR runs.no < (SELECT earlier.no FROM runs AS earlier WHERE earlier.id = :after))
AND (:tenant IS NULL OR runs.tenant = :tenant)
AND (:definitions IS NULL OR runs.definition IN (SELECT value FROM json_each(:definitions)))
ORDER BY runs.no DESC
LIMIT :limit;
