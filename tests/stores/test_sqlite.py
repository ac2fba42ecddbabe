"""The SQLite store passes the suite, on a file, in memory and with every batch on the thread; and shares its file."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from windlass.core.clock import Clock
from windlass.core.errors import RunOwned, StaleLease
from windlass.core.owner import this_process
from windlass.core.queries import Runs
from windlass.core.states import CREATED
from windlass.stores.base import LEASE_SECONDS, Store
from windlass.stores.sqlite import SQLiteStore
from windlass.testing.conformance import StoreConformance
from windlass.testing.conformance_place import ME, begun, rows_of
from windlass.testing.specimens import HandClock, a_command, a_record, a_write, an_owner


class TestFile(StoreConformance):
    def make(self, clock: Clock, folder: Path) -> Store:
        return SQLiteStore(f"sqlite:///{folder / 'runs.db'}", clock=clock)


class TestThread(StoreConformance):
    def make(self, clock: Clock, folder: Path) -> Store:
        return SQLiteStore(f"sqlite:///{folder / 'runs.db'}", clock=clock, slow=0)


class TestInMemory(StoreConformance):
    def make(self, clock: Clock, folder: Path) -> Store:
        return SQLiteStore("sqlite:///:memory:", clock=clock)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/runs.db"


async def opened(url: str, clock: HandClock | None = None) -> SQLiteStore:
    store = SQLiteStore(url, clock=clock)
    await store.open()
    return store


async def test_the_version_changes_when_another_writes(url: str) -> None:
    mine, other = await opened(url), await opened(url)
    await begun(mine)
    await begun(other, "run-2")
    seen = mine.version()
    await mine.commit(a_write(after=1))
    assert mine.version() == seen
    await other.post(a_command("run-1", "c"))
    assert mine.version() != seen
    await mine.close()
    await other.close()


async def test_another_store_is_fenced_in_the_same_file(url: str) -> None:
    clock = HandClock()
    mine, other = await opened(url, clock), await opened(url, clock)
    await begun(mine)
    with pytest.raises(RunOwned):
        await other.claim("run-1", an_owner("two"))
    clock.time += LEASE_SECONDS
    await other.claim("run-1", an_owner("two"))
    with pytest.raises(StaleLease):
        await mine.commit(a_write(after=1))
    await mine.close()
    await other.close()


@pytest.mark.parametrize("where", ["file", "memory"])
async def test_the_heartbeat_renews_from_its_own_thread(url: str, where: str) -> None:
    clock = HandClock()
    store = await opened(url if where == "file" else "sqlite:///:memory:", clock)
    await begun(store)
    errors: list[BaseException] = []

    def beat() -> None:
        for _ in range(30):
            try:
                asyncio.run(store.renew(ME))
            except BaseException as error:  # noqa: BLE001 -- whatever it is, the test must see it
                errors.append(error)

    thread = threading.Thread(target=beat)
    thread.start()
    after = 1
    while thread.is_alive():
        await store.commit(a_write(after=after))
        after += 1
        await asyncio.sleep(0)
    thread.join()
    assert errors == []
    clock.time += LEASE_SECONDS - 1
    await store.renew(ME)
    assert (await store.find(Runs()))[0].owner_until == clock.time + LEASE_SECONDS
    await store.close()


WORKER = """
import asyncio, os, signal, sys
from windlass.core import crashpoint
from windlass.core.errors import RunOwned
from windlass.core.owner import this_process
from windlass.stores.base import open_store
from windlass.testing.specimens import a_write

async def work(url, mode, label):
    store, me = open_store(url), this_process()
    await store.open()
    if mode == "race":
        won = 0
        print("ready", flush=True)
        sys.stdin.readline()
        for i in range(30):
            try:
                won += (await store.claim(f"run-{i}", me)).epoch
            except RunOwned:
                pass
        print(won, flush=True)
        sys.stdin.readline()
    else:
        record = await store.claim("run-1", me)
        crashpoint.on_reach = lambda reached: os.kill(os.getpid(), signal.SIGKILL) if reached == label else None
        await store.commit(a_write("run-1", record.epoch, record.head.seq))
    await store.close()

asyncio.run(work(*sys.argv[1:]))
"""


def spawn(*arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, *arguments], stdin=pipe, stdout=pipe, text=True, env=environment
    )


async def test_processes_that_claim_one_run_have_one_winner(url: str) -> None:
    store = await opened(url)
    for i in range(30):
        await store.create(a_record(f"run-{i}"), a_write(f"run-{i}", epoch=0, status=CREATED), None)
    workers = [spawn(url, "race", "") for _ in range(2)]
    streams = [(worker.stdin, worker.stdout) for worker in workers]
    for _, told in streams:
        assert told is not None
        assert told.readline() == "ready\n"
    for asked, _ in streams:
        assert asked is not None
        asked.write("go\n")
        asked.flush()
    won = [int(told.readline()) for _, told in streams if told is not None]
    assert sum(won) == 30  # each run was claimed once, and by epoch 1
    for worker in workers:
        worker.communicate("end\n")
    await store.close()


@pytest.mark.parametrize(("label", "found"), [("before", 1), ("inside", 1), ("after", 2)])
async def test_a_killed_owner_leaves_a_whole_run_that_is_free_at_once(url: str, label: str, found: int) -> None:
    store = await opened(url)
    await store.create(a_record(), a_write(epoch=0, status=CREATED), None)
    worker = spawn(url, "kill", f"commit.{label}")
    worker.communicate()
    assert worker.returncode == -signal.SIGKILL
    assert [record.id for record in await store.find(Runs(claimable=True))] == ["run-1"]
    record = await store.claim("run-1", this_process())
    assert record.owner is not None
    assert (record.epoch, record.owner.pid) == (2, worker.pid)
    assert len(await rows_of(store)) == found
    assert (await store.maintain("check"))["problems"] == []
    await store.close()


async def test_a_living_owner_of_this_host_keeps_its_runs(url: str) -> None:
    store = await opened(url)
    await store.create(a_record(), a_write(), this_process())
    with pytest.raises(RunOwned, match=f"process {os.getpid()}"):
        await store.claim("run-1", this_process())
    assert await store.find(Runs(claimable=True)) == []
    await store.close()
