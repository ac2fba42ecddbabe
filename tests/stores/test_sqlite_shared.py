"""Damage to shared numbers and dead letters: it is found, refused, and mended without inventing what was lost."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import apsw
import pytest
from msgspec import json

from windlass.core.changes import Adjust, LetterPut
from windlass.core.errors import StoreCorrupt
from windlass.core.queries import Letters, Tallies
from windlass.core.tallies import BudgetAnswer, BudgetState, held_key
from windlass.stores import sqlite_check
from windlass.stores.sqlite import SQLiteStore
from windlass.stores.sqlite_shared import _is_signed
from windlass.stores.tallies import Stand
from windlass.testing.conformance_place import begun, rows_of
from windlass.testing.conformance_tallies import POT, SWITCH, holds, pot, want
from windlass.testing.specimens import a_breaker_op, a_budget_op, a_letter, a_write

OWN = "budget|run|run-1"


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """Make a store with a run that holds of two budgets, a breaker, and two letters."""
    path = tmp_path / "runs.db"
    store = at(path)
    await store.open()
    await begun(store)
    spent = Adjust(POT, a_budget_op("run-1", spent={"tokens_in": 2}))
    letters = [LetterPut(a_letter("run-1", name)) for name in ("one", "two")]
    await store.commit(a_write(after=1, changes=(want(4), want(3, key=OWN), want(1, "run-2"), spent, *letters)))
    await store.adjust([Adjust(SWITCH, a_breaker_op("failed", failures=1))])
    await store.close()
    return path


def at(path: Path) -> SQLiteStore:
    return SQLiteStore(f"sqlite:///{path}")


def change(path: Path, sql: str, *bindings: str) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(sql, bindings)
    assert connection.changes() == 1
    connection.close()


async def repaired(path: Path) -> list[str]:
    """Repair, and return what was said; nothing is left to say by a check."""
    told = await at(path).maintain("check", repair=True)
    assert told["problems"] == []
    return list(told["repaired"])


async def test_a_whole_store_has_no_problems(path: Path) -> None:
    assert (await at(path).maintain("check"))["problems"] == []
    assert await repaired(path) == []


@pytest.mark.parametrize("column", ["body", "digest", "version", "at"])
async def test_a_damaged_tally_is_refused_and_begins_anew(path: Path, column: str) -> None:
    flip = {"body": "CAST('{}' AS BLOB)", "digest": "zeroblob(32)", "version": "9", "at": "1.0"}[column]
    change(path, f"UPDATE tallies SET {column} = {flip} WHERE key = ?", SWITCH)
    store = at(path)
    await store.open()
    with pytest.raises(StoreCorrupt, match="tally breaker"):
        await store.find(Tallies())
    with pytest.raises(StoreCorrupt, match="tally breaker"):
        await store.adjust([Adjust(SWITCH, a_breaker_op("ask"))])
    with pytest.raises(StoreCorrupt, match="tally breaker"):
        await store.commit(a_write(after=2, changes=(want(1), Adjust(SWITCH, a_breaker_op("ask")))))
    assert await rows_of(store) == [(1, 1), (2, 2)]
    assert (await pot(store)).held == {"tokens_in": 5}
    await store.commit(a_write(after=2))  # what does not need it goes on
    assert (await store.maintain("check"))["problems"] == [f"tallies: {SWITCH!r} does not match its digest"]
    await store.close()
    (said,) = await repaired(path)
    assert said.startswith(f"the tally {SWITCH!r} begins anew")
    store = at(path)
    await store.open()
    assert await store.find(Tallies(prefix="breaker")) == []
    await store.close()
    connection = apsw.Connection(str(path))
    ((kept,),) = connection.execute("SELECT body FROM lost_and_found WHERE kind = 'tally'").fetchall()
    assert bytes(kept).startswith(SWITCH.encode() + b" {")  # type: ignore[arg-type]
    connection.close()


@pytest.mark.parametrize(("body", "version", "key"), [(b"{}", 1, 7), (None, 1, "k"), (b"{}", "1", "k")])
def test_a_damaged_page_may_hold_values_of_any_type(body: Any, version: Any, key: Any) -> None:
    assert not _is_signed(Stand(body, version, 0.0), key, bytes(32))


async def test_what_a_check_stumbles_over_is_a_problem_of_the_store(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(*_: object) -> Any:
        raise AttributeError("'int' object has no attribute 'encode'")

    monkeypatch.setitem(sqlite_check.WALKS, "tallies", stumble)
    (said,) = (await at(path).maintain("check"))["problems"]
    assert said.startswith("tallies: AttributeError")


@pytest.mark.parametrize("key", [POT, OWN])
async def test_what_a_budget_holds_is_worked_out_anew(path: Path, key: str) -> None:
    change(path, "UPDATE tallies SET body = CAST('{}' AS BLOB) WHERE key = ?", key)
    said = await repaired(path)
    assert said[0].startswith(f"the tally {key!r} begins anew")
    assert said[1:] == ([f"the tally {POT!r} holds what its runs hold"] if key == POT else [])
    store = at(path)
    await store.open()
    assert await pot(store, key) == (BudgetState(held={"tokens_in": 5}) if key == POT else BudgetState())
    (answer,) = await store.adjust([want(9, "run-3", key=key)])
    assert answer == BudgetAnswer({"tokens_in": 5 if key == POT else 9}, True, {"tokens_in": 0 if key == POT else 1})
    await store.close()


async def test_what_a_run_held_falls_away_with_its_damaged_row(path: Path) -> None:
    change(path, "DELETE FROM tallies WHERE key = ?", held_key(POT, "run-1"))
    assert (await at(path).maintain("check"))["problems"] == [f"tallies: {POT!r} does not hold what its runs hold"]
    assert await repaired(path) == [f"the tally {POT!r} holds what its runs hold"]
    store = at(path)
    await store.open()
    assert await pot(store) == BudgetState({"tokens_in": 2}, {"tokens_in": 1})
    assert await holds(store) == {"run-2": 1}
    await store.close()


@pytest.mark.parametrize("sql", [
    "UPDATE dead_letters SET body = CAST('{}' AS BLOB) WHERE id = ?",
    "UPDATE dead_letters SET status = 'dropped' WHERE id = ?",
])  # fmt: skip
async def test_a_damaged_letter_is_set_apart(path: Path, sql: str) -> None:
    change(path, sql, "one")
    (problem,) = (await at(path).maintain("check"))["problems"]
    assert problem.startswith("dead_letters: a record ")
    assert await repaired(path) == ["the dead letter 'one' is in lost_and_found"]
    store = at(path)
    await store.open()
    assert [letter.id for letter in await store.find(Letters(statuses=None))] == ["two"]
    assert (await store.load("run-1")).record.quarantined == ""
    await store.close()


async def test_a_tally_under_another_key_is_refused(path: Path) -> None:
    change(path, "UPDATE tallies SET key = ? WHERE key = '" + SWITCH + "'", "breaker|fleet||other")
    store = at(path)
    await store.open()
    with pytest.raises(StoreCorrupt):
        await store.adjust([Adjust("breaker|fleet||other", a_breaker_op("ask"))])
    await store.close()


async def test_a_file_that_is_not_migrated_yet_has_no_such_problems(tmp_path: Path) -> None:
    dump = Path(__file__).parents[2] / "trials" / "versions" / "2.sql"
    path = tmp_path / "runs.db"
    connection = apsw.Connection(str(path))
    connection.execute(dump.read_text())
    connection.execute("PRAGMA application_id = 0x57494E44; PRAGMA user_version = 2")
    connection.close()
    assert (await at(path).maintain("check"))["problems"] == []
    assert (await at(path).maintain("migrate"))["applied"] == [3, 4, 5]
    store = at(path)
    await store.open()
    await store.adjust([want(4), LetterPut(a_letter("asks", "l"))])
    assert json.decode((await store.find(Tallies()))[0].body) == {"held": {"tokens_in": 4}}
    assert (await store.maintain("check"))["problems"] == []
    await store.close()


SPEND = """
import asyncio, sys
from windlass.stores.base import open_store
from windlass.testing.conformance_tallies import want
from windlass.testing.specimens import a_record, a_write, an_owner

async def main(name: str) -> None:
    store = open_store("sqlite:///shared.db")
    await store.open()
    await store.create(a_record(name), a_write(name), an_owner(name))
    got = 0
    for seq in range(1, 41):
        changes = (want(1, name, limit=100),)
        for one in ((await store.commit(a_write(name, after=seq, changes=changes))), await store.adjust(changes)):
            got += one[0].granted["tokens_in"]
    await store.close()
    print(got)

asyncio.run(main(sys.argv[1]))
"""


async def test_processes_that_contend_get_no_more_than_there_is(tmp_path: Path) -> None:
    first = SQLiteStore(f"sqlite:///{tmp_path}/shared.db")
    await first.open()
    programs = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", SPEND, name, cwd=tmp_path, stdout=asyncio.subprocess.PIPE
        )
        for name in ("one", "two", "three")
    ]
    got = [int((await program.communicate())[0]) for program in programs]
    assert sum(got) == 100
    assert await pot(first) == BudgetState(held={"tokens_in": 100})
    assert await holds(first) == {name: n for name, n in zip(("one", "two", "three"), got, strict=True) if n}
    assert (await first.maintain("check"))["problems"] == []
    await first.close()
