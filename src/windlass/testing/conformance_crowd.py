"""Many at once: writers, readers, claims, posts; large batches, long queues, and a failure in the middle of a write."""
# ruff: noqa: D102, PLR2004, S101 -- a check's name is its sentence, and to assert is what it is for

import asyncio
import threading
from typing import Any

import pytest

from windlass.core.changes import BlobPut, CommandTaken, ItemsPut, ManifestPut, QuestionPut
from windlass.core.errors import AlreadyAnswered, RunExists, RunOwned, RunUnknown, StaleLease, StoreError
from windlass.core.queries import Commands, Items, Query, Questions, Rows, Runs
from windlass.core.records import RunRecord
from windlass.core.states import CREATED
from windlass.stores.base import LEASE_SECONDS, Store
from windlass.testing.conformance_place import ME, TWO, Breakdown, Fault, Place, begun, rows_of
from windlass.testing.specimens import (
    HandClock,
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

EIGHT = [an_owner(str(i)) for i in range(8)]


async def gathered(*calls: Any) -> list[Any]:
    """Do calls at once; errors that no store may raise come through."""
    ends = await asyncio.gather(*calls, return_exceptions=True)
    for end in ends:
        if isinstance(end, Exception) and not isinstance(
            end, (StoreError, RunUnknown, RunOwned, RunExists, AlreadyAnswered)
        ):
            raise end
    return ends


class CrowdChecks(Place):
    """Readers during writes, races with one winner, batches and queues."""

    async def test_a_reader_sees_whole_commits(self, store: Store) -> None:
        await begun(store)
        seen: list[int] = []

        async def write() -> None:
            for seq in range(1, 60):
                changes = (QuestionPut(a_question("run-1", f"q-{seq + 1}")), ItemsPut((an_item("run-1", seq + 1),)))
                await store.commit(a_write(after=seq, changes=changes))
                await asyncio.sleep(0)

        async def read() -> None:
            while not seen or seen[-1] < 60:
                loaded = await store.load("run-1")
                head = loaded.record.head.seq
                assert loaded.rows[-1].last == head
                assert len(await store.find(Questions())) >= head - 1
                assert len(await store.find(Items(run="run-1"))) >= head - 1
                seen.append(head)
                await asyncio.sleep(0)

        await asyncio.gather(write(), read(), read())
        assert seen[-1] == 60

    async def test_a_reader_never_sees_time_go_back(self, store: Store) -> None:
        runs = [await begun(store, f"run-{i}") for i in range(4)]
        done = False

        async def write(run: str) -> None:
            for seq in range(1, 30):
                await store.commit(a_write(run, after=seq))
                await asyncio.sleep(0)

        async def read() -> None:
            before = dict.fromkeys(runs, 0)
            while not done:
                now = {record.id: record.head.seq for record in await store.find(Runs())}
                assert all(now[run] >= before[run] for run in runs)
                before = now
                await asyncio.sleep(0)

        reader = asyncio.ensure_future(read())
        await asyncio.gather(*map(write, runs))
        done = True
        await reader

    async def test_the_heartbeat_beats_from_a_thread_while_commits_go_on(self, store: Store, clock: HandClock) -> None:
        await begun(store)
        errors: list[BaseException] = []

        def beat() -> None:
            for _ in range(10):
                try:
                    asyncio.run(store.renew(ME))
                except BaseException as error:  # noqa: BLE001 -- whatever it is, the check must see it
                    errors.append(error)

        thread = threading.Thread(target=beat)
        thread.start()
        seq = 1
        while thread.is_alive() or seq < 20:
            await store.commit(a_write(after=seq))
            seq += 1
            await asyncio.sleep(0)
        thread.join()
        assert errors == []
        assert (await store.load("run-1")).record.owner_until == clock.time + LEASE_SECONDS

    async def test_a_commit_may_hold_thousands_of_rows(self, store: Store) -> None:
        await begun(store)
        rows = [a_row("run-1", seq) for seq in range(2, 2_002)]
        await store.commit(a_write(after=1, rows=rows))
        assert list((await store.load("run-1")).rows[1:]) == rows
        assert len(await store.find(Rows(run="run-1", limit=5_000))) == 2_001

    async def test_a_commit_may_hold_thousands_of_changes(self, store: Store) -> None:
        await begun(store)
        questions = tuple(QuestionPut(a_question("run-1", f"q-{i}")) for i in range(500))
        blobs = tuple(BlobPut(a_blob(b"%d" % i)) for i in range(500))
        items = ItemsPut(tuple(an_item("run-1", i) for i in range(2_000)))
        await store.commit(a_write(after=1, changes=(*questions, *blobs, items)))
        assert len(await store.find(Questions())) == 500
        assert len(await store.find(Items(run="run-1"))) == 2_000
        assert len(await contents(store, *(put.blob for put in blobs))) == 500

    async def test_a_large_write_that_is_refused_leaves_nothing(self, store: Store) -> None:
        await begun(store)
        changes = tuple(QuestionPut(a_question("run-1", f"q-{i}")) for i in range(500))
        with pytest.raises(StaleLease):
            await store.commit(a_write(after=7, changes=changes))
        with pytest.raises(StoreError):
            await store.commit(a_write(after=1, changes=(*changes, QuestionPut(a_question("run-2", "q")))))
        assert await store.find(Questions()) == []

    async def test_a_long_queue_is_worked_off(self, store: Store) -> None:
        runs = [await begun(store, f"run-{i}") for i in range(20)]
        writes = [a_write(run, after=seq) for seq in range(1, 51) for run in runs]
        ends = await gathered(*map(store.commit, writes))
        assert ends == [()] * 1_000
        assert [(await store.load(run)).record.head.seq for run in runs] == [51] * 20

    async def test_a_queue_keeps_those_who_fail_apart(self, store: Store) -> None:
        runs = [await begun(store, f"run-{i}") for i in range(200)]
        writes = [a_write(run, epoch=i % 3, after=1) for i, run in enumerate(runs)]
        ends = await gathered(*map(store.commit, writes))
        assert [end == () for end in ends] == [i % 3 == 1 for i in range(200)]
        assert [(await store.load(run)).record.head.seq for run in runs] == [1 + (i % 3 == 1) for i in range(200)]

    async def test_creations_and_commits_queue_in_order(self, store: Store) -> None:
        calls = [
            call for i in range(50) for call in (begun(store, f"run-{i}"), store.commit(a_write(f"run-{i}", after=1)))
        ]
        assert [end for end in await gathered(*calls) if isinstance(end, Exception)] == []
        assert {record.head.seq for record in await store.find(Runs())} == {2}

    async def test_posts_at_once_are_all_kept_in_order(self, store: Store) -> None:
        await begun(store)

        async def post(who: int) -> None:
            for n in range(12):
                assert await store.post(a_command("run-1", f"{who} {n:02}"))
                await asyncio.sleep(0)

        await asyncio.gather(*map(post, range(8)))
        ids = [command.id for command in await store.find(Commands(run="run-1"))]
        assert len(ids) == 96
        assert [sorted(of) for of in _by_poster(ids)] == _by_poster(ids)

    async def test_eight_posts_of_one_id_are_one(self, store: Store) -> None:
        await begun(store)
        ends = await gathered(*[store.post(a_command("run-1", "c", f"verb-{i}")) for i in range(8)])
        assert (ends.count(True), ends.count(False)) == (1, 7)
        (command,) = await store.find(Commands(run="run-1"))
        assert command.verb == f"verb-{ends.index(True)}"

    async def test_answers_at_once_have_one_winner_for_each_question(self, store: Store) -> None:
        asked = tuple(QuestionPut(a_question("run-1", f"q-{i}")) for i in range(20))
        await store.create(a_record(), a_write(changes=asked), ME)
        answers = [
            a_command("run-1", f"{i} {n}", "answer", question=f"q-{i}", value=n) for n in range(4) for i in range(20)
        ]
        ends = await gathered(*map(store.post, answers))
        assert (ends.count(True), sum(isinstance(end, AlreadyAnswered) for end in ends)) == (20, 60)
        won = {
            command.arguments["question"]: command.arguments["value"]
            for command in await store.find(Commands(run="run-1"))
        }
        found = {
            question.id: int(bytes(question.answer)) for question in await store.find(Questions(statuses=("answered",)))
        }
        assert found == won

    async def test_an_answer_and_its_withdrawal_have_one_winner(self, store: Store) -> None:
        for i in range(10):
            run = f"run-{i}"
            await store.create(a_record(run), a_write(run, changes=(QuestionPut(a_question(run, f"q-{i}")),)), ME)
            withdrawn = QuestionPut(a_question(run, f"q-{i}", status="withdrawn"))
            calls = [store.post(a_command(run, f"c-{i}", "answer", question=f"q-{i}", value=1)),
                     store.commit(a_write(run, after=1, changes=(withdrawn,)))]  # fmt: skip
            posted = (await gathered(*calls[:: 1 if i % 2 else -1]))[0 if i % 2 else 1]
            assert len(await store.find(Commands(run=run))) == (posted is True)

    async def test_eight_claims_after_the_lease_have_one_winner(self, store: Store, clock: HandClock) -> None:
        await begun(store)
        clock.time += LEASE_SECONDS
        ends = await gathered(*[store.claim("run-1", owner) for owner in EIGHT])
        (won,) = [end for end in ends if isinstance(end, RunRecord)]
        assert (won.epoch, won.owner) == (2, ME)
        assert (await store.load("run-1")).record.owner == EIGHT[ends.index(won)]

    async def test_many_runs_claimed_by_many_are_claimed_once(self, store: Store) -> None:
        for i in range(40):
            await store.create(a_record(f"run-{i}"), a_write(f"run-{i}", epoch=0, status=CREATED), None)
        ends = await gathered(*[store.claim(f"run-{i}", owner) for i in range(40) for owner in EIGHT])
        won = [end for end in ends if isinstance(end, RunRecord)]
        assert sorted(record.id for record in won) == sorted(f"run-{i}" for i in range(40))
        assert {record.epoch for record in won} == {1}

    async def test_a_claim_and_a_write_before_it_have_one_order(self, store: Store, clock: HandClock) -> None:
        runs = [await begun(store, f"run-{i}") for i in range(20)]
        clock.time += LEASE_SECONDS
        calls = [call for run in runs for call in (store.commit(a_write(run, after=1)), store.claim(run, TWO))]
        ends = await gathered(*calls)
        for run, wrote, claimed in zip(runs, ends[::2], ends[1::2], strict=True):
            assert isinstance(claimed, RunRecord)
            assert claimed.head.seq == (2 if wrote == () else 1)
            assert (await store.load(run)).record.head.seq == claimed.head.seq

    async def test_a_claim_and_a_release_leave_one_owner_or_none(self, store: Store) -> None:
        for i in range(10):
            run = await begun(store, f"run-{i}")
            ends = await gathered(store.release(run, 1), store.claim(run, TWO))
            owner = (await store.load(run)).record.owner
            assert owner == (TWO if isinstance(ends[1], RunRecord) else None)

    async def test_items_at_once_are_all_kept(self, store: Store) -> None:
        await begun(store)
        batches = [[an_item("run-1", n * 8 + i) for n in range(20)] for i in range(8)]
        commits = [store.commit(a_write(after=seq)) for seq in range(1, 9)]
        ends = await gathered(*[store.append_items("run-1", 1, batch) for batch in batches], *commits)
        assert ends == [*[None] * 8, *[()] * 8]
        assert [item.arrival for item in await store.find(Items(run="run-1"))] == list(range(160))

    @pytest.mark.parametrize("verb", ["create", "post", "claim", "append_items", "release"])
    async def test_a_cancelled_call_is_done_whole_or_not(self, store: Store, verb: str) -> None:
        await begun(store)
        await begun(store, "run-2")
        await store.release("run-1", 1)
        new = a_write("new", changes=(QuestionPut(a_question("new", "q")),))
        arguments: dict[str, tuple[Any, ...]] = {
            "create": (a_record("new"), new, ME), "post": (a_command("run-1", "c"),), "claim": ("run-1", TWO),
            "append_items": ("run-2", 1, [an_item("run-2", n) for n in range(3)]), "release": ("run-2", 1),
        }  # fmt: skip
        tasks = [asyncio.ensure_future(store.commit(a_write("run-2", after=seq))) for seq in range(1, 4)]
        tasks.append(asyncio.ensure_future(getattr(store, verb)(*arguments[verb])))
        await asyncio.sleep(0)
        tasks[-1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await store.commit(a_write("run-2", after=4))
        is_made = len(await store.find(Runs(ids=("new",))))
        assert len(await store.find(Questions())) == is_made
        assert len(await store.find(Items(run="run-2"))) in {0, 3}
        assert (await store.load("run-1")).record.epoch in {1, 2}

    @pytest.mark.parametrize("verb", ["create", "commit", "post", "claim", "items"])
    async def test_a_failure_inside_a_write_takes_all_of_it_back(self, store: Store, verb: str) -> None:
        await store.create(a_record(), a_write(changes=(QuestionPut(a_question("run-1", "q")),)), ME)
        await store.create(a_record("free"), a_write("free", epoch=0, status=CREATED), None)
        items = [an_item("run-1", 1)]
        changes = (
            QuestionPut(a_question("run-1", "r")), ItemsPut(tuple(items)), CommandTaken("c"),
            ManifestPut(a_manifest("run-1", 2)),
        )  # fmt: skip
        calls: dict[str, Any] = {
            "create": lambda: begun(store, "new"),
            "commit": lambda: store.commit(a_write(after=1, changes=changes, release=True)),
            "post": lambda: store.post(a_command("run-1", "c", "answer", question="q", value=1)),
            "claim": lambda: store.claim("free", TWO),
            "items": lambda: store.append_items("run-1", 1, items),
        }
        before = await _everything(store)
        with Fault(f"{verb}.inside"), pytest.raises((StoreError, Breakdown)):
            await calls[verb]()
        assert await _everything(store) == before
        await calls[verb]()
        assert await _everything(store) != before

    @pytest.mark.parametrize("nth", [1, 7, 20])
    async def test_a_failure_inside_one_write_leaves_the_others_whole(self, store: Store, nth: int) -> None:
        runs = [await begun(store, f"run-{i}") for i in range(20)]
        with Fault("commit.inside", nth):
            ends = await asyncio.gather(*[store.commit(a_write(run, after=1)) for run in runs], return_exceptions=True)
        for run, end in zip(runs, ends, strict=True):
            assert await rows_of(store, run) == ([(1, 1), (2, 2)] if end == () else [(1, 1)])
        assert ends.count(()) >= 19


def _by_poster(ids: list[str]) -> list[list[str]]:
    return [[id_ for id_ in ids if id_.startswith(f"{who} ")] for who in range(8)]


async def _everything(store: Store) -> bytes:
    queries: list[Query[Any]] = [Runs(), Questions(statuses=None), Commands(run="run-1"), Items(run="run-1")]
    found: list[Any] = [await store.find(query) for query in queries]
    return as_json([*found, await store.load("run-1")])
