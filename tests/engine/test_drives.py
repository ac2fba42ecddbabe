"""What a Runtime hears: a command for a run that is parked here, whatever else the store is full of."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from windlass import Context, Pipeline, Runtime, task
from windlass.core.states import COMPLETED, CREATED
from windlass.testing.specimens import a_record, a_write

MORE_THAN_A_LOOK = 1_001


@task
async def ask(ctx: Context) -> str:
    return await ctx.ask("Well?", str)


asking = Pipeline("asking", [ask])


async def test_an_answer_is_heard_beside_a_backlog_of_newer_runs(tmp_path: Path) -> None:
    url = f"memory://{tmp_path}"
    async with Runtime(url, [asking]) as runtime, Runtime(url) as elsewhere:
        run = await runtime.start(asking)
        while not (asked := await elsewhere.questions(run)) or runtime.driving:  # noqa: ASYNC110 -- nobody tells
            await asyncio.sleep(0.002)
        for n in range(MORE_THAN_A_LOOK):
            name = f"newer-{n}"
            first = a_write(name, epoch=0, status=CREATED)
            await elsewhere.store.create(a_record(name, definition="asking"), first, None)
        await elsewhere.answer(asked[0].id, "yes")
        async with asyncio.timeout(5):  # and `wait` is not asked: it would look for this run alone
            while (await elsewhere.get(run)).head.status != COMPLETED:  # noqa: ASYNC110 -- nobody tells
                await asyncio.sleep(0.002)


async def test_a_run_that_is_claimed_as_its_process_leaves_is_let_go(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loading, go = asyncio.Event(), asyncio.Event()
    async with Runtime(url, [asking]) as elsewhere:
        await elsewhere.run(asking, id="r")
        runtime = await Runtime(url, [asking]).__aenter__()
        load = runtime.store.load

        async def slowly(run: str, **more: Any) -> Any:
            loading.set()
            await go.wait()
            return await load(run, **more)

        monkeypatch.setattr(runtime.store, "load", slowly)
        resuming = asyncio.create_task(runtime.resume("r"))
        await loading.wait()
        leaving = asyncio.create_task(runtime.__aexit__(None, None, None))
        await asyncio.sleep(0.01)
        assert not leaving.done()
        go.set()
        async with asyncio.timeout(5):
            await leaving
            await asyncio.gather(resuming, return_exceptions=True)
        assert (await elsewhere.get("r")).owner is None
        assert not runtime.driving
