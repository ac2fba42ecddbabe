"""Effects in doubt, asked for with other arguments, adopted, and too slow: what is told, and what is called."""

import asyncio
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from tests.engine.simulation import simulate
from windlass import Context, EffectNotDone, Happened, Pipeline, Retry, RunFailed, Runtime, task
from windlass.core.errors import AnswerInvalid, InputError
from windlass.core.queries import Effects
from windlass.core.records import Command, Effect

AGAIN = Retry(on=(ConnectionError, TimeoutError), max_attempts=5, initial=0)


@dataclass(frozen=True)
class Receipt:
    """A value of a declared type."""

    number: int


class World:
    """What was called, and how it goes."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.fails = 1

    async def pay(self, amount: int, key: str = "") -> str:
        """Happen; the first times the answer is lost."""
        self.calls.append((amount, key))
        if self.fails:
            self.fails -= 1
            raise ConnectionError("the line went dead")
        return f"paid {amount}"


@pytest.fixture
def world() -> World:
    return World()


def paying(world: World, *, on_doubt: Any = "ask", retry: Retry | None = AGAIN) -> Pipeline:
    """Make a pipeline of one task that pays what it is given."""

    @task(retry=retry)
    async def charge(amount: int, ctx: Context) -> str:
        said: str = await ctx.effect("pay", world.pay, amount, ctx.key("pay"), on_doubt=on_doubt)
        return said

    return Pipeline("charge", tasks=[charge])


async def lines(runtime: Runtime, run: str) -> list[Effect]:
    return await runtime.store.find(Effects(run=run))


async def told(runtime: Runtime, run: str, kind: str) -> list[dict[str, Any]]:
    return [event.data async for event in runtime.events(run) if event.type == kind]


async def test_the_question_says_effect_key_arguments_and_when(runtime: Runtime, world: World) -> None:
    assert (await runtime.run(paying(world), 10, id="c")).status == "waiting"
    (question,) = await runtime.questions("c")
    (line,) = await lines(runtime, "c")
    assert question.about["effect"] == "pay"
    assert question.about["key"] == line.effect_key == world.calls[0][1]
    assert question.about["arguments"] == [[10, line.effect_key], {}]
    assert question.about["intended_at"].endswith("Z")
    for shown in (
        "'pay' of charge#1",
        line.effect_key,
        f'[[10,"{line.effect_key}"],{{}}]',
        question.about["intended_at"],
    ):
        assert shown in question.prompt
    assert (await told(runtime, "c", "question.asked"))[0]["about"] == question.about
    assert (line.status, line.how) == ("intended", "")
    (doubt,) = await told(runtime, "c", "effect.in_doubt")
    assert "the line went dead" in doubt["why"]


async def test_an_answer_stands_in_the_ledger(runtime: Runtime, world: World) -> None:
    await runtime.run(paying(world), 10, id="c")
    (question,) = await runtime.questions("c")
    await runtime.answer(question.id, {"happened": True, "value": "seen"}, by="ada")
    assert (await runtime.wait("c")).output == "seen"
    (line,) = await lines(runtime, "c")
    assert (line.status, line.how, line.by, bytes(line.value)) == ("done", "answered", "ada", b'"seen"')
    assert (await told(runtime, "c", "effect.completed"))[0]["by"] == "ada"


@pytest.mark.parametrize("wrong", ["yes", True, {"happened": "no"}, {}, None])
async def test_what_is_no_answer_calls_nothing_and_is_asked_again(runtime: Runtime, world: World, wrong: Any) -> None:
    await runtime.run(paying(world), 10, id="c")
    (question,) = await runtime.questions("c")
    with pytest.raises(AnswerInvalid):
        await runtime.answer(question.id, wrong)
    value = Raw(msgspec.json.encode(wrong))
    await runtime.store.post(
        Command(id="x", run="c", verb="answer", arguments={"question": question.id, "value": value})
    )
    await runtime.resume("c")  # by somebody who did not look at the schema
    await runtime.wait("c")
    (again,) = await runtime.questions("c")
    assert again.id != question.id
    assert "refused" in again.prompt
    assert again.about == question.about
    assert len(world.calls) == 1
    await runtime.answer(again.id, {"happened": False})
    assert (await runtime.wait("c")).output == "paid 10"
    assert len({key for _, key in world.calls}) == 1


async def test_a_person_gives_a_value_of_the_declared_type(runtime: Runtime) -> None:
    @task(retry=AGAIN)
    async def charge(amount: int, ctx: Context) -> int:
        async def pay(amount: int) -> Receipt:
            raise ConnectionError("dead")

        receipt: Receipt = await ctx.effect("pay", pay, amount)
        return receipt.number

    await runtime.run(Pipeline("charge", tasks=[charge]), 1, id="c")
    (question,) = await runtime.questions("c")
    await runtime.answer(question.id, {"happened": True, "value": "a number"})
    await runtime.wait("c")
    (again,) = await runtime.questions("c")
    assert "refused" in again.prompt
    await runtime.answer(again.id, {"happened": True, "value": {"number": 7}})
    assert (await runtime.wait("c")).output == 7


@pytest.mark.parametrize("fault", [ValueError("what?"), True, "hang"])
def test_a_verify_that_cannot_say_asks_a_person(world: World, fault: Any) -> None:
    simulate(lambda runtime: _cannot_say(runtime, world, fault))


async def _cannot_say(runtime: Runtime, world: World, fault: Any) -> None:
    asked: list[int] = []

    async def look(amount: int, key: str) -> Any:
        asked.append(amount)
        if fault == "hang":
            await asyncio.sleep(600)
        if isinstance(fault, Exception):
            raise fault
        return fault

    @task(retry=Retry(on=ConnectionError, max_attempts=3, initial=0), timeout=30)
    async def charge(amount: int, ctx: Context) -> str:
        said: str = await ctx.effect("pay", world.pay, amount, ctx.key("pay"), on_doubt=look)
        return said

    result = await runtime.run(Pipeline("charge", tasks=[charge]), 10, id="c")
    assert (result.status, len(world.calls), asked) == ("waiting", 1, [10])
    (question,) = await runtime.questions("c")
    assert "verify function" in question.prompt
    assert "verify function" in question.about["why"]
    await runtime.answer(question.id, {"happened": True, "value": "found"})
    assert (await runtime.wait("c")).output == "found"
    assert len(world.calls) == 1


@pytest.mark.parametrize("found", [True, False])
async def test_what_verify_found_is_kept(runtime: Runtime, world: World, found: bool) -> None:
    async def look(amount: int, key: str) -> Happened | None:
        return Happened("found") if found else None

    result = await runtime.run(paying(world, on_doubt=look), 10, id="c")
    assert result.output == ("found" if found else "paid 10")
    (line,) = await lines(runtime, "c")
    assert (line.status, line.how) == ("done", "verified" if found else "completed")
    doubts = [doubt["settled"] for doubt in await told(runtime, "c", "effect.in_doubt") if doubt["settled"]]
    assert doubts == ([] if found else ["verified: it did not happen"])
    assert len({key for _, key in world.calls}) == 1


async def test_doubts_that_are_answered_together_are_all_settled(runtime: Runtime, world: World) -> None:
    @task(retry=AGAIN)
    async def charge(amount: int, ctx: Context) -> list[str]:
        asked = [ctx.effect("pay", world.pay, amount, key=str(number), on_doubt="ask") for number in range(2)]
        return list(await asyncio.gather(*asked))

    world.fails = 2
    assert (await runtime.run(Pipeline("both", tasks=[charge]), 10, id="c")).status == "waiting"
    questions = await runtime.questions("c")
    assert len(questions) == 2
    said = {"happened": True, "value": "paid"}
    answers = [
        Command(id=asked.id, run="c", verb="answer", arguments={"question": asked.id, "value": said}, at=1.0)
        for asked in questions
    ]
    assert await asyncio.gather(*map(runtime.store.post, answers)) == [True, True]
    result = await runtime.wait("c")
    assert (result.status, result.output) == ("completed", ["paid", "paid"])
    assert len(world.calls) == 2


async def test_what_is_known_not_to_have_happened_is_not_in_doubt(runtime: Runtime) -> None:
    async def refuse() -> None:
        raise EffectNotDone("no")

    @task
    async def act(n: int, ctx: Context) -> int:
        await ctx.effect("act", refuse)
        return n

    with pytest.raises(RunFailed):
        await runtime.run(Pipeline("act", tasks=[act]), 1, id="a")
    (line,) = await lines(runtime, "a")
    assert line.status == "not_done"


async def test_a_failed_run_is_not_gone_on_with_before_a_person_has_answered(runtime: Runtime, world: World) -> None:
    begun: list[int] = []

    @task
    async def charge(amount: int, ctx: Context) -> str:
        begun.append(amount)
        said: str = await ctx.effect("pay", world.pay, amount)
        return said

    with pytest.raises(RunFailed):
        await runtime.run(Pipeline("charge", tasks=[charge]), 10, id="c")
    await runtime.resume("c")
    assert (await runtime.wait("c")).status == "waiting"
    assert begun == [10]
    (question,) = await runtime.questions("c")
    await runtime.answer(question.id, {"happened": True, "value": "paid"})
    assert (await runtime.wait("c")).output == "paid"
    assert (begun, len(world.calls)) == ([10, 10], 1)


@pytest.mark.parametrize("on_doubt", ["ask", "retry"])
async def test_an_outcome_that_cannot_be_kept_has_happened(runtime: Runtime, on_doubt: Any) -> None:
    calls: list[int] = []

    @task
    async def act(n: int, ctx: Context) -> str:
        async def odd() -> Any:
            calls.append(n)
            return object()

        said: str = await ctx.effect("act", odd, on_doubt=on_doubt)
        return said

    with pytest.raises(RunFailed, match="kept"):
        await runtime.run(Pipeline("act", tasks=[act]), 1, id="a")
    (line,) = await lines(runtime, "a")
    assert (line.status, line.how) == ("done", "unkept")
    assert "object" in line.why
    await runtime.resume("a")
    assert (await runtime.wait("a")).status == "waiting"
    (question,) = await runtime.questions("a")
    assert "it happened" in question.prompt
    await runtime.answer(question.id, {"happened": True, "value": "odd"})
    assert (await runtime.wait("a")).output == "odd"
    assert calls == [1]


@pytest.mark.parametrize("stand", [True, False])
async def test_other_arguments_on_one_branch_are_asked_about(runtime: Runtime, world: World, stand: bool) -> None:
    world.fails = 0
    amounts = iter([1, 2, 2, 2])

    @task(retry=AGAIN)
    async def charge(n: int, ctx: Context) -> str:
        said: str = await ctx.effect("pay", world.pay, next(amounts), ctx.key("pay"))
        if ctx.attempt == 1:
            raise ConnectionError("after the effect")
        return said

    await runtime.run(Pipeline("charge", tasks=[charge]), 0, id="c")
    (question,) = await runtime.questions("c")
    await runtime.answer(question.id, {"stand": stand}, by="ada")
    assert (await runtime.wait("c")).output == ("paid 1" if stand else "paid 2")
    found = {line.status: line for line in await lines(runtime, "c")}
    if stand:
        assert (found["done"].how, found["done"].by) == ("stands", "ada")
        assert len(world.calls) == 1
    else:
        assert found["standing"].effect_key == world.calls[0][1]
        assert found["done"].effect_key == world.calls[1][1] != world.calls[0][1]
        assert (found["standing"].generation, found["done"].generation) == (0, 1)
    (diverged,) = await told(runtime, "c", "effect.diverged")
    assert diverged["standing"] is False


async def test_an_effect_that_supersedes_another_has_a_doubt_of_its_own(runtime: Runtime, world: World) -> None:
    world.fails = 0
    amounts = iter([1, 2, 2, 2, 2])

    @task(retry=AGAIN)
    async def charge(n: int, ctx: Context) -> str:
        amount = next(amounts)
        said: str = await ctx.effect("pay", world.pay, amount, ctx.key("pay"))
        if ctx.attempt == 1:
            world.fails = 1
            raise ConnectionError("after the effect")
        return said

    await runtime.run(Pipeline("charge", tasks=[charge]), 0, id="c")
    (question,) = await runtime.questions("c")
    await runtime.answer(question.id, {"stand": False})
    assert (await runtime.wait("c")).status == "waiting"  # and does not take the outcome of the other
    (question,) = await runtime.questions("c")
    assert question.about["key"] == world.calls[1][1]
    await runtime.answer(question.id, {"happened": True, "value": "seen"})
    assert (await runtime.wait("c")).output == "seen"


async def test_an_effect_made_anew_gets_the_key_that_it_has(runtime: Runtime, world: World) -> None:
    world.fails = 0
    amounts = iter([1, 2, 2, 2])
    release = asyncio.Event()

    @task(retry=AGAIN, timeout=60)
    async def charge(n: int, ctx: Context) -> str:
        if ctx.attempt == 1:
            await ctx.effect("pay", world.pay, next(amounts), ctx.key("pay"))
            raise ConnectionError("after the effect")
        # The call keeps the attempt alive while the question is answered.
        paying = ctx.effect("pay", world.pay, next(amounts), ctx.key("pay"))
        said, _ = await asyncio.gather(paying, ctx.call("wait", release.wait))
        return str(said)

    run = await runtime.start(Pipeline("charge", tasks=[charge]), 0, id="c")
    async for event in runtime.events(run, follow=True):
        if event.type == "question.asked":
            break
    await runtime.answer(event.data["id"], {"stand": False})
    asyncio.get_running_loop().call_later(0.05, release.set)
    assert (await runtime.wait(run)).output == "paid 2"
    done = next(line for line in await lines(runtime, run) if line.status == "done")
    assert world.calls[-1] == (2, done.effect_key)
    assert len({key for _, key in world.calls}) == 2


# Effects that take their time


@pytest.mark.parametrize("verb", ["cancel", "pause", "rollback"])
async def test_an_effect_in_flight_comes_to_its_outcome_first(runtime: Runtime, verb: str) -> None:
    begun, release = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        begun.set()
        await release.wait()
        return "slow"

    @task
    async def act(n: int, ctx: Context) -> str:
        said: str = await ctx.effect("slow", slow)
        return said

    run = await runtime.start(Pipeline("act", tasks=[act]), 1, id="a")
    await begun.wait()
    steer: Any = {
        "cancel": lambda: runtime.cancel(run),
        "pause": lambda: runtime.pause(run, immediate=True),
        "rollback": lambda: runtime.rollback(run, ("act", 1)),
    }[verb]
    steering = asyncio.ensure_future(steer())
    await asyncio.sleep(0.02)
    assert not steering.done()
    assert (await runtime.get(run)).head.branch == 0
    release.set()
    await steering
    line = (await lines(runtime, run))[0]
    assert line.status == ("standing" if verb == "rollback" else "done")
    assert line.how == "completed"


async def test_a_task_that_is_stopped_begins_no_effect(runtime: Runtime, world: World) -> None:
    looking, looked, begun, release = (asyncio.Event() for _ in range(4))

    async def look(amount: int) -> None:
        looking.set()
        await looked.wait()

    async def slow() -> None:
        begun.set()
        await release.wait()

    @task(retry=AGAIN)
    async def act(n: int, ctx: Context) -> None:
        paying = ctx.effect("pay", world.pay, n, on_doubt=look)
        await (paying if ctx.attempt == 1 else asyncio.gather(paying, ctx.effect("slow", slow)))

    run = await runtime.start(Pipeline("act", tasks=[act]), 1, id="a")
    await looking.wait()
    await begun.wait()
    cancelling = asyncio.ensure_future(runtime.cancel(run))
    await asyncio.sleep(0.02)
    looked.set()
    await asyncio.sleep(0.02)
    release.set()
    await cancelling
    assert len(world.calls) == 1
    assert {line.name: line.status for line in await lines(runtime, run)} == {"slow": "done", "pay": "not_done"}


def test_an_effect_that_its_node_has_left_is_bounded() -> None:
    simulate(_left)


async def _left(runtime: Runtime) -> None:
    async def hang() -> None:
        await asyncio.sleep(6_000)

    async def fail() -> None:
        raise EffectNotDone("no")

    @task(timeout=30)
    async def act(n: int, ctx: Context) -> None:
        await asyncio.gather(ctx.effect("hang", hang), ctx.effect("fail", fail))

    with pytest.raises(RunFailed, match="no"):
        await runtime.run(Pipeline("act", tasks=[act]), 1, id="a")
    first, *_, last = [event.at async for event in runtime.events("a")]
    assert last - first <= 60
    assert {line.name: line.status for line in await lines(runtime, "a")} == {"hang": "intended", "fail": "not_done"}


async def test_a_stop_after_the_node_has_ended_waits_for_its_effects_alone(runtime: Runtime) -> None:
    begun, release = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        begun.set()
        await release.wait()

    async def fail() -> None:
        await begun.wait()
        raise EffectNotDone("no")

    @task
    async def act(n: int, ctx: Context) -> None:
        await asyncio.gather(ctx.effect("slow", slow), ctx.effect("fail", fail))

    run = await runtime.start(Pipeline("act", tasks=[act]), 1, id="a")
    await begun.wait()
    await asyncio.sleep(0.02)  # the node has raised, and one of its effects is in flight
    cancelling = asyncio.ensure_future(runtime.cancel(run))
    await asyncio.sleep(0.02)
    release.set()
    async with asyncio.timeout(10):
        await cancelling
    assert (await runtime.get(run)).head.status == "cancelled"
    assert {line.name: line.status for line in await lines(runtime, run)} == {"slow": "done", "fail": "not_done"}
    (end,) = await told(runtime, run, "run.cancelled")
    assert end == {"in_doubt": []}, "its drive was gone: somebody else has cancelled it"


@pytest.mark.parametrize("verb", ["cancel", "pause", "rollback"])
@pytest.mark.parametrize("deaf", [True, False])
@pytest.mark.parametrize("timeout", [30, None])
def test_an_effect_that_hangs_is_left_in_doubt_and_told(verb: str, deaf: bool, timeout: float | None) -> None:
    simulate(lambda runtime: _left_in_doubt(runtime, verb, deaf, timeout))


async def _left_in_doubt(runtime: Runtime, verb: str, deaf: bool, timeout: float | None) -> None:
    begun, release = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        begun.set()
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                if not deaf:
                    raise

    @task(timeout=timeout)
    async def act(n: int, ctx: Context) -> None:
        await ctx.effect("hang", hang)

    run = await runtime.start(Pipeline("act", tasks=[act]), 1, id="a")
    await begun.wait()
    if verb == "cancel":
        await runtime.cancel(run)
    elif verb == "pause":
        await runtime.pause(run, immediate=True)
    else:
        await runtime.rollback(run, ("act", 1))
    kind = {"cancel": "run.cancelled", "pause": "run.paused", "rollback": "run.rolled_back"}[verb]
    (end,) = await told(runtime, run, kind)
    assert end["in_doubt"] == ["act#1 hang"]
    assert (await lines(runtime, run))[0].status == "intended"
    said = f"no outcome {timeout or 60} s after"
    assert any(said in doubt["why"] for doubt in await told(runtime, run, "effect.in_doubt"))
    release.set()
    await asyncio.sleep(0)


def test_the_timeout_of_an_attempt_bounds_its_effects() -> None:
    simulate(_bounded)


async def _bounded(runtime: Runtime) -> None:
    calls: list[int] = []

    async def hang() -> str:
        calls.append(1)
        await asyncio.sleep(600)
        return "never"

    @task(timeout=30, retry=AGAIN)
    async def act(n: int, ctx: Context) -> str:
        said: str = await ctx.effect("hang", hang)
        return said

    result = await runtime.run(Pipeline("act", tasks=[act]), 1, id="a")
    assert (result.status, calls) == ("waiting", [1])
    (question,) = await runtime.questions("a")
    await runtime.answer(question.id, {"happened": True, "value": "late"})
    assert (await runtime.wait("a")).output == "late"


# Branches and forks


def forkable(world: World, amounts: list[int]) -> Pipeline:
    """Make a pipeline whose second task pays what stands at the end of `amounts`."""

    @task
    async def plan(n: int) -> int:
        return n

    @task(retry=AGAIN)
    async def pay(plan: int, ctx: Context) -> str:
        said: str = await ctx.effect("pay", world.pay, amounts[-1], ctx.key("pay"))
        return said

    return Pipeline("pays", tasks=[plan, pay])


async def test_a_key_among_the_arguments_does_not_make_another_effect(runtime: Runtime, world: World) -> None:
    world.fails = 0
    await runtime.run(forkable(world, [1]), 0, id="p")
    await runtime.rollback("p", ("pay", 1))
    await runtime.resume("p")
    assert (await runtime.wait("p")).output == "paid 1"
    assert len(world.calls) == 1
    first, second = await lines(runtime, "p")
    assert (first.status, second.status, second.how) == ("standing", "done", "adopted")
    assert first.effect_key == second.effect_key
    assert (first.branch, second.branch) == (0, 1)


@pytest.mark.parametrize("effects", ["adopt", "run"])
async def test_a_fork_adopts_or_runs(runtime: Runtime, world: World, effects: str) -> None:
    world.fails = 0
    await runtime.run(forkable(world, [1]), 0, id="p")
    fork = await runtime.fork("p", at=("pay", 1), effects=effects)
    assert (await runtime.wait(fork)).output == "paid 1"
    (line,) = await lines(runtime, fork)
    (event,) = [*await told(runtime, fork, "effect.adopted"), *await told(runtime, fork, "effect.completed")]
    if effects == "adopt":
        assert len(world.calls) == 1
        assert (line.how, event["how"], line.effect_key) == ("adopted", "adopted", world.calls[0][1])
    else:
        assert len({key for _, key in world.calls}) == 2
        assert (line.how, line.effect_key) == ("completed", world.calls[1][1])
    assert [line.status for line in await lines(runtime, "p")] == ["done"]


async def test_an_unknown_word_for_effects_is_refused(runtime: Runtime, world: World) -> None:
    world.fails = 0
    await runtime.run(forkable(world, [1]), 0, id="p")
    with pytest.raises(InputError, match="adopt"):
        await runtime.fork("p", effects="maybe")


async def test_a_branch_of_a_fork_that_runs_adopts_its_own(runtime: Runtime, world: World) -> None:
    world.fails = 0
    await runtime.run(forkable(world, [1]), 0, id="p")
    fork = await runtime.fork("p", at=("pay", 1), effects="run")
    await runtime.wait(fork)
    await runtime.rollback(fork, ("pay", 1))
    await runtime.resume(fork)
    assert (await runtime.wait(fork)).output == "paid 1"
    assert len(world.calls) == 2


async def test_other_arguments_on_a_fork_leave_the_effect_of_the_other_run(runtime: Runtime, world: World) -> None:
    world.fails = 0
    amounts = [1]
    await runtime.run(forkable(world, amounts), 0, id="p")
    amounts.append(2)
    fork = await runtime.fork("p", at=("pay", 1))
    assert (await runtime.wait(fork)).output == "paid 2"
    assert [line.status for line in await lines(runtime, "p")] == ["done"]
    (diverged,) = await told(runtime, fork, "effect.diverged")
    assert diverged["standing"] is True


async def test_other_arguments_on_a_new_branch_leave_the_old_effect_standing(runtime: Runtime, world: World) -> None:
    world.fails = 0
    amounts = [1]
    await runtime.run(forkable(world, amounts), 0, id="p")
    for amount, output in [(2, "paid 2"), (1, "paid 1")]:
        amounts.append(amount)
        await runtime.rollback("p", ("pay", 1))
        await runtime.resume("p")
        assert (await runtime.wait("p")).output == output
    assert [amount for amount, _ in world.calls] == [1, 2]  # what stands is adopted by whoever asks for it again
    assert len({key for _, key in world.calls}) == 2
    shown = [(line.branch, line.status, line.how) for line in await lines(runtime, "p")]
    assert shown == [(0, "standing", "completed"), (1, "standing", "completed"), (2, "done", "adopted")]


@pytest.mark.parametrize("on_doubt", ["ask", "ask, then retry", "retry", "verify"])
def test_a_doubt_is_not_left_behind_with_its_branch(world: World, on_doubt: str) -> None:
    simulate(lambda runtime: _doubt_elsewhere(runtime, world, on_doubt))


async def _doubt_elsewhere(runtime: Runtime, world: World, on_doubt: str) -> None:
    async def look(amount: int, key: str) -> Happened | None:
        return Happened("found")

    begun = asyncio.Event()
    hangs = [True]

    async def pay(amount: int, key: str) -> str:
        world.calls.append((amount, key))
        begun.set()
        if hangs:
            hangs.clear()
            await asyncio.sleep(600)
        return "paid"

    @task
    async def plan(n: int) -> int:
        return n

    @task(timeout=30)
    async def charge(plan: int, ctx: Context) -> str:
        doubt: Any = look if on_doubt == "verify" else on_doubt.partition(",")[0]
        if on_doubt == "ask, then retry" and world.calls:
            doubt = "retry"  # the code was changed; what the intent says holds
        said: str = await ctx.effect("pay", pay, plan, ctx.key("pay"), on_doubt=doubt)
        return said

    run = await runtime.start(Pipeline("charge", tasks=[plan, charge]), 5, id="c")
    await begun.wait()
    await runtime.rollback(run, ("charge", 1))
    (back,) = await told(runtime, run, "run.rolled_back")
    assert back["in_doubt"] == back["standing"] == ["charge#1 pay"]
    await runtime.resume(run)
    result = await runtime.wait(run)
    if on_doubt.startswith("ask"):
        assert (result.status, len(world.calls)) == ("waiting", 1)
        (question,) = await runtime.questions(run)
        await runtime.answer(question.id, {"happened": True, "value": "found"})
        result = await runtime.wait(run)
    assert result.output == ("paid" if on_doubt == "retry" else "found")
    assert len({key for _, key in world.calls}) == 1
    assert len(world.calls) == (2 if on_doubt == "retry" else 1)
    assert {line.status for line in await lines(runtime, run)} == {"done"}


async def test_large_values_are_adopted(runtime: Runtime) -> None:
    calls: list[int] = []

    @task
    async def plan(n: int) -> int:
        return n

    @task
    async def write(plan: int, ctx: Context) -> int:
        async def save(text: str) -> str:
            calls.append(len(text))
            return text

        saved: str = await ctx.effect("save", save, "x" * 100_000)
        return len(saved)

    pipeline = Pipeline("write", tasks=[plan, write])
    await runtime.run(pipeline, 1, id="w")
    await runtime.rollback("w", ("write", 1))
    await runtime.resume("w")
    assert (await runtime.wait("w")).output == 100_000
    fork = await runtime.fork("w", at=("write", 1))
    assert (await runtime.wait(fork)).output == 100_000
    assert calls == [100_000]


async def test_a_question_that_was_open_is_asked_again_on_the_new_branch(runtime: Runtime) -> None:
    asked = asyncio.Event()

    @task
    async def quick(n: int) -> int:
        await asked.wait()
        await asyncio.sleep(0.01)
        return n

    @task
    async def asks(n: int, ctx: Context) -> str:
        asyncio.get_running_loop().call_later(0.01, asked.set)
        return await ctx.ask("well?", str)

    @task
    async def last(quick: int) -> int:
        return quick

    await runtime.run(Pipeline("both", tasks=[quick, asks, last]), 1, id="b")
    (before,) = await runtime.questions("b")
    steps = await runtime.history("b")
    await runtime.rollback("b", next(step.n for step in steps if "quick#1" in step.finished))
    assert await runtime.questions("b") == []
    await runtime.resume("b")
    await runtime.wait("b")
    (after,) = await runtime.questions("b")
    assert after.id != before.id
    await runtime.answer(after.id, "yes")
    assert (await runtime.wait("b")).output == {"asks": "yes", "last": 1}
