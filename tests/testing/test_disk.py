"""A disk sees all that a store does to its files, and what it refuses the store reports as what it is."""

from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from windlass.core.errors import StoreUnavailable
from windlass.stores.sqlite import SQLiteStore
from windlass.testing.conformance_place import begun, rows_of
from windlass.testing.disk import Call, Disk, FailingDisk, What, beside_sqlite
from windlass.testing.specimens import a_write


class Seen(Disk):
    """Writes down what it meets; writes that `torn` names are done by half."""

    def __init__(self, torn: str = "") -> None:
        super().__init__("seen")
        self.calls: list[Call] = []
        self.torn = torn

    def meet(self, call: Call, do: Callable[..., object]) -> None:
        self.calls.append(call)
        if self.torn and call.name == self.torn and call.what in ("write", "store"):
            do(call.content[: len(call.content) // 2])
        else:
            do()


async def used(path: Path, disk: Disk) -> None:
    with disk, beside_sqlite(disk):
        store = SQLiteStore(f"sqlite:///{path}", vfs="seen")
        await store.open()
        await begun(store)
        await store.commit(a_write(after=1))
        await store.close()


async def test_it_sees_each_write_and_sync_of_each_file(tmp_path: Path) -> None:
    disk = Seen()
    await used(tmp_path / "r.db", disk)
    seen = {(call.what, call.name) for call in disk.calls}
    files = {"r.db", "r.db-journal", "r.db-wal", "r.db.anchor"}
    assert {name for what, name in seen if what == "write"} == files
    assert {name for what, name in seen if what == "sync"} == files
    assert {("store", "r.db.anchor"), ("delete", "r.db-journal"), ("delete", "r.db-wal"), ("open", "r.db")} < seen


async def test_what_it_writes_is_what_the_files_hold(tmp_path: Path) -> None:
    disk = Seen()
    path = tmp_path / "r.db"
    await used(path, disk)
    content = bytearray()
    for call in disk.calls:
        if call.name == path.name and call.what == "write":
            content.extend(bytes(max(0, call.place - len(content))))
            content[call.place : call.place + len(call.content)] = call.content
        elif call.name == path.name and call.what == "truncate":
            del content[call.place :]
    assert bytes(content) == path.read_bytes()


async def test_a_torn_anchor_costs_its_knowledge_and_nothing_else(tmp_path: Path) -> None:
    await used(tmp_path / "r.db", Seen(torn="r.db.anchor"))
    store = SQLiteStore(f"sqlite:///{tmp_path}/r.db")
    await store.open()
    assert await rows_of(store) == [(1, 1), (2, 2)]
    await store.close()


@pytest.mark.parametrize("operation", ["write", "sync"])
async def test_an_anchor_that_cannot_be_written_is_reported_or_done_without(tmp_path: Path, operation: What) -> None:
    with FailingDisk("failing") as disk, beside_sqlite(disk):
        store = SQLiteStore(f"sqlite:///{tmp_path}/r.db", vfs="failing")
        disk.fails = operation
        with pytest.raises(StoreUnavailable):
            await store.open()
        disk.fails = ""
        await store.open()
        await begun(store)
        await store.close()


def test_it_is_gone_when_it_is_left() -> None:
    with Seen():
        assert "seen" in apsw.vfs_names()
    assert "seen" not in apsw.vfs_names()
