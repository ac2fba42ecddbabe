"""What is stored: the run, the rows of its log, and the small tables beside them.

A run's log is the truth. Each fenced write appends one row; a row is a JSON body that `position.fold` applies to the
state before it. Three kinds of row: `step` settles finished activations into the channels and plans the next ones (a
checkpoint), `writes` keeps finished activations whose step is still going on, `record` keeps what happened inside
activations or to the run. A fourth, `pruned`, stands where rows were dropped by retention: it covers their events and
tells only that. `seq` numbers the events of a run without a gap; a row covers the events `first..last`.
"""

from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct

from windlass.core.audit import Account
from windlass.core.ops import NO_TERMS, NULL, Op, Terms
from windlass.core.origin import Origin
from windlass.core.states import CREATED, Status

RowKind = Literal["step", "writes", "record", "pruned"]


class Planned(Struct, frozen=True, gc=False, omit_defaults=True):
    """An activation that is to run: `node#visit[index]`, and what a Send gave it."""

    address: str
    payload: Raw = NULL


class Sent(Struct, frozen=True, gc=False, array_like=True):
    """A Send that a finished activation asked for: the node, and the encoded value."""

    node: str
    payload: Raw


class Finished(Struct, frozen=True, gc=False, omit_defaults=True):
    """What an activation left: its encoded writes by channel, and where it said to go."""

    address: str
    writes: dict[str, Raw] = {}
    goto: tuple[str, ...] | None = None
    sends: tuple[Sent, ...] = ()
    attempt: int = 1
    skipped: bool = False
    savepoints: tuple[str, ...] = ()  # names that it gave the checkpoint of its step
    account: Account | None = None  # of an activation that used models or tools
    anew: dict[str, Raw] | None = None  # the input of the run that it continues as


class Said(Struct, frozen=True, gc=False, array_like=True, omit_defaults=True):
    """An event of the run itself, or one that no other part of the row implies: type, address, details."""

    type: str
    address: str = ""
    details: dict[str, Any] = {}


class Body(Struct, gc=False, omit_defaults=True):
    """The body of a row. The events of a row are a pure function of it (`events.told`), in this order of parts.

    Not frozen: a step's digest is known only once the rest of it has been folded.
    """

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
    applied: tuple[str, ...] = ()  # activations of a step that earlier rows of kind `writes` kept
    edited: bool = False  # from outside: what earlier rows of kind `writes` kept stays with the step that goes on
    frame: str = ""  # of a step: the path of the sub-graph's frame that it settles, which its first one opens
    given: tuple[str, ...] = ()  # of the first: channels that came from outside, and go back there


def addresses(body: Body) -> tuple[str, ...]:
    """Name all that finished in a step, those that earlier rows kept first."""
    return (*body.applied, *(done.address for done in body.finished))


class Row(Struct, frozen=True, gc=False):
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


class Owner(Struct, frozen=True, gc=False):
    """Who holds leases: one process. `started` is its start time as the system tells it, so a reused pid is seen."""

    id: str
    host: str
    boot: str
    pid: int
    started: str


class Head(Struct, frozen=True, gc=False, omit_defaults=True):
    """Where a run stands: the part of its record that every fenced write replaces."""

    status: Status = CREATED
    branch: int = 0
    n: int = 0
    seq: int = 0  # number of the last event
    due_at: float | None = None  # the next timer or retry, while parked
    crashes: int = 0  # claims in a row that found a dead owner's unfinished plan


class RunRecord(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One durable execution of a definition, as listed."""

    id: str
    definition: str
    fingerprint: str
    head: Head = Head()
    epoch: int = 0
    owner: Owner | None = None
    owner_until: float | None = None
    tenant: str = "default"
    roles: tuple[str, ...] = ()  # of whoever started it, for permissions
    thread: str = ""
    turn: int = 0  # its number in the thread, from 1; 0: the thread is only a label
    part: int = 0  # how often the turn continued as a new run before
    continues: str = ""  # the run before, of a turn that did
    on_busy: str = ""  # what its start asked for, where a turn before it had not ended
    parent: "Parent | None" = None
    origin: Origin | None = None  # of a child run
    tags: dict[str, str] = {}
    shard: int = 0
    trace: str = ""
    source: str = ""  # FILE:NAME as a printed hint, never imported unasked
    input_digest: str = ""
    durability: str = "sync"
    structure: Raw = Raw(b"{}")
    channels: dict[str, str] = {}  # by static path (`draft`, `team/draft`): its kind, so that a log folds alone
    sources: dict[str, str] = {}  # node → digest of its source text when the run was made
    before: tuple[str, ...] = ()  # nodes at which this run stops for a person, before they run
    after: tuple[str, ...] = ()  # and after
    quarantined: str = ""  # why nobody may claim it: what was found damaged
    created_at: float = 0.0
    updated_at: float = 0.0


class Parent(Struct, frozen=True, gc=False, omit_defaults=True):
    """Where a fork came from. `tree` is the first run of the family; effects are looked up in the whole tree."""

    run: str
    branch: int
    n: int
    tree: str
    effects: str = "adopt"


class Blob(Struct, frozen=True, gc=False):
    """Bytes that stand once, outside the log, under their SHA-256."""

    digest: str
    content: bytes


class Manifest(Struct, frozen=True, gc=False):
    """A snapshot of a run's position after the row that ends at `seq`; its body is `position.dump`'s."""

    run: str
    seq: int
    branch: int
    n: int
    body: bytes
    digest: str
    blobs: tuple[str, ...] = ()


class Question(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A question of a run. `status`: open, answered (the owner has yet to take it), taken, expired, withdrawn."""

    id: str
    run: str
    address: str
    key: str
    prompt: str
    schema: Raw
    asked_at: float
    status: Literal["open", "answered", "taken", "expired", "withdrawn"] = "open"
    about: dict[str, Any] = {}  # of an effect in doubt: effect, key, arguments, intended_at, why
    answer: Raw = NULL
    by: str = ""
    answered_at: float | None = None
    terms: Terms = NO_TERMS
    tenant: str = ""
    definition: str = ""

    @property
    def to(self) -> str:
        """Whom it is put to now; empty: anybody."""
        return self.terms.to

    @property
    def due_at(self) -> float | None:
        """When an answer comes too late; None for never."""
        return self.terms.due_at

    @property
    def wants(self) -> Any:
        """What may be answered: its JSON Schema, as plain values."""
        return msgspec.json.decode(self.schema)


class Effect(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One line of the effect ledger: what is known of one effect on one branch.

    `status`: intended (in doubt while nobody runs it), done, not_done (known not to have happened), undoing (its undo
    is in doubt while nobody runs it), undone, standing (it happened, and no branch that goes on has asked for it).
    Lines with one `effect_key` are of one happening, adopted by other branches and runs.

    Args:
        how: how its outcome is known, as `EffectCompleted` says.
        by: who answered for it.
        why: why it is in doubt, or could not be undone.
        undo_for: the rollback that undid it, or tried to; `undo_how` is what came of that.
    """

    tree: str
    run: str
    branch: int
    address: str
    name: str
    key: str
    effect_key: str
    generation: int
    status: Literal["intended", "done", "not_done", "undoing", "undone", "standing"]
    arguments: Raw
    arguments_digest: str
    on_doubt: str
    undo: str = ""
    value: Raw = NULL
    seq: int = 0
    at: float = 0.0
    how: str = ""
    by: str = ""
    why: str = ""
    undo_key: str = ""
    undo_for: str = ""
    undo_how: str = ""


class Command(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A request from outside: posted without a fence, taken by the run's owner at plan, once.

    `verb` and its `arguments`: answer (question, value, by), escalate (question, to, why), edit (edits, why,
    overwrite), pause (immediate), resume (edits), cancel, rollback (to, by), child (address, key, child, status: one
    has ended), signal (name, value).
    """

    id: str
    run: str
    verb: str
    arguments: dict[str, Any] = {}
    by: str = ""
    at: float = 0.0


class Item(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """A stream item of an attempt. `lane` is `stream` (an edge's durable log) or `progress` (falls away)."""

    run: str
    address: str
    attempt: int
    ordinal: int
    arrival: int
    value: Raw
    lane: Literal["stream", "progress"] = "progress"
    at: float = 0.0


class Loaded(Struct, frozen=True, gc=False):
    """What resuming needs and nothing else: the latest snapshot, the rows after it, and the blobs they refer to."""

    record: RunRecord
    manifest: Manifest | None
    rows: tuple[Row, ...]


ENCODER = msgspec.json.Encoder()
BODY = msgspec.json.Decoder(Body)
