"""A node that holds up the event loop is named, with its stack, while it does so; the lease stays meanwhile."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from windlass import Pipeline, Runtime, task
from windlass.engine.watchdog import BLOCKED_SECONDS, Watchdog
from windlass.testing.clock import ManualClock


def elsewhere(work: Callable[[], Any]) -> None:
    """Do something on another thread, and hold this one up meanwhile."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


async def test_a_loop_that_does_not_turn_is_told_once_with_its_stack(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    watchdog = Watchdog(clock, list, lambda: True)

    def hold_up() -> None:
        def looks() -> None:
            for seconds in (0, BLOCKED_SECONDS / 2, BLOCKED_SECONDS, BLOCKED_SECONDS):
                clock.advance(seconds)
                watchdog.look()

        elsewhere(looks)

    with caplog.at_level(logging.WARNING):
        hold_up()
    (record,) = caplog.records
    assert "in hold_up" in record.getMessage()
    assert "has blocked the event loop for 0.38 s" in record.getMessage()
    assert watchdog.blocks == 1


async def test_a_loop_that_turns_is_left_alone() -> None:
    import asyncio

    clock = ManualClock()
    watchdog = Watchdog(clock, list, lambda: True)
    for _ in range(5):
        elsewhere(watchdog.look)
        clock.advance(10 * BLOCKED_SECONDS)
        await asyncio.sleep(0)
    assert watchdog.blocks == 0


async def test_nothing_is_asked_of_a_loop_that_drives_nothing() -> None:
    clock = ManualClock()
    watchdog = Watchdog(clock, list, lambda: False)

    def looks() -> None:
        for _ in range(3):
            watchdog.look()
            clock.advance(10 * BLOCKED_SECONDS)

    elsewhere(looks)
    assert watchdog.blocks == 0


@pytest.mark.parametrize("timeout", [60, None])  # with one it runs in a task of its own, else in the drive's
async def test_the_node_that_blocks_is_named_and_its_followers_are_told(
    runtime: Runtime, caplog: pytest.LogCaptureFixture, timeout: float | None
) -> None:
    import asyncio

    @task(timeout=timeout)
    async def greedy(n: int) -> int:
        await asyncio.sleep(0)
        patience = 1_000
        while not runtime.watchdog.blocks and (patience := patience - 1):
            time.sleep(0.01)  # noqa: ASYNC251 -- what must not be done
        await asyncio.sleep(0)
        return n

    with caplog.at_level(logging.WARNING):
        told = [event async for event in runtime.execute(Pipeline("greedy", [greedy]), 1, id="g")]
    (record,) = caplog.records
    assert record.getMessage().startswith("run g, greedy#1, has blocked the event loop for ")
    (item,) = [event for event in told if event.type == "activation.blocking"]
    assert item.address == "greedy#1"
    assert item.data["stack"][0].endswith(" in greedy")
