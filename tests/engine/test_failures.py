"""What a failed attempt comes to: a refusal is one, whatever it was wrapped in on its way."""

import asyncio

import pytest

from windlass import Budget, Context, Cost, Deny, HandTo, Pipeline, Retry, RunFailed, Runtime, Usage, task
from windlass.core.errors import BudgetExceeded, PermissionDenied
from windlass.engine.failures import meant

DENIED, SPENT = PermissionDenied("no"), BudgetExceeded("no more")
OTHER = ValueError("something else")


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
