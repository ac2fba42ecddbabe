"""Annotations say which types a codec knows, how a definition is spelled, and what an outsider may send."""

import collections.abc
import enum
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    TypedDict,
    TypeVar,
    Union,
)
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import TypeAliasType

from windlass.core.codec import Codec
from windlass.core.errors import DefinitionError, InputError
from windlass.core.types import collect, convert, json_schema, spell

T = TypeVar("T")
B = TypeVar("B", bound="Leaf")


class Color(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    SMALL = 1


@dataclass
class Leaf:
    color: Color
    next: "Tree | None" = None


@dataclass(frozen=True)
class Tree:
    leaves: "list[Leaf]"
    parent: "Tree | None" = None


@dataclass
class Twig(Leaf):
    length: float = 1.0


class Stone(msgspec.Struct, rename="camel"):
    hard_ness: Size
    by: "dict[str, tuple[Leaf, ...]]" = {}


class Pair(NamedTuple):
    a: "Leaf"
    b: int = 0


class Model(pydantic.BaseModel):
    stone_count: int
    leaf: Leaf | None = None


class State(TypedDict):
    messages: Annotated[list[Leaf], "append", ["not", "hashable"]]
    draft: str
    notes: NotRequired[Pair]


class Id(str):
    __slots__ = ()


@dataclass
class Box(Generic[T]):
    item: T


@dataclass
class Dangling:
    leaf: "Leaf"
    missing: "Nowhere | None"  # type: ignore[name-defined]  # noqa: F821


@dataclass
class Renamed:
    __windlass_tag__ = "old.name"
    a: int = 0


@dataclass
class HasUnion:
    choice: Leaf | Box[int]
    rest: list[int] = field(default_factory=list)


@dataclass
class Chain:
    more: "Chain | Box[int] | None" = None


UserId = NewType("UserId", Id)


# collect


@pytest.mark.parametrize(
    ("annotation", "tags"),
    [
        (None, []),
        (Any, []),
        (int, []),
        ("Leaf", []),
        (dict[str, list[int]], []),
        (Color, ["Color"]),
        (Leaf, ["Color", "Leaf", "Tree"]),
        (list[Optional[Color]], ["Color"]),  # noqa: UP045
        (Union[int, dict[Color, Size]], ["Color", "Size"]),  # noqa: UP007
        (Annotated[Color, Leaf], ["Color"]),
        (Literal[Color.RED, "x"], ["Color"]),
        (Callable[[Color], Size], ["Color", "Size"]),
        (Stone, ["Color", "Leaf", "Size", "Stone", "Tree"]),
        (State, ["Color", "Leaf", "Pair", "Tree"]),
        (Model, ["Color", "Leaf", "Model", "Tree"]),
        (Box[Color], ["Box", "Color"]),
        (UserId, ["Id"]),
        (B, []),
        (list, []),
        (Renamed, ["old.name"]),
        (type[Color], ["Color"]),
        (TypeAliasType("Colors", list[Color]), ["Color"]),
        (Path, []),
        (collections.abc.AsyncIterator[Color], ["Color"]),
        (datetime, []),
        (Exception, []),
        (TypedDict, []),
    ],
    ids=str,
)
def test_every_type_a_value_may_have_is_found(annotation: object, tags: list[str]) -> None:
    found = collect([annotation])
    assert list(found) == tags
    Codec(found)


def test_the_roots_of_the_families_are_no_obstacle() -> None:
    Codec(collect([enum.Enum, enum.Flag, msgspec.Struct, pydantic.BaseModel, typing.NamedTuple, object, tuple]))


def test_types_made_inside_a_function_refer_to_themselves() -> None:
    @dataclass
    class Local:
        again: "Local | None"
        color: Color

    assert sorted(collect([Local])) == ["Color", f"{__name__.rpartition('.')[2] and Local.__qualname__}"]


def test_two_types_with_one_tag_are_refused_with_their_modules() -> None:
    class Other(enum.Enum):
        __module__ = "elsewhere"
        __qualname__ = "Color"

    with pytest.raises(DefinitionError) as caught:
        collect([Color, Other])
    assert caught.value.code == "types.duplicate"
    assert "elsewhere.Color" in str(caught.value)
    assert f"{__name__}.Color" in str(caught.value)


def test_an_alias_reads_a_former_name() -> None:
    found = collect([Color], aliases={"Colour": Color})
    assert found == {"Color": Color, "Colour": Color}
    assert Codec(found).decode(b'{"$":"Colour","v":"RED"}') is Color.RED
    assert Codec(found).encode(Color.RED).data == b'{"$":"Color","v":"RED"}'
    with pytest.raises(DefinitionError):
        collect([Color, Leaf], aliases={"Color": Leaf})


# spell


SPELLED: list[tuple[object, str]] = [
    (None, "None"),
    (Any, "any"),
    (int, "int"),
    (type(None), "None"),
    (list, "list"),
    (list[int], "list[int]"),
    (typing.List[int], "list[int]"),  # noqa: UP006
    (typing.List, "list"),  # noqa: UP006
    (dict[str, Any], "dict[str,any]"),
    (Optional[int], "None|int"),  # noqa: UP045
    (int | None, "None|int"),
    (Union[str, int, None], "None|int|str"),  # noqa: UP007
    (int | str | None, "None|int|str"),
    (tuple[int, ...], "tuple[int,...]"),
    (tuple[int, str], "tuple[int,str]"),
    (Callable[[int], str], "Callable[[int],str]"),
    (Callable[..., str], "Callable[...,str]"),
    (Sequence[int], "Sequence[int]"),
    (Mapping[str, "Leaf"], "Mapping[str,Leaf]"),
    (Literal["b", 1, "a"], "Literal['a','b',1]"),
    (Literal[Color.RED], "Literal[Color.RED]"),
    (Annotated[int, "x"], "int"),
    (Color, "Color"),
    (datetime, "datetime"),
    (Path, "Path"),
    (Leaf, "Leaf{color:Color,next:None|Tree}"),
    (list[Leaf], "list[Leaf{color:Color,next:None|Tree}]"),
    (Stone, "Stone{hard_ness:Size,by:dict[str,tuple[Leaf,...]]}"),
    (Pair, "Pair{a:Leaf,b:int}"),
    (Model, "Model{stone_count:int,leaf:Leaf|None}"),
    (State, "State{messages:list[Leaf],draft:str,notes?:Pair}"),
    (Box, "Box{item:T}"),
    (Box[int], "Box[int]{item:T}"),
    (Renamed, "old.name{a:int}"),
    (UserId, "Id"),
    (T, "T"),
    (type[int], "type[int]"),
    (typing.Never, "Never"),
    (TypeAliasType("Leaves", dict[str, list[Leaf]]), "dict[str,list[Leaf{color:Color,next:None|Tree}]]"),
    (object, "object"),
]


@pytest.mark.parametrize(("annotation", "text"), SPELLED, ids=[text for _, text in SPELLED])
def test_an_annotation_has_one_spelling(annotation: object, text: str) -> None:
    assert spell(annotation) == text


def test_a_field_that_names_something_unknown_is_spelled_as_written() -> None:
    assert spell(Dangling) == "Dangling{leaf:Leaf,missing:Nowhere | None}"
    assert list(collect([Dangling])) == ["Color", "Dangling", "Leaf", "Tree"]


# convert


LEAF = Leaf(Color.RED)
MODEL = Model(stone_count=1)


@pytest.mark.parametrize(
    ("value", "annotation", "converted"),
    [
        ({"a": [1]}, Any, {"a": [1]}),
        (5, int, 5),
        (1, float, 1.0),
        ("red", Color, Color.RED),
        (Color.RED, Color, Color.RED),
        ([1, 2], tuple[int, ...], (1, 2)),
        ([1, 2, 1], set[int], {1, 2}),
        ({"1": "a"}, dict[int, str], {1: "a"}),
        ({1: "a"}, dict[int, str], {1: "a"}),
        ("2024-01-02T03:04:05Z", datetime, datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("1.50", Decimal, Decimal("1.50")),
        ("00000000-0000-0000-0000-000000000001", UUID, UUID(int=1)),
        ({"color": "red"}, Leaf, LEAF),
        (LEAF, Leaf, LEAF),
        ([LEAF, {"color": "red"}], list[Leaf], [LEAF, LEAF]),
        (Twig(Color.RED), Leaf, Twig(Color.RED)),
        ([Twig(Color.RED)], list[Leaf], [Twig(Color.RED)]),
        ({"k": (Twig(Color.RED), 1)}, dict[str, tuple[Leaf, int]], {"k": (Twig(Color.RED), 1)}),
        ({"hardNess": 1}, Stone, Stone(Size.SMALL)),
        ([{"color": "red"}], Pair, Pair(LEAF)),
        ({"messages": [], "draft": "x"}, State, {"messages": [], "draft": "x"}),
        ({"stone_count": "1"}, Model, MODEL),
        (MODEL, Model, MODEL),
        ([{"stone_count": 1}], list[Model], [MODEL]),
        ({"item": {"color": "red"}}, Leaf | Box[Leaf], Box(LEAF)),
        (LEAF, Leaf | Box[int], LEAF),
        ([{"color": "red"}, {"item": 1}], list[Leaf | Box[int]], [LEAF, Box(1)]),
        ({"choice": {"item": 1}}, HasUnion, HasUnion(Box(1))),
        ("x", bytes | str, "x"),
        (b"x", bytes | str, b"x"),
        (None, Model | int | None, None),
        ({"stone_count": 1}, Model | int, MODEL),
        (1 + 2j, complex, 1 + 2j),
        (Path("a"), Path, Path("a")),
        ("x", Literal["x", "y"], "x"),
        ("x", UserId, Id("x")),
        (["red"], TypeAliasType("Colors", list[Color]), [Color.RED]),
        (len, Callable[..., Any], len),
        (3, Annotated[int, msgspec.Meta(ge=1)], 3),
    ],
)
def test_what_fits_becomes_what_is_declared(value: object, annotation: object, converted: object) -> None:
    made = convert(value, annotation, "input")
    assert made == converted
    assert type(made) is type(converted)


def test_a_value_that_already_is_right_is_the_same_object() -> None:
    for value, annotation in [(LEAF, Leaf), (MODEL, Model), (LEAF, Leaf | None), (Twig(Color.RED), Leaf)]:
        assert convert(value, annotation, "input") is value


@pytest.mark.parametrize(
    ("value", "annotation", "said"),
    [
        ("5", int, "input: expected `int`, got `str`"),
        (True, int, "input: expected `int`, got `bool`"),
        (5, str, "input: expected `str`, got `int`"),
        (None, int, "input: expected `int`, got `null`"),
        ({"a": [1, "x"]}, dict[str, list[int]], "input.a[1]: expected `int`, got `str`"),
        ({"a b": "x"}, dict[str, int], "input['a b']: expected `int`, got `str`"),
        ({"x": 1}, dict[int, int], "input.x: expected `int`, got `str`"),
        ([1], tuple[int, int], "input: expected `array` of length 2, got 1"),
        ("blue", Color, "input: invalid enum value 'blue'"),
        ({}, Leaf, "input: object missing required field `color`"),
        ({"color": 1}, Leaf, "input.color: expected `str`, got `int`"),
        ([{"color": "red"}, {"color": "no"}], list[Leaf], "input[1].color: invalid enum value 'no'"),
        ({"hard_ness": 1}, Stone, "input: object missing required field `hardNess`"),
        ({"draft": "x"}, State, "input: object missing required field `messages`"),
        ({"stone_count": "z"}, Model, "input.stone_count: input should be a valid integer"),
        ([{"stone_count": 1, "leaf": {"color": 3}}], list[Model], "input[0].leaf.color: input should be 'red'"),
        (7, Leaf | Box[int], "input: expected `Box[int]|Leaf`, got `int`"),
        ({"choice": {"item": "x"}}, HasUnion, "input.choice: expected `Box[int]|Leaf`, got `dict`"),
        ({}, HasUnion, "input: object missing required field `choice`"),
        ("x", complex, "input: expected `complex`, got `str`"),
        ("x", Path, "input: expected `Path`, got `str`"),
        (5, Callable[..., Any], "input: expected `Callable`, got `int`"),
        (0, Annotated[int, msgspec.Meta(ge=1)], "input: expected `int` >= 1"),
        ("z", Literal["x", "y"], "input: invalid enum value 'z'"),
        (LEAF, Tree, "input: expected `object`, got `Leaf`"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_path(value: object, annotation: object, said: str) -> None:
    with pytest.raises(InputError) as caught:
        convert(value, annotation, "input")
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize("value", ["\ud800", {"\ud800": 1}, {"color": "\ud800"}, ["\ud800"], [{"\udfff": []}]])
@pytest.mark.parametrize("annotation", [Leaf, int, list[Leaf], dict[int, Leaf], Literal["x"], datetime, UUID, set[int]])
def test_half_a_surrogate_pair_is_refused_as_anything_else(value: object, annotation: Any) -> None:
    with pytest.raises(InputError):
        convert(value, annotation, "input")


def test_a_value_that_contains_itself_is_refused() -> None:
    leaf: dict[str, Any] = {"color": "red"}
    leaf["next"] = {"leaves": [leaf]}
    with pytest.raises(InputError, match="contains itself"):
        convert(leaf, Leaf, "input")
    chain: dict[str, Any] = {}
    chain["more"] = chain
    with pytest.raises(InputError):
        convert(chain, Chain, "input")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(["red", "\ud800"]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["color", "next", "item", "a", "b", "hardNess", "by", "1", "", "\ud800"]), inner, max_size=4
        ),
    ),
    max_leaves=8,
)


@given(JSON, st.sampled_from([annotation for annotation, _ in SPELLED if annotation is not typing.Never]))
def test_any_json_fits_or_is_refused(value: object, annotation: object) -> None:
    try:
        made = convert(value, annotation, "input")
    except InputError:
        return
    convert(made, annotation, "input")  # and what was made fits, too


# json_schema


def test_the_schema_of_an_annotation() -> None:
    assert json_schema(Any) == {}
    assert json_schema(int) == {"type": "integer"}
    assert json_schema(list[Color])["items"] == {"$ref": "#/$defs/Color"}
    assert json_schema(complex) == {}
    assert json_schema(Model)["properties"]["stone_count"]["type"] == "integer"
    assert json_schema(list[Model])["items"] == {"$ref": "#/$defs/Model"}
    both = json_schema(Box[int] | Stone)
    assert [*both] == ["anyOf", "$defs"]
    assert {"Size", "Stone"} <= both["$defs"].keys()
