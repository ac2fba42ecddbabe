"""Turns of threads are driven by workers: each begins once those before it have ended, wherever that is."""

import asyncio

from tests.talk import talk
from windlass import Runtime
from windlass.core.states import CANCELLED, COMPLETED
from windlass.worker.worker import Worker


async def ended(runtime: Runtime, run: str) -> str:
    async with asyncio.timeout(10):
        while True:
            status = (await runtime.get(run)).head.status
            if status in (COMPLETED, CANCELLED):
                return status
            await asyncio.sleep(0.01)


async def test_queued_turns_go_on_in_a_worker_after_an_answer_from_elsewhere(tmp_path: object) -> None:
    url = f"sqlite:///{tmp_path}/w.db"
    async with Runtime(url) as runtime:
        first = await runtime.run(talk, {"messages": ["?"]}, "one", thread="t")
        await runtime.start(talk, {"messages": ["b"]}, "two", thread="t")
        await runtime.start(talk, {"messages": ["c"]}, "three", thread="t")
    async with Runtime(url, [talk], timers=False) as works, Runtime(url) as looks:
        worker = Worker(works, [talk])
        working = asyncio.create_task(worker.run())
        await looks.answer(first.waiting[0], "well")
        assert [await ended(looks, run) for run in ("one", "two", "three")] == [COMPLETED] * 3
        assert (await looks.state("three"))["messages"] == ["?", "yes", "b", "yes", "c", "yes"]
        worker.stop()
        await working


async def test_an_interrupt_whose_process_died_is_seen_to_by_a_worker(tmp_path: object) -> None:
    url = f"sqlite:///{tmp_path}/w.db"
    async with Runtime(url) as runtime:
        await runtime.run(talk, {"messages": ["?"]}, "one", thread="t")
        runtime._control.drives.closing = True  # from here on it does nothing by itself
        runtime._drives.queue.closed = True
        await runtime.start(talk, {"messages": ["b"]}, "two", thread="t", on_busy="interrupt")
    async with Runtime(url, [talk], timers=False) as works:
        worker = Worker(works, [talk])
        working = asyncio.create_task(worker.run())
        assert [await ended(works, run) for run in ("one", "two")] == [CANCELLED, COMPLETED]
        assert (await works.state("two"))["messages"] == ["?", "b", "yes"]
        worker.stop()
        await working
