"""Signals: told by name at any time, kept until a task takes them, each taken once, and none ever lost silently."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict
from unittest.mock import ANY

import pytest
from msgspec import Raw

from tests.engine.mortal import Death, House, go_on, simulate
from windlass import Context, Graph, Pipeline, Retry, RunFailed, Runtime, task
from windlass.core.errors import InputError, RunState, RunUnknown, ValueNotKept
from windlass.core.position import load
from windlass.core.records import Command
from windlass.core.signal_errors import SignalInvalid


@dataclass
class Paid:
    """What a payment provider tells."""

    amount: int


async def kinds(runtime: Runtime, run: str) -> list[str]:
    return [event.type async for event in runtime.events(run)]


async def details(runtime: Runtime, run: str, kind: str) -> list[dict[str, Any]]:
    return [event.data async for event in runtime.events(run) if event.type == kind]


async def left(runtime: Runtime, run: str) -> list[Any]:
    """Name what the run has and nobody has taken."""
    position = load(await runtime.store.load(run))
    return [bytes(one.value).decode() for one in position.signals.values()]


async def until(runtime: Runtime, run: str, many: int) -> None:
    """Wait until a run has so many."""
    for _ in range(500):
        if len(await left(runtime, run)) >= many:
            return
        await asyncio.sleep(0.01)


def taking(*names: str, schema: Any = None, **terms: Any) -> Pipeline:
    @task(id="takes")
    async def takes(n: int, ctx: Context) -> list[Any]:
        return [await ctx.signal(name, schema, **terms) for name in names]

    return Pipeline("taking", [takes], types=[Paid])


async def test_a_wait_gets_the_next_signal_of_its_name(runtime: Runtime) -> None:
    flow = taking("a", "b", "a")
    run = (await runtime.run(flow, 1)).run
    (parked,) = await details(runtime, run, "run.parked")
    assert parked["signals"] == ["a"]
    for name, value in (("c", 0), ("a", 1), ("a", 2), ("b", [3])):
        await runtime.signal(run, name, value, by="ann")
    assert (await runtime.wait(run)).output == [1, [3], 2]
    assert [one["by"] for one in await details(runtime, run, "signal.received")] == ["ann"] * 4
    assert await left(runtime, run) == ["0"]


async def test_a_signal_may_come_before_anybody_waits(url: str) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    @task(id="later")
    async def later(n: int, ctx: Context) -> Any:
        begun.set()
        await go.wait()
        return await ctx.signal("paid", Paid), await ctx.signal("paid", Paid)

    flow = Pipeline("later", [later], types=[Paid])
    async with Runtime(url) as runtime:
        run = await runtime.start(flow, 1, durability="async")
        await begun.wait()
        await runtime.signal(run, "paid", Paid(1))
        await runtime.signal(run, "paid", {"amount": 2})
        go.set()
        assert (await runtime.wait(run)).output == (Paid(1), Paid(2))


async def test_any_process_sends_and_any_goes_on(url: str) -> None:
    flow = taking("go")
    async with Runtime(url) as first:
        run = (await first.run(flow, 1)).run
    async with Runtime(url) as sender:
        await sender.signal(run, "go", "now")
        assert (await sender.get(run)).head.status == "waiting"  # it knows no definition
    async with Runtime(url, [flow]) as worker:
        assert (await worker.wait(run)).output == ["now"]


async def test_a_signal_with_an_id_is_sent_once(runtime: Runtime) -> None:
    run = (await runtime.run(taking("go", "go"), 1)).run
    for value in (1, 1, 2):
        await runtime.signal(run, "go", value, id=f"delivery-{value}")
    assert (await runtime.wait(run)).output == [1, 2]
    other = (await runtime.run(taking("go"), 1)).run
    await runtime.signal(other, "go", 3, id="delivery-1")  # ids are the run's own
    assert (await runtime.wait(other)).output == [3]


async def test_who_sends_is_told_whether_an_id_was_sent_before(runtime: Runtime) -> None:
    run = (await runtime.run(taking("go", "go"), 1)).run
    assert await runtime.signal(run, "go", 5, id="d") is True
    assert await runtime.signal(run, "go", 6, id="d") is False
    assert await runtime.signal(run, "go", 6) is True
    assert (await runtime.wait(run)).output == [5, 6]


async def test_a_signal_has_a_name(runtime: Runtime) -> None:
    run = (await runtime.run(taking("go"), 1)).run
    with pytest.raises(InputError, match="no name"):
        await runtime.signal(run, "", 1)
    with pytest.raises(RunFailed, match="no name"):
        await runtime.run(taking(""), 1)


@pytest.mark.parametrize(
    ("one", "other"),
    [(("a|b", "c"), ("a", "b|c")), (("a%7Cb", "c"), ("a|b", "c")), (("a%", "c"), ("a%25", "c"))],
)
async def test_signals_of_two_runs_do_not_meet(runtime: Runtime, one: tuple[str, str], other: tuple[str, str]) -> None:
    for number, (run, id_) in enumerate((one, other)):
        await runtime.run(taking("go"), 1, id=run)
        await runtime.signal(run, "go", number, id=id_)
        await runtime.signal(run, "go", "again", id=id_)
        assert (await runtime.wait(run)).output == [number]
        assert await left(runtime, run) == []


async def test_each_of_many_waits_gets_one(runtime: Runtime) -> None:
    @task(id="many")
    async def many(n: int, ctx: Context) -> list[int]:
        return list(await asyncio.gather(*(ctx.signal("go", int) for _ in range(n))))

    @task(id="beside")
    async def beside(n: int, ctx: Context) -> int:
        return await ctx.signal("go", int)

    run = (await runtime.run(Pipeline("p", [many, beside]), 3)).run
    for number in range(4):
        await runtime.signal(run, "go", number)
    output = (await runtime.wait(run)).output
    assert sorted([*output["many"], output["beside"]]) == [0, 1, 2, 3]
    assert output["many"] == sorted(output["many"])


async def test_what_does_not_fit_is_refused_where_it_is_sent(runtime: Runtime) -> None:
    run = (await runtime.run(taking("paid", schema=Paid), 1)).run
    with pytest.raises(SignalInvalid, match="amount") as refused:
        await runtime.signal(run, "paid", {"amount": "much"})
    assert refused.value.code == "signal.invalid"
    await runtime.signal(run, "other", "x")  # nobody waits for that yet
    await runtime.signal(run, "paid", {"amount": 5})
    assert (await runtime.wait(run)).output == [Paid(5)]


@pytest.mark.parametrize("schema", [Paid, {"type": "object", "required": ["amount"]}])
async def test_what_came_before_and_does_not_fit_is_told_of_and_skipped(runtime: Runtime, schema: Any) -> None:
    @task(id="takes")
    async def takes(n: int, ctx: Context) -> Any:
        await ctx.ask("Ready?")
        return await ctx.signal("paid", schema)

    run = (await runtime.run(Pipeline("p", [takes], types=[Paid]), 1)).run
    for value in ("no", {"amount": 7}):
        await runtime.signal(run, "paid", value)
    (asked,) = await runtime.questions(run)
    await runtime.answer(asked.id, "yes")
    assert (await runtime.wait(run)).output == (Paid(7) if schema is Paid else {"amount": 7})
    (refused,) = await details(runtime, run, "signal.refused")
    assert refused["name"] == "paid"
    assert refused["why"]
    assert await left(runtime, run) == []


def two_kinds(*, asks: bool) -> Pipeline:
    """Wait for a number and for a text under one name, at once; if it asks first, both may be sent before."""

    @task(id="both")
    async def both(n: int, ctx: Context) -> list[Any]:
        if asks:
            await ctx.ask("Ready?")
        return list(await asyncio.gather(ctx.signal("go", int), ctx.signal("go", str)))

    return Pipeline("both", [both])


@pytest.mark.parametrize("values", [("hello", 7), (7, "hello")])
async def test_a_signal_goes_to_a_wait_that_it_fits(runtime: Runtime, values: tuple[Any, Any]) -> None:
    run = (await runtime.run(two_kinds(asks=False), 1)).run
    for value in values:
        await runtime.signal(run, "go", value)
    assert (await runtime.wait(run)).output == [7, "hello"]
    assert "signal.refused" not in await kinds(runtime, run)


@pytest.mark.parametrize("values", [("hello", 7), (7, "hello"), ([], "hello", 7)])
async def test_what_came_before_goes_to_a_wait_that_it_fits(runtime: Runtime, values: Sequence[Any]) -> None:
    run = (await runtime.run(two_kinds(asks=True), 1)).run
    for value in values:
        await runtime.signal(run, "go", value)
    (asked,) = await runtime.questions(run)
    await runtime.answer(asked.id, "yes")
    assert (await runtime.wait(run)).output == [7, "hello"]
    assert [one["why"] for one in await details(runtime, run, "signal.refused")] == [ANY] * values.count([])
    assert await left(runtime, run) == []


async def test_what_fits_no_wait_is_told_of_by_the_first(url: str) -> None:
    flow = two_kinds(asks=False)
    async with Runtime(url) as runtime:
        run = (await runtime.run(flow, 1)).run
        command = Command(id="unasked", run=run, verb="signal", arguments={"name": "go", "value": Raw(b"[]")})
        await runtime.store.post(command)  # by somebody who does not look
        await runtime.signal(run, "go", "hello")
        await runtime.signal(run, "go", 7)
        assert (await runtime.wait(run)).output == [7, "hello"]
        assert [one["id"] for one in await details(runtime, run, "signal.refused")] == ["unasked"]


async def test_what_is_no_signal_is_refused(runtime: Runtime) -> None:
    flow = taking("go")
    with pytest.raises(RunUnknown):
        await runtime.signal("nobody", "go")
    run = (await runtime.run(flow, 1)).run
    with pytest.raises(InputError):
        await runtime.signal(run, "\ud800")
    with pytest.raises(ValueNotKept):
        await runtime.signal(run, "go", object())
    await runtime.signal(run, "go")
    assert (await runtime.wait(run)).output == [None]
    with pytest.raises(RunState, match="completed"):
        await runtime.signal(run, "go")
    cancelled = (await runtime.run(flow, 1)).run
    await runtime.cancel(cancelled)
    with pytest.raises(RunState, match="cancelled"):
        await runtime.signal(cancelled, "go")


# Deadlines


async def test_none_in_time_is_an_error_or_a_value(runtime: Runtime) -> None:
    with pytest.raises(RunFailed, match="no signal 'go' came in time") as failed:
        await runtime.run(taking("go", deadline=0.05), 1, "r")
    assert failed.value.failure["code"] == "signal.expired"
    await runtime.signal("r", "go", "late")
    await runtime.resume("r")  # it waits again
    assert (await runtime.wait("r")).output == ["late"]
    assert (await runtime.run(taking("go", deadline=0.05, otherwise="none"), 1)).output == ["none"]


def test_a_deadline_goes_on_without_a_process() -> None:
    async def main(house: House) -> None:
        flow = taking("go", schema=str, deadline="1 h", otherwise="none")

        async def leave(runtime: Runtime) -> None:
            await runtime.start(flow, 1, "r")
            await runtime.wait("r", timers=True)

        await house.live(leave, flow)
        await asyncio.sleep(3700)
        found = await house.live(go_on(), flow)
        assert found.output == ["none"]

    simulate(main)


def test_a_deadline_rings_beside_other_work() -> None:
    async def main(house: House) -> None:
        @task(id="busy")
        async def busy(n: int, ctx: Context) -> list[Any]:
            async def work() -> int:
                for place in range(10):
                    await asyncio.sleep(10)
                    await ctx.call(f"sign {place}", int)
                return n

            return list(await asyncio.gather(ctx.signal("go", deadline=30, otherwise="none"), work()))

        flow = Pipeline("p", [busy])

        async def work(runtime: Runtime) -> Any:
            await runtime.start(flow, 1, "r")
            await asyncio.sleep(40)
            await runtime.signal("r", "go", "late")
            result = await runtime.wait("r")
            await asyncio.sleep(1)
            return result, await left(runtime, "r")  # it came after the end, and is in the log all the same

        result, rest = await house.live(work, flow)
        assert result.output == ["none", 1]
        assert rest == ['"late"']

    simulate(main)


@pytest.mark.parametrize(
    "terms",
    [
        {"deadline": "soon"},
        {"otherwise": 1},
        {"deadline": 5, "otherwise": True},
        {"schema": 3},
        {"schema": {"type": "x"}},
    ],
)
async def test_terms_that_cannot_be_are_refused(runtime: Runtime, terms: dict[str, Any]) -> None:
    with pytest.raises(RunFailed, match="InputError"):
        await runtime.run(taking("go", **terms), 1)


# What is waited for no longer


async def test_what_nobody_listens_to_any_more_is_there_for_others(runtime: Runtime) -> None:
    @task(id="first")
    async def first(n: int, ctx: Context) -> str:
        waits = [asyncio.ensure_future(ctx.signal(name, str)) for name in ("a", "b")]
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        return str(min(one.result() for one in done))

    @task(id="second")
    async def second(first: str, ctx: Context) -> list[str]:
        return [first, await ctx.signal("b", str)]

    run = (await runtime.run(Pipeline("p", [first, second]), 1)).run
    await runtime.signal(run, "a", "one")
    await runtime.wait(run)
    await runtime.signal(run, "b", "two")
    assert (await runtime.wait(run)).output == ["one", "two"]


async def test_what_an_attempt_took_and_another_does_not_listen_to_is_given_back(runtime: Runtime) -> None:
    changes = False

    @task(id="first")
    async def first(n: int, ctx: Context) -> Any:
        if not changes:
            await ctx.signal("a")
        return await ctx.ask("well?")

    @task(id="second")
    async def second(first: str, ctx: Context) -> list[str]:
        return [first, await ctx.signal("a", str)]

    run = (await runtime.run(Pipeline("p", [first, second]), 1)).run
    await runtime.signal(run, "a", "one")
    await runtime.wait(run)
    changes = True  # as a deploy would
    (asked,) = await runtime.questions(run)
    await runtime.answer(asked.id, "yes")
    assert (await runtime.wait(run)).output == ["yes", "one"]
    assert "signal.returned" in await kinds(runtime, run)


@pytest.mark.parametrize("busy", [False, True])
async def test_what_is_given_back_goes_to_one_who_waits_for_it(runtime: Runtime, *, busy: bool) -> None:
    taken, done = asyncio.Event(), asyncio.Event()

    @task(id="first", retry=Retry(on=ConnectionError, initial=0.01))
    async def first(n: int, ctx: Context) -> str:
        if ctx.attempt > 1:
            return "without"
        await ctx.signal("a", str)
        taken.set()
        await done.wait()
        raise ConnectionError

    @task(id="second")
    async def second(n: int, ctx: Context) -> str:
        async def work() -> str:
            if busy:
                await taken.wait()
                done.set()
                await asyncio.sleep(0.05)
            return ""

        done.set()
        return "".join(await asyncio.gather(ctx.signal("a", str), work()))

    run = await runtime.start(Pipeline("p", [first, second]), 1)
    for _ in range(500):
        if len(await details(runtime, run, "signal.awaited")) == 2:
            break
        await asyncio.sleep(0.01)
    await runtime.signal(run, "a", "one")
    assert (await runtime.wait(run)).output == {"first": "without", "second": "one"}
    assert await left(runtime, run) == []
    assert (await runtime.replay(run)).differing == ()


# With what people do


class State(TypedDict):
    name: str
    got: str


def named() -> Graph:
    graph = Graph("named", State)

    @graph.node(writes=["got"])
    async def take(name: str, ctx: Context) -> dict[str, str]:
        return {"got": await ctx.signal(name, str)}

    graph.start(take)
    return graph


async def test_an_edit_lets_it_wait_for_something_else(runtime: Runtime) -> None:
    run = (await runtime.run(named(), {"name": "a"})).run
    await runtime.edit(run, {"name": "b"})
    await runtime.wait(run)
    assert "signal.returned" in await kinds(runtime, run)
    await runtime.signal(run, "a", "wrong")
    await runtime.signal(run, "b", "right")
    assert (await runtime.wait(run)).output["got"] == "right"
    assert await left(runtime, run) == ['"wrong"']


async def test_a_paused_run_takes_it_and_goes_on_with_it_when_it_is_resumed(runtime: Runtime) -> None:
    run = (await runtime.run(taking("go", "go"), 1)).run
    await runtime.pause(run)
    await runtime.signal(run, "go", 1)
    await runtime.signal(run, "go", 2)
    await until(runtime, run, 1)  # the other is what its wait has got
    assert (await runtime.get(run)).head.status == "paused"
    await runtime.resume(run)
    assert (await runtime.wait(run)).output == [1, 2]


async def test_a_retry_gets_what_the_attempt_before_it_got(runtime: Runtime) -> None:
    @task(id="flaky", retry=Retry(on=ConnectionError, initial=0.01))
    async def flaky(n: int, ctx: Context) -> int:
        value = await ctx.signal("go", int)
        if ctx.attempt == 1:
            raise ConnectionError
        return value

    run = (await runtime.run(Pipeline("p", [flaky]), 1)).run
    await runtime.signal(run, "go", 1)
    await runtime.signal(run, "go", 2)
    assert (await runtime.wait(run)).output == 1


# Rollback and fork


def looping() -> Graph:
    class Log(TypedDict):
        log: list[int]

    graph = Graph("looping", Log)

    @graph.node(writes=["log"])
    async def take(log: list[int], ctx: Context) -> dict[str, Any]:
        return {"log": [*log, await ctx.signal("go", int)]}

    def more(log: Sequence[int]) -> list[str]:
        return ["take"] if len(log) < 4 else ["__end__"]

    graph.start(take)
    graph.branch(take, more, [take, "__end__"])
    return graph


async def test_a_rollback_makes_what_was_taken_after_its_target_available_again(runtime: Runtime) -> None:
    run = (await runtime.run(looping(), {"log": []})).run
    for number in (1, 2, 3):
        await runtime.signal(run, "go", number)
    await runtime.wait(run)
    assert (await runtime.state(run))["log"] == [1, 2, 3]
    await runtime.rollback(run, ("take", 2))  # 2 was taken after it; it and 3 came after it
    assert await left(runtime, run) == ["2", "3"]
    await runtime.signal(run, "go", 4)
    await runtime.resume(run)
    assert (await runtime.wait(run)).output["log"] == [1, 2, 3, 4]
    await runtime.rollback(run, ("take", 1))
    assert await left(runtime, run) == ["1", "2", "3", "4"]
    await runtime.resume(run)
    assert (await runtime.wait(run)).output["log"] == [1, 2, 3, 4]


async def test_a_rollback_of_a_pipeline_gives_its_tasks_what_they_took(runtime: Runtime) -> None:
    @task(id="one")
    async def one(n: int, ctx: Context) -> int:
        return await ctx.signal("go", int)

    @task(id="two")
    async def two(one: int, ctx: Context) -> list[int]:
        return [one, await ctx.signal("go", int)]

    flow = Pipeline("p", [one, two])
    run = (await runtime.run(flow, 1)).run
    for number in (1, 2, 3):
        await runtime.signal(run, "go", number)
    assert (await runtime.wait(run)).output == [1, 2]
    await until(runtime, run, 1)
    await runtime.rollback(run, ("two", 1))
    assert await left(runtime, run) == ["2", "3"]
    await runtime.resume(run)
    assert (await runtime.wait(run)).output == [1, 2]
    await runtime.rollback(run, ("one", 1))
    assert await left(runtime, run) == ["1", "2", "3"]
    await runtime.resume(run)
    assert (await runtime.wait(run)).output == [1, 2]
    fork = await runtime.fork(run, at=("two", 1))
    assert (await runtime.wait(fork)).output == [1, 2]


# Deaths


KILLS = [Death("commit", number, after=after) for number in range(1, 8) for after in (False, True)]


@pytest.mark.parametrize("death", [*KILLS, Death("post"), Death("post", after=True)], ids=str)
def test_a_death_anywhere_loses_none_and_gives_none_twice(death: Death) -> None:
    async def main(house: House) -> None:
        flow = taking("go", "go", "go")

        async def work(runtime: Runtime) -> Any:
            await runtime.start(flow, 1, "r")
            for number in range(3):
                await runtime.signal("r", "go", number, id=str(number))
                await asyncio.sleep(1)
            return await runtime.wait("r")

        async def again(runtime: Runtime) -> Any:
            await runtime.start(flow, 1, "r")
            for number in range(3):
                if (await runtime.get("r")).head.status != "completed":
                    await runtime.signal("r", "go", number, id=str(number))
                await asyncio.sleep(1)
            return await runtime.wait("r")

        found = await house.live(work, flow, death=death)
        if found is None:
            found = await house.live(again, flow)
        assert found.output == [0, 1, 2]

    simulate(main)
