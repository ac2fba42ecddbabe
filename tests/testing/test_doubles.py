"""The doubles: an agent is tested without a key and without a network."""

from typing import Any

import pytest

from windlass import Allow, Chunk, Context, Message, ModelAnswer, Pipeline, RunFailed, Runtime, ToolCall, task, tool
from windlass.testing.doubles import FakeTool, RecordedModel, ScriptedModel


@tool
async def look(place: int) -> str:
    """Look somewhere."""
    raise AssertionError("the real one")


@task(grants=[Allow("look")])
async def agent(question: str, ctx: Context) -> str:
    talk = [Message("user", question)]
    while True:
        answer = await ctx.model(talk)
        talk.append(answer.message())
        if not answer.calls:
            return answer.text
        talk += [Message("tool", str(await ctx.use(call)), call_id=call.id) for call in answer.calls]


SCRIPT = [ModelAnswer("let me look", (ToolCall("look", {"place": 3}, "c1"),)), "it is there"]


async def test_an_agent_is_tested_by_a_script() -> None:
    scripted, looking = ScriptedModel(SCRIPT), FakeTool(look, ["a key"])
    pipeline = Pipeline("agent", [agent], models=[scripted.model], tools=[looking.tool])
    async with Runtime("memory:", [pipeline]) as runtime:
        assert (await runtime.run(pipeline, "where?")).output == "it is there"
    assert looking.calls == [{"place": 3}]
    assert scripted.requests[1].messages[2] == Message("tool", "a key", call_id="c1")
    assert looking.tool.digest == look.digest


async def test_a_run_is_answered_again_from_its_records() -> None:
    scripted, looking = ScriptedModel(SCRIPT), FakeTool(look, ["a key"])
    pipeline = Pipeline("agent", [agent], models=[scripted.model], tools=[looking.tool])
    async with Runtime("memory:", [pipeline]) as runtime:
        await runtime.run(pipeline, "where?", "r")
        recorded = await RecordedModel.of(runtime, "r", "scripted")
    again = Pipeline("agent", [agent], models=[recorded.model], tools=[looking.tool])
    async with Runtime("memory:", [again]) as runtime:
        assert (await runtime.run(again, "where?")).output == "it is there"
        with pytest.raises(RunFailed, match="recorded no"):
            await runtime.run(again, "who?")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_script_may_end_fail_and_compute(stream: bool) -> None:
    lines: list[Any] = [lambda request: request.messages[0].content.upper(), KeyError("x")]
    scripted = ScriptedModel(lines, stream=stream)

    @task
    async def ask(text: str, ctx: Context) -> list[str]:
        found = [(await ctx.model(text)).text]
        for _ in range(2):
            try:
                await ctx.model(text)
            except Exception as error:  # noqa: BLE001 -- whatever it is
                found.append(f"{type(error).__name__}: {error}")
        return found

    pipeline = Pipeline("p", [ask], models=[scripted.model])
    async with Runtime("memory:", [pipeline]) as runtime:
        first, second, third = (await runtime.run(pipeline, "a b")).output
    assert (first, second) == ("A B", "KeyError: 'x'")
    assert "2 lines, and was asked once more" in third


async def test_a_script_may_loop_and_yield_chunks() -> None:
    scripted = ScriptedModel([[Chunk("a"), Chunk("b")]], stream=True, loop=True)

    @task
    async def ask(text: str, ctx: Context) -> list[str]:
        return [(await ctx.model(text)).text for _ in range(3)]

    pipeline = Pipeline("p", [ask], models=[scripted.model])
    async with Runtime("memory:", [pipeline]) as runtime:
        assert (await runtime.run(pipeline, "x")).output == ["ab", "ab", "ab"]


async def test_a_fake_tool_goes_through_its_results() -> None:
    looking = FakeTool(look, [KeyError("x"), lambda place: place + 1, "last"])

    @task(grants=[Allow("*")])
    async def act(n: int, ctx: Context) -> list[Any]:
        found: list[Any] = []
        for place in range(4):
            try:
                found.append(await ctx.tool("look", place=place))
            except KeyError:
                found.append("none")
        return found

    pipeline = Pipeline("p", [act], tools=[looking.tool])
    async with Runtime("memory:", [pipeline]) as runtime:
        assert (await runtime.run(pipeline, 1)).output == ["none", 2, "last", "last"]
