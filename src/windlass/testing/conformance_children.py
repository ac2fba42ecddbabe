"""How a store keeps trees of runs: a write that makes another run, one that posts to another run, and looking below."""
# ruff: noqa: D102, PLR2004, S101 -- a check's name is its sentence, and to assert is what it is for

from typing import Any

import pytest

from windlass.core.changes import Adjust, CommandPut, CommandTaken, RunPut
from windlass.core.errors import StaleLease, StoreError
from windlass.core.origin import Drawn, Origin, child_id
from windlass.core.queries import Commands, Rows, Runs
from windlass.core.records import RunRecord
from windlass.core.states import CANCELLED, COMPLETED, FAILED, PAUSED, WAITING, Status
from windlass.core.tallies import BudgetOp
from windlass.stores.base import Store
from windlass.testing.conformance_place import ME, Place, begun, rows_of
from windlass.testing.specimens import NOON, a_command, a_record, a_row, a_write, as_json

LATER = NOON + 100


def a_child(of: str, name: str, line: tuple[str, ...] = (), **fields: Any) -> RunRecord:
    """Describe a child run; its id begins as those of its tree do."""
    above = (*line, of)
    origin = Origin(
        run=of, branch=0, address="a#1", key=name, line=above, names=("review",) * len(above), path=f"a#1/{name}",
        base=above[0], budgets=(Drawn(of, {"steps": 7}),), grants=(("task a", (("allow", "tool", "x", None),), ()),),
        **fields,
    )  # fmt: skip
    return a_record(child_id(above[0], name), origin=origin)


def birth(record: RunRecord, **fields: Any) -> RunPut:
    """Make a run within a write of another."""
    return RunPut(record, a_write(record.id, **fields), None)


class ChildChecks(Place):
    """Trees of runs."""

    async def test_a_write_makes_another_run(self, store: Store) -> None:
        await begun(store)
        child = a_child("run-1", "x")
        await store.commit(a_write(after=1, changes=(birth(child),)))
        loaded = await store.load(child.id)
        assert as_json(loaded.record.origin) == as_json(child.origin)
        assert (loaded.record.epoch, loaded.record.owner) == (0, None)
        assert len(loaded.rows) == 1
        assert [one.id for one in await store.find(Runs(claimable=True, due_before=NOON))] == [child.id]

    async def test_a_run_that_a_write_makes_may_be_owned_from_the_start(self, store: Store) -> None:
        await begun(store)
        child = a_child("run-1", "x")
        await store.commit(a_write(after=1, changes=(RunPut(child, a_write(child.id), ME),)))
        record = (await store.load(child.id)).record
        assert (record.epoch, record.owner) == (1, ME)
        await store.commit(a_write(child.id, after=1))
        assert len(await rows_of(store, child.id)) == 2

    async def test_a_run_that_exists_is_the_same(self, store: Store) -> None:
        await begun(store)
        child = a_child("run-1", "x")
        await store.commit(a_write(after=1, changes=(birth(child),)))
        await store.claim(child.id, ME)
        await store.commit(a_write(child.id, after=1))
        await store.commit(a_write(after=2, changes=(birth(child),)))
        assert len(await rows_of(store, child.id)) == 2
        assert (await store.load(child.id)).record.epoch == 1

    async def test_a_write_that_is_refused_makes_nothing(self, store: Store) -> None:
        await begun(store)
        child = a_child("run-1", "x")
        with pytest.raises(StaleLease):
            await store.commit(a_write(after=7, changes=(birth(child), CommandPut(a_command("run-1", "c")))))
        assert await store.find(Runs(ids=(child.id,))) == []
        assert await store.find(Commands(run="run-1")) == []

    async def test_a_run_begins_with_its_own_first_row(self, store: Store) -> None:
        await begun(store)
        child = a_child("run-1", "x")
        op = Adjust("budget|run|run-1", BudgetOp(run="run-1", epoch=1, at=NOON, spent={"steps": 1}))
        gap = a_write(child.id, rows=[a_row(child.id, 3)], after=2)
        for first in (a_write("run-2"), gap, a_write(child.id, changes=(op,))):
            with pytest.raises(StoreError):
                await store.commit(a_write(after=1, changes=(RunPut(child, first, None),)))
        assert await store.find(Runs(ids=(child.id,))) == []

    async def test_a_write_posts_to_another_run_once(self, store: Store) -> None:
        await begun(store)
        await begun(store, "run-2")
        told = a_command("run-2", "c-1", verb="child")
        await store.commit(a_write(after=1, changes=(CommandPut(told),)))
        assert [as_json(one) for one in await store.find(Commands(run="run-2"))] == [as_json(told)]
        await store.commit(a_write("run-2", after=1, changes=(CommandTaken("c-1"),)))
        await store.commit(a_write(after=2, changes=(CommandPut(told),)))
        assert await store.find(Commands(run="run-2")) == []

    async def test_a_run_that_waits_may_be_claimed_once_it_was_posted_to(self, store: Store) -> None:
        await begun(store)
        await begun(store, "run-2")
        await store.commit(a_write("run-2", after=1, status=WAITING, release=True))
        assert await store.find(Runs(claimable=True, ids=("run-2",))) == []
        await store.commit(a_write(after=1, changes=(CommandPut(a_command("run-2", "c", verb="child")),)))
        assert [one.id for one in await store.find(Runs(claimable=True, ids=("run-2",)))] == ["run-2"]

    @pytest.mark.parametrize(
        ("status", "verb", "is_kept"),
        [
            (COMPLETED, "child", False), (CANCELLED, "child", False), (FAILED, "child", True),
            (FAILED, "cancel", False), (COMPLETED, "cancel", False), (PAUSED, "cancel", True), (PAUSED, "child", True),
        ],
    )  # fmt: skip
    async def test_what_nobody_would_take_falls_away(
        self, store: Store, status: Status, verb: str, *, is_kept: bool
    ) -> None:
        await begun(store)
        await begun(store, "run-2")
        await store.commit(a_write("run-2", after=1, status=status, release=True))
        for place, run in enumerate(("run-2", "nobody")):
            put = CommandPut(a_command(run, f"c-{place}", verb=verb))
            await store.commit(a_write(after=1 + place, changes=(put,)))
        assert len(await store.find(Commands(run="run-2"))) == is_kept

    async def test_children_and_all_below_are_found(self, store: Store) -> None:
        await begun(store)
        one, two = a_child("run-1", "one"), a_child("run-1", "two", detached=True)
        below = a_child(one.id, "below", ("run-1",))
        for place, record in enumerate((one, two, below)):
            await store.commit(a_write(after=1 + place, changes=(birth(record),)))
        await begun(store, "run-1.other")
        asked = (
            Runs(parent="run-1"), Runs(under="run-1"), Runs(under=one.id), Runs(parent=one.id),
            Runs(parent=two.id), Runs(under="run-1", limit=1), Runs(under="run-1", after=below.id),
            Runs(parent="run-1", ids=(one.id, below.id)), Runs(under="run-1", parent=one.id),
            Runs(under="run-1", claimable=True, due_before=NOON, limit=2), Runs(parent="nobody"),
            Runs(under="run-1", statuses=(COMPLETED,)), Runs(parent="run-1", tenant="default"),
        )  # fmt: skip
        found = [[record.id for record in await store.find(query)] for query in asked]
        expected = [
            [two.id, one.id], [below.id, two.id, one.id], [below.id], [below.id], [], [below.id], [two.id, one.id],
            [one.id], [below.id], [below.id, two.id], [], [], [two.id, one.id],
        ]  # fmt: skip
        assert found == expected

    async def test_a_limit_is_of_what_is_found_below_and_not_of_what_is_looked_at(self, store: Store) -> None:
        await begun(store)
        one, two = a_child("run-1", "one"), a_child("run-1", "two")
        for place, record in enumerate((one, two)):
            await store.commit(a_write(after=1 + place, changes=(birth(record),)))
        await store.claim(two.id, ME)  # the newer one has no work for others
        work = Runs(parent="run-1", claimable=True, due_before=NOON, limit=1)
        assert [record.id for record in await store.find(work)] == [one.id]

    async def test_what_its_kin_posted_to_a_run_that_ended_keeps_nobody(self, store: Store) -> None:
        await begun(store)
        await begun(store, "run-2")
        puts = (CommandPut(a_command("run-2", "a", "child")), CommandPut(a_command("run-2", "b", cascade=True)))
        await store.commit(a_write(after=1, changes=puts))
        await store.commit(a_write("run-2", after=1, status=COMPLETED, release=True))
        assert len(await store.find(Commands(run="run-2"))) == 2
        assert (await store.maintain("prune", before=LATER))["runs"] == 1

    async def test_a_child_goes_with_its_parent_and_not_before(self, store: Store) -> None:
        await begun(store)
        child, apart = a_child("run-1", "x"), a_child("run-1", "y", detached=True)
        below = a_child(child.id, "below", ("run-1",))
        puts = tuple(birth(one, status=COMPLETED) for one in (child, apart, below))
        await store.commit(a_write(after=1, status=WAITING, changes=puts, release=True))
        told = await store.maintain("prune", before=LATER)
        assert (told["runs"], told["kept"]) == (1, {"child": 2})
        await store.claim("run-1", ME)
        await store.commit(a_write(after=2, epoch=2, status=COMPLETED, release=True))
        assert (await store.maintain("prune", before=LATER, dry_run=True))["runs"] == 3
        assert (await store.maintain("prune", before=LATER))["runs"] == 3
        assert await store.find(Runs()) == []
        assert await store.find(Rows(run=below.id)) == []
