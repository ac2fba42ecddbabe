"""Redaction of what is written beside values: texts in operations, events, questions, letters and commands.

Values were masked by the codec as they were encoded. What else a row carries is masked here, before it is folded, and
each row says of itself which marks its values and texts have (`value.redacted`), so that redaction is recorded in the
write that it changed.

Names are another matter: a run, a node, an effect is found again by its name, so a name that holds a secret is refused.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import lru_cache
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw, Struct

from windlass.core import ops as o
from windlass.core.audit import Account, ModelUse, ToolUse
from windlass.core.blueprint import Blueprint
from windlass.core.changes import Adjust, BlobPut, CommandTaken, ItemsPut, ManifestPut, RunPut
from windlass.core.codec import Codec
from windlass.core.errors import SecretInName
from windlass.core.records import ENCODER, Finished, Said
from windlass.core.redact import MARK, Redact, marks_in
from windlass.core.secret import MASKS, Secret

S = TypeVar("S", bound=Struct)
P = TypeVar("P", bound="tuple[Any, ...]")
LENIENT: Final = Codec(lenient=True)
WRITTEN: Final = frozenset({  # they hold names, numbers, and what the codec wrote: no text of their own
    BlobPut, ManifestPut, ItemsPut, CommandTaken, RunPut, Adjust, o.EffectIntended, o.TimerSet, o.AttemptsReset,
})  # fmt: skip
NAMES: Final = frozenset({
    "address", "key", "id", "run", "definition", "name", "node", "tree", "effect_key", "undo", "undo_key", "undo_for",
    "arguments_digest", "fingerprint", "pattern", "handler", "handled_by",
})  # fmt: skip
TOLD: Final = frozenset({Account, ModelUse, ToolUse})  # their names are what a model said; nothing is found by them
LINKS: Final = frozenset({"key"})
PLACES: Final[dict[type, str]] = {
    o.CallRecorded: "call", o.EffectIntended: "arguments", o.EffectCompleted: "effect", o.QuestionAsked: "question",
    o.QuestionAnswered: "answer", o.ChildEnded: "child", o.AttemptFailed: "failure",
}  # fmt: skip


def nameable(text: str, where: str) -> str:
    """Return a name, if no secret stands in it.

    Raises:
        SecretInName: one does.
    """
    if MASKS and MASKS.find(text.encode("utf-8", "surrogatepass")):
        raise SecretInName(where)
    return text


def check_definition(blueprint: Blueprint) -> None:
    """Refuse a definition in whose names a secret stands: they are in every row.

    Raises:
        SecretInName: one does.
    """
    if MASKS and MASKS.find(ENCODER.encode([blueprint.name, blueprint.version, blueprint.structure])):
        raise SecretInName("definition")


class Masking:
    """Definitions with what the platform masks, beside what they mask themselves; each is made once."""

    def __init__(self, rules: Redact) -> None:
        self.rules = rules
        self.made: dict[str, tuple[Blueprint, Blueprint]] = {}  # by name: as compiled, and with the platform's rules

    def of(self, blueprint: Blueprint) -> Blueprint:
        """Return a definition whose values are masked as the platform says, too.

        Raises:
            SecretInName: a secret stands in one of its names.
        """
        check_definition(blueprint)
        if not self.rules:
            return blueprint
        known = self.made.get(blueprint.name)
        if known is None or known[0] is not blueprint:
            masking = blueprint.sealed(blueprint.codec.redacting(self.rules))
            known = self.made[blueprint.name] = (blueprint, masking)
        return known[1]


def masked(struct: S) -> S:
    """Mask the texts of a record; names stay as they are, and were looked at where they came in."""
    try:
        if not MASKS or not MASKS.find(ENCODER.encode(struct)):
            return struct
    except (UnicodeEncodeError, TypeError):  # half a surrogate pair, or no text: whoever writes it refuses it
        return struct
    fresh = {}
    for name in struct.__struct_fields__:
        value = getattr(struct, name)
        after = value if name in (LINKS if type(struct) in TOLD else NAMES) else _masked(value)
        if after is not value:
            fresh[name] = after
    return msgspec.structs.replace(struct, **fresh) if fresh else struct


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return MASKS.text(value)
    if isinstance(value, Raw):
        data = bytes(value)
        return Raw(LENIENT.mask(data, "value")) if MASKS.find(data) else value
    if isinstance(value, Struct):
        return masked(value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: _masked(getattr(value, field.name)) for field in fields(value)})
    if isinstance(value, Mapping):
        return {_masked(key): _masked(part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return type(value)([_masked(part) for part in value])
    return value


def cleaned(parts: P) -> P:
    """Mask the texts of operations, events or changes that a write is about to carry."""
    if not parts or not MASKS.known:
        return parts
    return tuple([_cleaned(part) for part in parts])  # type: ignore[return-value]


def _cleaned(part: Any) -> Any:
    if type(part) in WRITTEN:
        return part
    if type(part) is o.CallRecorded:  # all but the version, which a model tells of itself, the codec has written
        version = MASKS.text(part.version)
        return part if version == part.version else msgspec.structs.replace(part, version=version)
    return masked(part)


def told(
    ops: Iterable[o.Op], finished: Iterable[Finished], results: Mapping[str, Raw], contents: Mapping[str, bytes]
) -> tuple[Said, ...]:
    """Say which marks a row has: where they stand, of what they are, and how many; never what they stand for.

    Args:
        contents: what the row brings that stands out of line, by digest.
    """
    parts = [(op.address, PLACES.get(type(op), "text"), ENCODER.encode(op)) for op in ops]
    for done in finished:
        parts += [(done.address, f"writes.{channel}", bytes(raw)) for channel, raw in done.writes.items()]
        parts += [(done.address, f"send.{sent.node}", bytes(sent.payload)) for sent in done.sends]
    parts += [("", f"channels.{channel}", bytes(raw)) for channel, raw in results.items()]
    found = ((address, where, marks_in(_whole(data, contents))) for address, where, data in parts)
    return tuple(
        Said("value.redacted", address, {"where": where, "rules": rules}) for address, where, rules in found if rules
    )


def _whole(data: bytes, contents: Mapping[str, bytes]) -> bytes:
    """Put what stands out of line behind the value that refers to it; a long piece may refer to more."""
    whole, left = data, dict(contents)
    while meant := [digest for digest in left if digest.encode() in whole]:
        whole = b" ".join((whole, *(left.pop(digest) for digest in meant)))
    return whole


def notice(data: bytes) -> bytes:
    """Return a value that was encoded elsewhere; if it has marks, the next rows are looked at for them."""
    if marks_in(data):
        MASKS.hits += 1
    return data


def kept_arguments(codec: Codec, fn: Callable[..., Any], given: tuple[Any, ...], named: Mapping[str, Any]) -> list[Any]:
    """Give the arguments of an effect as they are kept: by place and by name, masked by the names that `fn` has."""
    kept = list(given)
    if codec.redact.names and kept:
        for place, name in enumerate(_parameters(fn)[: len(kept)]):
            label = codec.redact.label(name)
            kept[place] = MARK.format(label) if label and kept[place] is not None else kept[place]
    return [kept, dict(named)]


@lru_cache(maxsize=1024)
def _parameters(fn: Callable[..., Any]) -> tuple[str, ...]:
    try:
        return tuple(inspect.signature(fn).parameters)
    except (TypeError, ValueError):  # a builtin: nobody knows what it calls them
        return ()


def judged(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give the arguments of an action as rules and people see them: of a Secret its name."""
    if not any(type(value) is Secret for value in given.values()):
        return given
    return {name: str(value) if type(value) is Secret else value for name, value in given.items()}
