"""The account of an activation: kept with its end, put together from the log, and honest about what is gone."""

from typing import Any

import pytest

from windlass import (
    Allow,
    Ask,
    Context,
    Message,
    ModelAnswer,
    Pipeline,
    Recover,
    RecoveryAction,
    Retry,
    RunFailed,
    Runtime,
    TaskError,
    Usage,
    task,
    tool,
)
from windlass.core import queries
from windlass.core.errors import RunUnknown, StoreCorrupt
from windlass.core.records import BODY
from windlass.engine.audits import LOST
from windlass.testing.doubles import ScriptedModel

PAID = Usage(tokens_in=7)
LONG = "long " * 2_000


@tool
async def look(place: int) -> str:
    return "key " * place


async def bodies(runtime: Runtime, run: str) -> list[Any]:
    return [BODY.decode(row.body) for row in await runtime.store.find(queries.Rows(run=run))]


async def test_it_stands_in_the_write_that_keeps_the_end_and_repeats_nothing(url: str) -> None:
    scripted = ScriptedModel([LONG], usage=PAID)

    @task(grants=[Allow("look")])
    async def act(text: str, ctx: Context) -> str:
        return (await ctx.model(text)).text[:4] + str(await ctx.tool("look", place=2))

    pipeline = Pipeline("p", [act], models=[scripted.model], tools=[look])
    async with Runtime(url, [pipeline]) as runtime:
        await runtime.run(pipeline, "unique prompt", "r")
        rows = await bodies(runtime, "r")
        raw = b"".join(row.body for row in await runtime.store.find(queries.Rows(run="r")))
        [account] = await runtime.audit("r")
    [finished] = [done for body in rows for done in body.finished]
    assert finished.account is not None
    assert finished.account.cost == {"model_calls": 1, "tokens_in": 7, "tool_calls": 1}
    assert raw.count(b"unique prompt") == 2  # the run's input, and the recorded request
    assert account.models[0].answer.text == LONG
    assert account.tools[0].arguments == {"place": 2}
    assert account.output == {"act": "longkey key "}


async def test_a_conversation_is_written_once_however_long_it_gets(url: str) -> None:
    scripted = ScriptedModel([lambda request: f"answer {len(request.messages)} {'x' * 1_000}"], loop=True)

    @task(retry=Retry(on=OSError, initial=0.01))
    async def act(text: str, ctx: Context) -> int:
        talk = [Message("user", f"{text} {'y' * 1_000}")]
        for turn in range(12):
            talk += [(await ctx.model(talk)).message(), Message("user", f"turn {turn} {'z' * 1_000}")]
            if turn == 5 and ctx.attempt == 1:
                raise OSError("down")
        await ctx.model([*talk[:3], Message("user", "another way")])
        return len(talk)

    pipeline = Pipeline("p", [act], models=[scripted.model])
    async with Runtime(url, [pipeline]) as runtime:
        assert (await runtime.run(pipeline, "hello", "r")).output == 25
        sizes = [len(row.body) for row in await runtime.store.find(queries.Rows(run="r"))]
        [_, account] = await runtime.audit("r")
    assert len(scripted.requests) == 13
    assert [use.request.messages for use in account.models] == [request.messages for request in scripted.requests]
    assert max(sizes) < 6_000


async def test_a_task_without_ports_has_none(url: str) -> None:
    @task
    async def act(n: int, ctx: Context) -> int:
        return int(await ctx.call("add", lambda: n + 1))

    pipeline = Pipeline("p", [act])
    async with Runtime(url, [pipeline]) as runtime:
        await runtime.run(pipeline, 1, "r")
        assert await runtime.audit("r") == []
        with pytest.raises(RunUnknown):
            await runtime.audit("none")


async def test_every_attempt_has_its_own(url: str) -> None:
    scripted = ScriptedModel(["first", "second", "third"], usage=PAID)

    @task(retry=Retry(on=OSError, max_attempts=3, initial=0.01))
    async def act(text: str, ctx: Context) -> str:
        first = await ctx.model(text)
        second = await ctx.model(f"{text} {ctx.attempt}")
        if ctx.attempt == 1:
            raise OSError("down")
        return first.text + second.text

    pipeline = Pipeline("p", [act], models=[scripted.model])
    async with Runtime(url, [pipeline]) as runtime:
        assert (await runtime.run(pipeline, "x", "r")).output == "firstthird"
        failed, done = await runtime.audit("r")
    assert [(account.attempt, account.status) for account in (failed, done)] == [(1, "failed"), (2, "completed")]
    assert [use.answer.text for use in failed.models] == ["first", "second"]
    assert [use.answer.text for use in done.models] == ["first", "third"]
    assert done.cost == {"model_calls": 2, "tokens_in": 14}


async def test_what_recover_puts_in_has_used_nothing(url: str) -> None:
    scripted = ScriptedModel(["x"], usage=PAID)

    def instead(_: TaskError) -> RecoveryAction:
        return Recover.fallback("instead")

    @task(recover=instead)
    async def act(text: str, ctx: Context) -> str:
        await ctx.model(text)
        raise KeyError("no")

    pipeline = Pipeline("p", [act], models=[scripted.model])
    async with Runtime(url, [pipeline]) as runtime:
        assert (await runtime.run(pipeline, "x", "r")).output == "instead"
        assert [account.status for account in await runtime.audit("r")] == ["failed"]


async def test_what_waits_is_shown_without_an_end(url: str) -> None:
    scripted = ScriptedModel(["x"], usage=PAID)

    @task
    async def act(text: str, ctx: Context) -> str:
        await ctx.model(text)
        return str(await ctx.ask("well?"))

    pipeline = Pipeline("p", [act], models=[scripted.model])
    async with Runtime(url, [pipeline]) as runtime:
        await runtime.run(pipeline, "x", "r")
        [open_] = await runtime.audit("r")
        assert (open_.status, open_.address, open_.models[0].answer.text) == ("", "act#1", "x")
        [question] = await runtime.questions("r")
        await runtime.answer(question.id, "yes")
        assert (await runtime.wait("r")).output == "yes"
        [done] = await runtime.audit("r")
    assert (done.status, done.models[0].answer.text, done.cost) == (
        "completed",
        "x",
        {"model_calls": 1, "tokens_in": 7},
    )


async def test_a_refusal_by_a_person_stands_in_it(url: str) -> None:
    @task(grants=[Ask("look")])
    async def act(text: str, ctx: Context) -> str:
        return str(await ctx.tool("look", place=1))

    pipeline = Pipeline("p", [act], tools=[look])
    async with Runtime(url, [pipeline]) as runtime:
        await runtime.run(pipeline, "x", "r")
        [question] = await runtime.questions("r")
        await runtime.answer(question.id, "deny")
        with pytest.raises(RunFailed):
            await runtime.wait("r")
        [account] = await runtime.audit("r")
    assert [(use.name, use.failed, use.digest) for use in account.tools] == [("look", "policy.denied", look.digest)]


async def test_every_activation_has_its_own(url: str) -> None:
    scripted = ScriptedModel(["go on", "stop"])

    @task
    async def one(text: str, ctx: Context) -> str:
        return (await ctx.model(text)).text

    @task
    async def two(one: str, ctx: Context) -> ModelAnswer:
        return await ctx.model(one)

    pipeline = Pipeline("p", [one, two], models=[scripted.model])
    async with Runtime(url, [pipeline]) as runtime:
        await runtime.run(pipeline, "x", "r")
        accounts = await runtime.audit("r")
    assert [account.address for account in accounts] == ["one#1", "two#1"]
    assert isinstance(accounts[1].output["two"], ModelAnswer)


async def test_what_was_dropped_is_shown_as_dropped(url: str) -> None:
    scripted = ScriptedModel([LONG * 20])

    @task
    async def act(text: str, ctx: Context) -> str:
        return (await ctx.model(text)).text[:4]

    pipeline = Pipeline("p", [act], models=[scripted.model])
    async with Runtime(url, [pipeline]) as runtime:
        await runtime.run(pipeline, "x", "r")
        real = runtime.store.find

        async def find(query: Any) -> Any:
            if isinstance(query, queries.Blobs):
                raise StoreCorrupt("a blob is gone")
            return await real(query)

        runtime.store.find = find  # type: ignore[method-assign]
        [account] = await runtime.audit("r")
    assert account.models[0].answer == LOST
    assert account.models[0].request.messages[0].content == "x"
