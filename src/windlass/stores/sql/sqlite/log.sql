-- name: latest_manifest_of_branch
-- Find where loading begins.
SELECT id, branch, n, digest, blobs, body FROM manifests
WHERE id > (?1 << 32) AND id < ((?1 + 1) << 32) AND branch = ?2
ORDER BY id DESC
LIMIT 1;

-- name: latest_manifest_until
-- Find the snapshot nearest before an event, on whatever branch.
SELECT id, branch, n, digest, blobs, body FROM manifests
WHERE id > (?1 << 32) AND id <= (?1 << 32 | ?2)
ORDER BY id DESC
LIMIT 1;

-- name: add_manifest
-- Keep a snapshot.
INSERT OR REPLACE INTO manifests (id, branch, n, digest, blobs, body) VALUES (?1 << 32 | ?2, ?3, ?4, ?5, ?6, ?7);

-- name: rows
-- Read a stretch of a run's log in order.
SELECT id, span, branch, n, kind, at, digest, body FROM log
WHERE id > (?1 << 32 | ?2) AND id <= (?1 << 32 | ?3) AND (?4 IS NULL OR kind = ?4)
ORDER BY id
LIMIT ?5;

-- name: rows_newest_first
-- Read a stretch of a run's log from its end.
SELECT id, span, branch, n, kind, at, digest, body FROM log
WHERE id > (?1 << 32 | ?2) AND id <= (?1 << 32 | ?3) AND (?4 IS NULL OR kind = ?4)
ORDER BY id DESC
LIMIT ?5;

-- name: add_blob
-- Keep a large value; the same value again changes nothing.
INSERT OR IGNORE INTO blobs (digest, size, packed, content) VALUES (?2, ?3, ?4, ?5);

-- name: blob
-- Fetch a large value.
SELECT packed, content FROM blobs WHERE digest = ?;
