"""What is given from outside: a run's input, the edits of a resume or fork, and answers, as writes and as bytes."""

from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import lru_cache
from typing import Any, Literal, TypeVar, get_args, get_origin

from msgspec import Raw, Struct, json, to_builtins

from windlass.core.annotations import field_types
from windlass.core.blueprint import Blueprint
from windlass.core.codec import Codec
from windlass.core.envelope import LONG
from windlass.core.errors import InputError, ValueNotKept, ValueTooLarge
from windlass.core.records import Command
from windlass.core.schema import dumped
from windlass.core.shapes import family_of
from windlass.core.types import convert
from windlass.engine.redacting import nameable, notice

S = TypeVar("S", bound=Struct)


def check_text(text: str, where: str) -> str:
    """Return a name, if it is one that can be written down.

    Raises:
        InputError: it is no text, or holds a lone surrogate.
        SecretInName: a secret stands in it.
    """
    return nameable(written(text, where), where)


def sendable(command: Command) -> Command:
    """Return a command, if whoever takes it can read it: one that nobody can would be taken for damage of its run.

    Raises:
        InputError: who it is by, its id or its reason is no text.
    """
    for where, text in (("by", command.by), ("id", command.id), ("why", command.arguments.get("why", ""))):
        written(text, where)
    return command


def written(text: str, where: str) -> str:
    """Return a text, if it is one that can be written down.

    Raises:
        InputError: it is no text, or holds a lone surrogate.
    """
    if not isinstance(text, str):
        raise InputError(where, f"{text!r} is no text", hint=f'{where}="{text}"')
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(where, f"{text!r} is no text", hint="a lone surrogate is no character") from None
    return text


def keywords(kind: type[S], given: Mapping[str, Any]) -> S:
    """Make a record of what a caller names by keyword, the options of a start or the filters of a list.

    Raises:
        TypeError: there is no such keyword.
        InputError: one has not its type, or is none of what it may be.
    """
    kind(**given)  # Python's own word for one that does not exist
    kinds = kinds_of(kind)
    return kind(**{name: _keyword(name, value, kinds[name]) for name, value in given.items()})


@lru_cache
def kinds_of(kind: type) -> dict[str, object]:
    """Look up the types of a record's fields, once."""
    return field_types(kind)


def _keyword(name: str, value: Any, kind: object) -> Any:
    try:
        typed = convert(value, kind, name)
        json.encode(typed)
    except (UnicodeEncodeError, TypeError):  # half a surrogate pair, a subclass of str
        raise InputError(name, f"{value!r:.80} is no plain text that can be written down") from None
    except InputError:
        if isinstance(value, str) and _fits([value], kind):
            raise InputError(name, f"{value!r} is no list", hint=f"{name}=[{value!r}]") from None
        if words := ", ".join(choices(kind)):
            raise InputError(name, f"{value!r:.80} is none of {words}") from None
        raise
    return typed


def _fits(value: Any, kind: object) -> bool:
    try:
        convert(value, kind, "")
    except InputError:
        return False
    return True


def choices(kind: object) -> Iterator[str]:
    """Name the values of a type that has only a few: a Literal's, an enum's, or those of which there is a list."""
    if get_origin(kind) is Literal:
        yield from map(str, get_args(kind))
    elif isinstance(kind, type) and issubclass(kind, Enum):
        yield from (str(member.value) for member in kind)
    else:
        for part in get_args(kind):
            yield from choices(part)


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
    return InputError(name, f"{blueprint.name} has no channel {name!r}", hint=f"there are: {public(blueprint)}")


def public(blueprint: Blueprint) -> str:
    """List the channels that can be given from outside."""
    return ", ".join(sorted(channel for channel in blueprint.channels if not channel.startswith("join:")))


def input_writes(blueprint: Blueprint, given: Any) -> dict[str, Any]:
    """Turn a run's input into channel writes: a pipeline has one channel for it, a graph takes a dict of channels.

    An object with fields, as one of the graph's state class, counts as the dict of them.

    Raises:
        InputError: it has not the declared type, names no channels, or one that does not exist.
    """
    if blueprint.kind == "pipeline":
        if "input" not in blueprint.channels:
            return {}
        return {"input": convert(given, blueprint.input_type, "input")}
    plain = _by_channel(blueprint, given)
    for name in plain:
        if name not in blueprint.channels or name.startswith("join:"):
            raise unknown_channel(blueprint, name)
    return {name: convert(value, blueprint.channels[name].type, f"input.{name}") for name, value in plain.items()}


def _by_channel(blueprint: Blueprint, given: Any) -> Mapping[Any, Any]:
    """Name the parts of a graph's input: the entries of a dict, the fields of an object; None has none."""
    if given is None:
        return {}
    if isinstance(given, Mapping):
        return given
    if family_of(type(given)) not in ("dataclass", "struct", "model", "namedtuple"):
        said = f"expected a dict of channels, got `{type(given).__qualname__}`"
        raise InputError("input", said, hint=f"{blueprint.name} has {public(blueprint)}")
    return {name: getattr(given, name) for name in field_types(type(given)) if hasattr(given, name)}


def packed(blueprint: Blueprint, edits: dict[str, Any] | None) -> dict[str, Any]:
    """Turn edits into the arguments of a command, from which `unpacked` makes the same values again.

    Raises:
        InputError: an edit names no channel, or has not its type.
        ValueNotKept, ValueTooLarge: it cannot be kept; nothing was posted.
    """
    check_names(blueprint, edits)
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


def check_names(blueprint: Blueprint, edits: Any) -> None:
    """Refuse edits that are no dict of channels.

    Raises:
        InputError: see there.
    """
    if edits is None:
        return
    if not isinstance(edits, Mapping):
        said = f"expected a dict of channels, got `{type(edits).__qualname__}`"
        raise InputError("edits", said, hint=f"{blueprint.name} has {public(blueprint)}")
    for name in edits:
        if not isinstance(name, str):
            raise unknown_channel(blueprint, name)


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


def spoken(codec: Codec, value: Any, where: str = "answer") -> bytes:
    """Turn an answer into the bytes that are kept, from which the codec of the run's definition makes it again.

    An object of a class that the codec does not know is kept as the JSON that it stands for: what the question's
    schema asks for makes the object from it.

    Raises:
        ValueNotKept, ValueTooLarge: it cannot be kept; nothing was posted.
    """
    try:
        encoded = codec.encode(value, where)
    except ValueNotKept:
        if family_of(type(value)) in (None, "builtin"):
            raise
        try:
            plain = to_builtins(value, enc_hook=dumped)
        except (TypeError, ValueError, RecursionError):
            plain = value
        encoded = codec.encode(plain, where)
    if encoded.blobs:
        raise ValueTooLarge(where, sum(len(blob.content) for blob in encoded.blobs), LONG)
    return encoded.data
