"""The turns of threads in a SQLite file: checked, repaired, and not in the way of the search for work."""

from pathlib import Path

from tests.talk import talk
from windlass import Runtime
from windlass.core.queries import Runs, Turns, Work
from windlass.core.states import CREATED
from windlass.stores.base import open_store
from windlass.stores.queries import queries
from windlass.stores.sqlite import SQLiteStore
from windlass.stores.sqlite_derived import lost_runs
from windlass.stores.sqlite_file import connect
from windlass.testing.specimens import NOON, a_record, a_write


async def fill(url: str) -> None:
    """A turn that has ended, one that asks, and others behind it: queued, paused and cancelled."""
    async with Runtime(url) as runtime:
        for run, message in (("one", "a"), ("two", "?"), ("three", "b"), ("four", "c"), ("five", "d")):
            await runtime.run(talk, {"messages": [message]}, run, thread="t")
        await runtime.pause("four")
        await runtime.cancel("five")


async def go_on(url: str) -> None:
    async with Runtime(url, [talk]) as runtime:
        assert [(one.id, one.turn) for one in await runtime.thread("t")] == [
            ("one", 1), ("two", 2), ("three", 3), ("four", 4), ("five", 5),
        ]  # fmt: skip
        (asked,) = await runtime.questions()
        await runtime.answer(asked.id, "well")
        await runtime.resume("four")
        while (await runtime.wait("four")).status != "completed":
            await runtime.resume("three")
        assert (await runtime.state("four"))["messages"] == ["a", "yes", "?", "yes", "b", "yes", "c", "yes"]


async def chore(url: str, name: str, **options: object) -> dict[str, object]:
    store = open_store(url)
    return await store.maintain(name, **options)


async def test_turns_in_every_state_are_whole(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/w.db"
    await fill(url)
    assert (await chore(url, "check"))["problems"] == []
    await go_on(url)
    assert (await chore(url, "check"))["problems"] == []


async def test_a_line_that_is_lost_is_made_anew_in_its_place(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/w.db"
    await fill(url)
    link = connect(f"{tmp_path}/w.db")
    link.execute("PRAGMA foreign_keys = OFF")
    link.execute("DELETE FROM runs WHERE id = 'three'")
    link.execute("UPDATE runs SET place = 7, thread = 'u' WHERE id = 'four'")
    assert len(list(lost_runs(link))) == 1
    link.close()
    assert (await chore(url, "check"))["problems"] == [
        "run four: runs: four its line does not name it as its record does"
    ]
    await chore(url, "check", repair=True)
    assert (await chore(url, "check"))["problems"] == []
    await go_on(url)


async def test_ten_thousand_queued_turns_do_not_stand_in_front_of_others(tmp_path: Path) -> None:
    store = SQLiteStore(f"sqlite:///{tmp_path}/runs.db")
    await store.open()
    link = store._main()
    link.execute("BEGIN")
    for i in range(2_000):
        for place, status in ((1, "waiting"), (2, CREATED), (3, CREATED)):
            run, thread = f"p-{i}-{place}", f"t-{i}"
            line = (run, "t", "d", None, thread, place << 20, status, 1, None, 0, 0, 0, None, 0, NOON, NOON)
            link.execute(queries("sqlite")["add_run"], line)
    link.execute("COMMIT")
    await store.create(a_record("work"), a_write("work", epoch=0, status=CREATED), None)
    work = Work(definitions=("d", a_record().definition), due_before=NOON, limit=5)
    assert [record.id for record in await store.find(work)] == ["work"]
    claimable = Runs(claimable=True, definitions=("d", a_record().definition))
    assert [record.id for record in await store.find(claimable)] == ["work"]
    for name in ("list_turns", "list_live_turns", "list_threads"):
        asked = dict.fromkeys(("thread", "tenant", "definition", "below", "above", "limit", "after", "definitions"))
        plan = [step[3] for step in link.execute(f"EXPLAIN QUERY PLAN {queries('sqlite')[name]}", asked).fetchall()]
        assert not any(step == "SCAN runs" for step in plan), plan
        assert not any("TEMP B-TREE" in step for step in plan), plan
    turns = Turns(tenant="t", definition="d", thread="t-7")
    assert await store.find(turns) == []  # they have no records: what is asked for goes through the index alone
    await store.close()
