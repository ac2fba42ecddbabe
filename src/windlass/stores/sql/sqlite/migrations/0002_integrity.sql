-- Counts the writes to a run that do not raise `seq`. One of both is told to the anchor beside the file once the write is
-- durable, so that a file which lost writes is noticed when it is opened. A counter of the whole store would be one more
-- page in each transaction, which costs 9 % of the commit rate.
ALTER TABLE runs ADD COLUMN tick INTEGER NOT NULL DEFAULT 0;

-- Runs that were found damaged: nobody claims them. No reference to `runs`: that table may be what is damaged.
CREATE TABLE quarantine (
    run_no INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    reason TEXT NOT NULL
) STRICT;

-- Rows that a repair cut off a log because something before them is damaged, as they were found.
CREATE TABLE lost_and_found (
    no INTEGER PRIMARY KEY,
    found_at REAL NOT NULL,
    id INTEGER NOT NULL,
    span INTEGER NOT NULL,
    branch INTEGER NOT NULL,
    n INTEGER NOT NULL,
    kind TEXT NOT NULL,
    at REAL NOT NULL,
    digest BLOB NOT NULL,
    body BLOB NOT NULL
) STRICT;
