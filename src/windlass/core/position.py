"""Where a run stands: channels, what waits to run, and what has happened inside it; folded from the run's log.

`fold` is the one way forward: the live engine applies each row to its position as it writes it, and loading applies
the rows after the latest snapshot. So what resume sees is what went on, by construction.
"""

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct

from windlass.core import ops
from windlass.core import records as r
from windlass.core.channels import Channel
from windlass.core.channels import Kept as KeptChannel
from windlass.core.frames import Frame, KeptFrame, by_place, in_order, keep, parse, path_key, place
from windlass.core.pending import Pending, note_child, note_effect, note_failure, note_question, tick
from windlass.core.pieces import REFERENCE
from windlass.core.records import Body, Finished, Planned

__all__ = ["Frame", "Position", "in_order", "load", "parse", "path_key", "place", "settle"]

FOLDED = ("timer.fired", "question.reminded", "question.escalated", "question.withdrawn")  # events that are state, too
ASIDE = (ops.UndoIntended, ops.EffectUndone, ops.EffectLeft)  # of a branch that is being left, or was
TOLD = (ops.CallRecorded, ops.EffectCompleted, ops.QuestionAnswered, ops.SignalTaken)
DONE = int.from_bytes(sha256(b"done").digest(), "big") | 1  # odd: a bijection modulo 2^256


class Position(Frame):
    """The state of a run after some row of its log: the frame of its own definition, and all that is the run's.

    `n` counts the steps of the whole run, those of sub-graphs included: it numbers checkpoints.

    Args:
        kinds: the kinds of all channels by their static paths: `draft`, `team/draft`.
    """

    __slots__ = (
        "branch", "frames", "held", "inner", "kinds", "marks", "pending", "promised", "row_bytes", "rows", "run", "seq",
        "signals", "snapshot_bytes", "total",
    )  # fmt: skip

    def __init__(self, run: str, kinds: dict[str, str]) -> None:
        self.kinds = by_place(kinds)
        super().__init__("", self.kinds[""])
        self.run = run
        self.branch = 0
        self.seq = 0
        self.inner = 0  # steps that were taken in frames of sub-graphs
        self.frames: dict[str, Frame] = {}  # of sub-graphs that are under way, by path
        self.pending: dict[str, Pending] = {}
        self.signals: dict[str, ops.SignalReceived] = {}  # that nobody has taken, in the order in which they came
        self.promised: set[str] = set()  # of them and of waits, by id and key: being given, in a row not yet folded
        self.total = 0  # sum of all marks, mod 2^256: the state digest
        self.marks: dict[str, int] = {}  # of waiting activations
        self.held: set[str] = set()  # blobs that the log or a snapshot brought
        self.rows = 0  # since the last snapshot
        self.row_bytes = 0
        self.snapshot_bytes = 0

    @property
    def steps(self) -> int:
        """How many steps the run's own definition has taken."""
        return self.n - self.inner

    def frame(self, path: str) -> Frame:
        """Return the frame at a path; the root for none."""
        return self.frames[path] if path else self

    def at(self, address: str) -> Frame:
        """Return the frame in which an activation runs; the root if there is none any more, which knows no such."""
        return self.frames.get(address.rpartition("/")[0], self) if self.frames else self

    def whole(self) -> Iterator[Frame]:
        """Yield the root and the frames of all sub-graphs that are under way."""
        yield self
        yield from self.frames.values()

    def open(self) -> list[str]:
        """List what waits to run and has not finished; a sub-graph that is under way stands for what is in it."""
        return [
            address for frame in self.whole() for address in frame.waiting
            if address not in frame.settled and address not in self.frames
        ]  # fmt: skip

    def waits(self, address: str) -> bool:
        """Say whether an activation waits to run, or runs: it has not finished."""
        frame = self.at(address)
        return address in frame.waiting and address not in frame.settled

    def is_open(self, path: str) -> bool:
        """Say whether a sub-graph is under way: its frame is there, and its end is not."""
        return path in self.frames and self.waits(path)

    def digest(self) -> str:
        """Return the state digest (D8): channels, finished addresses and the waiting plan; no time, no sequence.

        A sum of SHA-256 marks modulo 2^256 (AdHash: Bellare and Micciancio, 1997), so a step costs what it changes.
        """
        return f"{self.total:064x}"

    def fold(self, kind: str, body: Body, channels: dict[str, Channel] | None = None) -> None:
        """Apply a row.

        Args:
            channels: the changed channels of a step, where the caller has worked them out already.
        """
        for op in body.ops:
            self._note(op)
            if isinstance(op, TOLD) and op.address in self.pending:
                self.pending[op.address].heard_at = body.at
        for said in body.said:
            if said.type in FOLDED and said.address in self.pending:
                tick(self.pending[said.address], said)
        if kind == "writes":
            for finished in body.finished:
                self.at(finished.address).settled[finished.address] = finished
                self.pending.pop(finished.address, None)
        elif kind == "step":
            frame = self._frame(body) if body.frame else self
            done = list(body.finished)
            if frame.settled and not body.edited:
                done = in_order([*frame.settled.values(), *done])
            self._advance(frame, body, done, channels if channels is not None else settle(frame, body, in_order(done)))

    def _frame(self, body: Body) -> Frame:
        """Return the frame that a step is of; one that is not there yet is opened by it."""
        frame = self.frames.get(body.frame)
        if frame is None:
            frame = self.frames[body.frame] = Frame(body.frame, self.kinds.get(place(body.frame), {}))
            frame.given = {name: body.results[name] for name in body.given}
        return frame

    def _advance(self, frame: Frame, body: Body, done: list[Finished], changed: dict[str, Channel]) -> None:
        total = self.total
        for finished in done:
            self.pending.pop(finished.address, None)
            if finished.address in frame.waiting:
                mark = self._drop(frame, finished.address)
                total -= mark
                if self.frames:
                    total -= self._close(finished.address)
            else:  # an empty map is finished without having waited
                node, visit, _ = parse(finished.address)
                frame.visits[node] = visit
                mark = _mark(finished.address, ops.NULL)
            total += mark * DONE
        if body.edited:
            for address, pending in self.pending.items():
                if not self.frames or self.at(address) is frame:
                    pending.age()
        else:
            frame.settled.clear()
        for address in body.dropped:
            self.pending.pop(address, None)
            if address in frame.waiting:
                total -= self._drop(frame, address)
                total -= self._close(address)
        for name, channel in changed.items():
            total += channel.mark - frame.channels[name].mark
            frame.channels[name] = channel
        for planned in body.planned:
            total += self._add(frame, planned)
            node, visit, _ = parse(planned.address)
            frame.visits[node] = visit
        self.total = total % (1 << 256)
        self.n += 1
        if frame is not self:
            frame.n += 1
            self.inner += 1

    def _add(self, frame: Frame, planned: Planned) -> int:
        address = planned.address
        frame.waiting[address] = planned
        node = parse(address)[0]
        frame.left[node] = frame.left.get(node, 0) + 1
        mark = self.marks[address] = _mark(address, planned.payload)
        return mark

    def _drop(self, frame: Frame, address: str) -> int:
        del frame.waiting[address]
        frame.left[parse(address)[0]] -= 1
        return self.marks.pop(address)

    def _close(self, path: str) -> int:
        """Forget the frame of a sub-graph, and those within it; return the marks of what goes with them."""
        frame = self.frames.pop(path, None)
        if frame is None:
            return 0
        marks = sum(channel.mark for channel in frame.channels.values())
        for address in frame.waiting:
            self.pending.pop(address, None)
            marks += self.marks.pop(address) + self._close(address)
        return marks

    def _note(self, op: ops.Op) -> None:
        if isinstance(op, ASIDE):
            return
        if isinstance(op, ops.SignalReceived):
            self.signals[op.id] = op
            return
        pending = self.pending.get(op.address)
        if pending is None:
            pending = self.pending[op.address] = Pending()
        match op:
            case ops.CallRecorded():
                pending.calls[op.key] = op.value
            case ops.TimerSet():
                pending.timers[op.key] = op.due_at
            case ops.QuestionAsked() | ops.QuestionAnswered():
                note_question(pending, op)
            case ops.AttemptFailed():
                note_failure(pending, op)
            case ops.SignalAwaited() | ops.SignalTaken() | ops.SignalLeft():
                self._note_signal(pending, op)
            case ops.ChildStarted() | ops.ChildEnded():
                note_child(pending, op)
            case ops.AttemptsReset():
                pending.begin_anew()
            case _:
                note_effect(pending, op)

    def _note_signal(self, pending: Pending, op: ops.SignalAwaited | ops.SignalTaken | ops.SignalLeft) -> None:
        pending.stale.discard(op.key)
        if isinstance(op, ops.SignalAwaited):
            pending.awaited[op.key] = op
        elif isinstance(op, ops.SignalTaken):
            stand_in = ops.SignalReceived("", op.name, op.value)
            pending.signals[op.key] = self.signals.pop(op.id, stand_in)
            self.promised -= {op.id, f"{op.address} {op.key}"}
            if op.expired == "reject":
                pending.lapsed[op.key] = pending.resets
        else:
            signal = pending.signals.pop(op.key, None)
            if not op.why:
                pending.awaited.pop(op.key, None)
                self.signals = {signal.id: signal, **self.signals} if signal is not None else self.signals

    def references(self) -> set[str]:
        """Name the blobs that channels, plan and pending operations refer to."""
        if not self.held:
            return set()
        frames = list(self.whole())
        channels = [channel for frame in frames for channel in frame.channels.values()]
        parts = [piece for channel in channels for piece in channel.pieces[: channel.count]]
        rest = (
            list(self.pending.values()),
            *([*frame.waiting.values(), *frame.settled.values(), *frame.given.values()] for frame in frames),
        )
        parts.append(msgspec.json.encode(rest))
        return {match.decode() for part in parts for match in REFERENCE.findall(part)} & self.held

    def forget(self, nodes: set[str]) -> None:
        """Take nodes of a pipeline back to before they were planned: their visits and their outputs."""
        for node in nodes:
            self.visits.pop(node, None)
            channel = self.channels[node]
            if channel.version:
                self.channels[node] = channel.after((), whole=True)
                self.total = (self.total + self.channels[node].mark - channel.mark) % (1 << 256)

    def dump(self) -> bytes:
        """Encode the position as the body of a snapshot."""
        kept = Kept(
            n=self.n,
            visits=self.visits,
            waiting=list(self.waiting.values()),
            settled=list(self.settled.values()),
            pending=self.pending,
            channels={name: channel.dump() for name, channel in self.channels.items() if channel.version},
            total=f"{self.total:x}",
            inner=self.inner,
            frames={path: keep(frame) for path, frame in self.frames.items()},
            signals=list(self.signals.values()),
        )
        return msgspec.json.encode(kept)

    def restore(self, manifest: r.Manifest) -> None:
        """Take over a snapshot."""
        kept = msgspec.json.decode(manifest.body, type=Kept)
        self.branch, self.n, self.seq = manifest.branch, kept.n, manifest.seq
        self.inner = kept.inner
        self.visits = kept.visits
        self.waiting, self.left, self.marks, self.frames = {}, {}, {}, {}
        for planned in kept.waiting:
            self._add(self, planned)
        self.settled = {done.address: done for done in kept.settled}
        self.pending = kept.pending
        for name, channel in kept.channels.items():
            self.channels[name] = Channel.restore(name, channel)
        for path, frame in kept.frames.items():
            self.frames[path] = self._restored(path, frame)
        self.signals = {signal.id: signal for signal in kept.signals}
        self.total = int(kept.total, 16)
        self.rows = self.row_bytes = 0
        self.snapshot_bytes = len(manifest.body)

    def _restored(self, path: str, kept: KeptFrame) -> Frame:
        frame = Frame(path, self.kinds.get(place(path), {}))
        frame.n, frame.visits, frame.given = kept.n, kept.visits, kept.given
        for planned in kept.waiting:
            self._add(frame, planned)
        frame.settled = {done.address: done for done in kept.settled}
        for name, channel in kept.channels.items():
            frame.channels[name] = Channel.restore(frame.prefix + name, channel)
        return frame


class Kept(Struct, omit_defaults=True):
    """The body of a snapshot."""

    n: int
    visits: dict[str, int]
    waiting: list[Planned]
    settled: list[Finished]
    pending: dict[str, Pending]
    channels: dict[str, KeptChannel]
    total: str
    inner: int = 0
    frames: dict[str, KeptFrame] = {}
    signals: list[ops.SignalReceived] = []


def load(loaded: r.Loaded) -> Position:
    """Fold what a store loaded: the latest snapshot and the rows after it."""
    position = Position(loaded.record.id, loaded.record.channels)
    if loaded.manifest is not None:
        position.restore(loaded.manifest)
        position.held.update(loaded.manifest.blobs)
    for row in loaded.rows:
        body = r.BODY.decode(row.body)
        position.fold(row.kind, body)
        position.held.update(body.blobs)
        position.seq = row.last
        position.branch = row.branch
        position.rows += 1
        position.row_bytes += len(row.body)
    return position


def settle(frame: Frame, body: Body, done: list[Finished], known: dict[str, Any] | None = None) -> dict[str, Channel]:
    """Work out the channels after a step from its record alone: deltas in path order, results as they stand.

    Args:
        known: by channel, the decoded value of this step's writes where the caller has it (`Channel.after`).
    """
    known = known or {}
    deltas: dict[str, list[bytes]] = {}
    for finished in done:
        for name, raw in finished.writes.items():
            if name not in body.results and name not in body.deltas:
                deltas.setdefault(name, []).append(bytes(raw))
    for name, raw in body.deltas.items():
        if name not in body.results:
            deltas[name] = [bytes(raw)]
    channels = frame.channels
    changed = {name: channels[name].after(tuple(pieces), known.get(name, UNSET)) for name, pieces in deltas.items()}
    for name, raw in body.results.items():
        changed[name] = channels[name].after((bytes(raw),), known.get(name, UNSET), whole=True)
    for name in frame.ephemeral:
        if name not in changed and channels[name].count and not body.edited:
            changed[name] = channels[name].after((), whole=True)
    return changed


def _mark(address: str, payload: Raw) -> int:
    """Digest a planned activation; times DONE, it is the mark of the finished one."""
    return int.from_bytes(sha256(b"%s|%s" % (address.encode(), bytes(payload))).digest(), "big")
