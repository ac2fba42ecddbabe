"""Questions: asked once, from one stable address; answered from anywhere, at any time; each with a clock of its own.

A question's key is made of all that it says: prompt, schema, who is asked, and how often the same was asked before in
this attempt. So an answer reaches the question that it was given to, or none: code that asks something else by the time
the answer comes asks anew.
"""

import asyncio
from collections.abc import Sequence
from functools import lru_cache, partial
from hashlib import sha256
from typing import Any, TypedDict, get_args, get_origin

import msgspec
from msgspec import Raw

from windlass.core import changes, ops
from windlass.core import records as r
from windlass.core.asked import asked_schema, check_wanted
from windlass.core.clock import LOOK_SECONDS
from windlass.core.crashpoint import crashpoint
from windlass.core.errors import DecodeError, InputError, QuestionExpired
from windlass.core.schema import misfit
from windlass.core.types import convert, json_schema
from windlass.core.words import Answered, When
from windlass.engine.activation import Activation
from windlass.engine.journal import Journal
from windlass.engine.terms import again, read_terms


class Asking(TypedDict, total=False):
    """What `ctx.ask` takes beside a prompt and a schema.

    Attributes:
        to: who may answer: `user:NAME`, `role:NAME` or `tenant:NAME`; anybody where it is not given.
        deadline: until when: `"2h"`, seconds, a timedelta, or a datetime with its time zone.
        otherwise: what follows then: `"reject"` (QuestionExpired is raised; the default), Escalate(to), or a value
            that is taken for the answer; never a yes.
        remind: when whoever is asked is to be reminded, as deadline; one or several.
        key: tells questions apart that say the same, where their order may change.
    """

    to: str
    deadline: When | None
    otherwise: Any
    remind: When | Sequence[When]
    key: str


async def put(activation: Activation, prompt: str, schema: Any, asking: Asking) -> Any:
    """Ask a person, and return the answer as the schema's type. See `Context.ask`."""
    check_known(asking)
    is_whole = get_origin(schema) is Answered
    wanted = get_args(schema)[0] if is_whole else schema
    given = isinstance(wanted, dict)  # a JSON Schema: what answers it is plain JSON
    (told, shape), kind = ((wanted, wanted), Any) if given else (_shapes(wanted), wanted)
    to, name = asking.get("to", ""), asking.get("key", "")
    said = [prompt, told, to, name] if to or name else [prompt, told]
    digest = sha256(msgspec.json.encode(said, order="sorted", enc_hook=repr)).hexdigest()[:16]
    identity = f"{digest}|{activation.nth('ask' + digest)}"
    text, why, tries, codec, pending = prompt, "", 0, activation.blueprint.codec, activation.pending
    while pending.lapsed.get(f"{identity}|{tries}", pending.resets) < pending.resets:
        tries += 1  # a resume asks again what nobody answered in time
    before: ops.Terms | None = None  # those of the question whose answer was refused
    while True:
        key, terms = f"{identity}|{tries}", ops.NO_TERMS
        if key not in activation.pending.asked:
            check_wanted(wanted)
            now = activation.services.seams.clock.now()
            terms = read_terms(codec, now, asking, kind) if before is None else again(before, now)
            if given and terms.otherwise == "value" and (wrong := misfit(msgspec.json.decode(terms.value), shape)):
                raise InputError("otherwise", f"{asking['otherwise']!r:.200} is no answer: {wrong}")
        raw = await ask(activation, key, text, shape, {"why": why} if why else None, terms)
        try:
            value = convert(codec.decode(raw, trusted=True), kind, "answer")
            if given and (wrong := misfit(msgspec.json.decode(raw), shape)):
                raise InputError("answer", wrong)  # noqa: TRY301 -- refused as what has another type
        except (InputError, DecodeError) as error:  # it was given by somebody who did not look at the schema
            why, tries = f"the last answer was refused: {error.args[0]}", tries + 1
            text, before = f"{prompt}\n({why})", activation.pending.closed.get(key)
            continue
        return Answered(value, *activation.pending.heard.get(key, ("", {}))) if is_whole else value


def _shapes(wanted: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give the schema that is part of a question's identity, and that which it shows, which may say more.

    Of a class they are worked out once. Of nothing else: `int | str` equals `str | int`, and their schemas differ.
    """
    return _of_class(wanted) if isinstance(wanted, type) else (json_schema(wanted), asked_schema(wanted))


@lru_cache(maxsize=256)
def _of_class(wanted: type) -> tuple[dict[str, Any], dict[str, Any]]:
    return json_schema(wanted), asked_schema(wanted)


def check_known(asking: Asking) -> None:
    """Refuse what is no term of a question, as Python refuses an unknown keyword."""
    if unknown := asking.keys() - Asking.__optional_keys__:
        raise TypeError(f"ask() got an unexpected keyword argument {min(unknown)!r}")


async def ask(
    activation: Activation, identity: str, prompt: str, shape: Any, about: dict[str, Any] | None = None,
    terms: ops.Terms = ops.NO_TERMS,
) -> bytes:  # fmt: skip
    """Return the answer of a question as JSON; ask it if it was not asked, wait if it is open.

    Raises:
        QuestionExpired: nobody answered in time, and no other answer stands for that.
    """
    activation.reached.add(identity)
    if identity not in activation.pending.asked:
        activation.begin_op()
        try:
            await activation.firm()
            asked = question(activation.journal, activation.address, identity, prompt, shape, about, terms)
            crashpoint("interrupt.create")
            await activation.record(asked)
        finally:
            activation.end_op()
    if identity not in activation.pending.answers:
        await _wait(activation, identity)
    if identity in activation.pending.lapsed:
        raise QuestionExpired(f"{activation.address}: nobody answered in time: {prompt}")
    return bytes(activation.pending.answers[identity])


async def _wait(activation: Activation, identity: str) -> None:
    """Wait; while the attempt does something else beside, the question's clock is watched here."""
    terms = activation.pending.terms.get(identity)
    if terms is None or terms.next_at is None:
        await activation.wait(identity)
        return
    wake = partial(activation.services.notifier.wake, "!" + activation.journal.record.id)
    left = max(0.0, terms.next_at - activation.services.seams.clock.now())
    timer = asyncio.get_running_loop().call_later(min(left, LOOK_SECONDS), wake)
    try:
        await activation.wait(identity)
    finally:
        timer.cancel()


def question(
    journal: Journal, address: str, identity: str, prompt: str, shape: Any, about: dict[str, Any] | None = None,
    terms: ops.Terms = ops.NO_TERMS,
) -> ops.QuestionAsked:  # fmt: skip
    """Make a question with its one stable id, and put its line into the next write."""
    record, schema = journal.record, Raw(msgspec.json.encode(shape))
    id_ = sha256(f"{record.id}|{journal.position.branch}|{address}|{identity}".encode()).hexdigest()[:16]
    asked_at = journal.seams.clock.now()
    line = r.Question(
        id=id_, run=record.id, address=address, key=identity, prompt=prompt, schema=schema, asked_at=asked_at,
        about=about or {}, terms=terms, tenant=record.tenant, definition=record.definition,
    )  # fmt: skip
    journal.change(changes.QuestionPut(line))
    return ops.QuestionAsked(address, identity, id_, prompt, schema, about or {}, terms)
