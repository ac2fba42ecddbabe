"""Threads for sync tasks: those that hang give their place to others."""

import asyncio
import threading

import pytest

from windlass.core.clock import Seams
from windlass.engine import pool
from windlass.engine.pool import MOST_THREADS, Pool


async def test_calls_that_hang_do_not_hold_up_others() -> None:
    threads, go_on = Pool(Seams()), threading.Event()
    hung = [asyncio.ensure_future(threads.run(go_on.wait)) for _ in range(MOST_THREADS)]
    await asyncio.sleep(0)
    for call in hung:
        call.cancel()
    await asyncio.gather(*hung, return_exceptions=True)
    assert (threads.busy, threads.abandoned) == (0, MOST_THREADS)
    assert await threads.run(lambda: "served") == "served"
    go_on.set()
    while threads.abandoned:  # noqa: ASYNC110 -- a test waits by looking
        await asyncio.sleep(0.001)
    assert threads.busy == 0


async def test_only_so_many_threads_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "MOST_ABANDONED", 1)
    threads, go_on = Pool(Seams()), threading.Event()
    hung = [asyncio.ensure_future(threads.run(go_on.wait)) for _ in range(2)]
    await asyncio.sleep(0)
    for call in hung:
        call.cancel()
    await asyncio.gather(*hung, return_exceptions=True)
    assert (threads.busy, threads.abandoned) == (1, 1)
    go_on.set()
    while threads.busy or threads.abandoned:  # noqa: ASYNC110 -- a test waits by looking
        await asyncio.sleep(0.001)
