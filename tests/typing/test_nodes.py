"""Types flow through a graph: DESIGN's snippet of a loop, and mistakes that a checker must see."""

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict, assert_type

from windlass.core.blueprint import END, Blueprint, Definition
from windlass.core.words import Send, Update
from windlass.engine.context import Context
from windlass.graph.graph import Graph
from windlass.graph.pipeline import Pipeline
from windlass.graph.reducers import Initial, add, append, ephemeral, merge, unique_by


@dataclass(frozen=True)
class Message:
    id: int
    text: str


class State(TypedDict):
    messages: Annotated[list[Message], append]
    draft: str
    votes: Annotated[dict[str, int], merge]
    count: Annotated[int, add, Initial(0)]
    people: Annotated[list[Message], unique_by("id")]
    hint: Annotated[str, ephemeral]


graph = Graph("writer", State, step_limit=50)


@graph.node(writes=["draft"])
async def write(messages: list[Message], ctx: Context | None = None) -> dict[str, str]:
    return {"draft": messages[-1].text}


@graph.node(writes=["messages", "votes"])
async def review(draft: str) -> Update:
    return Update(messages=[Message(1, draft)], votes={"a": 1}, goto="write")


@graph.node
async def quiet() -> None: ...


def done_or_again(votes: dict[str, int]) -> str:
    return END if votes else "write"


def fan_out(messages: list[Message]) -> list[Send]:
    return [Send("quiet", message) for message in messages]


graph.start("write")
graph.edge("write", "review")
graph.edge(["write", review], quiet)
graph.branch("review", done_or_again, ["write", END])
graph.branch(review, fan_out, [quiet])


def definitions() -> list[Definition]:
    return [graph, Pipeline("p", [])]


async def wrong_calls() -> None:
    """Never called: only a checker reads it."""
    await write("a")  # type: ignore[arg-type]
    graph.node(writes=3)  # type: ignore[call-overload]
    graph.node(write=["draft"])  # type: ignore[call-overload]
    graph.edge("write")  # type: ignore[call-arg]
    graph.branch("write", done, ["write"])  # type: ignore[arg-type]
    Graph("g", State, step_limit=None)  # type: ignore[arg-type]
    Graph("g", State, limit=3)  # type: ignore[call-arg]


def done(draft: str) -> int:
    return len(draft)


async def test_a_node_is_still_its_function() -> None:
    written: Coroutine[Any, Any, dict[str, str]] = write([Message(1, "a")])
    assert_type(await review("a"), Update)
    assert await written == {"draft": "a"}


def test_the_snippet_compiles() -> None:
    assert_type(graph.compile(), Blueprint)
    assert [node.id for node in graph.compile().nodes.values()] == ["write", "review", "quiet"]
