"""The terms of a question, as a task declares them: who is asked, until when, and what stands if nobody answers."""

import math
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from msgspec import Raw, to_builtins
from msgspec.structs import replace

from windlass.core.codec import PLAIN, Codec
from windlass.core.errors import InputError, ValueNotKept, WindlassError
from windlass.core.ops import NO_TERMS, Terms
from windlass.core.schema import dumped
from windlass.core.types import convert
from windlass.core.words import Approve, Escalate, When
from windlass.engine.inputs import spoken
from windlass.policies.numbers import length

UNITS = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
SPELLED = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(s|min|m|h|d|w)\s*")
PEOPLE = ("user", "role", "tenant")
REJECT = "reject"
YES = ("approve", "approved", "allow", "yes")  # no clock ever says these


def moment(when: When, now: float, where: str) -> float:
    """Return the moment, in seconds since the epoch, that is meant.

    Raises:
        InputError: it is none, has no time zone, or is past.
    """
    if isinstance(when, datetime):
        if when.tzinfo is None:
            raise InputError(where, f"{when} has no time zone", hint="datetime.now(UTC) + timedelta(hours=2)")
        at = when.timestamp()
        if at <= now:
            raise InputError(where, f"{when.isoformat()} is past", hint="a deadline lies ahead")
        return at
    seconds = length(when)
    if isinstance(when, str):
        found = SPELLED.fullmatch(when)
        seconds = float(found[1]) * UNITS[found[2]] if found else math.nan
    if not 0 < seconds < math.inf:
        hint = 'write "30 min", "2h", seconds, a timedelta, or a datetime with its time zone'
        raise InputError(where, f"{when!r} is no length of time ahead", hint=hint)
    return now + seconds


def addressee(to: str, where: str = "to") -> str:
    """Return to whom a question is put, if that is somebody.

    Raises:
        InputError: it is neither `user:NAME`, `role:NAME` nor `tenant:NAME`, nor empty.
    """
    kind, colon, name = str(to).partition(":")
    if to != "" and not (kind in PEOPLE and colon and name.strip() == name != ""):
        raise InputError(where, f"{to!r} is nobody", hint='write "user:ann", "role:editor" or "tenant:acme"')
    return to


def target(to: str) -> str:
    """Return to whom or what a question is passed on: somebody, or a definition by its name.

    Raises:
        InputError: it is empty, or no name.
    """
    kind, colon, name = to.partition(":")
    if kind == "definition" and name:
        return to
    if to and not colon:
        return f"definition:{to}"
    if not to:
        raise InputError("to", "a question is escalated to somebody", hint='"role:cfo", or the name of a definition')
    return addressee(to)


def read_terms(codec: Codec, now: float, asking: Mapping[str, Any], kind: Any) -> Terms:
    """Read the terms that `ctx.ask` is given.

    Args:
        kind: the answer's type, which a value for later has to have.

    Raises:
        InputError: one of them cannot be; a deadline is past; a clock would say yes.
    """
    to, deadline, remind = asking.get("to", ""), asking.get("deadline"), asking.get("remind", ())
    otherwise = asking.get("otherwise", REJECT)
    if to == "" and deadline is None and not remind and isinstance(otherwise, str) and otherwise == REJECT:
        return NO_TERMS
    due_at = None if deadline is None else moment(deadline, now, "deadline")
    marks = (remind,) if isinstance(remind, str | int | float | timedelta | datetime) else tuple(remind)
    reminders = sorted({moment(when, now, "remind") for when in marks})
    if due_at is not None and reminders and reminders[-1] >= due_at:
        raise InputError("remind", "a reminder comes after the deadline")
    terms = Terms(to=addressee(to), due_at=due_at, remind=tuple(reminders))
    if isinstance(otherwise, Escalate):
        return Terms(terms.to, due_at, "escalate", onward=target(otherwise.to), remind=terms.remind)
    if isinstance(otherwise, str) and otherwise == REJECT:
        return terms
    if due_at is None:
        raise InputError("otherwise", "it follows a deadline, and there is none", hint="add deadline=")
    return Terms(terms.to, due_at, "value", _instead(codec, otherwise, kind), remind=terms.remind)


def again(terms: Terms, now: float) -> Terms:
    """Return on which terms a question is asked again whose answer was refused: its clock goes on as it was.

    Of whom it was asked last; of a definition it would be the same again, so of whoever was asked before.
    """
    to = terms.was if terms.to.startswith("definition:") else terms.to
    return replace(terms, to=to, was="", remind=tuple(at for at in terms.remind if at > now))


def _instead(codec: Codec, otherwise: Any, kind: Any) -> Raw:
    """Encode what is taken for the answer of a question that nobody answers."""
    try:
        value = convert(otherwise, kind, "otherwise")
        if not (_is_yes(otherwise) or _is_yes(value)):
            return Raw(_kept(codec, value, kind))
    except WindlassError as error:
        raise InputError("otherwise", f"{otherwise!r:.200} is no answer: {error.args[0]}", hint=error.hint) from error
    raise InputError("otherwise", f"{otherwise!r}: a question that nobody answers is never taken as a yes")


def _kept(codec: Codec, value: Any, kind: Any) -> bytes:
    """Turn a value for later into what is kept: as an answer would be, from which the type makes it again."""
    try:
        return spoken(codec, value, "otherwise")
    except ValueNotKept:
        if kind is Any:
            raise
        try:
            plain = to_builtins(value, enc_hook=dumped)
        except (TypeError, ValueError, RecursionError):
            plain = value
        convert(plain, kind, "otherwise")
        return spoken(codec, plain, "otherwise")


def _is_yes(value: Any) -> bool:
    """Say whether a value says yes, by itself or as a member of an enum, by its name or its value."""
    said = (value.name, value.value) if isinstance(value, Enum) else (value,)
    return any(one is True or (isinstance(one, str) and one.strip().lower() in YES) for one in said)


def approval_terms(approve: str | Approve, now: float) -> Terms:
    """Read who has to approve, and until when; nobody in time denies.

    Raises:
        InputError: it is nobody, or a deadline is past.
    """
    asked = Approve(approve) if isinstance(approve, str) else approve
    given = {"to": asked.to, "deadline": asked.deadline, "remind": asked.remind}
    return read_terms(PLAIN, now, given, str)
