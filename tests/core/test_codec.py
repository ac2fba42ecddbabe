"""Values become bytes and come back exactly, and bytes become a value or an error."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.values import (
    CODEC,
    HASHABLES,
    VALUES,
    Color,
    Point,
    Row,
    mutable_inside,
    no_blobs,
    round_trip,
    same,
    stored,
)
from windlass.core.codec import PLAIN, Codec, Unknown
from windlass.core.errors import DecodeError, DefinitionError, ValueTooLarge


@given(VALUES)
def test_every_value_comes_back_exactly(value: object) -> None:
    encoded = CODEC.encode(value)
    again = CODEC.decode(encoded.data, stored(encoded))
    assert same(value, again)
    assert CODEC.encode(again) == encoded


@given(VALUES)
def test_what_is_called_frozen_holds_nothing_mutable(value: object) -> None:
    if CODEC.encode(value).frozen:
        assert not mutable_inside(value)


@given(HASHABLES)
def test_what_holds_nothing_mutable_is_called_frozen(value: object) -> None:
    assert CODEC.encode(value).frozen


@given(st.dictionaries(HASHABLES, VALUES, max_size=5), st.randoms())
def test_the_key_does_not_depend_on_the_order_of_a_dict(values: dict[Any, Any], dice: Any) -> None:
    pairs = list(values.items())
    dice.shuffle(pairs)
    assert CODEC.key([values]) == CODEC.key([dict(pairs)])


def test_the_key_tells_apart_what_equality_does_not() -> None:
    values: list[object] = [1, True, 1.0, "1", (1,), [1], {1}, frozenset({1}), {"a": 1}, {"a": True}, 0.0, -0.0, b"1"]
    assert len({PLAIN.key(value) for value in values}) == len(values)


# Hostile bytes


RAW = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(["$", "v", "a", "x", "y", "at", "zone", "blob", "dtype"]), inner, max_size=4),
        st.builds(lambda tag, v: {"$": tag, "v": v}, st.sampled_from([*CODEC._readers, "other"]), inner),
    ),
    max_leaves=10,
)


def taken_or_refused(data: bytes) -> None:
    try:
        value = CODEC.decode(data, no_blobs)
    except DecodeError:
        return
    CODEC.encode(value)


@given(st.binary())
def test_arbitrary_bytes_are_a_value_or_a_decode_error(data: bytes) -> None:
    taken_or_refused(data)


@given(RAW)
def test_arbitrary_envelopes_are_a_value_or_a_decode_error(raw: object) -> None:
    taken_or_refused(msgspec.json.encode(raw))


@given(VALUES, st.data())
def test_damaged_bytes_are_a_value_or_a_decode_error(value: object, data: st.DataObject) -> None:
    whole = bytearray(CODEC.encode(value).data)
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] = data.draw(st.integers(0, 255))
    taken_or_refused(bytes(whole))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[",
        b"\xff",
        b'{"a":1,"a":2}',
        b'{"$":"tuple","$":"set","v":[]}',
        b"[1, 2]",
        b"1E2",
        b"-0",
        b"NaN",
        b"1" * 5000,
        b'"\\u0041"',
        b'{"\\u0024":"tuple","v":[]}',
        b'{"$":"tuple"}',
        b'{"$":"tuple","v":[],"w":0}',
        b'{"$":["tuple"],"v":[]}',
        b'{"$":7,"v":[]}',
        b'{"$":"nobody","v":[]}',
        b'{"$":"os.system","v":"true"}',
        b'{"$":"tuple","v":{}}',
        b'{"$":"tuple","v":null}',
        b'{"$":"set","v":[1,1]}',
        b'{"$":"set","v":[[1]]}',
        b'{"$":"dict","v":[[1,2],[1,3]]}',
        b'{"$":"dict","v":[[1]]}',
        b'{"$":"dict","v":[[[],1]]}',
        b'{"$":"int","v":"12"}',
        b'{"$":"int","v":5}',
        b'{"$":"float","v":"1.0"}',
        b'{"$":"bytes","v":"a"}',
        b'{"$":"bytes","v":"aGk"}',
        b'{"$":"bytes","v":"aG k="}',
        b'{"$":"bytes","v":5}',
        b'{"$":"bytes","v":{"blob":"00","size":1}}',
        b'{"$":"uuid","v":"{00000000-0000-0000-0000-000000000001}"}',
        b'{"$":"decimal","v":"one"}',
        b'{"$":"decimal","v":"1e9999999999999999999999"}',
        b'{"$":"date","v":"20240101"}',
        b'{"$":"datetime","v":{"at":"2024-01-01T00:00:00","zone":"../../../etc/passwd"}}',
        b'{"$":"datetime","v":{"at":"2024-01-01T00:00:00","zone":"/etc/passwd"}}',
        b'{"$":"datetime","v":{"zone":"UTC"}}',
        b'{"$":"timedelta","v":[1e9,0,0]}',
        b'{"$":"timedelta","v":[99999999999,0,0]}',
        b'{"$":"range","v":[0,1,0]}',
        b'{"$":"ndarray","v":{"dtype":"|O","shape":[1],"data":"AAAAAAAAAAA="}}',
        b'{"$":"ndarray","v":{"dtype":"<i4","shape":[1000000000000],"data":""}}',
        b'{"$":"ndarray","v":{"dtype":"<i4","shape":[-1],"data":"AAAAAA=="}}',
        b'{"$":"ndarray","v":{"dtype":"<i4","shape":[0],"data":"AAAAAA=="}}',
        b'{"$":"ndarray","v":{"dtype":"<U1","shape":[1],"data":"/////w=="}}',
        b'{"$":"Color","v":"BLUE"}',
        b'{"$":"Color","v":["RED"]}',
        b'{"$":"Point","v":{"y":1}}',
        b'{"$":"Point","v":{"x":1,"z":1}}',
        b'{"$":"Point","v":[1]}',
        b'{"$":"Pair","v":{"left":1}}',
        b"[" * 100_000,
        b"[" * 900 + b"]" * 900,
        b'{"$":"tuple","v":[' * 400 + b"]}" * 400,
        b"[" + b"[]," * 300 + b"[" * 300 + b"]" * 300 + b"]",
    ],
    ids=lambda data: data[:48].decode("latin-1"),
)
def test_what_encode_never_writes_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        CODEC.decode(data, no_blobs)


def test_an_error_of_the_store_passes_through() -> None:
    def broken(_digest: str) -> bytes:
        raise ValueTooLarge("store", 2, 1)

    with pytest.raises(ValueTooLarge):
        PLAIN.decode(PLAIN.encode(b"x" * 70_000).data, broken)


# The registry


def test_a_tool_without_the_definition_shows_the_tag_and_the_content() -> None:
    data = CODEC.encode([Point(1, (2,)), {Point(1): Color.RED}, frozenset({Point(1), Row(3)})]).data
    shown = Codec(lenient=True).decode(data)
    assert shown[0] == Unknown("Point", {"x": 1, "y": (2,)})
    assert shown[1] == {Unknown("Point", {"x": 1, "y": None}): Unknown("Color", "RED")}
    assert len(shown[2]) == 2
    with pytest.raises(DecodeError, match="no type has the tag 'Point'"):
        PLAIN.decode(data)


def test_a_renamed_type_reads_its_former_name_and_writes_its_present_one() -> None:
    codec = Codec({"Place": Point, "Point": Point})
    assert codec.decode(CODEC.encode(Point(1)).data) == Point(1)
    assert codec.encode(Point(1)).data.startswith(b'{"$":"Place"')


def test_a_tag_of_a_builtin_kind_is_reserved() -> None:
    with pytest.raises(DefinitionError, match="'set' is that of a builtin kind"):
        Codec({"set": Point})


def test_a_widened_codec_knows_more_and_the_same_codec_no_less() -> None:
    codec = Codec({"Point": Point}, max_value=999)
    assert codec.widen({"Point": Point}) is codec
    wider = codec.widen({"Row": Row})
    assert round_trip(wider, [Row(1), Point(2)]) == [Row(1), Point(2)]
    with pytest.raises(ValueTooLarge):
        wider.encode("x" * 999)
    with pytest.raises(DefinitionError, match="Point"):
        codec.widen({"Point": Row})
