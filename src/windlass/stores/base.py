"""The contract of a store, and how a URL becomes one.

A store keeps rows and small tables; it knows nothing of tasks or graphs. Everything that advances a run goes through
`commit`, which is one transaction and checks the run's epoch and head in the statement that writes. The memory store
is the specification; `windlass.testing.conformance` judges every store.
"""

from collections.abc import Sequence
from hashlib import sha256
from importlib import import_module
from typing import Any, Protocol, TypeVar

from msgspec import Struct

from windlass.core.changes import Adjust, LetterPut, Write
from windlass.core.errors import StoreUnknown
from windlass.core.queries import Query
from windlass.core.records import Command, Item, Loaded, Owner, Row, RunRecord
from windlass.core.tallies import Answer

T = TypeVar("T")
LEASE_SECONDS = 15.0  # how long an owner that cannot be seen to be dead keeps its runs (D2)
RENEW_SECONDS = 5.0


class Capabilities(Struct, frozen=True):
    """What a store can promise; a runtime that needs a flag refuses a store without it."""

    durable: bool = False
    transactional: bool = True
    multi_process: bool = False
    queryable: bool = False


class Store(Protocol):
    """Where runs are kept. Every method either does all it says or raises and has done nothing.

    Raises:
        StoreError: or one of its kinds, from any method.
    """

    url: str
    capabilities: Capabilities

    async def open(self) -> None:
        """Connect, verify and create what is missing; called once before anything else."""
        ...

    async def create(self, record: RunRecord, first: Write, owner: Owner | None) -> tuple[Answer, ...]:
        """Make a run with its first row, owned from the start when `owner` is given (epoch 1), else epoch 0.

        Returns:
            What came of the write's `Adjust`s, in order.

        Raises:
            RunExists: the id is taken; nothing was written.
        """
        ...

    async def post(self, command: Command) -> bool:
        """Keep a command for the run's owner; False when its id was posted before (nothing happens then).

        An `answer` also moves its question from open to answered, and an `escalate` puts it to somebody else, by
        compare-and-set, in the same transaction.

        Raises:
            RunUnknown, QuestionUnknown: there is none of that id.
            AlreadyAnswered: the question is not open; nothing was written.
            NotForYou: it is put to somebody else than the command says (`asked`); nothing was written.
            QuestionExpired: its deadline has passed; nothing was written.
        """
        ...

    async def claim(self, run: str, owner: Owner) -> RunRecord:
        """Take a run: raise its epoch by one and set its owner. Claiming one's own run raises the epoch again.

        The returned record shows the new epoch and, as `owner`, the owner before: None, or one that was found dead
        (its lease ran out, or its process is gone from this host).

        Raises:
            RunUnknown: no run has this id.
            RunOwned: another live owner has it; the message says who and until when.
        """
        ...

    async def renew(self, owner: Owner) -> None:
        """Keep the owner's lease for LEASE_SECONDS from now. May be called from another thread (the heartbeat)."""
        ...

    async def release(self, run: str, epoch: int) -> None:
        """Give the run up, if it still has this epoch."""
        ...

    async def retire(self, owner: Owner) -> None:
        """Forget the owner's lease: its runs may be claimed at once."""
        ...

    async def load(self, run: str) -> Loaded:
        """Return the record, the latest snapshot of the current branch and the rows after it.

        Raises:
            RunUnknown: no run has this id.
            StoreCorrupt: a row does not match its digest, or the sequence has a gap.
        """
        ...

    async def commit(self, write: Write) -> tuple[Answer, ...]:
        """Write durably and atomically; returns only when it is durable.

        Returns:
            What came of the write's `Adjust`s, in order; one that grants nothing does not refuse the write.

        Raises:
            StaleLease: the run has another epoch or head; nothing was written.
        """
        ...

    async def append_items(self, run: str, epoch: int, items: Sequence[Item]) -> None:
        """Keep stream items, fenced by the epoch only.

        Raises:
            StaleLease: the run has another epoch; nothing was written.
        """
        ...

    async def find(self, query: Query[T]) -> list[T]:
        """Answer a query, in the order that it states."""
        ...

    async def adjust(self, changes: Sequence[Adjust | LetterPut]) -> tuple[Answer, ...]:
        """Change tallies and dead letters in one transaction, without a fence: they are not one run's.

        A run that has another epoch by now, or that nobody owns, is granted nothing: nobody would give it back.

        Returns:
            What came of each `Adjust`, in order.
        """
        ...

    def version(self) -> int:
        """Return a number that has changed if anyone else may have written since; cheap enough to poll."""
        ...

    async def maintain(self, chore: str, **options: Any) -> dict[str, Any]:
        """Do a chore; returns what was found or done.

        `migrate`; `check`; `backup` (options: `to`); `prune` (options: those of `retention.to_rule`).
        """
        ...

    async def close(self) -> None:
        """Finish what was acknowledged and let go of files and connections."""
        ...


def row_digest(run: str, first: int, last: int, body: bytes) -> str:
    """Digest a row so that neither a changed bit nor a row in the wrong place passes: SHA-256, hex."""
    return sha256(b"%s|%d|%d|%s" % (run.encode(), first, last, body)).hexdigest()


def open_store(url: str) -> Store:
    """Make the store that a URL names, without opening it.

    Args:
        url: `memory:`, `sqlite:///relative.db`, `sqlite:////absolute.db`, or `sqlite:///:memory:` (tests).

    Raises:
        StoreUnknown: no store has this scheme.
    """
    scheme = url.partition(":")[0]
    homes = {"memory": "windlass.stores.memory", "sqlite": "windlass.stores.sqlite"}
    if scheme not in homes:
        raise StoreUnknown(f"{url!r} names no store")
    store: Store = import_module(homes[scheme]).open_url(url)
    return store


__all__ = ["LEASE_SECONDS", "RENEW_SECONDS", "Capabilities", "Row", "Store", "open_store", "row_digest"]
