"""The one place where a SQLite store writes: a queue of jobs that share transactions (group commit, D5).

A lone writer commits at once, inside its own call, without a future. Otherwise jobs queue up and one flush takes all
of them into one transaction: on the loop's thread while commits are fast, else on a thread of its own, where the loop
goes on and what is submitted meanwhile makes the next batch. Inline is the rule because apsw gives the interpreter's
lock away at every statement, and a thread has to win it back from a busy loop each time.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import apsw

from windlass.core.crashpoint import crashpoint
from windlass.core.errors import StoreUnavailable, WindlassError
from windlass.stores.sqlite_anchor import Anchor
from windlass.stores.sqlite_file import Link, lengthen, refusal, rewrite
from windlass.stores.sqlite_jobs import Holdings, Job

MOST_JOBS = 1_000  # in one transaction: about 15 ms of the loop's time
BUSY_SECONDS = 10.0  # how long another process may keep the write lock
WAIT_SECONDS = 0.005  # longest wait between two tries, jittered: processes that wait take turns
SLOW_SECONDS = 0.002  # when a COMMIT takes longer on average, batches move to the thread
PAGES_SECONDS = 0.00001  # of a COMMIT for each job in it: that is work, not a slow disk
SPIKE = 4  # a single slow COMMIT (it copied the WAL into the file) counts at most so many times SLOW_SECONDS
PATIENCE = 64  # batches on the thread before the loop is tried again
WARM = 32  # transactions before the WAL is lengthened

Waiting = tuple[Job, "asyncio.Future[Any]"]


class MustGoSingly(Exception):
    """A transaction of several jobs failed and was taken back: each is to be tried alone."""


class Writer:
    """Apply jobs in the order in which they were submitted.

    Args:
        connect: opens a connection; called again after an I/O error.
        anchor: is told of each transaction.
        wal: path of the write-ahead log; empty for a database in memory, which never uses the thread.
        slow: seconds of a COMMIT, on average, above which batches move to the thread; 0 moves all of them.
    """

    def __init__(
        self, connect: Callable[[], Link], held: Holdings, anchor: Anchor, wal: str, slow: float = SLOW_SECONDS
    ) -> None:
        self.connect = connect
        self.anchor = anchor
        self.held = held
        self.wal = wal
        self.slow = slow
        self.link: Link | None = None
        self.on_thread = False  # a batch is under way there: the connection is not the loop's
        self.pace = 0.0  # moving average of a COMMIT, in seconds
        self._queue: deque[Waiting] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None  # where a flush is scheduled
        self._task = 0  # the one that submitted last
        self._singly = 0  # jobs to be tried alone
        self._busy_until: float | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._batches = 0  # on the thread since the loop was last tried
        self._transactions = 0
        self._in_doubt = False  # a sync may have failed: nothing is written before `_trust` has come to its end

    async def submit(self, job: Job) -> Any:
        """Return when the job is durable, with what it told.

        A caller that is cancelled while it waits takes nothing back: the job keeps its place, and is done or refused.

        Raises:
            WindlassError: the job was refused and wrote nothing.
        """
        crashpoint(job.label + ".before")
        outcome = self._alone(job) if self._is_alone() else None
        if outcome is None:
            waiter = self._enqueue(job)
            outcome = await waiter
        else:
            outcome = outcome[0]
            if isinstance(outcome, Exception):
                raise outcome
        crashpoint(job.label + ".after")
        return outcome

    def _is_alone(self) -> bool:
        """Say whether nobody can be waiting to share a transaction.

        That is so when the same task submits again: a run that goes step by step. When many activations of one run
        end in one turn of the loop, only the first commits by itself.
        """
        task = id(asyncio.current_task())
        is_same, self._task = self._task in (0, task), task
        return is_same and not self._queue and not self.on_thread and len(self.held.runs) <= 1 and not self._is_slow()

    def _is_slow(self) -> bool:
        if self.pace < self.slow or not self.wal:
            return False
        if self.slow and self._batches >= PATIENCE:  # on the thread a COMMIT seems slow when the loop is busy
            self._batches = 0
            self.pace = 0.0
            return False
        return True

    def _alone(self, job: Job) -> list[Any] | None:
        """Commit a job at once; None when another process holds the lock."""
        try:
            outcomes = self._transact((job,))
        except apsw.BusyError:
            return None
        if not isinstance(outcomes[0], Exception):
            job.landed(self.held, outcomes[0])
        return outcomes

    def _enqueue(self, job: Job) -> "asyncio.Future[Any]":
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        self._queue.append((job, waiter))
        self._schedule(loop)
        return waiter

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not loop and not self.on_thread:  # another loop: the one that scheduled last has ended
            self._loop = loop
            loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Take what is queued into one transaction."""
        loop, self._loop = self._loop, None
        if loop is None or self.on_thread or not self._queue:
            return
        size = 1 if self._singly else min(len(self._queue), MOST_JOBS)
        batch = [self._queue.popleft() for _ in range(size)]
        jobs = [job for job, _ in batch]
        if self._is_slow():
            self._batches += 1
            self.on_thread = True
            self._thread = self._thread or ThreadPoolExecutor(1, "windlass-sqlite")
            work = loop.run_in_executor(self._thread, self._patiently, jobs)
            work.add_done_callback(partial(self._come_back, loop, batch))
            return
        try:
            outcomes = self._transact(jobs)
        except MustGoSingly:
            self._queue.extendleft(reversed(batch))
            self._singly = size
        except apsw.BusyError as busy:
            if self._may_wait():
                self._queue.extendleft(reversed(batch))
                self._loop = loop
                loop.call_later(random.random() * WAIT_SECONDS, self._flush)  # noqa: S311 -- turns, no secret
                return
            self._settle(batch, [self._refusal(busy) for _ in batch])
        except BaseException:  # Ctrl-C: the transaction was taken back, and `close` still finishes what was queued
            self._queue.extendleft(reversed(batch))
            raise
        else:
            self._settle(batch, outcomes)
        if self._queue:
            self._schedule(loop)

    def _may_wait(self) -> bool:
        now = time.monotonic()
        self._busy_until = self._busy_until or now + BUSY_SECONDS
        if now < self._busy_until:
            return True
        self._busy_until = None
        return False

    def _patiently(self, jobs: Sequence[Job]) -> list[Any]:
        """Transact on the thread, where waiting blocks nobody."""
        while True:
            try:
                return self._transact(jobs)
            except apsw.BusyError as busy:
                if not self._may_wait():
                    return [self._refusal(busy) for _ in jobs]
                time.sleep(random.random() * WAIT_SECONDS)  # noqa: S311 -- turns, no secret

    def _come_back(
        self, loop: asyncio.AbstractEventLoop, batch: list[Waiting], work: "asyncio.Future[list[Any]]"
    ) -> None:
        self.on_thread = False
        error = work.exception()
        if isinstance(error, MustGoSingly):
            self._queue.extendleft(reversed(batch))
            self._singly = len(batch)
        else:
            self._settle(batch, [self._refusal(error) for _ in batch] if error else work.result())
        if self._queue:
            self._schedule(loop)

    def _settle(self, batch: list[Waiting], outcomes: list[Any]) -> None:
        self._singly = max(0, self._singly - len(batch))
        for (job, waiter), outcome in zip(batch, outcomes, strict=True):
            is_refused = isinstance(outcome, Exception)
            if not is_refused:
                job.landed(self.held, outcome)
            if waiter.done() or waiter.get_loop().is_closed():  # whoever waited is gone; the job is done all the same
                continue
            if is_refused:
                waiter.set_exception(outcome)
            else:
                waiter.set_result(outcome)

    def _transact(self, jobs: Sequence[Job]) -> list[Any]:
        """Apply jobs in one transaction; the outcome of each is what it told, or the error that refused it.

        Raises:
            BusyError: another process holds the lock; nothing was written.
            MustGoSingly: one of several failed; nothing was written.
        """
        try:
            link = self._begin()
        except apsw.BusyError:
            raise
        except (apsw.Error, WindlassError) as error:
            self._lose(error)
            return [self._refusal(error) for _ in jobs]
        self._transactions += 1
        if self._transactions == WARM and self.wal:
            lengthen(self.wal)
        outcomes: list[Any] = []
        self.held.begin()
        try:
            for job in jobs:
                try:
                    outcomes.append(job.apply(link, self.held))
                except WindlassError as refused:
                    outcomes.append(refused)
        except BaseException as error:
            self._lose(take_back(link, error))
            if not isinstance(error, Exception) or isinstance(error, apsw.BusyError):
                raise
            if len(jobs) > 1:
                raise MustGoSingly from error
            return [self._refusal(error)]
        begun = time.perf_counter()
        try:
            link.execute("COMMIT")
        except apsw.Error as error:
            return self._after_failed_commit(link, jobs, outcomes, error)
        if link.is_torn:
            with suppress(apsw.Error, StoreUnavailable):  # or before the next write: until then the log holds all
                self._reopen().mend()
        self.anchor.tell(self.held.written)
        self._busy_until = None
        waited = time.perf_counter() - begun - PAGES_SECONDS * len(jobs)
        self.pace += (min(max(waited, 0.0), SPIKE * SLOW_SECONDS) - self.pace) / 8
        return outcomes

    def _begin(self) -> Link:
        """Open a transaction, in the file that was opened and on a connection that can be trusted."""
        self.anchor.check()
        if self._in_doubt:
            self._trust(self._reopen())
        link = self.link = self.link or self.connect()
        if link.is_torn:
            link = self._reopen()
            link.mend()
        link.execute("BEGIN IMMEDIATE")
        return link

    def _lose(self, error: BaseException) -> None:
        """Drop the connection after an error that may have hurt it."""
        is_hurt = isinstance(error, apsw.IOError | apsw.CorruptError | apsw.NotADBError)
        if is_hurt and self.link is not None and self.wal and not (self._in_doubt or self.link.is_torn):
            link, self.link = self.link, None
            link.close()

    def _after_failed_commit(
        self, link: Link, jobs: Sequence[Job], outcomes: list[Any], error: apsw.Error
    ) -> list[Any]:
        """Find out what a COMMIT that raised has done, on a new connection."""
        if isinstance(error, apsw.FullError | apsw.BusyError):  # known: it wrote nothing that counts
            self._lose(take_back(link, error))
            if isinstance(error, apsw.BusyError):
                raise error
            if len(jobs) > 1:
                raise MustGoSingly from error
            return [self._refusal(error)]
        try:
            self._in_doubt = True
            take_back(link, error)
            link = self._reopen()
            written = [job.written(link, self.held) for job in jobs]
            self._trust(link)
        except (apsw.Error, WindlassError) as again:
            unknown = f"{self.held.url}: it is not known whether a write became durable: {again}"
            return [StoreUnavailable(unknown) for _ in jobs]
        return [
            outcome if found or isinstance(outcome, Exception) else self._refusal(error)
            for found, outcome in zip(written, outcomes, strict=True)
        ]

    def _reopen(self) -> Link:
        """Connect anew, and only then let go of the old connection.

        While one of them lives, what a failed COMMIT left behind the end of the WAL stays invisible, and the next
        COMMIT writes over it.
        """
        old, self.link = self.link, self.connect()
        if old is not None:
            self.link.is_torn = old.is_torn
            old.close()
        return self.link

    def distrust(self, link: Link) -> None:
        """Take nothing that the WAL holds for durable: who wrote it may have died of a sync that failed."""
        self._in_doubt = True
        with suppress(apsw.Error, StoreUnavailable):  # somebody writes, or the disk fails: the first write tries again
            self._trust(link)

    def _trust(self, link: Link) -> None:
        rewrite(link, self.wal)
        self._in_doubt = False

    def _refusal(self, error: BaseException) -> WindlassError:
        return refusal(error, self.held.url)

    async def drain(self) -> None:
        """Wait until nothing is queued or under way."""
        while self._queue or self.on_thread:
            self._schedule(asyncio.get_running_loop())
            await asyncio.sleep(0.001)

    def close(self) -> None:
        """Let go of the thread and the connection; call `drain` first."""
        if self._thread is not None:
            self._thread.shutdown()
        if self.link is not None:
            self.link.close()
            self.link = None


def take_back(link: Link, error: BaseException) -> BaseException:
    """Roll a failed transaction back; returns the error that counts."""
    try:
        if link.connection.in_transaction:  # SQLite may have rolled back by itself
            link.execute("ROLLBACK")
    except apsw.Error as again:
        return again
    return error
