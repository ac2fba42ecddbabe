"""The edge of a budget: the run stops, asks a person, wraps up or hands over; also when it is killed at it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest

from tests.engine.mortal import Death, House, begin, end, go_on, simulate, told
from windlass import (
    END,
    Allow,
    Budget,
    Context,
    Cost,
    Graph,
    HandTo,
    Pipeline,
    Platform,
    Runtime,
    Update,
    Usage,
    WrapUp,
    append,
    task,
    tool,
)
from windlass.policies.budget import Edge

KILLS = [None, *(Death(verb, number, after) for verb in ("commit", "adjust") for number in range(1, 11)
                 for after in (False, True))]  # fmt: skip
BEGUN: list[str] = []  # addresses whose code began
RUN = "budget|run|r"


@pytest.fixture(autouse=True)
def nothing_begun() -> None:
    BEGUN.clear()


@dataclass
class State:
    notes: Annotated[list[str], append] = field(default_factory=list)
    summary: str = ""


@tool
async def look(place: int) -> int:
    await asyncio.sleep(1)
    return place


def research(budget: Budget, *, seconds: float = 1, at_most: int = 100) -> Graph:
    """Make a loop that looks again and again, and sums up at its end or at its budget's."""
    graph = Graph("g", State, tools=[look], grants=[Allow("look")], budget=budget)

    @graph.node(writes=["notes"], goto=["search", "report"])
    async def search(notes: list[str], ctx: Context) -> Update:
        BEGUN.append(ctx.address)
        await ctx.tool("look", place=len(notes))
        await ctx.call("think", len, notes, cost=Cost(estimate=Usage(money=1, model_calls=1)))
        return Update(notes=[ctx.address], goto="search" if len(notes) + 1 < at_most else "report")

    @graph.node(writes=["summary"], goto=[END])
    async def report(notes: list[str], ctx: Context) -> Update:
        BEGUN.append(ctx.address)
        await asyncio.sleep(seconds)
        await ctx.call("think", len, notes, cost=Cost(estimate=Usage(money=1, model_calls=1)))
        return Update(summary=f"{len(notes)} notes", goto=END)

    graph.start("search")
    return graph


BUDGETS: dict[str, Callable[[Edge], Budget]] = {  # of each what ten rounds come to
    "money": lambda edge: Budget(money=10, edge=edge),
    "model_calls": lambda edge: Budget(model_calls=10, edge=edge),
    "tool_calls": lambda edge: Budget(tool_calls=10, edge=edge),
    "steps": lambda edge: Budget(steps=10, edge=edge),
    "wall_time": lambda edge: Budget(wall_time=10, edge=edge),
}


# Wrap up


@pytest.mark.parametrize("unit", BUDGETS)
@pytest.mark.parametrize("death", KILLS)
def test_a_run_wraps_up_once_with_what_was_held_back(unit: str, death: Death | None) -> None:
    graph = research(BUDGETS[unit](WrapUp(node="report", reserve=0.3)), seconds=2)

    async def main(house: House) -> None:
        found = await house.live(begin(graph, {}), death=death)
        if found is None:
            found = await house.live(go_on(), graph)
        assert getattr(found, "status", found) == "completed"
        notes = len(found.output["notes"])
        assert found.output["summary"] == f"{notes} notes"
        assert 4 <= notes <= 7
        wrapped = [address for address in BEGUN if address.startswith("report")]
        assert 1 <= len(wrapped) <= 1 + (house.lives > 1)
        assert set(wrapped) == {"report#1[wrap]"}
        spent = (await house.tally(RUN)).spent
        counted = {"wall_time": "wall"}.get(unit, unit)
        assert spent[counted] <= BUDGETS[unit]("stop").shared[counted]
        assert len(await told(house, "budget.exceeded")) == 1

    simulate(main)


def test_a_run_within_its_budget_does_not_wrap_up() -> None:
    async def main(house: House) -> None:
        graph = research(Budget(money=10, edge=WrapUp(node="report", reserve=0.3)), at_most=3)
        found = await house.live(begin(graph, {}))
        assert (found.output["summary"], BEGUN[-1]) == ("3 notes", "report#1")
        assert not await told(house, "budget.exceeded")

    simulate(main)


@pytest.mark.parametrize("budget", [Budget(money="10.3", edge=WrapUp(node="report", reserve=0.02)),
                                    Budget(wall_time=10, edge=WrapUp(node="report", reserve=0.05))])  # fmt: skip
def test_a_reserve_that_is_too_small_stops_the_run(budget: Budget) -> None:
    async def main(house: House) -> None:
        found = await house.live(begin(research(budget, seconds=5), {}))
        assert found["code"] == "policy.budget"
        assert [letter.reason for letter in await house.letters()] == ["budget"]
        assert BEGUN[-1] == "report#1[wrap]"
        assert (await house.tally(RUN)).spent.get("wall", 0) <= 10_100

    simulate(main)


def test_what_runs_beside_is_stopped_and_its_output_left_out() -> None:
    graph = Graph("g", State, budget=Budget(money=2, edge=WrapUp(node="report", reserve=0.5)))

    @graph.node(writes=["notes"])
    async def spend(ctx: Context) -> dict[str, list[str]]:
        await asyncio.sleep(1)
        for place in range(3):
            await ctx.call("think", str, place, cost=Cost(estimate=Usage(money=1)))
        return {"notes": ["spent"]}

    @graph.node(writes=["notes"])
    async def wait(ctx: Context) -> dict[str, list[str]]:
        await asyncio.sleep(100)
        return {"notes": ["waited"]}

    @graph.node(writes=["notes"])
    async def early() -> dict[str, list[str]]:
        return {"notes": ["early"]}

    @graph.node(writes=["summary"])
    async def report(notes: list[str]) -> dict[str, str]:
        return {"summary": ",".join(notes)}

    graph.start("spend", "wait", "early")

    async def main(house: House) -> None:
        found = await house.live(begin(graph, {}))
        assert found.output == {"notes": ["early"], "summary": "early"}
        assert house.clock.monotonic() < 3

    simulate(main)


# Ask


def asking(unit: str, rounds: int = 12) -> Any:
    return research(BUDGETS[unit]("ask"), at_most=rounds)


async def give(runtime: Runtime, more: float) -> str:
    """Answer the run's one question; returns its id."""
    (question,) = await runtime.questions("r")
    await runtime.answer(question.id, more, by="ann")
    return question.id


@pytest.mark.parametrize("unit", BUDGETS)
@pytest.mark.parametrize("more", [30, 0])
def test_a_person_says_how_much_more_it_may_be(unit: str, more: int) -> None:
    graph = asking(unit)

    async def main(house: House) -> None:
        async def ask(runtime: Runtime) -> Any:
            assert (await runtime.run(graph, {}, "r")).status == "waiting"
            (question,) = await runtime.questions("r")
            assert unit.removesuffix("_time") in question.prompt
            return "asked"

        async def answer(runtime: Runtime) -> Any:
            await give(runtime, more)
            return await go_on()(runtime) if not runtime.driving else await end(runtime, "r")

        assert await house.live(ask) == "asked"
        found = await house.live(answer, graph)
        if more:
            assert getattr(found, "status", found) == "completed"
            assert found.output["summary"] == "12 notes"
            state = await house.tally(RUN)
            assert len(state.raised) == 1
        else:
            assert found["code"] == "policy.budget"
            assert [letter.reason for letter in await house.letters()] == ["budget"]

    simulate(main)


@pytest.mark.parametrize("unit", ["money", "steps", "wall_time"])
@pytest.mark.parametrize(
    "death",
    [Death(verb, number, after) for verb in ("adjust", "commit") for number in (1, 2, 3) for after in (False, True)],
)
def test_an_answer_raises_a_budget_once_whoever_dies(unit: str, death: Death) -> None:
    graph = asking(unit)

    async def main(house: House) -> None:
        async def ask(runtime: Runtime) -> Any:
            await runtime.run(graph, {}, "r")
            (question,) = await runtime.questions("r")
            return question.id

        async def answer(runtime: Runtime, question: str) -> Any:
            await runtime.answer(question, 30)
            return await end(runtime, "r")

        question = await house.live(ask)
        found = await house.live(lambda runtime: answer(runtime, str(question)), graph, death=death)
        if found is None:
            found = await house.live(go_on(), graph)
        assert getattr(found, "status", found) == "completed"
        state = await house.tally(RUN)
        more: dict[str, Any] = {unit: 30}
        assert state.extra == Budget(**more).shared
        assert len(await told(house, "budget.raised")) == 1

    simulate(main)


@pytest.mark.parametrize("more", [10, 0])
def test_calls_at_once_ask_one_question(more: int) -> None:
    async def pay(place: int) -> int:
        await asyncio.sleep(0.1)
        return place

    @task
    async def work(n: int, ctx: Context) -> int:
        cost = Cost(estimate=Usage(money=1))
        said = await asyncio.gather(
            *(ctx.call("pay", pay, place, cost=cost) for place in range(n)), return_exceptions=True
        )
        return sum(isinstance(one, int) for one in said)

    pipeline = Pipeline("p", [work], budget=Budget(money=2, edge="ask"))

    async def main(house: House) -> None:
        async def steps(runtime: Runtime) -> Any:
            await runtime.start(pipeline, 6, "r")
            assert (await runtime.wait("r")).status == "waiting"
            await give(runtime, more)
            return await end(runtime, "r")

        found = await house.live(steps)
        assert (found.status, found.output) == ("completed", 6 if more else 2)
        assert (await house.tally(RUN)).extra == ({"money": 10_000_000} if more else {})

    simulate(main)


def test_too_little_more_is_asked_for_again() -> None:
    graph = asking("money")

    async def main(house: House) -> None:
        async def work(runtime: Runtime) -> Any:
            await runtime.start(graph, {}, "r")
            for _ in range(3):
                assert (await runtime.wait("r")).status == "waiting"
                await give(runtime, 1)
            return await end(runtime, "r")

        found = await house.live(work)
        assert getattr(found, "status", found) == "completed"
        assert (await house.tally(RUN)).extra == {"money": 3_000_000}

    simulate(main)


@pytest.mark.parametrize("death", KILLS)
def test_time_that_is_too_little_is_given_and_told_once_each_time(death: Death | None) -> None:
    graph = asking("wall_time")

    async def main(house: House) -> None:
        async def work(runtime: Runtime) -> Any:
            while (found := await go_on()(runtime)).status == "waiting":
                answers.append(await give(runtime, 100 if answers else 0.25))
            return found

        answers: list[str] = []
        await house.live(begin(graph, {}))
        found = await house.live(work, graph, death=death) or await house.live(work, graph)
        assert getattr(found, "status", found) == "completed"
        raised = [event["by"] for event in await told(house, "budget.raised")]
        assert raised == [250, 100_000]
        state = await house.tally(RUN)
        assert (state.extra, len(state.raised)) == ({"wall": 100_250}, 2)

    simulate(main)


@pytest.mark.parametrize("unit", ["money", "steps"])
def test_a_run_that_was_refused_more_may_be_resumed_and_asks_again(unit: str) -> None:
    graph = asking(unit)

    async def main(house: House) -> None:
        async def work(runtime: Runtime) -> Any:
            await runtime.run(graph, {}, "r")
            await give(runtime, 0)
            assert (await end(runtime, "r"))["code"] == "policy.budget"
            await runtime.resume("r")
            assert (await runtime.wait("r")).status == "waiting"
            await give(runtime, 30)
            return await end(runtime, "r")

        found = await house.live(work)
        assert getattr(found, "status", found) == "completed"

    simulate(main)


# Stop, and hand over


@pytest.mark.parametrize("unit", BUDGETS)
def test_a_run_hands_over_what_it_has_come_to(unit: str) -> None:
    async def main(house: House) -> None:
        found = await house.live(begin(research(BUDGETS[unit](HandTo("cheaper"))), {}))
        assert found["code"] == "policy.budget"
        (letter,) = await house.letters()
        assert (letter.reason, letter.handler) == ("budget", "cheaper")

    simulate(main)


@pytest.mark.parametrize("unit", BUDGETS)
def test_a_run_that_stopped_goes_on_once_its_budget_is_raised(unit: str) -> None:
    async def main(house: House) -> None:
        found = await house.live(begin(research(BUDGETS[unit]("stop"), at_most=12), {}))
        assert found["code"] == "policy.budget"
        ample = research(Budget(money=1000), at_most=12)

        async def resume(runtime: Runtime) -> Any:
            await runtime.resume("r")
            return await end(runtime, "r")

        again = await house.live(resume, ample)
        assert getattr(again, "status", again) == "completed"

    simulate(main)


def test_a_platforms_edge_holds_for_a_definition_without_one() -> None:
    @task
    async def work(n: int, ctx: Context) -> int:
        return int(await ctx.call("think", int, n, cost=Cost(estimate=Usage(money=1))))

    async def main(house: House) -> None:
        platform = Platform(budgets=[Budget(money="0.5", per="tenant", edge=HandTo("cheaper"))])
        await house.live(begin(Pipeline("p", [work]), 1), platform=platform)
        assert [letter.handler for letter in await house.letters()] == ["cheaper"]

    simulate(main)
