"""Pruning a SQLite file: space comes back, writers go on, and what was there before `prune` can shrink, too."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import apsw
import pytest

from windlass.core import crashpoint
from windlass.core.changes import BlobPut
from windlass.core.errors import StoreVersion
from windlass.core.queries import Rows, Runs
from windlass.core.states import COMPLETED
from windlass.stores import sqlite_prune
from windlass.stores.base import open_store
from windlass.stores.sqlite import SQLiteStore
from windlass.testing.conformance_place import begun
from windlass.testing.specimens import a_blob, a_record, a_row, a_write, an_owner, contents

FAT = b'{"at":1.0,"digest":"","x":"%s"}' % (b"x" * 3_000)


def size_of(path: str) -> int:
    return Path(path).stat().st_size


async def fat(store: SQLiteStore, run: str = "run-1", rows: int = 600) -> None:
    """Make an ended run of some megabytes."""
    await begun(store, run)
    more = [a_row(run, last, body=FAT) for last in range(2, rows + 1)]
    await store.commit(a_write(run, after=1, rows=more, status=COMPLETED, release=True))


@pytest.fixture
def store(tmp_path: Path) -> SQLiteStore:
    return SQLiteStore(f"sqlite:///{tmp_path}/runs.db")


@pytest.mark.parametrize("keep", ["nothing", "heads"])
async def test_the_file_shrinks(store: SQLiteStore, keep: str) -> None:
    await store.open()
    await fat(store)
    told = await store.maintain("prune", before=1e11, keep=keep)
    assert told["bytes"] < told["bytes_before"] / 4
    assert told["free"] == 0
    await store.close()
    assert size_of(store.path) == told["bytes"]


async def test_no_transaction_is_long(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in rows and bytes, not in seconds."""
    await store.open()
    await fat(store)
    asked: list[int] = []
    real = sqlite_prune.within

    def within(*given: Any, **named: Any) -> list[int]:
        asked.append(len(real(*given, **named)))
        return real(*given, **named)

    monkeypatch.setattr(sqlite_prune, "within", within)
    await store.maintain("prune", before=1e11)
    assert sum(asked) == 600
    assert max(asked) <= 256
    monkeypatch.setattr(sqlite_prune, "MOST_BYTES", 10_000)
    asked.clear()
    await fat(store, "run-2", 20)
    await store.maintain("prune", before=1e11)
    assert max(asked) <= 4
    await store.close()


async def test_a_writer_goes_on_while_another_process_would_prune(store: SQLiteStore) -> None:
    """The prune runs in a thread with a connection of its own, as it would in a process of its own."""
    await store.open()
    for number in range(4):
        await fat(store, f"old-{number}", 200)
    await store.create(a_record(), a_write(), an_owner())
    other = SQLiteStore(store.url)
    pruning = asyncio.ensure_future(other.maintain("prune", before=1e11))
    after = 1
    while not pruning.done():
        await store.commit(a_write(after=after))
        after += 1
        await asyncio.sleep(0)
    assert (await pruning)["runs"] == 4
    assert after > 5
    assert len(await store.find(Rows(run="run-1", limit=100_000))) == after
    assert (await store.maintain("check"))["problems"] == []
    await store.close()


async def test_what_is_written_between_mark_and_sweep_stays(store: SQLiteStore) -> None:
    """A value is unused while the prune looks, and is written again before the prune deletes it."""
    await store.open()
    blob = a_blob(b"in between")
    await begun(store)
    await store.commit(a_write(after=1, changes=(BlobPut(blob),)))
    loop, on_loop = asyncio.get_running_loop(), threading.get_ident()
    written: list[bool] = []

    async def again() -> None:
        await store.commit(a_write(after=2, changes=(BlobPut(blob),)))

    def reach(label: str) -> None:
        if label == "prune.after" and threading.get_ident() != on_loop and not written:  # the mark was just made
            written.append(True)
            asyncio.run_coroutine_threadsafe(again(), loop).result(10)

    crashpoint.on_reach = reach
    try:
        told = await store.maintain("prune", before=1e11, grace=0)
    finally:
        crashpoint.on_reach = None
    assert written
    assert told["blobs"] == 0
    assert await contents(store, blob) == {blob.digest: b"in between"}
    await store.close()


async def test_a_file_from_before_shrinks_once_it_is_migrated(store: SQLiteStore) -> None:
    await store.open()
    await fat(store)
    await store.close()
    connection = apsw.Connection(store.path)
    connection.execute("PRAGMA auto_vacuum = NONE; VACUUM")
    connection.close()
    again = open_store(store.url)
    told = await again.maintain("prune", before=1e11)
    assert told["free"] > 1_000_000
    assert told["bytes"] >= told["bytes_before"]
    await again.maintain("migrate")
    told = await again.maintain("prune", before=1e11)
    assert (told["free"], told["bytes"] < 400_000) == (0, True)


async def test_a_file_that_has_to_be_migrated_is_refused(store: SQLiteStore) -> None:
    await store.open()
    await store.close()
    connection = apsw.Connection(store.path)
    connection.execute("PRAGMA user_version = 1")
    connection.close()
    with pytest.raises(StoreVersion, match="windlass store migrate"):
        await open_store(store.url).maintain("prune", before=1.0)


async def test_a_command_that_was_posted_between_the_look_and_the_removal_keeps_the_run(store: SQLiteStore) -> None:
    """The reasons to keep a run are looked at in the transaction that removes it."""
    await store.open()
    await begun(store, "old")
    await store.commit(a_write("old", after=1, status=COMPLETED, release=True))
    held = apsw.Connection(store.path)
    held.execute("BEGIN IMMEDIATE")
    pruning = asyncio.ensure_future(open_store(store.url).maintain("prune", before=1e11))
    await asyncio.sleep(0.05)
    held.execute("UPDATE runs SET status = 'running' WHERE id = 'old'")
    held.execute("COMMIT")
    held.close()
    assert (await pruning)["kept"] == {"active": 1}
    await store.close()


async def test_a_prune_that_is_cancelled_stops_before_its_next_transaction(store: SQLiteStore) -> None:
    await store.open()
    for number in range(6):
        await fat(store, f"old-{number}", 20)
    pruning: list[asyncio.Task[Any]] = []
    loop, seen = asyncio.get_running_loop(), threading.Event()

    def reach(label: str) -> None:
        if label == "prune.after" and not seen.is_set():
            seen.set()
            loop.call_soon_threadsafe(pruning[0].cancel)
            threading.Event().wait(0.2)

    crashpoint.on_reach = reach
    try:
        pruning.append(asyncio.ensure_future(store.maintain("prune", before=1e11)))
        with pytest.raises(asyncio.CancelledError):
            await pruning[0]
        await loop.shutdown_default_executor()  # the thread has ended
    finally:
        crashpoint.on_reach = None
    assert len(await store.find(Runs())) == 5
    await store.close()
