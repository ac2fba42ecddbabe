"""Quarantine and repair: a damaged run is set apart, the others go on, and nothing is invented."""
# ruff: noqa: ASYNC240 -- nothing else runs on the loop of these tests

import asyncio
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from windlass.core.errors import RunQuarantined, StoreCorrupt, StoreError, StoreUnavailable
from windlass.core.queries import Questions, Rows, Runs, Work
from windlass.core.states import COMPLETED
from windlass.stores import queries as queries_module
from windlass.stores import sqlite as sqlite_module
from windlass.stores import sqlite_file, sqlite_sums
from windlass.stores.sqlite import SQLiteStore
from windlass.stores.sqlite_anchor import name_of
from windlass.stores.sqlite_file import latest
from windlass.stores.sqlite_repair import alone
from windlass.testing.conformance_place import ME, begun, rows_of
from windlass.testing.specimens import a_record, a_write


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """Three runs of three events each."""
    path = tmp_path / "runs.db"
    store = at(path)
    await store.open()
    for run in ("run-1", "run-2", "run-3"):
        await begun(store, run)
        for after in (1, 2):
            await store.commit(a_write(run, after=after))
        await store.release(run, 1)
    await store.close()
    return path


def at(path: Path) -> SQLiteStore:
    return SQLiteStore(f"sqlite:///{path}")


def change(path: Path, *statements: str) -> None:
    connection = apsw.Connection(str(path))
    for statement in statements:
        connection.execute(statement)
    connection.close()


async def opened(path: Path) -> SQLiteStore:
    store = at(path)
    await store.open()
    return store


async def claimable(store: SQLiteStore) -> list[str]:
    return [record.id for record in await store.find(Runs(claimable=True, due_before=1e12, limit=1000))]


BAD_ROW = "UPDATE log SET body = x'00' WHERE id = (2 << 32 | 3)"
BAD_FIRST_ROWS = "UPDATE log SET body = x'00' WHERE id >> 32 = 2 AND id & 255 > 1"


async def test_a_damaged_run_is_set_apart_and_the_others_go_on(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    change(path, BAD_ROW)
    store = await opened(path)
    for _ in range(2):
        with pytest.raises(StoreCorrupt, match=r"run run-2: the row of events 3\.\.3"):
            await store.load("run-2")
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1
    assert await claimable(store) == ["run-3", "run-1"]
    with pytest.raises(RunQuarantined, match=r"the row of events 3\.\.3"):
        await store.claim("run-2", ME)
    listed = {record.id: record.quarantined for record in await store.find(Runs())}
    assert "3..3" in listed.pop("run-2")
    assert listed == {"run-1": "", "run-3": ""}
    assert [row.last for row in await store.find(Rows(run="run-2", until=2))] == [1, 2]  # as far as it is whole
    await store.claim("run-1", ME)
    await store.close()


async def test_a_gap_found_by_a_query_sets_the_run_apart(path: Path) -> None:
    change(path, "DELETE FROM log WHERE id = (2 << 32 | 2)")
    store = await opened(path)
    with pytest.raises(StoreCorrupt, match="event 2 is missing"):
        await store.find(Rows(run="run-2"))
    assert await claimable(store) == ["run-3", "run-1"]
    await store.close()


async def test_a_repair_cuts_a_log_and_keeps_what_it_cut(path: Path) -> None:
    change(path, "UPDATE log SET body = x'00' WHERE id = (2 << 32 | 2)")
    done = await at(path).maintain("check", repair=True)
    assert done["repaired"] == [
        "run run-2: cut its log after event 1; 2 rows behind it are in lost_and_found",
        "quarantined run run-2: run run-2: the row of events 2..2 does not match its digest",
    ]
    assert ["is quarantined" in problem for problem in done["problems"]] == [True]
    store = await opened(path)
    assert [(row.first, row.last) for row in await store.find(Rows(run="run-2"))] == [(1, 1)]
    assert await claimable(store) == ["run-3", "run-1"]
    kept = store._main().execute("SELECT id & 255, body FROM lost_and_found ORDER BY id").fetchall()
    assert [place for place, _ in kept] == [2, 3]
    assert kept[0][1] == b"\0"
    await store.close()
    again = await at(path).maintain("check", repair=True)
    assert (again["repaired"], again["problems"]) == (["released run run-2: it is whole"], [])
    assert (await at(path).maintain("check", repair=True))["repaired"] == []
    store = await opened(path)
    loaded = await store.load("run-2")
    assert (loaded.record.head.seq, loaded.record.head.branch, loaded.rows) == (1, 1, ())  # on a branch of its own
    assert await claimable(store) == ["run-3", "run-2", "run-1"]
    await store.close()


async def test_a_run_of_which_nothing_is_whole_stays_as_it_is(path: Path) -> None:
    change(path, "UPDATE log SET body = x'00' WHERE id >> 32 = 2")
    done = await at(path).maintain("check", repair=True)
    assert "run run-2: nothing of its log is whole" in done["repaired"]
    done = await at(path).maintain("check", repair=True)
    assert len([problem for problem in done["problems"] if "run-2" in problem]) >= 3


async def test_a_check_without_repair_changes_nothing(path: Path) -> None:
    change(path, BAD_ROW)
    before = path.read_bytes()
    assert (await at(path).maintain("check"))["problems"] != []
    assert path.read_bytes() == before


async def test_a_fork_of_the_store_is_declared_and_its_runs_wait_for_a_person(path: Path) -> None:
    old = path.read_bytes()
    store = await opened(path)
    await store.claim("run-1", ME)
    await store.commit(a_write("run-1", epoch=2, after=3))
    await store.close()
    path.write_bytes(old)
    done = await at(path).maintain("check", repair=True)
    assert "run run-1 stands at" in done["repaired"][0]
    assert "quarantined 3 runs" in done["repaired"][1]
    store = await opened(path)
    assert await claimable(store) == []
    with pytest.raises(RunQuarantined, match="its effects too, is not known"):
        await store.claim("run-1", ME)
    await store.close()
    done = await at(path).maintain("check", repair=True)
    assert (len(done["repaired"]), done["problems"]) == (3, [])


async def test_nothing_is_repaired_while_somebody_has_the_store_open(path: Path) -> None:
    store = await opened(path)
    with pytest.raises(StoreUnavailable, match="open in another process"):
        await at(path).maintain("check", repair=True)
    await store.close()
    assert (await at(path).maintain("check", repair=True))["repaired"] == []


async def test_a_lost_anchor_is_made_anew(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Path(name_of(str(path))).unlink()
    assert (await at(path).maintain("check", repair=True))["repaired"] == ["made the anchor anew"]
    await (await opened(path)).close()
    assert caplog.text == ""


def pages_of(path: Path, name: str) -> list[int]:
    connection = apsw.Connection(str(path))
    found = [page for (page,) in connection.execute("SELECT pageno FROM dbstat WHERE name = ? ORDER BY path", (name,))]
    connection.close()
    return found


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 0x04
    path.write_bytes(content)


async def test_a_damaged_page_is_never_read(path: Path) -> None:
    for page in pages_of(path, "runs"):
        flip(path, page * 4096 - 100)
    store = await opened(path)
    for refused in (store.load("run-1"), store.find(Runs()), store.claim("run-1", ME)):
        with pytest.raises(StoreCorrupt, match="checksum"):
            await refused
    assert await claimable(store) == []
    await store.close()


async def test_a_damaged_index_is_made_anew(path: Path) -> None:
    for page in pages_of(path, "sqlite_autoindex_runs_1"):
        flip(path, page * 4096 - 30)
    store = await opened(path)
    with pytest.raises(StoreCorrupt, match="checksum"):
        await store.load("run-1")
    assert len(await store.find(Runs())) == 3
    await store.close()
    done = await at(path).maintain("check", repair=True)
    assert done["repaired"][0] == "made the indexes anew from their tables"
    assert done["problems"] == []
    store = await opened(path)
    assert (await store.load("run-1")).record.head.seq == 3
    await store.close()


async def test_ended_runs_do_not_hide_older_work_in_a_damaged_file(path: Path) -> None:
    """A look around damage has a limit of runs that have work, not of runs that it comes across."""
    store = await opened(path)
    first = await at_work(store)
    for i in range(5):
        await store.create(a_record(f"over-{i}"), a_write(f"over-{i}", epoch=0, status=COMPLETED), None)
    await store.close()
    change(path, "UPDATE records SET body = x'7b7d' WHERE no = 2")
    store = await opened(path)
    assert first == ["run-1", "run-2", "run-3"]
    assert await at_work(store) == ["run-1", "run-3"]
    assert await at_work(store, limit=1, besides=("run-1",)) == ["run-3"]
    found = await store.find(Runs(claimable=True, limit=2))
    assert [record.id for record in found] == ["run-3", "run-1"]
    await store.close()


async def at_work(store: SQLiteStore, **asked: Any) -> list[str]:
    query = Work(definitions=(a_record().definition,), due_before=1e12, **asked)
    return [record.id for record in await store.find(query)]


async def test_runs_on_other_pages_are_listed_around_a_damaged_one(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    store = await opened(path)
    for i in range(120):
        await begun(store, f"run-{i:03}")
        await store.release(f"run-{i:03}", 1)
    await store.close()
    pages = pages_of(path, "records")
    flip(path, pages[len(pages) // 2] * 4096 - 100)
    store = await opened(path)
    with pytest.raises(StoreCorrupt, match="checksum"):
        await store.find(Runs(limit=1000))
    free = await claimable(store)
    assert 60 < len(free) < 120
    assert free == sorted(free, reverse=True)
    assert await store.find(Questions()) == []
    await store.close()


def of_version_1(path: Path) -> None:
    """Make a store as the first release did: its schema, no checksums, no anchor."""
    for end in ("", "-wal", ".anchor"):
        Path(f"{path}{end}").unlink(missing_ok=True)
    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "WAL")
    connection.execute(queries_module.migrations("sqlite")[0][1])
    connection.pragma("application_id", sqlite_file.APPLICATION)
    connection.pragma("user_version", 1)
    connection.execute("INSERT INTO meta VALUES ('store', 'feed')")
    connection.close()


async def test_a_store_of_the_first_version_is_migrated_with_checksums_and_anchor(
    path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    new = tmp_path / "old.db"
    of_version_1(new)
    connection = apsw.Connection(str(new))
    connection.execute(f"ATTACH '{path}' AS new")
    for table in ("runs", "records", "log"):
        columns = ", ".join(row[1] for row in connection.execute(f"PRAGMA main.table_info({table})"))
        connection.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM new.{table}")
    connection.close()
    with pytest.raises(StoreError, match="windlass store migrate"):
        await at(new).open()
    assert (await at(new).maintain("migrate"))["applied"] == [*range(2, latest() + 1)]
    store = await opened(new)
    assert caplog.text == ""
    assert sqlite_sums.has(store._main().connection)
    assert [await rows_of(store, f"run-{i}") for i in (1, 2, 3)] == [[(1, 1), (2, 2), (3, 3)]] * 3
    await store.close()
    assert (await at(new).maintain("check"))["problems"] == []


def die_at(step: int) -> Callable[[apsw.Connection, str, tuple[object, ...] | None], bool]:
    left = [step]

    def trace(*_: object) -> bool:
        left[0] -= 1
        if left[0] < 0:
            os._exit(9)
        return True

    return trace


def test_a_migration_may_be_killed_at_each_statement(tmp_path: Path) -> None:
    of_version_1(tmp_path / "old.db")
    steps = 0
    while True:
        copy = tmp_path / f"copy-{steps}.db"
        shutil.copyfile(tmp_path / "old.db", copy)
        child = os.fork()
        if not child:
            link = sqlite_file.connect(str(copy))
            link.connection.exec_trace = die_at(steps)  # type: ignore[assignment]
            sqlite_file.migrate(link, "sqlite:///copy")
            link.connection.exec_trace = None
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        connection = apsw.Connection(str(copy))
        version: Any = connection.pragma("user_version")
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
        connection.close()
        assert ("quarantine" in tables) == (version >= 2)
        asyncio.run(at(copy).maintain("migrate"))
        assert asyncio.run(at(copy).maintain("check"))["problems"] == []
        if code == 0:
            break
        steps += 1
    assert steps > 8


async def test_nobody_opens_a_store_that_is_being_repaired(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_module, "BUSY_SECONDS", 0.05)
    with alone(f"sqlite:///{path}"), pytest.raises(StoreUnavailable):
        await at(path).open()
    await (await opened(path)).close()
