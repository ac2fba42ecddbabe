"""Effects: what a task does outside, once (D15, D16).

An effect's identity is (address, name, key). Its intent is durable before the function is called, its outcome before
the task goes on. It is looked up in the whole tree of branches and forks: done with the same arguments is adopted,
with other arguments on a new branch it is a new effect and the old one is reported as standing. What becomes of one
that is in doubt is said in `doubts`.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from typing import Any, NamedTuple

from msgspec import Raw

from windlass.core import ops
from windlass.core.codec import Codec
from windlass.core.crashpoint import crashpoint
from windlass.core.errors import AttemptTimeout, ContextClosed, DefinitionError, EffectDiverged, PermissionDenied
from windlass.core.tallies import Amounts
from windlass.core.words import Approve, EffectNotDone, OnDoubt, Undo
from windlass.engine.activation import Activation
from windlass.engine.approvals import Wish, approve
from windlass.engine.boundary import enter, is_free, leave, within
from windlass.engine.called import Call, by_name, unwrapped
from windlass.engine.doubts import Wanted, answer_value, settled
from windlass.engine.functions import LeftBehind, result_codec, result_type, run_within
from windlass.engine.journal import shielded
from windlass.engine.ledger import absent, completed, effect_key, line_of, next_key
from windlass.engine.redacting import kept_arguments
from windlass.policies.budget import Cost
from windlass.policies.permission import Kind


class Act(NamedTuple):
    """What a call or an effect is to the boundary: its kind, what it is expected to use, by unit, who approves it.

    Args:
        version: of a tool, its digest.
    """

    kind: Kind
    amounts: Amounts
    cost: Cost | None = None
    version: str = ""
    approve: str | Approve | None = None


async def perform(
    activation: Activation, name: str, key: str, call: Call, *, on_doubt: OnDoubt,
    undo: Callable[..., Any] | Undo | str, returns: Any, act: Act,
) -> Any:  # fmt: skip
    """Make an effect happen once, or return what it gave when it did. See `Context.effect`."""
    fn, arguments, named = call
    plain = unwrapped(call)
    undo_name = _undo_name(activation, name, undo)
    if activation.nth(f"effect{name}|{key}"):
        raise EffectDiverged(f"{activation.address}: effect {name!r} was asked for twice in one attempt")
    codec, declared = result_codec(activation.blueprint.codec, fn, returns), result_type(fn, returns)
    handed = effect_key(activation, name, key)
    encoded = codec.encode(kept_arguments(codec, fn, arguments, named), f"{activation.address}.{name}", handles=True)
    digest = _digest(codec, call, handed)
    await activation.firm()
    wanted = Wanted(codec, name, key, digest, on_doubt, declared)
    kept = await settled(activation, wanted)
    if kept is not None:
        if kept.how == "answered":
            return answer_value(kept, declared)
        return codec.decode(bytes(kept.value), activation.journal.blob)
    if activation.stopping or activation.closed:
        raise ContextClosed(f"{activation.address}: attempt {activation.attempt} is over")
    now, approved = partial(_digest, codec, plain, handed), ""
    if act.approve is not None:
        wish = Wish(act.kind, name, by_name(*plain), wanted.identity, plain[0])
        approved = await approve(activation, wish, now, act.approve)
    free = is_free(activation, act.kind, act.amounts)
    if not free:
        await enter(activation, act.kind, name, call, act.amounts, now, wanted.identity)
    if act.approve is not None and (_digest(codec, call, handed), now()) != (digest, approved):
        raise PermissionDenied(f"{activation.address}: effect {name!r}: its arguments were changed after the approval")
    fresh, generation = next_key(activation, name, key)
    if fresh != handed:
        await _begin_again(activation)
    activation.journal.keep(encoded.blobs)
    intent = ops.EffectIntended(
        activation.address, name, wanted.identity, fresh, Raw(encoded.data), digest,
        on_doubt if isinstance(on_doubt, str) else "verify", undo_name, generation, activation.attempt,
        activation.services.seams.clock.now(),
    )  # fmt: skip
    if free:
        return await _in_flight(activation, codec, intent, call)
    value = await within(activation, _in_flight(activation, codec, intent, call), act.amounts)
    leave(activation, act.amounts, act.cost, value)
    return value


def _undo_name(activation: Activation, name: str, undo: Callable[..., Any] | Undo | str) -> str:
    fn = undo.fn if isinstance(undo, Undo) else undo
    named = fn if isinstance(fn, str) else getattr(fn, "__name__", "")
    if named and named not in activation.node.undo:
        said = f"{activation.address}: effect {name!r} names the undo {named!r}, which the task does not declare"
        raise DefinitionError("task.undo", said, hint="declare it with @task(undo=[...])")
    return str(named)


def _digest(codec: Codec, call: Call, key: str) -> str:
    """Digest the arguments without the effect's own key, which is another after an undo and on another branch."""
    _, arguments, named = call
    return sha256(codec.key([list(arguments), named]).replace(key.encode(), b"$key")).hexdigest()


async def _begin_again(activation: Activation) -> None:
    """Run the attempt again from its start: the key that it was handed is not the one that the effect has now."""
    activation.stop("restart")
    await asyncio.get_running_loop().create_future()


async def _in_flight(activation: Activation, codec: Codec, intent: ops.EffectIntended, call: Call) -> Any:
    if activation.enough is None:
        activation.enough = asyncio.get_running_loop().create_future()
    task = activation.services.seams.spawn(_happen(activation, codec, intent, call), f"effect {intent.name}")
    activation.begin_op()
    activation.effects.add(task)
    task.add_done_callback(activation.effect_ended)
    try:
        # Shielded: whoever cancels the task that waits, the effect comes to its outcome and the outcome is recorded.
        return await shielded(task)
    finally:
        activation.end_op()


async def _happen(activation: Activation, codec: Codec, intent: ops.EffectIntended, call: Call) -> Any:
    journal, ledger, pending = activation.journal, activation.ledger, activation.pending
    if intent.key not in pending.intents or intent.key in pending.cleared:
        crashpoint("effect.intent.before")
        ledger.put(journal, line_of(journal, ledger.tree, intent, "intended"))
        await activation.record(intent)
    crashpoint("effect.call.before")
    fn, arguments, named = call
    try:
        value = await run_within(activation.services, fn, arguments, named, enough=activation.enough)
    except EffectNotDone:
        await activation.record(absent(journal, ledger, intent, "it did not happen"))
        raise
    except LeftBehind:
        why = f"no outcome {activation.patience:g} s after the attempt was stopped"
        await activation.record(ops.EffectInDoubt(intent.address, intent.name, intent.key, why=why))
        raise AttemptTimeout(f"{intent.address}: effect {intent.name!r}: {why}", kind="AttemptTimeout") from None
    except Exception as error:
        await activation.record(ops.EffectInDoubt(intent.address, intent.name, intent.key, why=f"raised {error!r}"))
        raise
    crashpoint("effect.call.after")
    try:
        encoded = codec.encode(value, f"{activation.address}.{intent.name}")
    except Exception as error:  # it happened: that is kept, though its value cannot be
        await activation.record(completed(journal, ledger, intent, ops.NULL, "unkept", why=str(error)))
        raise
    journal.keep(encoded.blobs)
    await activation.record(completed(journal, ledger, intent, Raw(encoded.data), "completed"))
    crashpoint("effect.result.after")
    return value if encoded.frozen else codec.decode(encoded.data, journal.blob)
