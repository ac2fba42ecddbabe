"""Repairing a SQLite store without inventing anything: what `windlass store check --repair` does, and quarantine.

    the anchor knows more than the file     the file is taken as the truth from now on: a fork of the store. What lost
                                            writes may have done outside nobody knows, so every run that would go on by
                                            itself is quarantined until a person has looked and repairs once more
    a log is damaged                        it is cut after its last whole row, what comes behind is kept in
                                            `lost_and_found`, and the run is quarantined
    an index does not fit its table         it is made anew from the table
    a quarantined run is whole              it is released

Damage that takes more than that (pages of a table, large values) is named, and stays: a back-up helps.
"""

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import apsw

from windlass.core.clock import Clock
from windlass.core.errors import StoreBehind, StoreUnavailable
from windlass.stores import sqlite_start
from windlass.stores.base import row_digest
from windlass.stores.queries import queries
from windlass.stores.sqlite_anchor import adopt, name_of, read
from windlass.stores.sqlite_check import Found, Tell, check_store, problems_of
from windlass.stores.sqlite_file import Link, schema_of
from windlass.stores.sqlite_place import MEMORY, path_of
from windlass.stores.sqlite_read import LAST

SQL = queries("sqlite")
TO_END = LAST
FORKED = (
    "the store lost writes and was taken as it stood: what this run did after its last event, its effects too, is not "
    "known"
)


def check_and_repair(
    connect: Callable[[], Link], url: str, *, clock: Clock, repair: bool = False, tell: Tell | None = None
) -> dict[str, Any]:
    """Check a store and, if asked to, repair what can be repaired; says all that it did.

    Returns:
        What `check_store` finds at the end, and with `repair` a list `repaired` of sentences.

    Raises:
        StoreUnavailable: a process has the store open, so that nothing may be repaired.
    """
    if not repair:
        return check_store(connect, url, tell=tell)
    with alone(url):
        link = connect()
        try:
            link.connection.set_busy_timeout(10_000)
            schema_of(link, url)
            done = list(_repair(link, url, clock, tell))
        finally:
            link.close()
        return {**check_store(connect, url), "repaired": done}


@contextmanager
def alone(url: str) -> Iterator[None]:
    """Hold a store's anchor so that nobody opens the store meanwhile.

    Raises:
        StoreUnavailable: somebody has it open.
    """
    import fcntl

    path = path_of(url)
    try:
        file = -1 if path == MEMORY else os.open(name_of(path), os.O_RDWR)
    except FileNotFoundError:
        file = -1
    except OSError as error:
        raise StoreUnavailable(f"cannot open {name_of(path)}: {error.strerror}") from error
    try:
        if file >= 0:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise StoreUnavailable(
            f"{url} is open in another process: nothing was repaired", hint="stop its workers and servers first"
        ) from error
    finally:
        if file >= 0:
            os.close(file)


def _repair(link: Link, url: str, clock: Clock, tell: Tell | None) -> Iterator[str]:
    before = {no for no, *_ in link.execute(SQL["quarantined"]).fetchall()}
    now = clock.now()
    forked = yield from _anchor(link, url, now)
    found = _problems(link, tell)
    if found and all(problem.part == "structure" for problem in found):
        yield from _indexes(link)
        found = _problems(link, None)
    hurt: dict[int, list[Found]] = {}
    for problem in found:
        if problem.no:
            hurt.setdefault(problem.no, []).append(problem)
    for no, problems in hurt.items():
        if any(problem.part == "log" for problem in problems):
            yield from _cut(link, no, now)
            if path_of(url) != MEMORY:
                adopt(path_of(url), sqlite_start.identity(link, url))  # that run stands at less by right now
        if link.value(SQL["is_quarantined"], (no,)) is None:
            link.execute(SQL["quarantine"], (no, now, problems[0].said))
            yield f"quarantined run {_name(link, no)}: {problems[0].said}"
    if found and not all(problem.no for problem in found):
        return  # damage that is nobody's own may be anybody's: nothing is released
    for no in sorted(before - hurt.keys()):
        if not forked:
            link.execute(SQL["release_quarantined"], (no,))
            yield f"released run {_name(link, no)}: it is whole"


def _problems(link: Link, tell: Tell | None) -> list[Found]:
    counts = {"runs": 0, "rows": 0, "blobs": 0}
    return [found for found in problems_of(link, counts, tell) if found.part != "quarantine"]


def _anchor(link: Link, url: str, now: float) -> Generator[str, None, bool]:
    """Take the file as the truth where its anchor says otherwise; returns whether that forks the store."""
    path = path_of(url)
    if path == MEMORY:
        return False
    known, store = read(path), sqlite_start.identity(link, url)
    try:
        sqlite_start.compare(link, known, url)
    except StoreBehind as behind:
        link.execute(SQL["quarantine_unfinished"], (now, FORKED))
        number = link.connection.changes()
        adopt(path, store)
        yield f"took the file as it stands: {behind.args[0]}"
        yield f"quarantined {number} runs that would go on by themselves: look at them, then repair once more"
        return True
    if not known.store:
        adopt(path, store)
        yield "made the anchor anew"
    return False


def _indexes(link: Link) -> Iterator[str]:
    """Make every index anew from its table: all tables were read whole, only the structure is at fault."""
    try:
        link.execute("PRAGMA checksum_verification = OFF")  # a damaged page of an index is read in order to be dropped
        link.execute("REINDEX")
        yield "made the indexes anew from their tables"
    except apsw.Error as error:
        yield f"could not make the indexes anew: {error}"
    finally:
        link.execute("PRAGMA checksum_verification = ON")
        link.connection.cache_flush()


def _cut(link: Link, no: int, now: float) -> Iterator[str]:
    """Cut a log after its last whole row; what comes behind is kept apart."""
    run = _name(link, no)
    last, place = _last_whole(link, no, run)
    if place is None:
        yield f"run {run}: nothing of its log is whole"
        return
    link.execute("BEGIN IMMEDIATE")
    key = no << 32
    link.execute(SQL["keep_lost"], (now, key | last, key | TO_END))
    link.execute(SQL["cut_log"], (key | last, key | TO_END))
    number = link.connection.changes()
    link.execute(SQL["cut_manifests"], (key | last, key | TO_END))
    link.execute(SQL["set_head"], (no, *place, last))
    link.execute("COMMIT")
    yield f"run {run}: cut its log after event {last}; {number} rows behind it are in lost_and_found"


def _last_whole(link: Link, no: int, run: str) -> tuple[int, tuple[int, int] | None]:
    """Follow a log as far as it is whole: its last event there, and branch and checkpoint."""
    begins = {id_ & LAST for (id_,) in link.execute(SQL["manifest_keys"]).fetchall() if id_ >> 32 == no}
    last, place = 0, None
    rows = link.execute(SQL["rows"], (no, 0, TO_END, None, -1))
    for id_, span, branch, n, _, _, digest, body in rows:
        end = id_ & LAST
        first = end - span
        follows = first == last + 1 or (place is None and first - 1 in begins)
        if not follows or bytes.fromhex(row_digest(run, first, end, body)) != digest:
            break
        last, place = end, (branch, n)
    return last, place


def _name(link: Link, no: int) -> str:
    names = link.execute(SQL["names_of_run"], (no,)).fetchall()
    return str(names[0][0]) if names else f"number {no}"


def set_apart(connect: Callable[[], Link], url: str, *, clock: Clock, run: str, reason: str) -> dict[str, Any]:
    """Quarantine a run: nobody claims it until a repair finds it whole.

    Returns:
        `new`: whether it was not quarantined before.
    """
    link = connect()
    try:
        link.connection.set_busy_timeout(10_000)
        schema_of(link, url)
        no = link.value(SQL["run_number"], (run,))
        if no is None:
            return {"new": False}
        link.execute(SQL["quarantine"], (no, clock.now(), reason))
        return {"new": bool(link.connection.changes())}
    finally:
        link.close()
