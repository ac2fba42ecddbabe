"""What people do about runs beside answering: put a question to somebody else, correct the state.

What is wrong is refused here, before anything is posted, so that nothing is changed by it.
"""

from typing import Any

from windlass.core.blueprint import Definition
from windlass.core.errors import AlreadyAnswered, InputError
from windlass.core.position import load
from windlass.core.states import move
from windlass.engine import escalations, reads
from windlass.engine.answers import find
from windlass.engine.control import Control
from windlass.engine.initiate import edit as edited
from windlass.engine.inputs import packed, unpacked
from windlass.engine.terms import target
from windlass.engine.threads import check_begun


async def edit(control: Control, run: str, edits: dict[str, Any], *, by: str, why: str, overwrite: bool) -> None:
    """Correct channels of a run that has not ended for good; it goes on as it was, with the new values.

    Args:
        overwrite: set them whole; else what is given passes through each channel's reducer.

    Raises:
        RunUnknown, RunState: there is no such run, or it is completed or cancelled.
        DefinitionUnknown, DefinitionChanged: the types of its channels are not known here.
        InputError: there is no such channel, or a value has not its type; nothing was changed.
        ReducerFailed: a reducer refused a value; nothing was changed.
    """
    if not edits:
        raise InputError("edits", "there are none", hint="CHANNEL=VALUE")
    record = await reads.get(control.store, run)
    move(run, record.head.status, "edit")
    check_begun(record)
    blueprint = control.drives.blueprint(record)
    arguments = packed(blueprint, edits)
    position = load(await control.store.load(run))
    blobs = await reads.with_blobs(control.store, position)
    edited(blueprint, position, unpacked(blueprint, arguments), blobs.__getitem__, overwrite=overwrite)
    await control.steer(run, "edit", by, **arguments, why=why, overwrite=overwrite)


async def escalate(control: Control, id_: str, to: str | Definition, *, by: str, why: str) -> str:
    """Put an open question to somebody else; a definition is started with it, and what it returns is the answer.

    Returns:
        To whom it is put; the id of the run for a definition.

    Raises:
        QuestionUnknown, AlreadyAnswered: there is no such question, or it is closed.
        InputError: it is put to nobody.
    """
    goal = target(to) if isinstance(to, str) else f"definition:{control.drives.learn(to).name}"
    asked = await find(control, id_)
    if asked.status != "open":
        raise AlreadyAnswered(f"question {id_} of run {asked.run} is {asked.status}")
    if asked.terms.to != goal:
        await control.post(asked.run, "escalate", by, question=id_, to=goal, why=why)
    return await escalations.begin(control, id_) if goal.startswith(escalations.BEGIN) else goal
