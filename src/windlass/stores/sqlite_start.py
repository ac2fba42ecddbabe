"""Opening a SQLite file: is it the one that its anchor knows, and was it left in order?

After a stop that was not clean (nobody closed the store) what was being written last is looked at before it is needed:
the last row of each run that somebody held, and the whole structure of a file that is small. It is bounded: 4 MiB and
200 runs, a few milliseconds. What it finds damaged is quarantined, and `windlass doctor` tells what was looked at.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import apsw
import msgspec

from windlass.core.clock import Clock
from windlass.core.errors import StoreBehind, StoreCorrupt, StoreUnavailable
from windlass.core.logs import logger
from windlass.stores import sqlite_sums
from windlass.stores.base import row_digest
from windlass.stores.queries import queries
from windlass.stores.sqlite_anchor import TICKS, Anchor, Known, doubt, read
from windlass.stores.sqlite_file import Link, is_damage, schema_of
from windlass.stores.sqlite_place import MEMORY, path_of

SQL = queries("sqlite")
LOG = logger("windlass.store")
SMALL_FILE = 4 << 20  # bytes: PRAGMA quick_check reads as much in about 10 ms
MOST_TAILS = 200
UNCLEAN = "unclean_stop"  # in `meta`: what was found after the last one


def identity(link: Link, url: str) -> str:
    """Return the store's id.

    Raises:
        StoreCorrupt: it has none.
    """
    store = link.value(SQL["noted"], ("store",))
    if store is None:
        raise StoreCorrupt(f"{url} does not say which store it is")
    return str(store)


def compare(link: Link, known: Known, url: str) -> str:
    """Compare what the anchor knew before with what stands in the file, and return the store's id.

    A run that is gone though its number was given has been pruned.

    Raises:
        StoreBehind: the file is another store, or lacks writes; nothing was changed.
    """
    store = identity(link, url)
    if known.store and known.store != store:
        raise StoreBehind(
            f"{url} is store {store}, and its anchor is of store {known.store}: the file was replaced; "
            "nothing was changed"
        )
    given = link.value(SQL["last_run_number"]) or 0
    for key, wanted in known.writes.items():
        no, counts_ticks = key & ~TICKS, bool(key & TICKS)
        try:
            stands = link.execute(SQL["progress"], (no,)).fetchall()
        except apsw.Error as error:
            if not is_damage(error):
                raise
            LOG.warning("%s: run number %d cannot be compared with the anchor: %s", url, no, error)
            continue  # the page is damaged: whoever reads the run is told
        if not stands and no > given:
            raise StoreBehind(
                f"{url} has made {given} runs, and its anchor knows of {no}: what was acknowledged since is missing "
                "(a log that was cut, or an old back-up); nothing was changed"
            )
        if stands and stands[0][counts_ticks] < wanted:
            what = "write" if counts_ticks else "event"
            run = link.execute(SQL["names_of_run"], (no,)).fetchall()[0][0]
            raise StoreBehind(
                f"{url}: run {run} stands at {what} {stands[0][counts_ticks]}, and the anchor knows of {what} "
                f"{wanted}: what was acknowledged since is missing (a log that was cut, or an old back-up); "
                "nothing was changed"
            )
    return store


def take_up(link: Link, anchor: Anchor, known: Known, clock: Clock, distrust: Callable[[Link], None]) -> None:
    """Compare the file with its anchor as it was before, hold the anchor, and look around after an unclean stop.

    Args:
        distrust: makes sure, after an unclean stop, that the write-ahead log is on the disk.

    Raises:
        StoreBehind: the file lost writes, or is another; nothing was changed.
        StoreCorrupt: the file does not say which store it is.
        BusyError: the store is being repaired, or opened by another process at this moment.
    """
    try:
        store = compare(link, known, anchor.url)
    except BaseException:
        keep_log(link)
        raise
    anchor.hold(known, store, is_new=not link.value(SQL["last_run_number"]))
    if anchor.is_first and not anchor.was_closed:
        distrust(link)
        try:
            look_around(link, anchor.url, clock)
        except apsw.Error as error:  # the store opens all the same: whoever reads what is damaged is told
            LOG.warning("%s: not all could be looked at after an unclean stop: %s", anchor.url, error)


def let_be(link: Link, path: str) -> None:
    """Take nothing that the log holds for durable from now on: the disk has failed this connection.

    Closing would sync the log once more, and the kernel says yes to what it has dropped after a sync that failed.
    """
    keep_log(link)
    doubt(path)


def keep_log(link: Link) -> None:
    """Leave the write-ahead log as it is when this connection closes: it may be all there is to look at."""
    link.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)


@contextmanager
def chore(connect: Callable[[], Link], url: str) -> Iterator[Link]:
    """Connect for a chore; where the disk fails it, nothing that the log holds is taken for durable from then on."""
    link = connect()
    try:
        yield link
    except (apsw.IOError, apsw.FullError, StoreUnavailable):
        let_be(link, path_of(url))
        raise
    finally:
        link.close()


def facts(connect: Callable[[], Link], url: str) -> dict[str, Any]:
    """Say what is known about a store without opening it: for `windlass doctor`.

    Returns:
        `anchor`: whole, missing or unreadable; `checksums`: whether its pages have them; `unclean`: what was found
        after the last stop that was not clean.
    """
    path = path_of(url)
    if path == MEMORY:
        return {}
    known = read(path)
    link = connect()
    try:
        link.connection.set_busy_timeout(10_000)
        keep_log(link)
        if not schema_of(link, url):
            return {}
        note = link.value(SQL["noted"], (UNCLEAN,))
        return {
            "anchor": "whole" if known.store else "unreadable" if known.is_torn else "missing",
            "checksums": sqlite_sums.has(link.connection),
            "unclean": None if note is None else msgspec.json.decode(note),
        }
    finally:
        link.close()


def look_around(link: Link, url: str, clock: Clock) -> dict[str, Any]:
    """Verify what was being written when the store was left, and note what was found."""
    problems: list[str] = []
    size = link.value("PRAGMA page_count") * link.value("PRAGMA page_size")
    if size <= SMALL_FILE:
        try:
            problems += [said for (said,) in link.execute("PRAGMA quick_check(20)") if said != "ok"]
        except apsw.Error as error:
            if not is_damage(error):
                raise
            problems.append(str(error))
    tails = link.execute(SQL["owned_tails"], (MOST_TAILS,)).fetchall()
    for run, no, seq, span, digest, body in tails:
        is_whole = body is not None and bytes.fromhex(row_digest(run, seq - span, seq, body)) == digest
        if not is_whole:
            reason = f"run {run}: after an unclean stop its last row is missing or does not match its digest"
            problems.append(reason)
            link.execute(SQL["quarantine"], (no, clock.now(), reason))
    found = {"at": clock.now(), "structure": size <= SMALL_FILE, "runs": len(tails), "problems": problems}
    link.execute(SQL["note"], (UNCLEAN, msgspec.json.encode(found).decode()))
    for problem in problems:
        LOG.error("%s: %s", url, problem)
    return found
