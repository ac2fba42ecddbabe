"""In which order work is handed out: tenants in turn, and to each what it has waited for the longest."""
# ruff: noqa: D102, S101 -- a check's name is its sentence, and to assert is what it is for

import random
from typing import Any

from msgspec.structs import replace

from windlass.core.queries import Runs, Work
from windlass.core.states import CREATED, PAUSED, RUNNING, WAITING, Status
from windlass.stores.base import LEASE_SECONDS, Store
from windlass.testing.conformance_place import ME, NO_TEXT, WORDS, Place, begun
from windlass.testing.specimens import NOON, HandClock, a_command, a_record, a_row, a_write

REVIEW = a_record().definition
BACKLOG = 30


async def work(store: Store, *definitions: str, due_before: float = NOON, **asked: Any) -> list[str]:
    """List work by the ids of the runs."""
    query = Work(definitions=definitions or (REVIEW,), due_before=due_before, **asked)
    return [record.id for record in await store.find(query)]


async def free(
    store: Store, run: str, status: Status = CREATED, due_at: float | None = None, at: float = NOON, **fields: Any
) -> None:
    """Make a run without an owner that moved last at a time."""
    first = a_write(run, epoch=0, rows=[replace(a_row(run, 1), at=at)], status=status, due_at=due_at)
    await store.create(a_record(run, **fields), first, None)


async def crowded(store: Store) -> None:
    """Let a tenant have much to do, and then two others a little; the clock stands still, or goes back a little."""
    for n in range(BACKLOG):
        await free(store, f"much-{n}", tenant="b", at=NOON)
    for n in range(2):
        await free(store, f"little-{n}", tenant="c", at=NOON + n)
    await free(store, "single", tenant="a", at=NOON + 10)


class TurnChecks(Place):
    """Work in its order."""

    async def test_a_backlog_does_not_keep_other_tenants_waiting(self, store: Store) -> None:
        await crowded(store)
        begin = ["single", "much-0", "little-0", "much-1", "little-1"]
        assert await work(store) == [*begin, *(f"much-{n}" for n in range(2, BACKLOG))]
        for limit in range(len(begin) + 1):
            assert await work(store, limit=limit) == begin[:limit]
        assert await work(store, limit=-1) == []

    async def test_the_turn_begins_behind_the_tenant_that_had_it(self, store: Store) -> None:
        await crowded(store)
        first = {behind: (await work(store, behind=behind, limit=3)) for behind in ("", "a", "aa", "b", "c", "d")}
        abc, bca = ["single", "much-0", "little-0"], ["much-0", "little-0", "single"]
        cab = ["little-0", "single", "much-0"]
        assert first == {"": abc, "a": bca, "aa": bca, "b": cab, "c": abc, "d": abc}
        assert (await work(store, behind="b"))[:5] == [*cab, "little-1", "much-1"]

    async def test_every_tenant_has_its_turn_however_short_the_looks(self, store: Store) -> None:
        for tenant in ("a", "b", "c", "d", "e"):
            for n in range(3):
                await free(store, f"{tenant}{n}", tenant=tenant, at=NOON + ord(tenant))
        seen: list[str] = []
        while len(seen) <= 5 * 3 and (
            page := await store.find(
                Work(definitions=(REVIEW,), due_before=NOON, behind=seen[-1][0] if seen else None, limit=1)
            )
        ):
            await store.claim(page[0].id, ME)
            seen.append(page[0].id)
        assert seen == [f"{tenant}{n}" for n in range(3) for tenant in ("a", "b", "c", "d", "e")]

    async def test_the_first_of_a_tenant_is_what_has_waited_longest(self, store: Store) -> None:
        await free(store, "new", at=NOON + 3)
        await free(store, "due late", WAITING, NOON + 2, at=NOON - 9)
        await free(store, "interrupted", RUNNING, at=NOON + 1)
        await free(store, "due early", WAITING, NOON, at=NOON - 8)
        await free(store, "asked", WAITING, at=NOON - 1)
        await free(store, "paused", PAUSED, at=NOON - 2)
        await free(store, "not yet due", WAITING, NOON + 5, at=NOON - 10)
        for run in ("asked", "paused"):
            await store.post(a_command(run, f"to {run}"))
        order = ["paused", "asked", "due early", "interrupted", "due late", "new"]
        assert await work(store, due_before=NOON + 4) == order
        assert await work(store, due_before=NOON + 4, limit=2) == order[:2]
        assert await work(store, due_before=NOON) == ["paused", "asked", "due early", "interrupted", "new"]

    async def test_of_one_moment_the_earlier_made_comes_first(self, store: Store) -> None:
        for run in ("c", "a", "d", "b"):
            await free(store, run, at=NOON)
        assert await work(store) == ["c", "a", "d", "b"]

    async def test_what_is_left_out_blocks_nobody(self, store: Store) -> None:
        await crowded(store)
        apart = tuple(f"much-{n}" for n in range(BACKLOG - 1))
        last = f"much-{BACKLOG - 1}"
        assert await work(store, besides=(*apart, "nowhere")) == ["single", last, "little-0", "little-1"]
        assert await work(store, besides=(*apart, "single"), limit=1) == [last]

    async def test_what_is_of_another_definition_blocks_nobody(self, store: Store) -> None:
        for n in range(BACKLOG):
            await free(store, f"other-{n}", definition="other", at=NOON - 1)
            await free(store, f"later-{n}", WAITING, NOON - 1, definition="other", at=NOON - 1)
        await free(store, "mine", at=NOON)
        assert await work(store, limit=1) == ["mine"]
        assert await work(store, "nothing") == await work(store, "") == []
        both = await work(store, "other", REVIEW, "other")
        assert (len(both), both[-1]) == (2 * BACKLOG + 1, "mine")

    async def test_what_sleeps_blocks_nobody(self, store: Store) -> None:
        for n in range(BACKLOG):
            await free(store, f"sleeper-{n}", WAITING, NOON + 1, tenant=f"tenant-{n}")
        await free(store, "due", WAITING, NOON, tenant="z")
        assert await work(store, limit=1) == ["due"]
        assert await work(store, limit=1, behind="z") == ["due"]

    async def test_what_is_owned_is_left_to_its_owner(self, store: Store, clock: HandClock) -> None:
        await begun(store, "owned", tenant="a")
        await store.create(a_record("due", tenant="b"), a_write("due", status=WAITING, due_at=NOON), ME)
        await store.create(a_record("asked", tenant="c"), a_write("asked", status=WAITING), ME)
        await store.post(a_command("asked", "c"))
        await free(store, "free", tenant="d")
        assert await work(store) == ["free"]
        clock.time += LEASE_SECONDS
        assert await work(store) == ["owned", "due", "asked", "free"]
        await store.claim("free", ME)
        await store.renew(ME)
        assert await work(store) == []

    async def test_turns_are_as_a_plain_count_has_them(self, store: Store) -> None:
        """Many worlds, each asked many ways, beside a count without any index."""
        dice = random.Random(7)  # noqa: S311 -- the same worlds each time
        made: list[tuple[str, str, str, float]] = []
        tenants, definitions = ("a", "A", "aa", "", "é", "日", "a\0", "\U00010000"), ("one", "two", "three")
        for n in range(120):
            tenant = dice.choice(tenants[: 1 + n // 10])
            definition, since = dice.choice(definitions), NOON - dice.randrange(20)
            status = dice.choice((CREATED, RUNNING, WAITING))
            due_at = since if status is WAITING else None
            at = NOON - 50 if status is WAITING else since
            await free(store, f"r{n}", status, due_at, tenant=tenant, definition=definition, at=at)
            made.append((f"r{n}", tenant, definition, since))
        for _ in range(60):
            asked = tuple(dice.sample(definitions, dice.randint(1, 3)))
            behind = dice.choice((None, *tenants))
            besides = tuple(f"r{n}" for n in dice.sample(range(120), dice.choice((0, 3, 60))))
            limit = dice.choice((1, 5, 20, 200))
            expected = plainly([one for one in made if one[2] in asked and one[0] not in besides], behind)
            assert await work(store, *asked, behind=behind, besides=besides, limit=limit) == expected[:limit]
            everything = await store.find(Runs(claimable=True, definitions=asked, due_before=NOON, limit=200))
            assert {record.id for record in everything} - set(besides) == set(expected)

    async def test_what_is_asked_for_as_work_is_data(self, store: Store) -> None:
        await free(store, "run-1")
        for word in (*WORDS, NO_TEXT):
            assert await work(store, word) == []
        for word in WORDS:
            assert await work(store, behind=word) == await work(store, besides=(word,)) == ["run-1"]


def plainly(made: list[tuple[str, str, str, float]], behind: str | None) -> list[str]:
    """Hand out by taking the first of each tenant as long as there is any."""
    left = [(tenant, since, place, run) for place, (run, tenant, _, since) in enumerate(made)]
    order: list[str] = []
    while left:
        names = sorted({tenant for tenant, *_ in left})
        for name in [one for one in names if behind is not None and one > behind] + [
            one for one in names if behind is None or one <= behind
        ]:
            first = min(one for one in left if one[0] == name)
            left.remove(first)
            order.append(first[-1])
    return order
