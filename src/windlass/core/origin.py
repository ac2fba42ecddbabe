"""Where a child run came from: who started it, from where, and what it inherits. Kept in its record, and never changed.

A child is found again by its id alone, which follows from its place: the same start, made again after a crash, is the
same child. Ids of one tree begin with the id of its first run, so that a store finds a tree without an index of it.
"""

from hashlib import sha256
from typing import TypeAlias

from msgspec import Struct

from windlass.core.tallies import Amounts

DEEPEST = 16  # runs within runs, unless a budget's `depth` says less
MARK = "."  # between the id of the first run of a tree and what tells its children apart

# A layer of permissions in plain words: name, rules (effect, kind, pattern, condition), kinds.
Grants: TypeAlias = tuple[str, tuple[tuple[str, str, str, str | None], ...], tuple[str, ...]]


class Drawn(Struct, frozen=True, gc=False, array_like=True):
    """The budget of a run further up, which its children draw from: whose, and what it limits."""

    run: str
    limit: Amounts


class Origin(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Where a child run came from, and what it inherits.

    Args:
        run, branch, address, key: its parent, the branch and the activation that started it, and its place in there.
        line: the runs above it, from the first of the tree down to its parent; `names` are their definitions.
        path: where its events stand in the tree: the activation and label of each run from the first down to it.
        base: the topmost run that waits for it, through others; its own id if it is detached.
        most: how deep runs may go here: as many may stand above one.
        budgets: of the runs above it, which its own calls draw from as well.
        grants: what the runs above it may do; it may do nothing else.
    """

    run: str
    branch: int
    address: str
    key: str
    line: tuple[str, ...]
    names: tuple[str, ...]
    path: str
    base: str
    detached: bool = False
    most: int = DEEPEST
    budgets: tuple[Drawn, ...] = ()
    grants: tuple[Grants, ...] = ()


class Child(Struct, gc=False, omit_defaults=True):
    """What an activation knows of a run that it started.

    Args:
        digest: of its definition and input.
        status: how it ended; empty while it has not, or is detached.
        is_stale: its end belongs to an attempt that failed: the next one starts it anew.
        number: how often it was started before, in this place.
        group: what it was started together with; `need` completed children of those are enough, `spare` may fail.
    """

    id: str
    definition: str
    digest: str
    detached: bool = False
    status: str = ""
    is_stale: bool = False
    number: int = 0
    group: str = ""
    need: int = 0
    spare: int = 0

    @property
    def is_open(self) -> bool:
        """It is waited for, and has not ended."""
        return not self.status and not self.detached


def child_id(root: str, place: str) -> str:
    """Name a child run after its place: its parent, branch, address, key and number."""
    return f"{root}{MARK}{sha256(place.encode()).hexdigest()[:16]}"
