-- Numbers that many processes share: budgets, breakers, limits. `version` counts the changes of a row; `digest` is over
-- key, version, time and body. Rows are small, so they stand in the key's own b-tree: one page to read, one to write.
CREATE TABLE tallies (
    key TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    at REAL NOT NULL,
    digest BLOB NOT NULL,
    body BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- What ran out of attempts, budget or time. A letter that waits for a person outlives its run, so it is not tied to a
-- line of `runs`.
CREATE TABLE dead_letters (
    no INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    run TEXT NOT NULL,
    tenant TEXT NOT NULL,
    definition TEXT NOT NULL,
    node TEXT NOT NULL,
    pattern TEXT NOT NULL,
    reason TEXT NOT NULL,
    status TEXT NOT NULL,
    at REAL NOT NULL,
    digest BLOB NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX dead_letters_of_run ON dead_letters (run);
CREATE INDEX dead_letters_by_status ON dead_letters (status);
