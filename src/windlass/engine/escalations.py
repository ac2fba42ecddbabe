"""Escalations: a question is put to a definition, which is started on it once; what it returns is the answer.

The id of that run follows from the question's and the definition's, so it is one run, whoever starts it, and wherever a
process dies on the way. Whoever puts the question starts it; whoever drives it to its end hands its output back. What a
death left undone on either side is found by any worker that knows the definition. A run that fails, or returns what the
question does not ask for, gives the question back to whoever was asked before.
"""

from contextlib import suppress
from functools import partial
from hashlib import sha256
from typing import Any

import msgspec

from windlass.core import queries
from windlass.core import records as r
from windlass.core.blueprint import Blueprint
from windlass.core.codec import Unknown
from windlass.core.errors import (
    AlreadyAnswered,
    NotForYou,
    QuestionExpired,
    QuestionUnknown,
    RunExists,
    StoreError,
    WindlassError,
)
from windlass.core.position import load
from windlass.core.states import COMPLETED, ENDED
from windlass.engine import handing, reads
from windlass.engine.answers import answer, find
from windlass.engine.births import Options
from windlass.engine.control import Control
from windlass.engine.handing import Known
from windlass.engine.outputs import show

BEGIN = "definition:"
TAG = "escalation"  # of a run that was started on a question: the question's id
MOST_STATE = 64 << 10  # bytes of a run's channels that are handed over, and back


def bind(control: Control) -> None:
    """Let the drives of a Runtime start what is bound to dead letters and questions, and hand back what comes of it."""
    control.drives.hand_on = partial(handing.hand_on, control)
    control.services.escalate = partial(_begun, control)
    control.services.escalation_ended = partial(_over, control)


async def _begun(control: Control, id_: str) -> str:
    with suppress(StoreError):  # a worker will find it
        return await begin(control, id_)
    return ""


async def _over(control: Control, record: r.RunRecord) -> None:
    with suppress(StoreError):  # a worker will look again
        await ended(control, record)


def run_of(id_: str, definition: str) -> str:
    """Name the run that a definition is started as on a question."""
    return f"escalation-{id_}-{sha256(definition.encode()).hexdigest()[:8]}"


async def look(control: Control, since: float | None, limit: int) -> list[str]:
    """Start what a death left undone, as a worker does: handlers of dead letters, and now and then escalations.

    Args:
        since: of dead letters, only those from then on; None: all, and all escalations.
        limit: most runs to start.
    """
    started = await handing.look(control, since, limit)
    if since is not None:
        return started
    for asked in await control.store.find(queries.Questions(limit=queries.EVER)):
        if asked.terms.to.removeprefix(BEGIN) in control.drives.blueprints and asked.terms.to.startswith(BEGIN):
            run = run_of(asked.id, asked.terms.to.removeprefix(BEGIN))
            found = await control.store.find(queries.Runs(ids=(run,)))
            if not found and len(started) < limit:
                started.append(await begin(control, asked.id))
            elif found:
                await ended(control, found[0])
    return started


async def begin(control: Control, id_: str) -> str:
    """Start the run that a question was put to, if it is known here and was not started; returns its id."""
    asked = await find(control, id_)
    if not asked.terms.to.startswith(BEGIN):
        return asked.terms.to
    name = asked.terms.to.removeprefix(BEGIN)
    run, blueprint = run_of(id_, name), control.drives.blueprints.get(name)
    found = await control.store.find(queries.Runs(ids=(run,)))
    if asked.status != "open" or blueprint is None:
        return run
    if found:
        await ended(control, found[0])
        return run
    parent = await reads.get(control.store, asked.run)
    options = Options(tenant=parent.tenant, roles=parent.roles, tags={**parent.tags, TAG: id_})
    try:
        await control.start(Known(blueprint), await _given(control, asked, blueprint), run, options)
    except RunExists:  # somebody was faster
        pass
    except StoreError:
        raise
    except WindlassError as error:
        await _give_back(control, asked, f"{name} could not be started: {error.args[0]}")
    return run


async def _given(control: Control, asked: r.Question, blueprint: Blueprint) -> dict[str, Any]:
    """Make the input: the question, and the state of the run that asks."""
    question = {
        "id": asked.id, "run": asked.run, "address": asked.address, "prompt": asked.prompt,
        "schema": msgspec.json.decode(asked.schema), "about": asked.about, "asked_at": asked.asked_at,
        "to": asked.terms.was,
    }  # fmt: skip
    told = {"question": question, "state": await state_of(control, asked.run, asked.address)}
    if blueprint.kind == "pipeline":
        return told
    return {name: value for name, value in told.items() if name in blueprint.channels}


async def state_of(control: Control, run: str, address: str = "") -> dict[str, Any]:
    """Show the channels that an activation of a run sees as plain JSON; a note instead of what is too large."""
    position = load(await control.store.load(run))
    shown = show(position.at(address), await reads.with_blobs(control.store, position), reads.LENIENT)
    plain: dict[str, Any] = msgspec.to_builtins(shown, str_keys=True, enc_hook=_plain)
    size = len(msgspec.json.encode(plain))
    return plain if size <= MOST_STATE else {"too large to show": size}


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Unknown) else repr(value)


async def ended(control: Control, record: r.RunRecord) -> None:
    """Hand the output of a run back as the answer of the question that it was started on, if it was and has ended."""
    id_ = record.tags.get(TAG, "")
    if not id_ or record.id != run_of(id_, record.definition):
        return
    record = await reads.get(control.store, record.id)
    if record.head.status not in ENDED:
        return
    try:
        asked = await find(control, id_)
        if asked.status != "open" or asked.terms.to != BEGIN + record.definition:
            return
        if record.head.status is not COMPLETED:
            await _give_back(control, asked, f"run {record.id} is {record.head.status}")
            return
        known = control.drives.blueprints.get(record.definition)
        output = (await reads.result(control.store, record.id, known)).output
        context = {"run": record.id, "definition": record.definition, "state": await state_of(control, record.id)}
        try:
            await answer(control, id_, output, by=asked.terms.to, context=context)
        except (AlreadyAnswered, NotForYou, QuestionExpired, StoreError):
            raise
        except WindlassError as error:
            await _give_back(control, asked, f"run {record.id} gave no answer: {error.args[0]}")
    except (AlreadyAnswered, NotForYou, QuestionExpired, QuestionUnknown):
        return  # it is closed, or put to somebody else: nobody waits for this any more


async def _give_back(control: Control, asked: r.Question, why: str) -> None:
    terms = asked.terms
    with suppress(AlreadyAnswered, NotForYou):  # it was closed, or put to somebody else, since
        await control.post(asked.run, "escalate", terms.to, question=asked.id, to=terms.was, why=why, asked=terms.to)
