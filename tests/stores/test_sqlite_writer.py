"""Group commit: who shares a transaction, what happens when one fails, and what an unknown outcome is."""
# ruff: noqa: ASYNC240 -- nothing else runs on the loop of these tests

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from windlass.core import queries
from windlass.core.changes import LetterPut
from windlass.core.errors import StaleLease, StoreError, StoreUnavailable
from windlass.stores import sqlite_file, sqlite_writer
from windlass.stores.sqlite import SQLiteStore
from windlass.stores.sqlite_anchor import TICKS
from windlass.stores.sqlite_file import Link
from windlass.stores.sqlite_start import keep_log
from windlass.testing.conformance_place import ME, begun, rows_of
from windlass.testing.conformance_tallies import pot, want
from windlass.testing.disk import Call, Disk, beside_sqlite
from windlass.testing.specimens import a_command, a_letter, a_record, a_write, an_item, an_owner


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SQLiteStore]:
    store = SQLiteStore(f"sqlite:///{tmp_path}/runs.db", slow=60.0)  # no disk is so slow that the thread is used
    await store.open()
    yield store
    await store.close()


def transactions(store: SQLiteStore) -> int:
    return store._writer._transactions


async def start(store: SQLiteStore, count: int) -> list[str]:
    return [await begun(store, f"run-{i}") for i in range(count)]


async def test_a_lone_run_commits_at_once(store: SQLiteStore) -> None:
    await begun(store)
    turns: list[int] = []
    asyncio.get_running_loop().call_soon(turns.append, 1)
    for after in range(1, 6):
        await store.commit(a_write(after=after))
    assert turns == []
    assert len(await rows_of(store)) == 6


async def test_runs_that_write_at_once_share_a_transaction(store: SQLiteStore) -> None:
    runs = await start(store, 40)
    before = transactions(store)
    await asyncio.gather(*[store.commit(a_write(run, after=1)) for run in runs])
    assert transactions(store) - before == 1


async def test_tasks_of_one_run_share_a_transaction(store: SQLiteStore) -> None:
    await begun(store)
    before = transactions(store)
    await asyncio.gather(*[asyncio.ensure_future(store.commit(a_write(after=after))) for after in range(1, 41)])
    assert transactions(store) - before == 1


async def test_no_transaction_is_endless(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_writer, "MOST_JOBS", 10)
    runs = await start(store, 25)
    before = transactions(store)
    await asyncio.gather(*[store.commit(a_write(run, after=1)) for run in runs])
    assert transactions(store) - before == 3


@pytest.mark.parametrize("slow", [0.0, 60.0])
async def test_a_job_that_sqlite_refuses_fails_alone(store: SQLiteStore, slow: float) -> None:
    runs = await start(store, 30)
    store._writer.slow = slow
    no = store._main().value("SELECT no FROM runs WHERE id = 'run-7'")
    store._main().execute(
        f"CREATE TRIGGER refuse BEFORE INSERT ON log WHEN NEW.id >> 32 = {no} BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    writes = [store.commit(a_write(run, epoch=5 if run == "run-3" else 1, after=1)) for run in runs]
    ends = await asyncio.gather(*writes, return_exceptions=True)
    assert {i: type(end) for i, end in enumerate(ends) if end != ()} == {3: StaleLease, 7: StoreError}
    assert [len(await rows_of(store, run)) for run in runs] == [1 if i in (3, 7) else 2 for i in range(30)]
    assert store._main().value("SELECT seq FROM runs WHERE id = 'run-7'") == 1


async def test_a_slow_disk_moves_batches_to_a_thread(store: SQLiteStore) -> None:
    runs = await start(store, 3)
    store._writer.pace = 1_000.0
    waiting = asyncio.gather(*[store.commit(a_write(run, after=1)) for run in runs])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert store._writer.on_thread
    assert len(await rows_of(store, "run-0")) in {1, 2}  # the loop reads meanwhile
    store.version()
    await waiting
    assert [len(await rows_of(store, run)) for run in runs] == [2, 2, 2]


async def test_the_loop_is_tried_again_after_a_while(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_writer, "PATIENCE", 3)
    await begun(store)
    store._writer.pace = 1_000.0
    seen = []
    for after in range(1, 6):
        await store.commit(a_write(after=after))
        seen.append(store._writer._batches)
    assert seen == [1, 2, 3, 0, 0]


def lock(path: str) -> apsw.Connection:
    other = apsw.Connection(path)
    other.execute("BEGIN IMMEDIATE")
    return other


@pytest.mark.parametrize("slow", [0.0, 60.0])
async def test_another_processs_lock_is_waited_for_off_the_loop(store: SQLiteStore, slow: float) -> None:
    await begun(store)
    store._writer.slow = slow
    other = lock(store.path)
    waiting = asyncio.ensure_future(store.commit(a_write(after=1)))
    second = asyncio.ensure_future(store.commit(a_write(after=2)))
    turns = 0
    while turns < 5:
        await asyncio.sleep(0.003)
        turns += 1
    assert not waiting.done()
    other.execute("COMMIT")
    await waiting
    await second
    assert len(await rows_of(store)) == 3
    other.close()


@pytest.mark.parametrize("slow", [0.0, 60.0])
async def test_a_lock_is_not_waited_for_forever(
    store: SQLiteStore, slow: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_writer, "BUSY_SECONDS", 0.02)
    await begun(store)
    store._writer.slow = slow
    other = lock(store.path)
    ends = await asyncio.gather(
        store.commit(a_write(after=1)), store.post(a_command("run-1", "c")), return_exceptions=True
    )
    assert [type(end) for end in ends] == [StoreUnavailable, StoreUnavailable]
    other.execute("COMMIT")
    other.close()
    await store.commit(a_write(after=1))


class Torn:
    """A connection whose next COMMIT is done or not, and raises either way."""

    def __init__(self, store: SQLiteStore, *, done: bool) -> None:
        link = store._main()
        self.execute = link.execute
        self.done = done
        link.execute = self

    def __call__(self, sql: str, bindings: tuple[Any, ...] = ()) -> Any:
        if sql != "COMMIT":
            return self.execute(sql, bindings)
        if self.done:
            self.execute(sql)
        raise apsw.IOError("disk I/O error")


WRITES: dict[str, Callable[[SQLiteStore], Any]] = {
    "commit": lambda store: store.commit(a_write("run-1", after=1)),
    "create": lambda store: store.create(a_record("new"), a_write("new"), ME),
    "post": lambda store: store.post(a_command("run-1", "c")),
    "claim": lambda store: store.claim("free", ME),
    "release": lambda store: store.release("run-1", 1),
    "retire": lambda store: store.retire(ME),
    "items": lambda store: store.append_items("run-1", 1, [an_item("run-1", 1)]),
    "adjust": lambda store: store.adjust([want(4), LetterPut(a_letter("run-1", "l"))]),
}


@pytest.mark.parametrize("what", WRITES)
async def test_a_commit_that_was_done_counts_though_it_raised(store: SQLiteStore, what: str) -> None:
    await begun(store, "run-1")
    await store.create(a_record("free"), a_write("free", epoch=0), None)
    Torn(store, done=True)
    await WRITES[what](store)


@pytest.mark.parametrize("what", WRITES)
async def test_a_commit_that_was_not_done_may_be_tried_again(store: SQLiteStore, what: str) -> None:
    await begun(store, "run-1")
    await store.create(a_record("free"), a_write("free", epoch=0), None)
    Torn(store, done=False)
    with pytest.raises(StoreUnavailable):
        await WRITES[what](store)
    await WRITES[what](store)


@pytest.mark.parametrize("done", [True, False])
async def test_what_was_adjusted_in_doubt_counts_once(store: SQLiteStore, done: bool) -> None:
    runs = await start(store, 3)
    Torn(store, done=done)
    writes = [store.commit(a_write(run, after=1, changes=(want(4, run),))) for run in runs]
    ends: list[Any] = await asyncio.gather(*writes, store.adjust([want(1, "x")]), return_exceptions=True)
    granted = [end[0].granted["tokens_in"] if isinstance(end, tuple) else None for end in ends]
    assert granted == ([4, 4, 2, None] if done else [None] * 4)  # the last got nothing, or nobody knows
    assert (await pot(store)).held == ({"tokens_in": 10} if done else {})


async def test_an_adjust_is_known_to_the_anchor(store: SQLiteStore) -> None:
    await begun(store)
    told = []
    for run in ("run-1", "another"):
        await store.adjust([want(4, run)])
        told.append(store._held.written)
    assert told == [(1 | TICKS, 1), None]


async def test_a_whole_batch_is_looked_up_after_doubt(store: SQLiteStore) -> None:
    runs = await start(store, 5)
    Torn(store, done=True)
    writes = [store.commit(a_write(run, epoch=2 if run == "run-1" else 1, after=1)) for run in runs]
    ends = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(end) for end in ends if end != ()] == [StaleLease]
    assert [len(await rows_of(store, run)) for run in runs] == [2, 1, 2, 2, 2]


async def test_doubt_that_cannot_be_settled_is_told(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    await begun(store)
    Torn(store, done=True)

    def fail() -> Link:
        raise apsw.CantOpenError("no")

    with monkeypatch.context() as patch:
        patch.setattr(store._writer, "connect", fail)
        with pytest.raises(StoreUnavailable, match="not known"):
            await store.commit(a_write(after=1))
        with pytest.raises(StoreUnavailable):
            await store.commit(a_write(after=1))
    with pytest.raises(StaleLease):
        await store.commit(a_write(after=1))


async def test_a_cancelled_waiters_job_is_done(store: SQLiteStore) -> None:
    runs = await start(store, 3)
    tasks = [asyncio.ensure_future(store.commit(a_write(run, after=1))) for run in runs]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert tasks[1].cancelled()
    await store.commit(a_write("run-1", after=2))


def interrupt(label: str) -> None:
    if label == "commit.inside":
        raise KeyboardInterrupt


async def test_an_interrupted_transaction_leaves_nothing(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    await begun(store)
    with monkeypatch.context() as patch:
        patch.setattr("windlass.core.crashpoint.on_reach", interrupt)
        with pytest.raises(KeyboardInterrupt):
            await store.commit(a_write(after=1))
    assert await rows_of(store) == [(1, 1)]
    await store.commit(a_write(after=1))


def test_an_interrupted_batch_is_finished_on_close(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SQLiteStore(f"sqlite:///{tmp_path}/runs.db", slow=60.0)

    async def first() -> None:
        await store.open()
        runs = await start(store, 2)
        monkeypatch.setattr("windlass.core.crashpoint.on_reach", interrupt)
        await asyncio.gather(*[store.commit(a_write(run, after=1)) for run in runs])

    async def second() -> None:
        await store.close()
        again = SQLiteStore(store.url)
        await again.open()
        assert [len(await rows_of(again, f"run-{i}")) for i in range(2)] == [2, 2]
        await again.close()

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(first())
    monkeypatch.undo()
    asyncio.run(second())


async def test_crashpoints_are_reached_in_order(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr("windlass.core.crashpoint.on_reach", seen.append)
    await begun(store)
    await store.commit(a_write(after=1, release=True))
    await store.claim("run-1", an_owner("two"))
    labels = [f"{job}.{place}" for job in ("create", "commit", "claim") for place in ("before", "inside", "after")]
    assert seen == labels


async def test_closing_finishes_what_is_queued(tmp_path: Path) -> None:
    store = SQLiteStore(f"sqlite:///{tmp_path}/runs.db", slow=0)
    await store.open()
    runs = await start(store, 5)
    writes = [asyncio.ensure_future(store.commit(a_write(run, after=1))) for run in runs]
    await asyncio.sleep(0)
    await store.close()
    assert await asyncio.gather(*writes) == [()] * 5


def test_a_store_may_go_on_in_another_loop(tmp_path: Path) -> None:
    store = SQLiteStore(f"sqlite:///{tmp_path}/runs.db")

    async def first() -> None:
        await store.open()
        await start(store, 2)
        left_behind = [asyncio.ensure_future(store.commit(a_write(f"run-{i}", after=1))) for i in range(2)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in left_behind)

    async def second() -> None:
        await asyncio.gather(*[store.commit(a_write(f"run-{i}", after=2)) for i in range(2)])
        await store.close()

    asyncio.run(first())
    asyncio.run(second())


async def test_the_log_is_lengthened_once_and_stays_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_writer, "WARM", 3)
    store = SQLiteStore(f"sqlite:///{tmp_path}/runs.db")
    await store.open()
    await begun(store)
    for after in range(1, 10):
        await store.commit(a_write(after=after))
    assert Path(f"{store.path}-wal").stat().st_size == sqlite_file.WAL_BYTES
    copy = tmp_path / "copy.db"  # what a power cut leaves: the file and the log, nothing closed
    for end in ("", "-wal"):
        Path(f"{copy}{end}").write_bytes(Path(f"{store.path}{end}").read_bytes())
    again = SQLiteStore(f"sqlite:///{copy}")
    await again.open()
    assert len(await rows_of(again)) == 10
    await again.close()
    await store.close()


async def test_a_log_that_cannot_be_lengthened_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: int, data: bytes, offset: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sqlite_writer, "WARM", 2)
    monkeypatch.setattr(os, "pwrite", refuse)
    store = SQLiteStore(f"sqlite:///{tmp_path}/runs.db")
    await store.open()
    await begun(store)
    await store.commit(a_write(after=1))
    assert Path(f"{store.path}-wal").stat().st_size < sqlite_file.WAL_BYTES
    await store.close()


class LosesAnAnswer(Disk):
    """Does one call or not, and says that it failed."""

    def __init__(self, what: str, *, applied: bool) -> None:
        super().__init__("doubtful")
        self.what, self.applied = what, applied
        self.is_armed = self.was_asked = False

    def meet(self, call: Call, do: Callable[..., object]) -> None:
        if not (self.is_armed and call.what == self.what and call.name.endswith("-wal")):
            do()
            return
        self.is_armed, self.was_asked = False, True
        if self.applied:
            do()
        raise apsw.IOError("no answer")


@pytest.mark.parametrize("what", ["write", "sync"])
@pytest.mark.parametrize("applied", [True, False])
async def test_an_answer_that_the_disk_lost_is_found_out(tmp_path: Path, what: str, applied: bool) -> None:
    with LosesAnAnswer(what, applied=applied) as disk:
        store = SQLiteStore(f"sqlite:///{tmp_path}/runs.db", vfs="doubtful")
        await store.open()
        await begun(store)
        disk.is_armed = True
        try:
            await store.commit(a_write(after=1))
            told = 2
        except StoreUnavailable:
            told = 1
        assert disk.was_asked
        assert len(await rows_of(store)) == told
        await store.commit(a_write(after=told))
        await store.close()
    again = SQLiteStore(store.url)
    await again.open()
    assert len(await rows_of(again)) == told + 1
    await again.close()


class Syncless(Disk):
    """Writes down what is done to the log, and fails its syncs while it is told to."""

    def __init__(self) -> None:
        super().__init__("syncless")
        self.fails = False
        self.log: list[Call] = []

    def meet(self, call: Call, do: Callable[..., object]) -> None:
        if call.name.endswith("-wal"):
            self.log.append(call)
            if self.fails and call.what == "sync":
                raise apsw.IOError("the disk fails to sync")
        do()


async def test_after_a_failed_sync_the_log_is_written_again_before_anything_is_added(tmp_path: Path) -> None:
    with Syncless() as disk, beside_sqlite(disk):
        store = SQLiteStore(f"sqlite:///{tmp_path}/runs.db", vfs="syncless", slow=60.0)
        await store.open()
        await begun(store)
        disk.fails = True
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await store.commit(a_write(after=1))
        disk.fails, disk.log = False, []
        await store.commit(a_write(after=1))
        again = [call.what for call in disk.log].index("sync")
        assert [call.place for call in disk.log[:again] if call.what == "write"] == [0]
        assert any(call.what == "write" and call.place > 0 for call in disk.log[again:])
        await store.close()


async def test_after_a_process_died_the_log_is_written_again_before_anything_is_added(tmp_path: Path) -> None:
    with Syncless() as disk, beside_sqlite(disk):
        killed = SQLiteStore(f"sqlite:///{tmp_path}/runs.db", vfs="syncless", slow=60.0)
        await killed.open()
        await begun(killed)
        keep_log(killed._main())
        killed._main().close()
        killed._anchor._let_go()
        disk.log.clear()
        store = SQLiteStore(killed.url, vfs="syncless", slow=60.0)
        await store.open()
        writes = [call for call in disk.log if call.what in ("write", "sync")]
        assert [(call.what, call.place) for call in writes[:2]] == [("write", 0), ("sync", 0)]
        assert await rows_of(store) == [(1, 1)]
        await store.close()


async def test_a_log_whose_sync_failed_while_the_store_was_made_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = sqlite_file.schema_of

    def failing(link: Link, url: str) -> int:
        number = known(link, url)
        disk.fails = number == 1  # the first migration is durable, the second will not be
        return number

    with Syncless() as disk, beside_sqlite(disk):
        made = SQLiteStore(f"sqlite:///{tmp_path}/runs.db", vfs="syncless", slow=60.0)
        with monkeypatch.context() as patch:
            patch.setattr(sqlite_file, "schema_of", failing)
            with pytest.raises(StoreUnavailable):
                await made.open()
        asked = [call.what for call in disk.log if call.what in ("write", "sync")]
        assert asked[-2:] == ["write", "sync"]  # closing does not try it again
        disk.fails, disk.log = False, []
        store = SQLiteStore(made.url, vfs="syncless", slow=60.0)
        await store.open()
        assert [(call.what, call.place) for call in disk.log if call.what in ("write", "sync")][-2:] == [
            ("write", 0),
            ("sync", 0),
        ]
        await store.close()


class FailingDisk:
    """Stands for a connection whose copies of the log fail."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.asked = 0

    def wal_checkpoint(self) -> None:
        self.asked += 1
        raise self.error


@pytest.mark.parametrize(
    ("error", "torn"), [(apsw.IOError(), True), (apsw.BusyError(), False), (apsw.FullError(), False)]
)
def test_a_copy_of_the_log_that_fails_is_noted(error: Exception, torn: bool) -> None:
    link = Link(apsw.Connection(":memory:"))
    disk = FailingDisk(error)
    link.longest = 10
    link.connection, connection = disk, link.connection  # type: ignore[assignment]
    link.copy_log(connection, "main", 9)
    assert (disk.asked, link.is_torn) == (0, False)
    link.copy_log(connection, "main", 10)
    assert (disk.asked, link.is_torn) == (1, torn)


async def test_the_log_is_copied_once_it_is_long_enough(store: SQLiteStore, tmp_path: Path) -> None:
    link = store._writer.link
    assert link is not None
    (before, *_) = [Path(f"{tmp_path}/runs.db").stat().st_mtime_ns]
    link.longest = 1
    await start(store, 1)
    assert Path(f"{tmp_path}/runs.db").stat().st_mtime_ns > before


async def test_a_torn_file_is_written_once_more_through_the_log(store: SQLiteStore, tmp_path: Path) -> None:
    await start(store, 1)
    link, log = store._writer.link, Path(f"{tmp_path}/runs.db-wal")
    assert link is not None
    link.longest, pages = 1_000_000, link.value("PRAGMA page_count")
    link.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    link.is_torn = True
    await store.post(a_command("run-0", "one"))
    assert store._writer.link is not link
    assert store._writer.link is not None
    assert not store._writer.link.is_torn
    assert log.stat().st_size > pages * 4096
    assert [command.id for command in await store.find(queries.Commands(run="run-0"))] == ["one"]
