"""What a store keeps beside the log: commands, questions, effects, stream items, blobs; and how it ends."""
# ruff: noqa: D102, PLR2004, S101 -- a check's name is its sentence, and to assert is what it is for

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import replace

from windlass.core.changes import BlobPut, CommandTaken, EffectPut, ItemsDropped, ItemsPut, QuestionPut
from windlass.core.errors import (
    AlreadyAnswered,
    NotForYou,
    QuestionExpired,
    QuestionUnknown,
    RunUnknown,
    StaleLease,
    StoreCorrupt,
    StoreError,
)
from windlass.core.ops import Terms
from windlass.core.queries import Blobs, Commands, Effects, Items, Questions, Runs
from windlass.stores.base import Store
from windlass.testing.conformance_place import ME, Place, begun
from windlass.testing.specimens import (
    NOON,
    HandClock,
    a_blob,
    a_command,
    a_question,
    a_record,
    a_write,
    an_effect,
    an_item,
    as_json,
    contents,
)


async def asked(store: Store, *ids: str, run: str = "run-1") -> None:
    """Make a run that has asked questions."""
    await store.create(a_record(run), a_write(run, changes=tuple(QuestionPut(a_question(run, id_)) for id_ in ids)), ME)


async def question_ids(store: Store, query: Questions) -> list[str]:
    """List questions by id."""
    return [question.id for question in await store.find(query)]


async def arrivals(store: Store, query: Items) -> list[int]:
    """List items by arrival."""
    return [item.arrival for item in await store.find(query)]


class BesideChecks(Place):
    """Commands, questions, effects, items, blobs, close."""

    async def test_a_command_waits_for_the_owner(self, store: Store) -> None:
        await begun(store)
        commands = [a_command("run-1", f"c-{i}", "resume", edits={"a": [1, None, "é"]}) for i in range(3)]
        assert [await store.post(command) for command in commands] == [True, True, True]
        assert await store.find(Commands(run="run-1")) == commands
        assert await store.find(Commands(run="run-2")) == []

    async def test_a_command_is_posted_once(self, store: Store) -> None:
        await begun(store)
        assert await store.post(a_command("run-1", "c"))
        assert not await store.post(a_command("run-1", "c", "cancel"))
        assert [command.verb for command in await store.find(Commands(run="run-1"))] == ["pause"]

    async def test_a_taken_command_is_gone_for_good(self, store: Store) -> None:
        await begun(store)
        await store.post(a_command("run-1", "c"))
        await store.post(a_command("run-1", "d"))
        await store.commit(a_write(after=1, changes=(CommandTaken("c"), CommandTaken("never posted"))))
        assert [command.id for command in await store.find(Commands(run="run-1"))] == ["d"]
        assert not await store.post(a_command("run-1", "c"))
        assert not await store.post(a_command("run-1", "never posted"))

    async def test_a_command_needs_a_run(self, store: Store) -> None:
        with pytest.raises(RunUnknown, match="nowhere"):
            await store.post(a_command("nowhere", "c"))

    async def test_a_command_needs_no_owner(self, store: Store) -> None:
        await begun(store)
        await store.release("run-1", 1)
        assert await store.post(a_command("run-1", "c"))

    async def test_every_field_of_a_question_comes_back(self, store: Store) -> None:
        full = a_question(
            "run-1", "q", schema=Raw(b'{"enum":["a",null]}'), status="answered", answer=Raw(b'{"$":"set","v":[1]}'),
            by="anna", answered_at=NOON + 1.5,
        )  # fmt: skip
        await store.create(a_record(), a_write(changes=(QuestionPut(full),)), ME)
        (found,) = await store.find(Questions(statuses=None))
        assert as_json(found) == as_json(full)

    async def test_questions_come_oldest_first_and_open(self, store: Store) -> None:
        await asked(store, "b", "a", "c")
        await asked(store, "d", run="run-2")
        taken = QuestionPut(a_question("run-1", "a", status="taken"))
        await store.commit(a_write(after=1, changes=(taken,)))
        assert await question_ids(store, Questions()) == ["b", "c", "d"]
        assert await question_ids(store, Questions(statuses=None)) == ["b", "a", "c", "d"]
        assert await question_ids(store, Questions(statuses=("taken", "withdrawn"))) == ["a"]
        assert await question_ids(store, Questions(limit=2)) == ["b", "c"]

    async def test_questions_come_by_run_and_id(self, store: Store) -> None:
        await asked(store, "a", "b")
        await asked(store, "c", run="run-2")
        assert await question_ids(store, Questions(run="run-2")) == ["c"]
        assert await question_ids(store, Questions(run="nowhere")) == []
        assert await question_ids(store, Questions(ids=("c", "a", "nothing"))) == ["a", "c"]
        assert await question_ids(store, Questions(run="run-1", ids=("c", "a"))) == ["a"]
        assert await question_ids(store, Questions(ids=())) == []

    async def test_an_answer_closes_its_question(self, store: Store) -> None:
        await asked(store, "q")
        value = {"ok": True, "n": [1, 2.0]}
        assert await store.post(a_command("run-1", "c", "answer", question="q", value=value))
        (question,) = await store.find(Questions(statuses=("answered",)))
        assert question == a_question(
            "run-1", "q", status="answered", answer=Raw(b'{"ok":true,"n":[1,2.0]}'), by="anna", answered_at=NOON
        )
        assert [command.id for command in await store.find(Commands(run="run-1"))] == ["c"]

    async def test_an_answer_may_be_given_as_bytes(self, store: Store) -> None:
        await asked(store, "q")
        await store.post(a_command("run-1", "c", "answer", question="q", value=Raw(b'{"$":"set","v":[1]}')))
        (question,) = await store.find(Questions(statuses=None))
        assert question.answer == Raw(b'{"$":"set","v":[1]}')

    async def test_a_second_answer_is_refused(self, store: Store) -> None:
        await asked(store, "q")
        await store.post(a_command("run-1", "c", "answer", question="q", value=1))
        with pytest.raises(AlreadyAnswered, match="q of run run-1 is answered by anna"):
            await store.post(a_command("run-1", "d", "answer", question="q", value=2))
        assert [command.id for command in await store.find(Commands(run="run-1"))] == ["c"]
        (question,) = await store.find(Questions(statuses=None))
        assert question.answer == Raw(b"1")

    async def test_the_same_answer_again_is_nothing(self, store: Store) -> None:
        await asked(store, "q")
        same = a_command("run-1", "c", "answer", question="q", value=1)
        assert [await store.post(same), await store.post(same)] == [True, False]

    async def test_eight_answers_at_once_have_one_winner(self, store: Store) -> None:
        await asked(store, "q")
        answers = [a_command("run-1", f"c-{i}", "answer", question="q", value=i) for i in range(8)]
        ends = await asyncio.gather(*map(store.post, answers), return_exceptions=True)
        assert ends.count(True) == 1
        assert sum(isinstance(end, AlreadyAnswered) for end in ends) == 7
        (question,) = await store.find(Questions(statuses=None))
        assert question.answer == Raw(b"%d" % ends.index(True))

    async def test_an_answer_after_the_deadline_is_refused(self, store: Store) -> None:
        question = a_question("run-1", "q", terms=Terms(due_at=NOON + 10))
        await store.create(a_record(), a_write(changes=(QuestionPut(question),)), ME)
        late = replace(a_command("run-1", "c", "answer", question="q", value=1), at=NOON + 10)
        with pytest.raises(QuestionExpired, match="q of run run-1"):
            await store.post(late)
        assert await store.find(Commands(run="run-1")) == []
        assert await question_ids(store, Questions()) == ["q"]
        assert await store.post(replace(late, id="d", at=NOON + 9))

    async def test_an_answer_that_was_stamped_in_time_and_comes_late_is_refused(
        self, store: Store, clock: HandClock
    ) -> None:
        question = a_question("run-1", "q", terms=Terms(due_at=NOON + 10))
        await store.create(a_record(), a_write(changes=(QuestionPut(question),)), ME)
        clock.time += 10
        with pytest.raises(QuestionExpired, match="q of run run-1"):
            await store.post(a_command("run-1", "c", "answer", question="q", value=1))
        assert await question_ids(store, Questions()) == ["q"]

    async def test_the_clock_may_answer_after_the_deadline(self, store: Store) -> None:
        question = a_question("run-1", "q", terms=Terms(due_at=NOON))
        await store.create(a_record(), a_write(changes=(QuestionPut(question),)), ME)
        assert await store.post(a_command("run-1", "c", "answer", question="q", value=None, expired="reject"))
        assert await question_ids(store, Questions(statuses=("answered",))) == ["q"]

    async def test_a_question_is_put_to_somebody_else(self, store: Store) -> None:
        await asked(store, "q")
        assert await store.post(a_command("run-1", "c", "escalate", question="q", to="role:cfo"))
        (question,) = await store.find(Questions())
        assert (question.status, question.terms.to) == ("open", "role:cfo")
        assert [command.verb for command in await store.find(Commands(run="run-1"))] == ["escalate"]
        await store.post(a_command("run-1", "d", "answer", question="q", value=1))
        with pytest.raises(AlreadyAnswered):
            await store.post(a_command("run-1", "e", "escalate", question="q", to="role:ceo"))

    @pytest.mark.parametrize("verb", ["answer", "escalate"])
    async def test_what_is_meant_for_another_addressee_is_refused(self, store: Store, verb: str) -> None:
        question = a_question("run-1", "q", terms=Terms(to="role:cfo"))
        await store.create(a_record(), a_write(changes=(QuestionPut(question),)), ME)
        given = {"question": "q", "value": 1, "to": "user:bob"}
        with pytest.raises(NotForYou, match="role:cfo"):
            await store.post(a_command("run-1", "c", verb, **given, asked="user:ann"))
        assert await store.find(Commands(run="run-1")) == []
        assert await store.post(a_command("run-1", "c", verb, **given, asked="role:cfo"))

    @pytest.mark.parametrize("status", ["taken", "expired", "withdrawn"])
    async def test_a_closed_question_takes_no_answer(self, store: Store, status: str) -> None:
        await store.create(a_record(), a_write(changes=(QuestionPut(a_question("run-1", "q", status=status)),)), ME)
        with pytest.raises(AlreadyAnswered, match=status):
            await store.post(a_command("run-1", "c", "answer", question="q", value=1))

    async def test_an_answer_needs_a_question_of_the_run(self, store: Store) -> None:
        await asked(store, "q")
        await begun(store, "run-2")
        for run, question in (("run-1", "nothing"), ("run-2", "q")):
            with pytest.raises(QuestionUnknown):
                await store.post(a_command(run, "c", "answer", question=question, value=1))
        assert await store.find(Commands(run="run-2")) == []

    async def test_an_effect_is_replaced_in_its_place(self, store: Store) -> None:
        await begun(store)
        lines = [an_effect("run-1", key) for key in "ab"]
        await store.commit(a_write(after=1, changes=tuple(map(EffectPut, lines))))
        done = replace(lines[0], status="done", value=Raw(b'{"id":1}'), seq=3, at=NOON, generation=1, undo="delete")
        await store.commit(a_write(after=2, changes=(EffectPut(done),)))
        assert [as_json(line) for line in await store.find(Effects(tree="run-1"))] == [as_json(done), as_json(lines[1])]

    async def test_effects_come_by_tree_run_and_address(self, store: Store) -> None:
        await begun(store)
        lines = [
            an_effect("run-1", "a"), an_effect("run-1", "b", address="push#2"), an_effect("run-2", "a", tree="run-1"),
            an_effect("run-3", "a"), an_effect("run-1", "a", branch=1), an_effect("run-1", "a", name="tag"),
        ]  # fmt: skip
        await store.commit(a_write(after=1, changes=tuple(map(EffectPut, lines))))
        assert await store.find(Effects(tree="run-1")) == [*lines[:3], *lines[4:]]
        assert await store.find(Effects(tree="run-1", address="push#2")) == [lines[1]]
        assert await store.find(Effects(run="run-2")) == [lines[2]]
        assert await store.find(Effects(run="run-1", address="push#1")) == [lines[0], *lines[4:]]
        assert await store.find(Effects(tree="run-1", run="run-2", address="push#1")) == [lines[2]]
        assert await store.find(Effects(tree="nowhere")) == await store.find(Effects()) == []

    async def test_items_come_in_order_of_arrival(self, store: Store) -> None:
        await begun(store)
        items = [an_item("run-1", i, lane="stream" if i % 2 else "progress", at=NOON + i) for i in range(6)]
        await store.append_items("run-1", 1, items[3:])
        await store.append_items("run-1", 1, items[:3])
        assert await store.find(Items(run="run-1")) == items
        assert await arrivals(store, Items(run="run-1", after=2)) == [3, 4, 5]
        assert await arrivals(store, Items(run="run-1", lane="stream")) == [1, 3, 5]
        assert await arrivals(store, Items(run="run-1", limit=2)) == [0, 1]
        assert await arrivals(store, Items(run="nowhere")) == []

    async def test_items_may_ride_on_a_commit(self, store: Store) -> None:
        await begun(store)
        await store.commit(a_write(after=1, changes=(ItemsPut((an_item("run-1", 1), an_item("run-1", 2))),)))
        assert await arrivals(store, Items(run="run-1")) == [1, 2]

    async def test_items_need_no_head_but_the_epoch(self, store: Store) -> None:
        await begun(store)
        await store.append_items("run-1", 1, [])
        for run, epoch in (("run-1", 2), ("run-1", 0), ("nowhere", 1)):
            with pytest.raises(StaleLease, match=run):
                await store.append_items(run, epoch, [an_item(run, 1)])
        assert await arrivals(store, Items(run="run-1")) == []

    async def test_the_same_item_again_is_nothing(self, store: Store) -> None:
        await begun(store)
        for _ in range(2):
            await store.append_items("run-1", 1, [an_item("run-1", 1)])
        assert await arrivals(store, Items(run="run-1")) == [1]

    async def test_items_fall_away_by_attempt_and_lane(self, store: Store) -> None:
        await begun(store)
        items = [
            an_item("run-1", 1), an_item("run-1", 2, lane="stream"), an_item("run-1", 3, attempt=2),
            an_item("run-1", 4, address="read#2"),
        ]  # fmt: skip
        await store.append_items("run-1", 1, items)
        await store.commit(a_write(after=1, changes=(ItemsDropped("read#1", 1, "progress"),)))
        assert await arrivals(store, Items(run="run-1")) == [2, 3, 4]
        await store.commit(a_write(after=2, changes=(ItemsDropped("read#1", 1, before=2),)))
        assert await arrivals(store, Items(run="run-1")) == [2, 3, 4]
        await store.commit(a_write(after=3, changes=(ItemsDropped("read#1", 1),)))
        assert await arrivals(store, Items(run="run-1")) == [3, 4]

    async def test_blobs_come_back_by_digest(self, store: Store) -> None:
        await begun(store)
        values = [b"", b"x" * 200_000, bytes(range(256)) * 300, b"\x28\xb5\x2f\xfd" + b"not compressed at all"]
        blobs = [a_blob(value) for value in values]
        await store.commit(a_write(after=1, changes=tuple(map(BlobPut, blobs))))
        assert await contents(store, *blobs) == {blob.digest: blob.content for blob in blobs}
        assert await contents(store) == {}

    async def test_a_blob_is_kept_once(self, store: Store) -> None:
        await begun(store)
        blob = a_blob(b"x" * 1000)
        await store.commit(a_write(after=1, changes=(BlobPut(blob), BlobPut(blob))))
        await store.commit(a_write(after=2, changes=(BlobPut(blob),)))
        assert await contents(store, blob, blob) == {blob.digest: blob.content}

    async def test_a_missing_blob_is_corruption(self, store: Store) -> None:
        with pytest.raises(StoreCorrupt, match="a" * 64):
            await contents(store, "a" * 64)

    async def test_a_blob_that_is_not_its_digest_is_corruption(self, store: Store) -> None:
        await begun(store)
        false = replace(a_blob(b"one"), content=b"two")
        await store.commit(a_write(after=1, changes=(BlobPut(false),)))
        with pytest.raises(StoreCorrupt, match=false.digest):
            await contents(store, false)

    async def test_the_version_stands_while_nothing_is_written(self, store: Store) -> None:
        await begun(store)
        seen = store.version()
        await store.find(Runs())
        assert store.version() == seen

    async def test_opening_again_does_nothing(self, store: Store) -> None:
        await begun(store)
        await store.open()
        assert len(await store.find(Runs())) == 1

    async def test_a_new_store_needs_no_migration(self, store: Store) -> None:
        assert (await store.maintain("migrate"))["applied"] == []

    async def test_an_unknown_chore_is_refused(self, store: Store) -> None:
        with pytest.raises(StoreError, match="sweep"):
            await store.maintain("sweep")

    async def test_a_closed_store_refuses_everything(self, store: Store) -> None:
        await begun(store)
        await store.close()
        await store.close()
        for refused in self._everything(store):
            with pytest.raises(StoreError):
                await refused
        with pytest.raises(StoreError):
            store.version()
        with pytest.raises(StoreError):
            await store.open()

    async def test_a_store_that_was_never_opened_refuses_everything(self, clock: HandClock, tmp_path: Path) -> None:
        store = self.make(clock, tmp_path)
        *rest, migrate = self._everything(store)
        for refused in rest:
            with pytest.raises(StoreError):
                await refused
        migrate.close()

    def _everything(self, store: Store) -> list[Coroutine[Any, Any, object]]:
        return [
            store.create(a_record("new"), a_write("new"), ME), store.commit(a_write(after=1)), store.load("run-1"),
            store.post(a_command("run-1", "c")), store.claim("run-1", ME), store.release("run-1", 1),
            store.renew(ME), store.retire(ME), store.append_items("run-1", 1, []), store.find(Runs()),
            store.find(Blobs(digests=())), store.adjust([]), store.maintain("migrate"),
        ]  # fmt: skip
