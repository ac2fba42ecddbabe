"""Calls: what a task has a function do for it, recorded, so that a re-run pays nothing."""

from functools import partial
from typing import Any

from msgspec import Raw

from windlass.core import ops
from windlass.core.audit import ToolUse
from windlass.core.codec import Codec
from windlass.core.crashpoint import crashpoint
from windlass.core.errors import ToolUnknown
from windlass.core.secret import MASKS
from windlass.core.talk import ToolCall
from windlass.core.words import Tool
from windlass.engine.accounts import MOST_NAME, note_tool, tell_failed, visible
from windlass.engine.activation import Activation
from windlass.engine.boundary import digest_of, enter, is_free, leave, within
from windlass.engine.called import Call, unwrapped
from windlass.engine.effects import Act, perform
from windlass.engine.functions import result_codec, run_function


async def make(activation: Activation, act: Act, name: str, call: Call, *, key: str = "", returns: Any = None) -> Any:
    """Make a call, or return what it gave when it was made. One that fails leaves its place to the next identical."""
    fn, arguments, named = call
    codec = result_codec(activation.blueprint.codec, fn, returns)
    digest = key or digest_of(codec.key([list(arguments), named]))
    number = activation.nth(name + digest)
    identity = f"{name}|{digest}|{number}"
    kept = activation.pending.calls.get(identity)
    if kept is not None:
        if act.kind == "tool":
            note_tool(activation, ToolUse(name, identity, act.version))
        return codec.decode(bytes(kept), activation.journal.blob)
    try:
        value = await _made(activation, act, name, call, codec, (identity, digest, key))
    except BaseException:
        activation.give_back(name + digest, number)
        raise
    return value


async def _made(
    activation: Activation, act: Act, name: str, call: Call, codec: Codec, which: tuple[str, str, str]
) -> Any:
    fn, arguments, named = call
    identity, digest, key = which
    free = is_free(activation, act.kind, act.amounts)
    if not free:
        now, known = partial(_digest, codec, call), "" if key or isinstance(fn, partial) else digest
        await enter(activation, act.kind, name, call, act.amounts, now, identity, known)
    asked, usage = _arguments(activation, codec, named) if act.kind == "tool" else ops.NULL, {}
    activation.begin_op()
    try:
        crashpoint("call.before")
        work = run_function(activation.services.pool, fn, arguments, named)
        value = await (work if free else within(activation, work, act.amounts))
        usage = {} if free else leave(activation, act.amounts, act.cost, value)
        encoded = codec.encode(value, f"{activation.address}.{name}")
        activation.journal.keep(encoded.blobs)
        if act.kind == "tool":
            note_tool(activation, ToolUse(name, identity, act.version, usage=usage))
        kept = (Raw(encoded.data), activation.attempt, act.kind, usage, asked, act.version)
        crashpoint("record.before")
        await activation.record(ops.CallRecorded(activation.address, identity, name, *kept))
        crashpoint("record.after")
    finally:
        activation.end_op()
    return value if encoded.frozen else codec.decode(encoded.data, activation.journal.blob)


def _arguments(activation: Activation, codec: Codec, named: dict[str, Any]) -> Raw:
    encoded = codec.encode(named, f"{activation.address}.arguments", handles=True)
    activation.journal.keep(encoded.blobs)
    return Raw(encoded.data)


def _digest(codec: Codec, call: Call) -> str:
    """Digest the arguments of a call as they are now.

    Raises:
        ValueNotKept: they cannot be encoded, as those of a call with a key of its own may be.
    """
    _, arguments, named = unwrapped(call)
    return digest_of(codec.key([list(arguments), named]))


async def use(activation: Activation, name: str, given: dict[str, Any] | ToolCall) -> Any:
    """Call a tool of the definition: as a call, or as an effect if it is one. What comes to nothing is told.

    Raises:
        ToolUnknown: there is none of this name.
        ToolArgumentsInvalid: what is given does not fit it.
    """
    tool: Tool[..., Any] | None = None
    try:
        tool = _found(activation, name)
        final = tool.arguments(given.read() if isinstance(given, ToolCall) else given)
        act = Act("tool", {**tool.cost, "tool_calls": 1}, version=tool.digest)
        if tool.effect:
            return await _perform(activation, tool, final, act)
        return await make(activation, act, name, (tool.fn, (), final))
    except Exception as error:
        code = tell_failed(activation, "tool", name, error, usage={})
        digest, is_effect = (tool.digest, tool.effect) if tool is not None else ("", False)
        note_tool(activation, ToolUse(visible(str(name), MOST_NAME), "", digest, is_effect, failed=code))
        raise


def _found(activation: Activation, name: Any) -> Tool[..., Any]:
    tool: Tool[..., Any] | None = activation.blueprint.tools.get(name) if isinstance(name, str) else None
    if tool is None:
        known = ", ".join(sorted(activation.blueprint.tools)) or "none"
        asked = MASKS.text(str(name))  # before it is cut: half a secret would not be found
        raise ToolUnknown(f"{activation.address}: there is no tool {asked!a:.200}", hint=f"tools: {known}")
    return tool


async def _perform(activation: Activation, tool: Tool[..., Any], final: dict[str, Any], act: Act) -> Any:
    digest = digest_of(activation.blueprint.codec.key(final))
    counted = f"tool{tool.name}{digest}"
    number = activation.nth(counted)
    key, call = f"{digest}#{number}", (tool.fn, (), final)
    try:
        value = await perform(
            activation, tool.name, key, call, on_doubt=tool.on_doubt, undo="", returns=None, act=act
        )  # fmt: skip
    except BaseException:  # the next identical one stands in its place, and finds it in doubt if it is
        activation.give_back(counted, number)
        activation.give_back(f"effect{tool.name}|{key}", 0)
        raise
    note_tool(activation, ToolUse(tool.name, f"{tool.name}|{key}", act.version, effect=True, usage=act.amounts))
    return value
