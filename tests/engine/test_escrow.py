"""Budgets fire: each unit, per run, tenant and window; nothing that was paid counts as less, also after a kill."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from tests.engine.mortal import Death, House, begin, end, go_on, simulate, told
from windlass import (
    Allow,
    Budget,
    Ceilings,
    Context,
    Cost,
    Defaults,
    Edge,
    Pipeline,
    Platform,
    Runtime,
    Usage,
    task,
    tool,
)
from windlass.core.errors import ContextClosed, StoreUnavailable
from windlass.engine.escrow import Escrow
from windlass.stores.memory import MemoryStore

PAID: list[int] = []  # what the world outside was paid, a number for each call
KILLS = [
    Death(verb, number, after) for verb in ("commit", "adjust") for number in (1, 2, 3, 4) for after in (False, True)
]
RUN = "budget|run|r"
TENANT = "budget|tenant|default"
HERE: list[House] = []
ONE = 1_000_000


class Priced:
    """A result that says what it used."""

    def __init__(self, usage: Any) -> None:
        self.usage = usage


@pytest.fixture(autouse=True)
def nobody_paid() -> None:
    PAID.clear()


@tool
async def pricing() -> int:
    PAID.append(1)
    return 1


def spender(
    calls: int, cost: Usage | None = None, used: Any = None, *, together: bool = False, **options: Any
) -> Pipeline:
    """Make a task that calls so often, at this cost."""

    async def pay(place: int) -> int:
        PAID.append(place)
        await asyncio.sleep(0.5)
        return place

    @task(grants=[Allow("pricing")])
    async def work(n: int, ctx: Context) -> int:
        async def one(place: int) -> None:
            if cost is None:
                await ctx.tool("pricing")
            else:
                await ctx.call("pay", pay, place, cost=Cost(estimate=cost, read=used))

        if together:
            await asyncio.gather(*map(one, range(calls)))
        else:
            for place in range(calls):
                await one(place)
        return n

    return Pipeline("p", [work], tools=[pricing], **options)


def chain(**options: Any) -> Pipeline:
    """Make a pipeline of five tasks, each of which takes a second and writes a kilobyte."""

    async def slowly(said: str) -> str:
        await asyncio.sleep(1)
        return said

    @task
    async def one(n: int) -> str:
        return await slowly("x" * 1_000)

    @task
    async def two(one: str) -> str:
        return await slowly(one)

    @task
    async def three(two: str) -> str:
        return await slowly(two)

    @task
    async def four(three: str) -> str:
        return await slowly(three)

    @task
    async def five(four: str) -> str:
        return await slowly(four)

    return Pipeline("p", [one, two, three, four, five], **options)


UNITS: dict[str, Callable[[Budget], Pipeline]] = {
    "tokens_in": lambda budget: spender(5, Usage(tokens_in=1), budget=budget),
    "tokens_out": lambda budget: spender(5, Usage(tokens_out=1), budget=budget),
    "money": lambda budget: spender(5, Usage(money=1), budget=budget),
    "model_calls": lambda budget: spender(5, Usage(model_calls=1), budget=budget),
    "tool_calls": lambda budget: spender(5, budget=budget),
    "steps": lambda budget: chain(budget=budget),
    "wall_time": lambda budget: chain(budget=budget),
    "bytes": lambda budget: chain(budget=budget),
}


@pytest.mark.parametrize("where", ["definition", "default", "ceiling", "platform"])
@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("fires", [False, True])
def test_a_budget_of_each_unit(unit: str, where: str, fires: bool) -> None:
    limits: dict[str, tuple[Any, Any]] = {"bytes": (12_000, 4_000), "wall_time": (5.5, 4.5)}
    enough, less = limits.get(unit, (5, 4))
    declared: list[dict[str, Any]] = [{unit: less if fires else enough}, {unit: 10 * enough}]
    budget, ample = (Budget(**one) for one in declared)
    platform = {
        "definition": Platform(),
        "default": Platform(defaults=Defaults(budget=budget)),
        "ceiling": Platform(ceilings=Ceilings(budget=budget)),
        "platform": Platform(budgets=[budget]),
    }[where]
    pipeline = UNITS[unit](budget if where == "definition" else ample)
    if where == "default":
        pipeline = UNITS[unit](None)  # type: ignore[arg-type]

    async def main(house: House) -> None:
        found = await house.live(begin(pipeline, 1), platform=platform)
        (state,) = [await house.tally(RUN)]
        counted = {"wall_time": "wall"}.get(unit, unit)
        assert state.own is None
        if not fires:
            assert found.status == "completed"
            assert 0 < state.spent[counted] <= budget.shared[counted]
            return
        assert found["code"] == "policy.budget"
        assert unit.removesuffix("_time") in found["message"]
        (letter,) = await house.letters()
        assert letter.reason == "budget"
        if unit not in ("bytes", "steps"):  # of these what is written last is counted, too
            assert state.spent[counted] <= budget.shared[counted] + (50 if unit == "wall_time" else 0)
        if unit in ("tokens_in", "tokens_out", "money", "model_calls", "tool_calls"):
            assert len(PAID) == 4

    simulate(main)


@pytest.mark.parametrize("durability", ["async", "exit"])
@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("fires", [False, True])
def test_a_budget_holds_whenever_writes_become_durable(unit: str, fires: bool, durability: str) -> None:
    limits: dict[str, tuple[Any, Any]] = {"bytes": (12_000, 4_000), "wall_time": (5.5, 4.5)}
    declared: dict[str, Any] = {unit: limits.get(unit, (5, 4))[fires]}

    async def main(house: House) -> None:
        found = await house.live(begin(UNITS[unit](Budget(**declared)), 1, durability=durability))
        assert found["code"] == "policy.budget" if fires else found.status == "completed"
        state = await house.tally(RUN)
        assert (state.held, state.own) == ({}, None)

    simulate(main)


@pytest.mark.parametrize("unit", UNITS)
def test_of_nothing_there_is_nothing(unit: str) -> None:
    async def main(house: House) -> None:
        declared: dict[str, Any] = {unit: 0}
        found = await house.live(begin(UNITS[unit](Budget(**declared)), 1))
        assert (found["code"], PAID) == ("policy.budget", [])

    simulate(main)


@pytest.mark.parametrize("wide", [5, 6])
def test_steps_are_finished_activations(wide: int) -> None:
    @task
    async def parts(n: int) -> list[int]:
        return list(range(wide))

    @task
    async def work(parts: int) -> int:
        await asyncio.sleep(1)
        return parts

    @task
    async def last(work: list[int]) -> int:
        return len(work)

    edges: list[Any] = [Edge("parts", "work", each=True), ("work", "last")]
    pipeline = Pipeline("p", [parts, work, last], edges, budget=Budget(steps=7))

    async def main(house: House) -> None:
        found = await house.live(begin(pipeline, 1))
        assert found["code"] == "policy.budget" if wide == 6 else (await house.tally(RUN)).spent["steps"] == 7

    simulate(main)


@pytest.mark.parametrize("death", KILLS)
@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("per", ["run", "tenant"])
def test_what_was_paid_is_never_forgotten(per: Any, together: bool, death: Death) -> None:
    pipeline = spender(6, Usage(money=1), together=together, budget=Budget(money=9, per=per))

    async def main(house: House) -> None:
        found = await house.live(begin(pipeline, 1), death=death)
        key = RUN if per == "run" else "budget|tenant|default"
        while found is None or isinstance(found, dict):
            paid = len(PAID) * 1_000_000
            state = await house.tally(key)
            assert state.spent.get("money", 0) + state.held.get("money", 0) >= paid
            assert state.spent.get("money", 0) + state.held.get("money", 0) <= 9_000_000
            if found is not None:
                assert found["code"] == "policy.budget"
                assert state.held == {}
                return
            found = await house.live(go_on(), pipeline)
        state = await house.tally(key)
        assert (found.output, state.held) == (1, {})
        assert len(PAID) * 1_000_000 <= state.spent["money"] <= 9_000_000

    simulate(main)


@pytest.mark.parametrize(
    ("used", "spent", "said"),
    [
        (lambda _: Usage(money="0.25"), 750_000, None),
        (lambda _: Usage(money=3), 6_000_000, None),  # two calls at thrice the estimate; the third is not made
        (lambda _: None, 3_000_000, "says no usage"),
        (lambda _: Usage(money=-1), 3_000_000, "-1"),
        (lambda _: Usage(money=float("nan")), 3_000_000, "nan"),
        (lambda _: {"money": 1}, 3_000_000, "says no usage"),
        (lambda _: 1 / 0, 3_000_000, "ZeroDivisionError"),
    ],
)
def test_what_a_call_came_to_is_counted_or_its_estimate(used: Any, spent: int, said: str | None) -> None:
    async def main(house: House) -> None:
        found = await house.live(begin(spender(3, Usage(money=1), used, budget=Budget(money=4)), 1))
        state = await house.tally(RUN)
        assert state.spent["money"] == spent
        estimated = await told(house, "budget.estimated")
        assert len(estimated) == (3 if said else 0)
        assert all(said in event["why"] for event in estimated if said)
        assert (found["code"] == "policy.budget") if spent > 4_000_000 else found.output == 1

    simulate(main)


CHEAP = Usage(money=2, tokens_in=7)
MUCH = [Death("commit", number, after) for number in (2, 5, 9, 13, 16, 30) for after in (False, True)]


@pytest.mark.parametrize("per", ["run", "tenant"])
def test_the_calls_of_a_while_are_held_where_much_is_left(per: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most writes tell nothing of a budget; what is told is all that was spent, also of what has no limit."""
    ridden: list[int] = []
    ride = Escrow.ride

    def watched(escrow: Escrow, *, close: bool) -> Any:
        changes = ride(escrow, close=close)
        ridden.append(len(changes))
        return changes

    monkeypatch.setattr(Escrow, "ride", watched)
    pipeline = spender(40, CHEAP, lambda _: Usage(money=1, tokens_in=3), budget=Budget(money=20_000, per=per))

    async def main(house: House) -> None:
        assert (await house.live(begin(pipeline, 1))).output == 1
        state = await house.tally(RUN if per == "run" else TENANT)
        assert (state.spent, state.held) == ({"money": 40 * ONE, "tokens_in": 120}, {})
        assert len(ridden) > 40
        assert sum(ridden) < 10

    simulate(main)


@pytest.mark.parametrize("death", MUCH)
@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("per", ["run", "tenant"])
def test_what_was_paid_is_held_where_much_is_left(per: Any, together: bool, death: Death) -> None:
    """A killed owner's calls are covered by what it held, of every unit; more than a part of what was left is not."""
    pipeline = spender(
        40, CHEAP, lambda _: Usage(money=1, tokens_in=3), together=together, budget=Budget(money=20_000, per=per)
    )
    key = RUN if per == "run" else TENANT

    async def main(house: House) -> None:
        found = await house.live(begin(pipeline, 1), death=death)
        state = await house.tally(key)
        for unit, each in (("money", ONE), ("tokens_in", 3)):
            total = state.spent.get(unit, 0) + state.held.get(unit, 0)
            assert total >= len(PAID) * each
        most = len(PAID) + (80 + 200 if together else 2 + 20)  # paid, set aside for calls, and held for the next ones
        assert state.spent.get("money", 0) + state.held.get("money", 0) <= most * ONE
        if found is None:
            found = await house.live(go_on(), pipeline)
        after = await house.tally(key)
        assert (found.output, after.held) == (1, {})
        assert after.spent["money"] >= len(PAID) * ONE
        assert after.spent["tokens_in"] >= len(PAID) * 3

    simulate(main)


@pytest.mark.parametrize("number", range(2, 7))
def test_what_nobody_has_expected_is_told_with_its_call(number: int) -> None:
    """Nothing is held of a unit that the estimate does not name, so it cannot wait for a later write."""
    budget = Budget(money=20_000, tokens_in=10_000)
    pipeline = spender(8, Usage(money=1), lambda _: Usage(money=1, tokens_in=3), budget=budget)

    async def main(house: House) -> None:
        assert await house.live(begin(pipeline, 1), death=Death("commit", number, after=True)) is None
        state = await house.tally(RUN)
        assert state.spent["tokens_in"] == len(PAID) * 3 > 0

    simulate(main)


@pytest.mark.parametrize(("limit", "held"), [(19, 1), (220, 2), (2_000, 10), (9_000, 10)])
def test_of_little_that_is_left_little_is_held(limit: int, held: int) -> None:
    """A hundredth of what is left to the run, but the next call, and at most ten."""
    seen: list[int] = []

    async def look() -> int:
        found = await HERE[0].tally(RUN)
        seen.append(found.held["model_calls"])
        return 1

    @task
    async def work(n: int, ctx: Context) -> int:
        for place in range(3):
            await ctx.call("look", look, key=f"{place}", cost=Cost(estimate=Usage(model_calls=1)))
        return n

    async def main(house: House) -> None:
        HERE[:] = [house]
        assert (await house.live(begin(Pipeline("p", [work], budget=Budget(model_calls=limit)), 1))).output == 1
        assert seen == [1, held, held]
        assert (await house.tally(RUN)).spent == {"model_calls": 3}

    simulate(main)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("limit", [3, 25, 120])
def test_a_run_makes_exactly_the_calls_that_it_may(limit: int, together: bool) -> None:
    async def main(house: House) -> None:
        pipeline = spender(limit + 5, Usage(model_calls=1), together=together, budget=Budget(model_calls=limit))
        found = await house.live(begin(pipeline, 1))
        assert (found["code"], len(PAID)) == ("policy.budget", limit)
        assert (await house.tally(RUN)).spent == {"model_calls": limit}

    simulate(main)


def test_a_call_that_fails_counts_at_its_estimate() -> None:
    async def fails() -> None:
        raise ConnectionError("after it was paid")

    @task
    async def work(n: int, ctx: Context) -> None:
        await ctx.call("pay", fails, cost=Cost(estimate=Usage(money=1)))

    async def main(house: House) -> None:
        await house.live(begin(Pipeline("p", [work], budget=Budget(money=4)), 1))
        state = await house.tally(RUN)
        assert (state.spent, state.held) == ({"money": 1_000_000}, {})

    simulate(main)


def test_a_larger_call_may_have_all_that_is_left() -> None:
    """What a call gave back is not kept from the next one of the same run."""

    async def pay(estimate: int) -> int:
        PAID.append(estimate)
        return estimate

    @task
    async def work(n: int, ctx: Context) -> int:
        for estimate in (6, 9):
            cost = Cost(estimate=Usage(money=estimate), read=lambda _: Usage(money=1))
            await ctx.call("pay", pay, estimate, cost=cost)
        return n

    async def main(house: House) -> None:
        found = await house.live(begin(Pipeline("p", [work], budget=Budget(money=10)), 1))
        assert getattr(found, "output", found) == 1
        assert (await house.tally(RUN)).spent == {"money": 2_000_000}

    simulate(main)


@pytest.mark.parametrize("together", [False, True])
def test_a_call_in_flight_counts_when_its_process_lets_go(together: bool) -> None:
    pipeline = spender(3, Usage(money=1), together=together, budget=Budget(money=9))

    async def main(house: House) -> None:
        async def leave(runtime: Runtime) -> str:
            await runtime.start(pipeline, 1, "r")
            await asyncio.sleep(0.1)  # calls are in flight
            return "left"

        assert await house.live(leave) == "left"
        state = await house.tally(RUN)
        assert len(PAID) == (3 if together else 1)
        assert (state.spent, state.held) == ({"money": len(PAID) * 1_000_000}, {})

    simulate(main)


def test_a_call_of_an_attempt_that_is_given_up_counts_once() -> None:
    seen: list[BaseException] = []

    async def deaf() -> int:
        PAID.append(1)
        for _ in range(3):
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                continue
        return 1

    @task(timeout=5)
    async def work(n: int, ctx: Context) -> int:
        try:
            return int(await ctx.call("pay", deaf, cost=Cost(estimate=Usage(money=1))))
        except BaseException as error:
            seen.append(error)
            raise

    async def main(house: House) -> None:
        async def wait(runtime: Runtime) -> Any:
            found = await begin(Pipeline("p", [work], budget=Budget(money=9)), 1)(runtime)
            await asyncio.sleep(60)  # the call comes back meanwhile
            return found

        found = await house.live(wait)
        assert found["kind"] == "AttemptTimeout"
        assert [type(error) for error in seen] == [ContextClosed]
        state = await house.tally(RUN)
        assert (state.spent, state.held) == ({"money": ONE}, {})

    simulate(main)


# Who shares it


def test_a_tenants_runs_share_what_a_tenant_has() -> None:
    pipeline = spender(3, Usage(money=1), budget=Budget(money=5, per="tenant"))

    async def main(house: House) -> None:
        assert (await house.live(begin(pipeline, 1, tenant="acme"))).output == 1
        assert (await house.live(begin(pipeline, 1, run="s", tenant="acme")))["code"] == "policy.budget"
        assert (await house.live(begin(pipeline, 1, run="t", tenant="else"))).output == 1
        state = await house.tally("budget|tenant|acme")
        assert (state.spent, state.held) == ({"money": 5_000_000}, {})

    simulate(main)


@pytest.mark.parametrize(("window", "rest"), [("day", 86_400), ("month", 31 * 86_400), (None, 31 * 86_400)])
def test_a_window_begins_anew(window: Any, rest: int) -> None:
    """Also while a run goes on, and also for one whose owner was killed in the old window."""

    async def pay(place: int) -> int:
        PAID.append(place)
        return place

    @task
    async def work(n: int, ctx: Context) -> int:
        for place in range(3):
            await ctx.call("pay", pay, place, cost=Cost(estimate=Usage(money=1)))
        await ctx.sleep(rest)
        for place in range(3, 6):
            await ctx.call("pay", pay, place, cost=Cost(estimate=Usage(money=1)))
        return n

    pipeline = Pipeline("p", [work], budget=Budget(money=3, per="tenant", window=window))

    async def main(house: House) -> None:
        found = await house.live(begin(pipeline, 1))
        if window is None:
            assert (found["code"], len(PAID)) == ("policy.budget", 3)
            return
        assert (found.output, len(PAID)) == (1, 6)
        for name in {"day": ("2025-06-15", "2025-06-16"), "month": ("2025-06", "2025-07")}[window]:
            state = await house.tally(f"budget|tenant|default|{name}")
            assert (state.spent, state.held) == ({"money": 3_000_000}, {}), name

    simulate(main)


def test_a_window_that_ends_under_a_call_is_charged_for_it() -> None:
    async def long(place: int) -> int:
        await asyncio.sleep(9 * 3600)
        return place

    @task
    async def work(n: int, ctx: Context) -> int:
        for place in range(2):
            await ctx.call("pay", long, place, cost=Cost(estimate=Usage(money=1)))
        return n

    pipeline = Pipeline("p", [work], budget=Budget(money=1, per="tenant", window="day"))

    async def main(house: House) -> None:
        assert (await house.live(begin(pipeline, 1))).output == 1  # at 15:06 and at 00:06
        for name in ("2025-06-15", "2025-06-16"):
            state = await house.tally(f"budget|tenant|default|{name}")
            assert (state.spent, state.held) == ({"money": 1_000_000}, {}), name

    simulate(main)


def test_what_an_ended_window_held_is_given_back_by_the_write_that_dates_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An owner asks for the new day and never hears; another write of its own arrives, and it dies."""

    async def pay(place: int) -> int:
        PAID.append(place)
        return place

    async def note(place: int) -> int:
        await asyncio.sleep(1)
        return place

    @task
    async def work(n: int, ctx: Context) -> int:
        await ctx.call("pay", pay, 0, cost=Cost(estimate=Usage(money=1)))  # and as much again is held
        await asyncio.sleep(10 * 3600)
        larger = ctx.call("pay", pay, 1, cost=Cost(estimate=Usage(money=2)))
        await asyncio.gather(larger, ctx.call("note", note, 2))
        return n

    pipeline = Pipeline("p", [work], budget=Budget(money=3, per="tenant", window="day"))

    async def main(house: House) -> None:
        adjust = MemoryStore.adjust

        async def slow(store: MemoryStore, puts: Any) -> Any:
            if house.lives == 1 and any(put.key.endswith("2025-06-16") for put in puts):
                await house.loop.create_future()
            return await adjust(store, puts)

        monkeypatch.setattr(MemoryStore, "adjust", slow)
        assert await house.live(begin(pipeline, 1), death=Death("commit", 2, after=True)) is None
        assert (await house.live(go_on(), pipeline)).output == 1
        for name, spent in (("2025-06-15", 1_000_000), ("2025-06-16", 2_000_000)):
            state = await house.tally(f"budget|tenant|default|{name}")
            assert (state.spent, state.held) == ({"money": spent}, {}), name

    simulate(main)


def test_what_was_told_in_vain_counts_as_spent_when_its_window_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async def down(place: int) -> int:
        raise ConnectionError(place)

    @task
    async def work(n: int, ctx: Context) -> int:
        with suppress(ConnectionError):
            await ctx.call("pay", down, 0, cost=Cost(estimate=Usage(money=1)))
        with suppress(StoreUnavailable):
            await ctx.call("pay", down, 1, cost=Cost(estimate=Usage(money=1)))
        await asyncio.sleep(86_400)
        with suppress(ConnectionError):
            await ctx.call("pay", down, 2, cost=Cost(estimate=Usage(money=1)))
        return n

    pipeline = Pipeline("p", [work], budget=Budget(money=2, per="tenant", window="day"))
    adjust = MemoryStore.adjust
    refused: list[int] = []

    async def once(store: MemoryStore, puts: Any) -> Any:
        if not refused and any(put.op.spent for put in puts):
            refused.append(1)
            raise StoreUnavailable("gone")
        return await adjust(store, puts)

    async def main(house: House) -> None:
        monkeypatch.setattr(MemoryStore, "adjust", once)
        assert (await house.live(begin(pipeline, 1))).output == 1
        state = await house.tally("budget|tenant|default|2025-06-15")
        assert (refused, state.spent, state.held) == ([1], {"money": 1_000_000}, {})

    simulate(main)


def test_what_a_dead_owner_held_of_a_day_ahead_counts_as_spent() -> None:
    """Its clock was a day ahead, and it had written nothing yet."""

    async def pay(place: int) -> int:
        PAID.append(place)
        return place

    async def main(house: House) -> None:
        @task
        async def work(n: int, ctx: Context) -> int:
            if house.lives == 1:
                await asyncio.sleep(86_400)
            await ctx.call("pay", pay, 0, cost=Cost(estimate=Usage(money=1)))
            return n

        pipeline = Pipeline("p", [work], budget=Budget(money=2, per="tenant", window="day"))
        assert await house.live(begin(pipeline, 1), death=Death("commit", 1)) is None
        house.clock.jump(-86_400)
        assert (await house.live(go_on(), pipeline)).output == 1
        for name in ("2025-06-15", "2025-06-16"):
            state = await house.tally(f"budget|tenant|default|{name}")
            assert (state.spent, state.held) == ({"money": 1_000_000}, {}), name

    simulate(main)


def test_every_budget_in_force_has_to_have_enough() -> None:
    platform = Platform(budgets=[Budget(model_calls=4, per="tenant"), Budget(money=8, per="tenant", window="day")])
    pipeline = spender(3, Usage(money=1, model_calls=1), budget=Budget(money=3))

    async def main(house: House) -> None:
        assert (await house.live(begin(pipeline, 1), platform=platform)).output == 1
        found = await house.live(begin(pipeline, 1, run="s"), platform=platform)
        assert (found["code"], "tenant" in found["message"], len(PAID)) == ("policy.budget", True, 4)

    simulate(main)


@pytest.mark.parametrize("runs", [1, 4])
def test_calls_at_once_never_reserve_more_than_there_is(runs: int) -> None:
    pipeline = spender(25, Usage(money=1), together=True, budget=Budget(money=40, per="tenant"))

    async def main(house: House) -> None:
        async def rival(runtime: Runtime, name: str) -> Any:
            return await end(runtime, await runtime.start(pipeline, 1, name))

        await asyncio.gather(*(house.live(partial(rival, name=f"r{n}")) for n in range(runs)))
        state = await house.tally("budget|tenant|default")
        assert state.spent["money"] == len(PAID) * 1_000_000
        assert len(PAID) == min(40, 25 * runs)
        assert state.held == {}

    simulate(main)
