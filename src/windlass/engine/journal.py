"""The write side of a run: numbers rows, folds them into the position, and makes them durable as declared.

Rows leave in the order in which they were submitted. The position is folded at submission, so it may be ahead of the
store while a write is on its way; if a write fails the journal is broken, nothing more is written, and the run goes
on from its last durable row when it is next claimed.

Durability (D25): under `sync` a write returns when it is durable. Under `async` one commit is in flight, and
the writer waits too once 64 rows or 1 MB are not durable; under `exit` rows wait for the next flush point. A flush
point (`flush=True`: effects, questions, timers, commands, the end) takes the whole prefix with it, in every mode.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import msgspec

from windlass.core import records as r
from windlass.core.changes import Adjust, BlobPut, Change, ManifestPut, Write
from windlass.core.clock import Seams
from windlass.core.codec import Codec
from windlass.core.errors import StoreError, StoreUnavailable
from windlass.core.events import count
from windlass.core.ops import Op
from windlass.core.position import Position, path_key
from windlass.core.records import ENCODER, Blob, Body, Head, Manifest, Row, Said
from windlass.core.secret import MASKS
from windlass.core.states import ENDED, Status
from windlass.core.tallies import Answer
from windlass.engine.reconcile import Step
from windlass.engine.redacting import cleaned, told
from windlass.stores.base import Store, row_digest

T = TypeVar("T")
MOST_BEHIND, MOST_BYTES_BEHIND = 64, 1_000_000  # rows and bytes that `async` may owe in all (D25)
MOST_ROWS, MOST_ROW_BYTES = 1_000, 1 << 20  # a snapshot is due after so many rows, or bytes beyond its own size (D24)


async def shielded(going: "asyncio.Future[T]") -> T:
    """Wait for what goes on even if whoever waits is cancelled, or closed; an error that comes then counts as heard."""
    outer = asyncio.shield(going)
    try:
        return await outer
    except (asyncio.CancelledError, GeneratorExit):
        if outer.done() and not outer.cancelled():
            outer.exception()
        raise


class Journal:
    """One owner's pen for one run."""

    def __init__(
        self, store: Store, seams: Seams, record: r.RunRecord, position: Position, told: Callable[[], None],
        blobs: dict[str, bytes], codec: Codec | None,
    ) -> None:  # fmt: skip
        self.store = store
        self.seams = seams
        self.record = record
        self.position = position
        self.told = told  # called after each durable write
        self.head = record.head
        self.blobs = blobs
        self.codec = codec
        self.snapshot_due = False
        self.broken: BaseException | None = None
        self.at_release: list[Change] = []  # what the write that gives the run up carries
        # What rides along with each write, given the step, the bytes of its row, and whether the run needs no more.
        self.rider: Callable[[Step | None, int, bool], list[Change]] | None = None
        # What a row that ends the run tells the run's parent, given its status and what it says.
        self.farewell: Callable[[Status, tuple[Said, ...]], tuple[Change, ...]] | None = None
        self.posted: list[tuple[str, str]] = []  # commands of this run to others: which run, and the verb
        self.answered: Callable[[list[Adjust], tuple[Answer, ...]], None] = lambda *_: None
        self._ops: list[Op] = []
        self._said: list[Said] = []
        self._changes: list[Change] = []
        self._hits = MASKS.hits  # as long as it stays so, nothing was masked that this pen could write
        self._fresh: list[str] = []  # digests of blobs in `_changes`
        self._flush: asyncio.Future[None] | None = None
        self._record: asyncio.Future[None] | None = None  # of the last that was written beside the loop
        self._behind: list[Write] = []
        self._owed_rows = 0  # not durable yet, the batch in flight included
        self._owed_bytes = 0
        self._sending: asyncio.Task[None] | None = None

    def blob(self, digest: str) -> bytes:
        """Return a blob that was loaded or written in this process."""
        return self.blobs[digest]

    def keep(self, blobs: Iterable[Any]) -> None:
        """Put blobs into the next write."""
        for blob in blobs:
            if blob.digest not in self.blobs:
                self.blobs[blob.digest] = blob.content
                self._fresh.append(blob.digest)
                self._changes.append(BlobPut(Blob(blob.digest, bytes(blob.content))))

    def say(self, kind: str, address: str = "", /, **details: Any) -> None:
        """Put an event into the next write."""
        self._said.append(Said(kind, address, details))

    def note(self, *ops: Op) -> None:
        """Put what happened inside activations into the next write, without waiting for it."""
        self._ops += ops

    @property
    def has_notes(self) -> bool:
        """Whether anything that makes an event was put aside for the next write; changes alone ride along with it."""
        return bool(self._ops or self._said)

    @property
    def has_changes(self) -> bool:
        """Whether changes wait for a write."""
        return bool(self._changes or self.at_release or self.rider)

    @property
    def is_behind(self) -> bool:
        """Whether a write is on its way, or waits for a flush point."""
        return self._sending is not None or bool(self._behind)

    def count_crash(self, crashes: int) -> None:
        """Set the number of owners that died in a row; a step sets it back."""
        self.head = msgspec.structs.replace(self.head, crashes=crashes)

    def change(self, *changes: Change) -> None:
        """Put changes to the small tables into the next write."""
        self._changes += changes

    async def record_op(self, *ops: Op) -> None:
        """Keep what happened inside an activation; returns when it is durable.

        What several tasks of the run record in one turn of the loop shares a row.
        """
        self._ops += ops
        if self._flush is None:
            self._flush = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(self._start_flush, self._flush)
        await shielded(self._flush)

    def _start_flush(self, waiter: "asyncio.Future[None]") -> None:
        if self._flush is waiter:  # nobody's write has taken the ops along in the meantime
            self._record = waiter
            self.seams.background(self.write("record"), f"record {self.record.id}")

    async def settled(self) -> None:
        """Wait until nothing is on its way to the store any more; `broken` says whether it arrived."""
        if self._record is not None and not self._record.done():
            await asyncio.wait([self._record])
        if self.is_behind and self.broken is None:
            with suppress(StoreError):
                await self.drain()

    async def write(
        self, kind: r.RowKind, *, step: Step | None = None, finished: tuple[r.Finished, ...] = (),
        dropped: tuple[str, ...] = (), status: Status | None = None, due_at: float | None = None,
        release: bool = False,
    ) -> None:  # fmt: skip
        """Write a row with everything that was put aside for it, and fold it.

        Durable when it returns, or queued in order if the run's durability allows and no flush point is in it.

        Raises:
            StoreError: the write failed; the journal is broken from then on.
        """
        waiter, self._flush = self._flush, None
        if self.broken is not None:
            if waiter is not None and not waiter.done():
                waiter.set_exception(self.broken)
                waiter.exception()  # whoever waited may be gone
            raise self.broken
        if kind == "record" and not self.has_notes:
            return  # a row tells at least one event; changes ride along with the next one
        flush = bool(self._ops) or kind == "record" or status is not None or release
        status = status or self.head.status
        if status is Status.WAITING and not release:
            status = Status.RUNNING  # somebody drives it; if that one dies, nothing else says that there is work
        try:
            write = self.compose(kind, step, finished, dropped, status, due_at, release)
            await self._send(write, flush=flush)
        except BaseException as error:
            if self.broken is None:
                interrupted = isinstance(error, asyncio.CancelledError)
                self.broken = StoreUnavailable("a write was interrupted") if interrupted else error
            if waiter is not None and not waiter.done():
                waiter.set_exception(error)
                waiter.exception()  # whoever waited may be gone
            raise
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def write_changes(self, *, release: bool = False) -> None:
        """Make the changes that were put aside durable by themselves, without an event that tells of them."""
        changes, self._changes = cleaned(tuple(self._changes)), []
        if release:
            changes += tuple(self.at_release)
        if self.rider is not None:
            changes += tuple(self.rider(None, 0, release or is_over(self.head.status)))
        write = Write(self.record.id, self.record.epoch, self.position.seq, (), self.head, changes, release)
        await self._send(write, flush=True)

    def compose(
        self, kind: r.RowKind, step: Step | None, finished: tuple[r.Finished, ...], dropped: tuple[str, ...],
        status: Status, due_at: float | None, release: bool,
    ) -> Write:  # fmt: skip
        """Make the next row with everything put aside for it, and fold it into the position."""
        position = self.position
        now = self.seams.clock.now()
        if step is not None:
            self.keep(step.blobs)
        ops, self._ops = cleaned(tuple(self._ops)), []
        said, self._said = cleaned(tuple(self._said)), []
        changes, self._changes = cleaned(tuple(self._changes)), []
        fresh, self._fresh = tuple(self._fresh), []
        position.held.update(fresh)
        settled = position.settled
        if step is not None and step.frame:  # nothing where one is opened
            settled = position.frames[step.frame].settled if step.frame in position.frames else {}
        if MASKS.hits != self._hits:
            results = step.results if step is not None and not step.finished and not settled else {}
            contents = {digest: self.blobs[digest] for digest in fresh}
            said += told(ops, finished if step is None else step.finished, results, contents)
        is_end = step is not None and not step.edited
        applied = tuple(sorted(settled, key=path_key)) if is_end and settled else ()
        if step is None:
            body = Body(now, ops, finished, dropped=dropped, said=said, blobs=fresh)
            position.fold(kind, body)
        else:
            body = Body(
                now, ops, step.finished, step.results, step.deltas, step.planned, dropped, said, "", fresh, applied,
                step.edited, step.frame, step.given,
            )  # fmt: skip
            position.fold(kind, body, step.channels)
            body.digest = position.digest()
        first = position.seq + 1
        position.seq = last = position.seq + count(kind, body)
        data = ENCODER.encode(body)
        run = self.record.id
        row = Row(run, first, last, position.branch, position.n, kind, now, data, row_digest(run, first, last, data))
        position.rows += 1
        position.row_bytes += len(data)
        before, crashes = self.head.status, 0 if kind == "step" else self.head.crashes
        self.head = Head(status, position.branch, position.n, last, due_at, crashes)
        if release:
            changes += tuple(self.at_release)
        if self.farewell is not None and status in ENDED and status is not before:
            changes += cleaned(self.farewell(status, said))
        due = position.rows >= MOST_ROWS or position.row_bytes >= max(MOST_ROW_BYTES, position.snapshot_bytes)
        if due or self.snapshot_due:
            changes += self.snapshot()
        if self.rider is not None:
            changes += tuple(self.rider(step, len(data), release or is_over(status)))
        return Write(run, self.record.epoch, first - 1, (row,), self.head, changes, release)

    async def send(self, writes: Sequence[Write]) -> None:
        """Make composed writes durable together, whatever the run's durability; nothing else may be on its way."""
        if answers := await self.store.commit(write := merged(list(writes))):
            self._pass_on(write, answers)
        self.told()

    def branch(self, position: Position, branch: int) -> None:
        """Go on from another position, on a new branch; the next row brings its snapshot."""
        position.seq, position.branch = self.position.seq, branch
        self.position = position
        self.snapshot_due = True

    def snapshot(self) -> tuple[Change, ...]:
        """Make a snapshot of the position as it stands, long pieces out of line."""
        position = self.position
        channels = [channel for frame in position.whole() for channel in frame.channels.values()]
        new = [blob for channel in channels for blob in channel.compact(self.codec, self.blob)]
        for blob in new:
            self.blobs[blob.digest] = bytes(blob.content)
            position.held.add(blob.digest)
        references = position.references()
        self.blobs = {digest: self.blobs[digest] for digest in references if digest in self.blobs}
        body = position.dump()
        position.rows = position.row_bytes = 0
        position.snapshot_bytes = len(body)
        self.snapshot_due = False
        digest = row_digest(position.run, position.seq, position.seq, body)
        kept = (position.run, position.seq, position.branch, position.n, body, digest, tuple(sorted(references)))
        puts = tuple(BlobPut(Blob(blob.digest, bytes(blob.content))) for blob in new)
        return (*puts, ManifestPut(Manifest(*kept)))

    async def _send(self, write: Write, *, flush: bool) -> None:
        if self.record.durability == "sync" or (flush and not self._behind and self._sending is None):
            if answers := await self.store.commit(write):
                self._pass_on(write, answers)
            self.told()
            return
        self._behind.append(write)
        self._owed_rows += len(write.rows)
        self._owed_bytes += weight(write)
        if flush:
            await self.drain()
        elif self.record.durability == "async":
            if self._sending is None:
                self._sending = self.seams.spawn(self._send_behind(), f"journal {self.record.id}")
            if self._owed_rows >= MOST_BEHIND or self._owed_bytes >= MOST_BYTES_BEHIND:
                await asyncio.shield(self._sending)

    def _pass_on(self, write: Write, answers: tuple[Answer, ...]) -> None:
        self.answered([change for change in write.changes if isinstance(change, Adjust)], answers)

    async def drain(self) -> None:
        """Make everything submitted so far durable.

        Raises:
            StoreError: a write failed.
        """
        if self._sending is not None:
            await asyncio.shield(self._sending)
        if self._behind:
            await self._send_behind()
        if self.broken is not None:
            raise self.broken

    async def _send_behind(self) -> None:
        try:
            while self._behind:
                writes, self._behind = self._behind, []
                write = merged(writes)
                if answers := await self.store.commit(write):
                    self._pass_on(write, answers)
                self.told()
                self._owed_rows -= sum(len(write.rows) for write in writes)
                self._owed_bytes -= sum(map(weight, writes))
        except BaseException as error:
            self.broken = error
            raise
        finally:
            self._sending = None


def is_over(status: Status) -> bool:
    """Say whether a run works on nothing: who owns it then only writes something down, and holds nothing."""
    return status in ENDED or status is Status.PAUSED


def weight(write: Write) -> int:
    """Count the bytes of a write: bodies, and contents out of line."""
    contents = sum(len(change.blob.content) for change in write.changes if isinstance(change, BlobPut))
    return contents + sum(len(row.body) for row in write.rows)


def merged(writes: list[Write]) -> Write:
    """Make one write of several that follow each other."""
    first, last = writes[0], writes[-1]
    rows = tuple(row for write in writes for row in write.rows)
    changes = tuple(change for write in writes for change in write.changes)
    return Write(first.run, first.epoch, first.after, rows, last.head, changes, last.release)
