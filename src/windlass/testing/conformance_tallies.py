"""Shared numbers: budgets, breakers and limits stand in the write that adjusts them, or nowhere.

What an operation comes to is tried in the tests of `windlass.policies`; here it is whether a store does it: once, in
order, for all processes alike, and together with the write that carries it.
"""
# ruff: noqa: D102, PLR2004, S101 -- a check's name is its sentence, and to assert is what it is for

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from windlass.core.changes import Adjust, LetterPut, QuestionPut
from windlass.core.errors import RunExists, StaleLease, StoreError
from windlass.core.queries import Questions, Tallies
from windlass.core.tallies import (
    MOST,
    BreakerAnswer,
    BudgetAnswer,
    BudgetState,
    Held,
    LimitAnswer,
    Op,
    Tally,
    held_key,
)
from windlass.stores.base import LEASE_SECONDS, Store
from windlass.testing.conformance_place import ME, NO_TEXT, TWO, WORDS, Breakdown, Fault, Place, begun, need, rows_of
from windlass.testing.specimens import (
    NOON,
    HandClock,
    a_breaker_op,
    a_budget_op,
    a_letter,
    a_limit_op,
    a_question,
    a_record,
    a_write,
)

POT, SWITCH, GATE = "budget|tenant|acme", "breaker|fleet||openai", "limit|fleet||openai"
STATE = msgspec.json.Decoder(BudgetState)
HELD = msgspec.json.Decoder(Held)


@dataclass(frozen=True)
class Row:
    """A tally as a check compares it."""

    key: str
    kind: str
    body: bytes
    version: int
    at: float


async def rows(store: Store, **asked: Any) -> list[Row]:
    """Read tallies."""
    found = await store.find(Tallies(**asked))
    assert all(isinstance(tally, Tally) for tally in found)
    return [Row(tally.key, tally.kind, bytes(tally.body), tally.version, tally.at) for tally in found]


async def pot(store: Store, key: str = POT) -> BudgetState:
    """Read a budget; an empty one when there is no row."""
    found = await rows(store, keys=(key,))
    return STATE.decode(found[0].body) if found else BudgetState()


async def holds(store: Store, key: str = POT) -> dict[str, int]:
    """Say how many tokens each run holds of a budget that is not its own."""
    found = await rows(store, prefix=held_key(key))
    return {row.key.rpartition("\x1f")[2]: HELD.decode(row.body).amounts["tokens_in"] for row in found}


def want(amount: int, run: str = "run-1", *, key: str = POT, limit: int = 10, **fields: Any) -> Adjust:
    """Reserve some tokens."""
    return Adjust(key, a_budget_op(run, want={"tokens_in": amount}, limit={"tokens_in": limit}, **fields))


async def told(*calls: Any) -> list[Any]:
    """Do calls at once, and return all their answers."""
    return [answer for answers in await asyncio.gather(*calls) for answer in answers]


class TallyChecks(Place):
    """What is adjusted with a write, and without one."""

    async def test_a_write_without_adjusts_has_no_answers(self, store: Store) -> None:
        assert await store.create(a_record(), a_write(), ME) == ()
        assert await store.commit(a_write(after=1)) == ()
        assert await store.adjust([]) == ()

    async def test_a_commit_answers_its_adjusts_in_order(self, store: Store) -> None:
        await begun(store)
        changes = (
            want(7), QuestionPut(a_question("run-1", "q")), Adjust(SWITCH, a_breaker_op("ask")), want(7),
            Adjust(GATE, a_limit_op(take=2, concurrency=5)),
        )  # fmt: skip
        assert await store.commit(a_write(after=1, changes=changes)) == (
            BudgetAnswer({"tokens_in": 7}, is_granted=True, left={"tokens_in": 3}),
            BreakerAnswer(admitted=True, status="closed"),
            BudgetAnswer({"tokens_in": 3}, is_granted=True, left={"tokens_in": 0}),
            LimitAnswer(2, NOON, 2),
        )
        assert (await pot(store)).held == {"tokens_in": 10}
        assert await holds(store) == {"run-1": 10}

    async def test_a_run_is_made_with_what_it_reserves(self, store: Store) -> None:
        answers = await store.create(a_record(), a_write(changes=(want(4),)), ME)
        assert answers == (BudgetAnswer({"tokens_in": 4}, is_granted=True, left={"tokens_in": 6}),)
        assert await holds(store) == {"run-1": 4}
        with pytest.raises(RunExists):
            await store.create(a_record(), a_write(changes=(want(4),)), ME)
        assert await holds(store) == {"run-1": 4}

    async def test_adjusting_needs_no_run(self, store: Store) -> None:
        assert await store.adjust([want(4, "nobody")]) == (
            BudgetAnswer({"tokens_in": 4}, is_granted=True, left={"tokens_in": 6}),
        )
        await begun(store)
        await store.adjust([want(4)])
        assert await holds(store) == {"nobody": 4, "run-1": 4}
        assert await rows_of(store) == [(1, 1)]
        await store.commit(a_write(after=1))

    async def test_a_refused_adjust_does_not_refuse_the_write(self, store: Store) -> None:
        await begun(store)
        (answer,) = await store.commit(a_write(after=1, changes=(want(30, need={"tokens_in": 11}),)))
        assert answer == BudgetAnswer({}, is_granted=False, left={"tokens_in": 10})
        assert await rows_of(store) == [(1, 1), (2, 2)]
        assert await rows(store) == []

    @pytest.mark.parametrize("fence", [{"epoch": 2}, {"after": 0}, {"run": "other"}])
    async def test_a_stale_write_adjusts_nothing(self, store: Store, fence: dict[str, Any]) -> None:
        await begun(store)
        changes = (want(4), Adjust(SWITCH, a_breaker_op("failed", failures=1)), LetterPut(a_letter("run-1", "l")))
        with pytest.raises(StaleLease):
            await store.commit(a_write(**{"after": 1, **fence, "changes": changes}))
        assert await rows(store) == []

    async def test_a_bad_change_beside_it_takes_an_adjust_back(self, store: Store) -> None:
        await begun(store)
        changes = (want(4), QuestionPut(a_question("another", "q")))
        with pytest.raises(StoreError):
            await store.commit(a_write(after=1, changes=changes))
        assert await rows(store) == []
        assert await rows_of(store) == [(1, 1)]

    @pytest.mark.parametrize("verb", ["create", "commit", "adjust"])
    async def test_a_failure_inside_a_write_takes_its_adjusts_back(self, store: Store, verb: str) -> None:
        await begun(store)
        changes = (want(4), LetterPut(a_letter("run-1", "l")))
        calls: dict[str, Any] = {
            "create": lambda: store.create(a_record("new"), a_write("new", changes=changes), ME),
            "commit": lambda: store.commit(a_write(after=1, changes=changes)),
            "adjust": lambda: store.adjust(changes),
        }
        await store.adjust([want(1)])
        before = await rows(store)
        with Fault(f"{verb}.inside"), pytest.raises((StoreError, Breakdown)):
            await calls[verb]()
        assert await rows(store) == before
        assert len(await calls[verb]()) == 1
        assert await holds(store) == {"run-1": 5}

    @pytest.mark.parametrize("nth", [1, 7, 20])
    async def test_answers_are_worked_out_anew_when_a_batch_is_redone(self, store: Store, nth: int) -> None:
        runs = [await begun(store, f"run-{i}") for i in range(20)]
        with Fault("commit.inside", nth):
            calls = [store.commit(a_write(run, after=1, changes=(want(1, run),))) for run in runs]
            ends: list[Any] = await asyncio.gather(*calls, return_exceptions=True)
        granted = [end[0].granted if isinstance(end, tuple) else None for end in ends]
        assert granted.count({"tokens_in": 1}) == 10
        held = await holds(store)
        assert len(held) == 10
        assert [run in held for run in runs] == [one == {"tokens_in": 1} for one in granted]

    async def test_many_that_want_the_same_get_no_more_than_there_is(self, store: Store) -> None:
        runs = [await begun(store, f"run-{i}") for i in range(20)]
        calls = [store.commit(a_write(run, after=1, changes=(want(3, run, limit=31),))) for run in runs]
        assert sum(answer.granted.get("tokens_in", 0) for answer in await told(*calls)) == 31
        assert (await pot(store)).held == {"tokens_in": 31}
        assert sum((await holds(store)).values()) == 31

    async def test_what_a_dead_owner_held_counts_as_spent(self, store: Store) -> None:
        await store.adjust([want(4, epoch=1)])
        (answer,) = await store.adjust([want(1, epoch=2)])
        assert answer == BudgetAnswer({"tokens_in": 1}, is_granted=True, left={"tokens_in": 5})
        assert await pot(store) == BudgetState({"tokens_in": 4}, {"tokens_in": 1})
        (refused,) = await store.adjust([want(1, epoch=1, used={"tokens_in": 1})])
        assert refused == BudgetAnswer({}, is_granted=False, left={"tokens_in": 5})
        assert await pot(store) == BudgetState({"tokens_in": 4}, {"tokens_in": 1})

    async def test_nothing_is_granted_to_an_owner_that_was_overtaken(self, store: Store, clock: HandClock) -> None:
        await begun(store)
        await store.adjust([want(4), Adjust(GATE, a_limit_op(take=2, concurrency=5))])
        clock.time += LEASE_SECONDS
        await store.claim("run-1", TWO)
        late = [want(3, used={"tokens_in": 1}, spent={"tokens_in": 2}), Adjust(GATE, a_limit_op(take=1, concurrency=5))]
        refused = BudgetAnswer({}, is_granted=False, left={"tokens_in": 5})
        assert await store.adjust(late) == (refused, LimitAnswer(0, NOON, 2))
        assert await pot(store) == BudgetState({"tokens_in": 2}, {"tokens_in": 3})  # what it tells counts
        (answer,) = await store.adjust([want(3, epoch=2)])
        assert answer == BudgetAnswer({"tokens_in": 3}, is_granted=True, left={"tokens_in": 2})
        assert await pot(store) == BudgetState({"tokens_in": 5}, {"tokens_in": 3})

    async def test_nothing_is_granted_to_a_run_that_nobody_owns(self, store: Store) -> None:
        await begun(store)
        await store.commit(a_write(after=1, release=True, changes=(want(4),)))
        op = a_budget_op("run-1", need={"tokens_in": 1}, want={"tokens_in": 1}, close=True)
        take = Adjust(GATE, a_limit_op(take=1, concurrency=5))
        (answer, permits) = await store.adjust([Adjust(POT, op), take])
        assert answer == BudgetAnswer({}, is_granted=False, left={})
        assert permits == LimitAnswer(0, NOON, 0)
        assert await rows(store) == []

    async def test_a_budget_settles_in_the_write_of_its_call(self, store: Store) -> None:
        await begun(store)
        await store.commit(a_write(after=1, changes=(want(6),)))
        settled = Adjust(POT, a_budget_op("run-1", used={"tokens_in": 6}, spent={"tokens_in": 9}, close=True))
        (answer,) = await store.commit(a_write(after=2, changes=(settled,)))
        assert answer == BudgetAnswer({}, is_granted=True, left={})
        assert await pot(store) == BudgetState({"tokens_in": 9})
        (short,) = await store.adjust([want(3)])
        assert short == BudgetAnswer({"tokens_in": 1}, is_granted=True, left={"tokens_in": 0})

    async def test_a_raise_is_done_once(self, store: Store) -> None:
        op = a_budget_op("run-1", limit={"tokens_in": 10}, raise_by={"tokens_in": 5}, raise_id="q-1")
        for _ in range(2):
            (answer,) = await store.adjust([Adjust(POT, op)])
            assert answer == BudgetAnswer({}, is_granted=True, left={"tokens_in": 15})

    async def test_half_open_admits_one_of_fifty(self, store: Store) -> None:
        await store.adjust([Adjust(SWITCH, a_breaker_op("failed", failures=1))])
        later = NOON + 31
        asks = [Adjust(SWITCH, a_breaker_op("ask", holder=f"run-{i}|1|a#1", at=later)) for i in range(50)]
        answers = await told(*[store.adjust([ask]) for ask in asks])
        assert [answer.admitted for answer in answers].count(True) == 1
        assert {answer.retry_at for answer in answers} == {0.0, later + 60}

    async def test_a_breaker_opens_by_the_failures_of_many(self, store: Store) -> None:
        runs = [await begun(store, f"run-{i}") for i in range(5)]
        answers: list[Any] = []
        for run in runs:
            op = a_breaker_op("failed", holder=f"{run}|1|a#1")
            answers += await store.commit(a_write(run, after=1, changes=(Adjust(SWITCH, op),)))
        assert [answer.status for answer in answers] == ["closed"] * 4 + ["open"]
        assert answers[-1].retry_at == NOON + 30

    async def test_a_limit_is_one_for_all(self, store: Store) -> None:
        takes = [Adjust(GATE, a_limit_op(f"run-{i}", take=3, concurrency=10)) for i in range(5)]
        answers = await told(*[store.adjust([take]) for take in takes])
        assert sorted(answer.granted for answer in answers) == [0, 1, 3, 3, 3]
        await store.adjust([Adjust(GATE, a_limit_op("run-0", close=True))])
        later = a_limit_op("run-9", take=9, concurrency=10, at=NOON + 100, until=NOON + 200)  # the others are forgotten
        (again,) = await store.adjust([Adjust(GATE, later)])
        assert again == LimitAnswer(9, NOON + 100, 9)

    async def test_a_row_falls_away_when_it_is_empty(self, store: Store) -> None:
        await store.adjust([want(4), Adjust(GATE, a_limit_op(take=1, concurrency=3))])
        assert len(await rows(store)) == 3
        await store.adjust([Adjust(POT, a_budget_op("run-1", close=True)), Adjust(GATE, a_limit_op(close=True))])
        assert await rows(store) == []

    async def test_the_version_counts_changes_and_nothing_else(self, store: Store) -> None:
        seen = []
        for amount, at in ((4, NOON), (30, NOON + 1), (1, NOON + 2)):
            await store.adjust([want(amount, need={"tokens_in": amount}, at=at)])
            (row,) = await rows(store, keys=(POT,))
            seen.append((row.version, row.at))
        assert seen == [(1, NOON), (1, NOON), (2, NOON + 2)]
        await store.adjust([want(1), want(1)])
        assert [row.version for row in await rows(store)] == [4, 4]  # of the budget, and of what the run holds


class TallyFindChecks(Place):
    """How shared numbers are found, which keys and operations there are, and what other processes see."""

    async def test_tallies_are_found_by_prefix_key_and_kind(self, store: Store) -> None:
        keys = ["budget|run|a", "budget|run|ab", "budget|tenant|a", "budget|tenant|a|2026-11"]
        await store.adjust([want(1, key=key) for key in reversed(keys)])
        await store.adjust([Adjust(GATE, a_limit_op(take=1, rate=1.0)), Adjust(SWITCH, a_breaker_op("failed"))])
        held = [held_key(key, "run-1") for key in keys]

        async def found(**asked: Any) -> list[str]:
            return [row.key for row in await rows(store, **asked)]

        assert await found() == [SWITCH, *keys, *held, GATE]
        assert await found(prefix="budget|run|") == keys[:2]
        assert await found(prefix="budget|tenant|a") == keys[2:]
        assert await found(kind="budget") == keys
        assert await found(kind="held") == held
        assert await found(kind="budge") == []
        assert await found(kind="budget|run") == []
        assert await found(kind="limit", prefix="l") == [GATE]
        assert await found(keys=(GATE, keys[0], "none", GATE)) == [keys[0], GATE]
        assert await found(keys=(keys[0], keys[2]), prefix="budget|t") == [keys[2]]
        assert await found(keys=()) == []
        assert await found(limit=2) == [SWITCH, keys[0]]
        assert await found(limit=0) == []
        assert await found(limit=-1) == []

    async def test_a_tally_tells_its_kind_and_its_state(self, store: Store) -> None:
        await store.adjust([want(4, at=NOON + 5)])
        assert await rows(store) == [
            Row(POT, "budget", b'{"held":{"tokens_in":4}}', 1, NOON + 5),
            Row(held_key(POT, "run-1"), "held", b'[1,{"tokens_in":4}]', 1, NOON + 5),
        ]

    async def test_a_run_s_own_budget_is_one_row(self, store: Store) -> None:
        key = "budget|run|run-1"
        await store.adjust([want(4, key=key), want(3, "child", key=key)])
        assert [row.key for row in await rows(store)] == [key, held_key(key, "child")]
        assert await pot(store, key) == BudgetState(held={"tokens_in": 7}, own=Held(1, {"tokens_in": 4}))
        (answer,) = await store.adjust([want(9, key=key, epoch=2)])
        assert answer == BudgetAnswer({"tokens_in": 3}, is_granted=True, left={"tokens_in": 0})
        assert await pot(store, key) == BudgetState({"tokens_in": 4}, {"tokens_in": 6}, own=Held(2, {"tokens_in": 3}))
        await store.adjust([Adjust(key, a_budget_op(run, epoch=2, close=True)) for run in ("run-1", "child")])
        assert await pot(store, key) == BudgetState({"tokens_in": 7})

    @pytest.mark.parametrize("word", [word for word in WORDS if len(word) < 1_000])
    async def test_any_text_may_be_part_of_a_key(self, store: Store, word: str) -> None:
        key = f"budget|tenant|{word}"
        beside = [want(1, "b", key=f"budget|tenant|{other}") for other in ("!", "~~")]
        await store.adjust([want(1, word, key=key), *beside])
        (row,) = await rows(store, keys=(key,))
        assert (row.key, len(await rows(store, keys=(held_key(key, word),)))) == (key, 1)
        assert key in [row.key for row in await rows(store, prefix=key)]

    async def test_a_key_that_is_no_text_is_refused(self, store: Store) -> None:
        await begun(store)
        for adjust in (want(1, key=f"budget|tenant|{NO_TEXT}"), want(1, NO_TEXT)):
            with pytest.raises(StoreError):
                await store.adjust([adjust])
            with pytest.raises(StoreError):
                await store.commit(a_write(after=1, changes=(adjust,)))
        assert await rows(store) == []
        assert await rows(store, prefix=NO_TEXT) == []
        assert await rows_of(store) == [(1, 1)]

    @pytest.mark.parametrize(("key", "op"), [
        (SWITCH, a_budget_op("run-1", want={"tokens_in": 1})),
        ("", a_budget_op("run-1")),
        ("budgets|run|a", a_budget_op("run-1")),
        (POT, a_budget_op("run-1", want={"tokens_in": -1})),
        (POT, a_budget_op("run-1", spent={"tokens_in": -1})),
        (POT, a_budget_op("run-1", used={"tokens_in": 1.5})),
        (POT, a_budget_op("run-1", spent={"tokens_in": MOST + 1})),
        (POT, a_budget_op("run-1", limit={"tokens_in": True})),
        (POT, a_budget_op("run-1", at=float("nan"))),
        (SWITCH, a_breaker_op("failed", failures=0)),
        (SWITCH, a_breaker_op("ask", cooldown=float("inf"))),
        (SWITCH, a_breaker_op("ask", window=-1.0)),
        (GATE, a_limit_op(take=-1)),
        (GATE, a_limit_op(take=1, rate=0.0)),
        (GATE, a_limit_op(take=1, rate=float("nan"))),
        (GATE, a_limit_op(take=1, rate=1.0, burst=0)),
        (GATE, a_limit_op(take=1, until=float("inf"))),
        (GATE, a_limit_op(take=1, concurrency=-1)),
    ])  # fmt: skip
    async def test_an_operation_that_cannot_be_is_refused(self, store: Store, key: str, op: Op) -> None:
        await begun(store)
        with pytest.raises(StoreError):
            await store.adjust([want(1, "other"), Adjust(key, op)])
        with pytest.raises(StoreError):
            await store.commit(a_write(after=1, changes=(want(1, "other"), Adjust(key, op))))
        assert await rows(store) == []
        assert await rows_of(store) == [(1, 1)]

    async def test_only_tallies_and_letters_go_without_a_fence(self, store: Store) -> None:
        await begun(store)
        unfenced: Any = [want(1), QuestionPut(a_question("run-1", "q"))]
        with pytest.raises(StoreError):
            await store.adjust(unfenced)
        assert await rows(store) == []
        assert await store.find(Questions()) == []

    async def test_numbers_do_not_overflow(self, store: Store) -> None:
        for _ in range(3):
            await store.adjust([Adjust(POT, a_budget_op("run-1", spent={"tokens_in": MOST}))])
        (answer,) = await store.adjust([want(1)])
        assert answer == BudgetAnswer({"tokens_in": 0}, is_granted=True, left={"tokens_in": 10 - MOST})

    async def test_a_thousand_runs_may_hold_of_one_budget(self, store: Store) -> None:
        await store.adjust([want(1, f"run-{i}", limit=999) for i in range(1_000)])
        assert (await pot(store)).held == {"tokens_in": 999}
        assert len(await holds(store)) == 999
        await store.adjust([Adjust(POT, a_budget_op(f"run-{i}", close=True)) for i in range(1_000)])
        assert await rows(store) == []

    async def test_others_see_that_something_was_adjusted(self, store: Store, clock: HandClock, tmp_path: Path) -> None:
        need(store, "multi_process")
        other = self.again(clock, tmp_path)
        await other.open()
        seen = other.version()
        await store.adjust([want(4)])
        assert other.version() != seen
        await other.close()

    async def test_two_stores_of_one_place_share_every_number(
        self, store: Store, clock: HandClock, tmp_path: Path
    ) -> None:
        need(store, "multi_process")
        other = self.again(clock, tmp_path)
        await other.open()
        answers: list[Any] = []
        for number in range(12):
            answers += await (store, other)[number % 2].adjust([want(1, f"run-{number}")])
        assert [answer.granted["tokens_in"] for answer in answers] == [1] * 10 + [0] * 2
        calls = [(store, other)[i % 2].adjust([want(5, f"more-{i}", limit=31)]) for i in range(10)]
        assert sum(answer.granted["tokens_in"] for answer in await told(*calls)) == 21
        assert await rows(store) == await rows(other)
        await other.close()

    async def test_tallies_outlive_the_store(self, store: Store, clock: HandClock, tmp_path: Path) -> None:
        need(store, "durable")
        await begun(store)
        await store.commit(a_write(after=1, changes=(want(4),)))
        limited = a_limit_op(take=2, rate=1.0, burst=2)
        await store.adjust([Adjust(SWITCH, a_breaker_op("failed", failures=1)), Adjust(GATE, limited)])
        before = await rows(store)
        await store.close()
        again = self.again(clock, tmp_path)
        await again.open()
        assert await rows(again) == before
        (answer,) = await again.adjust([Adjust(SWITCH, replace(a_breaker_op("ask"), at=NOON + 29))])
        assert answer == BreakerAnswer(admitted=False, status="open", retry_at=NOON + 30)
        (empty,) = await again.adjust([Adjust(GATE, a_limit_op("run-2", take=1, rate=1.0, burst=2))])
        assert empty == LimitAnswer(0, NOON + 1, 0)
        await again.close()
