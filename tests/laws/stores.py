"""A store between the engine and the memory store: it has the methods of the protocol, and no others."""

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any

from windlass.core.errors import StoreError
from windlass.stores.memory import MemoryStore
from windlass.stores.memory_world import World
from windlass.testing.clock import ManualClock


class Between:
    """Hands everything on; what writes goes through `write`, for a test to override.

    Args:
        clock: of the leases; a store of another clock may share the world.
    """

    def __init__(self, clock: ManualClock | None = None, world: World | None = None) -> None:
        self.world = world or World()
        self.inner = MemoryStore(clock=clock, world=self.world)
        self.url = self.inner.url
        self.capabilities = self.inner.capabilities

    async def write(self, verb: str, *arguments: Any) -> Any:
        """Do one write."""
        return await getattr(self.inner, verb)(*arguments)

    async def open(self) -> None:
        await self.inner.open()

    async def create(self, record: Any, first: Any, owner: Any) -> Any:
        return await self.write("create", record, first, owner)

    async def post(self, command: Any) -> bool:
        return bool(await self.write("post", command))

    async def claim(self, run: str, owner: Any) -> Any:
        return await self.write("claim", run, owner)

    async def renew(self, owner: Any) -> None:
        await self.inner.renew(owner)

    async def release(self, run: str, epoch: int) -> None:
        await self.write("release", run, epoch)

    async def retire(self, owner: Any) -> None:
        await self.write("retire", owner)

    async def load(self, run: str) -> Any:
        return await self.inner.load(run)

    async def commit(self, write: Any) -> Any:
        return await self.write("commit", write)

    async def adjust(self, changes: Any) -> Any:
        return await self.write("adjust", changes)

    async def append_items(self, run: str, epoch: int, items: Sequence[Any]) -> None:
        await self.write("append_items", run, epoch, items)

    async def find(self, query: Any) -> Any:
        return await self.inner.find(query)

    def version(self) -> int:
        return self.inner.version()

    async def maintain(self, chore: str, **options: Any) -> dict[str, Any]:
        raise StoreError(f"{chore}: no chore is done here")

    async def close(self) -> None:
        await self.inner.close()

    def contents(self) -> str:
        """Show all that is kept of runs: rows, heads, questions, effects, items; not who has leases."""
        world = self.world
        runs = [
            (name, kept.epoch, kept.head, [row.digest for row in kept.rows], sorted(kept.items), sorted(kept.manifests))
            for name, kept in world.runs.items()
        ]
        shared = (sorted(map(str, world.tallies.items())), sorted(world.letters.items()))
        effects = sorted(map(str, world.effects.items()))
        return str((runs, sorted(world.questions.items()), effects, sorted(world.blobs), shared))

    def last(self, run: str = "r") -> int:
        """Return the number of the last event in the store."""
        kept = self.world.runs.get(run)
        return kept.rows[-1].last if kept is not None else 0


class Slow(Between):
    """Takes its time over each write, before and after it is durable; first in is first out, as the contract says."""

    def __init__(self, dice: Random, *, longest: float = 1.0) -> None:
        super().__init__()
        self.dice = dice
        self.times = (0.0, longest / 100, longest)
        self._turn = asyncio.Lock()

    async def write(self, verb: str, *arguments: Any) -> Any:
        async with self._turn:
            await asyncio.sleep(self.dice.choice(self.times))
            outcome = await self.do(verb, *arguments)
            await asyncio.sleep(self.dice.choice(self.times))
            return outcome

    async def do(self, verb: str, *arguments: Any) -> Any:
        """Do the write itself."""
        return await super().write(verb, *arguments)
