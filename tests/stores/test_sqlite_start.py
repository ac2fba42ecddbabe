"""A chore that the disk fails leaves the log as it is, and nobody takes what stands in it for durable."""
# ruff: noqa: ASYNC240 -- nothing else runs on the loop of this test

from pathlib import Path

import apsw
import pytest

from windlass.core.errors import StoreUnavailable
from windlass.stores import sqlite_file, sqlite_writer
from windlass.stores.sqlite import SQLiteStore
from windlass.stores.sqlite_anchor import read
from windlass.testing.conformance_place import begun
from windlass.testing.disk import FailingDisk


async def test_after_a_sync_that_failed_in_a_prune_the_log_is_written_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "runs.db"
    with FailingDisk("failing-prune") as disk:
        store = SQLiteStore(f"sqlite:///{path}", vfs="failing-prune")
        await store.open()
        await begun(store, "run-1")
        await store.close()
        assert read(str(path)).is_closed
        connection = sqlite_file.connect(str(path))
        connection.execute("UPDATE runs SET status = 'completed', owner = NULL")
        connection.close()
        disk.fails, disk.error = "sync", apsw.IOError
        with pytest.raises(StoreUnavailable):
            await SQLiteStore(f"sqlite:///{path}", vfs="failing-prune").maintain("prune", before=1e12)
        disk.fails = ""
        assert Path(f"{path}-wal").stat().st_size
        assert not read(str(path)).is_closed
    written: list[str] = []
    real = sqlite_file.rewrite

    def rewrite(link: sqlite_file.Link, wal: str) -> None:
        written.append(wal)
        real(link, wal)

    monkeypatch.setattr(sqlite_writer, "rewrite", rewrite)
    store = SQLiteStore(f"sqlite:///{path}")
    await store.open()
    await store.close()
    assert written == [f"{path}-wal"]
