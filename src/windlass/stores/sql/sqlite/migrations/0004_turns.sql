-- Work is handed out by tenants in turn, and to each tenant in the order in which it became ready. These list both
-- without a walk over all that waits: whose definition and tenant there are, and then the first of each. They stay
-- partial, as they were: the commits of an owned run touch neither, and runs that wait for people are in none.
DROP INDEX runs_free;
DROP INDEX runs_due;
CREATE INDEX runs_free ON runs (definition, tenant, updated_at)
WHERE owner IS NULL AND status IN ('created', 'running');
CREATE INDEX runs_due ON runs (definition, tenant, due_at)
WHERE owner IS NULL AND status = 'waiting' AND due_at IS NOT NULL;
