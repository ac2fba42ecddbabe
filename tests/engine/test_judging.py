"""What is expected of an output, in a run: taken, repaired, asked about, put aside; and a kill changes nothing."""

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.engine.mortal import Death, House, begin, go_on, simulate, told, whole
from windlass import (
    AgentSpec,
    Case,
    Ceilings,
    Context,
    DefinitionError,
    Edge,
    Expect,
    Graph,
    Judged,
    Normal,
    Output,
    OutputRefused,
    Pipeline,
    Platform,
    Problem,
    Rated,
    Recover,
    Redact,
    Retry,
    Rules,
    RunFailed,
    Runtime,
    SyncContext,
    Task,
    ValidationResult,
    Yields,
    rule,
    task,
)
from windlass.core.events import told as tell
from windlass.policies import normal

GOOD = 'Sure! ```json\n{"item": "lamp", "price": 12.5, "sure": 0.95}\n```'
LESS = '{"item": "lamp", "price": 12.5, "sure": 0.6}'
LEAST = '{"item": "lamp", "price": 12.5, "sure": 0.1}'
DEAR = '{"item": "lamp", "price": -50, "sure": 0.95}'
PROSE = "I am sorry, I cannot help with that."
KILLS = [None, *(Death("commit", number, after) for number in range(1, 8) for after in (False, True))]


@dataclass(frozen=True)
class Quote:
    item: str
    price: float
    sure: float = 1.0
    due: str = ""


@rule(Quote, field="price")
def positive(price: float) -> bool | str:
    return price > 0 or "is not above 0"


class Model:
    """Gives each attempt its own answer, the last one for ever; counts how often it is paid."""

    def __init__(self, *answers: Any) -> None:
        self.answers = answers
        self.paid = 0

    async def ask(self, attempt: int) -> Any:
        self.paid += 1
        return self.answers[min(attempt, len(self.answers)) - 1]


def quoting(model: Model, *, on: Any = None, options: Any = None, **expect: Any) -> Pipeline:
    """Make a pipeline of one task that returns what a recorded call of the model gave."""
    expected = Expect(Quote, **{"rules": [positive], "confidence": "sure", **expect})

    @task(id="act", expect=expected, **(on or {}))
    async def act(n: int, ctx: Context) -> str:
        return str(await ctx.call("model", model.ask, ctx.attempt, returns=str))

    return Pipeline("p", [act], **(options or {}))


def judgements(events: list[dict[str, Any]]) -> list[str]:
    return [event["outcome"] for event in events]


@pytest.mark.parametrize(
    ("answers", "expect", "outcomes", "end"),
    [
        ((GOOD,), {}, ["act"], Quote("lamp", 12.5, 0.95)),
        ((DEAR, GOOD), {}, ["repair", "act"], Quote("lamp", 12.5, 0.95)),
        ((PROSE, DEAR, GOOD), {"repairs": 2}, ["repair", "repair", "act"], Quote("lamp", 12.5, 0.95)),
        ((PROSE,), {}, ["repair", "dead_letter"], "task.output"),
        ((PROSE,), {"repairs": 0}, ["dead_letter"], "task.output"),
        ((LEAST,), {"act": 0.9, "ask": 0.5}, ["dead_letter"], "task.output"),
        ((LESS,), {"act": 0.9}, ["dead_letter"], "task.output"),
    ],
)
@pytest.mark.parametrize("death", KILLS)
def test_an_output_goes_its_way_whoever_dies(
    answers: tuple[str, ...], expect: dict[str, Any], outcomes: list[str], end: Any, death: Death | None
) -> None:
    async def main(house: House) -> None:
        model = Model(*answers)
        found = await whole(house, quoting(model, **expect), death)
        assert judgements(await told(house, "output.judged")) == outcomes
        letters = await house.letters()
        if isinstance(end, Quote):
            assert (found.output, letters) == (end, [])
        else:
            assert (found["code"], [letter.reason for letter in letters]) == (end, ["output"])

    simulate(main)


@pytest.mark.parametrize("death", KILLS)
def test_a_person_is_asked_once_and_the_task_does_not_run_again(death: Death | None) -> None:
    ran: list[int] = []

    @task(id="act", expect=Expect(Quote, rules=[positive], confidence="sure", act=0.9, ask=0.5, whole=True))
    async def act(n: int) -> str:
        ran.append(n)
        return LESS

    async def main(house: House) -> None:
        pipeline = Pipeline("p", [act])
        found = await whole(house, pipeline, death)
        assert found.status == "waiting"
        times = len(ran)

        async def answer(runtime: Runtime) -> None:
            (asked,) = await runtime.questions()
            assert asked.about["output"] == {"item": "lamp", "price": 12.5, "sure": 0.6}
            assert (asked.about["confidence"], asked.about["source"]) == (0.6, "field sure")
            assert "0.6 by field sure is below act=0.9" in asked.prompt
            await runtime.answer(asked.id, {"item": "lamp", "price": -1.0, "sure": 0.6})

        async def again(runtime: Runtime) -> None:
            (asked,) = await runtime.questions()
            assert "the last answer was refused: rules: price: is not above 0" in asked.prompt
            await runtime.answer(asked.id, {"item": "lamp", "price": 13.0, "sure": 0.6})

        await house.live(answer)
        assert (await house.live(go_on(), pipeline)).status == "waiting"
        await house.live(again)
        found = await house.live(go_on(), pipeline)
        judged: Judged[Quote] = found.output
        assert judged.value == Quote("lamp", 13.0, 0.6)
        assert (judged.confidence, judged.source, judged.degraded) == (1.0, "a person", True)
        assert judged.trail == (Problem("confidence", "", "0.6 by field sure is below act=0.9"),)
        assert len(ran) == times
        assert judgements(await told(house, "output.judged")) == ["ask", "answered"]

    simulate(main)


def test_ask_from_zero_brings_every_refused_output_before_a_person() -> None:
    async def main(house: House) -> None:
        pipeline = quoting(Model(PROSE), act=0.9, ask=0.0)
        assert (await house.live(begin(pipeline, 1))).status == "waiting"

        async def answer(runtime: Runtime) -> None:
            (asked,) = await runtime.questions()
            assert asked.about["problems"][0]["message"] == "there is no JSON object in the answer"
            await runtime.answer(asked.id, {"item": "lamp", "price": 1.0})

        await house.live(answer)
        assert (await house.live(go_on(), pipeline)).output == Quote("lamp", 1.0)
        assert judgements(await told(house, "output.judged")) == ["repair", "ask", "answered"]

    simulate(main)


async def test_the_next_take_hears_what_was_wrong_and_pays_again(runtime: Runtime) -> None:
    heard: list[tuple[Problem, ...]] = []
    model = Model(DEAR, '{"item": 1}', GOOD)

    @task(expect=Expect(Quote, rules=[positive], repairs=2, whole=True))
    async def act(n: int, ctx: Context) -> Any:
        heard.append(ctx.problems)
        return await ctx.call("model", model.ask, ctx.attempt, returns=str)

    found = (await runtime.run(Pipeline("p", [act]), 1)).output
    assert model.paid == 3
    price = Problem("rules", "price", "is not above 0", "-50.0")
    wrong = (
        Problem("schema", "item", "expected `str`, got `int`", "1"),
        Problem("schema", "price", "is missing"),
    )
    assert heard == [(), (price,), wrong]
    assert found == Judged(Quote("lamp", 12.5, 0.95), None, "", True, (price, *wrong))


async def test_a_sync_task_hears_the_problems_as_well(runtime: Runtime) -> None:
    @task(expect=Expect(int))
    def act(n: int, ctx: SyncContext) -> str:
        return "42" if ctx.problems else "forty-two"

    assert (await runtime.run(Pipeline("p", [act]), 1)).output == 42


async def test_the_event_has_every_layer(runtime: Runtime) -> None:
    run = await runtime.start(quoting(Model(DEAR, GOOD)), 1)
    await runtime.wait(run)
    first, second = [event.data async for event in runtime.events(run) if event.type == "output.judged"]
    assert first == {
        "outcome": "repair", "attempt": 1, "confidence": None, "source": "", "degraded": False, "trail": [],
        "layers": {"parser": "passed", "schema": "passed", "rules": "failed", "confidence": "not reached"},
        "problems": [{"layer": "rules", "path": "price", "message": "is not above 0", "got": "-50.0"}],
    }  # fmt: skip
    assert (second["outcome"], second["attempt"], second["confidence"], second["source"], second["degraded"]) == (
        "act", 2, 0.95, "field sure", True,
    )  # fmt: skip
    assert second["trail"] == first["problems"]
    assert set(second["layers"].values()) == {"passed"}


async def test_it_stands_in_the_write_that_keeps_the_output(runtime: Runtime) -> None:
    run = await runtime.start(quoting(Model(GOOD)), 1)
    await runtime.wait(run)
    rows = [row async for row in _rows(runtime, run)]
    assert any({"activation.completed", "output.judged", "step.committed"} <= row for row in rows)


async def _rows(runtime: Runtime, run: str) -> AsyncIterator[set[str]]:
    loaded = await runtime.store.load(run)
    for row in loaded.rows:
        yield {event.type for event in tell(row)}


def test_repairs_take_no_retry_away_and_retry_makes_no_repairs() -> None:
    steps = ["prose", "down", "down", "good"]

    @task(id="act", expect=Expect(int), retry=Retry.fixed(0, on=(ConnectionError, OutputRefused), max_attempts=3))
    async def act(n: int) -> str:
        step = steps[len(done)]
        done.append(step)
        if step == "down":
            raise ConnectionError(step)
        return "1" if step == "good" else PROSE

    done: list[str] = []

    async def main(house: House) -> None:
        assert (await house.live(begin(Pipeline("p", [act]), 1))).output == 1
        done.clear()
        steps[:] = ["prose"] * 9
        assert (await house.live(begin(Pipeline("p", [act]), 1, run="s")))["code"] == "task.output"
        assert len(done) == 2

    simulate(main)


def test_the_platform_bounds_repairs_and_says_so() -> None:
    async def main(house: House) -> None:
        model = Model(PROSE)
        platform = Platform(ceilings=Ceilings(attempts=2))
        found = await house.live(begin(quoting(model, repairs=50), 1), platform=platform)
        assert (found["code"], model.paid) == ("task.output", 2)
        (clamped,) = await told(house, "policy.clamped")
        assert clamped["why"] == "the platform allows 2 attempts"

    simulate(main)


def test_a_resume_begins_the_repairs_anew_with_fresh_calls() -> None:
    answers = [PROSE, PROSE, PROSE, GOOD]

    @task(id="act", expect=Expect(Quote))
    async def act(n: int, ctx: Context) -> str:
        return str(await ctx.call("model", lambda: answers.pop(0), key="k", returns=str))

    async def main(house: House) -> None:
        pipeline = Pipeline("p", [act])
        assert (await house.live(begin(pipeline, 1)))["code"] == "task.output"

        async def resume(runtime: Runtime) -> Any:
            await runtime.resume("r")
            return await runtime.wait("r")

        assert (await house.live(resume, pipeline)).output.item == "lamp"
        assert judgements(await told(house, "output.judged")) == ["repair", "dead_letter", "repair", "act"]

    simulate(main)


def test_recover_may_stand_in_for_a_refused_output() -> None:
    async def main(house: House) -> None:
        on = {"recover": lambda error: Recover.fallback(Quote("none", float(len(error.problems))))}
        found = await house.live(begin(quoting(Model(PROSE), on=on), 1))
        assert (found.output, await house.letters()) == (Quote("none", 1.0), [])

    simulate(main)


@pytest.mark.parametrize("is_recorded", [True, False])
def test_words_for_a_day_count_from_the_time_of_the_answer(is_recorded: bool) -> None:
    """The owner dies as the judged answer is written, and the next one comes nine days later.

    Thursday is still the one that the recorded answer meant; an answer that is made anew means another.
    """
    days: list[str] = []

    @rule(Quote, field="due")
    def due(said: str, case: Case) -> Normal:
        days.append(normal.day(said, case.now))
        return Normal(days[-1])

    @task(id="act", expect=Expect(Quote, rules=[due]))
    async def act(n: int, ctx: Context) -> str:
        answer = '{"item": "a", "price": 1.0, "due": "by Thursday"}'
        return str(await ctx.call("model", lambda: answer, key="k", returns=str)) if is_recorded else answer

    async def main(house: House) -> None:
        pipeline = Pipeline("p", [act])
        assert await house.live(begin(pipeline, 1), death=Death("commit", 1 + is_recorded)) is None
        await asyncio.sleep(9 * 86400)
        found = await house.live(go_on(), pipeline)
        first, second = days
        assert (found.output.due, first == second) == (second, is_recorded)

    simulate(main)


async def test_rules_of_definition_and_platform_need_no_change_of_the_task(url: str) -> None:
    rules, asked = Rules(), list[str]()
    pipeline = quoting(Model(GOOD), rules=(), repairs=0, options={"rules": rules})
    platform = Platform(rules=[lambda value: asked.append(value.item)])
    async with Runtime(url, platform=platform) as runtime:
        assert (await runtime.run(pipeline, 1)).output.price == 12.5

        @rules.rule(Quote, field="price")
        def cheap(price: float) -> bool | str:
            return price < 10 or "is too dear"

        with pytest.raises(Exception, match="price: is too dear"):
            await runtime.run(pipeline, 1)
    assert asked == ["lamp", "lamp"]


async def test_each_element_is_judged_and_collected(runtime: Runtime) -> None:
    @task
    async def parts(n: int) -> list[str]:
        return ["1", "two", "3"]

    @task(expect=Expect(int, repairs=0))
    async def number(parts: str) -> str:
        return parts

    pipeline = Pipeline("p", [parts, number], [Edge("parts", "number", each=True, on_error="collect")])
    one, two, three = (await runtime.run(pipeline, 1)).output
    assert (one, two.kind, three) == (1, "OutputRefused", 3)


async def test_a_yielding_task_and_a_class_form(runtime: Runtime) -> None:
    @task(expect=Expect(int))
    async def first(n: int) -> Yields[str]:
        yield "4"
        yield Output("42")

    class Second(Task[int, str]):
        id = "second"
        spec = AgentSpec(expect=Expect(int))

        async def execute(self, input: int, ctx: Context, /) -> str:
            return f"{input + 1}"

        def validate(self, output: Any, /) -> ValidationResult:
            return ValidationResult(isinstance(output, int), "validate is given the value")

    assert (await runtime.run(Pipeline("p", [first, Second], [("first", "second")]), 1)).output == 43


@dataclass
class State:
    n: int = 0
    quote: Quote | None = None
    seen: str = ""


async def test_a_node_of_a_graph_writes_what_was_judged(runtime: Runtime) -> None:
    graph = Graph("g", State)
    model = Model(DEAR, GOOD)

    @graph.node(writes=["quote"], expect=Expect(Quote, rules=[positive]))
    async def ask(n: int, ctx: Context) -> Any:
        return await model.ask(ctx.attempt)

    @graph.node(writes=["seen"])
    def show(quote: Quote) -> dict[str, str]:
        return {"seen": quote.item}

    graph.start("ask")
    graph.edge("ask", "show")
    assert (await runtime.run(graph, {"n": 1})).output["seen"] == "lamp"


def test_a_node_that_expects_writes_one_channel() -> None:
    graph = Graph("g", State)

    @graph.node(writes=["quote", "seen"], expect=Expect(Quote))
    async def ask(n: int) -> Any:
        return None

    graph.start("ask")
    with pytest.raises(DefinitionError, match="writes 2 channels"):
        graph.compile()


def test_expect_is_an_expect() -> None:
    @task(expect=Quote)  # type: ignore[call-overload, untyped-decorator]
    async def act(n: int) -> str:
        return ""

    with pytest.raises(DefinitionError, match="write Expect"):
        Pipeline("p", [act]).compile()


async def test_a_slow_rule_is_called_on_a_thread(runtime: Runtime) -> None:
    where: list[str] = []

    @rule(int, slow=True)
    def slow(value: int) -> None:
        where.append(threading.current_thread().name)

    @task(expect=Expect(int, rules=[slow]))
    async def act(n: int) -> str:
        return "1"

    assert (await runtime.run(Pipeline("p", [act]), 1)).output == 1
    assert where != [threading.current_thread().name]


async def test_a_long_answer_is_refused_and_not_kept_in_the_error(runtime: Runtime) -> None:
    @task(expect=Expect(Quote, repairs=0))
    async def act(n: int) -> str:
        return "x" * 10_000_000

    with pytest.raises(Exception, match="10,000,000 characters, at most 4,194,304 are read") as failed:
        await runtime.run(Pipeline("p", [act]), 1)
    assert len(str(failed.value)) < 1000


async def test_what_the_task_knows_of_its_confidence(runtime: Runtime) -> None:
    @task(expect=Expect(str, act=0.5, whole=True))
    async def act(n: int) -> Any:
        return Rated("yes", 0.75, "judge")

    assert (await runtime.run(Pipeline("p", [act]), 1)).output == Judged("yes", 0.75, "judge")


async def test_a_swallowed_wait_is_not_judged(runtime: Runtime) -> None:
    @task(expect=Expect(int, repairs=0))
    async def act(n: int, ctx: Context) -> str:
        try:
            await ctx.ask("go on?")
        except asyncio.CancelledError:
            return "prose"
        return "1"

    with pytest.raises(Exception, match="caught the cancellation"):
        await runtime.run(Pipeline("p", [act]), 1)


async def test_the_account_has_how_it_was_judged(runtime: Runtime) -> None:
    run = await runtime.start(quoting(Model(DEAR, GOOD)), 1)
    await runtime.wait(run)
    first, second = await runtime.audit(run)
    assert (first.status, first.judged["outcome"], first.confidence) == ("failed", "repair", None)
    assert (second.status, second.judged["outcome"], second.confidence) == ("completed", "act", 0.95)


async def test_problems_and_questions_show_no_more_than_is_kept(runtime: Runtime) -> None:
    heard: list[str] = []

    @rule()
    def spoiled(value: dict[str, str]) -> str | None:
        return f"has {value['card']}" if value["card"] else None

    @task(expect=Expect(dict[str, str], rules=[spoiled], act=0.5, ask=0.0))
    async def act(n: int, ctx: Context) -> Any:
        heard.extend(map(str, ctx.problems))
        return Rated({"password": "hunter2", "card": "" if heard else "4111-1111"}, 0.2)

    redact = Redact(names=["password"], values={"card": r"[0-9]{4}-[0-9]{4}"})
    run = await runtime.start(Pipeline("p", [act], redact=redact), 1)
    await runtime.wait(run)
    assert heard == ["rules: has [redacted:card]"]
    (asked,) = await runtime.questions(run)
    assert asked.about["output"] == {"password": "[redacted:password]", "card": ""}
    told = str([event.data async for event in runtime.events(run)]) + asked.prompt
    assert "hunter2" not in told
    assert "4111" not in told


async def test_what_stands_under_a_masked_name_is_masked_in_its_problem(runtime: Runtime) -> None:
    @task(expect=Expect(Quote, rules=[rule(Quote, field="item")(lambda _: "no")], repairs=0))
    async def act(n: int) -> str:
        return GOOD

    run = await runtime.start(Pipeline("p", [act], redact=Redact(names=["item"])), 1)
    with pytest.raises(RunFailed, match=r"item: no \(got \[redacted:item\]\)"):
        await runtime.wait(run)
