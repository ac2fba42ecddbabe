"""The effect ledger: what has happened outside, what is in doubt, and how a doubt is settled (D15, D16).

An effect's identity is (address, name, key). Its intent is durable before the function is called, its outcome before
the task goes on. It is looked up in the whole tree of branches and forks: done with the same arguments is adopted,
with other arguments on a new branch it is a new effect and the old one is reported as standing.
"""

import asyncio
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import Raw

from windlass.core import changes, ops
from windlass.core import records as r
from windlass.core.codec import Codec
from windlass.core.crashpoint import crashpoint
from windlass.core.errors import DefinitionError, EffectDiverged
from windlass.core.position import Pending
from windlass.core.words import EffectNotDone, Happened
from windlass.engine.activation import Activation
from windlass.engine.functions import run_function
from windlass.engine.questions import ask

OnDoubt: TypeAlias = Literal["ask", "retry"] | Callable[..., Any]
DOUBT_SCHEMA = {
    "type": "object",
    "properties": {"happened": {"type": "boolean"}, "value": {}},
    "required": ["happened"],
}


class Ledger:
    """The effects of a run's family, as far as other branches made them; loaded only where there are other branches."""

    def __init__(self, tree: str, effects: list[r.Effect], adopt: str) -> None:
        self.tree = tree
        self.adopt = adopt
        self._by_identity: dict[tuple[str, str, str], list[r.Effect]] = {}
        for effect in effects:
            self._by_identity.setdefault((effect.address, effect.name, effect.key), []).append(effect)

    def before(self, activation: Activation, name: str, key: str) -> list[r.Effect]:
        """The same effect on other branches and runs of the tree, oldest first."""
        run, branch = activation.journal.record.id, activation.journal.position.branch
        kept = self._by_identity.get((activation.address, name, key), [])
        return [effect for effect in kept if (effect.run, effect.branch) != (run, branch)]

    def note(self, effect: r.Effect) -> None:
        """Add what this process wrote, for branches that a rollback begins here."""
        kept = self._by_identity.setdefault((effect.address, effect.name, effect.key), [])
        kept[:] = [e for e in kept if (e.run, e.branch) != (effect.run, effect.branch)]
        kept.append(effect)


def effect_key(activation: Activation, name: str, key: str) -> str:
    """Return the idempotency key: neither attempt nor epoch is in it; the generation is."""
    generation = _generation(activation, name, key)
    said = f"{activation.journal.record.id}|{activation.address}|{name}|{key}|{generation}"
    return sha256(said.encode()).hexdigest()[:32]


def _generation(activation: Activation, name: str, key: str) -> int:
    """Count completed undos and superseding branches of this effect in the tree."""
    intent = activation.pending.intents.get(f"{name}|{key}")
    if intent is not None:
        return intent.generation
    before = activation.ledger.before(activation, name, key)
    return max((effect.generation + 1 for effect in before), default=0)


async def perform(
    activation: Activation, codec: Codec, name: str, key: str,
    call: tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]], *, on_doubt: OnDoubt, undo: str,
) -> Any:  # fmt: skip
    """Make an effect happen once, or return what it gave when it did. See `Context.effect`."""
    if undo and undo not in activation.node.undo:
        said = f"{activation.address}: effect {name!r} names the undo {undo!r}, which the task does not declare"
        raise DefinitionError("task.undo", said, hint="declare it with @task(undo=[...])")
    identity = f"{name}|{key}"
    if activation.nth("effect" + identity):
        raise EffectDiverged(f"{activation.address}: effect {name!r} was asked for twice in one attempt")
    arguments = codec.encode([list(call[1]), call[2]], f"{activation.address}.{name}")
    digest = sha256(codec.key([list(call[1]), call[2]])).hexdigest()
    await activation.firm()
    kept = await _settled(activation, codec, identity, digest, call, on_doubt)
    if kept is not None:
        return codec.decode(bytes(kept.value), activation.journal.blob)
    adopted = await _adopted(activation, name, key, digest)
    if adopted is not None:
        return codec.decode(bytes(adopted.value), activation.journal.blob)
    activation.journal.keep(arguments.blobs)
    intent = ops.EffectIntended(
        activation.address, name, identity, effect_key(activation, name, key), Raw(arguments.data), digest,
        on_doubt if isinstance(on_doubt, str) else "verify", undo, _generation(activation, name, key),
        activation.attempt,
    )  # fmt: skip
    task = activation.services.seams.spawn(_happen(activation, codec, intent, call), f"effect {name}")
    activation.begin_op()
    activation.effects.add(task)
    task.add_done_callback(activation.effect_ended)
    try:
        # Shielded: whoever cancels the task that waits, the effect comes to its outcome and the outcome is recorded.
        return await asyncio.shield(task)
    finally:
        activation.end_op()


async def _happen(
    activation: Activation, codec: Codec, intent: ops.EffectIntended,
    call: tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]],
) -> Any:  # fmt: skip
    journal, pending = activation.journal, activation.pending
    if intent.key not in pending.intents or intent.key in pending.cleared:
        crashpoint("effect.intent.before")
        journal.change(_line(activation, intent, "intended"))
        await activation.record(intent)
    crashpoint("effect.call.before")
    try:
        value = await run_function(activation.services.pool, *call)
    except EffectNotDone:
        await activation.record(ops.EffectInDoubt(activation.address, intent.name, intent.key, "it did not happen"))
        raise
    crashpoint("effect.call.after")
    encoded = codec.encode(value, f"{activation.address}.{intent.name}")
    journal.keep(encoded.blobs)
    await _complete(activation, intent, Raw(encoded.data), "completed")
    crashpoint("effect.result.after")
    return value if encoded.frozen else codec.decode(encoded.data, journal.blob)


async def _complete(activation: Activation, intent: ops.EffectIntended, value: Raw, how: str) -> None:
    line = _line(activation, intent, "done", value)
    activation.journal.change(line)
    activation.ledger.note(line.effect)
    await activation.record(ops.EffectCompleted(activation.address, intent.name, intent.key, value, how))


def _line(activation: Activation, intent: ops.EffectIntended, status: Any, value: Raw = ops.NULL) -> changes.EffectPut:
    journal = activation.journal
    return changes.EffectPut(
        r.Effect(
            tree=activation.ledger.tree, run=journal.record.id, branch=journal.position.branch,
            address=intent.address, name=intent.name, key=intent.key.partition("|")[2],
            effect_key=intent.effect_key, generation=intent.generation, status=status, arguments=intent.arguments,
            arguments_digest=intent.arguments_digest, on_doubt=intent.on_doubt, undo=intent.undo, value=value,
            seq=journal.position.seq, at=journal.seams.clock.now(),
        )
    )  # fmt: skip


async def _settled(
    activation: Activation, codec: Codec, identity: str, digest: str,
    call: tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]], on_doubt: OnDoubt,
) -> ops.EffectCompleted | None:  # fmt: skip
    """Return the outcome that is known or becomes known; None when the function has to be called."""
    pending, address = activation.pending, activation.address
    intent = pending.intents.get(identity)
    if intent is None:
        return None
    name = intent.name
    outcome = pending.outcomes.get(identity)
    if outcome is not None and (intent.arguments_digest == digest or outcome.how == "answered"):
        return outcome
    if intent.arguments_digest != digest:
        activation.journal.say("effect.diverged", address, name=name, key=intent.effect_key)
        said = f"The effect {name!r} of {address} was asked for with other arguments than before. Let it stand?"
        await _ask(activation, identity, said)
    elif identity in pending.cleared:
        return None
    elif on_doubt == "retry":
        await activation.record(ops.EffectInDoubt(address, name, identity, "called again with the same key"))
    elif callable(on_doubt):
        verdict = await run_function(activation.services.pool, on_doubt, call[1], call[2])
        if isinstance(verdict, Happened):
            value = codec.encode(verdict.value, f"{address}.{name}")
            await _complete(activation, intent, Raw(value.data), "verified")
        else:
            await activation.record(ops.EffectInDoubt(address, name, identity, "verified: it did not happen"))
    else:
        await _ask(activation, identity, doubt_prompt(intent))
    settled = activation.pending
    return None if identity in settled.cleared else settled.outcomes.get(identity)


async def _ask(activation: Activation, identity: str, prompt: str) -> None:
    """Let a person say whether the effect happened; the answer's consequence is `answered`'s."""
    await ask(activation, doubt_key(activation.pending, identity), prompt, DOUBT_SCHEMA)


def doubt_key(pending: Pending, identity: str) -> str:
    """Name the question about a doubt: a new one each time the effect falls in doubt again."""
    start = f"doubt|{identity}|"
    return f"{start}{sum(key.startswith(start) for key in pending.answers)}"


def doubt_prompt(intent: ops.EffectIntended) -> str:
    """Say what is in doubt: the effect, its key and its arguments."""
    arguments = bytes(intent.arguments).decode()
    return f"Did the effect {intent.name!r} of {intent.address} happen? key {intent.effect_key}, arguments {arguments}"


def answered(address: str, identity: str, name: str, value: bytes) -> ops.EffectCompleted | ops.EffectInDoubt:
    """Turn the answer to a doubt into its consequence: an outcome, or leave to call again."""
    verdict = msgspec.json.decode(value)
    if isinstance(verdict, dict) and verdict.get("happened") is True:
        outcome = Raw(msgspec.json.encode(verdict.get("value")))
        return ops.EffectCompleted(address, name, identity, outcome, "answered")
    return ops.EffectInDoubt(address, name, identity, "answered: it did not happen")


async def _adopted(activation: Activation, name: str, key: str, digest: str) -> ops.EffectCompleted | None:
    """Take the outcome of the same effect on another branch, or report it as standing."""
    before = activation.ledger.before(activation, name, key)
    if not before or activation.ledger.adopt != "adopt":
        return None
    last = before[-1]
    if last.status != "done":
        return None
    if last.arguments_digest != digest:
        activation.journal.change(changes.EffectPut(msgspec.structs.replace(last, status="standing")))
        activation.journal.say("effect.diverged", activation.address, name=name, key=last.effect_key, standing=True)
        return None
    intent = ops.EffectIntended(
        activation.address, name, f"{name}|{key}", last.effect_key, last.arguments, digest, last.on_doubt, last.undo,
        last.generation, activation.attempt,
    )  # fmt: skip
    line = _line(activation, intent, "done", last.value)
    activation.journal.change(line)
    outcome = ops.EffectCompleted(activation.address, name, f"{name}|{key}", last.value, "adopted")
    await activation.record(intent, outcome)
    return outcome
