-- Turns of threads. `place` numbers them (turn << 20 | part); both columns are NULL of a run that is no turn. A place is
-- given once. A turn that has not begun stands in `runs_queued` and not in `runs_free`: it has work only once no turn
-- before it is live, and `runs_live` tells that. All are partial, so a run that is no turn is in none of them.
ALTER TABLE runs ADD COLUMN thread TEXT;
ALTER TABLE runs ADD COLUMN place INTEGER;
DROP INDEX runs_free;
CREATE INDEX runs_free ON runs (definition, tenant, updated_at)
WHERE owner IS NULL AND status IN ('created', 'running') AND (place IS NULL OR status = 'running');
CREATE UNIQUE INDEX runs_turns ON runs (thread, tenant, definition, place) WHERE place IS NOT NULL;
CREATE INDEX runs_live ON runs (thread, tenant, definition, place)
WHERE place IS NOT NULL AND status IN ('created', 'running', 'waiting', 'paused');
CREATE INDEX runs_queued ON runs (definition, tenant, thread, place)
WHERE place IS NOT NULL AND owner IS NULL AND status = 'created';
CREATE INDEX runs_threads ON runs (no) WHERE place IS NOT NULL;
