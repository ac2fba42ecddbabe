"""What damage does: it is found, never served. And what reading does not look at."""
# ruff: noqa: ASYNC240 -- nothing else runs on the loop of these tests

import random
from pathlib import Path
from typing import Any

import apsw
import pytest
from msgspec import Raw

from windlass.core.changes import BlobPut, EffectPut, ItemsPut, ManifestPut, QuestionPut
from windlass.core.errors import StoreCorrupt, StoreError
from windlass.core.queries import Commands, Effects, Items, Manifests, Questions, Rows, Runs, Work
from windlass.core.states import CREATED, WAITING
from windlass.stores.base import Store, open_store
from windlass.stores.queries import queries
from windlass.stores.sqlite import SQLiteStore
from windlass.testing.conformance_place import ME, begun
from windlass.testing.specimens import (
    NOON,
    a_blob,
    a_command,
    a_manifest,
    a_question,
    a_record,
    a_row,
    a_write,
    an_effect,
    an_item,
    as_json,
    contents,
)

BLOB = a_blob(b"a large value " * 10_000)


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A closed store that holds one of everything."""
    store = SQLiteStore(f"sqlite:///{tmp_path}/runs.db")
    await store.open()
    changes = (
        QuestionPut(a_question("run-1", "q", answer=Raw(b'"yes"'))), EffectPut(an_effect("run-1", "e")),
        ItemsPut((an_item("run-1", 1),)), BlobPut(BLOB), ManifestPut(a_manifest("run-1", 4, blobs=(BLOB.digest,))),
    )  # fmt: skip
    rows = [a_row("run-1", seq, body=b'{"at":%d,"pad":"%s"}' % (seq, b"x" * 300)) for seq in range(1, 9)]
    await store.create(a_record(tags={"k": "v"}), a_write(rows=rows[:4], changes=changes), ME)
    await store.commit(a_write(after=4, rows=rows[4:]))
    await store.post(a_command("run-1", "c", value="something"))
    await store.close()
    return tmp_path / "runs.db"


def change(path: Path, sql: str) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(sql)
    assert connection.changes() == 1
    connection.close()


async def values(store: Store) -> bytes:
    """Read every value that a run has; not the narrow columns beside them, which carry no digest."""
    rows = [(row.first, row.last, row.kind, row.body) for row in await store.find(Rows(run="run-1"))]
    manifests = [(manifest.seq, manifest.body) for manifest in await store.find(Manifests(run="run-1", until=9))]
    beside: list[object] = [await contents(store, BLOB)]
    for query in (Questions(statuses=None), Effects(tree="run-1"), Items(run="run-1"), Commands(run="run-1")):
        beside += await store.find(query)  # type: ignore[arg-type]
    await store.load("run-1")
    return as_json([rows, manifests, beside])


# Another half byte, whatever it was.
FLIP = (
    "unhex(substr(hex({0}), 1, {1} - 1) || iif(substr(hex({0}), {1}, 1) = '0', '1', '0') || substr(hex({0}), {1} + 1))"
)
DAMAGE = {
    "rows": f"UPDATE log SET body = {FLIP.format('body', 20)} WHERE id & 255 = 6",
    "row digests": f"UPDATE log SET digest = {FLIP.format('digest', 20)} WHERE id & 255 = 6",
    "kinds": "UPDATE log SET kind = 'stfp' WHERE id & 255 = 6",
    "places": "UPDATE log SET span = 1 WHERE id & 255 = 6",
    "gaps": "DELETE FROM log WHERE id & 255 = 6",
    "tails": "DELETE FROM log WHERE id & 255 = 8",
    "snapshots": f"UPDATE manifests SET body = {FLIP.format('body', 10)}",
    "records": f"UPDATE records SET body = {FLIP.format('body', 30)}",
    "statuses": "UPDATE runs SET status = 'runniog'",
}


@pytest.mark.parametrize("what", DAMAGE)
async def test_loading_finds_damage(path: Path, what: str) -> None:
    change(path, DAMAGE[what])
    store = open_store(f"sqlite:///{path}")
    await store.open()
    with pytest.raises(StoreCorrupt):
        await store.load("run-1")
    await store.close()


ASKED = {
    "questions": Questions(statuses=None),
    "effects": Effects(tree="run-1"),
    "items": Items(run="run-1"),
    "commands": Commands(run="run-1"),
    "records": Runs(),
    "log": Rows(run="run-1"),
    "manifests": Manifests(run="run-1", until=9),
}


@pytest.mark.parametrize("table", ASKED)
async def test_queries_find_damage(path: Path, table: str) -> None:
    where = " WHERE id & 255 = 6" if table == "log" else ""
    change(path, f"UPDATE {table} SET body = {FLIP.format('body', 10)}{where}")
    store = open_store(f"sqlite:///{path}")
    await store.open()
    if table == "records":  # the other runs are listed, and this one as what it is
        assert [record.quarantined != "" for record in await store.find(Runs())] == [True]
        query: Any = Runs(ids=("run-1",))
    else:
        query = ASKED[table]
    with pytest.raises(StoreCorrupt):
        await store.find(query)
    problems = (await store.maintain("check"))["problems"]
    assert [problem for problem in problems if "is quarantined" not in problem] == problems[:1]
    await store.close()


@pytest.mark.parametrize("column", ["content", "digest"])
async def test_a_damaged_blob_is_found(path: Path, column: str) -> None:
    change(path, f"UPDATE blobs SET {column} = {FLIP.format(column, 17)}")
    store = open_store(f"sqlite:///{path}")
    await store.open()
    with pytest.raises(StoreCorrupt, match=BLOB.digest):
        await contents(store, BLOB)
    assert (await store.maintain("check"))["problems"] != []
    await store.close()


async def test_flipped_bits_are_found_or_change_nothing(path: Path) -> None:
    store = open_store(f"sqlite:///{path}")
    await store.open()
    truth = await values(store)
    await store.close()
    whole = path.read_bytes()
    used = [place for place in range(4096, len(whole)) if whole[place]]  # past the schema
    dice = random.Random(7)
    refused = 0
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[dice.choice(used)] ^= 1 << dice.randrange(8)
        path.write_bytes(damaged)
        store = open_store(f"sqlite:///{path}")
        try:
            await store.open()
            told = await values(store)
        except StoreError:
            refused += 1
        else:
            assert told == truth or (await store.maintain("check"))["problems"]
        await store.close()
    assert refused > 20


async def test_two_thousand_steps_of_a_kilobyte_stay_small(tmp_path: Path) -> None:
    store = SQLiteStore(f"sqlite:///{tmp_path}/runs.db")
    await store.open()
    await begun(store)
    for after in range(1, 2001, 100):
        rows = [a_row("run-1", seq + 1, body=b"x" * 1200) for seq in range(after, after + 100)]
        await store.commit(a_write(after=after, rows=rows))
    await store.close()
    assert (tmp_path / "runs.db").stat().st_size < 3_000_000


async def test_ten_thousand_parked_runs_are_not_looked_at(tmp_path: Path) -> None:
    store = SQLiteStore(f"sqlite:///{tmp_path}/runs.db")
    await store.open()
    link = store._main()
    asked: dict[str, Any] = {"live": "[]", "due_before": NOON, "definitions": "[]", "limit": 100}
    some: dict[str, Any] = dict.fromkeys(("ids", "after", "tenant", "statuses"))
    some |= {"claimable": True, "started": True, "tags": "{}"}
    for query, more in (("list_some_runs", some), ("list_work", {"turn": None, "besides": "[]", "each": 10})):
        plan = link.execute("EXPLAIN QUERY PLAN " + queries("sqlite")[query], {**asked, **more}).fetchall()
        steps = [step[3] for step in plan]
        assert "SCAN runs" not in steps
        for index in ("runs_free", "runs_due", "runs_owned", "commands_waiting"):
            assert any(index in step for step in steps), index
    link.execute("BEGIN")
    for i in range(10_000):
        link.execute(
            queries("sqlite")["add_run"],
            (
                f"p-{i}",
                "t",
                "d",
                None,
                None,
                None,
                WAITING,
                1,
                None,
                0,
                0,
                0,
                NOON + 1e6 if i % 2 else None,
                0,
                NOON,
                NOON,
            ),
        )
    link.execute("COMMIT")
    await store.create(a_record("work"), a_write("work", epoch=0, status=CREATED), None)
    looked = link.connection.status(apsw.SQLITE_DBSTATUS_CACHE_HIT)[0]
    work = Work(definitions=("d", a_record().definition), due_before=NOON)
    assert [record.id for record in await store.find(work)] == ["work"]
    assert link.connection.status(apsw.SQLITE_DBSTATUS_CACHE_HIT)[0] - looked < 60  # pages, of the 300 of the table
    await store.close()
