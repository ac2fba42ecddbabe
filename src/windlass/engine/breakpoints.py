"""Breakpoints: a person sees what a node is given or what it wrote, and approves, edits or rejects it.

Both are questions of the activation, so the run waits for them as for any other. What is shown after a node is what was
recorded of it: once it is approved it is settled as it stands, and the node does not run again.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import Raw

from windlass.core import ops
from windlass.core.blueprint import Param
from windlass.core.errors import Rejected
from windlass.core.pieces import inside
from windlass.core.records import Finished
from windlass.core.shown import capped, escaped
from windlass.core.types import convert, json_schema
from windlass.engine.activation import Activation
from windlass.engine.questions import ask
from windlass.engine.showing import readable, spelled
from windlass.engine.terms import approval_terms

FINISHED = msgspec.json.Decoder(Finished)
SHOWN = ("channel", "item", "payload", "upstreams")


async def stop_before(activation: Activation, arguments: list[Any]) -> None:
    """Let a person look at what the node is about to be given; what is edited replaces it in place.

    Raises:
        Rejected: a person refused it; the node did not run.
        QuestionExpired: nobody answered in time.
    """
    node = activation.node
    places = {param.name: place for place, param in enumerate(node.params) if param.kind in SHOWN}
    text = readable(activation.blueprint.codec, {name: arguments[place] for name, place in places.items()})
    kinds = {name: _type_of(activation, node.params[place]) for name, place in places.items()}
    edits = await _look(activation, "before", text, kinds)
    for name, value in edits.items():
        arguments[places[name]] = value


def left_before(activation: Activation) -> tuple[Finished, Mapping[str, Any]] | None:
    """Return what an earlier attempt left for a person to look at; None if the node has yet to run."""
    kept = activation.pending.calls.get(_kept(activation))
    return None if kept is None else (FINISHED.decode(kept), {})


async def stop_after(activation: Activation, finished: Finished) -> Mapping[str, Any]:
    """Record what the node wrote and let a person look at it; returns what is to be written instead, by channel.

    Raises:
        Rejected: a person refused it; nothing of it is settled.
        QuestionExpired: nobody answered in time.
    """
    node, key = activation.node, _kept(activation)
    if key not in activation.pending.calls:
        kept = Raw(msgspec.json.encode(finished))
        await activation.record(
            ops.CallRecorded(activation.address, key, "breakpoint", kept, activation.attempt, "breakpoint")
        )
    text = _written(activation, finished)
    channels = activation.blueprint.channels
    kinds = {name: node.returns if node.output is not None else channels[name].type for name in sorted(node.writes)}
    return await _look(activation, "after", text, kinds)


def _kept(activation: Activation) -> str:
    return f"after|{activation.pending.resets}"


async def _look(activation: Activation, side: str, text: str, kinds: Mapping[str, Any]) -> dict[str, Any]:
    """Ask, and return the edits by name, each of its type."""
    node, pending = activation.node, activation.pending
    digest = sha256(text.encode()).hexdigest()[:16]
    declared = node.before if side == "before" else node.after
    key, terms = f"{side}|{digest}|{pending.resets}", ops.NO_TERMS
    if key not in pending.asked:
        terms = approval_terms(declared or "", activation.services.seams.clock.now())
    about = {"breakpoint": side, "node": node.id, "shown": capped(text)}
    word = "is about to run with" if side == "before" else "has written"
    said = escaped(f"{activation.address} {word} what is shown. Approve, edit, or reject?")
    raw = await ask(activation, key, said, verdict_schema(kinds), about, terms)
    verdict = activation.blueprint.codec.decode(raw, trusted=True)
    if verdict == "approve":
        return {}
    if isinstance(verdict, Mapping) and isinstance(verdict.get("edit"), Mapping):
        edits = verdict["edit"]
        if edits.keys() <= kinds.keys():
            return {name: convert(value, kinds[name], f"edit.{name}") for name, value in edits.items()}
    by = activation.pending.heard.get(key, ("", {}))[0]
    when = "before it ran" if side == "before" else "before what it wrote was settled"
    raise Rejected(f"{activation.address}: rejected{f' by {by}' if by else ''} {when}")


def verdict_schema(kinds: Mapping[str, Any]) -> dict[str, Any]:
    """Say what may be answered: approve, reject, or edits of these names, each of its type."""
    properties = {name: json_schema(kind) for name, kind in kinds.items()}
    shared: dict[str, Any] = {}
    for one in properties.values():
        shared |= one.pop("$defs", {})
    edit = {"type": "object", "properties": properties, "additionalProperties": False}
    wanted = {"type": "object", "properties": {"edit": edit}, "required": ["edit"], "additionalProperties": False}
    schema: dict[str, Any] = {"anyOf": [{"enum": ["approve", "reject"]}, wanted]}
    return {**schema, "$defs": shared} if shared else schema


def _type_of(activation: Activation, param: Param) -> Any:
    return activation.blueprint.channels[param.source].type if param.kind == "channel" else Any


def _written(activation: Activation, finished: Finished) -> str:
    """Write what a node wrote as JSON for a person, long values included."""
    channels, blob, shown = activation.blueprint.channels, activation.journal.blob, {}
    for name, raw in finished.writes.items():
        piece = inside(bytes(raw), blob)
        if channels[name].kind == "gather":  # one element, with its index before it
            piece = piece[piece.index(b",") + 1 : -2]
        shown[name] = Raw(spelled(piece, blob))
    return msgspec.json.encode(shown).decode()
