"""How the nodes of a run stand, folded from its events: for `runs show` and the live view."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from windlass.core.events import Event
from windlass.core.position import Frame, Position, parse, place
from windlass.core.states import Status
from windlass.engine.undo import is_after

OF_STATUS = {
    "run.created": Status.RUNNING,
    "run.forked": Status.CREATED,
    "run.resumed": Status.RUNNING,
    "run.edited": Status.RUNNING,
    "run.parked": Status.WAITING,
    "run.paused": Status.PAUSED,
    "run.rolled_back": Status.PAUSED,
    "run.completed": Status.COMPLETED,
    "run.failed": Status.FAILED,
    "run.cancelled": Status.CANCELLED,
}


@dataclass(slots=True)
class NodeLine:
    """One node: its activations by where they stand, and what was last heard of it."""

    id: str
    planned: set[str] = field(default_factory=set)
    started: set[str] = field(default_factory=set)
    done: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    attempts: dict[str, int] = field(default_factory=dict)  # by activation: the attempt under way, or the last
    retries: dict[str, float] = field(default_factory=dict)  # by activation: when its next attempt is due
    asks: dict[str, str] = field(default_factory=dict)  # open questions: id → activation
    item: Any = None
    has_item: bool = False
    began_at: float = 0.0
    ended_at: float = 0.0

    def state(self, status: Status) -> str:
        """Say in one word how the node stands in a run of this status."""
        if self.failed:
            return "failed"
        if not self.planned:
            return "done" if self.done else "-"
        if self.asks:
            return "asking"
        return "retrying" if self.retries else "next" if status is Status.CREATED else status.value

    @property
    def progress(self) -> str:
        """Finished activations, of how many as far as known."""
        total = len(self.done | self.planned | self.failed)
        return f"{len(self.done)}/{total}" if total else ""

    @property
    def attempt(self) -> int:
        """The highest number of an attempt among activations that have not finished, else among all."""
        open_ones = [number for address, number in self.attempts.items() if address not in self.done]
        return max(open_ones or self.attempts.values(), default=1)


class Board:
    """The nodes of one run."""

    def __init__(self, nodes: Sequence[str]) -> None:
        self.nodes = {name: NodeLine(name) for name in nodes}
        self.status = Status.CREATED
        self.branch = 0
        self.steps: list[tuple[int, tuple[str, ...]]] = []  # of the current branch and what it came from
        self.began_at = 0.0
        self.seen_at = 0.0

    def line(self, address: str) -> NodeLine:
        """Return the line of an activation's node."""
        node = place(address)
        return self.nodes.setdefault(node, NodeLine(node))

    def see(self, event: Event) -> None:
        """Take an event or a stream item in."""
        self.seen_at = max(self.seen_at, event.at)
        self.began_at = self.began_at or event.at
        if event.type in OF_STATUS:
            self.status = OF_STATUS[event.type]
            if self.status is Status.RUNNING:
                self._go_on()
        elif event.type == "step.committed":
            self._step(event)
        elif event.address:
            self._activation(self.line(event.address), event)

    def _step(self, event: Event) -> None:
        self.branch = event.data.get("branch", 0)
        self.steps.append((event.data["n"], tuple(event.data["finished"])))
        for address in event.data["finished"]:
            self._finish(address, event.at)
        for address in event.data["planned"]:
            line = self.line(address)
            line.planned.add(address)
            line.began_at = line.began_at or event.at

    def _finish(self, address: str, at: float) -> None:
        if not address:
            return
        line = self.line(address)
        line.done.add(address)
        for kept in (line.planned, line.started, line.failed):
            kept.discard(address)
        line.retries.pop(address, None)
        line.asks = {id_: asking for id_, asking in line.asks.items() if asking != address}
        line.ended_at = at

    def _activation(self, line: NodeLine, event: Event) -> None:
        address, data = event.address, event.data
        if "attempt" in data:
            line.attempts[address] = max(data["attempt"], line.attempts.get(address, 0))
        match event.type:
            case "activation.started":
                line.started.add(address)
                line.retries.pop(address, None)
                line.began_at = line.began_at or event.at
            case "item":
                line.item, line.has_item = data.get("value"), True
            case "activation.completed" | "activation.skipped":
                self._finish(address, event.at)
            case "activation.failed":
                line.failed.add(address)
                line.started.discard(address)
                line.ended_at = event.at
            case "attempt.failed" | "attempt.abandoned":
                line.started.discard(address)
            case "attempt.retrying":
                line.retries[address] = data["due_at"]
            case "question.asked":
                line.asks[data["id"]] = address
            case "question.answered" | "question.withdrawn" | "question.expired":
                line.asks.pop(data.get("id", ""), None)

    def _go_on(self) -> None:
        """A resume gives failed activations new attempts."""
        for line in self.nodes.values():
            line.planned |= line.failed
            line.failed.clear()
            line.started.clear()

    def place(self, position: Position) -> None:
        """Take over where the run stands: what no event says after a rollback or fork (D23)."""
        settled = {address for frame in position.whole() for address in frame.settled}
        waiting = {address for frame in position.whole() for address in frame.waiting} - settled
        finished = {address for n, told in self.steps if n <= position.n for address in told}
        done = settled | {address for address in finished if address and not is_after(address, position)}
        for name, line in self.nodes.items():
            line.planned = {address for address in waiting if place(address) == name}
            line.done = {address for address in done if place(address) == name}
            for frame in position.whole():
                self._take_over(line, frame)
            line.started &= line.planned
            line.failed = {a for a in line.planned if (kept_of := position.pending.get(a)) and kept_of.is_failed}
            line.planned -= line.failed
            line.retries = {a: due for a, due in line.retries.items() if a in line.planned}
            line.asks = {id_: a for id_, a in line.asks.items() if a in line.planned}
        self.steps = [(n, told) for n, told in self.steps if n <= position.n]

    def _take_over(self, line: NodeLine, frame: Frame) -> None:
        """Count visits as done of which no event tells: a fork has them from the run that it was made of."""
        path, _, node = line.id.rpartition("/")
        if place(frame.path) != path:
            return
        known = {parse(a)[1] for a in line.done | line.planned if a.rpartition("/")[0] == frame.path}
        for visit in range(1, frame.visits.get(node, 0) + 1):
            if visit not in known:
                line.done.add(f"{frame.prefix}{node}#{visit}")
