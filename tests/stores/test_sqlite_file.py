"""Opening: new, old, foreign and damaged files, and disks that do not do what they should."""
# ruff: noqa: ASYNC240 -- nothing else runs on the loop of these tests

import asyncio
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from windlass.core.errors import StoreCorrupt, StoreError, StoreUnavailable, StoreUnknown, StoreVersion
from windlass.core.queries import Runs
from windlass.stores import queries as queries_module
from windlass.stores import sqlite_file
from windlass.stores.sqlite import SQLiteStore
from windlass.stores.sqlite_file import latest, refusal
from windlass.testing.conformance_place import ME, begun, rows_of
from windlass.testing.disk import FailingDisk, What
from windlass.testing.specimens import a_record, a_row, a_write


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def disk() -> Iterator[FailingDisk]:
    with FailingDisk("failing") as disk:
        yield disk


def at(path: Path, vfs: str | None = None) -> SQLiteStore:
    return SQLiteStore(f"sqlite:///{path}", vfs=vfs)


def change(path: Path, *statements: str) -> None:
    connection = apsw.Connection(str(path))
    for statement in statements:
        connection.execute(statement)
    connection.close()


async def test_an_empty_file_is_migrated_forward(path: Path) -> None:
    path.touch()
    store = at(path)
    await store.open()
    await begun(store)
    await store.close()
    change(path, "SELECT id FROM runs")
    again = at(path)
    await again.open()
    assert await rows_of(again) == [(1, 1)]
    await again.close()


async def test_a_file_whose_making_was_interrupted_is_made_to_its_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = queries_module.migrations("sqlite")[:1]
    with monkeypatch.context() as interrupted:
        interrupted.setattr(sqlite_file, "migrations", lambda _: first)
        path.touch()
        link = sqlite_file.connect(str(path))
        sqlite_file.migrate(link, "x")
        link.close()
    store = at(path)
    await store.open()
    await begun(store)
    assert await rows_of(store) == [(1, 1)]
    await store.close()


async def test_two_stores_may_make_one_file_at_once(path: Path) -> None:
    stores = [at(path) for _ in range(4)]
    await asyncio.gather(*[store.open() for store in stores])
    for i, store in enumerate(stores):
        await begun(store, f"run-{i}")
    assert len(await stores[0].find(Runs())) == 4
    for store in stores:
        await store.close()


async def test_the_settings_are_made(path: Path) -> None:
    store = at(path)
    await store.open()
    link = store._main()
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "mmap_size": 0, "trusted_schema": 0}
    assert {name: link.value(f"PRAGMA {name}") for name in wanted} == wanted
    await store.close()


async def test_a_newer_schema_is_refused_and_untouched(path: Path) -> None:
    store = at(path)
    await store.open()
    await store.close()
    change(path, f"PRAGMA user_version = {latest() + 1}")
    before = path.read_bytes()
    with pytest.raises(StoreVersion, match="upgrade"):
        await at(path).open()
    with pytest.raises(StoreVersion, match="upgrade"):
        await at(path).maintain("migrate")
    assert path.read_bytes() == before


async def test_an_older_schema_is_migrated_when_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = at(path)
    await store.open()
    await begun(store)
    await store.close()
    newer = (
        *queries_module.migrations("sqlite"),
        (latest() + 1, "CREATE TABLE later (x); INSERT INTO later VALUES (7)"),
    )
    monkeypatch.setattr(sqlite_file, "migrations", lambda _: newer)
    with pytest.raises(StoreVersion, match="windlass store migrate"):
        await at(path).open()
    before = len(newer) - 1
    assert await at(path).maintain("migrate") == {"from": before, "to": before + 1, "applied": [before + 1]}
    assert (await at(path).maintain("migrate"))["applied"] == []
    store = at(path)
    await store.open()
    assert await rows_of(store) == [(1, 1)]
    assert store._main().value("SELECT x FROM later") == 7
    await store.close()


async def test_a_migration_that_fails_leaves_the_schema_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = at(path)
    await store.open()
    await store.close()
    broken = (
        *queries_module.migrations("sqlite"),
        (latest() + 1, "CREATE TABLE later (x); INSERT INTO nowhere VALUES (7)"),
    )
    monkeypatch.setattr(sqlite_file, "migrations", lambda _: broken)
    with pytest.raises(StoreError, match="nowhere"):
        await at(path).maintain("migrate")
    monkeypatch.undo()
    store = at(path)
    await store.open()
    assert store._main().value("SELECT count(*) FROM sqlite_schema WHERE name = 'later'") == 0
    await store.close()


async def test_garbage_is_no_database(path: Path) -> None:
    path.write_bytes(b"not a database at all" * 500)
    with pytest.raises(StoreCorrupt, match="store check"):
        await at(path).open()
    with pytest.raises(StoreCorrupt):
        await at(path).maintain("check")
    assert path.read_bytes().startswith(b"not a database")


async def test_a_torn_header_is_corruption(path: Path) -> None:
    store = at(path)
    await store.open()
    await begun(store)
    await store.close()
    path.write_bytes(b"\0" * 100 + path.read_bytes()[100:])
    with pytest.raises(StoreCorrupt):
        await at(path).open()


async def test_another_programs_database_is_left_alone(path: Path) -> None:
    change(path, "CREATE TABLE recipes (name TEXT)")
    before = path.read_bytes()
    for refused in (at(path).open(), at(path).maintain("migrate"), at(path).maintain("backup", to=f"{path}.copy")):
        with pytest.raises(StoreUnknown, match="not one of Windlass"):
            await refused
    assert path.read_bytes() == before


async def test_a_chore_needs_a_file(path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        await at(path).maintain("check")
    assert not path.exists()


async def test_a_file_that_cannot_be_written_is_unavailable(path: Path, disk: FailingDisk) -> None:
    disk.fails, disk.error = "write", apsw.ReadOnlyError
    with pytest.raises(StoreUnavailable):
        await at(path, "failing").open()
    disk.fails = ""
    store = at(path, "failing")
    await store.open()
    await begun(store)
    await store.close()


@pytest.mark.parametrize("operation", ["write", "sync"])
@pytest.mark.parametrize("error", [apsw.FullError, apsw.IOError, apsw.ReadOnlyError])
async def test_a_failing_disk_takes_nothing_and_may_recover(
    path: Path, disk: FailingDisk, operation: What, error: type[apsw.Error]
) -> None:
    store = at(path, "failing")
    await store.open()
    await begun(store)
    disk.fails, disk.error = operation, error
    for _ in range(2):
        with pytest.raises(StoreUnavailable) as caught:
            await store.commit(a_write(after=1))
        assert caught.value.retryable
    disk.fails = ""
    assert await rows_of(store) == [(1, 1)]
    await store.commit(a_write(after=1))
    assert await rows_of(store) == [(1, 1), (2, 2)]
    await store.close()
    assert (await at(path).maintain("check"))["problems"] == []


async def test_a_disk_that_cannot_be_read_is_unavailable(path: Path, disk: FailingDisk) -> None:
    store = at(path, "failing")
    await store.open()
    await begun(store)
    other = at(path, "failing")
    disk.fails = "read"
    with pytest.raises(StoreUnavailable):
        await other.open()
    disk.fails = ""
    await other.close()
    await store.close()


async def test_a_full_file_refuses_until_there_is_room(path: Path) -> None:
    store = at(path)
    await store.open()
    link = store._main()
    await begun(store)
    pages = link.value("PRAGMA page_count")
    link.execute(f"PRAGMA max_page_count = {pages + 2}")
    big = a_write(after=1, rows=[a_row("run-1", 2, body=b"x" * 100_000)])
    with pytest.raises(StoreUnavailable, match="free space"):
        await store.commit(big)
    assert await rows_of(store) == [(1, 1)]
    await store.commit(a_write(after=1))
    link.execute(f"PRAGMA max_page_count = {pages + 1000}")
    await store.create(a_record("run-2"), a_write("run-2"), ME)
    await store.commit(a_write("run-2", after=1, rows=[a_row("run-2", 2, body=b"x" * 100_000)]))
    await store.close()


async def test_a_store_is_not_used_after_a_fork(path: Path) -> None:
    store = at(path)
    await store.open()
    store._pid += 1
    for refused in (store.find(Runs()), store.commit(a_write()), store.renew(ME), store.close()):
        with pytest.raises(StoreError, match="open the store after the fork"):
            await refused
    store._pid -= 1
    await store.close()


def test_every_error_of_sqlite_is_a_store_error() -> None:
    names = [name for name in dir(apsw) if name.endswith("Error") and name != "Error"]
    for name in names:
        assert isinstance(refusal(getattr(apsw, name)("said"), "sqlite:///x"), StoreError)
