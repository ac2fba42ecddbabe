"""Channels as a state class declares them."""

import dataclasses
import operator
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Annotated, Any, Required, TypedDict

import msgspec
import pydantic
import pytest
from msgspec import UNSET

from windlass.core.blueprint import ChannelSpec
from windlass.graph.reducers import (
    Ephemeral,
    Initial,
    add,
    append,
    channels,
    ephemeral,
    maximum,
    merge,
    overwrite,
    reducer,
    unique_by,
)

Refused = Callable[..., AbstractContextManager[None]]


def longest(current: str, incoming: str) -> str:
    return max(current, incoming, key=len)


def state_of(annotation: Any, name: str = "field") -> Any:
    return TypedDict("state_of", {name: annotation})  # type: ignore[operator]


class Typed(TypedDict, total=False):
    plain: int
    needed: Required[str]
    log: Annotated[list[str], append]
    votes: Annotated[dict[str, int], merge]
    last: Annotated[int, overwrite]
    total: Annotated[int, add, Initial(0)]
    best: Annotated[float, maximum]
    people: Annotated[list[dict[str, str]], unique_by("name")]
    text: Annotated[str, longest]
    signal: Annotated[str, ephemeral]
    sum: Annotated[int, operator.add]


def kinds(found: dict[str, ChannelSpec]) -> dict[str, tuple[str, str, Any]]:
    return {name: (spec.kind, spec.reducer_name, spec.initial) for name, spec in found.items()}


def test_each_reducer_has_the_cheapest_kind_that_means_it() -> None:
    found = channels(Typed, "graph 'g'")
    assert kinds(found) == {
        "plain": ("last", "", UNSET),
        "needed": ("last", "", UNSET),
        "log": ("append", "append", []),
        "votes": ("merge", "merge", {}),
        "last": ("last", "overwrite", UNSET),
        "total": ("last", "add", 0),
        "best": ("last", "maximum", UNSET),
        "people": ("unique", "unique_by(name)", []),
        "text": ("last", "longest", UNSET),
        "signal": ("ephemeral", "", UNSET),
        "sum": ("last", "add", UNSET),
    }
    assert found["plain"].reduce is None
    assert found["log"].reduce is None
    assert found["last"].reduce is overwrite
    assert found["text"].reduce is longest
    assert found["needed"].type is str
    assert found["log"].type == list[str]


@dataclasses.dataclass
class Classy:
    plain: int
    draft: str = "none yet"
    log: Annotated[list[str], append] = dataclasses.field(default_factory=lambda: ["begin"])
    total: Annotated[int, add, Initial(5)] = 3
    seen: Annotated[int, add, ephemeral] = 0


class Struct(msgspec.Struct):
    plain: int
    draft: str = "none yet"
    log: Annotated[list[str], append] = msgspec.field(default_factory=lambda: ["begin"])
    total: Annotated[int, add, Initial(5)] = 3
    seen: Annotated[int, add, ephemeral] = 0


class Model(pydantic.BaseModel):
    plain: int
    draft: str = "none yet"
    log: Annotated[list[str], append] = pydantic.Field(default_factory=lambda: ["begin"])
    total: Annotated[int, add, Initial(5)] = 3
    seen: Annotated[int, add, ephemeral] = 0


@pytest.mark.parametrize("state", [Classy, Struct, Model])
def test_defaults_are_initial_values_and_initial_wins(state: type) -> None:
    assert kinds(channels(state, "graph 'g'")) == {
        "plain": ("last", "", UNSET),
        "draft": ("last", "", "none yet"),
        "log": ("append", "append", ["begin"]),
        "total": ("last", "add", 5),
        "seen": ("ephemeral", "add", 0),
    }


def test_the_marker_may_be_written_as_its_class() -> None:
    assert channels(state_of(Annotated[str, Ephemeral]), "graph 'g'")["field"].kind == "ephemeral"


def test_inherited_fields_are_channels_too() -> None:
    class Base(TypedDict):
        first: int

    class Child(Base):
        second: Annotated[list[int], append]

    assert list(channels(Child, "graph 'g'")) == ["first", "second"]


def test_the_metadata_of_others_stays_with_the_type() -> None:
    small = msgspec.Meta(max_length=3)
    found = channels(state_of(Annotated[list[int], small, append]), "graph 'g'")
    assert found["field"].type == Annotated[list[int], small]


def test_reducers_are_plain_functions_and_leave_their_arguments_alone() -> None:
    current = [1]
    assert append(current, [2, 3]) == [1, 2, 3]
    assert current == [1]
    votes = {"a": 1, "b": 1}
    assert merge(votes, {"b": 2}) == {"a": 1, "b": 2}
    assert votes == {"a": 1, "b": 1}
    assert overwrite(1, 2) == 2
    assert add(1, 2) == 3
    assert maximum(3, 2) == 3
    assert reducer(operator.mul, name="times")(2, 3) == 6


@dataclasses.dataclass(frozen=True)
class Person:
    name: str
    age: int


def name_of(person: Person) -> str:
    return person.name


def test_unique_by_replaces_in_place_and_adds_at_the_end() -> None:
    for by in (unique_by("name"), unique_by(name_of), unique_by(lambda person: person.name, name="name")):
        current = [Person("ann", 1), Person("bob", 2)]
        assert by(current, [Person("cy", 3), Person("ann", 4)]) == [Person("ann", 4), Person("bob", 2), Person("cy", 3)]
    assert unique_by("name")([{"name": "a", "n": 1}], [{"name": "a", "n": 2}]) == [{"name": "a", "n": 2}]
    assert unique_by(name_of).name == "unique_by(name_of)"


def test_a_reducer_without_a_name_needs_one(refused: Refused) -> None:
    with refused("definition.unnamed", "'field'", "lambda", "name="):
        channels(state_of(Annotated[int, lambda a, b: a + b]), "graph 'g'")
    with refused("definition.unnamed", "unique_by"):
        unique_by(lambda item: item)
    found = channels(state_of(Annotated[int, reducer(lambda a, b: a * b, name="times")]), "graph 'g'")["field"]
    assert found.reducer_name == "times"
    assert found.reduce is not None
    assert found.reduce(2, 3) == 6


def test_what_cannot_be_a_channel_is_refused(refused: Refused) -> None:
    with refused("channel.type", "'field'", "list"):
        channels(state_of(Annotated[str, append]), "graph 'g'")
    with refused("channel.type", "'field'", "dict"):
        channels(state_of(Annotated[list[int], merge]), "graph 'g'")
    with refused("channel.reducer", "append and longest"):
        channels(state_of(Annotated[list[int], append, longest]), "graph 'g'")
    for name in ("goto", "sends", "ctx", "self", "join:a", "a b"):
        with refused("definition.name", repr(name)):
            channels(state_of(int, name), "graph 'g'")
    for wrong in (dict, int, Classy(1), 5):
        with refused("graph.state", "declares no channels"):
            channels(wrong, "graph 'g'")
    with refused("definition.annotation", "Nowhere"):
        channels(state_of("Nowhere"), "graph 'g'")
