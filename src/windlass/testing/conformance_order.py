"""How lists are cut and ordered: pages, filters that are taken literally, tenants apart, text compared as it is."""
# ruff: noqa: D102, S101 -- a check's name is its sentence, and to assert is what it is for

import asyncio
from typing import Any

import pytest

from windlass.core.changes import EffectPut, QuestionPut
from windlass.core.errors import StoreCorrupt, StoreError, WindlassError
from windlass.core.queries import Commands, Effects, Items, Manifests, Query, Questions, Rows, Runs
from windlass.core.states import CREATED
from windlass.stores.base import Store
from windlass.testing.conformance_place import ME, NO_TEXT, WORDS, Place, begun
from windlass.testing.specimens import (
    NOON,
    a_command,
    a_question,
    a_record,
    a_write,
    an_effect,
    an_item,
    as_json,
)

TENANTS = ("a", "aa", "a%", "a_", "A", "a.b", "a/b", "é", "e\u0301", "", " ", "a ", " a", "a\0", "\0a", "default", "*")
ADDRESSES = ["", "A", "a", "a#1", "aa", "é", "日", "\uffff", "\U00010000"]  # in the order of their code points
SOUGHT: dict[str, Any] = {
    "ids of runs": lambda word: Runs(ids=(word,)),
    "definition": lambda word: Runs(definitions=(word,)),
    "tenant": lambda word: Runs(tenant=word),
    "key of a tag": lambda word: Runs(tags={word: "x"}),
    "tag": lambda word: Runs(tags={"team": word}),
    "page": lambda word: Runs(after=word),
    "work": lambda word: Runs(claimable=True, tenant=word),
    "rows": lambda word: Rows(run=word),
    "kind": lambda word: Rows(run="run-1", kind=word),
    "questions": lambda word: Questions(run=word, statuses=None),
    "ids of questions": lambda word: Questions(ids=(word,), statuses=None),
    "status of questions": lambda word: Questions(statuses=(word,)),
    "commands": lambda word: Commands(run=word),
    "tree": lambda word: Effects(tree=word),
    "effects": lambda word: Effects(run=word),
    "address": lambda word: Effects(tree="run-1", address=word),
    "items": lambda word: Items(run=word),
    "lane": lambda word: Items(run="run-1", lane=word),
    "snapshots": lambda word: Manifests(run=word, until=9),
}


async def full(store: Store) -> None:
    """Make a run that has one of everything, under plain names."""
    changes = (QuestionPut(a_question("run-1", "q-1")), EffectPut(an_effect("run-1", "k-1")))
    await store.create(a_record(tags={"team": "red"}), a_write(changes=changes), ME)
    await store.post(a_command("run-1", "c-1"))
    await store.append_items("run-1", 1, [an_item("run-1", 1)])


async def listed(store: Store, **filters: Any) -> list[str]:
    """List runs by id."""
    return [record.id for record in await store.find(Runs(**filters))]


class OrderChecks(Place):
    """Pages, filters, tenants, order."""

    async def test_pages_of_rows_stand_still_while_rows_are_written(self, store: Store) -> None:
        await begun(store)
        for after in range(1, 10):
            await store.commit(a_write(after=after))
        seen: list[int] = []
        for seq in range(10, 15):
            page = await store.find(Rows(run="run-1", after=seen[-1] if seen else 0, until=10, limit=3))
            seen += [row.last for row in page]
            await store.commit(a_write(after=seq))
        assert seen == list(range(1, 11))

    async def test_pages_of_items_stand_still_while_items_come(self, store: Store) -> None:
        await begun(store)
        await store.append_items("run-1", 1, [an_item("run-1", n) for n in range(0, 20, 2)])
        seen: list[int] = []
        for n in (1, 3, 5, 7):  # below what was read: they came too late for this reader
            page = await store.find(Items(run="run-1", after=seen[-1] if seen else 10, limit=2))
            seen += [item.arrival for item in page]
            await store.append_items("run-1", 1, [an_item("run-1", n)])
        assert seen == [12, 14, 16, 18]

    @pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
    async def test_pages_of_any_size_have_each_run_once(self, store: Store, limit: int) -> None:
        runs = [f"run-{i}" for i in range(7)]
        for run in runs:
            await begun(store, run)
        seen: list[str] = []
        while len(seen) <= len(runs) and (page := await listed(store, limit=limit, after=seen[-1] if seen else None)):
            seen += page
            await begun(store, f"new-{len(seen)}")
        assert seen == runs[::-1]

    async def test_pages_of_work_have_each_run_once(self, store: Store) -> None:
        runs = [f"run-{i}" for i in range(7)]
        for run in runs:
            await store.create(a_record(run), a_write(run, epoch=0, status=CREATED), None)
        seen: list[str] = []
        while len(seen) <= len(runs) and (
            page := await listed(store, claimable=True, limit=2, after=seen[-1] if seen else None)
        ):
            seen += page
            await store.claim(page[0], ME)
        assert seen == runs[::-1]

    @pytest.mark.parametrize("limit", [0, -1, -1000])
    async def test_no_more_than_the_limit_comes(self, store: Store, limit: int) -> None:
        await full(store)
        queries: list[Query[Any]] = [
            Runs(limit=limit), Rows(run="run-1", limit=limit), Questions(limit=limit), Items(run="run-1", limit=limit),
        ]  # fmt: skip
        assert [await store.find(query) for query in queries] == [[], [], [], []]

    async def test_a_limit_may_be_larger_than_what_there_is(self, store: Store) -> None:
        await full(store)
        assert len(await store.find(Runs(limit=2**31))) == len(await store.find(Items(run="run-1", limit=2**31))) == 1

    async def test_what_is_asked_for_is_data(self, store: Store) -> None:
        await full(store)
        before = as_json(await store.load("run-1"))
        for where, query in SOUGHT.items():
            for word in WORDS:
                assert await store.find(query(word)) == [], (where, word)
        assert as_json(await store.load("run-1")) == before
        assert len(await store.find(Questions())) == len(await store.find(Commands(run="run-1"))) == 1

    async def test_what_is_written_is_data(self, store: Store) -> None:
        await begun(store)
        for seq, word in enumerate(WORDS, 1):
            question = a_question("run-1", f"q {word}", address=word, key=word, prompt=word, by=word)
            effect = an_effect(word, word, address=word, name=word, undo=word, on_doubt=word)
            items = [an_item("run-1", seq, address=word)]
            await store.commit(a_write(after=seq, changes=(QuestionPut(question), EffectPut(effect))))
            await store.append_items("run-1", 1, items)
            command = a_command("run-1", f"c {word}", word, **{word: word})
            await store.post(command)
            assert await store.find(Questions(ids=(question.id,))) == [question]
            assert await store.find(Effects(tree=word)) == await store.find(Effects(run=word)) == [effect]
            assert await store.find(Items(run="run-1", after=seq - 1)) == items
            assert (await store.find(Commands(run="run-1")))[-1] == command

    async def test_a_name_that_is_no_text_cannot_be_kept(self, store: Store) -> None:
        await full(store)
        for fields in (
            {"tenant": NO_TEXT},
            {"tags": {"a": NO_TEXT}},
            {"tags": {NO_TEXT: "a"}},
            {"definition": NO_TEXT},
        ):
            with pytest.raises(StoreError):
                await begun(store, "run-2", **fields)
        for command in (a_command("run-1", NO_TEXT), a_command("run-1", "c-2", NO_TEXT)):
            with pytest.raises(StoreError):
                await store.post(command)
        assert await listed(store) == ["run-1"]

    async def test_a_name_that_is_no_text_is_no_corruption(self, store: Store) -> None:
        await full(store)
        calls = [store.find(query(NO_TEXT)) for query in SOUGHT.values()]
        for call in (*calls, store.load(NO_TEXT), store.claim(NO_TEXT, ME), store.release(NO_TEXT, 1)):
            (end,) = await asyncio.gather(call, return_exceptions=True)
            assert end in ([], None) or (isinstance(end, WindlassError) and not isinstance(end, StoreCorrupt)), end
        assert await listed(store) == ["run-1"]

    async def test_a_tenant_sees_its_own_runs(self, store: Store) -> None:
        for tenant in TENANTS:
            for n in (1, 2):
                await begun(store, f"{tenant}-{n}", tenant=tenant, tags={"tenant": tenant})
        for tenant in TENANTS:
            assert await listed(store, tenant=tenant) == [f"{tenant}-2", f"{tenant}-1"]
            assert await listed(store, tenant=tenant, tags={"tenant": tenant}, limit=1) == [f"{tenant}-2"]
            assert await listed(store, tenant=tenant, ids=(f"{tenant}-1", "a-1")) == [f"{tenant}-1"]
        assert len(await listed(store)) == len(TENANTS) * 2

    async def test_a_tenants_work_is_its_own(self, store: Store) -> None:
        for tenant in TENANTS:
            run = f"run {tenant}"
            await store.create(a_record(run, tenant=tenant), a_write(run, epoch=0, status=CREATED), None)
        for tenant in TENANTS:
            assert await listed(store, claimable=True, tenant=tenant) == [f"run {tenant}"]

    async def test_a_tenant_that_has_nothing_sees_nothing(self, store: Store) -> None:
        await begun(store, tenant="acme")
        for tenant in ("ACME", "acm", "acme ", "acme\0", "a", "", "%", "_cme", "*"):
            assert await listed(store, tenant=tenant) == []

    async def test_tags_are_text_and_nothing_else(self, store: Store) -> None:
        values = ["1", "1.0", "01", "true", "null", "", " ", "[]", '{"a":1}', '"1"']
        for value in values:
            await begun(store, f"run {value}", tags={"v": value, value or "empty": "v"})
        for value in values:
            assert await listed(store, tags={"v": value}) == [f"run {value}"]
            assert await listed(store, tags={value or "empty": "v"}) == [f"run {value}"]
        assert await listed(store, tags={"v": "None"}) == []

    async def test_a_tag_is_a_key_with_its_value(self, store: Store) -> None:
        await begun(store, "one", tags={"a": "b", "c": "d"})
        await begun(store, "two", tags={"a": "d", "c": "b"})
        assert await listed(store, tags={"a": "b"}) == ["one"]
        assert await listed(store, tags={"a": "d", "c": "b"}) == ["two"]
        assert await listed(store, tags={"b": "a"}) == await listed(store, tags={"a": "b", "x": "y"}) == []

    async def test_many_filters_hold_together(self, store: Store) -> None:
        many = tuple(f"other-{i}" for i in range(3_000))
        await begun(store, definition="review")
        assert await listed(store, ids=(*many, "run-1"), definitions=(*many, "review")) == ["run-1"]

    async def test_runs_are_in_the_order_of_their_making(self, store: Store) -> None:
        made = ["b", "a", "ä", "c", "B", "10", "9"]
        for age, run in enumerate(made):
            await begun(store, run, created_at=NOON - age)
        assert await listed(store) == made[::-1]

    async def test_questions_are_in_the_order_of_their_asking(self, store: Store) -> None:
        asked = [a_question("run-1", id_, asked_at=NOON - n) for n, id_ in enumerate("bac")]
        await store.create(a_record(), a_write(changes=tuple(map(QuestionPut, asked))), ME)
        await store.commit(a_write(after=1, changes=(QuestionPut(a_question("run-1", "b", prompt="again")),)))
        assert [question.id for question in await store.find(Questions())] == ["b", "a", "c"]
        assert [question.id for question in await store.find(Questions(ids=("c", "b")))] == ["b", "c"]

    async def test_commands_are_in_the_order_of_their_posting(self, store: Store) -> None:
        await begun(store)
        for id_ in ("z", "a", "10", "9"):
            await store.post(a_command("run-1", id_))
        assert [command.id for command in await store.find(Commands(run="run-1"))] == ["z", "a", "10", "9"]

    async def test_effects_are_in_the_order_of_their_entry(self, store: Store) -> None:
        await begun(store)
        for seq, key in enumerate(("z", "a", "10", "9"), 1):
            await store.commit(a_write(after=seq, changes=(EffectPut(an_effect("run-1", key)),)))
        assert [effect.key for effect in await store.find(Effects(run="run-1"))] == ["z", "a", "10", "9"]

    async def test_text_is_ordered_by_its_code_points(self, store: Store) -> None:
        await begun(store)
        items = [an_item("run-1", 1, address=address) for address in ADDRESSES]
        await store.append_items("run-1", 1, items[::-1])
        assert [item.address for item in await store.find(Items(run="run-1"))] == ADDRESSES

    async def test_items_of_one_arrival_are_in_one_order(self, store: Store) -> None:
        await begun(store)
        places = [("progress", 1, 1), ("progress", 1, 2), ("progress", 2, 0), ("progress", 10, 0), ("stream", 1, 0)]
        items = [an_item("run-1", 1, lane=lane, attempt=attempt, ordinal=n) for lane, attempt, n in places]
        await store.append_items("run-1", 1, items[::-1])
        assert await store.find(Items(run="run-1")) == items

    async def test_numbers_are_ordered_as_numbers(self, store: Store) -> None:
        await begun(store)
        arrivals = [0, 1, 9, 10, 99, 100, 2**31, 2**40, 2**53 + 1, 2**63 - 1]
        await store.append_items("run-1", 1, [an_item("run-1", n) for n in reversed(arrivals)])
        assert [item.arrival for item in await store.find(Items(run="run-1"))] == arrivals
        assert [item.arrival for item in await store.find(Items(run="run-1", after=2**53))] == arrivals[-2:]
