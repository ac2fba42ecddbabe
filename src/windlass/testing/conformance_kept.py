"""What comes back is what was given, bit by bit or not at all: values, sizes, times, and digests that do not match."""
# ruff: noqa: D102, S101 -- a check's name is its sentence, and to assert is what it is for

import math
from collections.abc import Coroutine
from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import replace

from windlass.core.changes import BlobPut, EffectPut, ItemsPut, ManifestPut, QuestionPut
from windlass.core.errors import StoreCorrupt, StoreError
from windlass.core.queries import Commands, Effects, Items, Manifests, Questions, Rows, Runs
from windlass.core.records import Head, Row
from windlass.core.states import WAITING
from windlass.stores.base import Store
from windlass.testing.conformance_place import ME, Place, begun, rows_of
from windlass.testing.specimens import (
    NOON,
    a_blob,
    a_command,
    a_manifest,
    a_question,
    a_record,
    a_row,
    a_write,
    an_effect,
    an_item,
    as_json,
    contents,
)

TEXTS = [  # JSON as the codec and others write it: every one has another spelling that a parser would take for equal
    b"null", b"true", b"0", b"-0", b"-0.0", b"0.0", b"1.0", b"1E5", b"1e-7", b"0.1000000000000000055511151231257827",
    b"9007199254740993", b"9223372036854775807", b"9223372036854775808", b"-9223372036854775809",
    b"18446744073709551616", b"9" * 1_000, b"1e308", b"5e-324", b'""', b'"\\u0000"', b'"\\/"', b'"/"', '"é"'.encode(),
    '"e\u0301"'.encode(), '"\U0001f680"'.encode(), b'"\\ud83d\\ude80"', b"[]", b"{}", b'{"b":1,"a":2}', b'{"":{}}',
    b'{"$":"set","v":[1,2]}', b'{"$":"float","v":"nan"}', b"[1, 2]", b'{"a" : 1}', b"[" * 400 + b"]" * 400,
    b'"' + b"x" * 100_000 + b'"',
]  # fmt: skip
TIMES = [0.0, 1e-06, -1.5, NOON + 1e-06, NOON + 0.123456, 4102444800.999999, 253402300799.99, -62135596800.0]
MICRO = 0.000001


async def latest(store: Store) -> int:
    """Return the run's last event."""
    return (await store.load("run-1")).record.head.seq


def falsified(row: Row, **fields: Any) -> Row:
    """Change a row and leave its digest."""
    return replace(row, **fields)


async def refused_or_kept_false(commit: Coroutine[Any, Any, object]) -> bool:
    """Say whether the store took something whose digest does not match: it may look at the door already."""
    try:
        await commit
    except StoreError:
        return False
    return True


class KeptChecks(Place):
    """Values, sizes, times, digests."""

    async def test_json_comes_back_letter_by_letter(self, store: Store) -> None:
        for n, text in enumerate(TEXTS):
            run, value = f"run-{n}", Raw(text)
            structure = Raw(b'{"v":' + text + b"}")
            changes = (
                QuestionPut(a_question(run, f"q-{n}", schema=value, answer=value)),
                EffectPut(an_effect(run, "k", arguments=value, value=value)),
                ItemsPut((an_item(run, 1, value=value),)),
            )
            first = a_write(run, rows=[a_row(run, 1, body=text)], changes=changes)
            await store.create(a_record(run, structure=structure), first, ME)
            loaded = await store.load(run)
            (asked,) = await store.find(Questions(run=run))
            (entered,) = await store.find(Effects(run=run))
            (item,) = await store.find(Items(run=run))
            found = [asked.schema, asked.answer, entered.arguments, entered.value, item.value]
            assert [bytes(each) for each in found] == [text] * 5
            assert (loaded.rows[0].body, loaded.record.structure) == (text, structure)

    async def test_what_a_command_says_comes_back(self, store: Store) -> None:
        await begun(store)
        numbers: list[Any] = [0, -0.0, 1.0, 0.1, 5e-324, 2**53 + 1, 2**63 - 1, -(2**63)]
        values: list[Any] = [None, True, *numbers, "", "\0", "é", [], {}, [[{}]]]
        arguments = {f"a{n}": value for n, value in enumerate(values)}
        await store.post(a_command("run-1", "c", "resume", **arguments))
        (command,) = await store.find(Commands(run="run-1"))
        assert repr(command.arguments) == repr(arguments)

    async def test_what_a_command_cannot_say_is_refused(self, store: Store) -> None:
        await begun(store)
        for value in (object(), {1, object()}, "a\ud800"):
            with pytest.raises(StoreError):
                await store.post(a_command("run-1", "c", value=value))
        assert await store.find(Commands(run="run-1")) == []
        assert await store.post(a_command("run-1", "c"))

    async def test_bodies_may_be_empty_to_large(self, store: Store) -> None:
        await begun(store)
        bodies = [b"{}", b"x", *(b"y" * (1 << power) for power in (10, 12, 16, 22))]
        for body in bodies:
            seq = await latest(store)
            await store.commit(a_write(after=seq, rows=[a_row("run-1", seq + 1, body=body)]))
        assert [row.body for row in (await store.load("run-1")).rows[1:]] == bodies

    async def test_blobs_may_be_large(self, store: Store) -> None:
        await begun(store)
        blobs = [a_blob(bytes(range(256)) * 2**14), a_blob(b"\0" * 2**23)]
        await store.commit(a_write(after=1, changes=tuple(map(BlobPut, blobs))))
        assert await contents(store, *blobs) == {blob.digest: blob.content for blob in blobs}

    async def test_records_may_be_large(self, store: Store) -> None:
        tags = {f"tag-{i}": "v" * 50 for i in range(1_000)}
        channels = {f"channel-{i}": "append" for i in range(1_000)}
        question = a_question("run-1", "q", prompt="é" * 500_000)
        first = a_write(changes=(QuestionPut(question),))
        await store.create(a_record(tags=tags, channels=channels), first, ME)
        kept = (await store.load("run-1")).record
        assert (kept.tags, list(kept.channels.items())) == (tags, list(channels.items()))
        assert await store.find(Questions()) == [question]
        assert len(await store.find(Runs(tags=tags))) == 1

    async def test_a_snapshot_may_be_large_and_name_many_blobs(self, store: Store) -> None:
        await begun(store)
        manifest = a_manifest("run-1", 2, blobs=tuple(f"{i:064x}" for i in range(2_000)))
        await store.commit(a_write(after=1, changes=(ManifestPut(manifest),)))
        assert (await store.load("run-1")).manifest == manifest

    @pytest.mark.parametrize("at", TIMES)
    async def test_times_come_back_to_the_microsecond(self, store: Store, at: float) -> None:
        row = replace(a_row("run-1", 1), at=at)
        question = a_question("run-1", "q", asked_at=at, answered_at=at)
        effect, item = an_effect("run-1", "k", at=at), an_item("run-1", 1, at=at)
        changes = (QuestionPut(question), EffectPut(effect), ItemsPut((item,)))
        first = a_write(rows=[row], status=WAITING, due_at=at, changes=changes)
        await store.create(a_record(created_at=at), first, ME)
        await store.post(replace(a_command("run-1", "c"), at=at))
        record = (await store.load("run-1")).record
        assert [record.created_at, record.updated_at, record.head.due_at] == [at, at, at]
        assert await store.find(Rows(run="run-1")) == [row]
        assert await store.find(Questions()) == [question]
        assert (await store.find(Effects(run="run-1")))[0].at == (await store.find(Items(run="run-1")))[0].at == at
        assert (await store.find(Commands(run="run-1")))[0].at == at

    async def test_work_is_due_at_its_microsecond(self, store: Store) -> None:
        first = a_write(epoch=0, status=WAITING, due_at=NOON + MICRO)
        await store.create(a_record(), first, None)
        assert await store.find(Runs(claimable=True, due_before=NOON)) == []
        assert len(await store.find(Runs(claimable=True, due_before=NOON + MICRO))) == 1

    async def test_a_time_that_is_no_number_is_refused(self, store: Store) -> None:
        await begun(store)
        for write in (
            a_write(after=1, status=WAITING, due_at=math.nan),
            a_write(after=1, rows=[replace(a_row("run-1", 2), at=math.nan)]),
        ):
            with pytest.raises(StoreError):
                await store.commit(write)
        assert await rows_of(store) == [(1, 1)]

    async def test_a_time_without_end_is_never_due(self, store: Store) -> None:
        await store.create(a_record(), a_write(epoch=0, status=WAITING, due_at=math.inf), None)
        assert (await store.load("run-1")).record.head.due_at == math.inf
        assert await store.find(Runs(claimable=True, due_before=1e300)) == []

    async def test_time_may_stand_still_or_go_back(self, store: Store) -> None:
        await begun(store)
        for seq, at in ((2, NOON), (3, NOON), (4, NOON - 3600)):
            await store.commit(a_write(after=seq - 1, rows=[replace(a_row("run-1", seq), at=at)]))
        assert [row.at for row in await store.find(Rows(run="run-1", after=1))] == [NOON, NOON, NOON - 3600]
        assert (await store.load("run-1")).record.updated_at == NOON - 3600

    @pytest.mark.parametrize(
        "fields",
        [{"body": b'{"at":0}'}, {"body": b""}, {"digest": "0" * 64}, {"digest": a_row("run-2", 2).digest},
         {"digest": a_row("run-1", 3).digest}],
        ids=["another body", "no body", "no digest", "of another run", "of another event"],
    )  # fmt: skip
    async def test_a_row_that_is_not_its_digest_is_corruption(self, store: Store, fields: dict[str, Any]) -> None:
        await begun(store)
        false = falsified(a_row("run-1", 2), **fields)
        if not await refused_or_kept_false(store.commit(a_write(after=1, rows=[false]))):
            return
        for asked in (Rows(run="run-1"), Rows(run="run-1", newest_first=True), Rows(run="run-1", kind="step")):
            with pytest.raises(StoreCorrupt, match="run-1"):
                await store.find(asked)
        with pytest.raises(StoreCorrupt, match="run-1"):
            await store.load("run-1")

    async def test_one_damaged_row_among_many_is_found(self, store: Store) -> None:
        await begun(store)
        rows = [a_row("run-1", seq) for seq in range(2, 102)]
        rows[50] = falsified(rows[50], body=b'{"at":0}')
        if await refused_or_kept_false(store.commit(a_write(after=1, rows=rows))):
            with pytest.raises(StoreCorrupt, match="52"):
                await store.load("run-1")

    async def test_what_lies_beside_a_damaged_row_is_still_read(self, store: Store) -> None:
        await begun(store)
        rows = [a_row("run-1", 2), falsified(a_row("run-1", 3), body=b"{}"), a_row("run-1", 4)]
        if await refused_or_kept_false(store.commit(a_write(after=1, rows=rows))):
            assert await store.find(Rows(run="run-1", until=2)) == [a_row("run-1", 1), rows[0]]
            assert await store.find(Rows(run="run-1", after=3)) == rows[2:]

    async def test_a_damaged_run_leaves_the_others_alone(self, store: Store) -> None:
        await begun(store)
        await begun(store, "run-2")
        await refused_or_kept_false(store.commit(a_write(after=1, rows=[falsified(a_row("run-1", 2), body=b"{}")])))
        await store.commit(a_write("run-2", after=1))
        assert await rows_of(store, "run-2") == [(1, 1), (2, 2)]
        assert [record.id for record in await store.find(Runs())] == ["run-2", "run-1"]

    @pytest.mark.parametrize("fields", [{"body": b"{}"}, {"digest": "0" * 64}, {"seq": 2, "digest": "f" * 64}])
    async def test_a_snapshot_that_is_not_its_digest_is_corruption(self, store: Store, fields: dict[str, Any]) -> None:
        await begun(store)
        false = replace(a_manifest("run-1", 2), **fields)
        if await refused_or_kept_false(store.commit(a_write(after=1, changes=(ManifestPut(false),)))):
            with pytest.raises(StoreCorrupt, match="run-1"):
                await store.load("run-1")
            with pytest.raises(StoreCorrupt, match="run-1"):
                await store.find(Manifests(run="run-1", until=2))

    async def test_a_blob_of_no_digest_is_missing(self, store: Store) -> None:
        for digest in ("", "zz", "A" * 64, "é" * 64, "a" * 63):
            with pytest.raises(StoreError):
                await contents(store, digest)

    @pytest.mark.parametrize("digest", ["", "zz", "A" * 64, "a" * 63, "a" * 65])
    async def test_a_digest_that_is_none_is_refused(self, store: Store, digest: str) -> None:
        await begun(store)
        row = falsified(a_row("run-1", 2), digest=digest)
        if await refused_or_kept_false(store.commit(a_write(after=1, rows=[row]))):
            with pytest.raises(StoreCorrupt):
                await store.load("run-1")
        else:
            assert await rows_of(store) == [(1, 1)]

    async def test_records_that_were_read_are_the_readers_own(self, store: Store) -> None:
        await begun(store, tags={"a": "b"})
        await store.post(a_command("run-1", "c", "resume", edits=[1]))
        (command,) = await store.find(Commands(run="run-1"))
        command.arguments["edits"].append(2)
        (record,) = await store.find(Runs())
        record.tags["a"] = "changed"
        assert (await store.find(Commands(run="run-1")))[0].arguments == {"edits": [1]}
        assert (await store.find(Runs()))[0].tags == {"a": "b"}
        assert (await store.load("run-1")).record.tags == {"a": "b"}

    async def test_what_was_written_is_no_longer_the_writers(self, store: Store) -> None:
        tags, edits = {"a": "b"}, [1]
        await begun(store, tags=tags)
        await store.post(a_command("run-1", "c", "resume", edits=edits))
        tags["a"] = "changed"
        edits.append(2)
        assert (await store.find(Runs()))[0].tags == {"a": "b"}
        assert (await store.find(Commands(run="run-1")))[0].arguments == {"edits": [1]}

    async def test_every_part_of_a_head_comes_back(self, store: Store) -> None:
        await begun(store)
        head = Head(WAITING, 2**31, 2**31, 2, NOON + 0.5, 2**31)
        await store.commit(replace(a_write(after=1), head=head))
        assert as_json((await store.load("run-1")).record.head) == as_json(head)
