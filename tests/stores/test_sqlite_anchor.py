"""The anchor: a file that lost acknowledged writes is refused, whatever took them."""
# ruff: noqa: ASYNC240 -- nothing else runs on the loop of these tests

import asyncio
import logging
import os
import shutil
import signal
from pathlib import Path

import apsw
import pytest

from windlass.core.errors import RunQuarantined, StoreBehind, StoreReplaced
from windlass.stores import sqlite_anchor
from windlass.stores.sqlite import SQLiteStore
from windlass.stores.sqlite_anchor import FIRST, SIZE, Known, blank, cell, name_of, read, seed_of
from windlass.testing.conformance_place import ME, begun, rows_of
from windlass.testing.specimens import a_command, a_record, a_write, an_item, an_owner


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


def at(path: Path) -> SQLiteStore:
    return SQLiteStore(f"sqlite:///{path}")


async def opened(path: Path) -> SQLiteStore:
    store = at(path)
    await store.open()
    return store


def copied(path: Path, to: Path) -> None:
    """Copy what a crash would leave: the file, its log and its anchor."""
    for end in ("", "-wal", ".anchor"):
        if Path(f"{path}{end}").exists():
            shutil.copyfile(f"{path}{end}", f"{to}{end}")


LAST_WRITES = {
    "commit": lambda store: store.commit(a_write(after=1)),
    "create": lambda store: store.create(a_record("new"), a_write("new"), ME),
    "post": lambda store: store.post(a_command("run-1", "c")),
    "claim": lambda store: store.claim("run-1", ME),
    "items": lambda store: store.append_items("run-1", 1, [an_item("run-1", 1)]),
}


@pytest.mark.parametrize("what", LAST_WRITES)
async def test_a_cut_log_is_noticed_whatever_was_written_last(path: Path, tmp_path: Path, what: str) -> None:
    store = await opened(path)
    await begun(store)
    whole = Path(f"{path}-wal").stat().st_size
    await LAST_WRITES[what](store)
    copy = tmp_path / "copy.db"
    copied(path, copy)
    await store.close()
    os.truncate(f"{copy}-wal", whole)
    before = {end: Path(f"{copy}{end}").read_bytes() for end in ("", "-wal", ".anchor")}
    with pytest.raises(StoreBehind, match=r"(the|its) anchor knows of"):
        await at(copy).open()
    assert {end: Path(f"{copy}{end}").read_bytes() for end in before} == before
    assert any("anchor" in problem for problem in (await at(copy).maintain("check"))["problems"])
    assert {end: Path(f"{copy}{end}").read_bytes() for end in before} == before


async def test_an_old_copy_is_noticed(path: Path, tmp_path: Path) -> None:
    store = await opened(path)
    await begun(store)
    await store.close()
    old = path.read_bytes()
    store = await opened(path)
    await store.commit(a_write(after=1))
    await store.close()
    path.write_bytes(old)
    with pytest.raises(StoreBehind, match="run run-1 stands at event 1, and the anchor knows of event 2") as caught:
        await at(path).open()
    assert "windlass store check --repair" in str(caught.value)
    assert caught.value.code == "store.behind"
    with pytest.raises(StoreBehind):
        await at(path).maintain("backup", to=str(tmp_path / "copy.db"))
    assert path.read_bytes() == old


async def test_another_store_in_its_place_is_noticed(path: Path, tmp_path: Path) -> None:
    other = await opened(tmp_path / "other.db")
    await begun(other)
    await other.close()
    store = await opened(path)
    await begun(store)
    await store.close()
    shutil.copyfile(tmp_path / "other.db", path)
    with pytest.raises(StoreBehind, match="the file was replaced"):
        await at(path).open()


@pytest.mark.parametrize("what", ["gone", "empty"])
async def test_a_file_that_is_gone_is_not_made_anew(path: Path, what: str) -> None:
    store = await opened(path)
    await begun(store)
    await store.close()
    path.unlink()
    if what == "empty":
        path.touch()
    with pytest.raises(StoreBehind, match="gone or empty"):
        await at(path).open()
    assert path.exists() == (what == "empty")


@pytest.mark.parametrize("damage", ["missing", "short", "header"])
async def test_a_store_without_a_whole_anchor_opens_with_a_warning(
    path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = await opened(path)
    await begun(store)
    await store.close()
    anchor = Path(name_of(str(path)))
    if damage == "missing":
        anchor.unlink()
    else:
        content = anchor.read_bytes()
        anchor.write_bytes(content[:100] if damage == "short" else b"X" + content[1:])
    with caplog.at_level(logging.WARNING):
        store = await opened(path)
    assert "the file is taken as it is" in caplog.text
    await store.commit(a_write(after=1))
    await store.close()
    assert read(str(path)).writes == {1: 2}
    caplog.clear()
    await (await opened(path)).close()
    assert caplog.text == ""


async def test_a_new_store_warns_of_nothing(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = await opened(path)
    again = await opened(path)
    await store.close()
    await again.close()
    assert caplog.text == ""


def test_a_torn_cell_leaves_the_one_before_it() -> None:
    content = bytearray(blank("abc", b"open"))
    seed = seed_of("abc")
    content[FIRST : FIRST + 16] = cell(7, 41, seed)
    content[FIRST + 16 : FIRST + 32] = cell(7, 42, seed)
    assert Known(bytes(content)).writes == {7: 42}
    for place in range(FIRST + 16, FIRST + 32):
        torn = bytearray(content)
        torn[place] ^= 0x10
        assert Known(bytes(torn)).writes == {7: 41}


def test_a_cell_of_another_store_is_not_taken() -> None:
    content = bytearray(blank("abc", b"open"))
    content[FIRST : FIRST + 16] = cell(7, 41, seed_of("abd"))
    assert Known(bytes(content)).writes == {}
    assert Known(bytes(content)).store == "abc"
    assert len(content) == SIZE


async def test_stores_on_one_file_keep_what_each_wrote_last(path: Path) -> None:
    stores = [await opened(path) for _ in range(4)]
    for i, store in enumerate(stores):
        await begun(store, f"run-{i}")
        await store.commit(a_write(f"run-{i}", after=1))
    found = read(str(path)).writes
    assert set(found.values()) <= {1, 2}
    assert sum(value == 2 for value in found.values()) >= 3  # two of them may have drawn the same place
    for store in stores:
        await store.close()


async def test_a_pruned_run_is_not_missed(path: Path) -> None:
    store = await opened(path)
    await begun(store)
    link = store._main()
    link.execute("PRAGMA foreign_keys = OFF")
    for table in ("log WHERE id >> 32 = 1", "records WHERE no = 1", "runs WHERE no = 1"):
        link.execute(f"DELETE FROM {table}")
    await store.close()
    await (await opened(path)).close()


@pytest.mark.parametrize("what", ["deleted", "replaced", "log deleted"])
async def test_an_open_store_whose_file_goes_away_writes_no_more(
    path: Path, tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_anchor, "LOOK_SECONDS", 0.0)
    store = await opened(path)
    await begun(store)
    await store.commit(a_write(after=1))
    await store.commit(a_write(after=2))
    if what == "replaced":
        shutil.copyfile(path, tmp_path / "other")
        (tmp_path / "other").rename(path)
    else:
        Path(f"{path}-wal" if what == "log deleted" else path).unlink()
    for refused in (store.commit(a_write(after=3)), store.renew(ME), store.claim("run-1", an_owner("two"))):
        with pytest.raises(StoreReplaced):
            await refused
    await store.close()


def test_a_killed_process_leaves_the_anchor(path: Path) -> None:
    async def write() -> None:
        store = await opened(path)
        await begun(store)
        await store.commit(a_write(after=1))
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if not child:
        asyncio.run(write())
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    known = read(str(path))
    assert known.writes == {1: 2}
    assert not known.is_closed

    async def look() -> None:
        store = await opened(path)
        assert (store._anchor.is_first, store._anchor.was_closed) == (True, False)
        noted = (await store.maintain("facts"))["unclean"]
        assert (noted["runs"], noted["problems"]) == (1, [])
        assert len(await rows_of(store)) == 2
        await store.close()
        assert read(str(path)).is_closed

    asyncio.run(look())


async def test_an_unclean_stop_has_the_last_rows_looked_at(path: Path, tmp_path: Path) -> None:
    store = await opened(path)
    await begun(store)
    await begun(store, "run-2")
    copy = tmp_path / "copy.db"
    copied(path, copy)
    await store.close()
    connection = apsw.Connection(str(copy))
    connection.execute("UPDATE log SET body = x'00' WHERE id >> 32 = 2")
    connection.close()
    again = await opened(copy)
    problems = (await again.maintain("facts"))["unclean"]["problems"]
    assert ["run-2" in problem for problem in problems] == [True]
    assert (await again.claim("run-1", ME)).id == "run-1"
    with pytest.raises(RunQuarantined):
        await again.claim("run-2", ME)
    await again.close()


async def test_an_anchor_that_cannot_be_written_is_told_and_costs_nothing(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Path(name_of(str(path))).mkdir()
    with pytest.raises(Exception, match="cannot read"):
        await at(path).open()
    Path(name_of(str(path))).rmdir()
    Path(name_of(str(path))).write_bytes(b"")
    store = await opened(path)
    await begun(store)
    await store.close()
