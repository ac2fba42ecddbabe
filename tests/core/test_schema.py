"""Values judged by the schemas that msgspec and Pydantic write, as the types themselves judge them."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any, Literal, NewType, TypedDict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from windlass.core.errors import InputError
from windlass.core.schema import flaw, misfit
from windlass.core.types import convert, json_schema


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Line:
    amount: int
    note: str | None = None


@dataclass
class Order:
    lines: list[Line]
    colour: Colour = Colour.RED
    tags: dict[str, int] = field(default_factory=dict)


class Loose(TypedDict, total=False):
    name: str


class Tree(msgspec.Struct):
    value: int
    below: "list[Tree]" = []


class Model(BaseModel):
    age: int = Field(ge=0, lt=150)
    name: str = Field(min_length=1, max_length=3, pattern="^[a-z]+$")


Percent = Annotated[float, msgspec.Meta(ge=0, le=100)]
Id = NewType("Id", int)
GOOD = [
    (int, 5), (int, 5.0), (float, 5), (str, ""), (bool, False), (type(None), None), (Any, {"x": [1]}),
    (int | None, None), (list[int], []), (tuple[int, str], [1, "a"]), (set[int], [1, 2]), (Colour, "red"),
    (Literal["a", 5], 5), (Line, {"amount": 1}), (Order, {"lines": [{"amount": 1, "note": None}], "tags": {"a": 1}}),
    (Loose, {}), (Tree, {"value": 1, "below": [{"value": 2}]}), (Model, {"age": 0, "name": "abc"}), (Percent, 100),
    (Id, 5), (dict[str, Line], {"a": {"amount": 1}}), (bytes, "YQ=="), (Line | int, 5),
]  # fmt: skip
BAD = [
    (int, "5"), (int, 5.5), (int, True), (float, "x"), (str, 5), (str, None), (bool, 1), (bool, 0), (bool, "true"),
    (type(None), 0), (list[int], [1, "a"]), (list[int], {}), (tuple[int, str], [1]), (tuple[int, str], [1, "a", 2]),
    (Colour, "green"), (Literal["a", 5], "5"), (Line, {}), (Line, {"amount": "1"}), (Line, [1]),
    (Order, {"lines": [{"amount": None}]}), (Order, {"lines": [], "colour": 1}),
    (Order, {"lines": [], "tags": {"a": "b"}}),
    (Loose, {"name": 5}), (Tree, {"value": 1, "below": [{"value": "2"}]}), (Model, {"age": 150, "name": "abc"}),
    (Model, {"age": -1, "name": "abc"}), (Model, {"age": 1, "name": ""}), (Model, {"age": 1, "name": "abcd"}),
    (Model, {"age": 1, "name": "AB"}), (Percent, 100.5), (Id, "x"), (Line | int, "x"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value"), GOOD)
def test_what_fits(kind: Any, value: Any) -> None:
    assert misfit(value, json_schema(kind)) == ""


@pytest.mark.parametrize(("kind", "value"), BAD)
def test_what_does_not_fit(kind: Any, value: Any) -> None:
    assert misfit(value, json_schema(kind)) != ""


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-200, 200) | st.floats(allow_nan=False, allow_infinity=False, width=16)
    | st.sampled_from(["red", "amount", "lines", "a", ""]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["amount", "note", "lines", "value", "below", "name"]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(st.sampled_from([int, float, str, bool, Line, Order, Tree, Loose, Colour, list[int], int | None]), JSON)
def test_what_the_type_takes_the_schema_takes(kind: Any, value: Any) -> None:
    """The schema never refuses what the task would have understood; the task has the last word on the rest."""
    try:
        convert(value, kind, "answer")
    except InputError:
        return
    assert misfit(value, json_schema(kind)) == ""


@pytest.mark.parametrize(
    ("schema", "value", "said"),
    [
        ({"type": "integer", "minimum": 0, "multipleOf": 5}, 10**400, ""),
        ({"type": "number", "multipleOf": 0.5}, 10**400, ""),
        ({"type": "number"}, float("nan"), "it is null, not of type number"),
        ({"type": "integer", "multipleOf": 5}, 7, "it is 7, no multiple of 5"),
        ({"type": "array", "items": {"type": "integer"}}, [1, "a"], '[1] is "a", not of type integer'),
        ({"properties": {"a": {"minimum": 3}}}, {"a": 2}, "a is 2, and too small"),
        ({"required": ["a"]}, {}, "a is missing"),
        ({"additionalProperties": False, "properties": {"a": {}}}, {"b": 1}, "b may not be there, only a"),
        ({"additionalProperties": False}, {"b": 1}, "b may not be there, only nothing"),
        ({"additionalProperties": False, "patternProperties": {"^b": {}}}, {"b": 1}, ""),
        ({"enum": [1]}, True, "it is true, none of 1"),
        ({"multipleOf": 0.1}, 0.35, "it is 0.35, no multiple of 0.1"),
        ({"uniqueItems": True}, [1, 1], "it has an element twice"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "null"}}}, 1, "it is 1, not of type null"),
        ({"pattern": "("}, "x", ""),
        ({"$ref": "#"}, 1, ""),
        ({"type": "something of another time"}, 1, "it is 1, not of type something of another time"),
    ],
)
def test_what_is_said(schema: dict[str, Any], value: Any, said: str) -> None:
    assert misfit(value, schema) == said


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "strnig"}, 'type is "strnig", none of null, boolean, integer, number, string, array, object'),
        ({"type": []}, "type is [], none of"),
        ({"type": ["string", "nil"]}, 'type is ["string","nil"], none of'),
        ({"properties": {"a": {"type": "int"}}}, 'properties.a.type is "int", none of'),
        ({"properties": {"a": "string"}}, 'properties.a is "string", and a schema is an object'),
        ({"properties": []}, "properties is [], no dict of schemas"),
        ({"items": "string"}, 'items is "string", and a schema is an object'),
        ({"anyOf": {"type": "string"}}, 'anyOf is {"type":"string"}, no list of schemas'),
        ({"anyOf": [{}, {"type": 1}]}, "anyOf.1.type is 1, none of"),
        ({"required": True}, "required is true, no list"),
        ({"enum": "red"}, 'enum is "red", no list'),
        ({"minLength": "3"}, 'minLength is "3", no number'),
        ({"exclusiveMinimum": True}, "exclusiveMinimum is true, no number"),
        ({"$ref": "#/$defs/a"}, '$ref is "#/$defs/a", and there is nothing'),
        ({"type": str}, "it is no JSON: "),
        ("string", 'it is "string", and a schema is an object'),
    ],
)
def test_what_is_no_schema(schema: Any, said: str) -> None:
    assert flaw(schema).startswith(said)


@pytest.mark.parametrize(
    "schema",
    [{}, True, {"type": ["string", "null"]}, {"items": [{}, {}]}, {"items": False, "words": "of another time"},
     {"$ref": "#/anyOf/0", "anyOf": [{"type": "string"}]}, {"$ref": "#"}, {"$ref": "https://example.org/a.json"},
     {"enum": [], "required": [], "minimum": 0.5}],
)  # fmt: skip
def test_what_is_a_schema(schema: Any) -> None:
    assert flaw(schema) == ""


@pytest.mark.parametrize("kind", [kind for kind, _ in GOOD])
def test_what_types_have_is_a_schema(kind: Any) -> None:
    assert flaw(json_schema(kind)) == ""


VERDICT = {
    "anyOf": [
        {"enum": ["approve", "reject"]},
        {
            "type": "object", "required": ["edit"], "additionalProperties": False,
            "properties": {
                "edit": {"properties": {"body": {"type": "string"}}, "additionalProperties": False},
            },
        },
    ]
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (VERDICT, {"edit": {"body": 1}}, "edit.body is 1, not of type string"),
        (VERDICT, {"edit": {"nosuch": 1}}, "edit.nosuch may not be there, only body"),
        (VERDICT, {}, "edit is missing"),
        (VERDICT, "yes", 'it is "yes", which fits nothing: none of "approve", "reject"; not of type object'),
        (Line | Order, {"amount": "1"}, 'amount is "1", not of type integer'),
        (Line | Order, {"lines": [{"amount": "1"}]}, 'lines[0].amount is "1", not of type integer'),
        (Line | Order, {}, "it is {}, which fits nothing: amount is missing; lines is missing"),
        (Model | None, {"age": 1, "name": ""}, "name is shorter than 1 characters"),
        (int | None, "x", 'it is "x", which fits nothing: not of type integer; not of type null'),
        (list[str | None], ["a", 5], "[1] is 5, which fits nothing: not of type string; not of type null"),
    ],
)
def test_what_is_said_of_alternatives_is_said_of_the_one_that_was_meant(kind: Any, value: Any, said: str) -> None:
    assert misfit(value, kind if isinstance(kind, dict) else json_schema(kind)) == said
