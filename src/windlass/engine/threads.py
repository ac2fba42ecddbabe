"""Threads: runs that follow one another, each from the state that the one before has left (docs/threads.md).

A second input is a run of its own, made at once and with its input: the next turn. It begins when no turn before it is
live, which is a question to the store's tables and no message, so no crash can lose it; the store lets one run have a
place, and no turn begin before its time. What `interrupt` and `rollback` do to the turns in front is posted to them by
the write that makes the new run.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw

from windlass.core import queries
from windlass.core import records as r
from windlass.core.blueprint import Blueprint
from windlass.core.changes import BlobPut, Change, CommandPut, Write
from windlass.core.crashpoint import crashpoint
from windlass.core.errors import InputError, RunState
from windlass.core.events import count
from windlass.core.position import Position
from windlass.core.records import Body, Said
from windlass.core.states import CREATED, FAILED, WAITING
from windlass.core.thread import POLICIES
from windlass.core.thread_errors import OutOfTurn, ThreadBusy
from windlass.engine.births import Birth, Given, Options, conceive, record_of
from windlass.engine.inputs import check_text
from windlass.engine.redacting import cleaned, masked, told
from windlass.engine.services import Services
from windlass.stores.base import Store, row_digest

MOST_LIVE = 10_000  # turns in front that are asked to stop
STOPS = {"interrupt": "cancel", "rollback": "rollback"}  # the verb that a policy posts to the turns in front
TO_ITS_START = {"to": "start", "over": True}  # of a rollback that ends the run


async def create(services: Services, blueprint: Blueprint, run: str, given: Given, options: Options) -> Birth:
    """Make the next turn of a thread.

    Raises:
        ThreadBusy: a turn has not ended, and the definition, or this call, says `reject`; nothing was made.
        RunExists: the id is taken.
    """
    check_text(options.thread, "thread")
    mode = options.on_busy or blueprint.on_busy
    if mode not in POLICIES:
        raise InputError("on_busy", f"{mode!r} is none of {', '.join(POLICIES)}")
    names: dict[str, Any] = {"tenant": options.tenant, "definition": blueprint.name, "thread": options.thread}
    while True:
        last = await services.store.find(queries.Turns(**names, limit=1))
        most = MOST_LIVE if mode in STOPS else 1  # else it only matters whether there is one
        live = await services.store.find(queries.Turns(**names, live=True, limit=most)) if last else []
        in_the_way = live or [one for one in last if one.head.status is FAILED]
        if in_the_way and mode == "reject":
            raise await _busy(services.store, in_the_way[0])
        birth = _conceived(services, blueprint, run, given, options, last, live)
        try:
            await services.store.create(birth.record, birth.first, services.owner if birth.is_owned else None)
        except OutOfTurn:  # somebody was faster: the turn after that one
            continue
        crashpoint("thread.queued")
        return birth


def _conceived(
    services: Services, blueprint: Blueprint, run: str, given: Given, options: Options,
    last: Sequence[r.RunRecord], live: Sequence[r.RunRecord],
) -> Birth:  # fmt: skip
    if not last:
        return conceive(services, blueprint, run, given, options, turn=1)
    mode = (options.on_busy or blueprint.on_busy) if live else ""
    record = record_of(services, blueprint, run, given, options, turn=last[0].turn + 1, on_busy=mode)
    verb = STOPS.get(mode, "")
    now = services.seams.clock.now()
    stops = [
        r.Command(
            id=services.seams.ids(), run=one.id, verb=verb, arguments=TO_ITS_START if verb == "rollback" else {},
            by=run, at=now,
        )
        for one in live if verb
    ]  # fmt: skip
    puts = [CommandPut(masked(command)) for command in stops]
    birth = queued(record, given, now, puts)
    posted = tuple((command.run, command.verb) for command in stops)
    return msgspec.structs.replace(birth, is_owned=not live, posted=posted)


def queued(record: r.RunRecord, given: Given, now: float, changes: Sequence[Change] = ()) -> Birth:
    """Make a turn that has yet to begin: its first row keeps its input, encoded, and tells that it exists."""
    results = {name: Raw(one.data) for name, one in given.encoded.items()}
    blobs = {blob.digest: bytes(blob.content) for one in given.encoded.values() for blob in one.blobs}
    said = (
        Said("run.created", "", {"definition": record.definition, "fingerprint": record.fingerprint}),
        *told((), (), results, blobs),
    )
    body = Body(now, results=results, said=cleaned(said), blobs=tuple(blobs))
    position = Position(record.id, record.channels)
    position.fold("record", body)
    position.held.update(blobs)
    position.seq = last = count("record", body)
    data = r.ENCODER.encode(body)
    position.rows, position.row_bytes = 1, len(data)
    row = r.Row(record.id, 1, last, 0, 0, "record", now, data, row_digest(record.id, 1, last, data))
    puts = (*(BlobPut(r.Blob(digest, content)) for digest, content in blobs.items()), *changes)
    return Birth(record, Write(record.id, 0, 0, (row,), r.Head(CREATED, seq=last), puts), position, blobs)


async def _busy(store: Store, record: r.RunRecord) -> ThreadBusy:
    """Say which run is in the way, and what it waits for."""
    said = f"turn {record.turn} of thread {record.thread} is {record.head.status}: run {record.id}"
    hint = f"wait for it, or `windlass runs cancel {record.id}`"
    if record.head.status is WAITING:
        asked = await store.find(queries.Questions(run=record.id, limit=1))
        if asked:
            said, hint = (
                f"{said} waits for question {asked[0].id}",
                f"`windlass inbox answer {asked[0].id} VALUE` first",
            )
    elif record.head.status is FAILED:
        hint = f"`windlass runs resume {record.id}`, or give the input with on_busy enqueue"
    return ThreadBusy(said, hint=hint)


def check_begun(record: r.RunRecord) -> None:
    """Refuse to change what a turn has not come to.

    Raises:
        RunState: it has not begun.
    """
    if record.turn and not record.head.n:
        raise RunState(f"run {record.id} has not begun: a turn before it has not ended", hint="edit it then")
