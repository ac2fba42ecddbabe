"""The simulated loop: its order is the test's, its time passes at once, and it says when it is stuck."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from windlass.testing.simloop import SimulatedLoop, Stuck


async def race(names: str = "abcdef") -> str:
    """Let some tasks note the order in which they go."""
    order: list[str] = []

    async def runner(name: str) -> None:
        await asyncio.sleep(0)
        order.append(name)

    await asyncio.gather(*(runner(name) for name in names))
    return "".join(order)


def test_the_choices_decide_the_order_and_nothing_else_does() -> None:
    def raced(seed: int) -> str:
        return SimulatedLoop(Random(seed).randrange).run(race())

    assert SimulatedLoop().run(race()) == "abcdef"
    assert [raced(seed) for seed in range(9)] == [raced(seed) for seed in range(9)]
    assert len({raced(seed) for seed in range(9)}) > 5


def test_timers_timeouts_and_sleeps_pass_at_once_and_in_order() -> None:
    loop = SimulatedLoop()
    seen: list[tuple[str, float]] = []

    async def main() -> None:
        async def nap(name: str, wait: Callable[[float], Awaitable[None]], seconds: float) -> None:
            await wait(seconds)
            seen.append((name, loop.time()))

        naps = [
            nap("year", asyncio.sleep, 31_536_000),
            nap("hour", loop.clock.sleep, 3_600),
            nap("now", asyncio.sleep, 0),
        ]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await asyncio.sleep(11)
        await asyncio.gather(*naps)

    loop.run(main())
    assert seen == [("now", 10), ("hour", 3_610), ("year", 31_536_010)]
    assert loop.turns < 50
    assert loop.is_closed()


def test_a_deadlock_and_an_endless_run_are_told() -> None:
    closed: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(5)
            closed.append("in the end")

    async def spin() -> None:
        while True:  # noqa: ASYNC110 -- that it has no end is the point
            await asyncio.sleep(0)

    async def watch(loop: SimulatedLoop) -> None:
        while True:
            await loop.poll()

    with pytest.raises(Stuck, match="nothing is due"):
        SimulatedLoop().run(forever())
    assert closed == ["in the end"]
    with pytest.raises(Stuck, match="no end after 1,000 turns"):
        SimulatedLoop(most_turns=1_000).run(spin())
    polled = SimulatedLoop()
    with pytest.raises(Stuck, match="nothing is due"):
        polled.run(watch(polled))


def test_what_nobody_handles_is_kept() -> None:
    loop = SimulatedLoop()

    async def main() -> None:
        asyncio.get_running_loop().call_exception_handler({"message": "lost"})
        await asyncio.sleep(1)

    loop.run(main())
    assert loop.failures == [{"message": "lost"}]


def test_what_a_callback_raises_is_kept_and_the_loop_goes_on() -> None:
    loop = SimulatedLoop()

    def fail() -> None:
        raise ValueError("lost")

    async def main() -> str:
        late = loop.call_later(0.5, fail)
        late.cancel()
        loop.call_soon(fail)
        await asyncio.sleep(1)
        assert (late.cancelled(), late.when()) == (True, 0.5)
        return "done"

    assert loop.run(main()) == "done"
    assert [repr(failure["exception"]) for failure in loop.failures] == ["ValueError('lost')"]
