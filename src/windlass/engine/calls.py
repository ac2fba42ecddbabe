"""Calls: what a task has a function do for it, recorded, so that a re-run pays nothing."""

from collections.abc import Callable
from functools import partial
from typing import Any

from msgspec import Raw

from windlass.core import ops
from windlass.core.codec import Codec
from windlass.core.crashpoint import crashpoint
from windlass.core.errors import ToolUnknown, WindlassError
from windlass.core.tallies import Amounts
from windlass.core.words import Tool
from windlass.engine.activation import Activation
from windlass.engine.boundary import by_name, digest_of, enter, is_free, leave, within
from windlass.engine.effects import Act, Call, perform
from windlass.engine.functions import result_codec, run_function
from windlass.policies.budget import Cost
from windlass.policies.permission import Kind


async def make(
    activation: Activation, kind: Kind, name: str, call: Call, *, key: str = "", returns: Any = None,
    cost: Cost | None = None, amounts: Amounts | None = None,
) -> Any:  # fmt: skip
    """Make a call, or return what it gave when it was made.

    Args:
        amounts: what it is expected to use, where there is no `cost` to say it.
    """
    fn, arguments, named = call
    codec = result_codec(activation.blueprint.codec, fn, returns)
    digest = key or digest_of(codec.key([list(arguments), named]))
    identity = f"{name}|{digest}|{activation.nth(name + digest)}"
    kept = activation.pending.calls.get(identity)
    if kept is not None:
        return codec.decode(bytes(kept), activation.journal.blob)
    amounts = amounts or (cost.estimate.amounts() if cost is not None else {})
    free = is_free(activation, kind, amounts)
    if not free:
        now = partial(_digest, codec, call, key)
        await enter(activation, kind, name, by_name(fn, arguments, named), amounts, now, identity)
    activation.begin_op()
    try:
        crashpoint("call.before")
        work = run_function(activation.services.pool, fn, arguments, named)
        value = await (work if free else within(activation, work, amounts))
        usage = {} if free else leave(activation, amounts, cost, value)
        encoded = codec.encode(value, f"{activation.address}.{name}")
        activation.journal.keep(encoded.blobs)
        raw = Raw(encoded.data)
        crashpoint("record.before")
        await activation.record(
            ops.CallRecorded(activation.address, identity, name, raw, activation.attempt, kind, usage)
        )
        crashpoint("record.after")
    finally:
        activation.end_op()
    return value if encoded.frozen else codec.decode(encoded.data, activation.journal.blob)


def _digest(codec: Codec, call: Call, key: str) -> str:
    """Digest the arguments of a call as they are now; its key stands for those that cannot be encoded."""
    _, arguments, named = call
    try:
        return digest_of(codec.key([list(arguments), named]))
    except WindlassError:
        return key


async def use(activation: Activation, name: str, given: dict[str, Any]) -> Any:
    """Call a tool of the definition: as a call, or as an effect if it is one.

    Raises:
        ToolUnknown: there is none of this name.
    """
    tools = activation.blueprint.tools
    tool: Tool[..., Any] | None = tools.get(name)
    if tool is None:
        said = f"{activation.address}: there is no tool {name!r}"
        raise ToolUnknown(said, hint=f"tools: {', '.join(sorted(tools)) or 'none'}")
    final = tool.arguments(given)
    amounts = {**tool.cost, "tool_calls": 1}
    call: tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]] = (tool.fn, (), final)
    if not tool.effect:
        return await make(activation, "tool", name, call, amounts=amounts)
    digest = digest_of(activation.blueprint.codec.key(final))
    key = f"{digest}#{activation.nth(f'tool{name}{digest}')}"
    act = Act("tool", amounts)
    return await perform(activation, name, key, call, on_doubt=tool.on_doubt, undo="", returns=None, act=act)
