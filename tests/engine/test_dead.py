"""Dead letters: one for each failure, written with the row that says so, with all that is needed to look at it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec
import pytest

from tests.engine.mortal import Death, House, begin, go_on, simulate, told
from windlass import (
    Allow,
    Budget,
    Ceilings,
    Context,
    Cost,
    Edge,
    Graph,
    Pipeline,
    Platform,
    Recover,
    Retry,
    RunFailed,
    Runtime,
    Usage,
    append,
    task,
    tool,
)
from windlass.core.ops import Failure
from windlass.engine.dead import pattern


@tool
async def pricing(amount: int) -> int:
    return amount


def piped(act: Callable[..., Any], name: str = "p", *, on: Any = None, **options: Any) -> Pipeline:
    """Make a pipeline of one task; options of the definition as `budget=`, of the task as `on={...}`."""
    return Pipeline(name, [task(id="act", **(on or {}))(act)], tools=[pricing], **options)


async def down(n: int) -> int:
    raise ConnectionError(f"down {n}")


async def slow(n: int) -> int:
    await asyncio.sleep(100)
    return n


async def dear(n: int, ctx: Context) -> int:
    return int(await ctx.call("think", int, n, cost=Cost(estimate=Usage(money=2))))


async def sly(n: int, ctx: Context) -> int:
    return int(await ctx.tool("pricing", amount=n))


@dataclass
class State:
    seen: Annotated[list[int], append] = field(default_factory=list)


def endless() -> Graph:
    graph = Graph("p", State, step_limit=3)

    @graph.node(writes=["seen"])
    async def act() -> dict[str, list[int]]:
        return {"seen": [1]}

    graph.start("act")
    graph.edge("act", "act")
    return graph


TWICE = Retry.fixed(0, on=ConnectionError, max_attempts=2)
CASES: dict[str, tuple[Any, str, int, str]] = {  # what is run → the letter's reason, attempts and kind of failure
    "error": (piped(down), "error", 1, "ConnectionError"),
    "attempts": (piped(down, on={"retry": TWICE}), "attempts", 2, "ConnectionError"),
    "timeout": (piped(slow, on={"timeout": 5}), "timeout", 1, "AttemptTimeout"),
    "idle": (piped(slow, on={"idle_timeout": 5}), "timeout", 1, "AttemptTimeout"),
    "run timeout": (piped(slow, run_timeout=5), "timeout", 0, "RunTimeout"),
    "budget at a call": (piped(dear, budget=Budget(money=1)), "budget", 1, "BudgetExceeded"),
    "budget between": (piped(slow, budget=Budget(wall_time=5)), "budget", 0, "BudgetExceeded"),
    "denied": (piped(sly), "denied", 1, "PermissionDenied"),
    "step limit": (endless(), "step_limit", 0, "StepLimitReached"),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("death", [None, Death("commit", 1), Death("commit", 1, after=True), Death("commit", 2)])
def test_each_failure_makes_one_letter(case: str, death: Death | None) -> None:
    definition, reason, attempts, kind = CASES[case]

    async def main(house: House) -> None:
        given: Any = {} if isinstance(definition, Graph) else 7
        found = await house.live(begin(definition, given, tags={"team": "blue"}), death=death)
        if found is None:
            found = await house.live(go_on(), definition)
        assert found["kind"] == kind
        (letter,) = await house.letters()
        assert (letter.reason, letter.attempts, letter.failure.kind) == (reason, attempts, kind)
        assert (letter.run, letter.definition, letter.tenant, letter.tags) == ("r", "p", "default", {"team": "blue"})
        assert (letter.status, letter.branch, letter.pattern) == ("open", 0, pattern(letter.failure))
        assert letter.failure.message
        async with Runtime(house.store, seams=house.seams) as runtime:
            record = await runtime.get("r")
        assert (letter.fingerprint, record.head.status) == (record.fingerprint, "failed")
        if attempts:
            assert (letter.address, letter.node, letter.n) == ("act#1", "act", 1)
            assert msgspec.json.decode(letter.input) == {"n": 7}
            assert len(letter.trail) == attempts
        (event,) = await told(house, "dead_letter.made")
        assert (event["id"], event["reason"], event["pattern"]) == (letter.id, reason, letter.pattern)

    simulate(main)


@pytest.mark.parametrize("case", ["completed", "recovered", "fallback"])
def test_what_does_not_fail_makes_none(case: str) -> None:
    tries: list[int] = []

    async def flaky(n: int) -> int:
        tries.append(n)
        if len(tries) == 1 and case != "completed":
            raise ConnectionError("down")
        return n

    options = {"completed": {}, "recovered": {"retry": TWICE}, "fallback": {"recover": lambda _: Recover.fallback(7)}}

    async def main(house: House) -> None:
        assert (await house.live(begin(piped(flaky, on=options[case]), 7))).output == 7
        assert await house.letters(statuses=None) == []

    simulate(main)


def test_what_kills_its_owners_is_poison() -> None:
    async def main(house: House) -> None:
        pipeline = piped(down, on={"retry": Retry.fixed(0, on=ConnectionError, max_attempts=50)})
        await house.live(begin(pipeline, 1), death=Death("commit", 1))
        found = None
        while found is None:
            found = await house.live(go_on(), pipeline, death=Death("commit", 2))
        assert (found["code"], house.lives) == ("run.poison", 4)
        assert [letter.reason for letter in await house.letters()] == ["poison"]

    simulate(main)


def test_each_element_that_fails_makes_a_letter() -> None:
    @task
    async def parts(n: int) -> list[int]:
        return list(range(n))

    @task
    async def work(parts: int) -> int:
        if parts % 2:
            raise ConnectionError(f"down {parts}")
        return parts

    async def main(house: House) -> None:
        edges = [Edge("parts", "work", each=True, on_error="collect")]
        found = await house.live(begin(Pipeline("p", [parts, work], edges), 5))
        assert found.status == "completed"
        letters = await house.letters()
        assert sorted(letter.address for letter in letters) == ["work#1[1]", "work#1[3]"]
        assert len({letter.pattern for letter in letters}) == 1
        assert all(letter.note and msgspec.json.decode(letter.input) for letter in letters)

    simulate(main)


def test_a_run_that_fails_again_makes_another_letter() -> None:
    async def main(house: House) -> None:
        async def work(runtime: Runtime) -> None:
            await runtime.start(piped(down), 7, "r")
            for _ in range(3):
                with pytest.raises(RunFailed):
                    await runtime.wait("r")
                await runtime.resume("r")
            with pytest.raises(RunFailed):
                await runtime.wait("r")

        await house.live(work)
        letters = await house.letters(statuses=None)
        assert len({letter.id for letter in letters}) == 4
        assert [letter.status for letter in letters] == ["open", "retried", "retried", "retried"]

    simulate(main)


def test_a_trail_says_what_each_policy_decided() -> None:
    async def main(house: House) -> None:
        rule = Retry.fixed(5, on=ConnectionError, max_attempts=9)
        pipeline = piped(down, on={"retry": rule, "recover": lambda _: Recover.retry()})
        await house.live(begin(pipeline, 7), platform=Platform(ceilings=Ceilings(attempts=3)))
        (letter,) = await house.letters()
        assert letter.trail[:2] == (
            "attempt 1 of 9 failed: ConnectionError; again after 5 s",
            "attempt 2 of 9 failed: ConnectionError; again after 5 s",
        )
        assert letter.trail[2].count("the platform allows 3") == 2

    simulate(main)


def failure(kind: str = "E", message: str = "m", frame: str = "/a/b.py:10 in f") -> Failure:
    return Failure(kind, message, "task", (frame,))


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (failure(), True),
        (failure(frame="/a/b.py:99 in f"), True),  # an edit above it
        (failure(frame="/elsewhere/b.py:10 in f"), True),  # installed elsewhere
        (failure(frame="/a/b.py:10 in g"), False),
        (failure(frame="/a/c.py:10 in f"), False),
        (failure(kind="F"), False),
        (failure(message="other"), False),
    ],
)
def test_failures_of_one_cause_have_one_pattern(other: Failure, same: bool) -> None:
    assert (pattern(other) == pattern(failure())) == same
    assert len(pattern(other)) == 16


@pytest.mark.parametrize(
    ("one", "other"),
    [("row 17 of 99", "row 3 of 4"), ("no 'acme'", "no 'bcme'"), ('no "a"', 'no "bb"'), ("at 0xdeadbeef", "at 0x17")],
)
def test_a_pattern_leaves_out_what_varies(one: str, other: str) -> None:
    assert pattern(failure(message=one)) == pattern(failure(message=other))


def test_an_input_too_large_to_show_is_named_instead() -> None:
    async def main(house: House) -> None:
        async def fails(n: str) -> None:
            raise ValueError("no")

        await house.live(begin(piped(fails), "x" * 200_000))
        (letter,) = await house.letters()
        assert len(letter.input) < 100
        assert "too large" in bytes(letter.input).decode()

    simulate(main)


def test_a_handler_is_named_by_definition_or_platform() -> None:
    async def main(house: House) -> None:
        platform = Platform(handlers={"q*": "cleaner"})
        await house.live(begin(piped(down, "p", dead_letters="mender"), 1, run="one"), platform=platform)
        await house.live(begin(piped(down, "q"), 1, run="two"), platform=platform)
        await house.live(begin(piped(down, "z"), 1, run="three"), platform=platform)
        assert {letter.run: letter.handler for letter in await house.letters()} == {
            "one": "mender", "two": "cleaner", "three": "",
        }  # fmt: skip

    simulate(main)


def test_a_grant_is_no_failure() -> None:
    async def main(house: House) -> None:
        assert (await house.live(begin(piped(sly, on={"grants": [Allow("pricing")]}), 7))).output == 7
        assert await house.letters() == []

    simulate(main)
