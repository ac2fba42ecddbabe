"""How a store is asked: loading a run, its rows and snapshots, and lists of runs."""
# ruff: noqa: D102, PLR2004, S101 -- a check's name is its sentence, and to assert is what it is for

from typing import Any

import pytest
from msgspec.structs import replace

from windlass.core.changes import CommandTaken, ManifestPut
from windlass.core.errors import RunUnknown, StoreError
from windlass.core.queries import Manifests, Query, Rows, Runs
from windlass.core.records import Row
from windlass.core.states import CANCELLED, COMPLETED, CREATED, FAILED, PAUSED, RUNNING, WAITING, Status
from windlass.stores.base import LEASE_SECONDS, Store
from windlass.testing.conformance_place import ME, WORDS, Place, begun
from windlass.testing.specimens import NOON, HandClock, a_command, a_manifest, a_record, a_row, a_write

EVENTS = 10


async def logged(store: Store) -> list[Row]:
    """Make a run of ten one-event rows: step, record, and so on."""
    rows = [a_row("run-1", seq, kind="record" if seq % 2 == 0 else "step") for seq in range(1, EVENTS + 1)]
    await store.create(a_record(), a_write(rows=rows), ME)
    await begun(store, "run-2")
    return rows


async def listed(store: Store, **filters: Any) -> list[str]:
    """List runs by id."""
    return [record.id for record in await store.find(Runs(**filters))]


async def free(store: Store, run: str, status: Status, due_at: float | None = None, **fields: Any) -> None:
    """Make a run without an owner."""
    await store.create(a_record(run, **fields), a_write(run, epoch=0, status=status, due_at=due_at), None)


class FindChecks(Place):
    """Load and find."""

    async def test_no_run_cannot_be_loaded(self, store: Store) -> None:
        with pytest.raises(RunUnknown, match="nowhere"):
            await store.load("nowhere")

    async def test_loading_begins_at_the_latest_snapshot(self, store: Store) -> None:
        rows = await logged(store)
        for seq in (11, 12, 13):
            kept = (ManifestPut(a_manifest("run-1", seq)),) if seq < 13 else ()
            await store.commit(a_write(after=seq - 1, changes=kept))
        loaded = await store.load("run-1")
        assert loaded.manifest == a_manifest("run-1", 12)
        assert loaded.rows == (a_row("run-1", 13),)
        assert rows[0].first == 1

    async def test_a_snapshot_at_the_head_leaves_no_rows_to_read(self, store: Store) -> None:
        await begun(store)
        await store.commit(a_write(after=1, changes=(ManifestPut(a_manifest("run-1", 2)),)))
        assert (await store.load("run-1")).rows == ()

    async def test_a_new_branch_begins_at_its_own_snapshot(self, store: Store) -> None:
        await begun(store)
        await store.commit(a_write(after=1, changes=(ManifestPut(a_manifest("run-1", 2)),)))
        rolled = a_row("run-1", 3, branch=1, kind="record")
        await store.commit(a_write(after=2, rows=[rolled], changes=(ManifestPut(a_manifest("run-1", 3, branch=1)),)))
        after = a_row("run-1", 4, branch=1)
        await store.commit(a_write(after=3, rows=[after]))
        loaded = await store.load("run-1")
        assert loaded.manifest == a_manifest("run-1", 3, branch=1)
        assert loaded.rows == (after,)

    async def test_a_snapshot_of_another_branch_is_not_taken(self, store: Store) -> None:
        await begun(store)
        await store.commit(a_write(after=1, changes=(ManifestPut(a_manifest("run-1", 2, branch=7)),)))
        loaded = await store.load("run-1")
        assert (loaded.manifest, len(loaded.rows)) == (None, 2)

    async def test_the_latest_snapshot_before_an_event_is_found(self, store: Store) -> None:
        await begun(store)
        for seq in range(2, 7):
            kept = ManifestPut(a_manifest("run-1", seq, branch=seq, blobs=("a" * 64, "b" * 64)))
            await store.commit(a_write(after=seq - 1, changes=(kept,) if seq in (3, 5) else ()))
        found = {until: await store.find(Manifests(run="run-1", until=until)) for until in range(8)}
        assert [[manifest.seq for manifest in found[until]] for until in range(8)] == [
            [],
            [],
            [],
            [3],
            [3],
            [5],
            [5],
            [5],
        ]
        assert found[4] == [a_manifest("run-1", 3, branch=3, blobs=("a" * 64, "b" * 64))]

    async def test_a_snapshot_is_replaced_by_another_of_its_event(self, store: Store) -> None:
        await begun(store)
        new = a_manifest("run-1", 2, blobs=("c" * 64,))
        await store.commit(a_write(after=1, changes=(ManifestPut(a_manifest("run-1", 2)), ManifestPut(new))))
        assert await store.find(Manifests(run="run-1", until=2)) == [new]

    async def test_rows_come_in_order(self, store: Store) -> None:
        assert await store.find(Rows(run="run-1")) == []
        rows = await logged(store)
        assert await store.find(Rows(run="run-1")) == rows

    async def test_rows_come_by_stretch(self, store: Store) -> None:
        rows = await logged(store)
        assert await store.find(Rows(run="run-1", after=3, until=7)) == rows[3:7]
        assert await store.find(Rows(run="run-1", after=9)) == rows[9:]
        assert await store.find(Rows(run="run-1", after=EVENTS)) == []
        assert await store.find(Rows(run="run-1", until=0)) == []

    async def test_a_row_belongs_where_its_last_event_is(self, store: Store) -> None:
        rows = [a_row("run-1", 1, 3), a_row("run-1", 4, 3)]
        await store.create(a_record(), a_write(rows=rows), ME)
        assert await store.find(Rows(run="run-1", after=2)) == rows
        assert await store.find(Rows(run="run-1", after=3)) == rows[1:]
        assert await store.find(Rows(run="run-1", until=5)) == rows[:1]

    async def test_rows_come_from_the_end(self, store: Store) -> None:
        rows = await logged(store)
        assert await store.find(Rows(run="run-1", newest_first=True, limit=3)) == rows[:-4:-1]

    async def test_rows_come_by_kind_and_limit(self, store: Store) -> None:
        rows = await logged(store)
        assert await store.find(Rows(run="run-1", kind="step")) == rows[::2]
        assert await store.find(Rows(run="run-1", kind="record", newest_first=True, limit=2)) == [rows[9], rows[7]]
        assert await store.find(Rows(run="run-1", kind="writes")) == []
        assert await store.find(Rows(run="run-1", limit=0)) == []

    async def test_runs_come_newest_first(self, store: Store) -> None:
        for i in range(5):
            await begun(store, f"run-{i}")
        assert await listed(store) == ["run-4", "run-3", "run-2", "run-1", "run-0"]
        assert await listed(store, limit=2) == ["run-4", "run-3"]
        assert await listed(store, limit=0) == []

    async def test_pages_stand_still_while_runs_are_made(self, store: Store) -> None:
        for i in range(5):
            await begun(store, f"run-{i}")
        first = await listed(store, limit=2)
        await begun(store, "run-5")
        second = await listed(store, limit=2, after=first[-1])
        third = await listed(store, limit=2, after=second[-1])
        assert first + second + third == ["run-4", "run-3", "run-2", "run-1", "run-0"]
        assert await listed(store, after="run-0") == []
        assert await listed(store, after="nowhere") == []

    async def test_runs_come_by_id(self, store: Store) -> None:
        for i in range(4):
            await begun(store, f"run-{i}")
        assert await listed(store, ids=("run-1", "run-3", "nowhere", "run-1")) == ["run-3", "run-1"]
        assert await listed(store, ids=()) == []
        assert await listed(store, ids=("run-1", "run-3"), limit=1) == ["run-3"]
        assert await listed(store, ids=("run-1", "run-3"), after="run-3") == ["run-1"]

    async def test_runs_come_by_definition_status_and_tenant(self, store: Store) -> None:
        await free(store, "a", CREATED, definition="one", tenant="t")
        await free(store, "b", PAUSED, definition="two", tenant="t")
        await free(store, "c", PAUSED, definition="one", tenant="u")
        assert await listed(store, definitions=("one",)) == ["c", "a"]
        assert await listed(store, statuses=(PAUSED, FAILED)) == ["c", "b"]
        assert await listed(store, tenant="t") == ["b", "a"]
        assert await listed(store, tenant="t", definitions=("one", "two"), statuses=(PAUSED,)) == ["b"]
        assert await listed(store, ids=("a", "c"), statuses=(PAUSED,)) == ["c"]
        assert await listed(store, definitions=()) == await listed(store, statuses=()) == []

    async def test_runs_come_by_tags(self, store: Store) -> None:
        await begun(store, "a", tags={"team": "x", "pr": "1"})
        await begun(store, "b", tags={"team": "x", "pr": "2", 'q"\\': "é"})
        await begun(store, "c")
        assert await listed(store, tags={"team": "x"}) == ["b", "a"]
        assert await listed(store, tags={"team": "x", "pr": "1"}) == ["a"]
        assert await listed(store, tags={'q"\\': "é"}) == ["b"]
        assert await listed(store, tags={"team": "X"}) == await listed(store, tags={"pr": "3"}) == []

    async def test_filters_are_taken_literally(self, store: Store) -> None:
        for word in WORDS:
            await begun(store, f"id {word}", definition=word, tenant=word, tags={word: word})
        for word in WORDS:
            for filters in ({"definitions": (word,)}, {"tenant": word}, {"tags": {word: word}}):
                assert await listed(store, **filters) == [f"id {word}"]

    async def test_work_is_what_was_never_started_or_was_interrupted(self, store: Store) -> None:
        await free(store, "created", CREATED)
        await free(store, "running", RUNNING)
        for status in (WAITING, PAUSED, COMPLETED, FAILED, CANCELLED):
            await free(store, str(status), status)
        assert await listed(store, claimable=True) == ["running", "created"]
        assert await listed(store, claimable=True, limit=1) == ["running"]

    async def test_work_is_what_is_due(self, store: Store) -> None:
        await free(store, "due", WAITING, NOON)
        await free(store, "later", WAITING, NOON + 1)
        await free(store, "asking", WAITING)
        await free(store, "paused", PAUSED, NOON)
        assert await listed(store, claimable=True, due_before=NOON) == ["due"]
        assert await listed(store, claimable=True, due_before=NOON + 1) == ["later", "due"]
        assert await listed(store, claimable=True) == []

    async def test_work_is_what_has_a_command_waiting(self, store: Store) -> None:
        await free(store, "asking", WAITING)
        await free(store, "paused", PAUSED)
        await free(store, "ended", COMPLETED)
        for run in ("asking", "paused", "ended"):
            await store.post(a_command(run, f"to {run}"))
        assert await listed(store, claimable=True) == ["paused", "asking"]
        epoch = (await store.claim("asking", ME)).epoch
        taken = CommandTaken("to asking")
        await store.commit(a_write("asking", epoch, 1, status=WAITING, changes=(taken,), release=True))
        assert await listed(store, claimable=True) == ["paused"]

    async def test_an_owned_run_is_no_work_until_its_lease_runs_out(self, store: Store, clock: HandClock) -> None:
        await begun(store, "running")
        await store.create(a_record("due"), a_write("due", status=WAITING, due_at=NOON), ME)
        await store.create(a_record("asked"), a_write("asked", status=WAITING), ME)
        await store.create(a_record("ended"), a_write("ended", status=COMPLETED), ME)
        await store.post(a_command("asked", "c"))
        assert await listed(store, claimable=True, due_before=NOON) == []
        clock.time += LEASE_SECONDS
        assert await listed(store, claimable=True, due_before=NOON) == ["asked", "due", "running"]

    async def test_a_retired_owners_run_is_work(self, store: Store) -> None:
        await begun(store)
        await store.retire(ME)
        assert await listed(store, claimable=True) == ["run-1"]

    async def test_work_is_filtered_like_any_list(self, store: Store) -> None:
        await free(store, "a", CREATED, definition="one", tenant="t", tags={"k": "v"})
        await free(store, "b", CREATED, definition="two")
        await free(store, "c", COMPLETED, definition="one")
        assert await listed(store, claimable=True, definitions=("one", "three")) == ["a"]
        assert await listed(store, claimable=True, tenant="default") == ["b"]
        assert await listed(store, claimable=True, tags={"k": "v"}) == ["a"]
        assert await listed(store, claimable=True, ids=("b", "c")) == ["b"]
        assert await listed(store, claimable=True, after="b") == ["a"]

    async def test_an_unknown_query_is_refused(self, store: Store) -> None:
        with pytest.raises(StoreError, match="Query"):
            await store.find(Query())

    async def test_what_was_found_is_as_it_was_written(self, store: Store) -> None:
        row = replace(a_row("run-1", 1, 2, kind="writes", branch=3), n=9, at=NOON + 0.125)
        await store.create(a_record(), a_write(rows=[row]), ME)
        assert await store.find(Rows(run="run-1")) == [row]
