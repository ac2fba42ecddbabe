"""What follows from the logs is compared with them, and made anew from them: questions, effects, where a run stands."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from windlass import Context, Pipeline, Runtime, task
from windlass.core.queries import Effects, Questions, Rows, Runs
from windlass.core.records import Effect, Question
from windlass.stores.sqlite import SQLiteStore
from windlass.stores.sqlite_read import EFFECT, sealed

paid: list[int] = []


async def pay(n: int) -> int:
    paid.append(n)
    return n * 10


@task
async def first(n: int, ctx: Context) -> Any:
    return await ctx.effect("pay", pay, n)


@task
async def ask(first: int, ctx: Context) -> int:
    return first + await ctx.ask("How many?", int)


@task
async def second(ask: int, ctx: Context) -> Any:
    return await ctx.effect("pay", pay, ask)


@task
async def sure(second: int, ctx: Context) -> int:
    return second + await ctx.ask("Sure?", int)


def pipeline() -> Pipeline:
    return Pipeline("asks", [first, ask, second, sure])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run that ended, one that waits for its second answer on a second branch."""
    path = tmp_path_factory.mktemp("made") / "runs.db"
    asyncio.run(play(f"sqlite:///{path}"))
    return path


async def play(url: str) -> None:
    async with Runtime(url, [pipeline()]) as runtime:
        for run in ("ended", "waits"):
            await runtime.run(pipeline(), 1, id=run)
            await answered(runtime, run, 2)
        await answered(runtime, "ended", 3)
        await runtime.rollback("waits", "ask")
        await runtime.resume("waits")
        await runtime.wait("waits")
        await answered(runtime, "waits", 2)


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    """Copy the store, to be changed."""
    for end in ("", ".anchor"):
        shutil.copyfile(f"{made}{end}", f"{tmp_path / made.name}{end}")
    return tmp_path / made.name


async def answered(runtime: Runtime, run: str, value: int) -> None:
    (question,) = await runtime.questions(run)
    await runtime.answer(question.id, value)
    await runtime.wait(run)


def at(path: Path) -> SQLiteStore:
    return SQLiteStore(f"sqlite:///{path}")


def change(path: Path, *statements: tuple[str, *tuple[Any, ...]]) -> None:
    connection = apsw.Connection(str(path))
    for statement, *bindings in statements:
        connection.execute(statement, bindings)
    connection.close()


async def beside(path: Path) -> dict[str, Any]:
    """Read what follows from the logs, without the moments, which they tell only roughly."""
    store = at(path)
    await store.open()
    effects: list[Effect] = [line for run in ("ended", "waits") for line in await store.find(Effects(run=run))]
    questions: list[Question] = await store.find(Questions(statuses=None))
    told = {
        "effects": [msgspec.structs.replace(line, at=0, seq=0, undo_for="", why="") for line in effects],
        "questions": {q.id: msgspec.structs.replace(q, asked_at=0, answered_at=None) for q in questions},
        "heads": {record.id: record.head for record in await store.find(Runs())},
    }
    await store.close()
    return told


DAMAGE: dict[str, list[tuple[str, *tuple[Any, ...]]]] = {
    "effects are missing": [("DELETE FROM effects",)],
    "an effect is missing": [("DELETE FROM effects WHERE no = 2",)],
    "questions are missing": [("DELETE FROM questions",)],
    "a question is damaged": [("UPDATE questions SET body = x'7b7d' WHERE no = 1",)],
    "a question is under another name": [("UPDATE questions SET id = 'x' WHERE no = 2",)],
    "an effect is damaged": [("UPDATE effects SET body = x'00' WHERE no = 1",)],
    "an effect is under another name": [("UPDATE effects SET address = 'x' WHERE no = 1",)],
    "a status is another": [("UPDATE runs SET status = 'waiting' WHERE id = 'ended'",)],
    "a run stands elsewhere": [("UPDATE runs SET branch = 0, n = 7, tenant = 'other'",)],
    "a run is due at another time": [("UPDATE runs SET due_at = 5 WHERE id = 'waits'",)],
}


@pytest.mark.parametrize("what", DAMAGE)
async def test_what_follows_from_the_log_is_made_anew(path: Path, what: str) -> None:
    whole = await beside(path)
    change(path, *DAMAGE[what])
    found = await at(path).maintain("check")
    assert found["problems"]
    assert {one["run"] for one in found["differing"]} <= {"ended", "waits"}
    done = await at(path).maintain("check", repair=True)
    assert done["problems"] == []
    assert done["repaired"]
    assert await beside(path) == whole
    assert (await at(path).maintain("check", repair=True))["repaired"] == []
    async with Runtime(f"sqlite:///{path}", [pipeline()]) as runtime:
        (question,) = await runtime.questions()
        await runtime.answer(question.id, 3)
        assert (await runtime.wait("waits")).output == 123


async def test_a_finding_names_run_table_row_and_what_differs(path: Path) -> None:
    change(path, ("DELETE FROM effects WHERE run = 'ended' AND address = 'second#1'",))
    found = await at(path).maintain("check")
    (one,) = found["differing"]
    assert (one["run"], one["table"]) == ("ended", "effects")
    assert one["row"] == "'pay' of second#1, branch 0"
    assert one["said"] == found["problems"][0]
    assert "is missing" in one["said"]


def foreign(line: Effect, **fields: Any) -> tuple[str, *tuple[Any, ...]]:
    made = msgspec.structs.replace(line, **fields)
    columns = (made.tree, made.address, made.run, made.branch, made.name, made.key)
    sql = "INSERT INTO effects (tree, address, run, branch, name, key, digest, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    return (sql, *columns, *sealed(made))


async def test_a_line_that_no_log_bears_is_kept_and_counts_as_of_a_branch_that_was_left(path: Path) -> None:
    connection = apsw.Connection(str(path))
    body = connection.execute("SELECT body FROM effects WHERE run = 'waits' LIMIT 1").fetchall()[0][0]
    connection.close()
    assert isinstance(body, bytes)
    change(path, foreign(EFFECT.decode(body), address="sure#1", key="later", branch=1))
    (one,) = (await at(path).maintain("check"))["differing"]
    assert "is not in the log" in one["said"]
    done = await at(path).maintain("check", repair=True)
    assert "count as those of a branch that was left" in done["repaired"][0]
    assert done["problems"] == []
    store = at(path)
    await store.open()
    assert "later" in {line.key for line in await store.find(Effects(run="waits"))}
    assert {record.id: record.head.branch for record in await store.find(Runs())} == {"ended": 0, "waits": 2}
    await store.close()


async def test_a_question_that_no_log_bears_is_taken_away_and_kept(path: Path) -> None:
    store = at(path)
    await store.open()
    question = (await store.find(Questions(statuses=None)))[0]
    await store.close()
    made = msgspec.structs.replace(question, id="nobody-asked")
    sql = "INSERT INTO questions (run_no, id, status, digest, body) VALUES (1, 'nobody-asked', ?, ?, ?)"
    change(path, (sql, made.status, *sealed(made)))
    done = await at(path).maintain("check", repair=True)
    assert "nobody-asked is not in the log: taken away" in done["repaired"][0]
    assert done["problems"] == []
    connection = apsw.Connection(str(path))
    assert connection.execute("SELECT kind, body FROM lost_and_found").fetchall() == [("question", sealed(made)[1])]
    connection.close()


async def test_what_was_done_behind_a_cut_is_not_done_again(path: Path) -> None:
    """The run loses the end of its log; its second effect is known to the ledger alone, and is adopted."""
    async with Runtime(f"sqlite:///{path}", [pipeline()]) as runtime:
        store = runtime.store
        rows = await store.find(Rows(run="ended"))
    intent = next(row for row in rows if b'"intent"' in row.body and b"second#1" in row.body)
    change(path, ("UPDATE log SET body = x'00' WHERE id = (1 << 32) + ?", intent.last))
    paid.clear()
    done = await at(path).maintain("check", repair=True)
    assert any("cut its log" in said for said in done["repaired"])
    assert all("is quarantined" in problem for problem in done["problems"])
    again = await at(path).maintain("check", repair=True)
    assert again["problems"] == []
    async with Runtime(f"sqlite:///{path}", [pipeline()]) as runtime:
        await runtime.resume("ended")
        await runtime.wait("ended")
        await answered(runtime, "ended", 3)
        assert (await runtime.wait("ended")).output == 123
    assert paid == []


async def test_a_damaged_snapshot_is_made_anew_from_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("windlass.engine.journal.MOST_ROWS", 3)
    path = tmp_path / "runs.db"
    async with Runtime(f"sqlite:///{path}", [pipeline()]) as runtime:
        await runtime.run(pipeline(), 1, id="ended")
        await answered(runtime, "ended", 2)
        await answered(runtime, "ended", 3)
        state = await runtime.state("ended")
    change(path, ("UPDATE manifests SET body = x'00'",))
    assert len((await at(path).maintain("check"))["problems"]) > 1
    done = await at(path).maintain("check", repair=True)
    assert done["problems"] == []
    assert all("made the snapshot" in said for said in done["repaired"])
    async with Runtime(f"sqlite:///{path}", [pipeline()]) as runtime:
        assert await runtime.state("ended") == state


async def test_a_branch_without_its_snapshot_is_set_apart(path: Path) -> None:
    change(path, ("DELETE FROM manifests",))
    done = await at(path).maintain("check", repair=True)
    assert any("has no snapshot for branch 1 to begin with" in problem for problem in done["problems"])
    store = at(path)
    await store.open()
    assert {record.id: bool(record.quarantined) for record in await store.find(Runs())} == {
        "ended": False,
        "waits": True,
    }
    await store.close()


async def test_a_repair_that_was_stopped_is_no_reason_to_release(path: Path) -> None:
    change(path, ("UPDATE log SET body = x'00' WHERE id = (1 << 32) + 3",))
    copy = path.with_name("copy.db")
    shutil.copyfile(path, copy)
    await at(copy).maintain("check", repair=True)
    change(copy, ("INSERT INTO meta VALUES ('repair', '1.0')",))  # as one that was killed before it could tell
    done = await at(copy).maintain("check", repair=True)
    assert not any("released" in said for said in done["repaired"])
    assert (await at(copy).maintain("check", repair=True))["problems"] == []
