"""Execute: one attempt of an activation, from private inputs to encoded writes. The only place that awaits user code.

Whatever user code does becomes an `Outcome`: it finished, it failed, or it was stopped for a reason.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any

from msgspec import UNSET, Raw
from msgspec.structs import replace

from windlass.core.blueprint import ChannelSpec
from windlass.core.channels import MUTABLE, REPLACING
from windlass.core.codec import Codec
from windlass.core.crashpoint import crashpoint
from windlass.core.errors import (
    TaskError,
    ValidationFailed,
    WaitSwallowed,
    WriteUndeclared,
)
from windlass.core.pieces import LONG, outside
from windlass.core.position import parse
from windlass.core.records import Finished, Sent
from windlass.core.words import ContinueAsNew, Output, Send, Update
from windlass.engine.activation import Activation, Outcome
from windlass.engine.anew import asked
from windlass.engine.breakpoints import left_before, stop_after, stop_before
from windlass.engine.current import begin
from windlass.engine.journal import Journal
from windlass.engine.plan import check_goto


async def attempt(activation: Activation) -> Outcome:
    """Run one attempt to its outcome; never raises for what user code does.

    Raises:
        CancelledError: the process is going down, not the attempt.
    """
    try:
        left = left_before(activation) if activation.node.after is not None else None
        if left is None:
            value = await (_invoke(activation) if activation.node.expect is None else _judged(activation))
            _check(activation, value)
            left = keep_writes(activation, value)
        if activation.node.after is not None:
            left = _edited(activation, left, await stop_after(activation, left[0]))
        return Outcome(activation, left[0], left[1])
    except asyncio.CancelledError as error:
        if not activation.stopping:
            return await _settled(activation, error)
        return Outcome(activation, error=activation.stop_error(), stopped=activation.stopping)
    except Exception as error:  # noqa: BLE001 -- the task boundary: whatever user code raises is an outcome
        if activation.stopping and not isinstance(error, WaitSwallowed):  # raised while unwinding
            return Outcome(activation, error=activation.stop_error(), stopped=activation.stopping)
        return Outcome(activation, error=error)
    finally:
        activation.has_ended = True
        if activation.effects:
            await asyncio.wait(activation.effects)  # the attempt's clocks bound them
        activation.closed = True
        if activation.was_cancelled and activation.task is not None:
            activation.task.uncancel()  # whether the node heard of it or not: its task may go on with another


def _judged(activation: Activation) -> Awaitable[Any]:
    from windlass.engine.judging import judged  # with it comes all that reads outputs

    return judged(activation, _invoke)


async def _settled(activation: Activation, error: asyncio.CancelledError) -> Outcome:
    """Tell a node that cancelled itself (its own CancelledError) from a process that is going down."""
    if activation.task is not None and activation.task.cancelling():
        raise error
    return Outcome(activation, error=TaskError("the node raised CancelledError by itself", kind="CancelledError"))


async def _invoke(activation: Activation) -> Any:
    node = activation.node
    crashpoint("node.before")
    begin(activation)
    arguments = gather_inputs(activation)
    if node.before is not None:
        await stop_before(activation, arguments)
    if node.mode == "async":
        return await node.fn(*arguments)
    if node.mode == "sync":
        activation.begin_op()
        try:
            return await activation.services.pool.run(node.fn, *arguments)
        finally:
            activation.end_op()
    output: Any = UNSET
    items = node.fn(*arguments)
    try:
        async for item in items:
            if isinstance(item, Output):
                output = item.value
            else:
                await activation.streams.emit(activation, item)
    finally:
        await items.aclose()
    if output is UNSET:
        raise TaskError(f"{activation.address} ended without yielding an Output", kind="MissingOutput")
    return output


def gather_inputs(activation: Activation) -> list[Any]:
    """Make the arguments of a node: private values of exactly what its signature names.

    Raises:
        TaskError: a channel that it reads was never written.
    """
    channels = activation.frame.channels
    codec, blob = activation.blueprint.codec, activation.journal.blob
    arguments: list[Any] = []
    for param in activation.node.params:
        if param.kind == "channel":
            value = channels[param.source].read(codec, blob)
            if value is UNSET:
                if param.default is UNSET:
                    said = f"{activation.address} reads channel {param.source}, which has no value yet"
                    raise TaskError(said, kind="ChannelUnset")
                value = param.default
            arguments.append(value)
        elif param.kind == "context":
            arguments.append(activation.services.context(activation))
        elif param.kind == "item":
            arguments.append(channels[param.source].element(int(parse(activation.address)[2]), codec, blob))
        elif param.kind == "payload":
            payload = activation.planned.payload
            arguments.append(codec.decode(bytes(payload), blob))
        elif param.kind == "upstreams":
            arguments.append({name: channels[name].read(codec, blob) for name in param.sources})
        else:
            arguments.append(activation.streams.follow(activation, param.source))
    return arguments


def _check(activation: Activation, value: Any) -> None:
    """Refuse an output that came out of a swallowed wait, or that the task's own `validate` refuses."""
    if activation.stopping == "waiting":
        raise WaitSwallowed(f"{activation.address} caught the cancellation of its wait", address=activation.address)
    if activation.node.validate is None:
        return
    verdict = activation.node.validate(value)
    if verdict is not None and not verdict.valid:
        raise ValidationFailed(f"{activation.address}: {verdict.reason}", kind="ValidationFailed")


def keep_writes(activation: Activation, value: Any) -> tuple[Finished, Mapping[str, Any]]:
    """Encode what a node returned; what is committed later is these bytes.

    Raises:
        WriteUndeclared: it wrote a channel that it did not declare.
        TaskError: it returned something that is no write.
        ValueNotKept, ValueTooLarge: a value cannot be kept; the message has its path.
    """
    node, blueprint = activation.node, activation.blueprint
    goto: tuple[str, ...] | None = None
    sends: tuple[Send, ...] = ()
    anew = asked(activation, value) if isinstance(value, ContinueAsNew) else None
    if node.output is not None:
        writes: Mapping[str, Any] = {node.output: value}
    elif isinstance(value, Update):
        writes, goto, sends = value.writes, value.goto, value.sends
        check_goto(blueprint, node.id, goto or (), [send.node for send in sends])
    elif value is None or anew is not None:
        writes = {}
    elif isinstance(value, dict):
        writes = value
    else:
        said = (
            f"{activation.address} returned {type(value).__name__}: a dict, an Update, a ContinueAsNew or None is one"
        )
        raise TaskError(said, kind="NotAWrite")
    if not node.writes.issuperset(writes):
        names = ", ".join(sorted(set(writes) - node.writes))
        raise WriteUndeclared(f"{activation.address} wrote {names}, which it did not declare")
    raws: dict[str, Raw] = {}
    known: dict[str, Any] = {}
    for name, written in writes.items():
        raws[name], known[name] = _keep(activation, blueprint.channels[name], written)
    kept = tuple(Sent(send.node, _payload(activation, send.value)) for send in sends) if sends else ()
    savepoints = tuple(activation.savepoints)
    finished = Finished(activation.address, raws, goto, kept, activation.attempt, savepoints=savepoints, anew=anew)
    return activation.accounted(finished), known


def _edited(activation: Activation, left: tuple[Finished, Mapping[str, Any]], edits: Mapping[str, Any]) -> Any:
    """Put what a person says instead into what a node left."""
    kept = {name: _keep(activation, activation.blueprint.channels[name], value) for name, value in edits.items()}
    raws, known = ({name: pair[place] for name, pair in kept.items()} for place in (0, 1))
    return replace(left[0], writes={**left[0].writes, **raws}), {**left[1], **known}


def _payload(activation: Activation, value: Any) -> Raw:
    encoded = activation.blueprint.codec.encode(value, f"{activation.address}.send")
    activation.journal.keep(encoded.blobs)
    return Raw(encoded.data)


def _keep(activation: Activation, spec: ChannelSpec, value: Any) -> tuple[Raw, Any]:
    codec, journal = activation.blueprint.codec, activation.journal
    if spec.kind in ("append", "unique"):
        return _keep_items(codec, journal, spec, value)
    encoded = codec.encode(value, spec.name)
    if encoded.blobs:
        journal.keep(encoded.blobs)
    if len(encoded.data) >= LONG and spec.kind != "gather":
        piece, blob = outside(encoded.data)
        journal.keep([blob])
        return Raw(piece), MUTABLE
    if spec.kind == "gather":
        return Raw(b"[[%s,%s]]" % (parse(activation.address)[2].encode(), encoded.data)), UNSET
    if spec.kind in REPLACING:
        return Raw(encoded.data), value if encoded.frozen else MUTABLE
    if not isinstance(value, dict):
        raise TaskError(f"channel {spec.name} merges dicts, and was written {type(value).__name__}", kind="NotAWrite")
    return Raw(encoded.data), MUTABLE


def _keep_items(codec: Codec, journal: Journal, spec: ChannelSpec, value: Any) -> tuple[Raw, Any]:
    if not isinstance(value, list | tuple):
        said = f"channel {spec.name} takes a list of items, and was written {type(value).__name__}"
        raise TaskError(said, kind="NotAWrite")
    parts = [codec.encode(item, f"{spec.name}[{place}]") for place, item in enumerate(value)]
    for part in parts:
        if part.blobs:
            journal.keep(part.blobs)
    shared = all(part.frozen for part in parts)
    return Raw(b"[%s]" % b",".join([part.data for part in parts])), list(value) if shared else MUTABLE
