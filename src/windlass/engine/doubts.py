"""Doubt: an effect that may or may not have happened, and who may say whether it did (D16).

A person (`ask`), the outside world (`verify`), or nobody, because its target honours the key (`retry`). What they say
is recorded before anything follows from it. Whatever goes wrong on the way ends with a person, never with a call.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Raw

from windlass.core import ops
from windlass.core import records as r
from windlass.core.codec import Codec
from windlass.core.errors import InputError
from windlass.core.pending import Pending
from windlass.core.types import convert
from windlass.core.words import Happened, OnDoubt
from windlass.engine.activation import Activation
from windlass.engine.functions import run_within
from windlass.engine.journal import Journal
from windlass.engine.ledger import HAPPENED, UNSETTLED, Ledger, absent, bring, completed, line_of, replaced
from windlass.engine.questions import ask, question

DOUBT_SCHEMA = {
    "type": "object",
    "properties": {"happened": {"type": "boolean"}, "value": {}},
    "required": ["happened"],
}
STAND_SCHEMA = {"type": "object", "properties": {"stand": {"type": "boolean"}}, "required": ["stand"]}
UNDO_SCHEMA = {"type": "object", "properties": {"undone": {"type": "boolean"}}, "required": ["undone"]}
KINDS = ("doubt|", "stand|", "undo|")  # how the keys of these questions begin
UNKEPT = "it happened, and what it returned could not be kept: what is its value?"
AGAIN = "called again with the same key"
MOST_SHOWN = 1_000  # characters of the arguments in a prompt; `about` has them all


class Wanted(msgspec.Struct, frozen=True):
    """An effect that a task asks for."""

    codec: Codec
    name: str
    key: str
    digest: str
    on_doubt: OnDoubt
    returns: Any

    @property
    def identity(self) -> str:
        """What it is called within its activation."""
        return f"{self.name}|{self.key}"


async def settled(activation: Activation, wanted: Wanted) -> ops.EffectCompleted | None:
    """Return the outcome that is known or becomes known; None when the function has to be called."""
    identity = wanted.identity
    while True:
        pending = activation.pending
        intent = pending.intents.get(identity)
        if intent is None:
            if not await _elsewhere(activation, wanted):
                return None
            continue
        if identity in pending.cleared:
            return None
        outcome = pending.outcomes.get(identity)
        if outcome is None or outcome.how == "unkept":
            await _settle(activation, wanted, intent)
        elif outcome.how == "answered" and (refused := _refused(outcome, wanted)):
            await _ask(activation, intent, refused)
        elif intent.arguments_digest == wanted.digest or outcome.how == "stands":
            return outcome
        else:
            await _ask_whether_it_stands(activation, intent)


def _refused(outcome: ops.EffectCompleted, wanted: Wanted) -> str:
    """Say why the value that a person gave has not the type of the effect's result; empty if it has."""
    try:
        answer_value(outcome, wanted.returns)
    except InputError as error:
        return f"the last answer was refused: {error}"
    return ""


def answer_value(outcome: ops.EffectCompleted, returns: Any) -> Any:
    """Return the value that a person gave, as the type that the effect's result has.

    Raises:
        InputError: it is another.
    """
    return convert(msgspec.json.decode(outcome.value), Any if returns is None else returns, "value")


async def _settle(activation: Activation, wanted: Wanted, intent: ops.EffectIntended) -> None:
    """Let whoever may say whether an effect happened; the caller looks again then."""
    identity, pending = wanted.identity, activation.pending
    is_known = identity in pending.outcomes
    on_doubt = "ask" if intent.on_doubt == "ask" else wanted.on_doubt
    if doubt_key(pending, identity) in pending.asked:
        await _ask(activation, intent)
    elif callable(on_doubt):
        await _verify(activation, wanted, intent, on_doubt)
    elif on_doubt == "retry" and not is_known and intent.arguments_digest == wanted.digest:
        await activation.record(ops.EffectInDoubt(activation.address, wanted.name, identity, AGAIN))
    else:
        await _ask(activation, intent, _unkept(pending, identity))


def _unkept(pending: Pending, identity: str) -> str:
    return UNKEPT if identity in pending.outcomes else ""


async def _verify(
    activation: Activation, wanted: Wanted, intent: ops.EffectIntended, verify: Callable[..., Any]
) -> None:
    """Ask the outside world, with the arguments that the effect was called with."""
    journal, identity = activation.journal, wanted.identity
    value, failed = None, ""
    activation.begin_op()
    try:
        await bring(journal, intent.arguments)
        arguments, named = wanted.codec.decode(bytes(intent.arguments), journal.blob)
        verdict = await run_within(activation.services, verify, arguments, named)
        if isinstance(verdict, Happened):
            value = wanted.codec.encode(verdict.value, f"{activation.address}.{wanted.name}")
        elif verdict is not None:
            raise InputError("verify", f"returned {verdict!r}, which is neither Happened(...) nor None")  # noqa: TRY301 -- as what it raises
    except asyncio.CancelledError:
        if activation.stopping in ("timeout", "idle"):
            journal.note(_question(journal, activation.pending, intent, "its verify function took too long"))
            activation.has_asked = True
        raise
    except Exception as error:  # noqa: BLE001 -- the user's function; a person is told what it raised
        failed = f"its verify function failed: {error!r}"
    finally:
        activation.end_op()
    if failed:  # asked only now: while an operation is under way the attempt does not wait
        await _ask(activation, intent, failed)
    elif value is not None:
        journal.keep(value.blobs)
        await activation.record(completed(journal, activation.ledger, intent, Raw(value.data), "verified"))
    elif identity in activation.pending.outcomes:
        await _ask(activation, intent, _unkept(activation.pending, identity))
    else:
        await activation.record(absent(journal, activation.ledger, intent, "verified: it did not happen"))


async def _ask(activation: Activation, intent: ops.EffectIntended, why: str = "") -> None:
    """Let a person say whether the effect happened; the answer's consequence is `answered`'s."""
    key = doubt_key(activation.pending, intent.key)
    await ask(activation, key, doubt_prompt(intent, why), DOUBT_SCHEMA, about(intent, why))


async def _ask_whether_it_stands(activation: Activation, intent: ops.EffectIntended) -> None:
    pending, address = activation.pending, activation.address
    key = _next(pending, f"stand|{intent.key}|")
    if key not in pending.asked:
        activation.journal.say("effect.diverged", address, name=intent.name, key=intent.effect_key, standing=False)
    said = f"The effect {intent.name!r} of {address} was asked for with other arguments than before. Let it stand?"
    await ask(activation, key, f"{said} {_details(intent)}", STAND_SCHEMA, about(intent, "other arguments"))


async def _elsewhere(activation: Activation, wanted: Wanted) -> bool:
    """Look the effect up on other branches: adopt its outcome, or take its doubt over; False if it is new here."""
    journal, ledger = activation.journal, activation.ledger
    run = journal.record.id
    before = ledger.before(activation, wanted.name, wanted.key)
    if any(line.run != run and line.status in UNSETTLED for line in before):
        await ledger.refresh(journal, activation.address)
        before = ledger.before(activation, wanted.name, wanted.key)
    for line in before:
        if line.status == "undoing" and line.run == run:
            await ask(activation, undo_key(activation.pending, line), undo_prompt(line), UNDO_SCHEMA, about_undo(line))
            return True
    gone = {line.effect_key for line in before if line.status == "undone"}
    stands = [line for line in before if line.status in HAPPENED and line.effect_key not in gone]
    for line in reversed(stands):
        if line.arguments_digest == wanted.digest and line.how != "unkept":
            await _adopt(activation, line)
            return True
    if before and before[-1].status in UNSETTLED:
        await _inherit(activation, before[-1])
        return True
    for line in stands:
        if line.arguments_digest == wanted.digest:  # it happened, and its outcome is not known
            await _inherit(activation, line)
            return True
    if stands:
        last = stands[-1]
        if last.run == run and last.status == "done":
            ledger.put(journal, msgspec.structs.replace(last, status="standing", why="superseded by another branch"))
        journal.say("effect.diverged", activation.address, name=wanted.name, key=last.effect_key, standing=True)
    return False


def _as_intent(activation: Activation, line: r.Effect, on_doubt: str) -> ops.EffectIntended:
    return ops.EffectIntended(
        activation.address, line.name, f"{line.name}|{line.key}", line.effect_key, line.arguments,
        line.arguments_digest, on_doubt, line.undo, line.generation, activation.attempt, line.at,
    )  # fmt: skip


async def _adopt(activation: Activation, line: r.Effect) -> None:
    """Take the outcome of the same effect on another branch."""
    journal, intent = activation.journal, _as_intent(activation, line, line.on_doubt)
    journal.keep(await bring(journal, line.value, line.arguments))
    known = {"value": line.value, "how": "adopted"}
    activation.ledger.put(journal, line_of(journal, activation.ledger.tree, intent, "done", **known))
    outcome = ops.EffectCompleted(activation.address, line.name, intent.key, line.value, "adopted")
    await activation.record(intent, outcome)


async def _inherit(activation: Activation, line: r.Effect) -> None:
    """Take over what is in doubt on another branch: it is not called before it is settled."""
    journal, ledger = activation.journal, activation.ledger
    intent = _as_intent(activation, line, "ask" if line.status == "undoing" else line.on_doubt)
    journal.keep(await bring(journal, line.arguments))
    told: list[Any] = [intent, ops.EffectInDoubt(activation.address, line.name, intent.key, why="in doubt elsewhere")]
    ledger.put(journal, line_of(journal, ledger.tree, intent, "intended"))
    if line.how == "unkept":
        told[1:] = [completed(journal, ledger, intent, ops.NULL, "unkept", why=line.why)]
    await activation.record(*told)


# Questions


def _next(pending: Pending | None, start: str) -> str:
    """Name a question: a new one each time the same doubt comes up again."""
    return f"{start}{sum(key.startswith(start) for key in pending.answers) if pending is not None else 0}"


def doubt_key(pending: Pending, identity: str) -> str:
    """Name the question about a doubt."""
    return _next(pending, f"doubt|{identity}|")


def undo_key(pending: Pending | None, line: r.Effect) -> str:
    """Name the question about an undo in doubt."""
    return _next(pending, f"undo|{line.effect_key}|")


def iso(at: float) -> str:
    """Write a moment as RFC 3339, in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _details(intent: ops.EffectIntended) -> str:
    arguments = bytes(intent.arguments).decode()
    shown = arguments if len(arguments) <= MOST_SHOWN else f"{arguments[:MOST_SHOWN]}…"
    return f"key {intent.effect_key}, intended at {iso(intent.at)}, arguments {shown}"


def doubt_prompt(intent: ops.EffectIntended, why: str = "") -> str:
    """Say what is in doubt: the effect, its key, when it was intended, and its arguments."""
    asked = f"Did the effect {intent.name!r} of {intent.address} happen? {_details(intent)}"
    return f"{asked}\n({why})" if why else asked


def about(intent: ops.EffectIntended, why: str = "") -> dict[str, Any]:
    """Say the same to programs."""
    return {
        "effect": intent.name, "address": intent.address, "key": intent.effect_key,
        "arguments": msgspec.json.decode(intent.arguments), "intended_at": iso(intent.at), "why": why,
    }  # fmt: skip


def undo_prompt(line: r.Effect) -> str:
    """Say which undo is in doubt."""
    arguments = bytes(line.arguments).decode()[:MOST_SHOWN]
    why = f"\n({line.undo_how})" if line.undo_how else ""
    return (
        f"Was the effect {line.name!r} of {line.address} undone? undo {line.undo}, key {line.undo_key}, "
        f"effect's key {line.effect_key}, done at {iso(line.at)}, arguments {arguments}{why}"
    )


def about_undo(line: r.Effect) -> dict[str, Any]:
    """Say the same to programs."""
    return {
        "effect": line.name, "address": line.address, "key": line.effect_key, "undo": line.undo,
        "undo_key": line.undo_key, "arguments": msgspec.json.decode(line.arguments), "intended_at": iso(line.at),
        "why": line.undo_how,
    }  # fmt: skip


def _question(journal: Journal, pending: Pending, intent: ops.EffectIntended, why: str) -> ops.QuestionAsked:
    key = doubt_key(pending, intent.key)
    return question(journal, intent.address, key, doubt_prompt(intent, why), DOUBT_SCHEMA, about(intent, why))


def is_doubtful(pending: Pending) -> bool:
    """Say whether a person has yet to answer for an effect: nothing of the activation runs before that (D16)."""
    return any(key.startswith(KINDS) for key in pending.asked if key not in pending.answers)


def doubts(journal: Journal, pending: Pending) -> list[ops.EffectInDoubt | ops.QuestionAsked]:
    """Ask a person about each effect that was found in doubt and may be settled by nobody else; needs no definition."""
    told: list[ops.EffectInDoubt | ops.QuestionAsked] = []
    for identity, intent in pending.intents.items():
        outcome = pending.outcomes.get(identity)
        is_open = outcome is None or (outcome.how == "unkept" and intent.on_doubt != "verify")
        if not is_open or identity in pending.cleared or doubt_key(pending, identity) in pending.asked:
            continue
        if outcome is None and intent.on_doubt != "ask":
            continue
        why = _unkept(pending, identity)
        told.append(ops.EffectInDoubt(intent.address, intent.name, identity, why=why or "no outcome was recorded"))
        told.append(_question(journal, pending, intent, why))
    return told


# Answers


def answered(
    journal: Journal, ledger: Ledger, pending: Pending, asked: r.Question, elsewhere: list[r.Effect]
) -> list[ops.Op]:
    """Turn a person's answer about an effect into its consequence; what is no answer is asked again.

    Args:
        elsewhere: the run's lines of the happening that a question about an undo is of.
    """
    kind, _, rest = asked.key.partition("|")
    identity = rest.rpartition("|")[0]
    verdict = msgspec.json.decode(asked.answer)
    word = {"doubt": "happened", "stand": "stand", "undo": "undone"}[kind]
    said = verdict.get(word) if isinstance(verdict, dict) else None
    if not isinstance(said, bool):
        return [_ask_again(journal, pending, asked, word)]
    if kind == "undo":
        return _undone(journal, ledger, elsewhere, said=said, by=asked.by)
    intent = pending.intents[identity]
    outcome = pending.outcomes.get(identity)
    if kind == "stand":
        value = outcome.value if outcome is not None else ops.NULL
        if said:
            return [completed(journal, ledger, intent, value, "stands", by=asked.by)]
        return [replaced(journal, ledger, intent, value, by=asked.by)]
    if said:
        value = Raw(msgspec.json.encode(verdict.get("value")))
        return [completed(journal, ledger, intent, value, "answered", by=asked.by)]
    return [absent(journal, ledger, intent, "answered: it did not happen", by=asked.by)]


def _ask_again(journal: Journal, pending: Pending, asked: r.Question, word: str) -> ops.QuestionAsked:
    start = asked.key.rpartition("|")[0] + "|"
    number = 1 + sum(key.startswith(start) for key in pending.answers)
    first = asked.prompt.partition("\n(the last answer")[0]
    prompt = f'{first}\n(the last answer was refused: {{"{word}": true}} or {{"{word}": false}} was expected)'
    schema = msgspec.json.decode(asked.schema)
    return question(journal, asked.address, f"{start}{number}", prompt, schema, asked.about)


def _undone(journal: Journal, ledger: Ledger, lines: list[r.Effect], *, said: bool, by: str) -> list[ops.Op]:
    if not lines or not any(line.status == "undoing" for line in lines):
        return []  # a later rollback has settled it
    line = lines[-1]
    identity = f"{line.name}|{line.key}"
    if said:
        fresh = [msgspec.structs.replace(e, status="undone", undo_how="answered", by=by) for e in lines]
        told: ops.Op = ops.EffectUndone(line.address, line.name, identity, "answered", by)
    else:
        why = "answered: it was not undone"
        fresh = [msgspec.structs.replace(e, status="standing", undo_how=why, why=why, by=by) for e in lines]
        told = ops.EffectLeft(line.address, line.name, identity, why, by)
    ledger.put(journal, *fresh)
    return [told]
