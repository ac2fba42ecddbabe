"""A store in the wrong hands: another thread, or a process that ends without closing it."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from windlass.core.errors import StoreError
from windlass.core.queries import Runs
from windlass.stores.base import open_store
from windlass.testing.specimens import a_record, a_write, an_owner

LEFT_OPEN = """
import asyncio, sys
from windlass import Pipeline, Runtime, task

@task
async def slow(n: int) -> int:
    await asyncio.sleep({seconds})
    return n

async def begin() -> Runtime:
    runtime = Runtime("sqlite:///runs.db")
    await runtime.__aenter__()
    await runtime.start(Pipeline("p", [slow]), 1, id="r")
    await asyncio.sleep(0.1)
    if {leaves}:
        sys.exit(3)
    return runtime

kept = asyncio.new_event_loop().run_until_complete(begin())
"""


async def test_a_store_of_another_thread_is_refused(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/runs.db")
    await store.open()
    await store.create(a_record(), a_write(), an_owner())
    for work in (lambda: store.commit(a_write(after=1)), lambda: store.load("run-1"), lambda: store.find(Runs())):
        with pytest.raises(StoreError, match=r"opened in another thread .open a store for each thread"):
            await asyncio.to_thread(lambda work=work: asyncio.run(work()))  # type: ignore[misc]
    with pytest.raises(StoreError, match="another thread"):
        await asyncio.to_thread(store.version)
    await asyncio.to_thread(lambda: asyncio.run(store.renew(an_owner())))  # the heartbeat has a thread of its own
    await asyncio.to_thread(lambda: asyncio.run(store.maintain("check")))
    await store.commit(a_write(after=1))
    await store.close()


@pytest.mark.parametrize(("seconds", "leaves"), [(30, False), (0, False), (30, True)])
def test_a_process_that_ends_with_an_open_runtime_ends_cleanly(tmp_path: Path, seconds: int, leaves: bool) -> None:
    program = LEFT_OPEN.format(seconds=seconds, leaves=leaves)
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == (3 if leaves else 0)
    assert "Traceback" not in ended.stderr

    async def look() -> None:
        store = open_store(f"sqlite:///{tmp_path}/runs.db")
        await store.open()
        assert (await store.maintain("check"))["problems"] == []
        assert (await store.claim("r", an_owner())).epoch == 2  # who held it is gone
        await store.close()

    asyncio.run(look())
