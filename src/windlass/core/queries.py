"""What a store can be asked: `find` answers each query with a list of its records."""

from typing import Generic, TypeVar

from msgspec import Struct

from windlass.core.letters import DeadLetter
from windlass.core.records import Blob, Command, Effect, Item, Manifest, Question, Row, RowKind, RunRecord
from windlass.core.states import Status
from windlass.core.tallies import Tally

T = TypeVar("T")
EVER = 1_000_000  # a limit for who wants all


class Query(Struct, Generic[T], frozen=True, kw_only=True):
    """A question to the store; `find` answers with a list of T."""


class Runs(Query[RunRecord], frozen=True, kw_only=True):
    """Runs, newest first, after the id `after` of the last page.

    Args:
        claimable: only unfinished runs without a live owner that have work: never started, interrupted, due before
            `due_before`, or with a command waiting. A turn that has not begun has work once those before it are over.
        parent: only children that this run started.
        under: only children of this run, and theirs, to any depth.
        thread: only turns of threads of this name.
    """

    ids: tuple[str, ...] | None = None
    definitions: tuple[str, ...] | None = None
    statuses: tuple[Status, ...] | None = None
    tenant: str | None = None
    tags: dict[str, str] = {}
    claimable: bool = False
    due_before: float | None = None
    parent: str | None = None
    under: str | None = None
    thread: str | None = None
    after: str | None = None
    limit: int = 100


class Work(Query[RunRecord], frozen=True, kw_only=True):
    """Runs that can be claimed, tenants in turn: the first of each by their names, then the second of each, and so on.

    The first of a tenant is the one that has had work for the longest time: since it was due, or else since it moved.

    Args:
        definitions: of these only.
        due_before: runs that wait for a later time have no work.
        behind: the tenant that had its turn last; the names behind it come first, then those from the beginning.
        besides: ids to leave out.
    """

    definitions: tuple[str, ...]
    due_before: float
    behind: str | None = None
    besides: tuple[str, ...] = ()
    limit: int = 100


class Turns(Query[RunRecord], frozen=True, kw_only=True):
    """Turns of one thread of a tenant and definition, the last first.

    Args:
        below, above: only places below the one, and above the other (`thread.place_of`).
        live: only those that have not ended, the first of them first.
    """

    tenant: str
    definition: str
    thread: str
    below: int | None = None
    above: int | None = None
    live: bool = False
    limit: int = 100


class Threads(Query[RunRecord], frozen=True, kw_only=True):
    """The last turn of each thread, newest first, after the run `after` of the last page."""

    definitions: tuple[str, ...] | None = None
    tenant: str | None = None
    after: str | None = None
    limit: int = 100


class Rows(Query[Row], frozen=True, kw_only=True):
    """Rows of one run whose last event is above `after` (and at most `until`), in order; or the last ones first."""

    run: str
    after: int = 0
    until: int | None = None
    kind: RowKind | None = None
    newest_first: bool = False
    limit: int = 1000


class Questions(Query[Question], frozen=True, kw_only=True):
    """Questions, oldest first."""

    run: str | None = None
    ids: tuple[str, ...] | None = None
    statuses: tuple[str, ...] | None = ("open",)
    limit: int = 1000


class Commands(Query[Command], frozen=True, kw_only=True):
    """Commands of a run that nobody has taken yet, in the order in which they were posted."""

    run: str


class Effects(Query[Effect], frozen=True, kw_only=True):
    """Lines of the effect ledger, oldest first: of a tree (one address, or all), or of a run."""

    tree: str | None = None
    run: str | None = None
    address: str | None = None


class Items(Query[Item], frozen=True, kw_only=True):
    """Stream items of a run with an arrival number above `after`, in order of arrival."""

    run: str
    after: int = -1
    lane: str | None = None
    limit: int = 10000


class Manifests(Query[Manifest], frozen=True, kw_only=True):
    """The latest snapshot of a run at or before event `until`."""

    run: str
    until: int


class Blobs(Query[Blob], frozen=True, kw_only=True):
    """Large values by their digests, in this order, each once.

    Raises:
        StoreCorrupt: one is missing or does not match its digest.
    """

    digests: tuple[str, ...]


class Tallies(Query[Tally], frozen=True, kw_only=True):
    """Shared numbers, in the order of their keys: of the keys given, or of those that begin with `prefix`."""

    prefix: str = ""
    keys: tuple[str, ...] | None = None
    kind: str | None = None
    limit: int = 1000


class Letters(Query[DeadLetter], frozen=True, kw_only=True):
    """Dead letters, newest first, after the id `after` of the last page; `since` and before `until` by their time."""

    ids: tuple[str, ...] | None = None
    run: str | None = None
    definitions: tuple[str, ...] | None = None
    node: str | None = None
    pattern: str | None = None
    reason: str | None = None
    statuses: tuple[str, ...] | None = ("open",)
    tenant: str | None = None
    since: float | None = None
    until: float | None = None
    after: str | None = None
    limit: int = 100
