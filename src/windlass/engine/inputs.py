"""What is given from outside: a run's input, the edits of a resume or fork, and answers, as writes and as bytes."""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

from msgspec import Raw, json, to_builtins

from windlass.core.blueprint import Blueprint
from windlass.core.codec import Codec
from windlass.core.envelope import LONG
from windlass.core.errors import InputError, ValueNotKept, ValueTooLarge
from windlass.core.shapes import family_of
from windlass.core.types import convert
from windlass.engine.redacting import nameable, notice


def check_text(text: str, where: str) -> str:
    """Return a name, if it is one that can be written down.

    Raises:
        InputError: it holds a lone surrogate.
        SecretInName: a secret stands in it.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(where, f"{text!r} is no text", hint="a lone surrogate is no character") from None
    return nameable(text, where)


def check_name(name: str, where: str) -> str:
    """Return a name that something is told by, if it is one.

    Raises:
        InputError: it is empty, or holds a lone surrogate.
        SecretInName: a secret stands in it.
    """
    if not name:
        raise InputError(where, "it has no name", hint="the name that the task waits for, as ctx.signal is given it")
    return check_text(name, where)


def unknown_channel(blueprint: Blueprint, name: str) -> InputError:
    """Make the error for a channel that does not exist; it names those that do."""
    public = ", ".join(sorted(channel for channel in blueprint.channels if not channel.startswith("join:")))
    return InputError(name, f"{blueprint.name} has no channel {name!r}", hint=f"there are: {public}")


def input_writes(blueprint: Blueprint, given: Any) -> dict[str, Any]:
    """Turn a run's input into channel writes: a pipeline has one channel for it, a graph takes a dict of channels.

    Raises:
        InputError: it has not the declared type, or names a channel that does not exist.
    """
    if blueprint.kind == "pipeline":
        if "input" not in blueprint.channels:
            return {}
        return {"input": convert(given, blueprint.input_type, "input")}
    if given is None:
        return {}
    plain = given if isinstance(given, dict) else {
        name: getattr(given, name) for name in blueprint.channels if hasattr(given, name)
    }  # fmt: skip
    for name in plain:
        if name not in blueprint.channels or name.startswith("join:"):
            raise unknown_channel(blueprint, name)
    return {name: convert(value, blueprint.channels[name].type, f"input.{name}") for name, value in plain.items()}


def packed(blueprint: Blueprint, edits: dict[str, Any] | None) -> dict[str, Any]:
    """Turn edits into the arguments of a command, from which `unpacked` makes the same values again.

    Raises:
        InputError: an edit names no channel, or has not its type.
        ValueNotKept, ValueTooLarge: it cannot be kept; nothing was posted.
    """
    kept: dict[str, Raw] = {}
    contents: dict[str, str] = {}
    _, inner = blueprint.of_edits(edits or {})
    for name, value in (edits or {}).items():
        channel = name.rpartition("/")[2]
        if channel not in inner.channels or channel.startswith("join:"):
            raise unknown_channel(inner, name)
        typed = convert(value, inner.channels[channel].type, f"edits.{name}")
        encoded = blueprint.codec.encode(typed, f"edits.{channel}")
        kept[name] = Raw(encoded.data)
        contents |= {blob.digest: b64encode(blob.content).decode() for blob in encoded.blobs}
    return {"edits": kept, "contents": contents} if contents else {"edits": kept}


def unpacked(blueprint: Blueprint, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Make the values of edits from the arguments of the command that brought them.

    Raises:
        InputError: one has not the type that its channel has here.
        DecodeError: it is of a type that the definition does not know here.
    """
    contents = arguments.get("contents", {})
    typed = {}
    _, inner = blueprint.of_edits(arguments.get("edits") or {})
    for name, data in (arguments.get("edits") or {}).items():
        kept = notice(json.encode(data))
        value = blueprint.codec.decode(kept, lambda digest: b64decode(contents[digest]), trusted=True)
        typed[name] = convert(value, inner.channels[name.rpartition("/")[2]].type, f"edits.{name}")
    return typed


def spoken(codec: Codec, value: Any) -> bytes:
    """Turn an answer into the bytes that are kept, from which the codec of the run's definition makes it again.

    An object of a class that the codec does not know is kept as the JSON that it stands for: what the question's
    schema asks for makes the object from it.

    Raises:
        ValueNotKept, ValueTooLarge: it cannot be kept; nothing was posted.
    """
    try:
        encoded = codec.encode(value, "answer")
    except ValueNotKept:
        if family_of(type(value)) in (None, "builtin"):
            raise
        try:
            plain = to_builtins(value)
        except (TypeError, ValueError, RecursionError):
            plain = value
        encoded = codec.encode(plain, "answer")
    if encoded.blobs:
        raise ValueTooLarge("answer", sum(len(blob.content) for blob in encoded.blobs), LONG)
    return encoded.data
