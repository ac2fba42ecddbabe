"""A damaged run is left alone by runtimes and workers, and the others go on."""

from pathlib import Path

import apsw
import pytest

from windlass import Context, Pipeline, Runtime, task
from windlass.core.errors import RunQuarantined, StoreCorrupt
from windlass.worker.worker import Worker

LARGE = "x" * 200_000


@task
async def ask(n: int, ctx: Context) -> str:
    return str(await ctx.ask("Well?") or n)


@task
async def end(ask: str) -> str:
    return ask


@task
async def large(n: int) -> str:
    return LARGE + str(n)


@task
async def rest(large: str, ctx: Context) -> str:
    return str(await ctx.ask("Well?") or large)


FLOW = Pipeline("flow", [ask, end])
BIG = Pipeline("big", [large, rest])


async def parked(url: str, pipeline: Pipeline) -> None:
    async with Runtime(url, [pipeline], timers=False) as runtime:
        for i in range(3):
            await runtime.run(pipeline, i, id=f"run-{i}")


@pytest.mark.parametrize("what", ["row", "blob"])
async def test_a_worker_leaves_a_damaged_run_alone(tmp_path: Path, what: str) -> None:
    path, pipeline = tmp_path / "runs.db", FLOW if what == "row" else BIG
    url = f"sqlite:///{path}"
    await parked(url, pipeline)
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE runs SET status = 'running'")
    if what == "row":
        connection.execute("UPDATE log SET body = x'7b7d' WHERE id >> 32 = 2")
    else:
        connection.execute("DELETE FROM blobs WHERE rowid = 2")
    connection.close()
    told: list[str] = []
    async with Runtime(url, [pipeline], timers=False) as runtime:
        worker = Worker(runtime, [pipeline], told=lambda what, **details: told.append(f"{what} {details['run']}"))
        assert sorted(await worker.tick()) == ["run-0", "run-2"]
        assert sorted(told) == ["run.picked_up run-0", "run.picked_up run-2", "run.refused run-1"]
        assert await worker.tick() == []
        shown = {record.id: record.quarantined for record in await runtime.runs()}
        assert [run for run, why in shown.items() if why] == ["run-1"]
        with pytest.raises((RunQuarantined, StoreCorrupt)):
            await runtime.resume("run-1")
