"""Beginning a new run from a checkpoint of another."""

from typing import Any

import msgspec

from windlass.core import records as r
from windlass.core.blueprint import EVERY_STEP
from windlass.core.errors import InputError
from windlass.core.states import Status
from windlass.engine import reads, tree
from windlass.engine.control import Control
from windlass.engine.inputs import check_text, packed
from windlass.engine.journal import Journal


async def fork(
    control: Control, run: str, at: tree.Target | None, edits: dict[str, Any] | None, id: str | None, effects: str
) -> str:
    """Begin a new run from a checkpoint of another; it is driven here if its definition is known.

    A fork of a turn is a run of its own: it has left the thread.

    Raises:
        RunUnknown, CheckpointUnknown: there is no such run or checkpoint.
        RunExists: the new id is taken.
        DefinitionUnknown, DefinitionChanged, InputError: the edits cannot be checked, or are wrong.
    """
    if effects not in ("adopt", "run"):
        raise InputError("effects", f"{effects!r} is neither 'adopt' nor 'run'")
    store, seams, drives = control.store, control.services.seams, control.drives
    record = await reads.get(store, run)
    blueprint = drives.blueprints.get(record.definition)
    arguments = packed(drives.blueprint(record), edits) if blueprint is not None or edits else {}
    checkpoints = blueprint.checkpoints if blueprint is not None else EVERY_STEP
    target = at if at is not None else record.head.n
    position = await tree.target_position(store, record, blueprint, target, checkpoints)
    n, branch = position.n, position.branch
    name = check_text(id, "id") if id else f"{record.definition}-{seams.ids()[:8]}"
    parent = r.Parent(run, branch, n, record.parent.tree if record.parent else run, effects)
    now = seams.clock.now()
    fresh = msgspec.structs.replace(
        record, id=name, parent=parent, head=r.Head(), epoch=0, owner=None, owner_until=None, created_at=now,
        updated_at=now, thread="" if record.turn else record.thread, turn=0, part=0, continues="", on_busy="",
        before=(), after=(),
    )  # fmt: skip
    blobs = await reads.with_blobs(store, position)
    tree.fork_position(position, name)
    codec = blueprint.codec if blueprint is not None else None
    journal = Journal(store, seams, fresh, position, lambda: None, blobs, codec)
    journal.say("run.forked", parent=run, branch=branch, n=n)
    journal.snapshot_due = True
    ended = not position.waiting and not edits
    status = Status.COMPLETED if ended else Status.CREATED
    await store.create(fresh, journal.compose("record", None, (), (), status, None, release=False), None)
    if ended:
        return name
    if edits:
        await control.post_and_drive(name, arguments, "")
    elif blueprint is not None:
        await drives.drive(name)
    return name
