"""The manual clock stands still, goes on when told, and jumps without time passing."""

import asyncio

from windlass.testing.clock import START, ManualClock


def test_it_stands_still_until_it_is_advanced() -> None:
    clock = ManualClock()
    assert (clock.now(), clock.monotonic()) == (START, 0.0)
    clock.advance(90)
    assert (clock.now(), clock.monotonic()) == (START + 90, 90.0)


def test_a_jump_moves_the_wall_clock_alone() -> None:
    clock = ManualClock()
    clock.jump(-3600)
    assert (clock.now(), clock.monotonic()) == (START - 3600, 0.0)


async def test_sleepers_wake_in_the_order_in_which_they_are_due() -> None:
    clock = ManualClock()
    woken: list[int] = []

    async def sleeper(seconds: int) -> None:
        await clock.sleep(seconds)
        woken.append(seconds)

    tasks = [asyncio.get_running_loop().create_task(sleeper(seconds)) for seconds in (3, 1, 2, 0)]
    await asyncio.sleep(0.001)
    assert woken == [0]
    tasks[2].cancel()
    await asyncio.sleep(0)
    clock.advance(2)
    await asyncio.sleep(0.001)
    assert woken == [0, 1]
    assert clock.next_due() == 3
    clock.advance_to(3)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert woken == [0, 1, 3]
    assert clock.next_due() is None
