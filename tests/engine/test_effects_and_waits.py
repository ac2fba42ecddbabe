"""Calls, effects, questions, sleeps: each happens once, whatever interrupts."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from windlass import Context, EffectNotDone, Happened, Pipeline, Retry, RunFailed, Runtime, task
from windlass.core.errors import AnswerInvalid
from windlass.core.records import Command


@dataclass(frozen=True)
class Draft:
    """A value of a declared type."""

    text: str
    words: int


async def test_calls_are_made_once_over_a_failed_attempt(runtime: Runtime) -> None:
    made: list[str] = []

    async def complete(prompt: str) -> Draft:
        made.append(prompt)
        return Draft(prompt.upper(), 1)

    @task(retry=Retry(on=ValueError, max_attempts=2, initial=0))
    async def write(topic: str, ctx: Context) -> str:
        drafts = await asyncio.gather(*(ctx.call("draft", complete, f"{topic}{n % 2}") for n in range(4)))
        if ctx.attempt == 1:
            raise ValueError("again")
        return ",".join(draft.text for draft in drafts)

    assert (await runtime.run(Pipeline("write", tasks=[write]), "a")).output == "A0,A1,A0,A1"
    assert sorted(made) == ["a0", "a0", "a1", "a1"]


async def test_an_effect_that_is_done_is_never_called_again(runtime: Runtime) -> None:
    pushed: list[str] = []

    @task(retry=Retry(on=ValueError, max_attempts=3, initial=0))
    async def push(branch: str, ctx: Context) -> str:
        async def send(key: str) -> str:
            pushed.append(key)
            return "sent"

        key = ctx.key("push")
        said: str = await ctx.effect("push", send, key)
        if ctx.attempt < 3:
            raise ValueError("after the effect")
        return f"{said} {ctx.key('push') == key}"

    result = await runtime.run(Pipeline("push", tasks=[push]), "main")
    assert result.output == "sent True"
    assert len(pushed) == 1
    kinds = [event.type async for event in runtime.events(result.run)]
    assert kinds.count("effect.intended") == kinds.count("effect.completed") == 1


@pytest.mark.parametrize("happened", [True, False])
async def test_an_effect_that_raised_is_in_doubt_and_a_person_decides(runtime: Runtime, happened: bool) -> None:
    calls = 0

    @task(retry=Retry(on=ConnectionError, max_attempts=3, initial=0))
    async def charge(amount: int, ctx: Context) -> str:
        async def pay(amount: int) -> str:
            nonlocal calls
            calls += 1
            if calls == 1:
                raise ConnectionError("the line went dead")
            return "paid"

        said: str = await ctx.effect("pay", pay, amount)
        return said

    result = await runtime.run(Pipeline("charge", tasks=[charge]), 10, id="c")
    assert result.status == "waiting"
    (question,) = await runtime.questions("c")
    assert "pay" in question.prompt
    await runtime.answer(question.id, {"happened": happened, "value": "seen"})
    assert (await runtime.wait("c")).output == ("seen" if happened else "paid")
    assert calls == (1 if happened else 2)


async def test_a_doubt_may_be_verified_or_retried_or_denied(runtime: Runtime) -> None:
    calls: list[str] = []

    async def broken(how: str) -> str:
        calls.append(how)
        if calls.count(how) == 1:
            raise EffectNotDone("refused") if how == "denied" else ConnectionError("dead")
        return f"{how} again"

    async def look(how: str) -> Happened | None:
        return Happened("found") if how == "verified" else None

    @task(retry=Retry(on=(ConnectionError, EffectNotDone), max_attempts=3, initial=0))
    async def act(how: str, ctx: Context) -> str:
        doubt: Any = {"retried": "retry", "denied": "ask"}.get(how, look)
        said: str = await ctx.effect("act", broken, how, on_doubt=doubt)
        return said

    pipeline = Pipeline("act", tasks=[act])
    for how, output in [
        ("verified", "found"), ("absent", "absent again"), ("retried", "retried again"), ("denied", "denied again")
    ]:  # fmt: skip
        assert (await runtime.run(pipeline, how)).output == output
    assert [calls.count(how) for how in ("verified", "absent", "retried", "denied")] == [1, 2, 2, 2]


async def test_gathered_questions_each_get_their_own_answer(url: str) -> None:
    runs = 0

    @task
    async def poll(names: list[str], ctx: Context) -> dict[str, int]:
        nonlocal runs
        runs += 1

        async def one(name: str) -> int:
            before: int = await ctx.call("before", _length, name)
            age: int = await ctx.ask(f"age of {name}?", int)
            return age + 0 * before

        ages = await asyncio.gather(*(one(name) for name in names))
        return dict(zip(names, ages, strict=True))

    pipeline = Pipeline("poll", tasks=[poll])
    names = ["a", "bbb", "cc"]
    async with Runtime(url) as runtime:
        result = await runtime.run(pipeline, names, id="p")
        assert result.status == "waiting"
        questions = await runtime.questions("p")
        assert sorted(q.prompt for q in questions) == sorted(f"age of {name}?" for name in names)
    for number, question in enumerate(reversed(questions)):
        async with Runtime(url, [pipeline]) as runtime:
            await runtime.answer(question.id, len(question.prompt) * 10)
            if number < 2:
                assert (await runtime.wait("p")).status == "waiting"
    async with Runtime(url, [pipeline]) as runtime:
        assert (await runtime.run(pipeline, names, id="p")).output == {
            name: len(f"age of {name}?") * 10 for name in names
        }


async def _length(name: str) -> int:
    await asyncio.sleep(len(name) / 1000)
    return len(name)


async def test_a_wrong_answer_is_asked_again(runtime: Runtime) -> None:
    @task
    async def ask(n: int, ctx: Context) -> int:
        age: int = await ctx.ask("age?", int)
        return age

    await runtime.run(Pipeline("ask", tasks=[ask]), 0, id="a")
    (question,) = await runtime.questions("a")
    with pytest.raises(AnswerInvalid):
        await runtime.answer(question.id, "old")
    await runtime.store.post(
        Command(id="x", run="a", verb="answer", arguments={"question": question.id, "value": "old"})
    )
    await runtime.resume("a")  # by somebody who did not look at the schema
    await runtime.wait("a")
    (again,) = await runtime.questions("a")
    assert again.id != question.id
    assert "refused" in again.prompt
    await runtime.answer(again.id, 4)
    assert (await runtime.wait("a")).output == 4


async def test_the_first_of_two_answers_wins(runtime: Runtime) -> None:
    @task
    async def ask(n: int, ctx: Context) -> str:
        return await ctx.ask("name?", str)

    await runtime.run(Pipeline("ask", tasks=[ask]), 0, id="a")
    (question,) = await runtime.questions("a")
    await runtime.answer(question.id, "ada")
    await runtime.answer(question.id, "ada")
    with pytest.raises(Exception, match="answer"):
        await runtime.answer(question.id, "bob")
    assert (await runtime.wait("a")).output == "ada"


async def test_a_sleep_holds_over_a_restart(url: str) -> None:
    @task
    async def nap(seconds: float, ctx: Context) -> str:
        await ctx.sleep(seconds)
        await ctx.sleep(0)
        return "awake"

    pipeline = Pipeline("nap", tasks=[nap])
    async with Runtime(url) as runtime:
        run = await runtime.start(pipeline, 1.5)
        result = await runtime.wait(run, timers=True)
        assert result.status == "waiting"
        assert result.due_at is not None
    async with Runtime(url, [pipeline]) as runtime:
        assert (await runtime.run(pipeline, 0.05)).output == "awake"
        await runtime.pick_up(run)
        assert (await runtime.wait(run)).output == "awake"


async def test_a_node_that_swallows_its_wait_fails(runtime: Runtime) -> None:
    @task
    async def deaf(n: int, ctx: Context) -> str:
        try:
            return await ctx.ask("anyone?", str)
        except asyncio.CancelledError:
            return "whatever"

    with pytest.raises(RunFailed, match="caught the cancellation"):
        await runtime.run(Pipeline("deaf", tasks=[deaf]), 0)
