"""Values of every kind, and how to tell that one came back exactly."""

import enum
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
import numpy as np
from hypothesis import strategies as st

from windlass.core.codec import Codec, Encoded


class Color(enum.Enum):
    RED = "r"
    GREEN = ("g",)


@dataclass(frozen=True)
class Point:
    x: Any
    y: Any = None


@dataclass
class Cell:
    content: Any
    notes: list[Any] = field(default_factory=list)


class Pair(NamedTuple):
    left: Any
    right: Any


class Row(msgspec.Struct, frozen=True):
    a: Any
    b: Any = 0


TYPES = {kind.__name__: kind for kind in (Color, Point, Cell, Pair, Row)}
CODEC = Codec(TYPES)


def same(one: Any, other: Any) -> bool:
    """Tell 1 from True and 1.0, 0.0 from -0.0, a tuple from a list, and one order of a dict from another."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return struct.pack("d", one) == struct.pack("d", other) or (math.isnan(one) and math.isnan(other))
    if isinstance(one, complex):
        return same([one.real, one.imag], [other.real, other.imag])
    if isinstance(one, Decimal):
        return str(one) == str(other)
    if isinstance(one, datetime | time):
        zones = [(type(when.tzinfo), str(when.tzinfo), when.fold) for when in (one, other)]
        return zones[0] == zones[1] and one.replace(tzinfo=None) == other.replace(tzinfo=None)
    if isinstance(one, set | frozenset):
        return len(one) == len(other) and all(any(same(a, b) for b in other) for a in one)
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    if isinstance(one, Point | Cell | Row):
        names = one.__struct_fields__ if isinstance(one, Row) else tuple(vars(one))
        return all(same(getattr(one, name), getattr(other, name)) for name in names)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray):
        return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    return bool(one == other)


def mutable_inside(value: Any) -> bool:
    if isinstance(value, list | dict | set | bytearray | np.ndarray | Cell):
        return True
    if isinstance(value, tuple | frozenset):
        return any(map(mutable_inside, value))
    if isinstance(value, Point):
        return mutable_inside(value.x) or mutable_inside(value.y)
    return isinstance(value, Row) and (mutable_inside(value.a) or mutable_inside(value.b))


def stored(encoded: Encoded) -> Callable[[str], bytes]:
    return {blob.digest: bytes(blob.content) for blob in encoded.blobs}.__getitem__


def round_trip(codec: Codec, value: object) -> Any:
    encoded = codec.encode(value)
    return codec.decode(encoded.data, stored(encoded))


ANY_TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates too
FIXED_ZONES = st.builds(
    timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23)), st.sampled_from(["", "CET", "UTC+01:00"])
)
ZONES: st.SearchStrategy[tzinfo | None] = st.one_of(st.none(), st.just(UTC), FIXED_ZONES, st.timezones())
FOLDS = st.integers(0, 1)
HASHABLE_ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.complex_numbers(),
    ANY_TEXT,
    st.binary(),
    st.uuids(),
    st.decimals().filter(lambda number: not number.is_snan()),
    st.dates(),
    st.timedeltas(),
    st.builds(lambda when, fold: when.replace(fold=fold), st.datetimes(timezones=ZONES), FOLDS),
    st.builds(lambda when, fold: when.replace(fold=fold), st.times(timezones=ZONES), FOLDS),
    st.builds(range, st.integers(), st.integers(), st.integers(1)),
    st.sampled_from(Color),
)
ATOMS = st.one_of(
    HASHABLE_ATOMS,
    st.builds(bytearray, st.binary()),
    st.just(Decimal("sNaN")),
    st.sampled_from(
        [
            np.float32(1.5),
            np.int64(-7),
            np.bool_(1),
            np.float64(0.1),
            np.complex128(1j),
            np.bytes_(b"a\0"),
            np.timedelta64(3, "us"),
            np.datetime64("2024-01-01"),
            np.str_("a\0"),
        ]
    ),
    st.builds(np.array, st.lists(st.integers(0, 9)), st.sampled_from(["<i2", ">f8", "U3"])),
)
HASHABLES: st.SearchStrategy[Any] = st.deferred(
    lambda: st.one_of(
        HASHABLE_ATOMS,
        st.lists(HASHABLES, max_size=3).map(tuple),
        st.frozensets(HASHABLES, max_size=3),
        st.builds(Point, HASHABLES, HASHABLES),
    )
)
VALUES: st.SearchStrategy[Any] = st.deferred(
    lambda: st.one_of(
        ATOMS,
        st.lists(ATOMS, max_size=12),
        st.lists(VALUES, max_size=4),
        st.lists(VALUES, max_size=4).map(tuple),
        st.sets(HASHABLES, max_size=4),
        st.frozensets(HASHABLES, max_size=4),
        st.dictionaries(ANY_TEXT | st.sampled_from(["$", "v"]), VALUES, max_size=4),
        st.dictionaries(HASHABLES, VALUES, max_size=3),
        st.builds(Point, VALUES, VALUES),
        st.builds(Cell, VALUES, st.lists(VALUES, max_size=2)),
        st.builds(Pair, VALUES, VALUES),
        st.builds(Row, VALUES),
    )
)


def no_blobs(digest: str) -> bytes:
    raise KeyError(digest)
