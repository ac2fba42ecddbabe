"""Rollbacks undo what happened outside: in reverse order, once, and whatever cannot be undone is told."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from tests.engine.simulation import simulate
from windlass import Context, EffectNotDone, Happened, Pipeline, Recover, Retry, Runtime, Undo, task
from windlass.core.queries import Effects
from windlass.core.records import Effect


@dataclass(frozen=True)
class Order:
    """What an effect returns, in a declared type."""

    number: int


World = list[str]


async def lines(runtime: Runtime, run: str) -> list[Effect]:
    return await runtime.store.find(Effects(run=run))


async def told(runtime: Runtime, run: str, kind: str) -> list[dict[str, Any]]:
    return [event.data async for event in runtime.events(run) if event.type == kind]


async def create(name: str) -> str:
    """Happen."""
    return name


def building(undo: Any, *, timeout: float | None = None) -> Pipeline:
    """Make a pipeline whose second task has one effect, which `undo` takes back."""
    declared = undo if isinstance(undo, Undo) else Undo(undo)

    @task
    async def plan(name: str) -> str:
        return name

    @task(undo=[declared], timeout=timeout)
    async def build(plan: str, ctx: Context) -> str:
        made: str = await ctx.effect("make", create, plan, undo=declared)
        return made

    return Pipeline("build", tasks=[plan, build])


async def test_effects_are_undone_the_latest_first_over_all_activations(runtime: Runtime) -> None:
    world: World = []

    async def remove(name: str) -> None:
        world.append(name)

    @task(undo=[remove])
    async def first(name: str, ctx: Context) -> str:
        for part in "ab":
            await ctx.effect("make", create, f"first {part}", key=part, undo=remove)
        return name

    @task(undo=[remove])
    async def second(first: str, ctx: Context) -> str:
        await asyncio.gather(*(ctx.effect("make", create, f"second {p}", key=p, undo=remove) for p in "cd"))
        await ctx.effect("make", create, "second e", key="e", undo=remove)
        return first

    await runtime.run(Pipeline("two", tasks=[first, second]), "x", id="t")
    await runtime.rollback("t", ("first", 1))
    assert world == ["second e", "second d", "second c", "first b", "first a"]
    (back,) = await told(runtime, "t", "run.rolled_back")
    assert back["undone"] == ["second#1 make"] * 3 + ["first#1 make"] * 2
    assert (back["standing"], back["in_doubt"]) == ([], [])
    assert {line.status for line in await lines(runtime, "t")} == {"undone"}


async def test_each_undo_is_told_before_and_after(runtime: Runtime) -> None:
    @task(undo=[_cancel])
    async def order(n: int, ctx: Context) -> int:
        placed: Order = await ctx.effect("order", _place, n, undo=_cancel)
        return placed.number

    GIVEN.clear()
    await runtime.run(Pipeline("order", tasks=[order]), 4, id="o")
    await runtime.rollback("o", ("order", 1))
    ((number, outcome, key),) = GIVEN
    assert (number, outcome) == (4, Order(40))
    (begun,) = await told(runtime, "o", "effect.undoing")
    (ended,) = await told(runtime, "o", "effect.undone")
    assert begun == {"name": "order", "undo": "_cancel", "key": key, "why": ""}
    assert ended == {"name": "order", "how": "undone", "by": ""}
    (line,) = await lines(runtime, "o")
    assert (line.undo_key, line.undo_how) == (key, "undone")
    assert key != line.effect_key


GIVEN: list[Any] = []


async def _place(n: int) -> Order:
    return Order(n * 10)


def _cancel(n: int, *, outcome: Order, undo_key: str) -> None:
    GIVEN.append((n, outcome, undo_key))


def test_an_undo_that_hangs_is_left_in_doubt() -> None:
    simulate(_hangs)


async def _hangs(runtime: Runtime) -> None:
    async def hang(name: str) -> None:
        await asyncio.sleep(600)

    await runtime.run(building(hang, timeout=30), "x", id="b")
    await runtime.rollback("b", ("build", 1))
    (back,) = await told(runtime, "b", "run.rolled_back")
    assert back["standing"] == back["in_doubt"] == ["build#1 make"]
    (stands,) = await told(runtime, "b", "effect.standing")
    assert "it took too long" in stands["why"]
    assert [line.status for line in await lines(runtime, "b")] == ["undoing"]
    assert len(await runtime.questions("b")) == 1


@pytest.mark.parametrize("fault", ["raises", "certain", "none", "unknown"])
async def test_what_cannot_be_undone_stands_and_the_rollback_goes_on(url: str, fault: str) -> None:
    undone: World = []

    async def remove(name: str) -> None:
        undone.append(name)

    async def fail(name: str) -> None:
        raise EffectNotDone("closed") if fault == "certain" else ConnectionError("dead")

    def pipeline(undos: list[Any]) -> Pipeline:
        @task(undo=undos)
        async def build(name: str, ctx: Context) -> str:
            await ctx.effect("one", create, name, undo=remove)
            await ctx.effect("two", create, name, undo="" if fault == "none" else "fail")
            await ctx.effect("three", create, name, undo=remove)
            return name

        return Pipeline("build", tasks=[build])

    async with Runtime(url) as runtime:
        await runtime.run(pipeline([remove, fail]), "x", id="b")
    async with Runtime(url, [pipeline([remove] if fault == "unknown" else [remove, fail])]) as runtime:
        await runtime.rollback("b", ("build", 1))
        assert undone == ["x", "x"]
        (back,) = await told(runtime, "b", "run.rolled_back")
        assert back["undone"] == ["build#1 three", "build#1 one"]
        assert back["standing"] == ["build#1 two"]
        assert back["in_doubt"] == (["build#1 two"] if fault == "raises" else [])
        (stands,) = await told(runtime, "b", "effect.standing")
        why = {
            "raises": "ConnectionError", "certain": "it was not undone: closed",
            "none": "no undo", "unknown": "'fail' is not known",
        }  # fmt: skip
        assert why[fault] in stands["why"]
        two = next(line for line in await lines(runtime, "b") if line.name == "two")
        assert two.status == ("undoing" if fault == "raises" else "standing")
        assert len(await runtime.questions("b")) == (fault == "raises")


@pytest.mark.parametrize("undone", [True, False])
async def test_a_person_says_whether_an_undo_took_place(runtime: Runtime, undone: bool) -> None:
    made: World = []

    async def fail(name: str, key: str) -> None:
        raise ConnectionError("dead")

    async def make(name: str, key: str) -> str:
        made.append(key)
        return name

    @task(undo=[fail])
    async def build(name: str, ctx: Context) -> str:
        said: str = await ctx.effect("make", make, name, ctx.key("make"), undo=fail)
        return said

    await runtime.run(Pipeline("build", tasks=[build]), "x", id="b")
    await runtime.rollback("b", ("build", 1))
    (question,) = await runtime.questions("b")
    assert (question.about["effect"], question.about["undo"]) == ("make", "fail")
    assert "dead" in question.prompt
    await runtime.resume("b")
    assert (await runtime.wait("b")).status == "waiting"
    await runtime.answer(question.id, {"undone": undone}, by="ada")
    assert (await runtime.wait("b")).output == "x"
    assert len(made) == len({*made}) == (2 if undone else 1)
    last = [(line.branch, line.status, line.how) for line in await lines(runtime, "b")]
    if undone:
        assert last == [(0, "undone", "completed"), (1, "done", "completed")]
        assert (await told(runtime, "b", "effect.undone")) == [{"name": "make", "how": "answered", "by": "ada"}]
    else:
        assert last == [(0, "standing", "completed"), (1, "done", "adopted")]


@pytest.mark.parametrize("undone", [True, False])
async def test_an_effect_further_on_waits_for_the_answer_about_its_undo(runtime: Runtime, undone: bool) -> None:
    made: World = []

    async def fail(name: str) -> None:
        raise ConnectionError("dead")

    async def make(name: str) -> str:
        made.append(name)
        return name

    @task
    async def first(name: str) -> str:
        return name

    @task(undo=[fail])
    async def second(first: str, ctx: Context) -> str:
        said: str = await ctx.effect("make", make, first, undo=fail)
        return said

    await runtime.run(Pipeline("two", tasks=[first, second]), "x", id="b")
    await runtime.rollback("b", ("first", 1))
    await runtime.resume("b")
    assert (await runtime.wait("b")).status == "waiting"
    (question,) = await runtime.questions("b")
    assert question.key.startswith("undo|")
    await runtime.answer(question.id, {"undone": undone})
    assert (await runtime.wait("b")).output == "x"
    assert len(made) == 1 + undone


async def test_an_undo_that_does_not_fit_its_effect_is_not_begun(runtime: Runtime) -> None:
    async def remove(name: str, why: str) -> None:
        """Take one thing too many."""

    await runtime.run(building(remove), "x", id="b")
    await runtime.rollback("b", ("build", 1))
    (stands,) = await told(runtime, "b", "effect.standing")
    assert "why" in stands["why"]
    assert await told(runtime, "b", "effect.undoing") == []
    assert await runtime.questions("b") == []


async def test_an_answer_about_an_undo_is_taken_while_the_run_is_paused(runtime: Runtime) -> None:
    async def fail(name: str) -> None:
        raise ConnectionError("dead")

    await runtime.run(building(fail), "x", id="b")
    await runtime.rollback("b", ("build", 1))
    (question,) = await runtime.questions("b")
    await runtime.answer(question.id, {"undone": True})
    for _ in range(50):
        if (await lines(runtime, "b"))[0].status == "undone":
            break
        await asyncio.sleep(0.01)
    assert (await lines(runtime, "b"))[0].status == "undone"
    assert (await runtime.get("b")).head.status == "paused"


async def test_an_undone_effect_that_was_adopted_is_undone_once(runtime: Runtime) -> None:
    undone: World = []
    allowed: list[bool] = []

    async def remove(name: str) -> None:
        if not allowed:
            raise EffectNotDone("not yet")
        undone.append(name)

    await runtime.run(building(remove), "x", id="b")
    for _ in range(2):
        await runtime.rollback("b", ("build", 1))
        await runtime.resume("b")
        await runtime.wait("b")
    assert [line.how for line in await lines(runtime, "b")] == ["completed", "adopted", "adopted"]
    allowed.append(True)
    await runtime.rollback("b", ("build", 1))
    assert undone == ["x"]
    assert {line.status for line in await lines(runtime, "b")} == {"undone"}


async def test_an_effect_of_a_branch_before_last_is_undone_too(runtime: Runtime) -> None:
    undone: World = []
    names = ["x"]
    allowed: list[bool] = []

    async def remove(name: str) -> None:
        if not allowed:
            raise EffectNotDone("not yet")
        undone.append(name)

    @task(undo=[remove])
    async def build(n: int, ctx: Context) -> str:
        made: str = await ctx.effect("make", create, names[-1], undo=remove)
        return made

    await runtime.run(Pipeline("build", tasks=[build]), 0, id="b")
    names.append("y")
    await runtime.rollback("b", ("build", 1))
    await runtime.resume("b")
    assert (await runtime.wait("b")).output == "y"
    allowed.append(True)
    await runtime.rollback("b", ("build", 1))
    assert undone == ["y", "x"]


async def test_two_rollbacks_in_a_row_make_two_branches(runtime: Runtime) -> None:
    keys: World = []
    done = asyncio.Event()

    async def make(key: str) -> str:
        keys.append(key)
        return key

    async def remove(key: str) -> None:
        """Take back."""

    @task(undo=[remove])
    async def build(n: int, ctx: Context) -> str:
        made: str = await ctx.effect("make", make, ctx.key("make"), undo=remove)
        if len(keys) < 3:
            done.set()
            await asyncio.sleep(60)
        return made

    run = await runtime.start(Pipeline("build", tasks=[build]), 0, id="b")
    for _ in range(2):
        await done.wait()
        done.clear()
        await runtime.rollback(run, ("build", 1))
        await runtime.resume(run)
    await runtime.wait(run)
    assert (await runtime.get(run)).head.branch == 2
    assert len({*keys}) == 3


async def test_a_fork_does_not_undo_what_it_adopted(runtime: Runtime) -> None:
    undone: World = []

    async def remove(name: str) -> None:
        undone.append(name)

    await runtime.run(building(remove), "x", id="b")
    fork = await runtime.fork("b", at=("build", 1))
    await runtime.wait(fork)
    await runtime.rollback(fork, ("build", 1))
    assert undone == []
    (stands,) = await told(runtime, fork, "effect.standing")
    assert "another run's" in stands["why"]
    await runtime.rollback("b", ("build", 1))
    assert undone == ["x"]


async def test_what_an_undone_effect_gave_is_not_adopted_by_way_of_a_fork(runtime: Runtime) -> None:
    made: World = []

    async def remove(name: str) -> None:
        """Take back."""

    async def make(name: str) -> str:
        made.append(name)
        return name

    @task
    async def plan(name: str) -> str:
        return name

    @task(undo=[remove])
    async def build(plan: str, ctx: Context) -> str:
        said: str = await ctx.effect("make", make, plan, undo=remove)
        return said

    await runtime.run(Pipeline("build", tasks=[plan, build]), "x", id="b")
    fork = await runtime.fork("b", at=("build", 1))
    await runtime.wait(fork)
    await runtime.rollback("b", ("build", 1))
    third = await runtime.fork(fork, at=("build", 1))
    assert (await runtime.wait(third)).output == "x"
    assert made == ["x", "x"]


async def test_a_target_before_which_an_effect_was_done_keeps_it(runtime: Runtime) -> None:
    undone: World = []
    begun = asyncio.Event()

    async def remove(name: str) -> None:
        undone.append(name)

    @task
    async def quick(name: str) -> str:
        await begun.wait()
        await asyncio.sleep(0.01)
        return name

    @task(undo=[remove])
    async def slow(name: str, ctx: Context) -> str:
        made: str = await ctx.effect("early", create, name, undo=remove)
        begun.set()
        await ctx.sleep(0.05)
        await ctx.effect("late", create, name, undo=remove)
        return made

    await runtime.run(Pipeline("both", tasks=[quick, slow]), "x", id="b")
    steps = await runtime.history("b")
    await runtime.rollback("b", next(step.n for step in steps if "quick#1" in step.finished))
    assert undone == ["x"]
    statuses = {line.name: line.status for line in await lines(runtime, "b")}
    assert statuses == {"early": "done", "late": "undone"}
    await runtime.resume("b")
    assert (await runtime.wait("b")).output == {"quick": "x", "slow": "x"}
    how = {(line.name, line.branch): line.how for line in await lines(runtime, "b")}
    assert how[("early", 1)] == "adopted"
    assert how[("late", 1)] == "completed"


async def test_an_undo_that_failed_is_looked_into_by_its_verify(runtime: Runtime) -> None:
    looked: World = []

    async def fail(name: str) -> None:
        raise ConnectionError("dead")

    async def gone(name: str, *, undo_key: str) -> Happened | None:
        looked.append(undo_key)
        return Happened()

    await runtime.run(building(Undo(fail, on_doubt=gone)), "x", id="b")
    await runtime.rollback("b", ("build", 1))
    (line,) = await lines(runtime, "b")
    assert (line.status, line.undo_how, [line.undo_key]) == ("undone", "verified", looked)


async def test_a_process_that_leaves_lets_an_undo_come_to_its_outcome(url: str) -> None:
    undone: World = []
    begun, release = asyncio.Event(), asyncio.Event()

    async def remove(name: str) -> None:
        begun.set()
        await release.wait()
        undone.append(name)

    pipeline = building(remove)
    async with Runtime(url) as runtime:
        await runtime.run(pipeline, "x", id="b")
        rolling = asyncio.ensure_future(runtime.rollback("b", ("build", 1)))
        await begun.wait()
        asyncio.get_running_loop().call_later(0.02, release.set)
    rolling.cancel()
    async with Runtime(url, [pipeline]) as runtime:
        (line,) = await lines(runtime, "b")
        assert line.status == "undone"
        await runtime.pick_up("b")
        assert (await runtime.wait("b")).status == "paused"
        (back,) = await told(runtime, "b", "run.rolled_back")
        assert (back["undone"], back["standing"]) == (["build#1 make"], [])
    assert undone == ["x"]


async def test_a_rollback_by_recover_undoes_too(runtime: Runtime) -> None:
    undone: World = []

    async def remove(name: str) -> None:
        undone.append(name)

    tries = []

    @task
    async def plan(name: str) -> str:
        return name

    @task(undo=[remove], retry=Retry(on=OSError, max_attempts=1), recover=lambda error: Recover.rollback("plan"))
    async def build(plan: str, ctx: Context) -> str:
        made: str = await ctx.effect("make", create, plan, undo=remove)
        tries.append(made)
        if len(tries) == 1:
            raise ValueError("again")
        return made

    assert (await runtime.run(Pipeline("build", tasks=[plan, build]), "x")).output == "x"
    assert (undone, tries) == (["x"], ["x", "x"])
