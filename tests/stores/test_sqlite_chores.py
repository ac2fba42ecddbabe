# ruff: noqa: ASYNC240 -- nothing else runs on the loop of these tests

import asyncio
from pathlib import Path

import apsw
import pytest

from windlass.core.changes import BlobPut, ManifestPut
from windlass.core.errors import StoreError, StoreUnavailable
from windlass.stores.base import open_store
from windlass.stores.sqlite import SQLiteStore
from windlass.testing.conformance_place import begun, rows_of
from windlass.testing.specimens import a_blob, a_manifest, a_write

BLOB = a_blob(b"value " * 20_000)


@pytest.fixture
async def store(tmp_path: Path) -> SQLiteStore:
    store = SQLiteStore(f"sqlite:///{tmp_path}/runs.db")
    await store.open()
    for run in ("run-1", "run-2"):
        await begun(store, run)
        changes = (BlobPut(BLOB), ManifestPut(a_manifest(run, 2, blobs=(BLOB.digest,))))
        await store.commit(a_write(run, after=1, changes=changes))
        await store.commit(a_write(run, after=2))
    return store


async def test_a_whole_store_has_no_problems(store: SQLiteStore) -> None:
    assert await store.maintain("check") == {"runs": 2, "rows": 6, "blobs": 1, "problems": [], "differing": []}
    await store.close()


async def test_an_empty_store_has_no_problems(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/runs.db")
    await store.open()
    assert (await store.maintain("check"))["problems"] == []
    await store.close()


DAMAGE = {
    "UPDATE log SET body = x'00' WHERE id & 255 = 2 AND id >> 32 = 1": "run-1: the row of events 2..2 does not match",
    "DELETE FROM log WHERE id & 255 = 2 AND id >> 32 = 1": "run-1: event 2 is missing before 3..3",
    "DELETE FROM log WHERE id & 255 = 3 AND id >> 32 = 2": "run-2: the log ends at event 2, the run stands at 3",
    "DELETE FROM log WHERE id >> 32 = 2": "run-2: its log is gone",
    "UPDATE log SET id = 9 << 32 | 1 WHERE id = 1 << 32 | 3": "belongs to no run",
    "UPDATE manifests SET body = x'00' WHERE id >> 32 = 1": "run-1: the snapshot at event 2 does not match",
    "UPDATE manifests SET blobs = '7' WHERE id >> 32 = 1": "manifests: ValidationError",
    "UPDATE blobs SET size = 3": f"blob {BLOB.digest} does not match",
    "DELETE FROM blobs": f"blob {BLOB.digest} is missing",
    "UPDATE records SET body = x'00' WHERE no = 1": "records: a record does not match",
}


@pytest.mark.parametrize("sql", DAMAGE)
async def test_a_check_names_the_damage(store: SQLiteStore, sql: str) -> None:
    await store.close()
    connection = apsw.Connection(store.path)
    connection.execute(sql)
    connection.close()
    problems = (await open_store(store.url).maintain("check"))["problems"]
    assert any(DAMAGE[sql] in problem for problem in problems), problems


async def test_a_log_may_begin_at_a_snapshot(store: SQLiteStore) -> None:
    await store.close()
    connection = apsw.Connection(store.path)
    connection.execute("DELETE FROM log WHERE id & 255 <= 2")
    connection.close()
    again = open_store(store.url)
    await again.open()
    assert (await again.maintain("check"))["problems"] == []
    assert await rows_of(again) == [(3, 3)]
    await again.close()


async def test_a_check_reads_one_moment_while_runs_go_on(store: SQLiteStore) -> None:
    check = asyncio.ensure_future(store.maintain("check"))
    for after in range(3, 100):
        await store.commit(a_write(after=after))
        await asyncio.sleep(0)
    assert (await check)["problems"] == []
    await store.close()


async def test_a_back_up_opens_by_itself(store: SQLiteStore, tmp_path: Path) -> None:
    copying = asyncio.ensure_future(store.maintain("backup", to=str(tmp_path / "copy.db")))
    for after in range(3, 50):
        await store.commit(a_write(after=after))
        await asyncio.sleep(0)
    copy = tmp_path / "copy.db"
    assert await copying == {"to": str(copy), "bytes": copy.stat().st_size}
    await store.close()
    assert copy.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "copy.db", "copy.db.anchor", "runs.db", "runs.db.anchor",
    ]  # fmt: skip
    again = open_store(f"sqlite:///{copy}")
    await again.open()
    assert (await again.maintain("check"))["problems"] == []
    assert (await rows_of(again, "run-2")) == [(3, 3)]
    await again.close()


async def test_a_store_in_memory_can_be_backed_up(tmp_path: Path) -> None:
    store = open_store("sqlite:///:memory:")
    await store.open()
    await begun(store)
    await store.maintain("backup", to=str(tmp_path / "copy.db"))
    await store.close()
    again = open_store(f"sqlite:///{tmp_path}/copy.db")
    await again.open()
    assert await rows_of(again) == [(1, 1)]
    await again.close()


async def test_a_back_up_never_writes_over_a_file(store: SQLiteStore, tmp_path: Path) -> None:
    (tmp_path / "copy.db").write_text("mine")
    with pytest.raises(StoreError, match="exists"):
        await store.maintain("backup", to=str(tmp_path / "copy.db"))
    assert (tmp_path / "copy.db").read_text() == "mine"
    await store.close()


async def test_a_back_up_that_fails_leaves_nothing(store: SQLiteStore, tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="cannot back up"):
        await store.maintain("backup", to=str(tmp_path / "no folder" / "copy.db"))
    assert not (tmp_path / "no folder").exists()
    await store.close()


async def test_a_back_up_that_fails_at_its_end_leaves_nothing_behind(
    store: SQLiteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(5, "Input/output error")

    before = {file.name for file in tmp_path.iterdir()}
    monkeypatch.setattr("windlass.stores.sqlite_chores.os.rename", refuse)
    with pytest.raises(StoreUnavailable, match="Input/output error"):
        await store.maintain("backup", to=str(tmp_path / "copy.db"))
    assert {file.name for file in tmp_path.iterdir()} == before
    monkeypatch.undo()
    await store.maintain("backup", to=str(tmp_path / "copy.db"))
    assert (await open_store(f"sqlite:///{tmp_path / 'copy.db'}").maintain("check"))["problems"] == []
