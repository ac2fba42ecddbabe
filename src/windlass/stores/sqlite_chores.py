"""Chores on a SQLite store, each on a connection of its own: migrate, check, back-up. Runs may go on meanwhile."""

import os
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import apsw

from windlass.core.errors import StoreCorrupt, StoreError, StoreUnavailable
from windlass.stores.base import row_digest
from windlass.stores.queries import queries
from windlass.stores.sqlite_file import Link, latest, migrate, schema_of
from windlass.stores.sqlite_read import LAST, NAMES, unpack

SQL = queries("sqlite")
MOST_PROBLEMS = 1_000  # listed; a file that is damaged all over need not be told twice
SIGNED = ("records", "questions", "effects", "commands", "items")  # tables whose rows carry a digest of their body


def migrate_store(connect: Callable[[], Link], url: str) -> dict[str, Any]:
    """Bring the schema forward; says what it was, what it is, and which migrations were applied."""
    link = connect()
    try:
        link.connection.set_busy_timeout(10_000)
        before = schema_of(link, url)
        applied = migrate(link, url)
    finally:
        link.close()
    return {"from": before, "to": latest(), "applied": applied}


def check_store(connect: Callable[[], Link], url: str) -> dict[str, Any]:
    """Read everything in one transaction and compare it with its digests and sequences.

    Returns:
        Counts of `runs`, `rows`, `blobs`, and `problems`: a sentence each, none when all is well.
    """
    link = connect()
    try:
        link.connection.set_busy_timeout(10_000)
        schema_of(link, url)
        link.execute("BEGIN")
        counts = {"runs": 0, "rows": 0, "blobs": 0}
        problems = []
        for problem in _problems(link, counts):
            problems.append(problem)
            if len(problems) == MOST_PROBLEMS:
                problems.append("and more")
                break
    finally:
        link.close()
    return {**counts, "problems": problems}


def _problems(link: Link, counts: dict[str, int]) -> Iterator[str]:
    """Name every problem; damage that SQLite itself meets ends a walk, not the check."""
    yield from (said for (said,) in link.execute("PRAGMA integrity_check") if said != "ok")
    for walk in (_of_log, _of_manifests, _of_blobs, _of_tables):
        try:
            yield from walk(link, counts)
        except (apsw.Error, ValueError) as error:
            yield f"{walk.__name__.removeprefix('_of_')}: {type(error).__name__}: {error}"


def _of_log(link: Link, counts: dict[str, int]) -> Iterator[str]:
    counts["runs"] = link.value(SQL["count_runs"])
    begins = {id_ for (id_,) in link.execute(SQL["manifest_keys"])}
    heads: dict[str, tuple[int, int]] = {}  # run → last row, head
    for id_, span, digest, body, run, head in link.execute(SQL["all_rows"]):
        counts["rows"] += 1
        last = id_ & LAST
        first = last - span
        if run is None:
            yield f"the row {id_} belongs to no run"
            continue
        if bytes.fromhex(row_digest(run, first, last, body)) != digest:
            yield f"run {run}: the row of events {first}..{last} does not match its digest"
        before = heads[run][0] if run in heads else 0
        if first != before + 1 and not (run not in heads and (id_ & ~LAST | first - 1) in begins):
            yield f"run {run}: event {before + 1} is missing before {first}..{last}"
        heads[run] = last, head
    for run, (last, head) in heads.items():
        if last != head:
            yield f"run {run}: the log ends at event {last}, the run stands at {head}"
    yield from (f"run {run}: its log is gone" for (run,) in link.execute(SQL["runs_without_rows"]))


def _of_manifests(link: Link, _: dict[str, int]) -> Iterator[str]:
    wanted: set[bytes] = set()
    for id_, digest, names, body, run in link.execute(SQL["all_manifests"]):
        seq = id_ & LAST
        if run is None or bytes.fromhex(row_digest(run, seq, seq, body)) != digest:
            yield f"run {run}: the snapshot at event {seq} does not match its digest"
        wanted.update(bytes.fromhex(name) for name in NAMES.decode(names))
    had = {digest for (digest,) in link.execute(SQL["blob_digests"])}
    yield from (f"blob {digest.hex()} is missing" for digest in sorted(wanted - had))


def _of_blobs(link: Link, counts: dict[str, int]) -> Iterator[str]:
    for digest, size, packed, content in link.execute(SQL["all_blobs"]):
        counts["blobs"] += 1
        try:
            value = unpack(digest.hex(), packed, content)
        except StoreCorrupt as error:
            yield str(error)
            continue
        if len(value) != size or sha256(value).digest() != digest:
            yield f"blob {digest.hex()} does not match its digest"


def _of_tables(link: Link, _: dict[str, int]) -> Iterator[str]:
    for table in SIGNED:
        for digest, body in link.execute(SQL[f"all_{table}"]):
            if sha256(body).digest() != digest:
                yield f"{table}: a record does not match its digest: {body[:80].decode(errors='replace')}…"


def back_up(connect: Callable[[], Link], url: str, *, to: str) -> dict[str, Any]:
    """Copy the store to a new file that opens by itself, while runs go on.

    The file appears under its name only when it is whole.

    Raises:
        StoreError: the file exists.
        StoreUnavailable: it could not be written.
    """
    target = Path(to).absolute()
    part = target.with_name(target.name + ".part")
    if target.exists():
        raise StoreError(f"{target} exists", hint="a back-up never writes over a file: choose another name")
    try:
        os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600))
        _copy(connect, url, part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        size = part.stat().st_size
        part.rename(target)
    except (OSError, apsw.Error) as error:
        part.unlink(missing_ok=True)
        raise StoreUnavailable(f"cannot back up {url} to {target}: {error}", hint="choose another path") from error
    return {"to": str(target), "bytes": size}


def _copy(connect: Callable[[], Link], url: str, part: Path) -> None:
    source = connect()
    try:
        source.connection.set_busy_timeout(10_000)
        schema_of(source, url)
        copy = apsw.Connection(str(part), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            with copy.backup("main", source.connection, "main") as backup:
                while not backup.done:
                    try:
                        backup.step()  # all at once: beside a WAL it hinders no writer, in parts it may begin again
                    except apsw.BusyError:
                        time.sleep(0.005)
            copy.pragma("journal_mode", "delete")  # a single file, whole without a WAL beside it
        finally:
            copy.close()
    finally:
        source.close()


CHORES: dict[str, Callable[..., dict[str, Any]]] = {"migrate": migrate_store, "check": check_store, "backup": back_up}
