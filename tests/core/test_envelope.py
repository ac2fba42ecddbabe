"""What cannot be kept is refused with its path: strangers, cycles, depth, size."""

import tracemalloc
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, tzinfo
from typing import Any

import numpy as np
import pytest

from tests.core.values import CODEC, TYPES, Cell, Pair, Point, Row, no_blobs, round_trip, same, stored
from windlass.core.codec import PLAIN, Codec, digest
from windlass.core.errors import DecodeError, ValueNotKept, ValueTooLarge
from windlass.core.refusal import MAX_DEPTH


class Text(str):
    __slots__ = ()


class Stranger:
    pass


class Elsewhere(tzinfo):
    def utcoffset(self, when: datetime | None, /) -> timedelta:
        return timedelta(hours=1)

    def dst(self, when: datetime | None, /) -> None:
        return None

    def tzname(self, when: datetime | None, /) -> str:
        return "elsewhere"


def generator() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (Stranger(), "value: Stranger is not a value that can be kept"),
        ({"a": [0, 0, 0, {"b": Stranger()}]}, "value.a[3].b: Stranger is not a value that can be kept"),
        ({"a b": (Stranger(),)}, "value['a b'][0]: Stranger is not"),
        ({7: Stranger()}, "value[7]: Stranger is not"),
        ({(1, Stranger()): 0}, "value[a tuple key][1]: Stranger is not"),
        ([Point(1, Stranger())], "value[0].y: Stranger is not"),
        (Cell(1, [Stranger()]), "value.notes[0]: Stranger is not"),
        (Pair(Stranger(), 1), "value.left: Stranger is not"),
        (Row(1, [Stranger()]), "value.b[0]: Stranger is not"),
        (["\ud800", Stranger()], "value[1]: Stranger is not"),
        ({"s": {Point(Stranger())}}, "value.s{*}.x: Stranger is not"),
        ([Text("a")], "value[0]: Text is not"),
        ([ValueError("x")], "value[0]: ValueError is not"),
        ([generator()], "value[0]: generator is not"),
        ([Stranger], "value[0]: type is not"),
        ([len], "value[0]: builtin_function_or_method is not"),
        ([np.array([object()])], "value[0]: ndarray of dtype object is not"),
        ([np.longdouble(1)], "value[0]: numpy.longdouble is not"),
        ([np.zeros(1, "i4,f4")], "value[0]: ndarray of dtype"),
        ([datetime(2024, 1, 1, tzinfo=Elsewhere())], "value[0]: datetime with a tzinfo of type Elsewhere is not"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_its_path(value: object, said: str) -> None:
    with pytest.raises(ValueNotKept) as caught:
        CODEC.encode(value)
    assert said in str(caught.value)
    with pytest.raises(ValueNotKept):
        CODEC.key(value)


def test_the_path_starts_with_what_the_caller_names() -> None:
    with pytest.raises(ValueNotKept) as caught:
        PLAIN.encode({"a": [Stranger()]}, "state")
    assert caught.value.path == "state.a[0]"


def test_the_hint_says_whether_declaring_the_type_would_help() -> None:
    with pytest.raises(ValueNotKept, match=r"types=\[\.\.\.\]"):
        PLAIN.encode(Point(1))
    with pytest.raises(ValueNotKept, match="keep a plain value"):
        PLAIN.encode(Stranger())


def cycles() -> dict[str, tuple[Any, str]]:
    plain: list[Any] = [0]
    plain.append(plain)
    named: dict[str, Any] = {"a": {}}
    named["a"]["b"] = [named]
    keyed: dict[int, Any] = {}
    keyed[1] = (keyed,)
    cell = Cell(1)
    cell.notes.append({"again": cell})
    return {
        "list": (plain, "value[1]: a list that contains itself is not"),
        "dict": (named, "value.a.b[0]: a dict that contains itself is not"),
        "keyed": (keyed, "value[1][0]: a dict that contains itself is not"),
        "dataclass": (cell, "value.notes[0].again: a Cell that contains itself is not"),
    }


@pytest.mark.parametrize("name", cycles())
def test_a_cycle_is_refused_where_it_closes(name: str) -> None:
    value, said = cycles()[name]
    with pytest.raises(ValueNotKept) as caught:
        CODEC.encode(value)
    assert said in str(caught.value)


NESTS: dict[str, Callable[[Any], Any]] = {
    "list": lambda inner: [inner],
    "tuple": lambda inner: (inner,),
    "dict": lambda inner: {"a": inner},
    "pairs": lambda inner: {1: inner},
    "dataclass": Point,
    "struct": Row,
    "named tuple": lambda inner: Pair(inner, 0),
}


@pytest.mark.parametrize("name", NESTS)
def test_depth_is_kept_up_to_the_limit_and_refused_beyond(name: str) -> None:
    value: Any = 0
    for _ in range(MAX_DEPTH):
        value = NESTS[name](value)
    assert CODEC.encode(round_trip(CODEC, value)) == CODEC.encode(value)
    for _ in range(2000):
        value = NESTS[name](value)
    with pytest.raises(ValueNotKept, match="a structure of more than 200 levels"):
        CODEC.encode(value)


def test_shared_parts_that_would_grow_without_end_are_refused_early() -> None:
    value: Any = ["x" * 1000]
    for _ in range(60):
        value = [value, value]
    with pytest.raises(ValueTooLarge):
        Codec(max_value=10_000).encode(value)
    with pytest.raises(ValueTooLarge):
        Codec(max_value=10_000).encode(["x" * 1000] * 10**6)


# Sizes


@pytest.mark.parametrize(
    "content",
    ["x" * 70_000, "é" * 40_000, "\ud800" * 30_000, b"x" * 70_000, bytearray(70_000), np.arange(9000.0)],
    ids=["str", "two bytes each", "surrogates", "bytes", "bytearray", "ndarray"],
)
def test_a_long_content_stands_out_of_line(content: Any) -> None:
    value = {"a": [content], "b": content, "c": [content, 1] * 8}
    encoded = PLAIN.encode(value)
    assert len(encoded.data) < 3000
    assert [blob.digest for blob in encoded.blobs] == [digest(encoded.blobs[0].content)]
    assert same(PLAIN.decode(encoded.data, stored(encoded)), value)


def test_a_string_of_just_less_than_the_limit_stands_in_line() -> None:
    assert not PLAIN.encode("x" * (64 * 1024 - 1)).blobs
    assert PLAIN.encode("x" * (64 * 1024)).blobs


def test_a_blob_that_is_missing_or_changed_is_an_error() -> None:
    encoded = PLAIN.encode(b"x" * 70_000)
    with pytest.raises(DecodeError, match="none was given"):
        PLAIN.decode(encoded.data)
    with pytest.raises(DecodeError, match="is missing"):
        PLAIN.decode(encoded.data, no_blobs)
    with pytest.raises(DecodeError, match="not what was written"):
        PLAIN.decode(encoded.data, lambda _digest: b"y" * 70_000)


def test_the_copy_of_a_mutable_content_does_not_change_with_it() -> None:
    content = bytearray(b"x" * 70_000)
    encoded = PLAIN.encode(content)
    content[0] = 0
    assert PLAIN.decode(encoded.data, stored(encoded)) == b"x" * 70_000


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("x" * 2000, "state"),
        (b"x" * 200_000, "state"),
        ({"a": 1, "b": {"c": [b"x", b"y" * 200_000]}}, "state.b.c[1]"),
        ({"a": 1, "text": "x" * 80_000}, "state.text"),
        ({"few": [1], "many": list(range(1000))}, "state.many"),
        ({"few": [1], "many": [{"n": n} for n in range(1000)]}, "state.many"),
        ({"few": [1], "many": [{"n": n} for n in range(100_000)]}, "state.many"),
        ([Point("x" * 400), Point(["x" * 500, "y" * 600])], "state[1].x"),
        ({1: ["x" * 600] * 2}, "state[1]"),
        ([bytes([n]) * 400 for n in range(9)], "state"),
    ],
    ids=range(10),
)
def test_too_large_a_value_is_refused_with_the_part_that_is(value: object, path: str) -> None:
    with pytest.raises(ValueTooLarge) as caught:
        Codec(TYPES, max_value=1000).encode(value, "state")
    assert caught.value.path == path
    assert caught.value.size > 1000


def test_a_value_of_exactly_the_limit_is_kept() -> None:
    assert Codec(max_value=1000).encode("x" * 998).data
    with pytest.raises(ValueTooLarge):
        Codec(max_value=1000).encode("x" * 999)
    with pytest.raises(ValueTooLarge):
        Codec(max_value=3).encode([None])


@pytest.mark.parametrize("make", [bytes, bytearray, lambda size: "x" * size, lambda size: np.ones(size, "u1")])
def test_a_large_value_takes_at_most_three_times_its_size(make: Callable[[int], object]) -> None:
    size = 30_000_000
    codec = Codec(max_value=2 * size)
    tracemalloc.start()
    try:
        value = {"large": make(size)}
        encoded = codec.encode(value)
        again = codec.decode(encoded.data, {blob.digest: blob.content for blob in encoded.blobs}.__getitem__)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert same(again, value)
    assert peak <= 3 * size + 1_000_000
