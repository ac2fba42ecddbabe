"""What people do about runs beside answering: put a question to somebody else, correct the state, send a signal.

What is wrong is refused here, before anything is posted, so that nothing is changed by it.
"""

from typing import Any

import msgspec
from msgspec import Raw

from windlass.core.blueprint import Definition
from windlass.core.codec import PLAIN
from windlass.core.errors import AlreadyAnswered, InputError
from windlass.core.position import load
from windlass.core.schema import unfit
from windlass.core.signal_errors import SignalInvalid
from windlass.core.states import move
from windlass.engine import escalations, reads
from windlass.engine.answers import find
from windlass.engine.control import Control
from windlass.engine.initiate import edit as edited
from windlass.engine.inputs import check_name, packed, spoken, unpacked
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

    Args:
        to: somebody, or a definition: by its name alone only where it is known, so that a slip puts it to nobody.

    Returns:
        To whom it is put; the id of the run for a definition.

    Raises:
        QuestionUnknown, AlreadyAnswered: there is no such question, or it is closed.
        InputError: it is put to nobody, or to a definition that is not known here.
    """
    if isinstance(to, str) and to and ":" not in to and to not in control.drives.blueprints:
        hint = f'"role:{to}" or "user:{to}" for people; "definition:{to}" if a worker knows a definition of this name'
        raise InputError("to", f"no definition {to!r} is known here", hint=hint)
    goal = target(to) if isinstance(to, str) else f"definition:{control.drives.learn(to).name}"
    asked = await find(control, id_)
    if asked.status != "open":
        raise AlreadyAnswered(f"question {id_} of run {asked.run} is {asked.status}")
    if asked.terms.to != goal:
        await control.post(asked.run, "escalate", by, question=id_, to=goal, why=why)
    return await escalations.begin(control, id_) if goal.startswith(escalations.BEGIN) else goal


async def signal(control: Control, run: str, name: str, value: Any, *, by: str, id: str) -> bool:
    """Post a signal; it is part of the run's log once its owner has taken it.

    Returns:
        Whether it was sent: not if one was under this id before, whatever its value.

    Raises:
        RunUnknown, RunState: there is no such run, or it is completed or cancelled.
        SignalInvalid: a task waits for a signal of this name, and this is not what it wants; nothing was sent.
        InputError, ValueNotKept, ValueTooLarge: the name is empty or no text, or the value cannot be kept; so too.
    """
    check_name(name, "signal")
    record = await reads.get(control.store, run)
    move(run, record.head.status, "signal")
    known = control.drives.blueprints.get(record.definition)
    encoded = spoken(known.codec if known is not None else PLAIN, value)
    position = load(await control.store.load(run))
    waits = [wait for one in position.pending.values() for wait in one.open_signals if wait.name == name]
    wrong = [unfit(value, msgspec.json.decode(wait.schema)) for wait in waits]
    if wrong and all(wrong):
        hint = f"{waits[0].address} wants {bytes(waits[0].schema).decode()[:500]}"
        raise SignalInvalid("signal", wrong[0], hint=hint)
    return await control.post(run, "signal", by, id=id and _known_as(run, id), name=name, value=Raw(encoded))


def _known_as(run: str, id: str) -> str:
    """Make a signal's id of the run's, as ids of commands are the store's: no other run and id make the same."""
    return f"{run.replace('%', '%25').replace('|', '%7C')}|{id}"
