"""Continue-as-new: a run completes, and the same write makes the run that goes on from there with a fresh log.

The next run is the next part of its turn, so what was queued behind the turn stays behind it. Its first row brings a
snapshot of the state that is carried over, so it needs nothing of the run before: that one may be pruned at any time.
"""

from collections.abc import Iterable, Mapping
from typing import Any, cast

from msgspec.structs import replace

from windlass.core import queries
from windlass.core import records as r
from windlass.core.blueprint import Durability
from windlass.core.changes import BlobPut, Change, ManifestPut, RunPut
from windlass.core.codec import Encoded
from windlass.core.position import Position
from windlass.core.states import COMPLETED
from windlass.core.thread import PARTS, names_of, place_of
from windlass.core.thread_errors import NotContinued
from windlass.engine.births import Given, Options, record_of
from windlass.engine.drive import Drive
from windlass.engine.reconcile import Step
from windlass.engine.threads import queued
from windlass.engine.tree import turn_position
from windlass.stores.base import Store, row_digest

SHORT = 8


async def complete(drive: Drive, step: Step, finished: Iterable[r.Finished]) -> Step:
    """Let the step that a node continued in be the run's last: what it planned is dropped, and the next run is made.

    Raises:
        NotContinued: several nodes of the step did, or another thread has the name of this run.
    """
    asked_by = [done for done in finished if done.anew is not None]
    record, store = drive.journal.record, drive.services.store
    if len(asked_by) > 1:
        names = " and ".join(done.address for done in asked_by)
        raise NotContinued(f"run {record.id} cannot continue twice: {names} returned ContinueAsNew in one step")
    if not record.turn and await store.find(queries.Turns(**names_of(record, record.id), limit=1)):
        raise NotContinued(f"run {record.id} cannot continue: there is a thread of that name")
    seams = drive.services.seams
    stem = record.id.partition("~")[0] if record.continues else record.id
    run = f"{stem}~{record.part + 1}-{seams.ids()[:SHORT]}"
    dropped = [planned.address for planned in step.planned]
    drive.journal.say("run.completed")
    drive.journal.say("run.continued", asked_by[0].address, run=run, dropped=dropped)
    given = asked_by[0].anew or {}
    drive.continued = run
    drive.journal.farewell = lambda status, _: (_next(drive, run, given),) if status is COMPLETED else ()
    return step._replace(planned=())


def _next(drive: Drive, run: str, given: Mapping[str, Any]) -> Change:
    """Make the next run with the position that this one ends with; called when its last row is folded."""
    journal, services, blueprint = drive.journal, drive.services, drive.blueprint
    record = journal.record
    options = Options(
        tags=record.tags, thread=record.thread if record.turn else record.id, tenant=record.tenant, roles=record.roles,
        source=record.source, durability=cast("Durability", record.durability),
    )  # fmt: skip
    encoded = {name: Encoded(bytes(raw), frozen=False, blobs=()) for name, raw in given.items()}
    fresh = record_of(
        services, blueprint, run, Given({}, "", encoded), options, turn=record.turn or 1, part=record.part + 1,
        continues=record.id,
    )  # fmt: skip
    birth = queued(fresh, Given({}, "", encoded), services.seams.clock.now())
    manifest, blobs = _snapshot(drive, birth.position, run)
    first = replace(birth.first, changes=(*birth.first.changes, *blobs, ManifestPut(manifest)))
    journal.posted.append((run, "begin"))
    return RunPut(fresh, first, None)


def _snapshot(drive: Drive, begun: Position, run: str) -> tuple[r.Manifest, list[BlobPut]]:
    journal = drive.journal
    position = Position(run, journal.record.channels)
    body = journal.position.dump()
    position.restore(r.Manifest(run, begun.seq, 0, 0, body, ""))
    position.held = {*journal.position.held, *begun.held}
    position = turn_position(position, run)
    position.seq = begun.seq
    new = [
        blob for channel in position.channels.values() for blob in channel.compact(drive.blueprint.codec, journal.blob)
    ]
    position.held.update(blob.digest for blob in new)
    body = position.dump()
    digest = row_digest(run, begun.seq, begun.seq, body)
    manifest = r.Manifest(run, begun.seq, 0, 0, body, digest, tuple(sorted(position.references())))
    return manifest, [BlobPut(r.Blob(blob.digest, bytes(blob.content))) for blob in new]


async def next_of(store: Store, record: r.RunRecord) -> str:
    """Name the last run of those that a run continued as; empty if it did not."""
    own = record.turn or 1
    place = place_of(record) or own << PARTS
    names = names_of(record, "" if record.turn else record.id)
    found = await store.find(queries.Turns(**names, above=place, below=(own + 1) << PARTS, limit=1))
    return found[0].id if found and found[0].continues else ""
