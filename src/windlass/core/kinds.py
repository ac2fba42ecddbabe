"""The kinds of value that Python brings: how each is written into its envelope and read back, exactly.

Lists, dicts with string keys, strings, booleans, None, finite floats and integers up to 4,300 digits stand as JSON. All
else has a tag of the tables at the end, which are closed: no type is ever looked up by a name found in stored bytes.
"""

import sys
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from importlib import import_module
from math import isfinite
from typing import Any, Final
from uuid import UUID

import msgspec

from windlass.core.arrays import ARRAY_READERS
from windlass.core.envelope import (
    LONG,
    ONLY_STR,
    Raw,
    Reader,
    Reading,
    Writer,
    Writing,
    expect,
    same,
    to_json,
    wrap,
)
from windlass.core.errors import DecodeError
from windlass.core.refusal import Refused, name_of
from windlass.core.secret import Secret, declared

# Numbers


def write_int(value: int, _walk: Writing) -> Raw:
    """Write an integer; as hexadecimal when it has more digits than Python would spell in decimal."""
    try:
        to_json(value)
    except ValueError:
        return wrap("int", hex(value))
    return value


def read_int(raw: Raw, _walk: Reading) -> int:
    """Read an integer from hexadecimal."""
    value = int(raw, 16)
    same(raw, hex(value))
    return value


def write_float(value: float, _walk: Writing) -> Raw:
    """Write a float; NaN and the infinities have no JSON. There is one NaN: its sign and payload are not kept."""
    return value if isfinite(value) else wrap("float", repr(value))


def read_float(raw: Raw, _walk: Reading) -> float:
    """Read one of the three floats that JSON has not."""
    if raw not in ("nan", "inf", "-inf"):
        raise DecodeError(f"{raw!r:.60} is not a float that needs a tag")
    return float(raw)


def write_complex(value: complex, walk: Writing) -> Raw:
    """Write a complex number as its two parts."""
    return wrap("complex", [write_float(value.real, walk), write_float(value.imag, walk)])


def read_complex(raw: Raw, walk: Reading) -> complex:
    """Read a complex number."""
    real, imaginary = walk.items(raw)
    if type(real) is not float or type(imaginary) is not float:
        raise DecodeError("a complex number has two floats")
    return complex(real, imaginary)


def write_decimal(value: Decimal, _walk: Writing) -> Raw:
    """Write a decimal as its text, which keeps exponent, trailing zeros and the kind of NaN."""
    return wrap("decimal", str(value))


def read_decimal(raw: Raw, _walk: Reading) -> Decimal:
    """Read a decimal."""
    value = Decimal(expect(raw, str))
    same(raw, str(value))
    return value


def write_range(value: range, walk: Writing) -> Raw:
    """Write a range as start, stop and step."""
    return wrap("range", [walk.write(part) for part in (value.start, value.stop, value.step)])


def read_range(raw: Raw, walk: Reading) -> range:
    """Read a range."""
    start, stop, step = walk.items(raw)
    return range(start, stop, step)


# Text and bytes


def write_str(value: str, walk: Writing) -> Raw:
    """Write a string: as it is, out of line when it is long, in base64 when UTF-8 has no form for it."""
    try:
        content = value.encode()
    except UnicodeEncodeError:
        return wrap("str", walk.content(value.encode("utf-8", "surrogatepass")))
    return value if len(content) < LONG else wrap("str", walk.content(content))


def read_str(raw: Raw, walk: Reading) -> str:
    """Read a string that is long or holds a lone surrogate."""
    return str(walk.content(raw), "utf-8", "surrogatepass")


def write_bytes(value: bytes, walk: Writing) -> Raw:
    """Write bytes; long ones are handed on as they are, not copied."""
    return wrap("bytes", walk.content(value))


def read_bytes(raw: Raw, walk: Reading) -> bytes:
    """Read bytes."""
    return bytes(walk.content(raw))


def write_bytearray(value: bytearray, walk: Writing) -> Raw:
    """Write a bytearray from a copy: its owner may change it before the store has it."""
    walk.frozen = False
    return wrap("bytearray", walk.content(bytes(value)))


def read_bytearray(raw: Raw, walk: Reading) -> bytearray:
    """Read a bytearray."""
    return bytearray(walk.content(raw))


# Containers


def write_list(value: list[Any], walk: Writing) -> Raw:
    """Write a list."""
    walk.frozen = False
    return walk.items(value)


def write_tuple(value: tuple[Any, ...], walk: Writing) -> Raw:
    """Write a tuple."""
    return wrap("tuple", walk.items(value))


def read_tuple(raw: Raw, walk: Reading) -> tuple[Any, ...]:
    """Read a tuple."""
    return tuple(walk.items(raw))


def write_set(value: set[Any], walk: Writing) -> Raw:
    """Write a set in the order of its elements' bytes, the only one that two processes agree on."""
    walk.frozen = False
    return wrap("set", sorted(walk.items(tuple(value), value), key=walk.json))


def read_set(raw: Raw, walk: Reading) -> set[Any]:
    """Read a set."""
    values = set(walk.items(raw))
    if len(values) != len(raw):
        raise DecodeError("a set has one element twice")
    return values


def write_frozenset(value: frozenset[Any], walk: Writing) -> Raw:
    """Write a frozenset as a set is written."""
    return wrap("frozenset", sorted(walk.items(tuple(value), value), key=walk.json))


def read_frozenset(raw: Raw, walk: Reading) -> frozenset[Any]:
    """Read a frozenset."""
    values = frozenset(walk.items(raw))
    if len(values) != len(raw):
        raise DecodeError("a frozenset has one element twice")
    return values


def write_dict(value: dict[Any, Any], walk: Writing) -> Raw:
    """Write a dict: as a JSON object if its keys allow it, else as pairs; in its own order either way."""
    walk.frozen = False
    if ONLY_STR.issuperset(map(type, value)) and "$" not in value and (walk.short or utf8("".join(value))):
        return walk.fields(value)
    pairs = walk.pairs(value)
    return wrap("dict", sorted(pairs, key=walk.json) if walk.ordered else pairs)


def read_pairs(raw: Raw, walk: Reading) -> dict[Any, Any]:
    """Read a dict whose keys JSON could not have."""
    return walk.pairs(raw)


def utf8(text: str) -> bool:
    """Say whether the text has no lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# Dates and times


def write_date(value: date, _walk: Writing) -> Raw:
    """Write a date."""
    return wrap("date", value.isoformat())


def read_date(raw: Raw, _walk: Reading) -> date:
    """Read a date."""
    value = date.fromisoformat(raw)
    same(raw, value.isoformat())
    return value


def write_datetime(value: datetime, walk: Writing) -> Raw:
    """Write a point in time with its zone (a named zone by its key, not by today's offset) and its fold."""
    return wrap("datetime", zoned(value, walk))


def write_time(value: time, walk: Writing) -> Raw:
    """Write a time of day with its zone and its fold."""
    return wrap("time", zoned(value, walk))


def zoned(value: datetime | time, walk: Writing) -> Raw:
    """Spell a time in ISO 8601; one whose zone or fold would be lost there, in parts."""
    zone = value.tzinfo
    if not value.fold and (zone is None or zone is UTC or (type(zone) is timezone and nameless(zone))):
        return value.isoformat()
    parts: dict[str, Raw] = {"at": value.replace(tzinfo=None, fold=0).isoformat()}
    if value.fold:
        parts["fold"] = 1
    if type(zone) is timezone:
        offset = zone.utcoffset(None)
        parts["offset"] = [offset.days, offset.seconds, offset.microseconds]
        if not nameless(zone):
            parts["name"] = walk.write(zone.tzname(None))
    elif zone is not None:
        zoneinfo = sys.modules.get("zoneinfo")
        key = zone.key if zoneinfo is not None and type(zone) is zoneinfo.ZoneInfo else None  # type: ignore[attr-defined]
        if key is None:
            kind = f"{name_of(type(value))} with a tzinfo of type {name_of(type(zone))}"
            raise Refused(kind, hint="use datetime.timezone or a zoneinfo.ZoneInfo with a key")
        parts["zone"] = key
    return parts


def nameless(zone: timezone) -> bool:
    """Say whether the zone's name is just its offset."""
    return zone.tzname(None) == timezone(zone.utcoffset(None)).tzname(None)


def read_datetime(raw: Raw, walk: Reading) -> datetime:
    """Read a point in time."""
    if type(raw) is dict:
        return datetime.fromisoformat(raw["at"]).replace(tzinfo=zone_of(raw, walk), fold=raw.get("fold", 0))
    value = datetime.fromisoformat(raw)
    same(raw, value.isoformat())
    return value


def read_time(raw: Raw, walk: Reading) -> time:
    """Read a time of day."""
    if type(raw) is dict:
        return time.fromisoformat(raw["at"]).replace(tzinfo=zone_of(raw, walk), fold=raw.get("fold", 0))
    value = time.fromisoformat(raw)
    same(raw, value.isoformat())
    return value


def zone_of(parts: dict[str, Raw], walk: Reading) -> Any:
    """Read the zone out of the parts."""
    if "zone" in parts:
        return import_module("zoneinfo").ZoneInfo(parts["zone"])
    if "offset" not in parts:
        return None
    days, seconds, microseconds = parts["offset"]
    offset = timedelta(days, seconds, microseconds)
    return timezone(offset, walk.read(parts["name"])) if "name" in parts else timezone(offset)


def write_timedelta(value: timedelta, _walk: Writing) -> Raw:
    """Write a duration as days, seconds and microseconds."""
    return wrap("timedelta", [value.days, value.seconds, value.microseconds])


def read_timedelta(raw: Raw, _walk: Reading) -> timedelta:
    """Read a duration."""
    days, seconds, microseconds = (expect(part, int) for part in raw)
    return timedelta(days, seconds, microseconds)


# The rest


def write_uuid(value: UUID, _walk: Writing) -> Raw:
    """Write a UUID."""
    return wrap("uuid", str(value))


def read_uuid(raw: Raw, _walk: Reading) -> UUID:
    """Read a UUID."""
    value = UUID(expect(raw, str))
    same(raw, str(value))
    return value


def write_secret(value: Secret, walk: Writing) -> Raw:
    """Write a secret's name, where it is an argument of a call; as a value it is refused."""
    if not walk.handles:
        raise Refused("a Secret", hint="give the Secret itself to the call that needs it; its value is never kept")
    return wrap("secret", value.name)


def read_secret(raw: Raw, _walk: Reading) -> Secret:
    """Read a secret's name: the handle that this process has of it, if any."""
    return declared(expect(raw, str))


def write_unset(_value: msgspec.UnsetType, _walk: Writing) -> Raw:
    """Write the mark of a struct's field that was not given."""
    return wrap("unset", None)


def read_unset(_raw: Raw, _walk: Reading) -> msgspec.UnsetType:
    """Read the mark of a field that was not given."""
    return msgspec.UNSET


WRITERS: Final[dict[type, Writer]] = {
    int: write_int,
    float: write_float,
    complex: write_complex,
    Decimal: write_decimal,
    range: write_range,
    str: write_str,
    bytes: write_bytes,
    bytearray: write_bytearray,
    list: write_list,
    tuple: write_tuple,
    set: write_set,
    frozenset: write_frozenset,
    dict: write_dict,
    date: write_date,
    datetime: write_datetime,
    time: write_time,
    timedelta: write_timedelta,
    UUID: write_uuid,
    msgspec.UnsetType: write_unset,
    Secret: write_secret,
}

READERS: Final[dict[str, Reader]] = {
    "int": read_int,
    "float": read_float,
    "complex": read_complex,
    "decimal": read_decimal,
    "range": read_range,
    "str": read_str,
    "bytes": read_bytes,
    "bytearray": read_bytearray,
    "tuple": read_tuple,
    "set": read_set,
    "frozenset": read_frozenset,
    "dict": read_pairs,
    "date": read_date,
    "datetime": read_datetime,
    "time": read_time,
    "timedelta": read_timedelta,
    "uuid": read_uuid,
    "unset": read_unset,
    "secret": read_secret,
    **ARRAY_READERS,
}
