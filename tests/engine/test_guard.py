"""Limits that runs share fire: breakers, limits, how wide and how deep; also when their owner was killed."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import pytest

from tests.engine.mortal import KILLS, Death, House, begin, end, flaky, go_on, lasting, simulate, told, whole
from windlass import (
    Breaker,
    Budget,
    Context,
    Edge,
    Graph,
    Limit,
    Pipeline,
    Platform,
    Retry,
    Runtime,
    append,
    task,
    tool,
)

# Breakers


def guarded(fails: Any, *breakers: Any, name: str = "p", node: str = "work", **options: Any) -> Pipeline:
    """Make a task behind breakers; `fails(n)` says whether a call fails."""

    @task(id=node, breaker=breakers, **options)
    async def work(n: int) -> int:
        if fails(n):
            raise ConnectionError("down")
        return n

    return Pipeline(name, [work])


TWICE = Breaker("api", failures=2, window=60, cooldown=30, patience=20)


@pytest.mark.parametrize("death", KILLS)
def test_a_breaker_opens_holds_probes_and_closes(death: Death | None) -> None:
    calls: list[float] = []

    def fails(_: int) -> bool:
        calls.append(asyncio.get_running_loop().time())
        return len(calls) <= 3

    pipeline = guarded(fails, TWICE, retry=Retry.fixed(1, on=ConnectionError, max_attempts=9))

    async def main(house: House) -> None:
        found = await whole(house, pipeline, death)
        assert found.output == 1
        state = await house.tally(TWICE.key())
        assert (state.status, state.times) in {("closed", 1), ("closed", 2)}
        gaps = [after - before for before, after in pairwise(calls)]
        assert max(gaps) >= 29  # the cooldown was waited for
        assert await told(house, "run.parked")

    simulate(main)


def test_an_open_breaker_holds_other_runs_and_one_probes() -> None:
    is_down, calls = True, []

    def fails(n: int) -> bool:
        calls.append((round(asyncio.get_running_loop().time()), n))
        return is_down

    pipeline = guarded(fails, TWICE)

    async def main(house: House) -> None:
        async def work(runtime: Runtime) -> None:
            nonlocal is_down
            for n in (1, 2):
                await end(runtime, await runtime.start(pipeline, n, f"r{n}"))
            is_down = False
            runs = [await runtime.start(pipeline, n, f"r{n}") for n in range(3, 9)]
            for run in runs:
                assert (await runtime.wait(run, timers=True)).status == "waiting"
            assert len(calls) == 2
            for n, run in enumerate(runs, start=3):
                assert (await runtime.wait(run)).output == n

        await house.live(work)
        assert [at for at, _ in calls[2:3]] == [30]
        assert (await house.tally(TWICE.key())).status == "closed"
        parked = [len(await told(house, "attempt.held", f"r{n}")) for n in range(3, 9)]
        assert all(parked)

    simulate(main)


def test_a_probe_that_fails_opens_the_breaker_again() -> None:
    calls: list[float] = []

    def fails(_: int) -> bool:
        calls.append(asyncio.get_running_loop().time())
        return len(calls) <= 4

    async def main(house: House) -> None:
        pipeline = guarded(fails, TWICE, retry=Retry.fixed(0, on=ConnectionError, max_attempts=9))
        found = await house.live(begin(pipeline, 1))
        assert found.output == 1
        assert [round(at) for at in calls] == [0, 0, 30, 60, 90]
        assert (await house.tally(TWICE.key())).times == 3

    simulate(main)


@pytest.mark.parametrize("error", [ValueError, ConnectionError])
def test_only_what_is_named_opens_a_breaker(error: type[Exception]) -> None:
    async def main(house: House) -> None:
        only = Breaker("api", failures=1, on=ConnectionError)
        pipeline, _ = flaky(1, error, breaker=only)
        await house.live(begin(pipeline, 1))
        assert (await house.tally(only.key())).status == ("open" if error is ConnectionError else "closed")

    simulate(main)


def test_failures_far_apart_do_not_open_a_breaker() -> None:
    async def main(house: House) -> None:
        pipeline, at = flaky(3, retry=Retry.fixed(50, on=ConnectionError, max_attempts=9),
                             breaker=Breaker("api", failures=3, window=60))  # fmt: skip
        await house.live(begin(pipeline, 1))
        assert [round(one) for one in at] == [0, 50, 100, 150]

    simulate(main)


def test_a_timeout_counts_as_a_failure_of_the_dependency() -> None:
    async def main(house: House) -> None:
        once = Breaker("api", failures=1)
        await house.live(begin(lasting(9, timeout=1, breaker=once), 1))
        assert (await house.tally(once.key())).status == "open"

    simulate(main)


@pytest.mark.parametrize("how", ["denied", "parked"])
def test_a_probe_that_finds_out_nothing_makes_room_for_another(how: str) -> None:
    """The next may try after a cooldown; nobody waits for the patience that a probe has."""

    @task(breaker=Breaker("api", failures=1, cooldown=5, patience=600))
    async def work(kind: str, ctx: Context) -> str:
        if kind == "fails":
            raise ConnectionError("down")
        if kind == "denied":
            await ctx.tool("nothing")
        if kind == "parked":
            await ctx.sleep(20)
        return kind

    @tool
    async def nothing() -> None:
        return None

    pipeline = Pipeline("p", [work], tools=[nothing])

    async def main(house: House) -> None:
        await house.live(begin(pipeline, "fails", run="a"))
        await house.live(begin(pipeline, how, run="b"))
        assert (await house.live(begin(pipeline, "works", run="c"))).output == "works"
        assert house.clock.monotonic() < 60

    simulate(main)


@pytest.mark.parametrize("jump", [-3600, 3600])
def test_a_clock_that_jumps_does_not_keep_a_breaker_open(jump: float) -> None:
    calls: list[int] = []

    def fails(n: int) -> bool:
        calls.append(n)
        return len(calls) <= 2

    async def main(house: House) -> None:
        pipeline = guarded(fails, TWICE)
        for n in (1, 2):
            await house.live(begin(pipeline, n, run=f"r{n}"))
        house.clock.jump(jump)
        assert (await house.live(begin(pipeline, 3))).output == 3
        assert house.clock.monotonic() < 100

    simulate(main)


@pytest.mark.parametrize(("verb", "status"), [("cancel", "cancelled"), ("pause", "paused")])
def test_a_run_that_is_held_can_be_steered(verb: str, status: str) -> None:
    pipeline = guarded(lambda _: True, TWICE, retry=Retry.fixed(0, on=ConnectionError, max_attempts=9))

    async def main(house: House) -> None:
        async def work(runtime: Runtime) -> str:
            await runtime.start(pipeline, 1, "r")
            assert (await runtime.wait("r", timers=True)).status == "waiting"
            await getattr(runtime, verb)("r")
            return (await runtime.get("r")).head.status

        assert await house.live(work) == status

    simulate(main)


SCOPES = ["fleet", "tenant", "definition", "node"]


@pytest.mark.parametrize("scope", SCOPES)
def test_a_scope_says_who_shares_a_breaker(scope: Any) -> None:
    """Acme's run of p.work fails; then each other one either meets its breaker or does not."""
    once = Breaker("api", scope=scope, failures=1, cooldown=1000)
    shares = {"fleet": "tdn", "tenant": "dn", "definition": "tn", "node": "t"}[scope]

    async def main(house: House) -> None:
        await house.live(begin(guarded(lambda _: True, once), 1, tenant="acme"))
        for other, options in {"t": {}, "d": {"name": "q"}, "n": {"node": "other"}}.items():
            pipeline = guarded(lambda _: False, once, **options)

            async def work(runtime: Runtime, pipeline: Pipeline = pipeline, other: str = other) -> str:
                tenant = "else" if other == "t" else "acme"
                run = await runtime.start(pipeline, 1, other, tenant=tenant)
                return (await runtime.wait(run, timers=True)).status

            is_held = await house.live(work) == "waiting"
            assert is_held == (other in shares), other

    simulate(main)


# Limits


@pytest.mark.parametrize("most", [1, 3, None])
def test_so_many_at_once_over_all_runs(most: int | None) -> None:
    busy, peak = 0, 0

    @task(limits=[Limit("gpu", concurrency=most)] if most else None)
    async def work(parts: int) -> int:
        nonlocal busy, peak
        busy += 1
        peak = max(peak, busy)
        await asyncio.sleep(1)
        busy -= 1
        return parts

    @task
    async def parts(n: int) -> list[int]:
        return list(range(n))

    pipeline = Pipeline("p", [parts, work], [Edge("parts", "work", each=True)])

    async def main(house: House) -> None:
        async def rival(runtime: Runtime, place: int) -> None:
            runs = [await runtime.start(pipeline, 4, f"{place} {number}") for number in range(2)]
            for run in runs:
                assert (await runtime.wait(run)).output == [0, 1, 2, 3]

        await asyncio.gather(*(house.live(partial(rival, place=place)) for place in range(2)))
        assert peak == (most or 16)
        state = await house.tally("limit|fleet||gpu")
        assert state.held == {}

    simulate(main)


async def test_so_many_at_once_over_two_processes_of_one_file(tmp_path: Path) -> None:
    busy, peak = 0, 0

    @task(limits=[Limit("gpu", concurrency=2)])
    async def work(n: int) -> int:
        nonlocal busy, peak
        busy += 1
        peak = max(peak, busy)
        await asyncio.sleep(0.02)
        busy -= 1
        return n

    pipeline = Pipeline("p", [work])
    url = f"sqlite:///{tmp_path}/w.db"
    async with Runtime(url) as one, Runtime(url) as other:
        runs = [(runtime, await runtime.start(pipeline, n, f"{n}")) for n in range(4) for runtime in (one, other)
                if n % 2 == (runtime is one)]  # fmt: skip
        assert [(await runtime.wait(run)).output for runtime, run in runs] == [0, 1, 2, 3]
    assert peak <= 2


def test_permits_of_the_dead_come_free() -> None:
    """At once to who takes the run over, and to others when they are not heard of for a minute."""

    @task(limits=[Limit("gpu", concurrency=1)])
    async def work(n: int) -> int:
        await asyncio.sleep(5)
        return n

    pipeline = Pipeline("p", [work])

    async def main(house: House) -> None:
        assert await house.live(begin(pipeline, 1), death=Death("commit")) is None
        assert set((await house.tally("limit|fleet||gpu")).held) == {"r"}
        found = await house.live(begin(pipeline, 2, run="other"))
        assert found.output == 2
        assert 60 <= house.clock.monotonic() < 75
        assert (await house.live(go_on(), pipeline)).output == 1

    simulate(main)


def test_a_permit_is_kept_for_as_long_as_its_attempt_takes() -> None:
    busy: list[int] = []

    @task(limits=[Limit("gpu", concurrency=1)])
    async def work(n: int) -> int:
        busy.append(n)
        assert busy == [n]
        await asyncio.sleep(200)
        busy.remove(n)
        return n

    pipeline = Pipeline("p", [work])

    async def main(house: House) -> None:
        found = await asyncio.gather(*(house.live(begin(pipeline, n, run=f"r{n}")) for n in range(3)))
        assert [result.output for result in found] == [0, 1, 2]
        assert 600 <= house.clock.monotonic() < 620

    simulate(main)


@pytest.mark.parametrize("death", [None, Death("commit", 3), Death("commit", 5, after=True), Death("adjust", 3)])
def test_a_rate_spreads_attempts_over_time(death: Death | None) -> None:
    at: list[float] = []

    @task(limits=[Limit("api", rate="6/min")])
    async def work(parts: int) -> int:
        at.append(asyncio.get_running_loop().time())
        return parts

    @task
    async def parts(n: int) -> list[int]:
        return list(range(n))

    pipeline = Pipeline("p", [parts, work], [Edge("parts", "work", each=True)])

    async def main(house: House) -> None:
        found = await house.live(begin(pipeline, 5), death=death)
        if found is None:
            found = await house.live(go_on(), pipeline)
        assert found.output == [0, 1, 2, 3, 4]
        gaps = [after - before for before, after in pairwise(at)]
        assert all(gap >= 9.9 for gap in gaps), gaps
        assert any(event["due_at"] for event in await told(house, "run.parked"))

    simulate(main)


@pytest.mark.parametrize("scope", SCOPES)
def test_a_scope_says_who_shares_a_limit(scope: Any) -> None:
    slow = Limit("api", rate="1/h", scope=scope)
    shares = {"fleet": "tdn", "tenant": "dn", "definition": "tn", "node": "t"}[scope]

    def limited(name: str = "p", node: str = "work") -> Pipeline:
        @task(id=node, limits=[slow])
        async def work(n: int) -> int:
            return n

        return Pipeline(name, [work])

    async def main(house: House) -> None:
        assert (await house.live(begin(limited(), 1, tenant="acme"))).output == 1
        for other, options in {"t": {}, "d": {"name": "q"}, "n": {"node": "other"}}.items():

            async def work(runtime: Runtime, other: str = other, options: dict[str, str] = options) -> str:
                run = await runtime.start(limited(**options), 1, other, tenant="else" if other == "t" else "acme")
                return (await runtime.wait(run, timers=True)).status

            assert (await house.live(work) == "waiting") == (other in shares), other

    simulate(main)


def test_a_platform_makes_a_declared_limit_tighter_and_never_wider() -> None:
    async def main(house: House) -> None:
        for mine, most in ((2, 2), (9, 4)):
            counted: Counter[str] = Counter()

            @task(limits=[Limit("gpu", concurrency=mine)])
            async def work(parts: int, counted: Counter[str] = counted) -> int:
                counted["busy"] += 1
                counted["peak"] = max(counted["peak"], counted["busy"])
                await asyncio.sleep(1)
                counted["busy"] -= 1
                return parts

            @task
            async def parts(n: int) -> list[int]:
                return list(range(n))

            pipeline = Pipeline("p", [parts, work], [Edge("parts", "work", each=True)])
            platform = Platform(limits=[Limit("gpu", concurrency=4)])
            await house.live(begin(pipeline, 10, run=f"r{mine}"), platform=platform)
            assert counted["peak"] == most

    simulate(main)


# How wide, how deep, how far


@pytest.mark.parametrize("wide", [3, 4])
def test_so_many_activations_may_be_planned_at_once(wide: int) -> None:
    made = []

    @task
    async def parts(n: int) -> list[int]:
        return list(range(wide))

    @task
    async def work(parts: int) -> int:
        made.append(parts)
        return parts

    pipeline = Pipeline("p", [parts, work], [Edge("parts", "work", each=True)], budget=Budget(fan_out=3))

    async def main(house: House) -> None:
        found = await house.live(begin(pipeline, 1))
        if wide == 3:
            assert found.output == [0, 1, 2]
        else:
            assert (found["code"], made) == ("policy.budget", [])
            assert [letter.reason for letter in await house.letters()] == ["budget"]

    simulate(main)


@pytest.mark.parametrize("wide", [2, 3])
def test_a_run_may_begin_so_wide(wide: int) -> None:
    made: list[str] = []

    @dataclass
    class State:
        seen: Annotated[list[str], append] = field(default_factory=list)

    graph = Graph("g", State, budget=Budget(fan_out=2))
    for number in range(wide):

        @graph.node(id=f"n{number}", writes=["seen"])
        async def work(ctx: Context) -> dict[str, list[str]]:
            made.append(ctx.address)
            return {"seen": [ctx.address]}

    graph.start(*(f"n{number}" for number in range(wide)))

    async def main(house: House) -> None:
        found = await house.live(begin(graph, {}))
        if wide == 2:
            assert found.status == "completed"
        else:
            assert (found["code"], made) == ("policy.budget", [])

    simulate(main)


@pytest.mark.parametrize("most", [1, 2])
def test_calls_may_lead_to_calls_so_deep(most: int) -> None:
    @task
    async def work(n: int, ctx: Context) -> int:
        async def outer() -> int:
            return int(await ctx.call("inner", int, "7"))

        return int(await ctx.call("outer", outer))

    async def main(house: House) -> None:
        found = await house.live(begin(Pipeline("p", [work], budget=Budget(depth=most)), 1))
        assert found.output == 7 if most == 2 else found["code"] == "policy.budget"

    simulate(main)


# Leaving


@pytest.mark.parametrize("why", ["held", "retry"])
def test_a_run_that_leaves_does_not_spin_for_what_is_due(why: str) -> None:
    """One element fails for good, another takes long, and a third is due meanwhile: nothing is to be done for it."""

    @task
    async def parts(n: int) -> list[int]:
        return list(range(n))

    @task(
        limits=[Limit("gpu", concurrency=2)] if why == "held" else None,
        retry=Retry.fixed(1.5, on=ConnectionError, max_attempts=9),
    )
    async def work(parts: int) -> int:
        await asyncio.sleep((100, 1, 1)[parts])
        raise {1: ValueError("for good"), 2: ConnectionError("for now")}.get(parts, KeyError(parts))

    async def main(house: House) -> None:
        pipeline = Pipeline("p", [parts, work], [Edge("parts", "work", each=True)])
        found = await house.live(begin(pipeline, 3))
        assert found["kind"] == "ValueError"
        assert 100 <= house.clock.monotonic() < 101
        assert house.loop.turns < 10_000

    simulate(main)
