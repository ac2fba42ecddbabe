"""How a store begins and ends: flags that are honest, what is found after reopening, other stores of the same place."""
# ruff: noqa: D102, PLR2004, S101 -- a check's name is its sentence, and to assert is what it is for

import asyncio
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from windlass.core.changes import Adjust, BlobPut, CommandTaken, EffectPut, LetterPut, ManifestPut, QuestionPut
from windlass.core.errors import AlreadyAnswered, RunExists, RunOwned, StaleLease, StoreError
from windlass.core.owner import this_process
from windlass.core.queries import Commands, Effects, Items, Letters, Manifests, Query, Questions, Rows, Runs, Tallies
from windlass.core.states import CREATED
from windlass.stores.base import LEASE_SECONDS, Capabilities, Store
from windlass.testing.conformance_place import ME, TWO, Place, begun, need, rows_of
from windlass.testing.conformance_tallies import SWITCH, want
from windlass.testing.specimens import (
    HandClock,
    a_blob,
    a_breaker_op,
    a_command,
    a_letter,
    a_manifest,
    a_question,
    a_record,
    a_write,
    an_effect,
    an_item,
    as_json,
    contents,
)

BLOB = a_blob(b"kept" * 1_000)
QUERIES: tuple[Query[Any], ...] = (
    Runs(), Rows(run="run-1"), Questions(statuses=None), Commands(run="run-1"), Effects(tree="run-1"),
    Items(run="run-1"), Manifests(run="run-1", until=9), Tallies(), Letters(statuses=None),
)  # fmt: skip
CALLS: dict[str, Callable[[Store], Coroutine[Any, Any, object]]] = {
    "create": lambda store: store.create(a_record("new"), a_write("new"), ME),
    "commit": lambda store: store.commit(a_write(after=1)),
    "load": lambda store: store.load("run-1"),
    "post": lambda store: store.post(a_command("run-1", "late")),
    "claim": lambda store: store.claim("run-1", ME),
    "release": lambda store: store.release("run-1", 1),
    "renew": lambda store: store.renew(ME),
    "retire": lambda store: store.retire(ME),
    "append_items": lambda store: store.append_items("run-1", 1, [an_item("run-1", 9)]),
    "find": lambda store: store.find(Runs()),
    "adjust": lambda store: store.adjust([want(1)]),
    "maintain": lambda store: store.maintain("migrate"),
}


async def furnished(store: Store) -> bytes:
    """Make a run with one of everything, and tell all of it."""
    changes = (
        QuestionPut(a_question("run-1", "q")), QuestionPut(a_question("run-1", "r")), BlobPut(BLOB),
        EffectPut(an_effect("run-1", "k")), ManifestPut(a_manifest("run-1", 2)), CommandTaken("taken"), want(4),
        Adjust(SWITCH, a_breaker_op("failed")), LetterPut(a_letter("run-1", "l")),
    )  # fmt: skip
    await begun(store, tags={"a": "b"})
    await store.commit(a_write(after=1, changes=changes))
    await store.commit(a_write(after=2))
    await store.append_items("run-1", 1, [an_item("run-1", 1)])
    await store.post(a_command("run-1", "c"))
    await store.post(a_command("run-1", "d", "answer", question="r", value=[1]))
    return await told(store)


async def told(store: Store) -> bytes:
    """Tell everything that is kept."""
    found = [as_json(await store.find(query)) for query in QUERIES]
    return b"\n".join([*found, as_json(await store.load("run-1")), (await contents(store, BLOB))[BLOB.digest]])


class EndChecks(Place):
    """Open, close, reopen, share, fork."""

    @asynccontextmanager
    async def other(self, store: Store, clock: HandClock, folder: Path, flag: str) -> AsyncIterator[Store]:
        """Open another store of the same place; skip unless the first claims that this may be done."""
        need(store, flag)
        other = self.again(clock, folder)
        await other.open()
        try:
            yield other
        finally:
            await other.close()

    async def test_the_flags_are_flags(self, store: Store) -> None:
        assert isinstance(store.capabilities, Capabilities)
        assert {type(getattr(store.capabilities, name)) for name in Capabilities.__struct_fields__} == {bool}
        assert isinstance(store.url, str)

    async def test_every_store_is_transactional(self, store: Store) -> None:
        assert store.capabilities.transactional

    async def test_who_shares_its_place_is_durable(self, store: Store) -> None:
        need(store, "multi_process")
        assert store.capabilities.durable

    async def test_all_is_found_after_reopening(self, store: Store, clock: HandClock, tmp_path: Path) -> None:
        need(store, "durable")
        before = await furnished(store)
        await store.close()
        async with self.other(store, clock, tmp_path, "durable") as again:
            assert await told(again) == before

    async def test_ids_stay_taken_after_reopening(self, store: Store, clock: HandClock, tmp_path: Path) -> None:
        need(store, "durable")
        await furnished(store)
        await store.close()
        async with self.other(store, clock, tmp_path, "durable") as again:
            with pytest.raises(RunExists):
                await begun(again)
            assert [await again.post(a_command("run-1", id_)) for id_ in ("c", "d", "taken", "new")] == [False] * 3 + [
                True
            ]
            with pytest.raises(AlreadyAnswered):
                await again.post(a_command("run-1", "e", "answer", question="r", value=1))

    async def test_the_fence_holds_after_reopening(self, store: Store, clock: HandClock, tmp_path: Path) -> None:
        need(store, "durable")
        await furnished(store)
        await store.close()
        async with self.other(store, clock, tmp_path, "durable") as again:
            with pytest.raises(RunOwned):
                await again.claim("run-1", TWO)
            clock.time += LEASE_SECONDS
            assert (await again.claim("run-1", TWO)).epoch == 2
            for epoch, after in ((1, 3), (2, 2)):
                with pytest.raises(StaleLease):
                    await again.commit(a_write(epoch=epoch, after=after))
            await again.commit(a_write(epoch=2, after=3))

    async def test_order_goes_on_after_reopening(self, store: Store, clock: HandClock, tmp_path: Path) -> None:
        need(store, "durable")
        for run in ("b", "a"):
            await begun(store, run)
        await store.post(a_command("a", "z"))
        await store.close()
        async with self.other(store, clock, tmp_path, "durable") as again:
            await begun(again, "0")
            await again.post(a_command("a", "y"))
            assert [record.id for record in await again.find(Runs())] == ["0", "a", "b"]
            assert [command.id for command in await again.find(Commands(run="a"))] == ["z", "y"]

    async def test_closing_finishes_what_was_asked(self, store: Store, clock: HandClock, tmp_path: Path) -> None:
        need(store, "durable")
        runs = [await begun(store, f"run-{i}") for i in range(20)]
        calls = [asyncio.ensure_future(store.commit(a_write(run, after=1))) for run in runs]
        await asyncio.sleep(0)
        await store.close()
        ends = await asyncio.gather(*calls, return_exceptions=True)
        async with self.other(store, clock, tmp_path, "durable") as again:
            for run, end in zip(runs, ends, strict=True):
                assert end == () or isinstance(end, StoreError)
                assert end != () or await rows_of(again, run) == [(1, 1), (2, 2)]

    async def test_a_check_of_what_is_whole_finds_nothing(self, store: Store) -> None:
        need(store, "durable")
        await furnished(store)
        assert (await store.maintain("check"))["problems"] == []
        await store.commit(a_write(after=3))

    async def test_the_other_sees_what_was_written(self, store: Store, clock: HandClock, tmp_path: Path) -> None:
        async with self.other(store, clock, tmp_path, "multi_process") as other:
            assert await other.find(Runs()) == []
            before = await furnished(store)
            assert await told(other) == before

    async def test_the_version_tells_of_the_others_writes(self, store: Store, clock: HandClock, tmp_path: Path) -> None:
        async with self.other(store, clock, tmp_path, "multi_process") as other:
            await begun(store)
            seen = store.version()
            for verb in ("commit", "post", "append_items", "release", "claim", "create"):
                await CALLS[verb](other)
                assert store.version() != seen
                seen = store.version()

    async def test_the_other_is_fenced(self, store: Store, clock: HandClock, tmp_path: Path) -> None:
        async with self.other(store, clock, tmp_path, "multi_process") as other:
            await begun(store)
            with pytest.raises(RunOwned):
                await other.claim("run-1", TWO)
            clock.time += LEASE_SECONDS
            await other.claim("run-1", TWO)
            for call in (store.commit(a_write(after=1)), store.append_items("run-1", 1, [an_item("run-1", 1)])):
                with pytest.raises(StaleLease):
                    await call
            await store.release("run-1", 1)
            await other.commit(a_write(epoch=2, after=1))

    async def test_two_stores_make_one_run_of_an_id(self, store: Store, clock: HandClock, tmp_path: Path) -> None:
        async with self.other(store, clock, tmp_path, "multi_process") as other:
            for i in range(20):
                ends = await asyncio.gather(begun(store, f"run-{i}"), begun(other, f"run-{i}"), return_exceptions=True)
                assert sorted(type(end).__name__ for end in ends) == ["RunExists", "str"]

    async def test_two_stores_claim_a_run_once(self, store: Store, clock: HandClock, tmp_path: Path) -> None:
        async with self.other(store, clock, tmp_path, "multi_process") as other:
            for i in range(20):
                run = f"run-{i}"
                await store.create(a_record(run), a_write(run, epoch=0, status=CREATED), None)
                ends = await asyncio.gather(store.claim(run, ME), other.claim(run, TWO), return_exceptions=True)
                assert sorted(type(end).__name__ for end in ends) == ["RunOwned", "RunRecord"]

    async def test_two_stores_give_one_answer(self, store: Store, clock: HandClock, tmp_path: Path) -> None:
        async with self.other(store, clock, tmp_path, "multi_process") as other:
            asked = tuple(QuestionPut(a_question("run-1", f"q-{i}")) for i in range(20))
            await store.create(a_record(), a_write(changes=asked), ME)
            for i in range(20):
                answers = [a_command("run-1", f"{i} {n}", "answer", question=f"q-{i}", value=n) for n in range(2)]
                ends = await asyncio.gather(store.post(answers[0]), other.post(answers[1]), return_exceptions=True)
                assert sorted(type(end).__name__ for end in ends) == ["AlreadyAnswered", "bool"]
            assert len(await store.find(Commands(run="run-1"))) == 20

    async def test_two_stores_write_one_run_without_a_gap(self, store: Store, clock: HandClock, tmp_path: Path) -> None:
        async with self.other(store, clock, tmp_path, "multi_process") as other:
            await begun(store)

            async def work(mine: Store) -> int:
                done = 0
                for _ in range(40):
                    head = (await mine.load("run-1")).record.head.seq
                    try:
                        await mine.commit(a_write(after=head))
                    except StaleLease:
                        await asyncio.sleep(0.001)
                    else:
                        done += 1
                return done

            done = sum(await asyncio.gather(work(store), work(other)))
            assert await rows_of(store) == await rows_of(other) == [(seq, seq) for seq in range(1, done + 2)]

    async def test_the_other_reads_whole_commits_meanwhile(
        self, store: Store, clock: HandClock, tmp_path: Path
    ) -> None:
        need(store, "multi_process")
        await begun(store)
        seen: list[int] = []
        errors: list[BaseException] = []
        done = threading.Event()

        async def read() -> None:
            other = self.again(clock, tmp_path)
            await other.open()
            while not done.is_set():
                loaded = await other.load("run-1")  # raises when rows and head are not of one commit
                seen.append(loaded.record.head.seq)
                questions = await other.find(Questions())
                assert len(questions) >= loaded.record.head.seq - 1
            await other.close()

        def reader() -> None:
            try:
                asyncio.run(read())
            except BaseException as error:  # noqa: BLE001 -- whatever it is, the check must see it
                errors.append(error)

        thread = threading.Thread(target=reader)
        thread.start()
        seq = 1
        while (seq < 100 or len(set(seen)) < 5) and thread.is_alive():
            await store.commit(a_write(after=seq, changes=(QuestionPut(a_question("run-1", f"q-{seq}")),)))
            seq += 1
            await asyncio.sleep(0)
        done.set()
        thread.join()
        assert errors == []
        assert seen == sorted(seen)

    async def test_an_owner_whose_process_is_gone_holds_nothing(self, store: Store) -> None:
        need(store, "multi_process")
        with subprocess.Popen([sys.executable, "-c", ""]) as gone:  # noqa: ASYNC220 -- it ends at once
            pass
        owner = replace(this_process(), id="gone", pid=gone.pid)
        await store.create(a_record(), a_write(), owner)
        record = await store.claim("run-1", TWO)
        assert (record.epoch, record.owner) == (2, owner)

    async def test_closing_one_leaves_the_other_open(self, store: Store, clock: HandClock, tmp_path: Path) -> None:
        async with self.other(store, clock, tmp_path, "multi_process") as other:
            await begun(store)
            await store.close()
            await other.commit(a_write(after=1))
            assert await rows_of(other) == [(1, 1), (2, 2)]

    async def test_nothing_is_done_after_closing(self, store: Store) -> None:
        await furnished(store)
        await store.close()
        for call in CALLS.values():
            with pytest.raises(StoreError, match="closed"):
                await call(store)

    async def test_nothing_is_done_before_opening(self, clock: HandClock, tmp_path: Path) -> None:
        store = self.make(clock, tmp_path)
        for verb, call in CALLS.items():
            if verb != "maintain":  # a migration comes before the opening
                with pytest.raises(StoreError, match="not open"):
                    await call(store)

    async def test_what_is_not_open_has_no_version(self, clock: HandClock, tmp_path: Path) -> None:
        store = self.make(clock, tmp_path)
        with pytest.raises(StoreError):
            store.version()
        await store.close()

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
    async def test_a_fork_of_the_process_is_refused(self, store: Store) -> None:
        need(store, "durable")
        await furnished(store)
        before = await told(store)
        for verb, call in CALLS.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # from 3.12 on: a process with threads forks
                child = os.fork()
            if not child:
                os._exit(_refused(call, store))
            status = os.waitpid(child, 0)[1]  # noqa: ASYNC222 -- the child needs a millisecond
            assert os.waitstatus_to_exitcode(status) == 0, verb
        assert await told(store) == before
        await store.commit(a_write(after=3))


def _refused(call: Callable[[Store], Coroutine[Any, Any, object]], store: Store) -> int:
    """Say by an exit code whether a call is refused at once; a forked child has no loop of its own to wait on."""
    try:
        call(store).send(None)
    except StoreError:
        return 0
    except BaseException:  # noqa: BLE001 -- a child must never come back into pytest
        return 1
    return 2
