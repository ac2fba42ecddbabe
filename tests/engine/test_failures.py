"""What a failed attempt comes to: a refusal is one, whatever it was wrapped in on its way."""

import asyncio
from typing import TypedDict

import pytest

from windlass import (
    Budget,
    Context,
    Cost,
    Deny,
    Graph,
    HandTo,
    Pipeline,
    Recover,
    RecoveryAction,
    Retry,
    RunFailed,
    Runtime,
    TaskError,
    Usage,
    task,
)
from windlass.core.errors import BudgetExceeded, PermissionDenied
from windlass.engine.failures import meant

DENIED, SPENT = PermissionDenied("no"), BudgetExceeded("no more")
OTHER = ValueError("something else")


class State(TypedDict, total=False):
    """Two numbers."""

    n: int
    m: int


class Mute(Exception):
    """Has no text."""

    def __str__(self) -> str:
        raise LookupError


class ClientError(Exception):
    """As the clients of services have them: with the request."""

    request = "GET /"


def wrapped(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (ExceptionGroup("g", [DENIED]), DENIED),
        (ExceptionGroup("g", [ExceptionGroup("h", [SPENT]), DENIED]), SPENT),
        (wrapped(ClientError(), DENIED), DENIED),
        (ExceptionGroup("g", [DENIED, OTHER]), None),
        (ExceptionGroup("g", [ExceptionGroup("h", [OTHER]), DENIED]), None),
        (wrapped(ValueError(), DENIED), None),
        (wrapped(ClientError(), OTHER), None),
        (OTHER, None),
    ],
)
def test_a_refusal_is_found_behind_what_wraps_it(error: Exception, found: Exception | None) -> None:
    assert meant(error) is (found or error)


async def test_the_frames_of_a_failure_are_the_users() -> None:
    @task
    async def keeps(_: int, ctx: Context) -> object:
        return await ctx.call("c", object)  # which no codec keeps

    async with Runtime() as runtime:
        with pytest.raises(RunFailed) as raised:
            await runtime.run(Pipeline("p", [keeps]), 0)
    failure = raised.value.failure
    assert failure["code"] == "value.not_kept"
    assert [frame.rpartition(" in ")[2] for frame in failure["frames"]] == ["keeps"]


@pytest.mark.parametrize("way", ["alone", "in a group"])
async def test_a_refusal_is_not_tried_again(way: str) -> None:
    """A TaskGroup makes a group of it, which `Retry(on=Exception)` would otherwise take for worth another try."""
    attempts: list[int] = []

    @task(retry=Retry(on=Exception, max_attempts=3, initial=0.0), grants=[Deny("call:*")])
    async def work(_: int, ctx: Context) -> None:
        attempts.append(ctx.attempt)
        if way == "alone":
            await ctx.call("c", asyncio.sleep, 0)
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.call("c", asyncio.sleep, 0))

    async with Runtime() as runtime:
        with pytest.raises(RunFailed) as raised:
            await runtime.run(Pipeline("p", [work]), 0)
    assert raised.value.failure["code"] == "policy.denied"
    assert attempts == [1]


async def test_an_edge_is_met_from_a_group() -> None:
    @task
    async def rest(_: object) -> str:
        return "handed on"

    @task
    async def work(_: int, ctx: Context) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.call("c", asyncio.sleep, 0, cost=Cost(estimate=Usage(money=2))))

    after = Pipeline("after", [rest])
    async with Runtime(definitions=[after]) as runtime:
        with pytest.raises(RunFailed):
            await runtime.run(Pipeline("p", [work], budget=Budget(money=1, edge=HandTo("after"))), 0)
        (letter,) = await runtime.dead_letters()
    assert letter.reason == "budget"
    assert letter.handler == "after"


@pytest.mark.parametrize("proposed", [Recover.fallback(object()), Recover.skip(object())])
async def test_what_cannot_stand_in_for_an_output_fails_the_run(proposed: RecoveryAction) -> None:
    def stand_in(_: TaskError) -> RecoveryAction:
        return proposed

    @task(recover=stand_in)
    async def work(n: int) -> int:
        raise ValueError(n)

    async with Runtime("memory:") as runtime:
        with pytest.raises(RunFailed, match="ValueNotKept: work: object") as raised:
            await runtime.run(Pipeline("p", [work]), 3, id="r")
        assert raised.value.failure["cause"]["kind"] == "ValueError"
        clamped = [event.data["why"] async for event in runtime.events("r") if event.type == "policy.clamped"]
        assert [why.partition(" (")[0] for why in clamped] == ["work: object is not a value that can be kept"]


async def test_an_answer_that_cannot_be_an_output_is_asked_for_again_while_others_run() -> None:
    done, answers = asyncio.Event(), 0
    graph = Graph("g", State)

    def to_somebody(_: TaskError) -> RecoveryAction:
        return Recover.escalate()

    @graph.node(writes=["n"], recover=to_somebody)
    async def work() -> dict[str, int]:
        raise ValueError("no")

    @graph.node(writes=["m"])
    async def other() -> dict[str, int]:
        await done.wait()
        return {"m": 1}

    graph.start(work, other)
    async with Runtime("memory:") as runtime:
        await runtime.start(graph, {}, id="r")
        async for event in runtime.events("r", follow=True):
            if event.type == "question.asked":
                is_again = "which it did not declare" in event.data["prompt"]
                await runtime.answer(event.data["id"], {"n": 2} if is_again else {"m": 2})
            elif event.type == "question.answered":
                answers += 1
                if answers == 2:
                    done.set()
        assert (await runtime.wait("r")).output == {"n": 2, "m": 1}


@pytest.mark.parametrize(
    ("raised", "told"),
    [(OSError("no file \udcff"), r"OSError: no file \\udcff"), (Mute(), "Mute: its text cannot be had: LookupError")],
)
async def test_an_error_whose_text_cannot_be_kept_fails_the_run(raised: Exception, told: str) -> None:
    def give_up(error: TaskError) -> RecoveryAction:
        return Recover.abort()

    @task(recover=give_up)
    async def work(n: int) -> int:
        raise raised

    async with Runtime("memory:") as runtime:
        with pytest.raises(RunFailed, match=told):
            await runtime.run(Pipeline("p", [work]), 3)


@pytest.mark.parametrize("verb", ["savepoint", "call"])
async def test_half_a_character_is_no_name(verb: str) -> None:
    @task
    async def work(n: int, ctx: Context) -> None:
        if verb == "savepoint":
            ctx.savepoint("\ud800")
        else:
            await ctx.call("\ud800", str, n)

    async with Runtime("memory:") as runtime:
        with pytest.raises(RunFailed, match="is no text"):
            await runtime.run(Pipeline("p", [work]), 3)
