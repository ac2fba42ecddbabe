"""The SQLite store: one file, many processes, every acknowledged write on the disk (WAL, `synchronous=FULL`).

    places and folders    sqlite_place      one connection, schema, errors   sqlite_file
    what is written       sqlite_jobs       queue, transactions, thread      sqlite_writer
    what is read          sqlite_read       migrate, check, back-up          sqlite_chores

The loop's thread owns the main connection: it reads there, and writes there while commits are fast. While a batch is
under way on the writer's thread, reads use a second connection; the heartbeat has a third. Waiting for another
process's lock never blocks the loop: a queued write is tried again later, and a read sleeps in between.
"""

import asyncio
import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import inf
from typing import Any, TypeVar, cast

import apsw
import msgspec

from windlass.core.changes import Adjust, LetterPut, Write
from windlass.core.clock import Clock, SystemClock, random_id
from windlass.core.errors import StoreCorrupt, StoreError, StoreUnavailable, StoreVersion
from windlass.core.logs import logger
from windlass.core.queries import Query
from windlass.core.records import Command, Item, Loaded, Owner, RunRecord
from windlass.core.tallies import Answer
from windlass.stores import sqlite_chores, sqlite_jobs, sqlite_read, sqlite_sums
from windlass.stores.base import Capabilities
from windlass.stores.sqlite_anchor import Anchor, read, refuse_empty, refuse_missing
from windlass.stores.sqlite_file import Link, connect, latest, migrate, refusal, rewrite, schema_of
from windlass.stores.sqlite_place import MEMORY, path_of, prepare
from windlass.stores.sqlite_start import let_be, take_up
from windlass.stores.sqlite_writer import BUSY_SECONDS, SLOW_SECONDS, WAIT_SECONDS, Writer

T = TypeVar("T")
LOG = logger("windlass.store")


class SQLiteStore:
    """Runs in a SQLite file.

    Args:
        url: as for `open_store`.
        clock: tells the time for leases.
        slow: seconds of a COMMIT, on average, above which commits move to a thread.
        vfs: SQLite's layer below, for tests that let the disk fail.
    """

    def __init__(
        self, url: str, *, clock: Clock | None = None, slow: float = SLOW_SECONDS, vfs: str | None = None
    ) -> None:
        self.url = url
        self.path = path_of(url)
        in_memory = self.path == MEMORY
        self.capabilities = Capabilities(durable=not in_memory, multi_process=not in_memory, queryable=True)
        self._clock = clock or SystemClock()
        self._name = f"file:/windlass-{random_id()}?vfs=memdb" if in_memory else self.path
        self._vfs = vfs
        self._held = sqlite_jobs.Holdings(url, self._clock)
        self._anchor = Anchor(self.path, url)
        self._writer = Writer(self._connect, self._held, self._anchor, "" if in_memory else f"{self.path}-wal", slow)
        self._beside: Link | None = None  # reads here while the writer's thread has the main connection
        self._heartbeat: Link | None = None
        self._beating = threading.Lock()
        self._version = self._generation = 0
        self._versioned: Link | None = None
        self._pid = self._thread = 0
        self._state = "not open"

    def _connect(self) -> Link:
        self._anchor.reconnected()
        return connect(self._name, self._vfs)

    def _check(self, *, any_thread: bool = False) -> None:
        """Refuse a store that is not open, or was opened elsewhere: SQLite does not survive a fork."""
        if self._state != "open":
            raise StoreError(f"{self.url} is {self._state}")
        if self._pid != os.getpid():
            raise StoreError(f"{self.url} was opened in another process", hint="open the store after the fork")
        if self._thread != threading.get_ident() and not any_thread:
            raise StoreError(f"{self.url} was opened in another thread", hint="open a store for each thread")

    async def open(self) -> None:
        """Connect, verify, and create the schema in an empty file. Opening again does nothing.

        Raises:
            StoreUnknown: another program's database, or a network file system.
            StoreVersion: the schema is newer, or must be migrated first.
            StoreCorrupt: no database, or a damaged one.
            StoreBehind: it lost transactions, or is not the store that its anchor knows.
            StoreUnavailable: it cannot be made, read or written.
        """
        if self._state == "closed":
            raise StoreError(f"{self.url} is closed")
        if self._state == "open":
            return
        if self.path != MEMORY:
            refuse_missing(self.path, self.url)
            prepare(self.path)
        self._writer.link = await self._patiently(self._connect)
        try:
            await self._patiently(lambda: self._set_up(self._main()))
        except BaseException as error:
            if isinstance(error, StoreUnavailable) and self.path != MEMORY:
                let_be(self._writer.link, self.path)
            self._writer.close()
            raise
        self._pid, self._thread = os.getpid(), threading.get_ident()
        self._state = "open"

    def _set_up(self, link: Link) -> None:
        known = read(self.path)  # before the file: others write on
        version = schema_of(link, self.url)
        if version == 0:
            refuse_empty(known, self.path, self.url)
        sqlite_sums.refuse_without(link.connection, self.url)
        if version == 0 and self._vfs is None and self.path != MEMORY:
            sqlite_sums.ask_for(link.connection)
        if version == 0:
            link.execute("PRAGMA auto_vacuum = INCREMENTAL")  # so that `prune` can give space back in small steps
        if self.path != MEMORY and link.value("PRAGMA journal_mode = WAL") != "wal":
            raise StoreUnavailable(f"{self.url}: this file system cannot keep a write-ahead log", hint="choose another")
        if version and not known.store and self.path != MEMORY:
            rewrite(link, self._writer.wal)  # who began to make the store may have met a sync that failed
        if (
            version < latest()
            and not known.writes
            and not (version and link.value("SELECT EXISTS (SELECT 1 FROM runs)"))
        ):
            migrate(link, self.url)  # new, or left by a process that died while it made the schema
        elif version < latest() and schema_of(link, self.url) < latest():  # or another has made it meanwhile
            raise StoreVersion(
                f"{self.url} has schema {version}; this version of Windlass needs {latest()}",
                hint="run `windlass store migrate`",
            )
        if self.path != MEMORY:
            take_up(link, self._anchor, known, self._clock, self._writer.distrust)
            if version and not known.store:
                self._writer.distrust(link)  # who began to make the store may have met a sync that failed

    async def create(self, record: RunRecord, first: Write, owner: Owner | None) -> tuple[Answer, ...]:
        """Make a run with its first row; see `Store.create`."""
        self._check()
        return cast("tuple[Answer, ...]", await self._writer.submit(sqlite_jobs.Create(record, first, owner)))

    async def post(self, command: Command) -> bool:
        """Keep a command for the run's owner; see `Store.post`."""
        self._check()
        return cast("bool", await self._writer.submit(sqlite_jobs.Post(command)))

    async def claim(self, run: str, owner: Owner) -> RunRecord:
        """Take a run; see `Store.claim`."""
        self._check()
        return cast("RunRecord", await self._writer.submit(sqlite_jobs.Claim(run, owner)))

    async def release(self, run: str, epoch: int) -> None:
        """Give the run up, if it still has this epoch."""
        self._check()
        await self._writer.submit(sqlite_jobs.Release(run, epoch))

    async def retire(self, owner: Owner) -> None:
        """Forget the owner's lease and give up all its runs."""
        self._check()
        await self._writer.submit(sqlite_jobs.Retire(owner))

    async def commit(self, write: Write) -> tuple[Answer, ...]:
        """Write durably and atomically; see `Store.commit`."""
        self._check()
        return cast("tuple[Answer, ...]", await self._writer.submit(sqlite_jobs.Commit(write)))

    async def adjust(self, changes: Sequence[Adjust | LetterPut]) -> tuple[Answer, ...]:
        """Change tallies and dead letters without a fence; see `Store.adjust`."""
        self._check()
        return cast("tuple[Answer, ...]", await self._writer.submit(sqlite_jobs.Unfenced(changes)))

    async def append_items(self, run: str, epoch: int, items: Sequence[Item]) -> None:
        """Keep stream items; see `Store.append_items`."""
        self._check()
        await self._writer.submit(sqlite_jobs.Append(run, epoch, items))

    async def renew(self, owner: Owner) -> None:
        """Keep the owner's lease; from any thread, on a connection of its own, waiting where it stands."""
        self._check(any_thread=True)
        give_up = time.monotonic() + BUSY_SECONDS
        with self._beating:
            while True:
                try:
                    self._anchor.check()
                    if self._heartbeat is None:
                        self._heartbeat = self._connect()
                        self._heartbeat.longest = inf  # the writer copies the log, and sees to it if that fails
                    self._heartbeat.execute(sqlite_jobs.SQL["keep_lease"], self._held.lease(owner))
                except apsw.BusyError as busy:
                    if time.monotonic() > give_up:
                        raise refusal(busy, self.url) from busy
                    time.sleep(random.random() * WAIT_SECONDS)  # noqa: ASYNC251, S311 -- the heartbeat's own thread
                except apsw.Error as error:
                    raise refusal(error, self.url) from error
                else:
                    return

    async def load(self, run: str) -> Loaded:
        """Return what resuming needs, verified; see `Store.load`."""
        self._check()
        try:
            return await self._patiently(lambda: sqlite_read.load(self._reader(), run, self.url))
        except StoreCorrupt as error:
            await self._set_apart(run, error)
            raise

    async def find(self, query: Query[T]) -> list[T]:
        """Answer a query."""
        self._check()
        try:
            return await self._patiently(lambda: sqlite_read.find(self._reader(), query, self._clock))
        except StoreCorrupt as error:
            run = getattr(query, "run", None)
            if run is not None:
                await self._set_apart(run, error)
            raise

    async def _set_apart(self, run: str, error: StoreCorrupt) -> None:
        """Quarantine a run that was found damaged, and say so once; a store that cannot even do that raises nothing."""
        with suppress(StoreError):
            if (await self.maintain("quarantine", run=run, reason=str(error.args[0])))["new"]:
                LOG.error("%s: run %s is quarantined: %s", self.url, run, error.args[0])

    def version(self) -> int:
        """Return a number that has changed if another connection wrote since."""
        self._check()
        if not self._writer.on_thread:
            link = self._main()
            if link is not self._versioned:  # each connection counts for itself
                self._versioned = link
                self._generation += 1
            self._version = self._generation << 32 | link.value("PRAGMA data_version")
        return self._version

    async def maintain(self, chore: str, **options: Any) -> dict[str, Any]:
        """Do a chore on a connection and a thread of its own; the store need not be open. See `sqlite_chores`.

        Raises:
            StoreError: there is no such chore, or it could not be done.
        """
        if self._state == "open":
            self._check(any_thread=True)
        elif self._state == "closed":
            raise StoreError(f"{self.url} is closed")
        work = sqlite_chores.CHORES.get(chore)
        if work is None:
            raise StoreError(f"{chore!r} is no chore", hint=f"there are {', '.join(sqlite_chores.CHORES)}")
        if chore in ("prune", "check", "quarantine"):
            options = {**options, "clock": self._clock}
        stop = threading.Event()
        if chore == "prune":
            options = {**options, "stop": stop}
        try:
            return await asyncio.to_thread(work, self._connect, self.url, **options)
        except apsw.Error as error:
            raise refusal(error, self.url) from error
        finally:
            stop.set()  # who was cancelled leaves no thread behind that goes on for minutes

    async def close(self) -> None:
        """Finish what is queued, and let go of files and connections. Closing again does nothing."""
        if self._state != "open":
            self._state = "closed"
            return
        self._check()
        self._state = "closed"
        await self._writer.drain()
        with self._beating:
            for link in (self._beside, self._heartbeat):
                if link is not None:
                    link.close()
            self._beside = self._heartbeat = None
        self._anchor.close()
        self._writer.close()

    def _main(self) -> Link:
        """Return the main connection, opened again if an I/O error cost it."""
        self._writer.link = self._writer.link or self._connect()
        return self._writer.link

    def _reader(self) -> Link:
        """Return the connection that the loop may read from now."""
        if not self._writer.on_thread:
            return self._main()
        self._beside = self._beside or self._connect()
        return self._beside

    async def _patiently(self, work: Callable[[], T]) -> T:
        """Read, or open; while another process has the file to itself (it recovers the WAL), wait off the loop.

        Raises:
            StoreError: what SQLite's errors mean.
        """
        give_up = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                return work()
            except apsw.BusyError as busy:
                if time.monotonic() > give_up:
                    raise refusal(busy, self.url) from busy
                await asyncio.sleep(random.random() * WAIT_SECONDS)  # noqa: S311 -- turns, no secret
            except apsw.Error as error:
                raise refusal(error, self.url) from error
            except UnicodeEncodeError as error:
                raise StoreError(f"{self.url}: a name that is no text is in no store: {error}") from error
            except (msgspec.DecodeError, ValueError) as error:  # text or JSON that no Windlass wrote
                raise StoreCorrupt(f"{self.url}: {type(error).__name__}: {error}") from error


def open_url(url: str) -> SQLiteStore:
    """Make the store that a URL names, without opening it."""
    return SQLiteStore(url)
