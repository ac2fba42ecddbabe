"""A parent and its children are killed with SIGKILL anywhere: one child each, and its end is heard once."""

import asyncio
import os
import random
import signal
from pathlib import Path

import pytest

from windlass import Context, Pipeline, Runtime, task
from windlass.core import crashpoint
from windlass.core.queries import Commands, Runs
from windlass.engine import loop
from windlass.stores.base import open_store

LABELS = ("commit.inside", "commit.after", "child.start", "effect.call.before")
PLACES = [*((label, waits) for label in LABELS for waits in ("here", "parked")), ("claim.after", "parked")]


@task
async def pay(amount: int, ctx: Context) -> int:
    """Pay, once."""
    await ctx.effect("pay", write, str(ctx.key("pay")), on_doubt="retry")
    return amount


PAY = Pipeline("pay", [pay])
BOOK = [""]


def write(key: str) -> None:
    """Enter a payment where it happened."""
    with Path(BOOK[0]).open("a") as book:
        book.write(f"{key}\n")


@task
async def team(amount: int, ctx: Context) -> int:
    """Pay twice."""
    return sum(await ctx.run_all([(PAY, amount), (PAY, amount + 1)]))


TEAM = Pipeline("team", [team], children=[PAY])


@task
async def lead(amount: int, ctx: Context) -> int:
    """Have two teams pay."""
    found = await asyncio.gather(ctx.run(TEAM, amount, name="a"), ctx.run(TEAM, amount, name="b"))
    return sum(found)


LEAD = Pipeline("lead", [lead], children=[TEAM])


def live(url: str, label: str, number: int) -> None:
    """Drive the tree in a process of its own, which dies at the n-th time that it comes by a label."""
    left = [number]

    def reach(here: str) -> None:
        left[0] -= here == label
        if here == label and not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    async def main() -> None:
        async with Runtime(url, [LEAD]) as runtime:
            crashpoint.on_reach = reach
            await runtime.start(LEAD, 10, id="r")
            for _ in range(100):
                await asyncio.sleep(0.01)
                for run in await runtime.store.find(Runs(claimable=True)):
                    await runtime.pick_up(run.id)
                if (await runtime.get("r")).head.status == "completed":
                    return

    asyncio.run(main())


@pytest.mark.parametrize(("label", "waits"), PLACES)
def test_each_child_is_one_and_pays_once(
    tmp_path: Path, label: str, waits: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "SOON_SECONDS", loop.SOON_SECONDS if waits == "here" else 0.0)
    url, BOOK[0] = f"sqlite:///{tmp_path}/runs.db", str(tmp_path / "book")
    Path(BOOK[0]).touch()
    dice = random.Random(label)
    died = 0
    for _ in range(2):  # a third in a row would be poison
        pid = os.fork()
        if not pid:
            try:
                live(url, label, dice.randint(1, 4))
            finally:
                os._exit(0)
        died += os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    assert died

    async def look() -> None:
        async with Runtime(url, [LEAD]) as runtime:
            await runtime.start(LEAD, 10, id="r")
            for _ in range(1000):
                for run in await runtime.store.find(Runs(claimable=True)):
                    await runtime.pick_up(run.id)
                if (await runtime.get("r")).head.status == "completed":
                    break
                await asyncio.sleep(0.01)
            assert (await runtime.wait("r")).output == 42
            below = await runtime.store.find(Runs(under="r"))
            assert len(below) == 6
            assert {one.head.status for one in below} == {"completed"}
            for name in ("r", *(one.id for one in below)):
                told = [event async for event in runtime.events(name)]
                started = [event.data["id"] for event in told if event.type == "child.started"]
                ended = [event.data["id"] for event in told if event.type == "child.ended"]
                assert sorted(started) == sorted(ended)
                assert len(set(started)) == len(started)
                assert await runtime.store.find(Commands(run=name)) == []
        store = open_store(url)
        await store.open()
        assert (await store.maintain("check"))["problems"] == []
        await store.close()

    asyncio.run(look())
    paid = Path(BOOK[0]).read_text().splitlines()
    assert len(set(paid)) == 4
