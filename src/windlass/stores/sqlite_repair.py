"""Repairing a SQLite store without inventing anything: what `windlass store check --repair` does, and quarantine.

    the anchor knows more than the file     the file is taken as the truth from now on: a fork of the store. What lost
                                            writes may have done outside nobody knows, so every run that would go on by
                                            itself is quarantined until a person has looked and repairs once more
    a log is damaged                        it is cut after its last whole row, what comes behind is kept in
                                            `lost_and_found`, and the run is quarantined
    a table differs from its run's log      questions, effects, where a run stands: made anew from the log
    a snapshot is damaged                   it is made anew from the log before it
    an index does not fit its table         it is made anew from the table
    pages of tables are damaged             what can be read goes into a new file, which is repaired and takes the place
                                            of the damaged one; that one is kept as it was, under another name
    a shared number or a dead letter        it is kept in `lost_and_found`; the number begins anew
    is damaged
    a quarantined run is whole              it is released

Damage that takes more than that (large values, what never changes about a run) is named, and stays: a back-up helps.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import apsw
import msgspec

from windlass.core.clock import Clock
from windlass.core.crashpoint import crashpoint
from windlass.core.errors import StoreBehind, StoreCorrupt, StoreUnavailable
from windlass.core.records import ENCODER
from windlass.stores import sqlite_shared, sqlite_start
from windlass.stores.base import row_digest
from windlass.stores.queries import queries
from windlass.stores.retention import snapshot
from windlass.stores.sqlite_anchor import adopt, name_of, read, repaired_name
from windlass.stores.sqlite_changes import pack
from windlass.stores.sqlite_check import Found, Seen, Tell, check_store, problems_of
from windlass.stores.sqlite_derived import branch_off, mend, stand_of
from windlass.stores.sqlite_file import Link, schema_of
from windlass.stores.sqlite_file import connect as open_link
from windlass.stores.sqlite_place import MEMORY, path_of
from windlass.stores.sqlite_read import LAST, to_manifest, to_row
from windlass.stores.sqlite_salvage import exchange, finish, is_begun, salvage, spares_tables

SQL = queries("sqlite")
TO_END = LAST
UNDER_WAY = "repair"  # in `meta` while a repair has not told yet what it did
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
        path = path_of(url)
        done = _go_on(path)
        done += _repair_at(connect, url, path, clock, tell)
        told = {**check_store(connect, url), "repaired": done}
        crashpoint("repair.told")
        with sqlite_start.chore(connect, url) as link:
            link.execute(SQL["forget"], (UNDER_WAY,))
        return told


def _go_on(path: str) -> list[str]:
    """End an exchange of files that was stopped."""
    if path == MEMORY or not is_begun(path):
        return []
    try:
        finish(path)
    except OSError as error:
        raise StoreUnavailable(f"cannot put {repaired_name(path)} in its place: {error.strerror}") from error
    return ["put the file of a repair that was stopped in its place"]


def _repair_at(connect: Callable[[], Link], url: str, path: str, clock: Clock, tell: Tell | None) -> list[str]:
    """Repair the file, or make another of it if pages of its tables are damaged."""
    now, done = clock.now(), []
    with sqlite_start.chore(connect, url) as link:
        link.connection.set_busy_timeout(10_000)
        sqlite_start.keep_log(link)  # nothing is changed of a file that is not repaired but replaced
        schema_of(link, url)
        found = _problems(link, tell)
        if _is_structure(found) and (path == MEMORY or spares_tables(link, path)):
            done = list(_indexes(link))
            found = _problems(link, None)
        if path == MEMORY or not any(problem.is_torn or problem.part == "structure" for problem in found):
            before = _begin(link, now)
            forked = _anchor(link, url, now)
            before = set() if len(forked) > 1 else before
            done += forked
            return done + _repair(link, now, found, before, anchored="" if path == MEMORY else path)
        is_behind = _is_behind(link, url, path)
    return done + _replace(url, path, now, is_behind=is_behind)


def _replace(url: str, path: str, now: float, *, is_behind: bool) -> list[str]:
    """Salvage what can be read into a new file, repair that one, and put it in the place of the damaged one."""
    known, part = read(path), f"{path}.part"
    try:
        done = list(salvage(path, url, known, now))
        link = open_link(part)
        try:
            _begin(link, now)
            if is_behind:
                done += _fork(link, now)
            done += _repair(link, now, _problems(link, None), set(), anchored="")
        finally:
            link.close()
    except BaseException:
        with suppress(OSError):
            Path(part).unlink()
        raise
    return [*done, f"the damaged file is {exchange(path, now)}"]


def _begin(link: Link, now: float) -> set[int]:
    """Note that a repair is under way, and name the runs that it may release: none if the one before was stopped.

    To repair again says yes to what a repair has told, and one that was stopped has told nothing.
    """
    was_stopped = link.value(SQL["noted"], (UNDER_WAY,)) is not None
    link.execute(SQL["note"], (UNDER_WAY, repr(now)))
    return set() if was_stopped else {no for no, *_ in link.execute(SQL["quarantined"]).fetchall()}


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


def _repair(link: Link, now: float, found: list[Found], before: set[int], *, anchored: str) -> list[str]:
    """Do what can be done for each run, and quarantine or release it.

    Args:
        before: runs that were quarantined before, and may be released if they are whole.
        anchored: the file, if its anchor has to know that runs stand at less by right.
    """
    done: list[str] = []
    if any(problem.part in sqlite_shared.PARTS for problem in found):
        done += sqlite_shared.mend(link, now)
        found = _problems(link, None)
    hurt: dict[int, list[Found]] = {}
    for problem in found:
        if problem.no:
            hurt.setdefault(problem.no, []).append(problem)
    for no, problems in hurt.items():
        done += _treat(link, no, problems, now)
    if anchored and any(problem.part == "log" for problem in found):
        adopt(anchored, sqlite_start.identity(link, anchored))
    left = {problem.no: problem for problem in (_problems(link, None) if hurt else found)}
    for no in sorted(left.keys() & hurt.keys()):
        if link.value(SQL["is_quarantined"], (no,)) is None:
            link.execute(SQL["quarantine"], (no, now, left[no].said))
            done.append(f"quarantined run {_name(link, no)}: {left[no].said}")
    if 0 in left:
        return done  # damage that is nobody's own may be anybody's: nothing is released
    for no in sorted(before - hurt.keys()):
        link.execute(SQL["release_quarantined"], (no,))
        done.append(f"released run {_name(link, no)}: it is whole")
    return done


def _treat(link: Link, no: int, problems: list[Found], now: float) -> Iterator[str]:
    """Do for one run what can be done: each treatment is one transaction."""
    parts = {problem.part for problem in problems}
    if "log" in parts:
        yield from _within(link, lambda: _cut(link, no, now, problems[0].said))
    if "manifests" in parts:
        yield from _within(link, lambda: _snapshots(link, no, now))
    if parts & {"log", "derived", "records", "questions", "effects"}:
        yield from _within(link, lambda: _mend(link, no, now))


def _within(link: Link, work: Callable[[], Iterator[str]]) -> list[str]:
    """Do something in one transaction; what cannot be done leaves nothing behind but a sentence."""
    link.execute("BEGIN IMMEDIATE")
    try:
        done = list(work())
        crashpoint("repair.inside")
        link.execute("COMMIT")
    except (StoreCorrupt, ValueError, msgspec.DecodeError) as error:
        link.execute("ROLLBACK")
        return [f"could not be mended: {error}"]
    except BaseException:
        if link.connection.in_transaction:
            link.execute("ROLLBACK")
        raise
    return done


def _mend(link: Link, no: int, now: float) -> Iterator[str]:
    stand = stand_of(link, no)
    if stand is not None:
        yield from mend(link, stand, now)


def _snapshots(link: Link, no: int, now: float) -> Iterator[str]:
    """Make damaged snapshots anew from the log before them."""
    stand = stand_of(link, no)
    if stand is None or stand.record is None:
        return
    before = None
    for kept in link.execute(SQL["manifests_of_run"], (no,)).fetchall():
        manifest = to_manifest(stand.run, kept)
        if row_digest(stand.run, manifest.seq, manifest.seq, manifest.body) == manifest.digest:
            before = manifest
            continue
        before = None if before is None or before.branch != manifest.branch else before
        if before is None and (manifest.branch or stand.record.parent is not None):
            yield f"run {stand.run}: the snapshot at event {manifest.seq} cannot be made anew"
            return
        after = before.seq if before is not None else 0
        rows = [to_row(stand.run, row) for row in link.execute(SQL["rows"], (no, after, manifest.seq, None, -1))]
        made, blobs = snapshot(stand.record, before, rows)
        link.execute(SQL["keep_manifest"], (now, kept[0]))
        for blob in blobs:
            link.execute(SQL["add_blob"], (no, bytes.fromhex(blob.digest), len(blob.content), *pack(blob.content)))
        columns = (made.seq, made.branch, made.n, bytes.fromhex(made.digest))
        link.execute(SQL["add_manifest"], (no, *columns, ENCODER.encode(made.blobs).decode(), made.body))
        before = made
        yield f"run {stand.run}: made the snapshot at event {manifest.seq} anew from its log"


def _problems(link: Link, tell: Tell | None) -> list[Found]:
    return [found for found in problems_of(link, Seen(), tell) if found.part != "quarantine"]


def _anchor(link: Link, url: str, now: float) -> list[str]:
    """Take the file as the truth where its anchor says otherwise; a fork of the store, if it lost writes."""
    path = path_of(url)
    if path == MEMORY:
        return []
    known, store = read(path), sqlite_start.identity(link, url)
    try:
        sqlite_start.compare(link, known, url)
    except StoreBehind as behind:
        done = _fork(link, now)
        adopt(path, store)
        return [f"took the file as it stands: {behind.args[0]}", *done]
    if not known.store:
        adopt(path, store)
        return ["made the anchor anew"]
    return []


def _fork(link: Link, now: float) -> list[str]:
    link.execute(SQL["quarantine_unfinished"], (now, FORKED))
    number = link.connection.changes()
    return [f"quarantined {number} runs that would go on by themselves: look at them, then repair once more"]


def _is_behind(link: Link, url: str, path: str) -> bool:
    """Say whether a damaged file lost writes besides."""
    try:
        sqlite_start.compare(link, read(path), url)
    except StoreBehind:
        return True
    except (StoreCorrupt, apsw.Error):
        return False  # what names the store cannot be read
    return False


def _is_structure(found: list[Found]) -> bool:
    """Say whether all tables were read whole, so that only indexes can be at fault."""
    parts = {problem.part for problem in found}
    return "structure" in parts and parts <= {"structure", "derived", "quarantine"}


def _indexes(link: Link) -> list[str]:
    """Make every index anew from its table: all tables were read whole, only the structure is at fault."""
    try:
        link.execute("PRAGMA checksum_verification = OFF")  # a damaged page of an index is read in order to be dropped
        link.execute("REINDEX")
    except apsw.Error as error:
        return [f"could not make the indexes anew: {error}"]
    finally:
        link.execute("PRAGMA checksum_verification = ON")
        link.connection.cache_flush()
    return ["made the indexes anew from their tables"]


def _cut(link: Link, no: int, now: float, why: str) -> Iterator[str]:
    """Cut a log after its last whole row, inside a transaction; what comes behind is kept apart.

    What was done behind the cut is not forgotten: the run goes on from there on a branch of its own, so that the lines
    of its effects count as those of a branch that was left.
    """
    run = _name(link, no)
    link.execute(SQL["quarantine"], (no, now, why))
    last, place = _last_whole(link, no, run)
    if place is None:
        yield f"run {run}: nothing of its log is whole"
        return
    key = no << 32
    link.execute(SQL["keep_lost"], (now, key | last, key | TO_END))
    link.execute(SQL["cut_log"], (key | last, key | TO_END))
    number = link.connection.changes()
    link.execute(SQL["cut_manifests"], (key | last, key | TO_END))
    link.execute(SQL["set_head"], (no, *place, last))
    yield f"run {run}: cut its log after event {last}; {number} rows behind it are in lost_and_found"
    yield f"quarantined run {run}: {why}"
    if not number:  # what was there is lost: the ledger may know more than the log all the same
        link.execute(SQL["keep_row"], (now, no, "cut", b"", b""))
    stand = stand_of(link, no)
    if stand is not None:
        branch_off(link, stand)


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
