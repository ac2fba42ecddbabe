-- name: list_work
-- List runs that may be claimed and have work, tenants in turn: the first of each, in the order of their names behind
-- `turn`, then the second of each. `free_place` and `due_place` step from tenant to tenant by seeks in an index, at most
-- `limit` of them (more where some may have nothing that is not set apart) from `turn` to the end (lap 0) and from the
-- beginning to `turn` (lap 1); of each place the first `each` runs are looked at. `live` names the owners that are alive,
-- `besides` ids to leave out. `next_turns` are turns of threads that may begin.
WITH RECURSIVE
apart (no) AS MATERIALIZED (
    SELECT run_no FROM quarantine
    UNION
    SELECT runs.no FROM json_each(:besides) CROSS JOIN runs ON runs.id = json_each.value
),
asked (definition) AS (SELECT DISTINCT value FROM json_each(:definitions)),
laps (lap) AS (VALUES (0), (1)),
free_place (definition, lap, tenant, steps) AS (
    SELECT asked.definition, lap, iif(
        lap,
        (SELECT tenant FROM runs INDEXED BY runs_free
            WHERE owner IS NULL AND status IN ('created', 'running') AND (place IS NULL OR status = 'running')
            AND runs.definition = asked.definition
            ORDER BY tenant LIMIT 1),
        (SELECT tenant FROM runs INDEXED BY runs_free
            WHERE owner IS NULL AND status IN ('created', 'running') AND (place IS NULL OR status = 'running')
            AND runs.definition = asked.definition
            AND tenant > :turn ORDER BY tenant LIMIT 1)
    ), 1
    FROM asked, laps
    UNION ALL
    SELECT here.definition, lap, (
        SELECT runs.tenant FROM runs INDEXED BY runs_free
        WHERE owner IS NULL AND status IN ('created', 'running') AND (place IS NULL OR status = 'running')
        AND runs.definition = here.definition
        AND runs.tenant > here.tenant ORDER BY runs.tenant LIMIT 1
    ), steps + 1
    FROM free_place AS here
    WHERE tenant IS NOT NULL AND steps < :limit + (SELECT count(*) FROM apart) AND (NOT lap OR :turn IS NULL OR tenant <= :turn)
),
due_place (definition, lap, tenant, steps) AS (
    SELECT asked.definition, lap, iif(
        lap,
        (SELECT tenant FROM runs INDEXED BY runs_due
            WHERE owner IS NULL AND status = 'waiting' AND due_at IS NOT NULL AND runs.definition = asked.definition
            ORDER BY tenant LIMIT 1),
        (SELECT tenant FROM runs INDEXED BY runs_due
            WHERE owner IS NULL AND status = 'waiting' AND due_at IS NOT NULL AND runs.definition = asked.definition
            AND tenant > :turn ORDER BY tenant LIMIT 1)
    ), 0
    FROM asked, laps
    UNION ALL
    SELECT here.definition, lap, (
        SELECT runs.tenant FROM runs INDEXED BY runs_due
        WHERE owner IS NULL AND status = 'waiting' AND due_at IS NOT NULL AND runs.definition = here.definition
        AND runs.tenant > here.tenant ORDER BY runs.tenant LIMIT 1
    ), steps + EXISTS (
        SELECT 1 FROM runs INDEXED BY runs_due
        WHERE owner IS NULL AND status = 'waiting' AND runs.definition = here.definition
        AND runs.tenant = here.tenant AND due_at <= :due_before
    )
    FROM due_place AS here
    WHERE tenant IS NOT NULL AND steps < :limit + (SELECT count(*) FROM apart) AND (NOT lap OR :turn IS NULL OR tenant <= :turn)
),
next_turns (no) AS (
    SELECT runs.no FROM asked CROSS JOIN runs INDEXED BY runs_queued ON runs.definition = asked.definition
    WHERE runs.place IS NOT NULL AND runs.owner IS NULL AND runs.status = 'created' AND NOT EXISTS (
        SELECT 1 FROM runs AS before INDEXED BY runs_live
        WHERE before.thread = runs.thread AND before.tenant = runs.tenant AND before.definition = runs.definition
        AND before.place < runs.place AND before.place IS NOT NULL
        AND before.status IN ('created', 'running', 'waiting', 'paused')
    )
),
wanted (no) AS (
    SELECT runs.no FROM free_place AS place CROSS JOIN runs ON runs.no IN (
        SELECT one.no FROM runs AS one INDEXED BY runs_free
        WHERE one.owner IS NULL AND one.status IN ('created', 'running')
        AND (one.place IS NULL OR one.status = 'running') AND one.definition = place.definition
        AND one.tenant = place.tenant AND one.no NOT IN (SELECT no FROM apart)
        ORDER BY one.updated_at, one.no LIMIT :each
    )
    WHERE NOT place.lap OR :turn IS NULL OR place.tenant <= :turn
    UNION
    SELECT runs.no FROM due_place AS place CROSS JOIN runs ON runs.no IN (
        SELECT one.no FROM runs AS one INDEXED BY runs_due
        WHERE one.owner IS NULL AND one.status = 'waiting' AND one.due_at <= :due_before
        AND one.definition = place.definition AND one.tenant = place.tenant AND one.no NOT IN (SELECT no FROM apart)
        ORDER BY one.due_at, one.no LIMIT :each
    )
    WHERE NOT place.lap OR :turn IS NULL OR place.tenant <= :turn
    UNION
    SELECT no FROM next_turns
    UNION
    SELECT run_no FROM commands INDEXED BY commands_waiting WHERE body IS NOT NULL
    UNION
    SELECT runs.no FROM owners CROSS JOIN runs INDEXED BY runs_owned ON runs.owner = owners.id
    WHERE owners.id NOT IN (SELECT value FROM json_each(:live))
    AND (runs.status = 'running' OR (runs.status = 'created' AND (runs.place IS NULL OR NOT EXISTS (
        SELECT 1 FROM runs AS before INDEXED BY runs_live
        WHERE before.thread = runs.thread AND before.tenant = runs.tenant AND before.definition = runs.definition
        AND before.place < runs.place AND before.place IS NOT NULL
        AND before.status IN ('created', 'running', 'waiting', 'paused'))))
    OR (runs.status = 'waiting' AND runs.due_at <= :due_before))
),
ranked (no, tenant, rank) AS (
    SELECT runs.no, runs.tenant, row_number() OVER (
        PARTITION BY runs.tenant
        ORDER BY iif(runs.status = 'waiting' AND runs.due_at <= :due_before, runs.due_at, runs.updated_at), runs.no
    )
    FROM wanted CROSS JOIN runs ON runs.no = wanted.no
    WHERE runs.definition IN (SELECT definition FROM asked)
    AND runs.status IN ('created', 'running', 'waiting', 'paused')
    AND (runs.owner IS NULL OR runs.owner NOT IN (SELECT value FROM json_each(:live)))
    AND runs.no NOT IN (SELECT no FROM apart)
),
chosen (no, tenant, rank) AS (
    SELECT no, tenant, rank FROM ranked WHERE rank <= :each ORDER BY rank, tenant > :turn DESC, tenant LIMIT :limit
)
SELECT chosen.rank, runs.no, runs.status, runs.branch, runs.n, runs.seq, runs.due_at, runs.crashes, runs.epoch,
    runs.updated_at, records.digest, records.body, owners.id, owners.host, owners.boot, owners.pid, owners.started,
    owners.until, NULL
FROM chosen
CROSS JOIN runs ON runs.no = chosen.no
JOIN records ON records.no = runs.no
LEFT JOIN owners ON owners.id = runs.owner
ORDER BY chosen.rank, chosen.tenant > :turn DESC, chosen.tenant;
