"""What a Runtime hears: a command for a run that is parked here, whatever else the store is full of."""

import asyncio
from pathlib import Path

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
