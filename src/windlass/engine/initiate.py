"""The steps that no activation makes: the first of a run or sub-graph, and edits from outside. Pure, as reconcile."""

from collections.abc import Mapping
from typing import Any

from msgspec import UNSET, Raw

from windlass.core.blueprint import Blueprint, ChannelSpec
from windlass.core.channels import REPLACING
from windlass.core.errors import InputError, ReducerFailed
from windlass.core.frames import Frame, parse
from windlass.core.pieces import FOLDS, Blobs
from windlass.core.position import Position, settle
from windlass.core.records import Body, Planned
from windlass.engine.plan import Plan, begin
from windlass.engine.reconcile import Scratch, Step, as_step


def initiate(blueprint: Blueprint, frame: Frame, writes: Mapping[str, Any], blobs: Blobs) -> Step:
    """Make the first step of a run, or of a sub-graph: initial values, the input's writes upon them, what runs first.

    Raises:
        ReducerFailed: a reducer raised on the input.
    """
    scratch = Scratch(blueprint, frame, blobs)
    results = {}
    for name, spec in blueprint.channels.items():
        if name in writes:
            results[name] = scratch.keep(_as_delta(spec, _first(spec, writes[name])), name)
        elif spec.initial is not UNSET:
            results[name] = scratch.keep(_as_delta(spec, spec.initial), name)
    scratch.channels = settle(frame, Body(at=0.0, results=results), [], scratch.known)
    following = begin(blueprint, frame, writes, scratch.read)
    return as_step(frame, scratch, (), following, results, {})


def go_on(blueprint: Blueprint, position: Position, writes: Mapping[str, Any], blobs: Blobs) -> Step:
    """Make the first step of a later turn: the input's writes upon the state that is there, and what runs first.

    Raises:
        ReducerFailed: a reducer raised on the input.
    """
    scratch = Scratch(blueprint, position, blobs)
    deltas, results = {}, {}
    for name, spec in blueprint.channels.items():
        is_new = not position.channels[name].version  # also of one that the definition did not have before
        if name in writes and _grows(spec) and not is_new:
            deltas[name] = scratch.keep(writes[name], name)
        elif name in writes:
            current = spec.initial if is_new else position.channels[name].read(blueprint.codec, blobs)
            results[name] = scratch.keep(_as_delta(spec, _folded(spec, current, writes[name], "the input")), name)
        elif is_new and spec.initial is not UNSET:
            results[name] = scratch.keep(_as_delta(spec, spec.initial), name)
    half_joined = [name for name, channel in position.channels.items() if name.startswith("join:") and channel.count]
    results |= dict.fromkeys(half_joined, Raw(b"[]"))  # by what fell away with the turn before
    body = Body(at=0.0, results=results, deltas=deltas)
    scratch.channels = settle(position, body, [], scratch.known)
    following = begin(blueprint, position, writes, scratch.read)
    return as_step(position, scratch, (), following, results, deltas)


def _grows(spec: ChannelSpec) -> bool:
    return spec.reduce is None and spec.kind in ("append", "merge")


def _first(spec: ChannelSpec, incoming: Any) -> Any:
    return _folded(spec, spec.initial, incoming, "the input")


def _folded(spec: ChannelSpec, current: Any, incoming: Any, what: str) -> Any:
    """Fold what comes into what is there, as the channel's reducer does.

    Raises:
        ReducerFailed: it raised.
    """
    try:
        if spec.kind == "unique" and spec.reduce is not None:
            start = () if current is UNSET else current
            return list({spec.reduce(item): item for item in (*start, *incoming)}.values())
        if current is UNSET or spec.kind == "gather" or (spec.kind in REPLACING and spec.reduce is None):
            return incoming
        return spec.reduce(current, incoming) if spec.reduce else FOLDS[spec.kind]([current, incoming])
    except Exception as error:
        raise ReducerFailed(f"the reducer of channel {spec.name} raised {error!r} on {what}") from error


def _as_delta(spec: ChannelSpec, value: Any) -> Any:
    """Write a whole value in the form of the channel's pieces."""
    if spec.kind == "unique":
        return [[None, item] for item in value]
    if spec.kind == "gather":
        return [[place, item] for place, item in enumerate(value)]
    return value


def edit(
    blueprint: Blueprint, position: Position, edits: Mapping[str, Any], blobs: Blobs, *, overwrite: bool = True
) -> Step:
    """Set channels from outside, whole or through their reducers; plans nothing but the subscribers of what was set.

    What has finished in a step that still goes on stays with that step.

    Args:
        edits: by channel; those of a sub-graph's frame by its path, `team#1/draft`.

    Raises:
        ReducerFailed: a reducer raised.
        InputError: they are of several frames, or of one that is not open.
    """
    path, blueprint = blueprint.of_edits(edits)
    if path and not position.is_open(path):
        under_way = [one for one in position.frames if position.is_open(one)]
        raise InputError(path, f"{path} is not under way", hint=f"there are: {', '.join(under_way) or 'none'}")
    frame = position.frame(path)
    edits = {name.rpartition("/")[2]: value for name, value in edits.items()}
    scratch = Scratch(blueprint, frame, blobs)
    results = {}
    for name, value in edits.items():
        spec = blueprint.channels[name]
        current = UNSET if overwrite else frame.channels[name].read(blueprint.codec, blobs)
        results[name] = scratch.keep(_as_delta(spec, _folded(spec, current, value, "an edit")), name)
    body = Body(at=0.0, results=results, edited=True)
    scratch.channels = settle(frame, body, [], scratch.known)
    waiting = {parse(address)[0] for address in frame.waiting}
    subscribed = [n for name in edits for n in blueprint.subscribers.get(name, ()) if n not in waiting]
    planned = [Planned(f"{frame.prefix}{node}#{frame.visits.get(node, 0) + 1}") for node in dict.fromkeys(subscribed)]
    return as_step(frame, scratch, (), Plan(planned=planned), results, {})._replace(edited=True)
