"""Answers: given from any process, as whom the caller says, and judged before anything is kept.

Who somebody is is what the caller says: whoever lets people in has to know them. An answer is judged by the schema that
its question keeps, so no definition is needed, and a bad one leaves the question open.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Raw

from windlass.core import queries
from windlass.core import records as r
from windlass.core.codec import PLAIN
from windlass.core.errors import AlreadyAnswered, AnswerInvalid, NotForYou, QuestionUnknown
from windlass.core.schema import unfit
from windlass.engine import reads
from windlass.engine.control import Control
from windlass.engine.inputs import spoken, written

CLOSED = ("answered", "taken")


async def find(control: Control, id_: str) -> r.Question:
    """Return a question.

    Raises:
        QuestionUnknown: there is none of this id.
    """
    found = await control.store.find(queries.Questions(ids=(id_,), statuses=None))
    if not found:
        raise QuestionUnknown(f"no question {id_!r} in {control.store.url}")
    return found[0]


def may_answer(to: str, by: str, roles: Sequence[str] = (), tenant: str = "") -> bool:
    """Say whether a question that is put to `to` is theirs to answer; one that is put to nobody is anybody's."""
    kind, _, name = to.partition(":")
    if not to:
        return True
    if kind == "definition":
        return by == to
    if kind == "user":
        return by.removeprefix("user:") == name
    if kind == "role":
        return name in {role.removeprefix("role:") for role in roles}
    return tenant.removeprefix("tenant:") == name


async def answer(
    control: Control, id_: str, value: Any, *, by: str = "", roles: Sequence[str] = (), tenant: str = "",
    context: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """Give an open question its answer; the first answer wins, and the same one again is fine.

    Args:
        context: where an escalation found it.

    Raises:
        QuestionUnknown: no question has this id.
        NotForYou: it is put to somebody else.
        AnswerInvalid: it is not what the question asks for.
        AlreadyAnswered: it is closed, with another answer or none.
        QuestionExpired: its deadline has passed.
        ValueNotKept, ValueTooLarge: the answer cannot be kept; as with all of these, the question stays as it is.
    """
    written(by, "by")
    asked, before = await find(control, id_), None
    while may_answer(to := asked.terms.to, by, roles, tenant) and to != before:
        with suppress(NotForYou):  # it was put to somebody else since: that may be the same person
            return await _post(control, asked, value, by, context)
        asked, before = await find(control, id_), to
    who = ", ".join([by or "nobody named", *(f"role {role}" for role in roles), *([f"tenant {tenant}"] * bool(tenant))])
    raise NotForYou(f"question {id_} of run {asked.run} is put to {to}, not to {who}")


async def _post(control: Control, asked: r.Question, value: Any, by: str, context: Mapping[str, Any] | None) -> None:
    known = control.drives.blueprints.get((await reads.get(control.store, asked.run)).definition)
    encoded = spoken(known.codec if known is not None else PLAIN, value)
    if asked.status in CLOSED and bytes(asked.answer) == encoded:
        return
    if asked.status == "open":
        check(asked, value)
    more: dict[str, Any] = {"context": dict(context)} if context else {}
    try:
        await control.post(asked.run, "answer", by, question=asked.id, value=Raw(encoded), asked=asked.terms.to, **more)
    except AlreadyAnswered:
        now = await find(control, asked.id)
        if now.status not in CLOSED or bytes(now.answer) != encoded:
            raise


def check(asked: r.Question, value: Any) -> None:
    """Judge an answer by the schema that its question keeps.

    Raises:
        AnswerInvalid: it breaks it.
    """
    schema = msgspec.json.decode(asked.schema)
    if wrong := unfit(value, schema):
        hint = f"the question wants {msgspec.json.encode(schema).decode()[:500]}"
        raise AnswerInvalid("answer", wrong, hint=hint)
