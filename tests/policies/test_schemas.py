"""Schemas of every kind, one shape of result; the corpus has most cases, this what is left."""

import enum
import sys
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal, NewType

import msgspec
import pytest
from google.protobuf import type_pb2

from windlass import DefinitionError, Expect, OutputRefused, judge
from windlass.policies.schemas import at, read_schema

Id = NewType("Id", int)


class Color(enum.Enum):
    RED = "red"


@dataclass(frozen=True)
class Point:
    x: int
    y: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.x == 13:
            raise ValueError("13 brings bad luck")


class Plain:
    """No record."""


def wrong(answer: Any, schema: Any) -> list[str]:
    with pytest.raises(OutputRefused) as refused:
        judge(answer, Expect(schema), 0.0)
    return [f"{one.path}: {one.message}" for one in refused.value.problems]


@pytest.mark.parametrize(
    ("schema", "answer", "value"),
    [
        (int, "7", 7),
        (float, "7", 7.0),
        (bool, "true", True),
        (str, "7", "7"),
        (Any, '{"a": [1]}', {"a": [1]}),
        (Literal["a", 1], "a", "a"),
        (Literal["a", 1], "1", 1),
        (Color, "red", Color.RED),
        (date, "2026-01-02", date(2026, 1, 2)),
        (Decimal, "12.10", Decimal("12.10")),
        (dict[str, int], 'so: {"a": 1}', {"a": 1}),
        (Id, "3", 3),
        (Point | None, '{"x": 1}', Point(1)),
        (int | None, "null", None),
        (Annotated[int, msgspec.Meta(ge=1)], "1", 1),
        (list[Point] | Point, 'x [{"x": 1}] y', [Point(1)]),
        (tuple[int, str], '[1, "a"]', (1, "a")),
    ],
)
def test_types(schema: Any, answer: str, value: Any) -> None:
    assert judge(answer, Expect(schema), 0.0).value == value


def test_a_post_init_has_its_say() -> None:
    assert "bad luck" in wrong('{"x": 13}', Point)[0]


def test_a_value_is_checked_as_a_text_is() -> None:
    assert judge(Point(1), Expect(Point), 0.0).value == Point(1)
    assert wrong([1], Point) == [": expected `object`, got `array`"]
    assert wrong(b'{"x": "a"}', Point) == ["x: expected `int`, got `str`"]
    assert wrong(b"\xff\xfe", Point) == [": it is no UTF-8: invalid start byte at byte 0"]
    assert judge(b"\xff", Expect(bytes), 0.0).value == b"\xff"


@pytest.mark.parametrize(
    "given",
    [
        5,
        "Quote",
        Plain,
        object(),
        None,
        {"type": "nothing"},
        {"$ref": "https://a.example/b"},
        {"$ref": "#/nowhere"},
        {"pattern": "("},
        [int],
    ],
)
def test_what_is_no_schema(given: Any) -> None:
    with pytest.raises(DefinitionError) as refused:
        read_schema(given)
    assert refused.value.code == "output.schema"


def test_a_json_schema_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema_rs", None)
    with pytest.raises(DefinitionError, match=r"windlass\[output\]"):
        read_schema({"type": "object"})


def test_a_pattern_takes_no_time() -> None:
    schema = {"type": "string", "pattern": "^(a+)+$"}
    assert "does not match" in wrong('"' + "a" * 5000 + '!"', schema)[0]


def test_a_json_schema_of_a_value_that_json_does_not_have() -> None:
    assert wrong(object(), {"type": "object"})


def test_a_protobuf_class() -> None:
    expect = Expect(type_pb2.Field, rules=[])
    found = judge('{"name": "price", "number": 3, "kind": "TYPE_DOUBLE"}', expect, 0.0).value
    assert found == {"name": "price", "number": 3, "kind": "TYPE_DOUBLE"}
    assert judge(type_pb2.Field(name="a"), expect, 0.0).value == {"name": "a"}
    for bad in ('{"name": 3}', '{"nam": "a"}', '{"kind": "TYPE_NONE"}', '{"number": "x"}'):
        (said,) = wrong(bad, type_pb2.Field)
        assert said
    assert wrong([1], type_pb2.Field)
    assert expect.read.json()["title"] == "Field"


def test_what_stands_at_a_path() -> None:
    value = {"a": [{"b": 1}]}
    assert [at(value, path) for path in ("", "a", "a[0].b", "a[9].b", "x")] == [value, value["a"], 1, value["a"], value]
