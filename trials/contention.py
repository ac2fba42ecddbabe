"""Eight processes write to one SQLite file at once, and a ninth prunes it: nobody is told that it is locked (F53)."""

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from trials.figures import Figures, Trial
from windlass.core.errors import StaleLease, WindlassError
from windlass.core.queries import Commands, Rows, Runs
from windlass.core.states import RUNNING
from windlass.stores.base import Store, open_store
from windlass.testing.specimens import a_command, a_record, a_row, a_write, an_item, an_owner

POST_EVERY, ITEMS_EVERY = 20, 25  # commits


async def write(url: str, number: int, commits: int, writers: int) -> dict[str, Any]:
    """Be one of the writers: commit one row after the other, and now and then a command for a neighbour, or items."""
    store = open_store(url)
    await store.open()
    run = f"run-{number}"
    acknowledged = posted = items = 0
    waited: list[float] = []
    refused: list[str] = []

    async def timed(work: Any) -> bool:
        begun = time.perf_counter()
        try:
            await work
        except WindlassError as error:
            refused.append(f"{type(error).__name__}: {error}")
            return False
        except Exception as error:  # noqa: BLE001 -- any other that reaches the user is the worst of all
            refused.append(f"raw {type(error).__name__}: {error}")
            return False
        waited.append(time.perf_counter() - begun)
        return True

    owner = an_owner(f"{number}")
    if await timed(store.create(a_record(run, created_at=time.time()), a_write(run), owner)):
        acknowledged = 1
    while acknowledged <= commits and not refused:
        if await timed(store.commit(a_write(run, after=acknowledged))):
            acknowledged += 1
        if acknowledged % POST_EVERY == 0:
            neighbour = f"run-{(number + 1) % writers}"
            if await store.find(Runs(ids=(neighbour,))):
                posted += await timed(store.post(a_command(neighbour, f"{number}-{acknowledged}")))
        if acknowledged % ITEMS_EVERY == 0:
            items += await timed(store.append_items(run, 1, [an_item(run, acknowledged)]))
    await store.close()
    return {"run": run, "seq": acknowledged, "posted": posted, "items": items, "waited": waited, "refused": refused}


def start(url: str, number: int, commits: int, writers: int) -> "subprocess.Popen[str]":
    """Start a writer."""
    command = [sys.executable, "-m", "trials.contention", url, str(number), str(commits), str(writers)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def contend(folder: Path, *, writers: int = 8, transactions: int = 10_000, prunes: bool = True) -> Figures:
    """Let them all write, prune meanwhile, and look whether everything that was acknowledged is there."""
    url = f"sqlite:///{folder}/contended.db"
    figures = Figures(bad={"lock errors": 0, "other errors": 0, "lost": 0, "damaged": 0})
    return asyncio.run(_contend(figures, url, writers, transactions, prunes=prunes))


async def _contend(figures: Figures, url: str, writers: int, transactions: int, *, prunes: bool) -> Figures:
    store = open_store(url)
    await store.open()
    begun = time.perf_counter()
    commits = transactions // writers
    processes = [start(url, number, commits, writers) for number in range(writers)]
    reports = [asyncio.ensure_future(asyncio.to_thread(process.communicate)) for process in processes]
    pruned = 0
    while not all(report.done() for report in reports):
        if prunes:
            try:
                told = await store.maintain("prune", before=1e11, keep="heads", grace=0)
            except WindlassError as error:
                figures.blame("lock errors" if "lock" in str(error) else "other errors", f"prune: {error}")
                break
            pruned += told["rows"]
        await asyncio.wait(reports, timeout=0.2)
    told_all = [json.loads(out) for out, _ in await asyncio.gather(*reports)]
    seconds = time.perf_counter() - begun
    for told in told_all:
        await _judge(figures, store, told)
    for number in range(writers):
        before = (number - 1) % writers
        found = len(await store.find(Commands(run=f"run-{number}")))
        if found != told_all[before]["posted"]:
            figures.blame("lost", f"run-{number}: {told_all[before]['posted']} commands were posted, {found} are there")
    problems = (await store.maintain("check"))["problems"]
    for problem in problems:
        figures.blame("damaged", problem)
    await store.close()
    waited = sorted(wait for told in told_all for wait in told["waited"])
    figures.trials = len(waited)
    figures.reach("transactions", len(waited))
    if prunes:
        figures.reach("rows pruned meanwhile", pruned)
    figures.shown |= {
        "writers": writers, "transactions a second": round(len(waited) / seconds),
        "p50 ms": round(waited[len(waited) // 2] * 1e3, 2), "p99 ms": round(waited[len(waited) * 99 // 100] * 1e3, 1),
        "longest ms": round(waited[-1] * 1e3, 1),
    }  # fmt: skip
    return figures


async def _judge(figures: Figures, store: Store, told: dict[str, Any]) -> None:
    """Compare what a writer was told with what is there."""
    run, seq = told["run"], told["seq"]
    for refused in told["refused"]:
        figures.blame("lock errors" if "lock" in refused else "other errors", f"{run}: {refused}")
    record = (await store.load(run)).record
    if record.head.seq != seq:
        figures.blame("lost", f"{run}: acknowledged up to event {seq}, the run stands at {record.head.seq}")
    after = 0
    while rows := await store.find(Rows(run=run, after=after)):
        if rows[0].first != after + 1:
            figures.blame("lost", f"{run}: event {after + 1} is gone")
        after = rows[-1].last
    if after != seq:
        figures.blame("lost", f"{run}: the log ends at event {after}, acknowledged were {seq}")
    try:
        await store.commit(a_write(run, 7, seq, rows=[a_row(run, seq + 1)], status=RUNNING))
        figures.blame("other errors", f"{run}: a write of epoch 7 was taken")
    except StaleLease:
        pass


TRIALS = (
    Trial(
        "contention", "F53", "8 processes write to one SQLite file while a ninth prunes it: no lock error reaches "
        "anyone, and every acknowledged write is there", contend,
        short={"transactions": 10_000}, long={"transactions": 100_000},
    ),
)  # fmt: skip


if __name__ == "__main__":
    place, *numbers = sys.argv[1:]
    print(json.dumps(asyncio.run(write(place, *map(int, numbers)))))
