"""How a store keeps the turns of threads: one run in each place, none begins early, and none goes on too late."""
# ruff: noqa: D102, PLR2004, S101 -- a check's name is its sentence, and to assert is what it is for

from typing import Any

import pytest
from msgspec.structs import replace

from windlass.core.changes import CommandPut, RunPut, TurnBegun, Write
from windlass.core.errors import RunExists
from windlass.core.queries import Commands, Query, Runs, Threads, Turns, Work
from windlass.core.records import RunRecord
from windlass.core.states import CANCELLED, COMPLETED, CREATED, FAILED, PAUSED, RUNNING, WAITING, Status
from windlass.core.thread import place_of
from windlass.core.thread_errors import OutOfTurn, TurnOver
from windlass.stores.base import LEASE_SECONDS, Store
from windlass.testing.conformance_place import ME, NO_TEXT, TWO, WORDS, Place
from windlass.testing.specimens import NOON, HandClock, a_command, a_record, a_row, a_write

REVIEW = a_record().definition
TENANT = a_record().tenant
THREAD: dict[str, Any] = {"tenant": TENANT, "definition": REVIEW, "thread": "chat"}


def a_turn(turn: int, part: int = 0, thread: str = "chat", **fields: Any) -> RunRecord:
    """Describe a turn, by its number."""
    name = f"{thread}-{turn}" + (f"-{part}" if part else "")
    return a_record(fields.pop("id", name), **{"thread": thread, "turn": turn, "part": part, **fields})


def unbegun(run: str, **fields: Any) -> Write:
    """Make the first write of a turn: it stands at no checkpoint."""
    write = a_write(run, epoch=0, status=CREATED, **fields)
    return replace(write, head=replace(write.head, n=0))


async def queue(store: Store, *turns: int, **fields: Any) -> None:
    """Make turns that have not begun."""
    for turn in turns:
        record = a_turn(turn, **fields)
        await store.create(record, unbegun(record.id), None)


async def begin(store: Store, turn: int, after: str = "", part: int = 0, read: int = 0, **fields: Any) -> None:
    """Let a turn begin; it stays owned."""
    run = a_turn(turn, part).id
    record = await store.claim(run, ME)
    await store.commit(
        a_write(run, epoch=record.epoch, after=record.head.seq, changes=(TurnBegun(after, read),), **fields)
    )  # fmt: skip


async def end(store: Store, turn: int, status: Status = COMPLETED, part: int = 0) -> None:
    """Let a turn end."""
    run = a_turn(turn, part).id
    (record,) = await store.find(Runs(ids=(run,)))
    await store.commit(a_write(run, epoch=record.epoch, after=record.head.seq, status=status, release=True))


async def ids(store: Store, query: Query[RunRecord]) -> list[str]:
    """List runs by their ids."""
    return [record.id for record in await store.find(query)]


async def work(store: Store) -> list[str]:
    """List what has work, asked in both ways."""
    listed = await ids(store, Work(definitions=(REVIEW,), due_before=NOON))
    assert set(listed) == set(await ids(store, Runs(claimable=True, definitions=(REVIEW,), due_before=NOON)))
    return sorted(listed)


class ThreadChecks(Place):
    """Turns of threads."""

    async def test_a_place_is_given_once(self, store: Store) -> None:
        await queue(store, 1)
        with pytest.raises(OutOfTurn):
            await queue(store, 1, id="another")
        assert await ids(store, Runs()) == ["chat-1"]
        with pytest.raises(RunExists):
            await queue(store, 1)
        await queue(store, 1, id="tenant", tenant="other")
        await queue(store, 1, id="definition", definition="other")
        await queue(store, 1, id="thread", thread="other")
        await queue(store, 1, id="part", part=1)
        await queue(store, 2)

    async def test_a_place_is_given_once_within_a_write_of_another_run(self, store: Store) -> None:
        await queue(store, 1, 2)
        await begin(store, 1)
        other = a_turn(2, id="another")
        born = RunPut(other, unbegun(other.id), None)
        with pytest.raises(OutOfTurn):
            await store.commit(a_write("chat-1", epoch=1, after=2, changes=(born,)))
        part = a_turn(1, 1)
        born = RunPut(part, unbegun(part.id), None)
        await store.commit(a_write("chat-1", epoch=1, after=2, changes=(born,)))
        assert await ids(store, Turns(**THREAD)) == ["chat-2", "chat-1-1", "chat-1"]

    async def test_many_runs_may_have_a_label_and_no_place(self, store: Store) -> None:
        for run in ("a", "b"):
            record = a_record(run, thread="chat")
            await store.create(record, a_write(run, epoch=0, status=CREATED), None)
        assert await ids(store, Turns(**THREAD)) == await ids(store, Runs(thread="chat")) == []
        assert await work(store) == ["a", "b"]

    async def test_turns_are_listed_the_last_first(self, store: Store) -> None:
        await queue(store, 1, 2, 3)
        await queue(store, 2, part=1)
        await queue(store, 1, thread="other")
        everything = ["chat-3", "chat-2-1", "chat-2", "chat-1"]
        assert await ids(store, Turns(**THREAD)) == everything
        assert await ids(store, Turns(**THREAD, limit=2)) == everything[:2]
        assert await ids(store, Turns(**THREAD, limit=-1)) == []
        second = place_of(a_turn(2))
        assert await ids(store, Turns(**THREAD, below=second)) == ["chat-1"]
        assert await ids(store, Turns(**THREAD, above=second)) == ["chat-3", "chat-2-1"]
        assert (
            await ids(store, Turns(**THREAD, above=place_of(a_turn(1)), below=place_of(a_turn(3)))) == everything[1:3]
        )

    @pytest.mark.parametrize("status", Status)
    async def test_live_is_what_has_not_ended(self, store: Store, status: Status) -> None:
        await queue(store, 1, 2)
        await begin(store, 1)
        await end(store, 1, status)
        is_over = status in (COMPLETED, FAILED, CANCELLED)
        assert await ids(store, Turns(**THREAD, live=True)) == [*([] if is_over else ["chat-1"]), "chat-2"]
        assert ("chat-2" in await work(store)) == is_over

    async def test_a_turn_has_work_once_those_before_it_are_over(self, store: Store) -> None:
        await queue(store, 1, 2, 3)
        assert await work(store) == ["chat-1"]
        await begin(store, 1)
        assert await work(store) == []
        await end(store, 1, WAITING)
        assert await work(store) == []
        await begin_again(store, 1, COMPLETED)
        assert await work(store) == ["chat-2"]
        await begin(store, 2, "chat-1")
        await end(store, 2, FAILED)
        assert await work(store) == ["chat-3"]

    async def test_a_turn_whose_owner_is_gone_has_work_in_its_time(self, store: Store, clock: HandClock) -> None:
        await queue(store, 1, 2)
        await store.claim("chat-2", TWO)
        clock.time += LEASE_SECONDS
        assert await work(store) == ["chat-1"]
        await begin(store, 1)
        await end(store, 1)
        assert await work(store) == ["chat-2"]

    async def test_a_turn_that_was_asked_for_something_has_work_at_once(self, store: Store) -> None:
        await queue(store, 1, 2, 3)
        await store.post(a_command("chat-3", "c", verb="cancel"))
        assert await work(store) == ["chat-1", "chat-3"]

    async def test_no_turn_begins_before_its_time(self, store: Store) -> None:
        await queue(store, 1, 2, 3)
        with pytest.raises(OutOfTurn):
            await begin(store, 2)
        (record,) = await store.find(Runs(ids=("chat-2",)))
        assert (record.head.n, record.head.seq, record.head.status) == (0, 1, CREATED)
        await begin(store, 1)
        with pytest.raises(OutOfTurn):
            await begin(store, 2, "chat-1")
        await end(store, 1, PAUSED)
        with pytest.raises(OutOfTurn):
            await begin(store, 2, "chat-1")
        await begin_again(store, 1, COMPLETED)
        with pytest.raises(OutOfTurn):
            await begin(store, 3, "chat-1")
        await begin(store, 2, "chat-1")

    @pytest.mark.parametrize(("verb", "waits"), [("resume", True), ("rollback", True), ("child", False)])
    async def test_a_turn_waits_for_one_that_was_asked_to_go_on(self, store: Store, verb: str, *, waits: bool) -> None:
        await queue(store, 1, 2, 3)
        await begin(store, 1)
        await end(store, 1, FAILED)
        await store.post(a_command("chat-1", "c", verb=verb))
        if waits:
            with pytest.raises(OutOfTurn):
                await begin(store, 2, "chat-1")
        else:
            await begin(store, 2, "chat-1")

    async def test_a_turn_begins_with_what_still_stands(self, store: Store) -> None:
        await queue(store, 1, 2)
        await begin(store, 1)
        await end(store, 1, FAILED)
        (read,) = await store.find(Runs(ids=("chat-1",)))
        await begin_again(store, 1, COMPLETED)  # it was resumed, and has ended again
        with pytest.raises(OutOfTurn):
            await begin(store, 2, "chat-1", read=read.head.seq)
        (read,) = await store.find(Runs(ids=("chat-1",)))
        await begin(store, 2, "chat-1", read=read.head.seq)

    async def test_a_turn_begins_with_the_last_that_has_begun(self, store: Store) -> None:
        await queue(store, 1, 2, 3)
        await begin(store, 1)
        await end(store, 1)
        await begin(store, 2, "chat-1")
        await end(store, 2)
        for before in ("chat-1", "", "nobody"):
            with pytest.raises(OutOfTurn):
                await begin(store, 3, before)
        await begin(store, 3, "chat-2")

    async def test_a_turn_does_not_go_on_once_the_next_has_begun(self, store: Store) -> None:
        await queue(store, 1, 2)
        await begin(store, 1)
        await end(store, 1, FAILED)
        await begin(store, 2, "chat-1")
        for verb in ("resume", "rollback"):
            with pytest.raises(TurnOver, match="chat-2"):
                await store.post(a_command("chat-1", verb, verb=verb))
        assert await store.find(Commands(run="chat-1")) == []
        await store.post(a_command("chat-1", "edit", verb="edit"))
        await end(store, 2)
        await store.post(a_command("chat-2", "rollback", verb="rollback"))

    async def test_a_run_that_continued_does_not_go_on(self, store: Store) -> None:
        await store.create(a_record("plain"), a_write("plain"), ME)
        fresh = a_turn(1, 1, "plain", continues="plain")
        born = RunPut(fresh, unbegun(fresh.id), None)
        await store.commit(a_write("plain", after=1, status=COMPLETED, changes=(born,), release=True))
        await queue(store, 1, thread="stranger", id="stranger-of-that-name")
        with pytest.raises(TurnOver, match="plain-1-1"):
            await store.post(a_command("plain", "c", verb="rollback"))

    async def test_the_first_write_may_ask_turns_before_it_for_something(self, store: Store) -> None:
        await queue(store, 1)
        record = a_turn(2)
        asked = CommandPut(a_command("chat-1", "c", verb="cancel"))
        await store.create(record, unbegun(record.id, changes=(asked,)), None)
        assert [command.id for command in await store.find(Commands(run="chat-1"))] == ["c"]
        assert await work(store) == ["chat-1"]

    async def test_threads_are_listed_by_their_last_turns(self, store: Store) -> None:
        await queue(store, 1, thread="a")
        await queue(store, 1, thread="b")
        await queue(store, 2, 3, thread="a")
        await queue(store, 1, thread="c", tenant="other")
        await queue(store, 1, thread="d", definition="other")
        assert await ids(store, Threads()) == ["d-1", "c-1", "a-3", "b-1"]
        assert await ids(store, Threads(limit=1)) == ["d-1"]
        assert await ids(store, Threads(after="c-1", limit=1)) == ["a-3"]
        assert await ids(store, Threads(tenant="other")) == ["c-1"]
        assert await ids(store, Threads(definitions=("other", "nothing"))) == ["d-1"]

    async def test_runs_are_found_by_their_thread(self, store: Store) -> None:
        await queue(store, 1, 2)
        await queue(store, 1, id="other", tenant="other")
        await queue(store, 1, thread="b")
        assert await ids(store, Runs(thread="chat")) == ["other", "chat-2", "chat-1"]
        assert await ids(store, Runs(thread="chat", tenant="other")) == ["other"]
        assert await ids(store, Runs(thread="chat", limit=1)) == ["other"]
        assert await ids(store, Runs(thread="chat", ids=("chat-1", "b-1"))) == ["chat-1"]
        assert await ids(store, Runs(thread="chat", claimable=True)) == ["other", "chat-1"]
        assert await ids(store, Runs(thread="nothing")) == []

    async def test_a_thread_that_is_asked_for_is_data(self, store: Store) -> None:
        await queue(store, 1)
        for word in (*WORDS, NO_TEXT):
            assert await ids(store, Runs(thread=word)) == []
            assert await ids(store, Turns(tenant=TENANT, definition=REVIEW, thread=word)) == []

    async def test_of_a_thread_the_last_turn_is_pruned_last(self, store: Store) -> None:
        await queue(store, 1, 2, 3)
        for turn, after in ((1, ""), (2, "chat-1")):
            await begin(store, turn, after)
            await end(store, turn, FAILED if turn == 1 else COMPLETED)
        done = await store.maintain("prune", before=NOON * 2)
        assert (done["runs"], done["kept"]) == (0, {"turn": 1})  # the third will begin with its state
        await begin(store, 3, "chat-2")
        assert (await store.maintain("prune", before=NOON * 2))["runs"] == 1
        await end(store, 3)
        assert (await store.maintain("prune", before=NOON * 2))["kept"] == {"turn": 1}  # the first is there
        assert (await store.maintain("prune", before=NOON * 2, status=("completed", "failed")))["runs"] == 2
        assert await ids(store, Runs()) == []

    async def test_a_turn_that_ended_before_it_began_does_not_stand_for_the_state(self, store: Store) -> None:
        await queue(store, 1, 2)
        await begin(store, 1)
        await end(store, 1)
        await store.claim(a_turn(2).id, ME)
        failed = a_write(a_turn(2).id, epoch=1, after=1, status=FAILED, release=True)
        await store.commit(replace(failed, head=replace(failed.head, n=0)))
        assert (await store.maintain("prune", before=NOON * 2))["kept"] == {"turn": 1}  # a third begins with its state
        assert (await store.maintain("prune", before=NOON * 2, status=("completed", "failed")))["runs"] == 2

    async def test_the_input_of_a_turn_that_has_not_begun_is_no_history(self, store: Store) -> None:
        record = a_turn(2)
        rows = [a_row(record.id, seq, kind="record") for seq in (1, 2, 3)]
        await queue(store, 1)
        await store.create(record, unbegun(record.id, rows=rows), None)
        await store.maintain("prune", before=NOON * 2, keep="heads")
        assert len((await store.load(record.id)).rows) == 3


async def begin_again(store: Store, turn: int, status: Status) -> None:
    """Claim a turn once more, and let it stand elsewhere."""
    record = await store.claim(a_turn(turn).id, ME)
    await store.commit(a_write(record.id, epoch=record.epoch, after=record.head.seq, status=RUNNING))
    await end(store, turn, status)
