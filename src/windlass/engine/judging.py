"""What is expected of an output, in a run: judged before it is kept, tried again with what was wrong, asked about.

A repair is a new take: the activation runs again from its start, makes its calls afresh, and finds the problems in
`ctx.problems`. What a person is asked about is recorded before the question, so the task does not run again for the
answer. Rules count from the time at which the task was last told something (a call's result, an answer): it is in the
log, so a re-run after a crash, days later, judges the same answer by the same day. A task that was told nothing makes
its output anew, and is judged by the clock.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
from msgspec import Raw, Struct

from windlass.core import ops
from windlass.core.errors import ContextClosed, DecodeError
from windlass.core.judged import Judged, Problem
from windlass.core.redact import MARK, Redact
from windlass.engine.accounts import books_of
from windlass.engine.activation import Activation
from windlass.engine.questions import ask
from windlass.engine.refused import tell
from windlass.policies.output import Expect, Verdict, Way, assess, is_long, passed, refused, route, unsure

HELD = "output"  # the key under which what a person is asked about is kept
A_PERSON = "a person"


class Held(Struct, frozen=True, omit_defaults=True):
    """An output that a person is asked about, as far as the result needs it."""

    problems: tuple[Problem, ...] = ()
    confidence: float | None = None
    source: str = ""
    value: Any = None


async def judged(activation: Activation, invoke: Callable[[Activation], Awaitable[Any]]) -> Any:
    """Run the node's code, and return what may be kept of its output.

    Raises:
        OutputRefused: it may not be taken; another take follows, or none.
    """
    expect: Expect = activation.node.expect
    held = activation.pending.calls.get(HELD)
    if held is None:
        given = await invoke(activation)
        if activation.stopping:
            return given  # it caught its cancellation, and is refused for that
        verdict = await _verdict(activation, given)
        way = _way(activation, verdict, expect)
        if way != "ask":
            _note(activation, verdict, way)
        if way == "act":
            return _given(passed(verdict, _trail(activation)), expect)
        if way != "ask":
            raise refused(verdict, expect, repair=way == "repair", where=f"the output of {activation.address}")
        kept = await _hold(activation, verdict, expect)
    else:
        kept = _read(activation, bytes(held))
    return _given(await _ask(activation, kept, expect), expect)


def _way(activation: Activation, verdict: Verdict, expect: Expect) -> Way:
    left = expect.repairs - len(activation.pending.refused)
    return route(verdict, expect, min(left, activation.chain.attempts - activation.attempt))


def _trail(activation: Activation) -> tuple[Problem, ...]:
    return tuple(problem for taken in activation.pending.refused for problem in taken)


def _given(found: Judged[Any], expect: Expect) -> Any:
    return found if expect.whole else found.value


async def _verdict(activation: Activation, given: Any) -> Verdict:
    services, expect = activation.services, activation.node.expect
    rules = [*services.platform.rules, *activation.blueprint.rules]
    now = activation.pending.heard_at or services.seams.clock.now()
    work = partial(assess, given, expect, now, rules)
    if not is_long(given) and not any(rule.slow for rule in (*rules, *expect.rules)):
        return _masked(work(), activation.blueprint.codec.redact)
    activation.begin_op()
    try:
        found: Verdict = await services.pool.run(work)
    finally:
        activation.end_op()
    return _masked(found, activation.blueprint.codec.redact)


def _masked(verdict: Verdict, rules: Redact) -> Verdict:
    """Mask what problems show: what they got stands beside its name no more, so the path has to say it."""
    if not rules or not verdict.problems:
        return verdict
    shown: list[Problem] = []
    for problem in verdict.problems:
        label = next(filter(None, map(rules.label, re.split(r"[.\[\]]+", problem.path))), "")
        got = MARK.format(label) if label else rules.text(problem.got) if problem.path else ""  # the whole may have any
        shown.append(replace(problem, message=rules.text(problem.message), got=got))
    return replace(verdict, problems=tuple(shown))


def _note(activation: Activation, verdict: Verdict, way: str) -> None:
    """Put how an output was judged into the attempt's books: its end tells of it."""
    books = books_of(activation)
    books.judged, books.confidence = _told(activation, verdict, way), verdict.confidence


def _told(activation: Activation, verdict: Verdict, way: str) -> dict[str, Any]:
    """Say how an output was judged, for the event and the audit."""
    trail = (*_trail(activation), *verdict.mended) if way in ("act", "answered") else ()
    told = {
        "outcome": way, "attempt": activation.attempt, "layers": verdict.layers(), "confidence": verdict.confidence,
        "source": verdict.source, "problems": verdict.problems, "degraded": bool(trail), "trail": trail,
    }  # fmt: skip
    shown: dict[str, Any] = msgspec.to_builtins(told)
    return shown


async def _hold(activation: Activation, verdict: Verdict, expect: Expect) -> Held:
    """Keep what a person is to be asked about."""
    problems = verdict.problems or (unsure(verdict, expect),)
    shown = msgspec.to_builtins(verdict.value, str_keys=True, enc_hook=repr) if not verdict.problems else None
    held = Held((*verdict.mended, *problems), verdict.confidence, verdict.source, shown)
    if activation.closed or activation.stopping:
        raise ContextClosed(f"{activation.address}: attempt {activation.attempt} is over")
    activation.begin_op()
    try:
        tell(activation, _told(activation, verdict, "ask"))
        encoded = activation.blueprint.codec.encode(msgspec.to_builtins(held), f"{activation.address}.{HELD}")
        activation.journal.keep(encoded.blobs)
        raw = Raw(encoded.data)
        await activation.record(
            ops.CallRecorded(activation.address, HELD, HELD, raw, activation.attempt, kind="output")
        )
    finally:
        activation.end_op()
    return _read(activation, encoded.data)


def _read(activation: Activation, data: bytes) -> Held:
    """Read what was kept, as it was kept: what is masked there is masked in the question as well."""
    return msgspec.convert(activation.blueprint.codec.decode(data, activation.journal.blob), Held)


async def _ask(activation: Activation, held: Held, expect: Expect) -> Judged[Any]:
    """Ask a person until the answer passes schema and rules."""
    pending, shape = activation.pending, expect.read.json()
    why = "; ".join(map(str, held.problems))
    about = msgspec.to_builtins({"output": held.value, "confidence": held.confidence, "source": held.source,
                                 "problems": held.problems})  # fmt: skip
    asked = f"What is the output of {activation.address}? {why}"
    said, tries = asked, 0
    while True:
        identity = f"output|{pending.take}|{tries}"
        after = f"output|{pending.take}|{tries + 1}"
        raw = await ask(activation, identity, said, shape, about)
        verdict = None if after in activation.pending.asked else await _answer(activation, raw)
        if verdict is not None and not verdict.problems:
            found = Verdict(verdict.value, (), 1.0, A_PERSON, held.problems)
            _note(activation, found, "answered")
            return passed(found, _trail(activation))
        wrong = "" if verdict is None else "; ".join(map(str, verdict.problems))
        said, tries = f"{asked}\n(the last answer was refused: {wrong})", tries + 1


async def _answer(activation: Activation, raw: bytes) -> Verdict:
    """Let a person's answer go through schema and rules; how sure the person is nobody asks."""
    try:
        value = activation.blueprint.codec.decode(raw, trusted=True)
    except DecodeError as error:
        return Verdict(problems=(Problem("parser", "", str(error)),))
    return await _verdict(activation, value)
