"""What is stored: the run, the rows of its log, and the small tables beside them.

A run's log is the truth. Each fenced write appends one row; a row is a JSON body that `position.fold` applies to the
state before it. Three kinds of row: `step` settles finished activations into the channels and plans the next ones (a
checkpoint), `writes` keeps finished activations whose step is still going on, `record` keeps what happened inside
activations or to the run. `seq` numbers the events of a run without a gap; a row covers the events `first..last`.
"""

from typing import Any, Generic, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Raw, Struct

from windlass.core.states import CREATED, Status

T = TypeVar("T")
RowKind = Literal["step", "writes", "record"]
NULL = Raw(b"null")  # a default: msgspec has no union of Raw and None


class Planned(Struct, frozen=True, omit_defaults=True):
    """An activation that is to run: `node#visit[index]`, and what a Send gave it."""

    address: str
    payload: Raw = NULL


class Sent(Struct, frozen=True, array_like=True):
    """A Send that a finished activation asked for: the node, and the encoded value."""

    node: str
    payload: Raw


class Finished(Struct, frozen=True, omit_defaults=True):
    """What an activation left: its encoded writes by channel, and where it said to go."""

    address: str
    writes: dict[str, Raw] = {}
    goto: tuple[str, ...] | None = None
    sends: tuple[Sent, ...] = ()
    attempt: int = 1
    skipped: bool = False


class Failure(Struct, frozen=True, omit_defaults=True):
    """An error as it is kept: class, message, the user's frames, and the chain of causes."""

    kind: str
    message: str
    code: str = "task"
    frames: tuple[str, ...] = ()
    cause: "Failure | None" = None


class CallRecorded(Struct, frozen=True, tag="call", omit_defaults=True):
    """A call inside an activation returned this value; a re-run takes it instead of calling."""

    address: str
    key: str
    name: str
    value: Raw
    attempt: int = 1


class EffectIntended(Struct, frozen=True, tag="intent", omit_defaults=True):
    """An effect is about to happen. Until its outcome is recorded it is in doubt."""

    address: str
    name: str
    key: str
    effect_key: str
    arguments: Raw
    arguments_digest: str
    on_doubt: str
    undo: str = ""
    generation: int = 0
    attempt: int = 1


class EffectCompleted(Struct, frozen=True, tag="outcome", omit_defaults=True):
    """An effect happened and returned this; it is never called again. `how`: completed, adopted, verified, answered."""

    address: str
    name: str
    key: str
    value: Raw
    how: str = "completed"


class EffectInDoubt(Struct, frozen=True, tag="doubt", omit_defaults=True):
    """An intent was found without an outcome, or a failed attempt left one; `settled` says what was decided."""

    address: str
    name: str
    key: str
    settled: str = ""


class EffectUndone(Struct, frozen=True, tag="undone", omit_defaults=True):
    """A rollback ran the compensation of an effect; `how` is `undone` or `failed: …`."""

    address: str
    name: str
    key: str
    how: str = "undone"


class TimerSet(Struct, frozen=True, tag="timer", omit_defaults=True):
    """A sleep was reached; it is over at `due_at`, whatever happens to the process."""

    address: str
    key: str
    due_at: float


class QuestionAsked(Struct, frozen=True, tag="asked", omit_defaults=True):
    """A node waits for an answer; nothing is kept alive for it."""

    address: str
    key: str
    id: str
    prompt: str
    schema: Raw


class QuestionAnswered(Struct, frozen=True, tag="answered", omit_defaults=True):
    """An answer was given; every later run of the activation gets it."""

    address: str
    key: str
    id: str
    value: Raw
    by: str = ""


class AttemptFailed(Struct, frozen=True, tag="failed", omit_defaults=True):
    """An attempt failed. With `due_at` another follows then; `fresh` sets its recorded calls aside (a new take)."""

    address: str
    attempt: int
    failure: Failure
    due_at: float | None = None
    fresh: bool = False
    abandoned: bool = False


class AttemptsReset(Struct, frozen=True, tag="reset", omit_defaults=True):
    """A resume gave a failed activation new attempts."""

    address: str


Op: TypeAlias = (
    CallRecorded | EffectIntended | EffectCompleted | EffectInDoubt | EffectUndone
    | TimerSet | QuestionAsked | QuestionAnswered | AttemptFailed | AttemptsReset
)  # fmt: skip


class Said(Struct, frozen=True, array_like=True, omit_defaults=True):
    """An event of the run itself, or one that no other part of the row implies: type, address, details."""

    type: str
    address: str = ""
    details: dict[str, Any] = {}


class Body(Struct, frozen=True, omit_defaults=True):
    """The body of a row. The events of a row are a pure function of it (`events.told`), in this order of parts."""

    at: float
    ops: tuple[Op, ...] = ()
    finished: tuple[Finished, ...] = ()
    results: dict[str, Raw] = {}  # channels whose whole new value stands here: no delta of theirs gives it
    deltas: dict[str, Raw] = {}  # channels whose delta was worked out from the writes (unique, barrier)
    planned: tuple[Planned, ...] = ()
    dropped: tuple[str, ...] = ()  # planned activations taken back (edits, goto END)
    said: tuple[Said, ...] = ()
    digest: str = ""  # the state digest after a step row
    blobs: tuple[str, ...] = ()  # contents that this row brought


class Row(Struct, frozen=True):
    """One row of a run's log. `digest` is the SHA-256 of run, first, last and body, hex."""

    run: str
    first: int
    last: int
    branch: int
    n: int
    kind: RowKind
    at: float
    body: bytes
    digest: str


class Owner(Struct, frozen=True):
    """Who holds leases: one process. `started` is its start time as the system tells it, so a reused pid is seen."""

    id: str
    host: str
    boot: str
    pid: int
    started: str


class Head(Struct, frozen=True, omit_defaults=True):
    """Where a run stands: the part of its record that every fenced write replaces."""

    status: Status = CREATED
    branch: int = 0
    n: int = 0
    seq: int = 0  # number of the last event
    due_at: float | None = None  # the next timer or retry, while parked
    crashes: int = 0  # claims in a row that found a dead owner's unfinished plan


class RunRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One durable execution of a definition, as listed."""

    id: str
    definition: str
    fingerprint: str
    head: Head = Head()
    epoch: int = 0
    owner: Owner | None = None
    owner_until: float | None = None
    tenant: str = "default"
    thread: str = ""
    parent: "Parent | None" = None
    tags: dict[str, str] = {}
    shard: int = 0
    trace: str = ""
    source: str = ""  # FILE:NAME as a printed hint, never imported unasked
    input_digest: str = ""
    durability: str = "sync"
    structure: Raw = Raw(b"{}")
    channels: dict[str, str] = {}  # name → kind, so that a log folds without the definition
    sources: dict[str, str] = {}  # node → digest of its source text when the run was made
    created_at: float = 0.0
    updated_at: float = 0.0


class Parent(Struct, frozen=True, omit_defaults=True):
    """Where a fork came from. `tree` is the first run of the family; effects are looked up in the whole tree."""

    run: str
    branch: int
    n: int
    tree: str
    effects: str = "adopt"


class Blob(Struct, frozen=True):
    """Bytes that stand once, outside the log, under their SHA-256."""

    digest: str
    content: bytes


class Manifest(Struct, frozen=True):
    """A snapshot of a run's position after the row that ends at `seq`; its body is `position.dump`'s."""

    run: str
    seq: int
    branch: int
    n: int
    body: bytes
    digest: str
    blobs: tuple[str, ...] = ()


class Question(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A question of a run. `status`: open, answered (the owner has yet to take it), taken, withdrawn."""

    id: str
    run: str
    address: str
    key: str
    prompt: str
    schema: Raw
    asked_at: float
    status: Literal["open", "answered", "taken", "withdrawn"] = "open"
    answer: Raw = NULL
    by: str = ""
    answered_at: float | None = None


class Effect(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the effect ledger. `status`: intended (in doubt while nobody runs it), done, undone, standing.

    `undoing`: its undo began and was not recorded as done: in doubt, and never undone again by itself.
    """

    tree: str
    run: str
    branch: int
    address: str
    name: str
    key: str
    effect_key: str
    generation: int
    status: Literal["intended", "done", "undoing", "undone", "standing"]
    arguments: Raw
    arguments_digest: str
    on_doubt: str
    undo: str = ""
    value: Raw = NULL
    seq: int = 0
    at: float = 0.0


class Command(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request from outside: posted without a fence, taken by the run's owner at plan, once.

    `verb` and its `arguments`: answer (question, value, by), pause (immediate), resume (edits), cancel, rollback
    (to, by).
    """

    id: str
    run: str
    verb: str
    arguments: dict[str, Any] = {}
    by: str = ""
    at: float = 0.0


class Item(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A stream item of an attempt. `lane` is `stream` (an edge's durable log) or `progress` (falls away)."""

    run: str
    address: str
    attempt: int
    ordinal: int
    arrival: int
    value: Raw
    lane: Literal["stream", "progress"] = "progress"
    at: float = 0.0


class QuestionPut(Struct, frozen=True):
    """Insert or replace a question."""

    question: Question


class EffectPut(Struct, frozen=True):
    """Insert or replace a line of the effect ledger, by (tree, run, branch, address, name, key)."""

    effect: Effect


class CommandTaken(Struct, frozen=True):
    """A command was consumed; posting its id again does nothing."""

    id: str


class ItemsPut(Struct, frozen=True):
    """Insert stream items."""

    items: tuple[Item, ...]


class ItemsDropped(Struct, frozen=True):
    """Delete the items of an activation's attempt; of one lane, or of both when it is empty.

    `before` spares what arrived from that number on: the same attempt, begun again by a later owner.
    """

    address: str
    attempt: int
    lane: str = ""
    before: int | None = None


class BlobPut(Struct, frozen=True):
    """Keep bytes under their digest; keeping the same again is nothing."""

    blob: Blob


class ManifestPut(Struct, frozen=True):
    """Keep a snapshot."""

    manifest: Manifest


Change: TypeAlias = QuestionPut | EffectPut | CommandTaken | ItemsPut | ItemsDropped | BlobPut | ManifestPut


class Write(Struct, frozen=True):
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


class Loaded(Struct, frozen=True):
    """What resuming needs and nothing else: the latest snapshot, the rows after it, and the blobs they refer to."""

    record: RunRecord
    manifest: Manifest | None
    rows: tuple[Row, ...]


class Query(Struct, Generic[T], frozen=True, kw_only=True):
    """A question to the store; `find` answers with a list of T."""


class Runs(Query[RunRecord], frozen=True, kw_only=True):
    """Runs, newest first, after the id `after` of the last page.

    Args:
        claimable: only unfinished runs without a live owner that have work: never started, interrupted, due before
            `due_before`, or with a command waiting.
    """

    ids: tuple[str, ...] | None = None
    definitions: tuple[str, ...] | None = None
    statuses: tuple[Status, ...] | None = None
    tenant: str | None = None
    tags: dict[str, str] = {}
    claimable: bool = False
    due_before: float | None = None
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


ENCODER = msgspec.json.Encoder()
BODY = msgspec.json.Decoder(Body)
