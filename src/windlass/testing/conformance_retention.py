"""Pruning: what goes, what stays, and what is left where history was dropped."""
# ruff: noqa: D102, PLR2004, S101 -- a check's name is its sentence, and to assert is what it is for

from typing import Any

import pytest
from msgspec.structs import replace

from windlass.core import crashpoint
from windlass.core.changes import BlobPut, Change, EffectPut, ItemsPut, ManifestPut, QuestionPut
from windlass.core.errors import InputError, RunUnknown, StoreCorrupt
from windlass.core.queries import Commands, Effects, Items, Manifests, Questions, Rows, Runs
from windlass.core.records import Parent, Row
from windlass.core.states import CANCELLED, COMPLETED, FAILED, PAUSED, RUNNING, WAITING, Status
from windlass.stores.base import Store, row_digest
from windlass.testing.conformance_place import ME, Breakdown, Place, begun, rows_of
from windlass.testing.specimens import (
    NOON,
    HandClock,
    a_blob,
    a_command,
    a_manifest,
    a_question,
    a_row,
    a_write,
    an_effect,
    an_item,
    contents,
)

DAY = 86_400.0
LATER = NOON + 2 * DAY
BAD: tuple[dict[str, Any], ...] = (
    {}, {"before": 1.0, "older_than": 1.0}, {"before": "yesterday"}, {"before": float("nan")}, {"older_than": -1},
    {"older_than": True}, {"before": 1.0, "status": "running"}, {"before": 1.0, "status": "done"},
    {"before": 1.0, "status": ()}, {"before": 1.0, "tenant": 7}, {"before": 1.0, "keep": "all"},
    {"before": 1.0, "grace": -1}, {"before": 1.0, "since": 2.0},
)  # fmt: skip


async def ended(
    store: Store, run: str = "run-1", status: Status = COMPLETED, changes: tuple[Change, ...] = (), **fields: Any
) -> None:
    """Make a run of three rows that ended at NOON, and that nobody owns."""
    await begun(store, run, **fields)
    await store.commit(a_write(run, after=1, changes=changes))
    await store.commit(a_write(run, after=2, status=status, release=True))


async def long(
    store: Store, run: str = "run-1", size: int = 8, savepoints: tuple[int, ...] = (), **fields: Any
) -> None:
    """Make a running run of `size` steps of one event each, one a second; those named bring a savepoint, too."""
    await begun(store, run, **fields)
    for last in range(2, size + 1):
        said = ',"said":[["savepoint.made","",{"name":"here"}]]' if last in savepoints else ""
        row = a_row(run, last, body=f'{{"at":{NOON + last}{said}}}'.encode())
        await store.commit(a_write(run, after=last - 1, rows=[row]))


async def log_of(store: Store, run: str = "run-1") -> list[tuple[int, int, str]]:
    """Return a run's rows: first and last event, and kind."""
    return [(row.first, row.last, row.kind) for row in await store.find(Rows(run=run))]


async def snapshot_at(store: Store, seq: int, run: str = "run-1") -> bool:
    """Say whether a snapshot stands at an event."""
    return [made.seq for made in await store.find(Manifests(run=run, until=seq))] == [seq]


async def runs_of(store: Store) -> list[str]:
    """Name all runs."""
    return sorted(record.id for record in await store.find(Runs()))


class RetentionChecks(Place):
    """Prune."""

    @pytest.mark.parametrize("options", BAD, ids=str)
    async def test_a_bad_rule_is_refused_and_changes_nothing(self, store: Store, options: dict[str, Any]) -> None:
        await ended(store)
        with pytest.raises(InputError):
            await store.maintain("prune", **options)
        assert await rows_of(store) == [(1, 1), (2, 2), (3, 3)]

    async def test_an_ended_run_goes_whole(self, store: Store) -> None:
        puts = (QuestionPut(a_question("run-1", "q", status="taken")), ItemsPut((an_item("run-1", 1),)))
        await ended(store, changes=(*puts, ManifestPut(a_manifest("run-1", 2))))
        told = await store.maintain("prune", before=LATER)
        assert (told["runs"], told["rows"], told["snapshots"], told["kept"]) == (1, 3, 1, {})
        assert await runs_of(store) == []
        assert await log_of(store) == []
        assert await store.find(Questions(statuses=None)) == []
        assert await store.find(Items(run="run-1")) == []
        with pytest.raises(RunUnknown):
            await store.load("run-1")

    async def test_the_id_of_a_pruned_run_is_free_again(self, store: Store) -> None:
        await ended(store)
        await store.post(a_command("run-1", "c", "resume"))
        await store.commit(replace(a_write(after=3, rows=()), changes=(), head=(await store.load("run-1")).record.head))
        assert (await store.maintain("prune", before=LATER))["kept"] == {"asked": 1}
        await ended(store, "run-2")
        assert (await store.maintain("prune", before=LATER))["runs"] == 1
        await begun(store, "run-2")
        assert await rows_of(store, "run-2") == [(1, 1)]

    async def test_age_counts_from_the_last_write(self, store: Store) -> None:
        await ended(store)
        assert (await store.maintain("prune", before=NOON + 3))["runs"] == 0
        assert (await store.maintain("prune", before=NOON + 3.5))["runs"] == 1

    async def test_an_age_is_told_by_the_stores_clock(self, store: Store, clock: HandClock) -> None:
        await ended(store)
        clock.time = NOON + DAY
        assert (await store.maintain("prune", older_than=DAY))["runs"] == 0
        clock.time += 5
        assert (await store.maintain("prune", older_than=DAY))["runs"] == 1

    async def test_failed_runs_go_only_when_named(self, store: Store) -> None:
        for status in (COMPLETED, FAILED, CANCELLED):
            await ended(store, status.value, status)
        await store.maintain("prune", before=LATER)
        assert await runs_of(store) == ["failed"]
        await store.maintain("prune", before=LATER, status="failed")
        assert await runs_of(store) == []

    async def test_statuses_choose(self, store: Store) -> None:
        for status in (COMPLETED, FAILED, CANCELLED):
            await ended(store, status.value, status)
        await store.maintain("prune", before=LATER, status=["cancelled", "failed"])
        assert await runs_of(store) == ["completed"]

    @pytest.mark.parametrize("tenant", ["a", "a%", "a_", "A", "aa", "a.b", "é", "'; --", ""])
    async def test_a_tenant_is_taken_literally(self, store: Store, tenant: str) -> None:
        for name in ("a", "a%", "a_", "A", "aa", "a.b", "é", "e\u0301", "'; --", ""):
            await ended(store, f"of {name}", tenant=name)
        assert (await store.maintain("prune", before=LATER, tenant=tenant))["runs"] == 1
        assert f"of {tenant}" not in await runs_of(store)

    @pytest.mark.parametrize("status", [RUNNING, WAITING, PAUSED])
    async def test_an_unfinished_run_never_goes(self, store: Store, status: Status) -> None:
        await begun(store)
        await store.commit(a_write(after=1, status=status, release=True))
        assert (await store.maintain("prune", before=LATER))["runs"] == 0
        assert await rows_of(store) == [(1, 1), (2, 2)]

    async def test_a_run_with_an_open_question_stays(self, store: Store) -> None:
        await ended(store, changes=(QuestionPut(a_question("run-1", "q")),))
        assert (await store.maintain("prune", before=LATER))["kept"] == {"asked": 1}
        assert len(await store.find(Questions())) == 1

    async def test_a_run_with_a_command_stays(self, store: Store) -> None:
        await ended(store)
        await store.post(a_command("run-1", "c", "rollback"))
        assert (await store.maintain("prune", before=LATER))["kept"] == {"asked": 1}
        assert len(await store.find(Commands(run="run-1"))) == 1

    @pytest.mark.parametrize("status", ["intended", "undoing"])
    async def test_a_run_with_an_effect_in_doubt_stays(self, store: Store, status: str) -> None:
        await ended(store, changes=(EffectPut(an_effect("run-1", "k", status=status)),))
        assert (await store.maintain("prune", before=LATER))["kept"] == {"in doubt": 1}
        assert len(await store.find(Effects(run="run-1"))) == 1

    async def test_a_run_that_is_owned_stays(self, store: Store) -> None:
        await ended(store)
        await store.claim("run-1", ME)
        assert (await store.maintain("prune", before=LATER))["kept"] == {"owned": 1}

    async def test_a_run_that_others_began_from_stays_while_they_do(self, store: Store) -> None:
        await ended(store)
        await begun(store, "fork", parent=Parent("run-1", 0, 2, "run-1"))
        assert (await store.maintain("prune", before=LATER))["kept"] == {"forked": 1}
        await store.commit(a_write("fork", after=1, status=COMPLETED, release=True))
        assert (await store.maintain("prune", before=LATER))["runs"] == 2

    async def test_the_effects_of_a_tree_go_with_its_first_run(self, store: Store) -> None:
        await ended(store, changes=(EffectPut(an_effect("run-1", "k", status="done")),))
        effect = an_effect("fork", "k", tree="run-1", status="done")
        await ended(store, "fork", changes=(EffectPut(effect),), parent=Parent("run-1", 0, 2, "run-1"))
        await begun(store, "open", parent=Parent("run-1", 0, 2, "run-1"))
        assert (await store.maintain("prune", before=LATER))["runs"] == 1
        assert await runs_of(store) == ["open", "run-1"]
        assert len(await store.find(Effects(tree="run-1"))) == 2  # what the fork did is adopted by its sisters
        await store.commit(a_write("open", after=1, status=COMPLETED, release=True))
        await store.maintain("prune", before=LATER)
        assert await store.find(Effects(tree="run-1")) == []

    async def test_a_dry_run_counts_and_changes_nothing(self, store: Store) -> None:
        await ended(store)
        await long(store, "run-2")
        assert (await store.maintain("prune", before=LATER, dry_run=True))["runs"] == 1
        told = await store.maintain("prune", before=LATER, keep="heads", dry_run=True)
        assert (told["runs"], told["rows"], told["dry_run"]) == (0, 9, True)
        assert len(await rows_of(store)) == 3
        assert len(await rows_of(store, "run-2")) == 8

    async def test_history_goes_and_the_head_stays(self, store: Store) -> None:
        await long(store)
        before = (await store.load("run-1")).record
        told = await store.maintain("prune", before=LATER, keep="heads")
        assert (told["runs"], told["rows"]) == (0, 7)
        assert await log_of(store) == [(1, 7, "pruned"), (8, 8, "step")]
        loaded = await store.load("run-1")
        assert loaded.record == before
        assert loaded.manifest is not None
        assert (loaded.manifest.seq, loaded.rows) == (8, ())

    async def test_a_run_goes_on_after_its_history_went(self, store: Store) -> None:
        await long(store)
        await store.maintain("prune", before=LATER, keep="heads")
        await store.commit(a_write(after=8))
        assert await log_of(store) == [(1, 7, "pruned"), (8, 8, "step"), (9, 9, "step")]
        assert [row.last for row in (await store.load("run-1")).rows] == [9]

    async def test_history_is_cut_at_a_time(self, store: Store) -> None:
        await long(store)
        await store.maintain("prune", before=NOON + 5, keep="heads")  # rows 1 to 4 are older
        assert [row[:2] for row in await log_of(store)] == [(1, 3), (4, 4), (5, 5), (6, 6), (7, 7), (8, 8)]
        assert await snapshot_at(store, 4)
        await store.maintain("prune", before=NOON + 7, keep="heads")
        assert [row[:2] for row in await log_of(store)] == [(1, 5), (6, 6), (7, 7), (8, 8)]

    async def test_savepoints_stay(self, store: Store) -> None:
        await long(store, size=10, savepoints=(3,))  # its step tells two events: 3 and 4 would be one row
        told = await store.maintain("prune", before=LATER, keep="heads")
        assert [(row[1], row[2]) for row in await log_of(store)] == [
            (2, "pruned"),
            (3, "step"),
            (9, "pruned"),
            (10, "step"),
        ]
        assert await snapshot_at(store, 3)
        assert told["rows"] == 8

    async def test_fork_points_stay(self, store: Store) -> None:
        await long(store)
        await begun(store, "fork", parent=Parent("run-1", 0, 5, "run-1"))
        await store.maintain("prune", before=LATER, keep="heads")
        assert [row[1] for row in await log_of(store)] == [4, 5, 7, 8]
        assert await snapshot_at(store, 5)

    async def test_snapshots_of_what_goes_go(self, store: Store) -> None:
        await begun(store)
        for after in range(1, 6):
            await store.commit(a_write(after=after, changes=(ManifestPut(a_manifest("run-1", after + 1)),)))
        assert (await store.maintain("prune", before=LATER, keep="heads"))["snapshots"] == 4
        assert await store.find(Manifests(run="run-1", until=5)) == []
        assert await snapshot_at(store, 6)

    async def test_pruning_again_changes_nothing(self, store: Store) -> None:
        await long(store, savepoints=(3,))
        await store.maintain("prune", before=LATER, keep="heads")
        was = await log_of(store)
        assert (await store.maintain("prune", before=LATER, keep="heads"))["rows"] == 0
        assert await log_of(store) == was

    async def test_a_damaged_history_is_left_alone(self, store: Store) -> None:
        await begun(store)
        wrong = Row("run-1", 2, 2, 0, 2, "step", NOON, b'{"at":1.0}', "0" * 64)
        try:
            await store.commit(a_write(after=1, rows=[wrong]))
        except StoreCorrupt:
            pytest.skip("the store does not take a row with a wrong digest")
        await store.commit(a_write(after=2))
        assert (await store.maintain("prune", before=LATER, keep="heads"))["kept"] == {"damaged": 1}

    async def test_a_value_that_nothing_refers_to_goes_after_its_grace(self, store: Store, clock: HandClock) -> None:
        blob, used = a_blob(b"lost"), a_blob(b"used")
        await ended(store, changes=(BlobPut(blob),))
        body = b'{"at":1.0,"results":{"c":{"$":"blob","blob":"%s","size":4}}}' % used.digest.encode()
        await begun(store, "run-2")
        await store.commit(a_write("run-2", after=1, rows=[a_row("run-2", 2, body=body)], changes=(BlobPut(used),)))
        told = await store.maintain("prune", before=LATER)
        assert (told["blobs"], told["marked"]) == (0, 1)
        assert await contents(store, blob, used) == {blob.digest: b"lost", used.digest: b"used"}
        clock.time += 3601
        told = await store.maintain("prune", before=LATER)
        assert (told["blobs"], told["marked"]) == (1, 0)
        with pytest.raises(StoreCorrupt, match="missing"):
            await contents(store, blob)
        assert await contents(store, used) == {used.digest: b"used"}

    async def test_a_value_that_is_written_again_is_not_swept(self, store: Store, clock: HandClock) -> None:
        blob = a_blob(b"again")
        await ended(store, changes=(BlobPut(blob),))
        await store.maintain("prune", before=LATER)
        clock.time += 3601
        await begun(store, "run-2")
        await store.commit(a_write("run-2", after=1, changes=(BlobPut(blob),)))  # what refers to it follows
        assert (await store.maintain("prune", before=LATER))["blobs"] == 0
        assert await contents(store, blob) == {blob.digest: b"again"}

    async def test_a_value_that_a_snapshot_names_stays(self, store: Store, clock: HandClock) -> None:
        blob = a_blob(b"named")
        await begun(store)
        body = b'{"n":2,"visits":{},"waiting":[],"settled":[],"pending":{},"channels":{},"total":"0"}'
        made = replace(a_manifest("run-1", 2, blobs=(blob.digest,)), body=body, digest=row_digest("run-1", 2, 2, body))
        await store.commit(a_write(after=1, changes=(BlobPut(blob), ManifestPut(made))))
        for after in range(2, 6):
            await store.commit(a_write(after=after))
        for _ in range(3):
            await store.maintain("prune", before=LATER, keep="heads")
            clock.time += 3601
        loaded = await store.load("run-1")
        assert loaded.manifest is not None
        assert loaded.manifest.blobs == (blob.digest,)
        assert await contents(store, blob) == {blob.digest: b"named"}

    @pytest.mark.parametrize("keep", ["nothing", "heads"])
    async def test_a_prune_that_stops_anywhere_leaves_a_whole_store(self, store: Store, keep: str) -> None:
        if not store.capabilities.durable:
            pytest.skip("the store does not claim to be durable")
        status = RUNNING if keep == "heads" else COMPLETED
        puts = (BlobPut(a_blob(b"lost")), ItemsPut((an_item("run-1", 1),)))
        await long(store, size=12, savepoints=(4,))
        head = a_write(after=12, status=status, release=True, changes=puts)
        await store.commit(head)
        whole = await store.maintain("check")
        for stop in range(1, 100):
            left = [stop]

            def reach(label: str, left: list[int] = left) -> None:
                left[0] -= label in ("prune.inside", "prune.after")
                if not left[0]:
                    raise Breakdown(label)

            crashpoint.on_reach = reach
            try:
                await store.maintain("prune", before=LATER, keep=keep, grace=0)
                break
            except Breakdown:
                assert (await store.maintain("check"))["problems"] == whole["problems"] == []
            finally:
                crashpoint.on_reach = None
        else:
            pytest.fail("it never comes to its end")
        assert await runs_of(store) == (["run-1"] if keep == "heads" else [])
        expected = [(3, "pruned"), (4, "step"), (12, "pruned"), (13, "step")] if keep == "heads" else []
        assert [(row[1], row[2]) for row in await log_of(store)] == expected
