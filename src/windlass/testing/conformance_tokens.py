"""What is done once: a call whose answer was lost and that is sent again, ids that are unique, events without a gap."""
# ruff: noqa: D102, PLR2004, S101 -- a check's name is its sentence, and to assert is what it is for

import asyncio

import pytest
from msgspec.structs import replace

from windlass.core.changes import CommandTaken, EffectPut, QuestionPut
from windlass.core.errors import RunExists, StaleLease, StoreError
from windlass.core.queries import Commands, Effects, Items, Rows, Runs
from windlass.core.states import COMPLETED
from windlass.stores.base import Store
from windlass.testing.conformance_place import ME, TWO, Place, begun, rows_of
from windlass.testing.specimens import (
    a_command,
    a_question,
    a_record,
    a_row,
    a_write,
    an_effect,
    an_item,
    as_json,
)

MOST_EVENTS = 2**32


class TokenChecks(Place):
    """A row's digest is the token of its commit; ids are the tokens of everything else."""

    async def test_a_commit_whose_answer_was_lost_is_found_by_its_digest(self, store: Store) -> None:
        await begun(store)
        write = a_write(after=1)
        await store.commit(write)
        with pytest.raises(StaleLease):
            await store.commit(write)
        (last,) = await store.find(Rows(run="run-1", newest_first=True, limit=1))
        assert (last.last, last.digest) == (2, write.rows[-1].digest)

    async def test_a_commit_that_was_refused_may_be_sent_again(self, store: Store) -> None:
        await begun(store)
        write = a_write(epoch=2, after=1)
        with pytest.raises(StaleLease):
            await store.commit(write)
        await store.claim("run-1", ME)
        await store.commit(write)
        assert await rows_of(store) == [(1, 1), (2, 2)]

    async def test_another_write_of_the_same_events_is_told_apart(self, store: Store) -> None:
        await begun(store)
        mine = a_write(after=1, rows=[a_row("run-1", 2, body=b'{"mine":1}')])
        theirs = a_write(after=1, rows=[a_row("run-1", 2, body=b'{"theirs":1}')])
        await store.commit(theirs)
        with pytest.raises(StaleLease):
            await store.commit(mine)
        assert (await store.load("run-1")).rows[-1] == theirs.rows[0]

    async def test_a_commit_sent_again_later_does_not_take_the_head_back(self, store: Store) -> None:
        await begun(store)
        late = a_write(after=1)
        await store.commit(late)
        await store.commit(a_write(after=2, status=COMPLETED))
        with pytest.raises(StaleLease):
            await store.commit(late)
        assert (await store.load("run-1")).record.head.status == COMPLETED

    async def test_a_commit_sent_by_two_at_once_is_applied_once(self, store: Store) -> None:
        await begun(store)
        write = a_write(after=1)
        ends = await asyncio.gather(*[store.commit(write) for _ in range(8)], return_exceptions=True)
        assert ends.count(()) == 1
        assert sum(isinstance(end, StaleLease) for end in ends) == 7
        assert await rows_of(store) == [(1, 1), (2, 2)]

    async def test_a_creation_sent_again_changes_nothing(self, store: Store) -> None:
        await begun(store)
        await store.commit(a_write(after=1))
        before = await store.load("run-1")
        with pytest.raises(RunExists):
            await begun(store)
        assert as_json(await store.load("run-1")) == as_json(before)

    async def test_a_creation_refused_leaves_no_lease(self, store: Store) -> None:
        await begun(store)
        with pytest.raises(RunExists):
            await store.create(a_record(), a_write(), TWO)
        assert (await store.load("run-1")).record.owner == ME

    async def test_a_claim_whose_answer_was_lost_is_claimed_again(self, store: Store) -> None:
        await begun(store)
        await store.release("run-1", 1)
        assert [(await store.claim("run-1", ME)).epoch for _ in range(3)] == [2, 3, 4]
        with pytest.raises(StaleLease):
            await store.commit(a_write(epoch=3, after=1))

    async def test_an_answer_sent_again_after_it_was_taken_is_nothing(self, store: Store) -> None:
        await store.create(a_record(), a_write(changes=(QuestionPut(a_question("run-1", "q")),)), ME)
        answer = a_command("run-1", "c", "answer", question="q", value=1)
        assert await store.post(answer)
        taken = (CommandTaken("c"), QuestionPut(a_question("run-1", "q", status="taken")))
        await store.commit(a_write(after=1, changes=taken))
        assert not await store.post(answer)
        assert await store.find(Commands(run="run-1")) == []

    async def test_a_release_sent_again_does_not_free_a_later_claim(self, store: Store) -> None:
        await begun(store)
        await store.release("run-1", 1)
        await store.claim("run-1", TWO)
        await store.release("run-1", 1)
        assert (await store.load("run-1")).record.owner == TWO

    async def test_a_retirement_sent_again_does_nothing(self, store: Store) -> None:
        await begun(store)
        await store.retire(ME)
        await store.claim("run-1", TWO)
        await store.retire(ME)
        assert (await store.load("run-1")).record.owner == TWO

    async def test_items_sent_again_among_others_stand_once(self, store: Store) -> None:
        await begun(store)
        await store.append_items("run-1", 1, [an_item("run-1", n) for n in (1, 2)])
        await store.append_items("run-1", 1, [an_item("run-1", n) for n in (2, 3, 3)])
        assert [item.arrival for item in await store.find(Items(run="run-1"))] == [1, 2, 3]

    async def test_a_commands_id_is_unique_across_runs(self, store: Store) -> None:
        await begun(store)
        await begun(store, "run-2")
        assert await store.post(a_command("run-1", "c"))
        assert not await store.post(a_command("run-2", "c"))
        assert await store.find(Commands(run="run-2")) == []

    async def test_a_run_takes_only_its_own_commands(self, store: Store) -> None:
        await begun(store)
        await begun(store, "run-2")
        await store.post(a_command("run-1", "c"))
        await store.commit(a_write("run-2", after=1, changes=(CommandTaken("c"),)))
        assert [command.id for command in await store.find(Commands(run="run-1"))] == ["c"]

    async def test_a_runs_id_is_unique_across_tenants(self, store: Store) -> None:
        await begun(store, tenant="a")
        with pytest.raises(RunExists):
            await begun(store, tenant="b")
        assert [record.tenant for record in await store.find(Runs())] == ["a"]

    async def test_ids_may_be_short_or_long(self, store: Store) -> None:
        ids = ["", "0", "x" * 10_000]
        for run in ids:
            await begun(store, run)
        assert [record.id for record in await store.find(Runs(ids=tuple(ids)))] == ids[::-1]

    async def test_an_effect_is_unique_by_six_things(self, store: Store) -> None:
        await begun(store)
        first = an_effect("run-1", "k")
        others = ({"tree": "t"}, {"run": "run-2"}, {"branch": 1}, {"address": "a"}, {"name": "n"}, {"key": "other"})
        lines = [first, *(replace(first, **other) for other in others)]
        for _ in range(2):
            seq = (await store.load("run-1")).record.head.seq
            await store.commit(a_write(after=seq, changes=tuple(map(EffectPut, lines))))
        assert await store.find(Effects(tree="run-1")) == [lines[0], *lines[2:]]
        assert await store.find(Effects(tree="t")) == [lines[1]]

    async def test_an_item_is_unique_by_five_things(self, store: Store) -> None:
        await begun(store)
        first = an_item("run-1", 1)
        others = ({"arrival": 2}, {"lane": "stream"}, {"address": "a"}, {"attempt": 2}, {"ordinal": 2})
        items = [first, *(replace(first, **other) for other in others)]
        await store.append_items("run-1", 1, items)
        await store.append_items("run-1", 1, items)
        assert len(await store.find(Items(run="run-1"))) == 6

    async def test_eight_writers_of_rows_of_any_size_leave_no_gap(self, store: Store) -> None:
        await begun(store)

        async def work(size: int) -> int:
            done = 0
            for _ in range(1_000):
                head = (await store.load("run-1")).record.head.seq
                try:
                    await store.commit(a_write(after=head, rows=[a_row("run-1", head + 1, size)]))
                except StaleLease:
                    await asyncio.sleep(0)
                else:
                    done += 1
                if done == 8:
                    break
            return done * size

        written = sum(await asyncio.gather(*[work(size) for size in range(1, 9)]))
        rows = await store.find(Rows(run="run-1"))
        assert [row.first for row in rows] == [1, *(row.last + 1 for row in rows[:-1])]
        assert rows[-1].last == written + 1

    async def test_an_event_number_that_does_not_fit_hurts_nobody(self, store: Store) -> None:
        for run in ("run-1", "run-2", "run-3"):
            await begun(store, run)
        huge = a_write("run-2", after=1, rows=[a_row("run-2", 2, MOST_EVENTS)])
        try:
            await store.commit(huge)
        except StoreError:
            assert await rows_of(store, "run-2") == [(1, 1)]
        else:
            assert await rows_of(store, "run-2") == [(1, 1), (2, MOST_EVENTS + 1)]
        for run in ("run-1", "run-3"):
            assert await rows_of(store, run) == [(1, 1)]
            await store.commit(a_write(run, after=1))
