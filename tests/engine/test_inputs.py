"""What is given from outside arrives as it was given, or is refused before anything is written."""

import datetime as dt
from dataclasses import dataclass
from typing import Any, TypedDict

import pytest

from windlass import Context, Graph, Pipeline, RunFailed, Runtime, task
from windlass.core.errors import InputError, ValueNotKept, ValueTooLarge
from windlass.core.queries import Commands, Questions

VALUES: list[Any] = [
    float("inf"), {1, 2}, (1, (2,)), b"\0\xff", {1: "a"}, "a\ud800", 2**64, -0.0, {"$": "set", "v": [1]},
    dt.datetime(2026, 3, 29, 2, 30, tzinfo=dt.UTC),
]  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """Known to the question alone, not to the definition."""

    good: bool
    at: dt.date


@task
async def asking(input: None, ctx: Context) -> list[Any]:
    return [await ctx.ask("What?", Any)]


@task
async def judging(input: None, ctx: Context) -> bool:
    return (await ctx.ask("How?", Verdict)) == Verdict(good=True, at=dt.date(2026, 1, 2))


class State(TypedDict, total=False):
    value: Any
    seen: Any


def stopping() -> Graph:
    """Fail until it is told to go on with another value."""
    graph = Graph("stopping", State)

    @graph.node(writes=["seen"])
    async def look(value: Any = None) -> dict[str, Any]:
        if value is None:
            raise ValueError("nothing is set")
        return {"seen": [value]}

    graph.start("look")
    return graph


@pytest.mark.parametrize("value", VALUES, ids=repr)
async def test_an_answer_arrives_as_it_was_given(runtime: Runtime, value: Any) -> None:
    asked = await runtime.run(Pipeline("asking", tasks=[asking]), None)
    await runtime.answer(asked.waiting[0], value)
    await runtime.answer(asked.waiting[0], value)  # the same one again is fine
    output = (await runtime.wait(asked.run)).output
    assert (output, repr(output)) == ([value], repr([value]))


async def test_an_answer_may_be_an_object_that_only_the_question_knows(runtime: Runtime) -> None:
    asked = await runtime.run(Pipeline("judging", tasks=[judging]), None)
    await runtime.answer(asked.waiting[0], Verdict(good=True, at=dt.date(2026, 1, 2)))
    assert (await runtime.wait(asked.run)).output is True


@pytest.mark.parametrize(("value", "error"), [([object()], ValueNotKept), (b"x" * 100_000, ValueTooLarge)])
async def test_an_answer_that_cannot_be_kept_leaves_the_question_open(
    runtime: Runtime, value: Any, error: type[Exception]
) -> None:
    asked = await runtime.run(Pipeline("asking", tasks=[asking]), None)
    with pytest.raises(error, match=r"^answer"):
        await runtime.answer(asked.waiting[0], value)
    assert len(await runtime.store.find(Questions(run=asked.run))) == 1


@pytest.mark.parametrize("value", [*VALUES, b"x" * 100_000], ids=lambda value: repr(value)[:20])
async def test_an_edit_arrives_as_it_was_given(runtime: Runtime, value: Any) -> None:
    graph = stopping()
    with pytest.raises(RunFailed):
        await runtime.run(graph, {}, id="s")
    await runtime.resume("s", edits={"value": value})
    output = (await runtime.wait("s")).output
    assert (output, repr(output)) == ({"value": value, "seen": [value]}, repr({"value": value, "seen": [value]}))


@pytest.mark.parametrize(
    "value", [*VALUES, b"x" * 100_000, {"a": [b"x" * 100_000, b"y" * 100_000]}], ids=lambda value: repr(value)[:20]
)
async def test_a_correction_arrives_as_it_was_given(runtime: Runtime, value: Any) -> None:
    with pytest.raises(RunFailed):
        await runtime.run(stopping(), {}, id="s")
    await runtime.edit("s", {"value": value})
    await runtime.resume("s")
    output = (await runtime.wait("s")).output
    assert (output, repr(output)) == ({"value": value, "seen": [value]}, repr({"value": value, "seen": [value]}))
    assert (await runtime.replay("s")).differing == ()


async def test_an_edit_that_cannot_be_kept_is_not_posted(runtime: Runtime) -> None:
    with pytest.raises(RunFailed):
        await runtime.run(stopping(), {}, id="s")
    with pytest.raises(ValueNotKept, match=r"edits.value.a\[0\]"):
        await runtime.resume("s", edits={"value": {"a": [object()]}})
    assert await runtime.store.find(Commands(run="s")) == []


async def test_an_id_is_text(runtime: Runtime) -> None:
    with pytest.raises(InputError, match=r"id: .*is no text"):
        await runtime.run(stopping(), {}, id="a\ud800")
