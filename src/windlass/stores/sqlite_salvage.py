"""Salvage: what can be read of a file with damaged pages goes into a new one, which takes its place once repaired.

    NAME.salvage       a copy of the file, with its log copied into it: it is read page by page
    NAME.part          the new file while it is made, and repaired as any other
    NAME.repaired      the new file once it is whole and durable
    NAME.damaged-DATE  what the file was, never written to, with its log beside it

Each name is taken by a rename. A repair that is killed leaves the file as it was, or a store that refuses to open until
the next repair has put `NAME.repaired` in its place.
"""
# ruff: noqa: PTH104, PTH105, PTH108 -- a test lets another `os` stand here, which fails

import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import apsw

from windlass.core.crashpoint import crashpoint
from windlass.core.errors import StoreUnavailable
from windlass.stores import sqlite_sums
from windlass.stores.queries import queries
from windlass.stores.sqlite_anchor import TICKS, Known, adopt, read, repaired_name
from windlass.stores.sqlite_derived import lost_runs
from windlass.stores.sqlite_file import PIECE, Link, connect, migrate
from windlass.stores.sqlite_pages import Pages, Torn

SQL = queries("sqlite")
MOST_NAMED = 20  # damaged pages that a sentence names


def salvage(path: str, url: str, known: Known, now: float) -> Iterator[str]:
    """Make `NAME.part` of what can be read of a file; says what was lost.

    Raises:
        StoreUnavailable: it could not be written; the file is as it was.
        StoreCorrupt: its first page or its schema cannot be read, so that nothing says what is where.
    """
    copy, part = f"{path}.salvage", f"{path}.part"
    ends = ("", "-wal", "-journal", "-shm")
    try:
        for name in (*(f"{copy}{end}" for end in ends), part, f"{part}-journal", repaired_name(path)):
            if Path(name).exists():
                os.unlink(name)
        for end in ("", "-wal"):
            if Path(f"{path}{end}").exists():
                _copy(f"{path}{end}", f"{copy}{end}")
        os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600))
    except OSError as error:
        raise StoreUnavailable(f"cannot write beside {url}: {error.strerror}", hint="free space") from error
    trees = _settle(copy)
    pages, new = Pages(copy), connect(part)
    try:
        sqlite_sums.ask_for(new.connection)
        new.execute("PRAGMA auto_vacuum = INCREMENTAL")
        migrate(new, url)
        new.execute("PRAGMA foreign_keys = OFF")
        pages.map_out({root for _, root, _ in trees})
        new.execute("BEGIN IMMEDIATE")
        counts = {name: _fill(new, pages, name, root) for kind, root, name in trees if kind == "table"}
        yield from _say(pages, trees, counts)
        _number(new, known)
        yield from lost_runs(new)
        yield from _orphans(new, now)
        crashpoint("repair.inside")
        new.execute("COMMIT")
    finally:
        new.close()
        pages.close()
        with suppress(OSError):
            os.unlink(copy)


def spares_tables(link: Link, path: str) -> bool:
    """Say whether no page is damaged but those of indexes, which can be made anew in place."""
    found = link.execute("SELECT rootpage, type FROM sqlite_schema WHERE rootpage > 0").fetchall()
    indexes = {root for root, kind in found if kind == "index"}
    log = Path(f"{path}-wal")
    pages = Pages(path)
    try:
        for number in range(1, pages.count + 1):
            with suppress(Torn):
                pages.page(number)
        torn = set(pages.torn)
        if not torn or (log.exists() and log.stat().st_size):  # the log has newer pages, which belong elsewhere perhaps
            return not torn
        pages.map_out({root for root, _ in found})
        return all(pages.root_of(number) in indexes for number in torn)
    finally:
        pages.close()


def _copy(source: str, target: str) -> None:
    """Copy a file; one that cannot be read in places gets zeros there, which match no checksum."""
    reading, writing = os.open(source, os.O_RDONLY), os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        size = os.fstat(reading).st_size
        for place in range(0, size, PIECE):
            length = min(PIECE, size - place)
            try:
                os.pwrite(writing, os.pread(reading, length, place), place)
            except OSError:
                _copy_around(reading, writing, place, length)
        os.ftruncate(writing, size)
    finally:
        os.close(reading)
        os.close(writing)


def _copy_around(reading: int, writing: int, place: int, length: int) -> None:
    """Copy a piece a block at a time."""
    for block in range(place, place + length, 512):
        size = min(512, place + length - block)
        try:
            content = os.pread(reading, size, block)
        except OSError:
            content = bytes(size)
        os.pwrite(writing, content, block)


def _settle(copy: str) -> list[tuple[str, int, str]]:
    """Copy the log of a copy into it; return what is in it: kind, first page, name."""
    link = connect(copy)
    try:
        link.execute("PRAGMA checksum_verification = OFF")
        link.execute("PRAGMA journal_mode = DELETE")
        found = link.execute("SELECT type, rootpage, name FROM sqlite_schema WHERE rootpage > 0").fetchall()
        tables = {name for _, _, name in link.execute("SELECT type, rootpage, name FROM sqlite_schema").fetchall()}
    finally:
        link.close()
    if "runs" not in tables or "log" not in tables:
        raise apsw.CorruptError("its schema cannot be read")
    return [(kind, root, name) for kind, root, name in found]


def _fill(new: Link, pages: Pages, table: str, root: int) -> int:
    """Write what can be read of a table into the new file."""
    info = new.execute("SELECT name, pk FROM pragma_table_info(?) ORDER BY cid", (table,)).fetchall()
    names = [name for name, _ in info]
    if not names:
        return 0
    has_no_rowid = new.value("SELECT wr FROM pragma_table_list WHERE name = ?", (table,))
    keys = [name for name, pk in sorted(info, key=lambda column: column[1]) if pk]
    order = [*keys, *(name for name in names if name not in keys)] if has_no_rowid else names
    alias = names.index(keys[0]) if len(keys) == 1 and not has_no_rowid and _is_alias(new, table, keys[0]) else None
    count = 0
    for row in pages.rows(root):
        values = list(row.values[: len(order)])
        if alias is not None and alias < len(values):
            values[alias] = row.number
        given = ", ".join(order[: len(values)])
        marks = ", ".join("?" * len(values))
        with suppress(apsw.ConstraintError, apsw.MismatchError):
            new.execute(f"INSERT OR REPLACE INTO {table} ({given}) VALUES ({marks})", values)  # noqa: S608 -- own names
            count += 1
    return count


def _is_alias(new: Link, table: str, column: str) -> bool:
    """Say whether a column is the row's number by another name."""
    declared = new.value("SELECT type FROM pragma_table_info(?) WHERE name = ?", (table, column))
    return bool(declared == "INTEGER")


def _say(pages: Pages, trees: list[tuple[str, int, str]], counts: dict[str, int]) -> Iterator[str]:
    names = {root: name for _, root, name in trees}
    torn = sorted(pages.torn)
    where = [f"{number} ({names.get(pages.root_of(number), 'of no known table')})" for number in torn[:MOST_NAMED]]
    more = f" and {len(torn) - MOST_NAMED:,} more" if len(torn) > MOST_NAMED else ""
    yield f"damaged pages: {', '.join(where) or 'none of a table'}{more}"
    yield f"salvaged {sum(counts.values()):,} rows of {len(counts)} tables"


def _number(new: Link, known: Known) -> None:
    """Never give a run's number twice, and stay the store that the anchor knows."""
    given = [0, *(key & ~TICKS for key in known.writes)]
    highest = ("SELECT max(no) FROM runs", "SELECT max(no) FROM records", "SELECT max(id) >> 32 FROM log")
    given += [new.value(sql) or 0 for sql in highest]
    given += [seq for (seq,) in new.execute("SELECT seq FROM sqlite_sequence WHERE name = 'runs'").fetchall()]
    new.execute("DELETE FROM sqlite_sequence WHERE name = 'runs'")
    new.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('runs', ?)", (max(given),))
    if known.store:
        new.execute(SQL["note"], ("store", known.store))


def _orphans(new: Link, now: float) -> Iterator[str]:
    """Keep logs apart whose run is gone: nothing says what they are the log of."""
    for (no,) in new.execute(SQL["logs_without_runs"]).fetchall():
        new.execute(SQL["keep_lost"], (now, no << 32, (no + 1) << 32))
        new.execute(SQL["cut_log"], (no << 32, (no + 1) << 32))
        number = new.connection.changes()
        new.execute(SQL["cut_manifests"], (no << 32, (no + 1) << 32))
        for sql in ("drop_questions", "drop_commands", "drop_items_of"):
            new.execute(SQL[sql], (no,))
        yield f"run number {no}: what names it is lost; {number} rows of its log are in lost_and_found"


def exchange(path: str, now: float) -> str:
    """Put the new file in the place of the damaged one, which is kept; returns the name that it has then.

    Raises:
        StoreUnavailable: it could not be done; the next repair goes on.
    """
    whole = repaired_name(path)
    try:
        sync(f"{path}.part")
        os.replace(f"{path}.part", whole)
        sync(str(Path(path).parent))
        crashpoint("repair.exchange")
        moment = datetime.fromtimestamp(now, UTC).strftime("%Y%m%d-%H%M%S")
        kept = next(name for name in _names(f"{path}.damaged-{moment}") if not Path(name).exists())
        os.rename(path, kept)
        crashpoint("repair.exchange")
        finish(path)
    except OSError as error:
        raise StoreUnavailable(f"cannot put the new file in the place of {path}: {error.strerror}") from error
    return kept


def is_begun(path: str) -> bool:
    """Say whether an exchange was begun and not ended: the file is gone, and the new one is there."""
    return not Path(path).exists() and Path(repaired_name(path)).exists()


def finish(path: str) -> None:
    """Do the rest of an exchange.

    Raises:
        OSError, StoreUnavailable: it could not be done.
    """
    whole = repaired_name(path)
    kept = max(
        (name for name in Path(path).parent.glob(f"{Path(path).name}.damaged-*") if not name.name.endswith("-wal")),
        default=None, key=lambda name: name.name,
    )  # fmt: skip
    if kept is not None and Path(f"{path}-wal").exists():
        os.rename(f"{path}-wal", f"{kept}-wal")
    if Path(f"{path}-shm").exists():
        os.unlink(f"{path}-shm")
    known = read(path)
    if known.store:
        adopt(path, known.store)  # while nobody can open the store: runs stand at less in it by right
    crashpoint("repair.exchange")
    os.replace(whole, path)
    sync(str(Path(path).parent))


def _names(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}-{number}"
        number += 1


def sync(path: str) -> None:
    """Make a file or the names in a folder durable."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
