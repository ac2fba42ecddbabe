"""What a fenced write carries: rows of the log, and changes to the small tables beside it.

Two of them, `Adjust` and `LetterPut`, also go without a write, by `Store.adjust`: what they change is not one run's.
A feature that keeps something new adds a kind of change here, not a method to the store.
"""

from typing import TypeAlias

from msgspec import Struct

from windlass.core.letters import DeadLetter
from windlass.core.records import Blob, Command, Effect, Head, Item, Manifest, Owner, Question, Row, RunRecord
from windlass.core.tallies import Op


class QuestionPut(Struct, frozen=True, gc=False):
    """Insert or replace a question."""

    question: Question


class EffectPut(Struct, frozen=True, gc=False):
    """Insert or replace a line of the effect ledger, by (tree, run, branch, address, name, key)."""

    effect: Effect


class CommandTaken(Struct, frozen=True, gc=False):
    """A command was consumed; posting its id again does nothing."""

    id: str


class ItemsPut(Struct, frozen=True, gc=False):
    """Insert stream items."""

    items: tuple[Item, ...]


class ItemsDropped(Struct, frozen=True, gc=False):
    """Delete the items of an activation's attempt; of one lane, or of both when it is empty.

    `before` spares what arrived from that number on: the same attempt, begun again by a later owner.
    """

    address: str
    attempt: int
    lane: str = ""
    before: int | None = None


class BlobPut(Struct, frozen=True, gc=False):
    """Keep bytes under their digest; keeping the same again is nothing."""

    blob: Blob


class ManifestPut(Struct, frozen=True, gc=False):
    """Keep a snapshot."""

    manifest: Manifest


class Adjust(Struct, frozen=True, gc=False):
    """Change a tally; the store answers with what came of it. Nothing granted is an answer, and refuses no write."""

    key: str
    op: Op


class LetterPut(Struct, frozen=True, gc=False):
    """Insert or replace a dead letter, by its id."""

    letter: DeadLetter


class RunPut(Struct, frozen=True, gc=False):
    """Make another run with its first row, owned from the start when `owner` is given, as `Store.create` does.

    A run of that id that exists already stays as it is: its id says where it came from, so it is the same one.
    """

    record: RunRecord
    first: "Write"
    owner: Owner | None = None


class CommandPut(Struct, frozen=True, gc=False):
    """Post a command to another run, in the same transaction; posting an id again does nothing.

    It falls away where nobody would take it: the run does not exist, is completed or cancelled, or has failed and is
    asked for anything but to hear of a child's end.
    """

    command: Command


class TurnBegun(Struct, frozen=True, gc=False):
    """Let a turn begin: `OutOfTurn` unless all turns before it are over and `after` stands as it was read.

    That is: its last event is `seq`, nobody asked it to go on, and no turn between the two has begun.

    Args:
        after: the run whose state it begins with; empty for none.
        seq: the last event that this run had; 0 if its state is not read again.
    """

    after: str
    seq: int = 0


Change: TypeAlias = (
    QuestionPut | EffectPut | CommandTaken | ItemsPut | ItemsDropped | BlobPut | ManifestPut | Adjust | LetterPut
    | RunPut | CommandPut | TurnBegun
)  # fmt: skip


class Write(Struct, frozen=True, gc=False):
    """One fenced, atomic write: accepted only while the run has this epoch and its last event is `after`.

    `release` gives the run up in the same transaction.
    """

    run: str
    epoch: int
    after: int
    rows: tuple[Row, ...]
    head: Head
    changes: tuple[Change, ...] = ()
    release: bool = False
