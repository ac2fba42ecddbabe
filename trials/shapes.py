"""What is killed: fifteen shapes of runs, each with effects upon outside systems of three kinds (FAULTS 4a)."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Annotated, Any, Literal, TypedDict

from windlass import (
    END,
    Breaker,
    Budget,
    Context,
    Cost,
    Edge,
    Graph,
    Limit,
    Output,
    Pipeline,
    Result,
    Retry,
    Send,
    Stream,
    Task,
    Update,
    Usage,
    Yields,
    append,
    task,
)
from windlass.core.blueprint import Definition
from windlass.core.errors import RunState
from windlass.testing.crash_trial import RUN, Going, Subject
from windlass.testing.crash_world import Target

Kind = Literal["dedupes", "tells", "neither"]
KINDS: tuple[Kind, ...] = ("dedupes", "tells", "neither")
WIDE = 50
Work = Callable[[int, Context], Awaitable[int]]


async def think(number: int) -> int:
    """Cost something: a recorded call."""
    await asyncio.sleep(random.uniform(0, 0.0005))
    return number * 2


def working(bank: Target) -> Work:
    """Make the work of a step: a recorded call, then an effect that takes a moment before and after it happens."""

    async def pay(number: int, key: str) -> int:
        await asyncio.sleep(random.uniform(0.001, 0.003))
        paid: int = bank.do(number * 10, key)
        await asyncio.sleep(random.uniform(0.001, 0.003))
        return paid

    async def work(number: int, ctx: Context) -> int:
        thought: int = await ctx.call("think", think, number)
        paid: int = await ctx.effect("pay", pay, thought // 2, ctx.key("pay"), on_doubt=bank.on_doubt)
        return paid

    return work


class Paying(Task[Any, int]):
    """A task that pays, and adds what was paid before."""

    def __init__(self, place: int, work: Work) -> None:
        self.id = f"s{place}"
        self.place = place
        self.work = work

    async def execute(self, input: Any, ctx: Context) -> int:
        """Pay."""
        before: int = max(input.values()) if isinstance(input, dict) else input
        return await self.work(self.place, ctx) + before


def layers(name: str, edges: list[tuple[str, str]], size: int, bank: Target) -> Definition:
    """Build a pipeline of tasks that pay."""
    return Pipeline(name, [Paying(place, working(bank)) for place in range(1, size + 1)], edges)


def chain(bank: Target) -> Subject:
    """Four steps, one after the other."""
    return Subject(layers("chain", [("s1", "s2"), ("s2", "s3"), ("s3", "s4")], 4, bank), 0)


def diamond(bank: Target) -> Subject:
    """Two of four steps at once."""
    edges = [("s1", "s2"), ("s1", "s3"), ("s2", "s4"), ("s3", "s4")]
    return Subject(layers("diamond", edges, 4, bank), 0)


def wide(bank: Target) -> Subject:
    """A map over fifty items; every tenth pays."""
    work = working(bank)

    @task
    async def spread(n: int) -> list[int]:
        return list(range(n))

    @task
    async def each(spread: int, ctx: Context) -> int:
        return await work(spread, ctx) if spread % 10 == 0 else spread

    @task
    async def join(each: list[int]) -> int:
        return sum(each)

    return Subject(Pipeline("wide", [spread, each, join], [Edge("spread", "each", each=True), ("each", "join")]), WIDE)


class State(TypedDict):
    """Channels of the graphs."""

    n: int
    paid: Annotated[list[int], append]


def loop(bank: Target) -> Subject:
    """A graph that goes round until its state says otherwise."""
    work, graph = working(bank), Graph("loop", State, step_limit=20)

    @graph.node(writes=["n", "paid"])
    async def step(n: int, ctx: Context) -> dict[str, object]:
        return {"n": n + 1, "paid": [await work(n, ctx)]}

    def more(n: int) -> str:
        return END if n > 4 else "step"

    graph.start(step)
    graph.branch(step, more, [step, END])
    return Subject(graph, {"n": 1})


def sends(bank: Target) -> Subject:
    """A graph that fans out to as many as its state says, and joins them."""
    work, graph = working(bank), Graph("sends", State)

    @graph.node(sends=["each"])
    async def spread(n: int) -> Update:
        return Update(sends=[Send("each", number) for number in range(n)])

    @graph.node(id="each", writes=["paid"])
    async def each(item: int, ctx: Context) -> dict[str, list[int]]:
        return {"paid": [await work(item, ctx)]}

    @graph.node(writes=["n"])
    async def join(paid: list[int]) -> dict[str, int]:
        return {"n": sum(paid)}

    graph.start("spread")
    graph.edge("each", "join")
    return Subject(graph, {"n": 4})


def question(bank: Target) -> Subject:
    """A step that pays, asks, and pays again."""
    work = working(bank)

    @task
    async def before(n: int, ctx: Context) -> int:
        return await work(n, ctx)

    @task
    async def ask(before: int, ctx: Context) -> str:
        first, second = await asyncio.gather(ctx.ask("pay?", str), ctx.ask("how much?", int))
        return f"{first} {second} {await work(before + second, ctx)}"

    return Subject(Pipeline("question", [before, ask]), 1, {"pay?": "yes", "how much?": 3})


def timer(bank: Target) -> Subject:
    """A step that sleeps, in memory, between two that pay."""
    work = working(bank)

    @task
    async def before(n: int, ctx: Context) -> int:
        return await work(n, ctx)

    @task
    async def rest(before: int, ctx: Context) -> int:
        await ctx.sleep(0.01)
        paid = await work(before, ctx)
        await ctx.sleep(0.01)
        return paid

    return Subject(Pipeline("timer", [before, rest]), 1)


def retrying(bank: Target) -> Subject:
    """A step that pays, and fails twice after it."""
    work = working(bank)

    @task(retry=Retry(on=ValueError, max_attempts=3, initial=0.0, jitter=0.0))
    async def shaky(n: int, ctx: Context) -> int:
        paid = await work(n, ctx)
        if ctx.attempt < 3:
            raise ValueError("not yet")
        return paid

    @task
    async def after(shaky: int, ctx: Context) -> int:
        return await work(shaky, ctx)

    return Subject(Pipeline("retrying", [shaky, after]), 1)


def stream(bank: Target) -> Subject:
    """A step that consumes what another yields, and pays for each."""

    async def pay(number: int, key: str) -> int:
        await asyncio.sleep(random.uniform(0.001, 0.003))
        paid: int = bank.do(number, key)
        return paid

    @task
    async def talk(n: int) -> Yields[int]:
        for number in range(n):
            await asyncio.sleep(0.001)
            yield number
        yield Output(n)

    @task
    async def listen(talk: Stream[int], ctx: Context) -> list[int]:
        return [
            await ctx.effect("pay", pay, n, ctx.key("pay", str(n)), key=str(n), on_doubt=bank.on_doubt)
            async for n in talk
        ]  # fmt: skip

    return Subject(Pipeline("stream", [talk, listen], [Edge("talk", "listen", stream=True)]), 3)


def compensation(bank: Target) -> Subject:
    """Three effects that a rollback takes back, and that then happen again."""

    async def pay(number: int, key: str) -> int:
        await asyncio.sleep(random.uniform(0.001, 0.002))
        paid: int = bank.do(number, key)
        return paid

    async def refund(number: int, key: str) -> None:
        await asyncio.sleep(random.uniform(0.001, 0.002))
        bank.undo(key)

    @task
    async def begin(n: int) -> int:
        return n

    @task(undo=[refund])
    async def buy(begin: int, ctx: Context) -> int:
        paid = 0
        for number in range(begin):
            key = str(number)
            paid += await ctx.effect(
                "pay", pay, number, ctx.key("pay", key), key=key, undo=refund, on_doubt=bank.on_doubt
            )
        return paid

    @task
    async def leave(buy: int, ctx: Context) -> str:
        return f"{await ctx.ask('well?', str)} {buy}"

    async def back_and_again(going: Going) -> Result:
        while True:
            result = await going.to_the_end()
            if result.status == "paused":
                await going.runtime.resume(RUN)
            elif [event async for event in going.runtime.events(RUN) if event.type == "run.rolled_back"]:
                return result
            else:
                await going.runtime.rollback(RUN, ("buy", 1))

    return Subject(Pipeline("compensation", [begin, buy, leave]), 3, {"well?": "yes"}, drive=back_and_again)


def steered(bank: Target) -> Subject:
    """Three steps that are paused and resumed, and picked up once more when there is nothing left to do."""

    async def steer(going: Going) -> Result:
        if not [event async for event in going.runtime.events(RUN) if event.type == "run.paused"]:
            with suppress(RunState):  # it ended meanwhile
                await going.runtime.pause(RUN)
        while (result := await going.to_the_end()).status == "paused":
            await going.runtime.resume(RUN)
        await going.runtime.pick_up(RUN)  # and given up again
        await going.wait()
        return result

    return Subject(layers("steered", [("s1", "s2"), ("s2", "s3")], 3, bank), 0, drive=steer)


def bounded(bank: Target) -> Subject:
    """Three steps behind a limit and a breaker, under budgets of the run and of its tenant."""
    work = working(bank)
    cost = Cost(estimate=Usage(money=1, model_calls=1))

    def step(place: int) -> Task[Any, Any]:
        @task(id=f"s{place}", timeout=60, limits=[Limit("bank", concurrency=4)], breaker=Breaker("bank", failures=1000))
        async def pays(n: int, ctx: Context) -> int:
            await ctx.call("model", think, place, cost=cost)
            return await work(place, ctx) + n

        return pays

    @task
    async def sums(s1: int, s2: int, s3: int) -> int:
        return s1 + s2 + s3

    edges = [(f"s{place}", "sums") for place in (1, 2, 3)]
    budget = Budget(money=100_000, model_calls=100_000, steps=100_000, wall_time=100_000)
    return Subject(Pipeline("bounded", [*map(step, (1, 2, 3)), sums], edges, budget=budget, run_timeout=50_000), 0)


def signalled(bank: Target) -> Subject:
    """A step that pays between two signals, which are sent once each, before it waits or while it does."""
    work = working(bank)

    @task
    async def takes(n: int, ctx: Context) -> list[int]:
        first = await ctx.signal("go", int)
        return [first, await work(n, ctx), await ctx.signal("go", int)]

    async def send(going: Going) -> Result:
        await going.runtime.start(going.subject.definition, going.subject.input, id=RUN)
        for number in (5, 6):
            with suppress(RunState):  # it has ended
                await going.runtime.signal(RUN, "go", number, id=str(number))
        return await going.to_the_end()

    return Subject(Pipeline("signalled", [takes]), 1, drive=send)


def family(bank: Target) -> Subject:
    """A step that pays and awaits a child run, and one that awaits three at once; each of them pays, too."""
    work = working(bank)

    @task(id="alone")
    async def alone(n: int, ctx: Context) -> int:
        return await work(n, ctx)

    @task(id="more")
    async def more(alone: int, ctx: Context) -> int:
        return await work(alone, ctx)

    @task(id="each")
    async def each(n: int, ctx: Context) -> int:
        return await work(n, ctx)

    one, many = Pipeline("one", [alone, more]), Pipeline("many", [each])

    @task(id="first")
    async def first(n: int, ctx: Context) -> int:
        paid = await work(n, ctx)
        below: int = await ctx.run(one, paid)
        return paid + below

    @task(id="last")
    async def last(first: int, ctx: Context) -> list[int]:
        found: list[int] = await ctx.run_all([(many, number) for number in (1, 2, 3)])
        return [await work(first, ctx), *found]

    return Subject(Pipeline("family", [first, last], children=[one, many]), 1)


def framed(bank: Target) -> Subject:
    """A loop and a map over two, each of them a sub-graph; every visit pays."""
    work, rounds = working(bank), Graph("rounds", State, step_limit=20)

    @rounds.node(writes=["n", "paid"])
    async def step(n: int, ctx: Context) -> dict[str, object]:
        return {"n": n + 1, "paid": [await work(n, ctx)]}

    def more(n: int) -> str:
        return END if n > 2 else "step"

    rounds.start(step)
    rounds.branch(step, more, [step, END])

    @task
    async def pay(item: int, ctx: Context) -> int:
        return await work(item, ctx)

    @task
    async def begin(n: int) -> dict[str, int]:
        return {"n": n}

    @task
    async def spread(rounds: dict[str, Any]) -> list[int]:
        return [rounds["n"] + 10, rounds["n"] + 11]

    @task
    async def end(small: list[int], rounds: dict[str, Any]) -> int:
        return sum([*small, *rounds["paid"]])

    small = Pipeline("small", [pay])
    edges: list[Edge | tuple[str, str]] = [("begin", "rounds"), Edge("spread", "small", each=True)]
    return Subject(Pipeline("framed", [begin, rounds, spread, small, end], edges), 1)


FORMS = (
    chain, diamond, wide, loop, sends, question, timer, retrying, stream, compensation, steered, bounded, signalled,
    family, framed,
)  # fmt: skip
SHAPES: dict[str, Callable[[Target], Subject]] = {shape.__name__: shape for shape in FORMS}


def subjects(*, below: bool = False) -> dict[str, Subject]:
    """Return each shape with each kind of outside system; with `below`, the one that has child runs as well."""
    shapes = {name: shape for name, shape in SHAPES.items() if below or shape is not family}
    return {f"{name}, {kind}": shape(Target("bank", kind)) for name, shape in shapes.items() for kind in KINDS}
