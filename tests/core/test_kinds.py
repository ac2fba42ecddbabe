"""What Python brings is written in one way only, and nothing that other formats change is changed."""

import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from tests.core.values import CODEC, Point, round_trip, same
from windlass.core.codec import PLAIN


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (-5, "-5"),
        (2**64, "18446744073709551616"),
        (1.0, "1.0"),
        (1e22, "1e22"),
        ("a\0é\u2028", '"a\\u0000é\u2028"'),
        ([1, [2.5]], "[1,[2.5]]"),
        ({"b": 1, "a": {"v": 2}}, '{"b":1,"a":{"v":2}}'),
        ((1, 2), '{"$":"tuple","v":[1,2]}'),
        ({"$": 1}, '{"$":"dict","v":[["$",1]]}'),
        ({1: "x", None: 2}, '{"$":"dict","v":[[1,"x"],[null,2]]}'),
        ({3, 10, 2}, '{"$":"set","v":[10,2,3]}'),
        (frozenset(), '{"$":"frozenset","v":[]}'),
        (b"hi", '{"$":"bytes","v":"aGk="}'),
        (bytearray(b"hi"), '{"$":"bytearray","v":"aGk="}'),
        (math.nan, '{"$":"float","v":"nan"}'),
        (-math.inf, '{"$":"float","v":"-inf"}'),
        (1 + 2j, '{"$":"complex","v":[1.0,2.0]}'),
        ("\ud800", '{"$":"str","v":"7aCA"}'),
        (Decimal("1.50"), '{"$":"decimal","v":"1.50"}'),
        (range(1, 9, 2), '{"$":"range","v":[1,9,2]}'),
        (UUID(int=1), '{"$":"uuid","v":"00000000-0000-0000-0000-000000000001"}'),
        (date(2024, 2, 29), '{"$":"date","v":"2024-02-29"}'),
        (datetime(2024, 1, 2, 3, 4, tzinfo=UTC), '{"$":"datetime","v":"2024-01-02T03:04:00+00:00"}'),
        (
            datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
            '{"$":"datetime","v":{"at":"2024-10-27T02:30:00","fold":1,"zone":"Europe/Berlin"}}',
        ),
        (time(3, 4), '{"$":"time","v":"03:04:00"}'),
        (timedelta(days=-1, seconds=3), '{"$":"timedelta","v":[-1,3,0]}'),
        (np.array([[1, 2]], "<i2"), '{"$":"ndarray","v":{"dtype":"<i2","shape":[1,2],"data":"AQACAA=="}}'),
        (np.float32(1), '{"$":"numpy","v":{"dtype":"<f4","data":"AACAPw=="}}'),
    ],
)
def test_the_stored_text_of_each_kind_never_changes(value: object, text: str) -> None:
    assert CODEC.encode(value).data.decode() == text
    assert same(CODEC.decode(text.encode()), value)


def test_an_integer_of_more_digits_than_python_spells_is_kept_in_hexadecimal() -> None:
    assert PLAIN.encode(10**4299).data == str(10**4299).encode()
    assert PLAIN.encode([-(10**5000)]).data.startswith(b'[{"$":"int","v":"-0x')
    assert round_trip(PLAIN, [-(10**5000)]) == [-(10**5000)]


HARD = {  # F33: what stores, JSON columns and other codecs change or refuse
    "nan": math.nan,
    "infinity": math.inf,
    "minus infinity": -math.inf,
    "minus zero": -0.0,
    "smallest float": 5e-324,
    "largest float": 1.7976931348623157e308,
    "integral float": 1e16,
    "2**53+1": 2**53 + 1,
    "2**63": 2**63,
    "-2**63-1": -(2**63) - 1,
    "2**64": 2**64,
    "huge integer": 3**9000,
    "lone surrogate": "a\udfff",
    "surrogate pair as two": "\ud83d\ude00",
    "NUL": "a\0b",
    "quote and backslash": '"\\"$"',
    "line separator": "\u2028",
    "not normalised": "e\u0301",
    "beyond the BMP": "\U0001f600",
    "integer key": {1: "a"},
    "keys that JSON merges": {1: "a", "1": "b"},
    "tuple key": {(1, "a"): 1},
    "surrogate key": {"\ud800": 1},
    "dollar key": {"$": "tuple", "v": [1]},
    "order of keys": {"b": 1, "a": 2},
    "tuple": (1, (2,)),
    "empty tuple": (),
    "set": {1, "a", (2,)},
    "bytes": b"\x00\xff",
    "boolean": [True, 1],
    "signalling nan": Decimal("sNaN123"),
    "decimal zeros": Decimal("-0.00"),
    "deep": [[[[{"a": [()]}]]]],
}


@pytest.mark.parametrize("where", ["alone", "in a list", "as a value", "in a dataclass"])
@pytest.mark.parametrize("name", HARD)
def test_what_others_change_is_kept(name: str, where: str) -> None:
    value = {
        "alone": HARD[name],
        "in a list": [0, HARD[name], "z"],
        "as a value": {"k": HARD[name]},
        "in a dataclass": Point(HARD[name]),
    }[where]
    encoded = CODEC.encode(value)
    assert same(CODEC.decode(encoded.data), value)
    encoded.data.decode("utf-8")  # any store's text column would take it
