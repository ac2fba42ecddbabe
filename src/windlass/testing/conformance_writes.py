"""How a store writes: runs, rows, the fence, all or nothing, order, and many writers at once."""
# ruff: noqa: D102, PLR2004, S101 -- a check's name is its sentence, and to assert is what it is for

import asyncio

import pytest
from msgspec import Raw
from msgspec.structs import replace

from windlass.core.changes import BlobPut, ItemsPut, ManifestPut, QuestionPut
from windlass.core.errors import RunExists, StaleLease, StoreError, WindlassError
from windlass.core.queries import Commands, Questions, Rows, Runs
from windlass.core.records import Command, Head, Parent
from windlass.core.states import COMPLETED, CREATED, WAITING
from windlass.stores.base import Store
from windlass.testing.conformance_place import ME, WORDS, Place, begun, rows_of
from windlass.testing.specimens import (
    NOON,
    a_blob,
    a_command,
    a_manifest,
    a_question,
    a_record,
    a_row,
    a_write,
    an_item,
    an_owner,
    as_json,
    contents,
)


class WriteChecks(Place):
    """Create and commit."""

    async def test_a_created_run_loads(self, store: Store) -> None:
        first = a_write("run-1", rows=[a_row("run-1", 1, 3)])
        await store.create(a_record(), first, ME)
        loaded = await store.load("run-1")
        assert loaded.rows == first.rows
        assert loaded.manifest is None
        assert loaded.record.head == first.head

    async def test_every_field_of_a_run_comes_back(self, store: Store) -> None:
        record = a_record(
            tenant="acme", thread="t-1", parent=Parent("run-0", 1, 7, "run-0", "run"), tags={"a": "1", "é\"'": "ü\\"},
            shard=63, trace="00-ab-cd-01", source="work.py:review", input_digest="d" * 64, durability="async",
            before=("a",), after=("a", "b"), sources={"n": "x"},
            structure=Raw(b'{"nodes":{"a":[1,2.5,null]}}'), channels={"b": "last", "a": "append"},
        )  # fmt: skip
        head = Head(WAITING, 2, 3, 1, NOON + 0.25, 2)
        await store.create(record, replace(a_write("run-1"), head=head), ME)
        kept = (await store.load("run-1")).record
        told = {"head": head, "epoch": 1, "owner": ME, "owner_until": kept.owner_until, "updated_at": NOON + 1}
        assert as_json(kept) == as_json(replace(record, **told))
        assert list(kept.channels) == ["b", "a"]
        assert [as_json(found) for found in await store.find(Runs())] == [as_json(kept)]

    async def test_a_run_made_owned_begins_at_epoch_1(self, store: Store) -> None:
        await store.create(a_record(), a_write(), ME)
        record = (await store.load("run-1")).record
        assert (record.epoch, record.owner) == (1, ME)

    async def test_a_run_made_unowned_begins_at_epoch_0(self, store: Store) -> None:
        await store.create(a_record(), a_write(epoch=0, status=CREATED), None)
        record = (await store.load("run-1")).record
        assert (record.epoch, record.owner, record.owner_until) == (0, None, None)

    async def test_an_id_is_taken_once(self, store: Store) -> None:
        await begun(store)
        with pytest.raises(RunExists, match="run-1"):
            await store.create(a_record(definition="other"), a_write(rows=[a_row("run-1", 1, 5)]), an_owner("two"))
        record = (await store.load("run-1")).record
        assert (record.definition, record.head.seq, record.owner) == ("review", 1, ME)

    async def test_eight_creations_of_one_id_make_one_run(self, store: Store) -> None:
        tries = [store.create(a_record(), a_write(), an_owner(str(i))) for i in range(8)]
        ends = await asyncio.gather(*tries, return_exceptions=True)
        assert sum(end == () for end in ends) == 1
        assert sum(isinstance(end, RunExists) for end in ends) == 7

    async def test_the_first_write_carries_changes(self, store: Store) -> None:
        await store.create(a_record(), a_write(changes=(QuestionPut(a_question("run-1", "q")),)), ME)
        assert [question.id for question in await store.find(Questions())] == ["q"]

    async def test_a_run_that_cannot_begin_is_not_made(self, store: Store) -> None:
        for first in (a_write("run-2"), a_write(after=1, rows=[a_row("run-1", 3)])):
            with pytest.raises(StoreError):
                await store.create(a_record(), first, ME)
        assert await store.find(Runs()) == []

    async def test_ids_are_taken_literally(self, store: Store) -> None:
        for run in WORDS:
            await begun(store, run)
            await store.commit(a_write(run, after=1))
        for run in WORDS:
            assert await rows_of(store, run) == [(1, 1), (2, 2)]
            assert [found.id for found in await store.find(Runs(ids=(run,)))] == [run]

    async def test_a_commit_appends_and_moves_the_head(self, store: Store) -> None:
        await begun(store)
        write = a_write(after=1, rows=[a_row("run-1", 2, 4)], status=WAITING, due_at=NOON + 60.5)
        await store.commit(write)
        loaded = await store.load("run-1")
        assert loaded.rows[1:] == write.rows
        assert loaded.record.head == write.head
        assert loaded.record.updated_at == write.rows[-1].at

    async def test_a_commit_may_hold_many_rows(self, store: Store) -> None:
        await begun(store)
        rows = [a_row("run-1", 2), a_row("run-1", 3, 2, kind="writes"), a_row("run-1", 5, kind="record")]
        await store.commit(a_write(after=1, rows=rows))
        assert list((await store.load("run-1")).rows[1:]) == rows

    async def test_a_commit_may_move_the_head_alone(self, store: Store) -> None:
        await begun(store)
        await store.commit(a_write(after=1, rows=(), status=COMPLETED))
        loaded = await store.load("run-1")
        assert (loaded.record.head.status, len(loaded.rows)) == (COMPLETED, 1)

    async def test_bodies_of_any_bytes_and_size_come_back(self, store: Store) -> None:
        await begun(store)
        bodies = [bytes(range(256)), b"\0", "日本\ud7ff".encode(), b"x" * 1_000_000]
        for after, body in enumerate(bodies, 1):
            await store.commit(a_write(after=after, rows=[a_row("run-1", after + 1, body=body)]))
        assert [row.body for row in (await store.load("run-1")).rows[1:]] == bodies

    @pytest.mark.parametrize(("epoch", "after"), [(0, 1), (2, 1), (1, 0), (1, 2), (1, 7)])
    async def test_the_fence_refuses(self, store: Store, epoch: int, after: int) -> None:
        await begun(store)
        with pytest.raises(StaleLease, match="run-1"):
            await store.commit(a_write(epoch=epoch, after=after))
        assert await rows_of(store) == [(1, 1)]

    async def test_a_write_to_no_run_is_stale(self, store: Store) -> None:
        with pytest.raises(StaleLease, match="nowhere"):
            await store.commit(a_write("nowhere"))

    async def test_a_write_is_accepted_once(self, store: Store) -> None:
        await begun(store)
        await store.commit(a_write(after=1))
        with pytest.raises(StaleLease):
            await store.commit(a_write(after=1))
        assert await rows_of(store) == [(1, 1), (2, 2)]

    async def test_a_refused_write_leaves_nothing(self, store: Store) -> None:
        await begun(store)
        blob = a_blob(b"x" * 100)
        changes = (
            QuestionPut(a_question("run-1", "q")), ItemsPut((an_item("run-1", 1),)), BlobPut(blob),
            ManifestPut(a_manifest("run-1", 2)),
        )  # fmt: skip
        with pytest.raises(StaleLease):
            await store.commit(a_write(epoch=2, after=1, changes=changes, release=True))
        assert await store.find(Questions()) == []
        with pytest.raises(StoreError):
            await contents(store, blob)
        loaded = await store.load("run-1")
        assert (loaded.manifest, loaded.record.owner) == (None, ME)

    async def test_a_bad_change_takes_the_whole_write_back(self, store: Store) -> None:
        await begun(store)
        good = QuestionPut(a_question("run-1", "good"))
        bad = (
            QuestionPut(a_question("run-1", "bad", prompt=object())),
            QuestionPut(a_question("run-2", "bad")),
            ManifestPut(a_manifest("run-2", 2)),
            ItemsPut((an_item("run-1", 1), an_item("run-2", 2))),
            a_question("run-1", "no change at all"),
        )
        for change in bad:
            with pytest.raises(StoreError):
                await store.commit(a_write(after=1, changes=(good, change), release=True))  # type: ignore[arg-type]
        assert await store.find(Questions()) == []
        assert await rows_of(store) == [(1, 1)]
        await store.commit(a_write(after=1, changes=(good,)))
        assert [question.id for question in await store.find(Questions())] == ["good"]

    async def test_rows_that_leave_a_gap_are_refused(self, store: Store) -> None:
        await begun(store)
        for rows in ([a_row("run-1", 3)], [a_row("run-1", 2), a_row("run-1", 4)], [a_row("run-1", 1, 2)]):
            with pytest.raises(StoreError):
                await store.commit(a_write(after=1, rows=rows))
        for write in (a_write(after=1, rows=[a_row("run-2", 2)]), replace(a_write(after=1), head=Head(seq=3))):
            with pytest.raises(StoreError):
                await store.commit(write)
        assert await rows_of(store) == [(1, 1)]

    async def test_commits_of_one_run_keep_their_order(self, store: Store) -> None:
        await begun(store)
        await asyncio.gather(*[store.commit(a_write(after=after)) for after in range(1, 101)])
        assert await rows_of(store) == [(seq, seq) for seq in range(1, 102)]

    async def test_one_stale_write_among_many_fails_alone(self, store: Store) -> None:
        runs = [await begun(store, f"run-{i}") for i in range(50)]
        writes = [a_write(run, epoch=9 if run == "run-20" else 1, after=1) for run in runs]
        ends = await asyncio.gather(*map(store.commit, writes), return_exceptions=True)
        assert [type(end) for end in ends if end != ()] == [StaleLease]
        assert [len(await rows_of(store, run)) for run in runs] == [1 if run == "run-20" else 2 for run in runs]

    async def test_eight_writers_leave_no_gap(self, store: Store) -> None:
        async def work(run: str) -> None:
            await begun(store, run)
            for after in range(1, 25):
                await store.commit(a_write(run, after=after))
                await asyncio.sleep(0)

        await asyncio.gather(*[work(f"run-{i}") for i in range(8)])
        for i in range(8):
            assert await rows_of(store, f"run-{i}") == [(seq, seq) for seq in range(1, 26)]

    async def test_eight_writers_of_one_run_take_turns(self, store: Store) -> None:
        await begun(store)

        async def work() -> int:
            done = 0
            for after in range(1, 20):
                try:
                    await store.commit(a_write(after=after))
                except StaleLease:
                    await asyncio.sleep(0)
                else:
                    done += 1
            return done

        done = sum(await asyncio.gather(*[work() for _ in range(8)]))
        rows = await rows_of(store)
        assert rows == [(seq, seq) for seq in range(1, done + 2)]

    async def test_a_cancelled_waiter_takes_nothing_back(self, store: Store) -> None:
        runs = [await begun(store, f"run-{i}") for i in range(4)]
        tasks = [asyncio.ensure_future(store.commit(a_write(run, after=1))) for run in runs]
        await asyncio.sleep(0)
        tasks[2].cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert [end for end in ends if isinstance(end, WindlassError)] == []
        for run in runs:
            seq = (await store.load(run)).record.head.seq
            assert seq in {1, 2}
            await store.commit(a_write(run, after=seq))

    async def test_a_commit_may_release(self, store: Store) -> None:
        await begun(store)
        await store.commit(a_write(after=1, status=WAITING, release=True))
        record = (await store.load("run-1")).record
        assert (record.owner, record.owner_until, record.epoch) == (None, None, 1)

    async def test_different_kinds_of_write_share_the_queue(self, store: Store) -> None:
        for i in range(3):
            await begun(store, f"run-{i}")
        two = an_owner("two")
        ends = await asyncio.gather(
            store.commit(a_write("run-0", after=1)), store.post(a_command("run-0", "c")),
            store.append_items("run-1", 1, [an_item("run-1", 1)]), store.release("run-2", 1),
            store.claim("run-2", two), store.create(a_record("run-3"), a_write("run-3"), two),
            store.commit(a_write("run-2", after=1)), return_exceptions=True,
        )  # fmt: skip
        assert [type(end) for end in ends[-1:]] == [StaleLease]
        assert [end for end in ends[:-1] if isinstance(end, BaseException)] == []
        assert [type(command) for command in await store.find(Commands(run="run-0"))] == [Command]
        assert await store.find(Rows(run="run-3")) == [a_row("run-3", 1)]
