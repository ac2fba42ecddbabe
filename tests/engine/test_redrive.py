"""Dead letters: found, retried, resolved and dropped."""

import asyncio
from typing import Any, TypedDict

import pytest

from tests.engine.orders import World, failed, order
from tests.engine.simulation import simulate
from windlass import (
    END,
    Budget,
    DefinitionError,
    Edge,
    Graph,
    Limit,
    Pipeline,
    Platform,
    RunFailed,
    Runtime,
    task,
)
from windlass.core.errors import InputError, LetterUnknown, RunState
from windlass.core.queries import Commands, Letters
from windlass.engine import redrive


@pytest.fixture
def world() -> World:
    return World()


async def standing(runtime: Runtime, **filters: Any) -> list[tuple[str, str, str]]:
    found = await runtime.dead_letters(statuses=None, **filters)
    return [(letter.run, letter.status, letter.by) for letter in found]


async def redriven(runtime: Runtime, *ids: str, **options: Any) -> list[redrive.Redriven]:
    return [done async for done in runtime.redrive(*ids, **options)]


async def test_a_letter_is_open_then_retried_then_resolved(runtime: Runtime, world: World) -> None:
    letter = await failed(runtime, order(world), 1, "r")
    assert (letter.status, letter.reason, letter.attempts, letter.node) == ("open", "attempts", 2, "ship")
    (done,) = await redriven(runtime, letter.id, by="ada")  # it is still broken: a letter of its own is made
    assert (done.letter.id, done.letter.status, done.letter.by, done.refused) == (letter.id, "retried", "ada", None)
    with pytest.raises(RunFailed):
        await runtime.wait("r")
    assert await standing(runtime) == [("r", "open", ""), ("r", "retried", "ada")]
    world.mended = True
    (done,) = await redriven(runtime, by="bob")
    assert (await runtime.wait("r")).output == 1
    assert await standing(runtime) == [("r", "resolved", "bob"), ("r", "resolved", "ada")]
    assert await runtime.dead_letters() == []
    assert len(await runtime.dead_letters(statuses=("resolved",))) == 2


async def test_a_resume_by_other_ways_marks_letters_too(runtime: Runtime, world: World) -> None:
    await failed(runtime, order(world), 1, "r")
    await runtime.resume("r", by="eve")
    with pytest.raises(RunFailed):
        await runtime.wait("r")
    assert await standing(runtime) == [("r", "open", ""), ("r", "retried", "eve")]


async def test_many_are_retried_with_edits_and_refusals_are_told(runtime: Runtime, world: World) -> None:
    pipeline = order(world)
    for number in range(4):
        await failed(runtime, pipeline, -number, f"r{number}")
    await runtime.cancel("r2")
    world.mended = True
    ids = [letter.id for letter in await runtime.store.find(Letters())]
    done = await redriven(runtime, *ids, edits={"input": 7}, by="ada")
    assert [each.letter.run for each in done] == ["r3", "r2", "r1", "r0"]
    (refused,) = [each.refused for each in done if each.refused is not None]
    assert isinstance(refused, RunState)
    assert "cancelled" in str(refused)
    assert "windlass runs fork r2" in refused.hint
    assert [(await runtime.wait(f"r{number}")).output for number in (0, 1, 3)] == [7, 7, 7]
    assert {status for _, status, _ in await standing(runtime)} == {"resolved"}
    (again,) = await redriven(runtime, ids[0])
    assert "completed" in str(again.refused)


async def test_an_edit_that_does_not_fit_is_told_and_leaves_the_letter_open(runtime: Runtime, world: World) -> None:
    letter = await failed(runtime, order(world), 1, "r")
    (done,) = await redriven(runtime, letter.id, edits={"input": "many"})
    assert isinstance(done.refused, InputError)
    assert await standing(runtime) == [("r", "open", "")]


async def test_what_cannot_be_retried(runtime: Runtime, world: World) -> None:
    letter = await failed(runtime, order(world), 1, "r")
    with pytest.raises(LetterUnknown):
        await redriven(runtime, letter.id, "nothing")
    with pytest.raises(LetterUnknown):
        await runtime.drop(letter.id, "nothing")
    for rate in (0, -1, float("nan"), float("inf")):
        with pytest.raises(InputError):
            await redriven(runtime, rate=rate)
    assert await standing(runtime) == [("r", "open", "")]
    await runtime.store.maintain("prune", older_than=0.0, status=("failed",))
    (done,) = await redriven(runtime, letter.id)
    assert "was pruned" in str(done.refused)


async def test_dropped_letters_stay_dropped_and_are_retried_by_id_only(runtime: Runtime, world: World) -> None:
    letter = await failed(runtime, order(world), 1, "r")
    await runtime.drop(letter.id, by="ada", note="no customer")
    await runtime.drop(letter.id, by="eve")
    (dropped,) = await runtime.dead_letters(statuses=("dropped",))
    assert (dropped.by, dropped.note) == ("ada", "no customer")
    assert await redriven(runtime) == []
    world.mended = True
    (done,) = await redriven(runtime, letter.id, by="bob")
    assert (done.refused, done.letter.status, done.letter.by) == (None, "retried", "bob")


async def test_several_letters_of_a_run_are_one_resume(runtime: Runtime, world: World) -> None:
    @task
    async def numbers() -> list[int]:
        return [1, 2, 3]

    @task
    async def ship(numbers: int) -> int:
        if not world.mended:
            raise ConnectionError("down")
        return numbers

    pipeline = Pipeline("many", [numbers, ship], edges=[Edge("numbers", "ship", each=True)])
    await failed(runtime, pipeline, None, "m")
    before = len(await runtime.dead_letters())
    assert before > 1
    world.mended = True
    done = await redriven(runtime)
    assert [each.refused for each in done] == [None] * before
    assert (await runtime.wait("m")).output == [1, 2, 3]
    resumed = [event async for event in runtime.events("m") if event.type == "run.resumed"]
    assert len(resumed) == 1


async def test_what_was_collected_is_not_retried(runtime: Runtime, world: World) -> None:
    @task
    async def numbers() -> list[int]:
        return [1, 2]

    @task
    async def ship(numbers: int) -> int:
        if numbers == 2:
            raise ConnectionError("down")
        return numbers

    @task
    async def bill(ship: list[Any]) -> int:
        if not world.mended:
            raise ValueError("no paper")
        return len(ship)

    edges = [Edge("numbers", "ship", each=True, on_error="collect"), Edge("ship", "bill")]
    await failed(runtime, Pipeline("many", [numbers, ship, bill], edges=edges), None, "m")
    bill_letter, ship_letter = await runtime.dead_letters()
    assert (bill_letter.node, ship_letter.node) == ("bill", "ship")
    world.mended = True
    refused, retried = await redriven(runtime, ship_letter.id, bill_letter.id)
    assert "went on without ship" in str(refused.refused)
    assert retried.refused is None
    await runtime.wait("m")
    assert [(letter.node, letter.status) for letter in await runtime.dead_letters(statuses=None)] == [
        ("bill", "resolved"), ("ship", "open"),
    ]  # fmt: skip


async def test_letters_are_found_page_by_page_and_by_what_they_say(
    runtime: Runtime, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redrive, "PAGE", 2)
    for number in range(5):
        await failed(runtime, order(world), number, f"r{number}")
    await runtime.cancel("r3")
    names = [letter.run for letter in await runtime.dead_letters()]
    assert names == ["r4", "r2", "r1", "r0"]
    assert [letter.run for letter in await runtime.dead_letters(limit=3)] == names[:3]
    (one,) = await runtime.dead_letters(run="r1")
    assert [letter.run for letter in await runtime.dead_letters(after=one.id)] == ["r0"]
    assert len(await runtime.dead_letters(pattern=one.pattern, node="ship", definitions=("order",))) == 4
    world.mended = True
    assert [each.letter.run for each in await redriven(runtime, pattern=one.pattern)] == names


def test_the_rate_is_kept(world: World) -> None:
    async def main(runtime: Runtime) -> None:
        for number in range(3):
            await failed(runtime, order(world), number, f"r{number}")
        world.mended = True
        clock = runtime.services.seams.clock
        began = clock.monotonic()
        at = [clock.monotonic() - began async for _ in runtime.redrive(rate=4)]
        assert at == pytest.approx([0.0, 0.25, 0.5], abs=0.01)

    simulate(main)


@pytest.mark.parametrize("reason", ["budget", "timeout", "step_limit"])
async def test_what_ran_out_goes_on_once_there_is_more(url: str, reason: str) -> None:
    def loop(more: int) -> Graph:
        limits: dict[str, dict[str, Any]] = {
            "budget": {"budget": Budget(steps=3 * more)},
            "timeout": {"run_timeout": 0.05 * more},
            "step_limit": {"step_limit": 4 * more},
        }
        graph = Graph("loop", Count, **limits[reason])

        @graph.node(writes=["count"])
        async def grow(count: int) -> dict[str, int]:
            if reason == "timeout" and count == 2:
                await asyncio.sleep(0.06 if more == 1 else 0)
            return {"count": count + 1}

        graph.start("grow")
        graph.branch("grow", until_six, ["grow", END])
        return graph

    async with Runtime(url) as runtime:
        with pytest.raises(RunFailed):
            await runtime.run(loop(1), {"count": 0}, "r")
        (letter,) = await runtime.dead_letters()
        assert letter.reason == reason
    async with Runtime(url, [loop(100)]) as runtime:
        (done,) = await redriven(runtime, letter.id)
        assert done.refused is None
        assert (await runtime.wait("r")).output == {"count": 6}
        assert await standing(runtime) == [("r", "resolved", "")]


class Count(TypedDict):
    """A number that grows."""

    count: int


def until_six(count: int) -> str:
    return END if count >= 6 else "grow"


async def test_two_that_retry_the_same_letter_begin_one_run_again(url: str, world: World) -> None:
    definition = order(world)
    async with Runtime(url, [definition]) as one, Runtime(url, [definition]) as two:
        letters = [await failed(one, definition, number, f"r{number}") for number in range(5)]
        world.mended = True
        ids = [letter.id for letter in letters]
        ours, theirs = await asyncio.gather(redriven(one, *ids, by="one"), redriven(two, *ids, by="two"))
        for mine, other in zip(ours, theirs, strict=True):
            assert None in (mine.refused, other.refused)
        for number in range(5):
            assert (await one.wait(f"r{number}")).output == number
        assert {status for _, status, _ in await standing(one)} == {"resolved"}


async def test_a_refused_resume_leaves_no_command(runtime: Runtime, world: World) -> None:
    letter = await failed(runtime, order(world), 1, "r")
    await redriven(runtime, letter.id, edits={"nowhere": 1})
    assert await runtime.store.find(Commands(run="r")) == []


async def test_a_cancel_that_comes_first_wins(runtime: Runtime, world: World) -> None:
    letter = await failed(runtime, order(world), 1, "r")
    await runtime.cancel("r")
    (done,) = await redriven(runtime, letter.id)
    assert isinstance(done.refused, RunState)
    assert await standing(runtime) == [("r", "resolved", "")]
    assert (await runtime.get("r")).head.status == "cancelled"


async def test_a_run_that_was_rolled_back_goes_on(runtime: Runtime, world: World) -> None:
    letter = await failed(runtime, order(world), 1, "r")
    await runtime.rollback("r", 1)
    world.mended = True
    (done,) = await redriven(runtime, letter.id, by="ada")
    assert (done.refused, done.letter.status) == (None, "retried")
    assert (await runtime.wait("r")).output == 1


async def test_one_that_goes_on_already_is_told(runtime: Runtime, world: World) -> None:
    begun, going = asyncio.Event(), asyncio.Event()

    @task
    async def ship(number: int) -> int:
        if not world.mended:
            raise ConnectionError("down")
        begun.set()
        await going.wait()
        return number

    letter = await failed(runtime, Pipeline("order", [ship]), 1, "r")
    world.mended = True
    await redriven(runtime, letter.id)
    await begun.wait()
    (done,) = await redriven(runtime, letter.id)
    assert "goes on already: it is running" in str(done.refused)
    going.set()
    await runtime.wait("r")


async def test_a_runtime_without_the_platform_refuses_before_it_claims(url: str, world: World) -> None:
    @task(limits=["till"])
    async def ship(number: int) -> int:
        if not world.mended:
            raise ConnectionError("down")
        return number

    pipeline = Pipeline("order", [ship])
    async with Runtime(url, platform=Platform(limits=[Limit("till", concurrency=1)])) as able:
        letter = await failed(able, pipeline, 1, "r")
        world.mended = True
        async with Runtime(url, [pipeline]) as unable:
            (done,) = await redriven(unable, letter.id)
            assert isinstance(done.refused, DefinitionError)
            assert (await able.get("r")).owner is None
            assert await able.store.find(Commands(run="r")) == []
            (done,) = await redriven(able, letter.id)
            assert done.refused is None
            assert (await able.wait("r")).output == 1
