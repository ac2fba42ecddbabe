"""A run's record and its first row, made before anything is written: by whoever starts it, or within another run."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import msgspec

from windlass.core import records as r
from windlass.core.blueprint import Blueprint, Durability
from windlass.core.changes import Write
from windlass.core.codec import Encoded
from windlass.core.origin import Origin
from windlass.core.position import Position
from windlass.core.states import Status
from windlass.core.thread import OnBusy
from windlass.engine.initiate import initiate
from windlass.engine.inputs import input_writes
from windlass.engine.journal import Journal
from windlass.engine.services import Services


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a run may be given beside its input."""

    tags: dict[str, str] = {}
    thread: str = ""
    tenant: str = "default"
    roles: tuple[str, ...] = ()
    source: str = ""
    durability: Durability | None = None
    before: Sequence[str] = ()  # nodes, by id, at which a person looks at this run, whatever the definition says
    after: Sequence[str] = ()
    on_busy: OnBusy | None = None


class Given(msgspec.Struct, frozen=True):
    """A run's input as channel writes, and its digest: the same for the same input, wherever it is worked out."""

    writes: dict[str, Any]
    digest: str
    encoded: dict[str, Encoded] = {}


class Birth(msgspec.Struct, frozen=True):
    """A run that is ready to be made: its record, its first write, and what its first drive begins with."""

    record: r.RunRecord
    first: Write
    position: Position
    blobs: dict[str, bytes]
    is_owned: bool = True  # where it is started: a turn that has to wait is not
    posted: tuple[tuple[str, str], ...] = ()  # what its first write asks other runs for: which, and the verb

    @property
    def owned(self) -> r.RunRecord:
        """Its record, once it was made with an owner; as after a claim, it shows no owner before."""
        return msgspec.structs.replace(self.record, epoch=1, head=self.first.head, owner=None)


def read_input(blueprint: Blueprint, given: Any) -> Given:
    """Check a run's input.

    Raises:
        InputError: it has not the declared type.
        ValueNotKept, ValueTooLarge: it cannot be kept.
    """
    writes = input_writes(blueprint, given)
    encoded = {name: blueprint.codec.encode(value, name) for name, value in writes.items()}
    kept = {name: one.data.decode() for name, one in encoded.items()}
    return Given(writes, sha256(msgspec.json.encode(kept, order="sorted")).hexdigest(), encoded)


def conceive(
    services: Services, blueprint: Blueprint, run: str, given: Given, options: Options, *,
    origin: Origin | None = None, parent: r.Parent | None = None, turn: int = 0,
) -> Birth:  # fmt: skip
    """Make a run's record and first write.

    Args:
        origin: of a child run.
        parent: the run whose effects it adopts, as a fork does.
        turn: of a thread: the first.
    """
    record = record_of(services, blueprint, run, given, options, origin=origin, parent=parent, turn=turn)
    position = Position(run, record.channels)
    journal = Journal(services.store, services.seams, record, position, lambda: None, {}, blueprint.codec)
    step = initiate(blueprint, position, given.writes, journal.blob)
    journal.say("run.created", definition=blueprint.name, fingerprint=blueprint.fingerprint)
    first = journal.compose("step", step, (), (), Status.RUNNING, None, release=False)
    return Birth(record, first, position, journal.blobs)


def record_of(
    services: Services, blueprint: Blueprint, run: str, given: Given, options: Options, **rest: Any
) -> r.RunRecord:  # fmt: skip
    """Make a run's record; `rest` is of its kind: origin, parent, or a place in a thread."""
    now = services.seams.clock.now()
    return r.RunRecord(
        id=run, tenant=options.tenant, roles=options.roles, thread=options.thread, tags=options.tags,
        shard=int(sha256(run.encode()).hexdigest()[:8], 16) % 64, source=options.source, input_digest=given.digest,
        durability=options.durability or blueprint.durability, before=tuple(options.before), after=tuple(options.after),
        created_at=now, updated_at=now, **blueprint.recorded, **rest,
    )  # fmt: skip
