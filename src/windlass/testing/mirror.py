"""Two stores side by side: every call goes to both, and any difference between their answers is raised.

    MirrorStore(MemoryStore(clock=clock), SQLiteStore("sqlite:///runs.db", clock=clock))

Give both the same clock. A call waits for the one before it, so that both stores see the same order; only `renew`,
which comes from the heartbeat's thread, does not.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, TypeVar, cast

from windlass.core.changes import Adjust, LetterPut, Write
from windlass.core.errors import WindlassError
from windlass.core.queries import Query
from windlass.core.records import Command, Item, Loaded, Owner, RunRecord
from windlass.core.tallies import Answer
from windlass.stores.base import Capabilities, Store
from windlass.testing.specimens import as_json

T = TypeVar("T")
ALIKE = frozenset({"prune"})  # chores that do the same to every store; the others are about a store's own files
UNLIKE = frozenset({  # checks of the conformance suite that leave the two stores of a mirror unlike
    "test_a_failure_inside_a_write_takes_all_of_it_back", "test_a_failure_inside_one_write_leaves_the_others_whole",
    "test_a_prune_that_stops_anywhere_leaves_a_whole_store", "test_a_name_that_is_no_text_is_no_corruption",
    "test_a_failure_inside_a_write_takes_its_adjusts_back",
    "test_answers_are_worked_out_anew_when_a_batch_is_redone",
})  # fmt: skip
SPACE = frozenset({"bytes", "bytes_before", "free"})  # what a chore tells of a store's own files, too
SHOWN = 400  # characters of an answer in a message


class StoresDiffer(AssertionError):
    """Two stores answered the same call differently."""


class MirrorStore:
    """A store that is two stores.

    What can be compared is: results as the JSON of their records, errors by class and code. The first store's answer is
    given. After a difference the two are no longer alike, so every later call raises it again.

    Args:
        one: opened and closed with the mirror; as a rule the specification, a `MemoryStore`.
        two: the store on trial.
    """

    def __init__(self, one: Store, two: Store) -> None:
        self.stores = (one, two)
        self.url = f"mirror:{one.url}|{two.url}"
        flags = [
            [getattr(store.capabilities, name) for store in self.stores] for name in Capabilities.__struct_fields__
        ]
        self.capabilities = Capabilities(*map(all, flags))
        self.difference: StoresDiffer | None = None
        self._turn = asyncio.Lock()

    async def open(self) -> None:
        """Open both."""
        await self._ask("open")

    async def create(self, record: RunRecord, first: Write, owner: Owner | None) -> tuple[Answer, ...]:
        """Make a run in both; see `Store.create`."""
        return cast("tuple[Answer, ...]", await self._ask("create", record, first, owner))

    async def post(self, command: Command) -> bool:
        """Post to both; see `Store.post`."""
        return cast("bool", await self._ask("post", command))

    async def claim(self, run: str, owner: Owner) -> RunRecord:
        """Claim in both; see `Store.claim`."""
        return cast("RunRecord", await self._ask("claim", run, owner))

    async def renew(self, owner: Owner) -> None:
        """Renew in both, without a turn: the caller may be a thread with a loop of its own."""
        self._compare("renew", [await _end(store, "renew", owner) for store in self.stores])

    async def release(self, run: str, epoch: int) -> None:
        """Release in both; see `Store.release`."""
        await self._ask("release", run, epoch)

    async def retire(self, owner: Owner) -> None:
        """Retire in both; see `Store.retire`."""
        await self._ask("retire", owner)

    async def load(self, run: str) -> Loaded:
        """Load from both; see `Store.load`."""
        return cast("Loaded", await self._ask("load", run))

    async def commit(self, write: Write) -> tuple[Answer, ...]:
        """Commit to both; a crash in between leaves the write in the first alone. See `Store.commit`."""
        return cast("tuple[Answer, ...]", await self._ask("commit", write))

    async def adjust(self, changes: Sequence[Adjust | LetterPut]) -> tuple[Answer, ...]:
        """Adjust in both; see `Store.adjust`."""
        return cast("tuple[Answer, ...]", await self._ask("adjust", changes))

    async def append_items(self, run: str, epoch: int, items: Sequence[Item]) -> None:
        """Append to both; see `Store.append_items`."""
        await self._ask("append_items", run, epoch, items)

    async def find(self, query: Query[T]) -> list[T]:
        """Ask both."""
        return cast("list[T]", await self._ask("find", query))

    def version(self) -> int:
        """Return a number that changes when that of either changes."""
        return sum(store.version() for store in self.stores)

    async def maintain(self, chore: str, **options: Any) -> dict[str, Any]:
        """Do a chore: one that changes runs in both, any other in the second store alone."""
        if chore in ALIKE:
            return cast("dict[str, Any]", await self._ask("maintain", chore, **options))
        return await self.stores[1].maintain(chore, **options)

    async def close(self) -> None:
        """Close both."""
        await self._ask("close")

    async def _ask(self, verb: str, *arguments: Any, **options: Any) -> Any:
        """Ask both in turn; a caller that is cancelled leaves neither without the other.

        Raises:
            StoresDiffer: now or earlier, they were not alike.
        """
        task = asyncio.ensure_future(self._in_turn(verb, *arguments, **options))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(task)

    async def _in_turn(self, verb: str, *arguments: Any, **options: Any) -> Any:
        async with self._turn:
            ends = [await _end(store, verb, *arguments, **options) for store in self.stores]
            return self._compare(f"{verb}{arguments!r:.{SHOWN}}", ends)

    def _compare(self, call: str, ends: Sequence[Any]) -> Any:
        if self.difference is not None:
            raise self.difference
        told = [_told(end) for end in ends]
        if told[0] != told[1]:
            both = (f"{store.url}: {said:.{SHOWN}}" for store, said in zip(self.stores, told, strict=True))
            self.difference = StoresDiffer("\n  ".join([call, *both]))
            raise self.difference
        if isinstance(ends[0], Exception):
            raise ends[0]
        return ends[0]


async def _end(store: Store, verb: str, *arguments: Any, **options: Any) -> Any:
    """Return what a call returned, or the error that it raised."""
    try:
        return await getattr(store, verb)(*arguments, **options)
    except Exception as error:  # noqa: BLE001 -- whatever it is, it is compared, and raised if both raised it
        return error


def _told(end: Any) -> str:
    if isinstance(end, WindlassError):
        return f"{type(end).__name__} ({end.code})"
    if isinstance(end, Exception):
        return type(end).__name__
    return as_json({name: end[name] for name in end if name not in SPACE} if isinstance(end, dict) else end).decode()
