"""Pausing and cancelling a run that nobody drives: no code runs, so no definition is needed."""

import msgspec

from windlass.core import changes, queries
from windlass.core import records as r
from windlass.core.errors import RunState
from windlass.core.position import Position
from windlass.core.states import PAUSED, move
from windlass.engine.escrow import written_off
from windlass.engine.journal import Journal
from windlass.engine.services import Services


async def settle(services: Services, record: r.RunRecord, verb: str) -> None:
    """Take `pause` or `cancel` for a run that was claimed for it, and release it."""
    run, store = record.id, services.store
    position = Position(run, record.channels)
    position.seq, position.n, position.branch = record.head.seq, record.head.n, record.head.branch
    wake = services.notifier.wake
    journal = Journal(store, services.seams, record, position, lambda: wake(run), {}, None)
    for command in await store.find(queries.Commands(run=run)):
        if command.verb == verb:
            journal.change(changes.CommandTaken(command.id))
    if record.owner is not None:
        journal.change(*await written_off(services.store, record, services.seams.clock.now()))
    try:
        status = move(run, record.head.status, verb)
    except RunState:  # it ended before the command came: the first durable end wins, and the command falls away
        await journal.write_changes(release=True)
        return
    if verb == "cancel":
        for asked in await store.find(queries.Questions(run=run)):
            journal.change(changes.QuestionPut(msgspec.structs.replace(asked, status="withdrawn")))
            journal.say("question.withdrawn", asked.address, id=asked.id)
    journal.say("run.paused" if status is PAUSED else "run.cancelled")
    await journal.write("record", status=status, release=True)
