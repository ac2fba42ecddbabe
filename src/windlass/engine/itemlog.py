"""Stream items: what tasks yield and emit while they run, for followers and for stream edges (D21, D40).

Two lanes. *Progress* is shown at once to followers in this process, reaches the store in batches, and falls away when
the attempt ends. *Stream* items feed the consumers of a stream edge: they are durable before they are delivered, in
order of arrival, provisional until their producer's end is durable, and gone if its attempt dies.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from msgspec import Raw, json

from windlass.core import changes
from windlass.core import records as r
from windlass.core.crashpoint import crashpoint
from windlass.core.events import Event
from windlass.core.frames import lane as lane_of
from windlass.engine.activation import Activation
from windlass.engine.functions import widened
from windlass.engine.journal import Journal

FLUSH_SECONDS, FLUSH_BYTES = 0.25, 64 * 1024  # progress waits so long for a commit to ride on, or until it is so much
MOST_RECENT = 1_000  # items that a follower in this process may lag behind before it misses some


@dataclass(slots=True)
class Lane:
    """The items of one producing node within its frame, in order of arrival, and who has been handed how many."""

    items: list[r.Item] = field(default_factory=list)
    firm: set[tuple[str, int]] = field(default_factory=set)  # (address, attempt) whose end is durable
    handed: dict[str, int] = field(default_factory=dict)  # consumer address → items from the start
    coming: int = 0  # items in a commit that is on its way: the position is ahead of it


class ItemLog:
    """The items of one run in this process."""

    def __init__(self, journal: Journal, starved: Callable[[], None]) -> None:
        self.journal = journal
        self.starved = starved  # called when a consumer has nothing left to look at
        self.recent: deque[tuple[int, Event]] = deque(maxlen=MOST_RECENT)
        self.lanes: dict[str, Lane] = {}
        self._arrival = 0
        self._buffer: list[r.Item] = []
        self._bytes = 0
        self._kept: set[tuple[str, int]] = set()  # attempts with progress in the store
        self._due: asyncio.TimerHandle | None = None
        self._news = asyncio.Event()
        self._starving: list[Activation] = []

    def load(self, items: list[r.Item], waiting: dict[str, Any]) -> None:
        """Take over the stream lane of an earlier owner; what its unfinished attempts left is dropped."""
        gone: set[tuple[str, int]] = set()
        for item in items:
            self._arrival = max(self._arrival, item.arrival + 1)
            if item.address in waiting:
                gone.add((item.address, item.attempt))
            elif item.lane == "stream":
                lane = self._lane(item.address)
                lane.items.append(item)
                lane.firm.add((item.address, item.attempt))
        for address, attempt in sorted(gone):
            self.journal.change(changes.ItemsDropped(address, attempt, "", self._arrival))

    def _lane(self, address: str) -> Lane:
        return self.lanes.setdefault(lane_of(address), Lane())

    def _item(self, activation: Activation, value: Raw, lane: Any) -> r.Item:
        item = r.Item(
            run=self.journal.record.id, address=activation.address, attempt=activation.attempt,
            ordinal=activation.ordinal, arrival=self._arrival, value=value, lane=lane,
            at=self.journal.seams.clock.now(),
        )  # fmt: skip
        self._arrival += 1
        activation.ordinal += 1
        activation.signs = self.journal.seams.clock.monotonic()
        return item

    def since(self, arrival: int) -> list[tuple[int, Event]]:
        """Return what was told after an arrival number, with the numbers."""
        return [(number, event) for number, event in self.recent if number > arrival]

    def tell(self, kind: str, activation: Activation, **data: Any) -> None:
        """Tell followers in this process something that is not kept."""
        at = self.journal.seams.clock.now()
        event = Event(run=self.journal.record.id, type=kind, at=at, address=activation.address, data=data)
        self.recent.append((self._arrival, event))
        self._arrival += 1
        self.journal.told()

    def show(self, activation: Activation, value: Any) -> None:
        """Show a progress item at once; keep it for followers elsewhere with the next commit, or soon."""
        if activation.closed:
            return
        kind: Any = type(value)  # need not be declared: nobody decodes progress
        encoded = widened(activation.blueprint.codec, kind).encode(value, f"{activation.address}.item")
        item = self._item(activation, Raw(encoded.data), "progress")
        data = {"value": json.decode(encoded.data), "attempt": item.attempt, "ordinal": item.ordinal}
        event = Event(run=item.run, type="item", at=item.at, address=item.address, data=data)
        self.recent.append((item.arrival, event))
        self.journal.told()
        self._buffer.append(item)
        self._bytes += len(encoded.data)
        if self._bytes > FLUSH_BYTES:
            self._flush_now()
        elif self._due is None:
            self._due = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush_now)

    def _flush_now(self) -> None:
        items = self.take()
        if items:
            self.journal.seams.background(self._append(items), f"items {self.journal.record.id}")

    async def _append(self, items: list[r.Item]) -> None:
        try:
            await self.journal.store.append_items(self.journal.record.id, self.journal.record.epoch, items)
        except Exception as error:  # noqa: BLE001 -- kept: whoever writes next meets it
            self.journal.broken = self.journal.broken or error

    def take(self) -> list[r.Item]:
        """Hand over the buffered progress of attempts that still run, for a write that happens anyway."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        items, self._buffer, self._bytes = self._buffer, [], 0
        self._kept.update((item.address, item.attempt) for item in items)
        return items

    async def emit(self, activation: Activation, value: Any) -> None:
        """Take what a task yields: into its stream edges if it has some, else as progress."""
        if not activation.node.streams_to:
            self.show(activation, value)
            return
        encoded = activation.blueprint.codec.encode(value, f"{activation.address}.item")
        self.journal.keep(encoded.blobs)
        activation.begin_op()
        try:
            item = self._item(activation, Raw(encoded.data), "stream")
            crashpoint("items.before")
            await self.journal.store.append_items(self.journal.record.id, self.journal.record.epoch, [item])
            crashpoint("items.after")
        except Exception as error:
            self.journal.broken = self.journal.broken or error  # the store failed, not the task
            raise
        finally:
            activation.end_op()
        self._deliver(item)

    def _deliver(self, item: r.Item) -> None:
        self._lane(item.address).items.append(item)
        data = {"value": json.decode(item.value), "attempt": item.attempt, "ordinal": item.ordinal}
        event = Event(run=item.run, type="item", at=item.at, address=item.address, data=data)
        self.recent.append((item.arrival, event))
        self._notice()
        self.journal.told()

    def finishing(self, activation: Activation, output: Raw | None) -> r.Item | None:
        """Put the end of a producer's attempt into the next write; its output is an item if it yields none itself."""
        self.ended(activation)
        if not activation.node.streams_to or activation.node.mode == "yields" or output is None:
            return None
        piece = json.decode(output, type=list[tuple[int, Raw]])[0][1] if activation.node.mapped else output
        item = self._item(activation, piece, "stream")
        self.journal.change(changes.ItemsPut((item,)))
        self._lane(activation.address).coming += 1
        return item

    def finished(self, activation: Activation, item: r.Item | None) -> None:
        """Mark a producer's items firm once its end is durable."""
        if activation.node.streams_to:
            self._lane(activation.address).firm.add((activation.address, activation.attempt))
            if item is not None:
                self._lane(activation.address).coming -= 1
                self._deliver(item)
            self._notice()

    def ended(self, activation: Activation) -> None:
        """Let an attempt's progress fall away with the next write."""
        attempt = (activation.address, activation.attempt)
        self._buffer = [item for item in self._buffer if (item.address, item.attempt) != attempt]
        if attempt in self._kept:
            self._kept.discard(attempt)
            self.journal.change(changes.ItemsDropped(*attempt, "progress", self._arrival))

    def died(self, activation: Activation) -> list[str]:
        """Drop the provisional items of an attempt; return the consumers that were handed any."""
        self.ended(activation)
        if not activation.node.streams_to or not activation.ordinal:
            return []
        lane = self._lane(activation.address)
        gone = (activation.address, activation.attempt)
        lost = [place for place, item in enumerate(lane.items) if (item.address, item.attempt) == gone]
        if not lost:
            return []
        self.journal.change(changes.ItemsDropped(*gone, "stream", self._arrival))
        lane.items = [item for item in lane.items if (item.address, item.attempt) != gone]
        return [consumer for consumer, number in lane.handed.items() if number > lost[0]]

    async def follow(self, activation: Activation, source: str) -> AsyncIterator[Any]:
        """Iterate over a producer's items in order of arrival, those of earlier owners first."""
        lane = self._lane(f"{activation.frame.prefix}{source}")
        lane.handed[activation.address] = 0
        codec, frame = activation.blueprint.codec, activation.frame
        while True:
            place = lane.handed[activation.address]
            if place < len(lane.items):
                lane.handed[activation.address] = place + 1
                yield codec.decode(bytes(lane.items[place].value), self.journal.blob)
            elif frame.visits.get(source) and not frame.left.get(source) and self._is_whole(lane):
                return
            else:
                await self._next(activation)

    async def firm(self, activation: Activation) -> None:
        """Wait until everything that the consumer was handed can no longer fall away."""
        for lane in self.lanes.values():
            while not all(
                (item.address, item.attempt) in lane.firm
                for item in lane.items[: lane.handed.get(activation.address, 0)]
            ):
                await self._next(activation)

    def _is_whole(self, lane: Lane) -> bool:
        return not lane.coming and all((item.address, item.attempt) in lane.firm for item in lane.items)

    async def _next(self, activation: Activation) -> None:
        """Wait for news; while nothing else goes on in the run, the loop may stop the attempt (`starved`)."""
        activation.starved = True
        self._starving.append(activation)
        self._news.clear()
        self.starved()
        await self._news.wait()

    def _notice(self) -> None:
        """Let consumers look again: from now until they have looked they are not starved."""
        for activation in self._starving:
            activation.starved = False
        self._starving.clear()
        self._news.set()
