"""Activations that were escalated: they wait for their output whatever else comes, and take it wherever it was kept."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from tests.engine.mortal import Death, House, go_on, simulate
from windlass import Context, Pipeline, Recover, RunFailed, Runtime, task
from windlass.core.records import Question
from windlass.engine import escalated


@dataclass(frozen=True)
class Amount:
    """What no schema can say in full."""

    n: int

    def __post_init__(self) -> None:
        if self.n < 0:
            raise ValueError("negative")


def failing(to: str = "role:x", *others: Any) -> Pipeline:
    @task(id="fails", recover=lambda _: Recover.escalate(to))
    async def fails(n: int) -> Amount:
        raise ValueError("no")

    return Pipeline("failing", [fails, *others], types=[Amount])


@task(id="asks")
async def asks(n: int, ctx: Context) -> int:
    return await ctx.ask("Other?", int, remind=1.1)


@task(id="slow")
async def slow(n: int) -> int:
    await asyncio.sleep(0.3)
    return 1


async def kinds(runtime: Runtime, run: str) -> list[str]:
    return [event.type async for event in runtime.events(run)]


async def the_question(runtime: Runtime, run: str) -> Question:
    (found,) = [asked for asked in await runtime.questions(run) if asked.prompt != "Other?"]
    return found


async def parked(runtime: Runtime, run: str, times: int) -> None:
    """Wait until the run has parked so often."""
    for _ in range(200):
        if (await kinds(runtime, run)).count("run.parked") >= times:
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"{await kinds(runtime, run)}")


async def status(runtime: Runtime, run: str) -> str:
    return (await runtime.get(run)).head.status


@pytest.mark.parametrize("what", ["signal", "edit", "escalate", "pause", "resume", "answer", "reminder"])
async def test_what_waits_for_its_output_waits_whatever_else_comes(runtime: Runtime, what: str) -> None:
    others = (asks,) if what in ("answer", "reminder") else ()
    run = (await runtime.run(failing("role:x", *others), 5)).run
    asked, role = await the_question(runtime, run), "x"
    if what == "signal":
        await runtime.signal(run, "news", 1)
    elif what == "edit":
        await runtime.edit(run, {"input": 9})
    elif what == "escalate":
        await runtime.escalate(asked.id, "role:y")
        role = "y"
    elif what == "answer":
        (other,) = [one for one in await runtime.questions(run) if one.id != asked.id]
        await runtime.answer(other.id, 1)
    if what == "pause":
        await runtime.pause(run)
    if what in ("pause", "resume"):
        await runtime.resume(run)
    await parked(runtime, run, 2)
    assert await status(runtime, run) == "waiting"
    assert (await the_question(runtime, run)).id == asked.id
    assert (await kinds(runtime, run)).count("attempt.failed") == 1
    await runtime.answer(asked.id, {"n": 3}, roles=[role])
    if what == "reminder":
        (other,) = await runtime.questions(run)
        await runtime.answer(other.id, 1)
    await runtime.wait(run)
    assert await status(runtime, run) == "completed"


async def test_a_definition_that_fails_gives_what_waits_for_its_output_back(runtime: Runtime) -> None:
    @task(id="tries")
    async def tries(input: dict[str, Any]) -> Any:
        raise ValueError("no idea")

    runtime._drives.learn(Pipeline("doc", [tries]))
    run = (await runtime.run(failing("definition:doc"), 5)).run
    await parked(runtime, run, 2)
    asked = await the_question(runtime, run)
    assert (await status(runtime, run), asked.terms.to) == ("waiting", "")
    await runtime.answer(asked.id, {"n": 3})
    assert (await runtime.wait(run)).output == Amount(3)


async def test_one_that_failed_beside_it_is_resumed_alone(runtime: Runtime) -> None:
    tries = 0

    @task(id="mended")
    async def mended(n: int) -> int:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise ValueError("broken")
        return 1

    run = await runtime.start(failing("role:x", mended), 5)
    with pytest.raises(RunFailed, match="broken"):
        await runtime.wait(run)
    asked = await the_question(runtime, run)
    await runtime.resume(run)
    await parked(runtime, run, 1)
    assert (tries, (await the_question(runtime, run)).id) == (2, asked.id)
    assert (await kinds(runtime, run)).count("attempt.failed") == 2
    await runtime.answer(asked.id, {"n": 3}, roles=["x"])
    await runtime.wait(run)
    assert await status(runtime, run) == "completed"


async def test_a_run_that_is_paused_stays_so_as_its_output_comes(runtime: Runtime) -> None:
    run = (await runtime.run(failing(), 5)).run
    await runtime.pause(run)
    await runtime.answer((await the_question(runtime, run)).id, {"n": 3}, roles=["x"])
    for _ in range(200):
        if "question.answered" in await kinds(runtime, run):
            break
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    assert await status(runtime, run) == "paused"
    await runtime.resume(run)
    assert (await runtime.wait(run)).output == Amount(3)
    assert (await kinds(runtime, run)).count("attempt.failed") == 1


@pytest.mark.parametrize("others", [(), (slow,)])
async def test_an_answer_that_cannot_be_the_output_is_asked_again(runtime: Runtime, others: tuple[Any, ...]) -> None:
    run = await runtime.start(failing("role:x", *others), 5)
    for _ in range(200):
        if await runtime.questions(run):
            break
        await asyncio.sleep(0.01)
    seen = []
    for n in (-1, -2, 3):
        asked = await the_question(runtime, run)
        seen.append(asked.id)
        assert asked.terms.to == "role:x"
        assert asked.about["failure"]["message"] == "no"
        assert asked.prompt.count("\n(the last answer was refused: ") == (n != -1)
        await runtime.answer(asked.id, {"n": n}, roles=["x"])
        for _ in range(200):
            if (await runtime.questions(run) or n == 3) and (await runtime.questions(run)) != [asked]:
                break
            await asyncio.sleep(0.01)
    assert len(set(seen)) == 3
    await runtime.wait(run)
    assert await status(runtime, run) == "completed"


async def test_a_definition_that_returns_what_cannot_be_the_output_is_not_asked_again(runtime: Runtime) -> None:
    calls = 0

    @task(id="tries")
    async def tries(input: dict[str, Any]) -> dict[str, int]:
        nonlocal calls
        calls += 1
        return {"n": -1}

    runtime._drives.learn(Pipeline("doc", [tries]))
    run = (await runtime.run(failing("definition:doc"), 5)).run
    await parked(runtime, run, 2)
    asked = await the_question(runtime, run)
    assert (asked.terms.to, calls) == ("", 1)
    assert "negative" in asked.prompt
    await runtime.answer(asked.id, {"n": 3})
    assert (await runtime.wait(run)).output == Amount(3)


@pytest.mark.parametrize("was_refused", [False, True])
async def test_what_older_code_asked_is_answered_or_asked_anew(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, *, was_refused: bool
) -> None:
    with monkeypatch.context() as patch:  # it named the question so, and left it at an answer that could not be
        patch.setattr(escalated, "_next", lambda _, start: start.rpartition("|")[0])
        patch.setattr(escalated, "ask_again", lambda *_: None)
        run = (await runtime.run(failing(), 5)).run
        first = await the_question(runtime, run)
        if was_refused:
            await runtime.answer(first.id, {"n": -1}, roles=["x"])
            with pytest.raises(RunFailed):
                await runtime.wait(run)
    if was_refused:
        await runtime.resume(run)
        await runtime.wait(run)
    asked = await the_question(runtime, run)
    assert (asked.id == first.id) != was_refused
    await runtime.answer(asked.id, {"n": 3}, roles=["x"])
    assert (await runtime.wait(run)).output == Amount(3)


async def test_a_fork_tries_again_what_waits_for_its_output(runtime: Runtime) -> None:
    tries = 0

    @task(id="fails", recover=lambda _: Recover.escalate())
    async def fails(n: int) -> int:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise ValueError("no")
        return 7

    run = (await runtime.run(Pipeline("failing", [fails, slow]), 5)).run
    assert await runtime.questions(run)
    (*_, last) = await runtime.history(run)
    fork = await runtime.fork(run, at=last.n)
    await runtime.wait(fork)
    assert (await status(runtime, fork), tries) == ("completed", 2)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_an_answer_is_the_output_wherever_a_process_dies(number: int, *, after: bool) -> None:
    async def main(house: House) -> None:
        flow = failing()

        async def leave(runtime: Runtime) -> None:
            await runtime.run(flow, 1, id="r")

        async def answer(runtime: Runtime) -> Any:
            (asked,) = await runtime.questions("r")
            await runtime.answer(asked.id, {"n": 3}, roles=["x"])
            return await runtime.wait("r")

        await house.live(leave, flow)
        found = await house.live(answer, flow, death=Death("commit", number, after))
        found = found if found is not None else await house.live(go_on(), flow)
        assert found.output == Amount(3)

    simulate(main)
