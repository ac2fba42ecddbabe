"""Limits of one attempt fire: timeouts, retry and its ceilings, waits that are asked for; also after a kill."""

import asyncio
import math
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest

from tests.engine.mortal import KILLS, Death, House, begin, flaky, lasting, simulate, told, whole
from windlass import (
    NO_RETRY,
    Ceilings,
    Context,
    Defaults,
    Output,
    Pipeline,
    Platform,
    Recover,
    Retry,
    Yields,
    task,
)

WAIT = Retry(on=ConnectionError, max_attempts=4, initial=10, factor=2, jitter=0)


# Timeouts


@pytest.mark.parametrize(
    ("pipeline", "platform", "fires"),
    [
        (lasting(9, timeout=10), None, False),
        (lasting(11, timeout=10), None, True),
        (lasting(11, 4, timeout=10), None, True),
        (lasting(9, idle_timeout=10), None, False),
        (lasting(35, 4, idle_timeout=10), None, False),  # each sign begins it anew
        (lasting(11, idle_timeout=10), None, True),
        (lasting(50, 4, idle_timeout=10), None, True),
        (lasting(11), Platform(defaults=Defaults(timeout=10)), True),
        (lasting(11), Platform(defaults=Defaults(idle_timeout=10)), True),
        (lasting(11, timeout=math.inf), Platform(defaults=Defaults(timeout=10)), False),
        (lasting(11, timeout=60), Platform(ceilings=Ceilings(timeout=10)), True),
        (lasting(11, timeout=math.inf), Platform(ceilings=Ceilings(timeout=10)), True),
        (lasting(11, idle_timeout=60), Platform(ceilings=Ceilings(idle_timeout=10)), True),
    ],
)
def test_an_attempt_may_take_so_long(pipeline: Pipeline, platform: Platform | None, fires: bool) -> None:
    async def main(house: House) -> None:
        found = await house.live(begin(pipeline, 1), platform=platform)
        if not fires:
            assert found.output == 1
            return
        assert (found["kind"], found["code"]) == ("AttemptTimeout", "task.timeout")
        assert [letter.reason for letter in await house.letters()] == ["timeout"]
        assert 10 <= house.clock.monotonic() < 50

    simulate(main)


@pytest.mark.parametrize("sign", ["emit", "effect", "call", "item", "none"])
def test_a_sign_of_life_begins_the_idle_time_anew(sign: str) -> None:
    @task(id="work", idle_timeout=10)
    async def yields(n: int) -> Yields[int]:
        for place in range(5):
            await asyncio.sleep(8)
            yield place
        yield Output(n)

    @task(id="work", idle_timeout=10)
    async def works(n: int, ctx: Context) -> int:
        for place in range(5):
            await asyncio.sleep(8)
            if sign == "emit":
                ctx.emit(place)
            elif sign == "effect":
                await ctx.effect("push", int, key=str(place))
            elif sign == "call":
                await ctx.call("look", int)
        return n

    async def main(house: House) -> None:
        found = await house.live(begin(Pipeline("p", [yields if sign == "item" else works]), 1))
        assert found["kind"] == "AttemptTimeout" if sign == "none" else found.output == 1

    simulate(main)


@pytest.mark.parametrize("seconds", [50, 70])
@pytest.mark.parametrize("where", ["definition", "default", "ceiling"])
@pytest.mark.parametrize("rest", [0, 3600])
@pytest.mark.parametrize("is_killed", [False, True])
def test_a_run_may_be_active_so_long(seconds: int, where: str, rest: int, is_killed: bool) -> None:
    """Hours that it is parked do not count; what a dead owner had does."""

    @task
    async def one(n: int) -> int:
        await asyncio.sleep(seconds / 2)
        return n

    @task
    async def two(one: int, ctx: Context) -> int:
        await ctx.sleep(rest)
        await asyncio.sleep(seconds / 2)
        return one

    pipeline = Pipeline("p", [one, two], run_timeout=60 if where == "definition" else None)
    platform = {
        "definition": Platform(),
        "default": Platform(defaults=Defaults(run_timeout=60)),
        "ceiling": Platform(ceilings=Ceilings(run_timeout=60)),
    }[where]

    async def main(house: House) -> None:
        death = Death("commit", 1, after=True) if is_killed else None  # the end of `one`
        found = await whole(house, pipeline, death, platform=platform)
        if seconds < 60:
            assert found.output == 1
            return
        assert found["code"] == "policy.run_timeout"
        assert [letter.reason for letter in await house.letters()] == ["timeout"]
        assert 56 <= house.clock.monotonic() - rest < 62  # what a dead owner held counts as spent: at most 3 s

    simulate(main)


# Retry


@pytest.mark.parametrize("death", KILLS)
def test_attempts_and_due_times_outlive_their_owner(death: Death | None) -> None:
    tries: list[tuple[int, float]] = []

    @task(retry=WAIT)
    async def work(n: int, ctx: Context) -> int:
        tries.append((ctx.attempt, ctx.now))
        raise ConnectionError("down")

    async def main(house: House) -> None:
        found = await whole(house, Pipeline("p", [work]), death)
        assert found["message"] == "down"
        assert [event["attempt"] for event in await told(house, "attempt.failed")] == [1, 2, 3, 4]
        dues = {event["attempt"]: event["due_at"] for event in await told(house, "attempt.retrying")}
        assert all(at >= dues[attempt] for attempt, at in tries if attempt > 1)
        assert len(tries) <= 4 + (house.lives > 1)  # one whose end nobody wrote down is made again
        (letter,) = await house.letters()
        assert (letter.reason, letter.attempts, len(letter.trail)) == ("attempts", 4, 4)

    simulate(main)


def test_no_retry_wins_over_a_default() -> None:
    async def main(house: House) -> None:
        pipeline, at = flaky(1, retry=NO_RETRY)
        found = await house.live(begin(pipeline, 1), platform=Platform(defaults=Defaults(retry=WAIT)))
        assert (found["message"], len(at)) == ("down", 1)
        assert [letter.reason for letter in await house.letters()] == ["error"]
        plain, at = flaky(1)
        again = await house.live(begin(plain, 1, run="s"), platform=Platform(defaults=Defaults(retry=WAIT)))
        assert (again.output, len(at)) == (1, 2)

    simulate(main)


@pytest.mark.parametrize("by", ["retry", "recover"])
def test_no_declaration_goes_beyond_the_ceiling_of_attempts(by: str) -> None:
    async def main(house: House) -> None:
        rule = Retry.fixed(0, on=ConnectionError, max_attempts=1000)
        options = {"retry": rule} if by == "retry" else {"recover": lambda _: Recover.retry()}
        pipeline, at = flaky(1000, **options)
        await house.live(begin(pipeline, 1), platform=Platform(ceilings=Ceilings(attempts=7)))
        assert len(at) == 7
        (clamped,) = await told(house, "policy.clamped")
        assert (clamped["proposed"], "7" in clamped["why"]) == ("retry", True)

    simulate(main)


def test_a_run_is_not_taken_back_for_ever() -> None:
    made: list[int] = []

    @task
    async def draw(n: int) -> int:
        made.append(n)
        return n

    @task(recover=lambda _: Recover.rollback("draw"))
    async def check(draw: int) -> int:
        raise ValueError("no")

    async def main(house: House) -> None:
        platform = Platform(ceilings=Ceilings(attempts=5))
        found = await house.live(begin(Pipeline("p", [draw, check]), 1), platform=platform)
        assert (found["kind"], len(made)) == ("ValueError", 6)
        assert [letter.reason for letter in await house.letters()] == ["error"]

    simulate(main)


def test_a_hundred_attempts_are_the_most() -> None:
    async def main(house: House) -> None:
        pipeline, at = flaky(1000, retry=Retry.fixed(0, on=ConnectionError, max_attempts=1000))
        await house.live(begin(pipeline, 1))
        assert len(at) == 100

    simulate(main)


def slow_down(said: Any) -> Any:
    """Make an error that says when to come back."""

    def error(message: str) -> ConnectionError:
        made = ConnectionError(message)
        made.retry_after = said  # type: ignore[attr-defined]
        return made

    return error


IN_A_MINUTE = format_datetime(datetime.fromtimestamp(1_750_000_060, UTC), usegmt=True)


@pytest.mark.parametrize(
    ("said", "waited", "clamped"),
    [(60, 60, False), ("60", 60, False), (IN_A_MINUTE, 60, False), (3, 10, False), (-5, 10, False), ("soon", 10, False),
     (7200, 900, True), (math.inf, 10, False)],
)  # fmt: skip
def test_a_wait_that_is_asked_for_is_honoured(said: Any, waited: int, clamped: bool) -> None:
    async def main(house: House) -> None:
        pipeline, at = flaky(1, slow_down(said), retry=WAIT)
        found = await house.live(begin(pipeline, 1), platform=Platform(ceilings=Ceilings(wait=900)))
        assert found.output == 1
        assert at[1] - at[0] == pytest.approx(waited, abs=1)
        assert len(await told(house, "policy.clamped")) == clamped
        assert await told(house, "run.parked")

    simulate(main)
