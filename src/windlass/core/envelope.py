"""How one value is walked on its way to JSON and back: the envelope, the limits, the path to what cannot be kept.

JSON has seven kinds of value and Python has many more. A value that JSON knows stands as itself; every other one stands
in an envelope of exactly two keys, `{"$": tag, "v": content}`, the tag naming its kind. A dict that itself has the key
`"$"` is written as pairs under the tag `dict`, so that nothing a user stores can be taken for an envelope.

The kinds that Python brings are in `kinds.py`, those that a user declares in `shapes.py`; both are pairs of functions
that call back here for what is inside.
"""

import binascii
import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from math import isfinite
from types import MappingProxyType
from typing import Any, Final, NamedTuple, NoReturn, TypeAlias

import msgspec

from windlass.core.errors import DecodeError
from windlass.core.refusal import MAX_DEPTH, Oversized, Refused, TooDeep, step_of

Raw: TypeAlias = Any  # what msgspec writes as JSON by itself and without loss
Writer: TypeAlias = Callable[[Any, "Writing"], Raw]
Reader: TypeAlias = Callable[[Raw, "Reading"], Any]

LONG: Final = 64 * 1024  # bytes from which a content stands out of line (D28)
SHORT: Final = LONG // 4  # a string of fewer characters is below LONG in UTF-8, whatever the characters
SLACK: Final = 4  # a walk gives up at this many times the limit; up to there the largest part is named exactly
BULK: Final = 8  # from this many elements on, one pass in C that looks at all types pays for itself

ATOMS: Final = frozenset({type(None), bool, int})
CAREFUL: Final = frozenset({type(None), bool})
ONLY_STR: Final = frozenset({str})
ONLY_FLOAT: Final = frozenset({float})
CONTAINERS: Final = frozenset({dict, list})

to_json: Final = msgspec.json.Encoder().encode
to_sorted_json: Final = msgspec.json.Encoder(order="sorted").encode
from_json: Final = msgspec.json.Decoder().decode


class Blob(NamedTuple):
    """A content that stands out of line; the value's JSON refers to it by its digest."""

    digest: str
    content: bytes


def digest(content: bytes | bytearray | memoryview) -> str:
    """Name a content by its SHA-256, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def wrap(tag: str, content: Raw) -> Raw:
    """Put a content into the envelope of its kind."""
    return {"$": tag, "v": content}


def same(text: str, spelled: str) -> None:
    """Refuse a text that is another spelling of what was read from it.

    Raises:
        DecodeError: the two differ.
    """
    if text != spelled:
        raise DecodeError(f"{text!r:.60} is not how {spelled!r:.60} is written")


def expect(raw: Raw, kind: type) -> Raw:
    """Give the raw value back if it is of this kind.

    Raises:
        DecodeError: it is not.
    """
    if type(raw) is not kind:
        raise DecodeError(f"a {kind.__name__} is expected, not a {type(raw).__name__}")
    return raw


class Writing:
    """One walk over one value: turns it into what JSON knows, and notes what it met.

    A walk first trusts the strings and integers that it meets. Should JSON then refuse one (a lone surrogate, an
    integer of more digits than Python spells), a second, careful walk wraps those.

    What stands as it is comes back as the same object, so that plain data is only looked at, not built anew.

    Attributes:
        frozen: nothing mutable was met.
        ordered: dicts are written in the order of their keys, not in their own.
        handles: a Secret may stand in it, by its name: it is an argument, not a value.
        blobs: contents that stand out of line, by digest.
    """

    frozen = True
    depth = 0
    plain = ATOMS
    short = SHORT
    ordered = False
    handles = False
    json: Callable[[Raw], bytes] = staticmethod(to_json)
    blobs: Mapping[str, Blob] = MappingProxyType({})

    def __init__(
        self, writers: Mapping[type, Writer], limit: int, *, careful: bool = False, ordered: bool = False,
        handles: bool = False,
    ) -> None:  # fmt: skip
        self.writers = writers
        self.limit = limit
        self.room = limit * SLACK
        if careful:
            self.plain, self.short = CAREFUL, 0
        if ordered:
            self.ordered, self.json = True, to_sorted_json
        if handles:
            self.handles = True

    def write(self, value: object) -> Raw:
        """Turn any value into what JSON knows.

        Raises:
            Refused: it, or something inside it, cannot be kept.
        """
        kind = type(value)
        if kind in self.plain or (kind is str and len(value) < self.short):  # type: ignore[arg-type]
            return value
        return self.writers[kind](value, self)

    def items(self, values: list[Any] | tuple[Any, ...], owner: object = None) -> Raw:
        """Turn the elements of a list or a tuple, which stand in a container of their own or in `owner`."""
        plain, short, used = self.plain, self.short, len(values)
        if used >= BULK:
            return values if self.stand(values) else self.mixed(values, owner)
        for value in values:
            kind = type(value)
            if kind in plain:
                continue
            if kind is str and len(value) < short:
                used += len(value)
            elif kind is not float or not isfinite(value):
                return self.mixed(values, owner)
        self.room -= used
        return values if self.room >= 0 else self.exhausted(used)

    def fields(self, values: dict[str, Any], owner: object = None) -> Raw:
        """Turn the values of a dict whose keys stand as they are."""
        plain, short, used = self.plain, self.short, len(values)
        if used >= BULK:
            return values if self.stand(values.values()) else self.mixed_fields(values, owner)
        for value in values.values():
            kind = type(value)
            if kind in plain:
                continue
            if kind is str and len(value) < short:
                used += len(value)
            elif kind is not float or not isfinite(value):
                return self.mixed_fields(values, owner)
        self.room -= used
        return values if self.room >= 0 else self.exhausted(used)

    def mixed(self, values: list[Any] | tuple[Any, ...], owner: object) -> Raw:
        """Turn elements of which one or more do not stand as they are."""
        plain, short, used, index = self.plain, self.short, len(values), 0
        before = self.deeper()
        written: Any = values
        try:
            for index, value in enumerate(values):
                kind = type(value)
                if kind in plain:
                    continue
                if kind is str and len(value) < short:
                    used += len(value)
                    continue
                raw = self.writers[kind](value, self)
                if raw is not value:
                    if written is values:
                        written = list(values)
                    written[index] = raw
        except Refused as refused:
            step = "{*}" if isinstance(owner, set | frozenset) else f"[{index}]"
            refused.steps.append((step, values if owner is None else owner, before - self.room + used))
            raise
        self.depth -= 1
        self.room -= used
        return written if self.room >= 0 else self.exhausted(before - self.room)

    def mixed_fields(self, values: dict[str, Any], owner: object) -> Raw:
        """Turn values of which one or more do not stand as they are."""
        plain, short, used, name = self.plain, self.short, len(values), ""
        before = self.deeper()
        written = values
        try:
            for name, value in values.items():
                kind = type(value)
                if kind in plain:
                    continue
                if kind is str and len(value) < short:
                    used += len(value)
                    continue
                raw = self.writers[kind](value, self)
                if raw is not value:
                    if written is values:
                        written = dict(values)
                    written[name] = raw
        except Refused as refused:
            refused.steps.append((step_of(name), values if owner is None else owner, before - self.room + used))
            raise
        self.depth -= 1
        self.room -= used
        return written if self.room >= 0 else self.exhausted(before - self.room)

    def pairs(self, values: dict[Any, Any]) -> Raw:
        """Turn a dict whose keys are more than strings into a list of pairs."""
        before = self.deeper()
        written: list[Raw] = []
        key: object = None
        try:
            for key, value in values.items():
                written.append([self.write(key), self.write(value)])
        except Refused as refused:
            refused.steps.append((step_of(key), values, before - self.room))
            raise
        self.depth -= 1
        self.room -= len(values)
        return written if self.room >= 0 else self.exhausted(before - self.room)

    def content(self, content: bytes) -> Raw:
        """Turn bytes into base64, or into a reference if they are to stand out of line."""
        size = len(content)
        if size < LONG:
            return binascii.b2a_base64(content, newline=False).decode("ascii")
        if size > self.limit:
            raise Oversized(size)
        name = digest(content)
        if name not in self.blobs:
            self.blobs = {**self.blobs, name: Blob(name, content)}
            self.room -= size
        return {"blob": name, "size": size}

    def deeper(self) -> int:
        """Open a container; tell the room that there was before."""
        if self.depth >= MAX_DEPTH:
            raise TooDeep
        self.depth += 1
        return self.room

    def exhausted(self, size: int) -> NoReturn:
        """Give up: a container of this size, in elements and characters, was one too many."""
        raise Oversized(size)

    def stand(self, values: Collection[Any]) -> bool:
        """Say whether all elements stand as they are, where a look at all at once is cheap."""
        if self.plain.issuperset(map(type, values)):
            self.room -= len(values)
            return self.room >= 0 or self.exhausted(len(values))
        kinds = set(map(type, values))
        if kinds == ONLY_STR:
            size = sum(map(len, values))
            if size >= self.short and max(map(len, values)) >= self.short:
                return False
            self.room -= size
            return self.room >= 0 or self.exhausted(size)
        return kinds == ONLY_FLOAT and all(map(isfinite, values))

    @property
    def held(self) -> int:
        """Count the bytes that stand out of line."""
        return sum(len(blob.content) for blob in self.blobs.values())


class Weighing(Writing):
    """A second walk over a value that came out too large: stops at the first part that is above the limit by itself."""

    def items(self, values: list[Any] | tuple[Any, ...], owner: object = None) -> Raw:
        """Turn the elements of a container, and weigh it."""
        held = self.held
        return self.weighed(super().items(values, owner), held)

    def fields(self, values: dict[str, Any], owner: object = None) -> Raw:
        """Turn the values of a dict, and weigh it."""
        held = self.held
        return self.weighed(super().fields(values, owner), held)

    def pairs(self, values: dict[Any, Any]) -> Raw:
        """Turn the pairs of a dict, and weigh it."""
        held = self.held
        return self.weighed(super().pairs(values), held)

    def weighed(self, raw: Raw, held: int) -> Raw:
        """Give the part back if it is not above the limit."""
        size = len(self.json(raw)) + self.held - held
        if size > self.limit:
            raise Oversized(size)
        return raw


class Reading:
    """One walk over decoded JSON: opens the envelopes, in place."""

    depth = 0

    def __init__(self, readers: Mapping[str, Reader], blobs: Callable[[str], bytes] | None, *, lenient: bool) -> None:
        self.readers = readers
        self.blobs = blobs
        self.lenient = lenient

    def read(self, raw: Raw) -> Any:
        """Turn decoded JSON back into the value that was written."""
        if type(raw) is dict:
            return self.open(raw) if "$" in raw else self.fields(raw)
        return self.items(raw) if type(raw) is list else raw

    def items(self, raw: list[Raw]) -> list[Any]:
        """Open the envelopes among the elements of a list."""
        if type(raw) is not list or self.depth > MAX_DEPTH:
            self.refuse(raw, "list")
        self.depth += 1
        for index, value in enumerate(raw):
            if type(value) is dict:
                raw[index] = self.open(value) if "$" in value else self.fields(value)
            elif type(value) is list:
                self.items(value)
        self.depth -= 1
        return raw

    def fields(self, raw: dict[str, Raw]) -> dict[str, Any]:
        """Open the envelopes among the values of a dict; its keys are taken as they are."""
        if type(raw) is not dict or self.depth > MAX_DEPTH:  # one more than `Writing`: it counts no plain container
            self.refuse(raw, "dict")
        self.depth += 1
        for name, value in raw.items():
            if type(value) is dict:
                raw[name] = self.open(value) if "$" in value else self.fields(value)
            elif type(value) is list:
                self.items(value)
        self.depth -= 1
        return raw

    def pairs(self, raw: list[Raw]) -> dict[Any, Any]:
        """Read a list of pairs as a dict."""
        if type(raw) is not list or self.depth > MAX_DEPTH:
            self.refuse(raw, "list")
        self.depth += 1
        values: dict[Any, Any] = {}
        for pair in raw:
            key, value = pair
            key = self.read(key)
            if type(value) is dict:
                values[key] = self.open(value) if "$" in value else self.fields(value)
            else:
                values[key] = self.items(value) if type(value) is list else value
        if len(values) != len(raw):
            raise DecodeError("a dict has one key twice")
        self.depth -= 1
        return values

    def open(self, raw: dict[str, Raw]) -> Any:
        """Open one envelope."""
        tag = raw["$"]
        reader = self.readers.get(tag)
        if len(raw) != 2 or "v" not in raw:  # noqa: PLR2004 - the tag and the content
            raise DecodeError('an envelope has the two keys "$" and "v"')
        if reader is not None:
            return reader(raw["v"], self)
        if type(tag) is not str:
            raise DecodeError(f"a tag is a string, not a {type(tag).__name__}")
        if self.lenient:
            return Unknown(tag, self.read(raw["v"]))
        raise DecodeError(f"no type has the tag {tag!r:.80}", hint="declare it with types=[...] or aliases=")

    def content(self, raw: Raw) -> bytes:
        """Read base64, or fetch and check what it refers to."""
        if type(raw) is str:
            return binascii.a2b_base64(raw, strict_mode=True)
        name = raw["blob"]
        if self.blobs is None:
            raise DecodeError(f"blob {name} is needed, and none was given")
        try:
            content = self.blobs(name)
        except KeyError:
            raise DecodeError(f"blob {name} is missing") from None
        if len(content) != raw["size"] or digest(content) != name:
            raise DecodeError(f"blob {name} is not what was written")
        return content

    def refuse(self, raw: Raw, kind: str) -> NoReturn:
        """Say why this is no container to go into."""
        if self.depth > MAX_DEPTH:
            raise DecodeError(f"more than {MAX_DEPTH} levels")
        raise DecodeError(f"a {kind} is expected, not a {type(raw).__name__}")


@dataclass(frozen=True, slots=True)
class Unknown:
    """A value whose type this codec does not know, as a tool without the definition shows it."""

    tag: str
    value: object

    def __hash__(self) -> int:
        """Hash the tag only: what stood in a set or as a key can stand there again, whatever it holds."""
        return hash(self.tag)
