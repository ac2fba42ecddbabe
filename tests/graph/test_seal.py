"""What a definition's codec knows."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import pytest

from windlass.core.blueprint import Blueprint
from windlass.core.errors import ValueNotKept, ValueTooLarge
from windlass.core.words import Stream, Update, Yields
from windlass.engine.context import Context
from windlass.graph.graph import Graph
from windlass.graph.pipeline import Edge, Pipeline
from windlass.graph.reducers import append
from windlass.graph.task import Task, task

Refused = Callable[..., AbstractContextManager[None]]


@dataclass(frozen=True)
class Inner:
    number: int


@dataclass(frozen=True)
class Found:
    inner: Inner


@dataclass(frozen=True)
class Item:
    number: int


@dataclass(frozen=True)
class Extra:
    number: int


def keeps(blueprint: Blueprint, value: object) -> bool:
    try:
        return bool(blueprint.codec.decode(blueprint.codec.encode(value).data) == value)
    except ValueNotKept:
        return False


@task
async def find(repo: str) -> Yields[Found]:
    yield Item(1)


@task
async def follow(find: Stream[Item], ctx: Context) -> int:
    return 1


def test_types_come_from_outputs_streams_and_the_types_option() -> None:
    pipeline = Pipeline("p", [find, follow], [Edge(find, follow, stream=True)], types=[Extra])
    for value in (Found(Inner(1)), Inner(1), Item(2), [Extra(3)]):
        assert keeps(pipeline.compile(), value)
    plain = Pipeline("p", [find]).compile()
    assert keeps(plain, Found(Inner(1)))
    assert not keeps(plain, Extra(1))


def test_types_come_from_channels_and_payloads_of_a_graph() -> None:
    class State(TypedDict):
        found: Annotated[list[Found], append]

    graph = Graph("g", State)

    @graph.node(sends=["work"])
    async def split() -> Update:
        return Update()

    @graph.node
    async def work(item: Item) -> None: ...

    graph.start(split)
    assert keeps(graph.compile(), [Found(Inner(1)), Item(1)])


def test_our_own_words_leave_their_names_to_the_user() -> None:
    @dataclass(frozen=True)
    class Failed:
        number: int

    Failed.__qualname__ = "Failed"

    @task
    async def mapped(item: str) -> Failed:
        return Failed(1)

    pipeline = Pipeline("p", [listed, mapped], [Edge(listed, mapped, each=True, on_error="collect")])
    assert keeps(pipeline.compile(), Failed(1))


@task
async def listed(repo: str) -> list[str]:
    return [repo]


def test_two_types_with_one_name_are_refused(refused: Refused) -> None:
    @dataclass(frozen=True)
    class Other:
        number: int

    Other.__qualname__ = "Inner"
    with refused("types.duplicate", "Inner"):
        Pipeline("p", [find], types=[Other]).compile()


def test_an_alias_reads_what_was_kept_under_an_older_name() -> None:
    old = Pipeline("p", [find], types=[Extra]).compile().codec.encode(Extra(1)).data
    renamed = Pipeline("p", [find], aliases={"Extra": Item}).compile()
    assert renamed.codec.decode(old) == Item(1)


def test_max_value_is_the_codecs_limit() -> None:
    with pytest.raises(ValueTooLarge):
        Pipeline("p", [find], max_value=100).compile().codec.encode("x" * 200)


def test_an_annotation_that_cannot_be_hashed() -> None:
    class Odd(Task[Any, Any]):
        id = "odd"

        async def execute(self, input: Annotated[Found, ["a", "list"]], ctx: Context) -> None: ...

    assert keeps(Pipeline("p", [Odd]).compile(), Found(Inner(1)))
