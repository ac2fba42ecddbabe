"""Damaged pages of tables: what can be read goes into a new file, and the damaged one stays as it was."""
# ruff: noqa: ASYNC240 -- nothing else runs on the loop of these tests

import asyncio
import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from windlass.core import crashpoint
from windlass.core.changes import BlobPut, EffectPut, ItemsPut, QuestionPut
from windlass.core.errors import StoreBehind, StoreCorrupt, StoreError
from windlass.core.queries import Rows, Runs
from windlass.core.records import Row
from windlass.stores.sqlite import SQLiteStore
from windlass.stores.sqlite_pages import Pages, Torn, record, varint
from windlass.testing.conformance_place import begun
from windlass.testing.specimens import a_blob, a_question, a_record, a_row, a_write, an_effect, an_item

PAGE = 4096
RUNS = [f"run-{i:03}" for i in range(60)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty runs on some hundreds of pages, with long rows and large values."""
    path = tmp_path_factory.mktemp("made") / "runs.db"
    asyncio.run(fill(at(path)))
    return path


async def fill(store: SQLiteStore) -> None:
    await store.open()
    for number, run in enumerate(RUNS):
        await begun(store, run)
        long = b'{"at":1,"pad":"%s"}' % (b"x" * (9_000 if number % 7 == 0 else 900))
        blob = a_blob(random.Random(number).randbytes(20_000))
        puts = (QuestionPut(a_question(run, f"q-{run}")), EffectPut(an_effect(run, run)), BlobPut(blob))
        items = ItemsPut(tuple(an_item(run, arrival) for arrival in range(1, 30)))
        rows = [a_row(run, 2, body=long), *(a_row(run, seq, body=long[:300] + b'"}') for seq in range(3, 10))]
        await store.commit(a_write(run, after=1, rows=rows, changes=(*puts, items)))
        await store.release(run, 1)
    await store.close()


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    """Copy the store, to be damaged."""
    for end in ("", ".anchor"):
        shutil.copyfile(f"{made}{end}", f"{tmp_path / made.name}{end}")
    return tmp_path / made.name


def at(path: Path) -> SQLiteStore:
    return SQLiteStore(f"sqlite:///{path}")


def pages_of(path: Path, name: str, kind: str) -> list[int]:
    connection = apsw.Connection(str(path))
    sql = "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = ? ORDER BY pageno"
    found = [page for (page,) in connection.execute(sql, (name, kind))]
    connection.close()
    return found


def flip(path: Path, page: int, place: int = 2_000) -> bytes:
    content = bytearray(path.read_bytes())
    content[(page - 1) * PAGE + place] ^= 0x10
    path.write_bytes(content)
    return bytes(content)


async def rows_of(path: Path) -> dict[str, list[Row]]:
    """Read every run that is not set apart."""
    store = at(path)
    await store.open()
    runs = [record.id for record in await store.find(Runs(limit=1_000)) if not record.quarantined]
    found = {run: await store.find(Rows(run=run)) for run in runs}
    await store.close()
    return found


async def repaired(path: Path) -> list[str]:
    done = await at(path).maintain("check", repair=True)
    apart = {problem.split()[1] for problem in done["problems"] if "is quarantined" in problem}
    assert [problem for problem in done["problems"] if problem.split()[1].rstrip(":") not in apart] == []
    told: list[str] = done["repaired"]
    return told


@pytest.mark.parametrize(
    ("name", "kind", "most"),
    [
        ("log", "leaf", 10), ("log", "overflow", 1), ("log", "internal", 0), ("runs", "leaf", 0),
        ("effects", "leaf", 0), ("questions", "leaf", 0), ("blobs", "overflow", 0), ("quarantine", "leaf", 0),
        ("meta", "leaf", 0),
    ],
)  # fmt: skip
async def test_what_can_be_read_is_kept_and_nothing_else(path: Path, name: str, kind: str, most: int) -> None:
    whole = await rows_of(path)
    pages = pages_of(path, name, kind)
    damaged = flip(path, pages[len(pages) // 2])
    told = await repaired(path)
    assert told[0].startswith(f"damaged pages: {pages[len(pages) // 2]} ({name})")
    left = await rows_of(path)
    assert len(whole) - len(left) <= most
    assert all(whole[run] == rows for run, rows in left.items())
    (kept,) = path.parent.glob("runs.db.damaged-*[0-9]")
    assert kept.read_bytes() == damaged
    assert sorted(file.name for file in path.parent.iterdir() if "damaged" not in file.name) == [
        "runs.db", "runs.db.anchor",
    ]  # fmt: skip


def content_of(path: Path) -> dict[str, list[str]]:
    connection = apsw.Connection(str(path))
    tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    told = {str(name): connection.execute(f"SELECT * FROM {name}").fetchall() for (name,) in tables}
    connection.close()
    return {name: sorted(map(repr, rows)) for name, rows in told.items()}


async def test_every_value_of_every_table_is_the_same(path: Path) -> None:
    whole = content_of(path)
    assert all(len(whole[table]) for table in ("items", "owners", "effects", "blobs", "meta"))
    flip(path, pages_of(path, "quarantine", "leaf")[0])
    await repaired(path)
    assert content_of(path) == whole


async def test_the_map_of_pages_may_be_damaged(path: Path) -> None:
    whole = await rows_of(path)
    damaged = flip(path, 2, 50)
    assert (await repaired(path))[0].startswith("damaged pages: ")
    (kept,) = path.parent.glob("runs.db.damaged-*[0-9]")
    assert kept.read_bytes() == damaged
    assert await rows_of(path) == whole


async def test_many_pages_at_once(path: Path) -> None:
    whole = await rows_of(path)
    size = path.stat().st_size // PAGE
    schema = pages_of(path, "sqlite_schema", "leaf")
    dice = random.Random(7)
    for page in dice.sample([page for page in range(2, size + 1) if page not in schema], size // 12):
        flip(path, page)
    await repaired(path)
    left = await rows_of(path)
    assert left
    for run, rows in left.items():
        assert rows == whole[run][: len(rows)]


async def test_a_run_whose_line_is_lost_is_listed_again(path: Path) -> None:
    for page in pages_of(path, "runs", "leaf"):
        flip(path, page)
    told = await repaired(path)
    assert sum("made its line anew" in said for said in told) == len(RUNS)
    assert len(await rows_of(path)) == len(RUNS)


async def test_a_log_that_nothing_names_is_kept_apart(path: Path) -> None:
    for name in ("runs", "records"):
        for page in pages_of(path, name, "leaf"):
            flip(path, page)
    told = await repaired(path)
    assert sum("what names it is lost" in said for said in told) == len(RUNS)
    assert await rows_of(path) == {}
    connection = apsw.Connection(str(path))
    assert connection.execute("SELECT count(*) FROM lost_and_found").fetchall() == [(len(RUNS) * 9,)]
    assert connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'runs'").fetchall() == [(len(RUNS),)]
    connection.close()


async def test_what_stands_in_the_write_ahead_log_counts(path: Path) -> None:
    store = at(path)
    await store.open()
    page = pages_of(path, "effects", "leaf")[0]
    await store.create(a_record("late"), a_write("late"), None)
    content, log = path.read_bytes(), Path(f"{path}-wal").read_bytes()
    anchor = Path(f"{path}.anchor").read_bytes()
    await store.close()
    path.write_bytes(content)
    Path(f"{path}-wal").write_bytes(log)
    Path(f"{path}.anchor").write_bytes(anchor)
    flip(path, page)
    await repaired(path)
    assert "late" in await rows_of(path)


async def test_a_schema_that_cannot_be_read_is_refused_and_nothing_is_changed(path: Path) -> None:
    damaged = flip(path, 1, 3_000)
    with pytest.raises(StoreCorrupt):
        await at(path).maintain("check", repair=True)
    assert path.read_bytes() == damaged
    assert not list(path.parent.glob("*.damaged-*"))


def killed_at(nth: int) -> Callable[[str], None]:
    left = [nth]

    def reach(label: str) -> None:
        left[0] -= label == "repair.exchange"
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    return reach


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_an_exchange_of_files_that_was_killed_goes_on(path: Path, nth: int) -> None:
    flip(path, pages_of(path, "effects", "leaf")[0])
    child = os.fork()
    if not child:
        crashpoint.on_reach = killed_at(nth)
        asyncio.run(at(path).maintain("check", repair=True))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert path.exists() == (nth == 1)
    if nth > 1:
        with pytest.raises(StoreBehind, match="a repair was stopped"):
            asyncio.run(at(path).open())
        assert not path.exists()
    told = asyncio.run(repaired(path))
    assert any("put the file of a repair" in said for said in told) == (nth > 1)
    assert len(asyncio.run(rows_of(path))) == len(RUNS)
    assert len(list(path.parent.glob("*.damaged-*[0-9]"))) == 1


async def test_a_disk_that_is_full_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = flip(path, pages_of(path, "effects", "leaf")[0])

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("windlass.stores.sqlite_salvage.os.pwrite", full)
    with pytest.raises(StoreError, match="No space"):
        await at(path).maintain("check", repair=True)
    monkeypatch.undo()
    assert path.read_bytes() == damaged
    assert len(await repaired(path)) > 1


@pytest.mark.parametrize("value", [0, 1, 127, 128, 16_383, 16_384, 2**31, 2**56 - 1, 2**63 - 1, -1])
def test_numbers_of_any_length_are_read_as_sqlite_writes_them(value: int, tmp_path: Path) -> None:
    connection = apsw.Connection(str(tmp_path / "n.db"))
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a, b, c)")
    connection.execute("INSERT INTO t VALUES (?, ?, ?, ?)", (value, value, float(value), "ü" * 3_000))
    root = int(str(connection.execute("SELECT rootpage FROM sqlite_schema").fetchall()[0][0]))
    connection.close()
    pages = Pages(str(tmp_path / "n.db"))
    pages.map_out({root})
    assert list(pages.rows(root)) == [(value, [None, value, float(value), "ü" * 3_000])]
    assert pages.torn == set()
    pages.close()


def test_a_row_that_is_none_is_refused() -> None:
    with pytest.raises(Torn):
        record(b"\x02\x0a")
    with pytest.raises(IndexError):
        varint(b"\x80", 0)
