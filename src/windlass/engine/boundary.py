"""The boundary of a task: what it does through `ctx` passes here, outside the task's own code.

    permit → reserve → call → settle

Whether it may is decided on the final arguments, at the moment of the call; what it is expected to cost is set aside
in every budget before it, and what it came to is settled in the write that records it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from hashlib import sha256
from typing import Any, Final, TypeVar

import msgspec

from windlass.core.errors import BudgetExceeded, PermissionDenied, WindlassError
from windlass.core.tallies import Amounts
from windlass.engine.activation import Activation
from windlass.engine.approvals import Wish, approve
from windlass.engine.called import Call, by_name, unwrapped
from windlass.engine.questions import ask
from windlass.engine.redacting import judged
from windlass.policies.budget import Cost, WrapUp, in_units, settled
from windlass.policies.permission import Action, Kind, decide

T = TypeVar("T")
DEPTH: ContextVar[int] = ContextVar("windlass_depth", default=0)
MORE = {"type": "number", "minimum": 0}
ALL_NAMED: Final = frozenset({"tool", "model", "http"})  # all that rules see of them is given by name


def is_free(activation: Activation, kind: Kind, amounts: Amounts) -> bool:
    """Say whether nothing stands before an action of this kind: the common case, which costs nothing."""
    guard = activation.guard
    return not amounts and guard.depth is None and kind not in guard.kinds[activation.place]


async def enter(
    activation: Activation, kind: Kind, name: str, call: Call, amounts: Amounts, digest: Callable[[], str],
    place: str, known: str = "",
) -> None:  # fmt: skip
    """Let an action through, with its estimate set aside, or raise.

    Args:
        call: what is called, with the final arguments; of a tool, a model and a request all of them by name.
        amounts: what it is expected to use, by unit.
        digest: of the arguments as they are now; what was decided about others does not hold for these.
        known: that digest, if nothing was awaited since it was made.
        place: which of the task's actions it is, the same on a re-run; a person's answer holds for this one alone.

    Raises:
        PermissionDenied, BudgetExceeded: it may not be; nothing was called.
    """
    guard = activation.guard
    is_judged = kind in guard.kinds[activation.place]
    before = known or (_now(digest) if is_judged else "")
    has_waited = False
    if is_judged:
        fn, given, named = unwrapped(call)
        arguments = named if kind in ALL_NAMED else by_name(fn, given, named)
        wish = Wish(kind, name, judged(arguments), place, fn)
        has_waited = await _permit(activation, wish, lambda: before or digest())
    if guard.depth is not None and DEPTH.get() >= guard.depth:
        raise BudgetExceeded(f"{activation.address}: {name!r} is called {guard.depth} deep already", unit="depth")
    while amounts and not guard.escrow.take(amounts):
        raises, has_waited = activation.raises, True
        try:
            await guard.escrow.reserve(amounts, activation.node.id)
        except BudgetExceeded as error:
            if raises == activation.raises:  # else there may be more of it by now
                await _at_edge(activation, error)
        else:
            break
    if is_judged and has_waited and _now(digest) != before:
        if amounts:
            guard.escrow.settle(amounts, {})
        raise PermissionDenied(f"{activation.address}: {kind} {name!r}: its arguments were changed after the decision")


def _now(digest: Callable[[], str]) -> str:
    """Digest the arguments as they are now; nothing if they cannot be: the rules judged them, and nobody else does."""
    try:
        return digest()
    except WindlassError:
        return ""


async def within(activation: Activation, work: Awaitable[T], amounts: Amounts) -> T:
    """Await a call; what it calls in turn is one deeper. One that fails counts at its estimate: nobody knows better."""
    depth = DEPTH.get()
    DEPTH.set(depth + 1)
    try:
        return await work
    except BaseException:
        if amounts:
            activation.guard.escrow.settle(amounts, amounts)
        raise
    finally:
        DEPTH.set(depth)  # not by a token: what nobody awaits any more is closed from another context


def leave(activation: Activation, amounts: Amounts, cost: Cost | None, result: Any) -> Amounts:
    """Settle what an action came to; returns it."""
    if not amounts:
        return {}
    spent, said = amounts, ""
    if cost is not None:
        found = settled(cost, result)
        spent, said = dict(found.amounts), found.said
    if said:
        activation.journal.say("budget.estimated", activation.address, why=said)
    activation.guard.escrow.settle(amounts, spent)
    return spent


async def _permit(activation: Activation, wish: Wish, digest: Callable[[], str]) -> bool:
    """Judge an action; say whether a person had to be waited for."""
    record, kind, name = activation.journal.record, wish.kind, wish.name
    action = Action(
        kind=kind, name=name, args=wish.arguments, task=activation.node.id, definition=record.definition,
        tenant=record.tenant, roles=record.roles, run=record.id,
    )  # fmt: skip
    decision = decide(activation.chain.layers, action)
    verdict, rule, why = decision.verdict, str(decision.rule or ""), decision.why
    activation.journal.say(
        "permission.decided", activation.address, kind=kind, name=name, verdict=verdict, rule=rule, why=why
    )
    if decision.verdict == "ask":
        await approve(activation, wish._replace(about={"rule": rule, "why": why}), digest)
    elif decision.verdict == "deny":
        raise PermissionDenied(f"{activation.address}: {kind} {name!r}: {decision.why}")
    return decision.verdict == "ask"


async def _at_edge(activation: Activation, error: BudgetExceeded) -> None:
    """Do what a budget says should follow when it is used up; returns if there may be more of it now."""
    edge = error.edge
    if edge == "ask":
        of = f"{error.key}|{error.unit}"
        number = activation.counts.get(of, 0)
        identity = f"budget|{of}|{activation.pending.resets}.{number}"
        said = f"{error.args[0]}. How much more may it be?"
        async with activation.asking.setdefault(of, asyncio.Lock()):  # calls at once ask one question
            more = in_units(
                error.unit, msgspec.json.decode(await ask(activation, identity, said, MORE, {"budget": error.key}))
            )
            if more > 0:
                asked = activation.pending.asked[identity]
                more, raising = await activation.guard.escrow.raising(error.key, error.unit, more, asked)
                if raising is not None:
                    activation.journal.change(raising)
                    activation.journal.say(
                        "budget.raised", activation.address, budget=error.key, unit=error.unit, by=more
                    )
                    await activation.record()
        if more > 0:
            if activation.counts.get(of, 0) == number:
                activation.counts[of] = number + 1
                activation.raises += 1
            return
    elif isinstance(edge, WrapUp) and edge.node != activation.node.id:
        await activation.guard.exceed(error)
        await asyncio.get_running_loop().create_future()  # the attempt is being stopped
    raise error


def digest_of(data: bytes) -> str:
    """Digest encoded arguments."""
    return sha256(data).hexdigest()[:32]
