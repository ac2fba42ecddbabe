-- The first schema. A row of `log` is the truth about a run; everything else is there to find it or beside it.
-- `body` is JSON that a person can read, `digest` the 32 bytes of its SHA-256 (for `log` and `manifests`: with its place),
-- times are seconds since the Unix epoch.

CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- One row for each process that holds runs: who it is, and until when others must leave its runs alone.
CREATE TABLE owners (
    id TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    boot TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started TEXT NOT NULL,
    until REAL NOT NULL
) STRICT, WITHOUT ROWID;

-- What each fenced write replaces. It is kept narrow, apart from `records`, so that the commits of a thousand runs
-- dirty forty pages and not a thousand. AUTOINCREMENT: a number is never given twice, for the log is keyed by it.
CREATE TABLE runs (
    no INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    definition TEXT NOT NULL,
    tags TEXT,
    status TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    owner TEXT REFERENCES owners (id),
    branch INTEGER NOT NULL,
    n INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    due_at REAL,
    crashes INTEGER NOT NULL,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL
) STRICT;

-- These are partial so that the commits of a running, owned run never touch them, and so that runs which wait for
-- people are in none of them: ten thousand of those do not slow the search for work.
CREATE INDEX runs_free ON runs (no) WHERE owner IS NULL AND status IN ('created', 'running');
CREATE INDEX runs_due ON runs (due_at) WHERE owner IS NULL AND status = 'waiting';
CREATE INDEX runs_owned ON runs (owner) WHERE owner IS NOT NULL;

-- What never changes about a run, as JSON.
CREATE TABLE records (
    no INTEGER PRIMARY KEY REFERENCES runs (no),
    digest BLOB NOT NULL,
    body BLOB NOT NULL
) STRICT;

-- id = run number << 32 | last event: one b-tree that is written at one place per run and read as a range. Measured at
-- one FULL commit a step: 3,386 commits/s; rowid and a unique index 2,405; WITHOUT ROWID 2,738. `span` = last - first.
CREATE TABLE log (
    id INTEGER PRIMARY KEY,
    span INTEGER NOT NULL,
    branch INTEGER NOT NULL,
    n INTEGER NOT NULL,
    kind TEXT NOT NULL,
    at REAL NOT NULL,
    digest BLOB NOT NULL,
    body BLOB NOT NULL
) STRICT;

-- Snapshots, keyed like the log.
CREATE TABLE manifests (
    id INTEGER PRIMARY KEY,
    branch INTEGER NOT NULL,
    n INTEGER NOT NULL,
    digest BLOB NOT NULL,
    blobs TEXT NOT NULL,
    body BLOB NOT NULL
) STRICT;

-- Large values. `digest` and `size` are those of the value; `packed` says that `content` is compressed with Zstandard.
CREATE TABLE blobs (
    digest BLOB PRIMARY KEY,
    size INTEGER NOT NULL,
    packed INTEGER NOT NULL,
    content BLOB NOT NULL
) STRICT;

CREATE TABLE questions (
    no INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    run_no INTEGER NOT NULL REFERENCES runs (no),
    status TEXT NOT NULL,
    digest BLOB NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX questions_of_run ON questions (run_no, status);
CREATE INDEX questions_by_status ON questions (status);

-- The effect ledger. An effect belongs to a tree of runs, so it is not tied to a line of `runs`.
CREATE TABLE effects (
    no INTEGER PRIMARY KEY,
    tree TEXT NOT NULL,
    address TEXT NOT NULL,
    run TEXT NOT NULL,
    branch INTEGER NOT NULL,
    name TEXT NOT NULL,
    key TEXT NOT NULL,
    digest BLOB NOT NULL,
    body BLOB NOT NULL,
    UNIQUE (tree, address, run, branch, name, key)
) STRICT;
CREATE INDEX effects_of_run ON effects (run);

-- Requests from outside. A taken one stays as a stub, so that posting its id again is noticed.
CREATE TABLE commands (
    no INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    run_no INTEGER NOT NULL REFERENCES runs (no),
    digest BLOB,
    body BLOB
) STRICT;
CREATE INDEX commands_waiting ON commands (run_no) WHERE body IS NOT NULL;

-- Stream items in order of arrival.
CREATE TABLE items (
    run_no INTEGER NOT NULL REFERENCES runs (no),
    arrival INTEGER NOT NULL,
    lane TEXT NOT NULL,
    address TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    digest BLOB NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (run_no, arrival, lane, address, attempt, ordinal)
) STRICT, WITHOUT ROWID;
CREATE INDEX items_of_attempt ON items (run_no, address, attempt);
