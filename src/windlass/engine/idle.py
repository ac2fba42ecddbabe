"""Pausing and cancelling a run that nobody drives: no code runs, so no definition is needed."""

import msgspec

from windlass.core import changes, queries
from windlass.core import records as r
from windlass.core.errors import RunState
from windlass.core.position import Position
from windlass.core.states import PAUSED, UNFINISHED, move
from windlass.engine.escrow import written_off
from windlass.engine.journal import Journal
from windlass.engine.kin import post, say_farewell
from windlass.engine.services import Services

GOING = (*sorted(UNFINISHED), PAUSED)
MOST_CHILDREN = 100_000


async def settle(services: Services, record: r.RunRecord, verb: str) -> list[tuple[str, str]]:
    """Take `pause` or `cancel` for a run that was claimed for it, and release it.

    Returns:
        What it posted to other runs in the same write: to its children, and to its parent.
    """
    run, store = record.id, services.store
    position = Position(run, record.channels)
    position.seq, position.n, position.branch = record.head.seq, record.head.n, record.head.branch
    wake = services.notifier.wake
    journal = Journal(store, services.seams, record, position, lambda: wake(run), {}, None)
    say_farewell(journal, None)
    for command in await store.find(queries.Commands(run=run)):
        if command.verb == verb:
            journal.change(changes.CommandTaken(command.id))
            if command.arguments.get("cascade"):
                journal.farewell = None  # its parent knows
    if record.owner is not None:
        journal.change(*await written_off(services.store, record, services.seams.clock.now()))
    try:
        status = move(run, record.head.status, verb)
    except RunState:  # it ended before the command came: the first durable end wins, and the command falls away
        await journal.write_changes(release=True)
        return []
    for child in await store.find(queries.Runs(parent=run, statuses=GOING, limit=MOST_CHILDREN)):
        if child.origin is not None and not child.origin.detached:
            post(journal, child.id, verb)
    if verb == "cancel":
        for asked in await store.find(queries.Questions(run=run)):
            journal.change(changes.QuestionPut(msgspec.structs.replace(asked, status="withdrawn")))
            journal.say("question.withdrawn", asked.address, id=asked.id)
    journal.say("run.paused" if status is PAUSED else "run.cancelled")
    await journal.write("record", status=status, release=True)
    return journal.posted
