"""The one way in which values become bytes and come back: canonical JSON, a closed registry of types, exact or refused.

One value has one text: dicts keep their own order, sets are written in the order of their bytes, and `decode` takes
nothing that `encode` would not have written (no key twice, no space, no other spelling of a number). What cannot be
kept exactly is refused before anything is stored, with its path. No pickle, no import by name: of what bytes say, only
the construction of registered types is ever called.

Two mentions of one mutable object become two objects, as in any JSON. `envelope.py` has the walk and its limits.
"""

import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from windlass.core.arrays import numpy_writer
from windlass.core.envelope import (
    ATOMS,
    CONTAINERS,
    SHORT,
    Blob,
    Raw,
    Reader,
    Reading,
    Unknown,
    Weighing,
    Writer,
    Writing,
    digest,
    from_json,
    to_json,
)
from windlass.core.errors import DecodeError, DefinitionError, ValueNotKept, ValueTooLarge, WindlassError
from windlass.core.kinds import READERS, WRITERS
from windlass.core.redact import NOTHING, Masking, Redact
from windlass.core.refusal import MAX_DEPTH, Oversized, Refused, name_of
from windlass.core.secret import LEAST, MASKS
from windlass.core.shapes import family_of, shape_of

__all__ = ["PLAIN", "Blob", "Codec", "Encoded", "Unknown", "digest"]

MAX_VALUE: Final = 16 * 1024 * 1024  # bytes (D28)
TAG_HINT: Final = "set __windlass_tag__ on a class to store it under another name"
ENVELOPE: Final = b'"$"'
KNOWN: Final = MASKS.known  # one look at it says whether there is anything to search for
NO_TYPES: Final[Mapping[str, type]] = MappingProxyType({})


class Encoded(NamedTuple):
    """A value as it is stored.

    Attributes:
        data: its JSON.
        frozen: it holds nothing that anybody could change, so that readers may share it; of a value in which something
            was masked, none may: what they get is what was kept.
        blobs: its contents that stand out of line.
    """

    data: bytes
    frozen: bool
    blobs: tuple[Blob, ...]


class Writers(dict[type, Writer]):
    """Who writes values of which exact type; a type of numpy's is taken in when it first comes by."""

    def __missing__(self, kind: type) -> Writer:
        """Take in a type of numpy's.

        Raises:
            Refused: it is another type.
        """
        writer = numpy_writer(kind)
        if writer is None:
            raise Refused(name_of(kind), hint=advice(kind))
        self[kind] = writer
        return writer


def advice(kind: type) -> str:
    """Say what to do about a value of a type that is not registered."""
    if issubclass(kind, BaseException):
        return "keep its text instead"
    if family_of(kind) is None:
        return "keep a plain value or a dataclass instead, and make the object from it where it is used"
    return "declare its type with types=[...]"


class Codec:
    """Writes values as bytes and reads them back, knowing the builtin kinds and the types it was given.

    Args:
        types: tag → type. A type that is there under several tags is written under the first.
        max_value: bytes that one value may have, out-of-line contents included.
        lenient: read a value of an unknown type as `Unknown`, for tools that do not have the definition.
        redact: what is masked in every value that it writes, beside known secrets.

    Raises:
        DefinitionError: a tag is that of a builtin kind, or values of a type cannot be kept exactly.
    """

    def __init__(
        self, types: Mapping[str, type] = NO_TYPES, *, max_value: int = MAX_VALUE, lenient: bool = False,
        redact: Redact = NOTHING,
    ) -> None:  # fmt: skip
        self._writers = Writers(WRITERS)
        self._readers: dict[str, Reader] = dict(READERS)
        self._types = dict(types)
        self.max_value = max_value
        self._lenient = lenient
        self.redact = redact
        self._masks = bool(redact)
        for tag, kind in types.items():
            if tag in READERS:
                raise DefinitionError(
                    "types.reserved",
                    f"{kind.__module__}.{kind.__qualname__}: the tag {tag!r} is that of a builtin kind",
                    hint=TAG_HINT,
                )
            shape = shape_of(kind, tag)
            self._writers.setdefault(kind, shape.write)
            self._readers[tag] = shape.read

    def widen(self, types: Mapping[str, type]) -> "Codec":
        """Return a codec that knows these types too; this one if it knows them all.

        Raises:
            DefinitionError: a tag stands for another type already.
        """
        fresh = {tag: kind for tag, kind in types.items() if self._types.get(tag) is not kind}
        for tag, kind in fresh.items():
            if tag in self._types:
                known = self._types[tag]
                said = f"{kind.__module__}.{kind.__qualname__} and {known.__module__}.{known.__qualname__}"
                raise DefinitionError("types.duplicate", f"{said} share the tag {tag!r}", hint=TAG_HINT)
        if not fresh:
            return self
        return Codec({**self._types, **fresh}, max_value=self.max_value, lenient=self._lenient, redact=self.redact)

    def also(self, other: "Codec") -> "Codec":
        """Return a codec that knows the types of another, too, and masks what that one masks.

        Raises:
            DefinitionError: one tag stands for two types.
        """
        wide = self.widen(other._types)  # noqa: SLF001 -- one of its own kind
        return wide.redacting(other.redact) if other.redact else wide

    def redacting(self, rules: Redact) -> "Codec":
        """Return a codec that masks what these rules say, too."""
        both = self.redact.also(rules)
        return Codec(self._types, max_value=self.max_value, lenient=self._lenient, redact=both)

    def encode(self, value: object, where: str = "value", *, handles: bool = False) -> Encoded:
        """Turn a value into the bytes that are stored, with marks in place of what may not be (D41).

        Args:
            where: what the value is called in an error's path.
            handles: the value is the arguments of a call: a Secret in it is kept as its name.

        Raises:
            ValueNotKept: something in it cannot be kept exactly; the path says where.
            ValueTooLarge: it is above `max_value`; the path names the part that is.
        """
        kind = type(value)
        if kind in ATOMS or (kind is str and len(value) < SHORT):  # type: ignore[arg-type]
            try:
                data = to_json(value)
            except ValueError:  # a lone surrogate, or more digits than Python spells
                pass
            else:
                if len(data) <= self.max_value:
                    encoded = tuple.__new__(Encoded, (data, True, ()))
                    return self._masked(encoded, where) if self._masks or (KNOWN and len(data) >= LEAST) else encoded
        walk = Writing(self._writers, self.max_value, handles=handles)
        try:
            data = to_json(self._writers[kind](value, walk))
        except (ValueError, Refused, RecursionError):
            encoded = self._encode(value, where, handles=handles)
        else:
            if walk.blobs or len(data) > self.max_value:
                encoded = self._finish(walk, data, value, where)
            else:
                encoded = tuple.__new__(Encoded, (data, walk.frozen, ()))
        return self._masked(encoded, where) if KNOWN or self._masks else encoded

    def rewrite(self, value: object, where: str) -> Encoded:
        """Turn a value that was read from the store into bytes again, as it is: what it was kept as, it stays.

        Raises:
            ValueNotKept, ValueTooLarge: as `encode`.
        """
        return self._encode(value, where)

    def mask(self, data: bytes, where: str) -> bytes:
        """Put marks into a value that was encoded elsewhere, without these rules.

        Raises:
            ValueNotKept: something that may not be kept stands where no mark can.
        """
        return self._masked(Encoded(data, frozen=False, blobs=()), where).data

    def mask_all(self, encoded: Encoded, where: str) -> Encoded:
        """Put marks into a value that was encoded elsewhere, as `mask` does, and into what of it stands out of line.

        Raises:
            ValueNotKept: as `mask`.
        """
        return self._masked(encoded, where)

    def decode(self, data: bytes, blobs: Callable[[str], bytes] | None = None, *, trusted: bool = False) -> Any:
        """Turn stored bytes back into the value.

        Args:
            blobs: fetches an out-of-line content by its digest; a `KeyError` of it means that there is none.
            trusted: this process wrote the bytes, or has compared them with their digest: they are not looked over.

        Raises:
            DecodeError: the bytes are not what `encode` writes, name an unknown type, or a blob is missing or changed.
        """
        try:
            raw = from_json(data)
            canonical = trusted or to_json(raw) == data
        except (ValueError, RecursionError) as error:
            raise DecodeError(f"these bytes are no value: {error}") from None
        if not canonical:
            raise DecodeError("these bytes are not as `encode` writes them: a key twice, a space, another spelling")
        if type(raw) not in CONTAINERS:
            return raw
        if ENVELOPE not in data:
            if not trusted and len(data) > 2 * MAX_DEPTH and data.count(b"[") + data.count(b"{") > MAX_DEPTH:
                refuse_depth(raw)
            return raw
        try:
            return Reading(self._readers, blobs, lenient=self._lenient).read(raw)
        except (WindlassError, MemoryError):
            raise
        except Exception as error:  # bytes may make a declared type's __hash__ or construction fail in any way
            raise DecodeError(f"these bytes are no value: {type(error).__name__}: {error}") from error

    def key(self, value: object, where: str = "arguments") -> bytes:
        """Give the bytes of a value for a digest: equal ones for dicts that differ in order only.

        Raises:
            ValueNotKept: something in it cannot be kept exactly.
        """
        return self._walk(value, where, ordered=True, handles=True)[1]

    def _masked(self, encoded: Encoded, where: str) -> Encoded:
        """Put marks into an encoded value, if anything in it may not be kept.

        Raises:
            ValueNotKept: it stands where no mark can: in a number of a record that refuses a text, say.
        """
        data, _, blobs = encoded
        is_known = bool(KNOWN) and MASKS.find(data)
        if blobs and KNOWN and not is_known:
            is_known = any(MASKS.find(blob.content) for blob in blobs)
        if not is_known and not self._masks:
            return encoded
        rules, root = self.redact, where.partition("[")[0].removeprefix("edits.")
        label = rules.label(root) if "#" not in root else ""  # a channel's name is that of a field
        if not (label or is_known or rules.suspects(data)):
            return encoded
        writing = Writing(self._writers, self.max_value)
        contents = {blob.digest: blob.content for blob in blobs}
        masking = Masking(rules, self._family, contents, writing)
        raw = from_json(data)
        new = to_json(masking.named(root, raw) if label else masking.value(raw))
        if new == data and not is_known:
            return encoded
        MASKS.hits += 1
        kept = (*(blob for blob in blobs if blob.digest.encode() in new), *writing.blobs.values())
        contents |= {blob.digest: blob.content for blob in kept}
        if any(map(MASKS.find, (new, *(blob.content for blob in kept)))):
            raise ValueNotKept(where, "what holds a secret where it cannot be masked", hint="keep it out of this value")
        try:
            self.decode(new, contents.__getitem__, trusted=True)
        except WindlassError:
            raise ValueNotKept(
                where, "what cannot be masked", hint="let the type take a text where a rule or a secret puts a mark"
            ) from None
        return Encoded(new, frozen=False, blobs=kept)

    def _family(self, tag: str) -> str:
        kind = self._types.get(tag)
        return "" if kind is None else family_of(kind) or ""

    def _encode(self, value: object, where: str, *, handles: bool = False) -> Encoded:
        return self._finish(*self._walk(value, where, handles=handles), value, where)

    def _finish(self, walk: Writing, data: bytes, value: object, where: str) -> Encoded:
        size = len(data) + walk.held
        if size > self.max_value:
            self._walk(value, where, Weighing, handles=walk.handles)
            raise ValueTooLarge(where, size, self.max_value)
        return tuple.__new__(Encoded, (data, walk.frozen, tuple(walk.blobs.values())))

    def _walk(
        self, value: object, where: str, walking: type[Writing] = Writing, *, ordered: bool = False,
        handles: bool = False,
    ) -> tuple[Writing, bytes]:  # fmt: skip
        """Walk over the value, trusting its strings and integers; once more with care if JSON refuses one of them."""
        limit = sys.maxsize if ordered else self.max_value
        try:
            try:
                return written(value, walking(self._writers, limit, ordered=ordered, handles=handles))
            except ValueError:
                careful = walking(self._writers, limit, careful=True, ordered=ordered, handles=handles)
                return written(value, careful)
        except Oversized as refused:
            raise ValueTooLarge(*refused.largest(where, limit), limit) from None
        except Refused as refused:
            path = refused.path(where)
            raise ValueNotKept(path, refused.kind, hint=refused.hint) from None
        except RecursionError:
            raise ValueNotKept(where, "a structure too deep for what is left of the stack", hint="") from None


def written(value: object, walk: Writing) -> tuple[Writing, bytes]:
    """Walk over the value and write it."""
    return walk, walk.json(walk.write(value))


def refuse_depth(raw: Raw) -> None:
    """Refuse plain JSON of more levels than a value may have.

    Raises:
        DecodeError: it is that deep.
    """
    level = [raw]
    for _ in range(MAX_DEPTH):
        parts = (part for whole in level for part in (whole.values() if type(whole) is dict else whole))
        level = [part for part in parts if type(part) is dict or type(part) is list]
        if not level:
            return
    raise DecodeError(f"these bytes are no value: more than {MAX_DEPTH} levels")


PLAIN: Final = Codec()
