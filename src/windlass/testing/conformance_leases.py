"""Who may write: claims, leases that run out, releases, and what fences the owner before."""
# ruff: noqa: D102, PLR2004, S101 -- a check's name is its sentence, and to assert is what it is for

import asyncio

import pytest

from windlass.core.errors import RunOwned, RunUnknown, StaleLease
from windlass.core.queries import Items, Runs
from windlass.core.records import RunRecord
from windlass.core.states import CREATED, WAITING
from windlass.stores.base import LEASE_SECONDS, Store
from windlass.testing.conformance_place import ME, TWO, Place, begun, rows_of
from windlass.testing.specimens import HandClock, a_record, a_write, an_item, an_owner


class LeaseChecks(Place):
    """Claim, renew, release and retire."""

    async def test_a_free_run_is_claimed(self, store: Store) -> None:
        await store.create(a_record(), a_write(epoch=0, status=CREATED), None)
        record = await store.claim("run-1", ME)
        assert (record.epoch, record.owner) == (1, None)
        kept = (await store.load("run-1")).record
        assert (kept.epoch, kept.owner) == (1, ME)

    async def test_a_claim_shows_the_run_as_it_stands(self, store: Store) -> None:
        await begun(store, tags={"a": "b"})
        await store.commit(a_write(after=1, status=WAITING, due_at=5.5, release=True))
        record = await store.claim("run-1", TWO)
        assert (record.head.seq, record.head.status, record.head.due_at, record.tags) == (2, WAITING, 5.5, {"a": "b"})

    async def test_a_claim_of_ones_own_run_raises_the_epoch(self, store: Store) -> None:
        await begun(store)
        record = await store.claim("run-1", ME)
        assert (record.epoch, record.owner) == (2, None)
        with pytest.raises(StaleLease):
            await store.commit(a_write(epoch=1, after=1))
        await store.commit(a_write(epoch=2, after=1))

    async def test_an_owned_run_is_refused_and_says_by_whom(self, store: Store) -> None:
        await begun(store)
        with pytest.raises(RunOwned, match=r"run-1 .*process 7 on elsewhere until 2025-06-15T15:06:55"):
            await store.claim("run-1", TWO)
        await store.commit(a_write(after=1))

    async def test_no_run_cannot_be_claimed(self, store: Store) -> None:
        with pytest.raises(RunUnknown, match="nowhere"):
            await store.claim("nowhere", ME)

    async def test_a_lease_that_ran_out_frees_the_run(self, store: Store, clock: HandClock) -> None:
        await begun(store)
        clock.time += LEASE_SECONDS
        record = await store.claim("run-1", TWO)
        assert (record.epoch, record.owner) == (2, ME)
        assert (await store.load("run-1")).record.owner == TWO

    async def test_a_lease_lasts_to_its_end(self, store: Store, clock: HandClock) -> None:
        await begun(store)
        clock.time += LEASE_SECONDS - 0.5
        with pytest.raises(RunOwned):
            await store.claim("run-1", TWO)

    async def test_a_renewed_lease_lasts_longer(self, store: Store, clock: HandClock) -> None:
        await begun(store)
        clock.time += LEASE_SECONDS - 1
        await store.renew(ME)
        clock.time += LEASE_SECONDS - 1
        with pytest.raises(RunOwned):
            await store.claim("run-1", TWO)
        assert (await store.load("run-1")).record.owner_until == clock.time + 1

    async def test_a_renewed_lease_may_come_back(self, store: Store, clock: HandClock) -> None:
        await begun(store)
        clock.time += LEASE_SECONDS + 5
        await store.renew(ME)
        with pytest.raises(RunOwned):
            await store.claim("run-1", TWO)

    async def test_a_claim_enters_the_lease(self, store: Store, clock: HandClock) -> None:
        await begun(store)
        await store.release("run-1", 1)
        clock.time += LEASE_SECONDS * 3
        await store.claim("run-1", ME)
        with pytest.raises(RunOwned):
            await store.claim("run-1", TWO)

    async def test_the_owner_before_is_fenced(self, store: Store, clock: HandClock) -> None:
        await begun(store)
        clock.time += LEASE_SECONDS
        await store.claim("run-1", TWO)
        with pytest.raises(StaleLease):
            await store.commit(a_write(after=1))
        with pytest.raises(StaleLease):
            await store.append_items("run-1", 1, [an_item("run-1", 1)])
        assert await rows_of(store) == [(1, 1)]
        assert await store.find(Items(run="run-1")) == []
        await store.commit(a_write(epoch=2, after=1))

    async def test_an_owner_may_take_its_run_back(self, store: Store, clock: HandClock) -> None:
        await begun(store)
        clock.time += LEASE_SECONDS
        await store.claim("run-1", TWO)
        clock.time += LEASE_SECONDS
        record = await store.claim("run-1", ME)
        assert (record.epoch, record.owner) == (3, TWO)

    async def test_a_released_run_is_free(self, store: Store) -> None:
        await begun(store)
        await store.release("run-1", 1)
        record = await store.claim("run-1", TWO)
        assert (record.epoch, record.owner) == (2, None)

    async def test_a_late_release_does_nothing(self, store: Store, clock: HandClock) -> None:
        await begun(store)
        clock.time += LEASE_SECONDS
        await store.claim("run-1", TWO)
        await store.release("run-1", 1)
        assert (await store.load("run-1")).record.owner == TWO

    async def test_releasing_no_run_does_nothing(self, store: Store) -> None:
        await store.release("nowhere", 1)
        assert await store.find(Runs()) == []

    async def test_who_retires_frees_all_its_runs(self, store: Store) -> None:
        await begun(store, "run-1")
        await begun(store, "run-2")
        await store.create(a_record("run-3"), a_write("run-3"), TWO)
        await store.retire(ME)
        assert (await store.claim("run-1", TWO)).owner is None
        assert (await store.claim("run-2", TWO)).owner is None
        assert (await store.load("run-3")).record.owner == TWO

    async def test_who_retired_may_come_back(self, store: Store) -> None:
        await begun(store)
        await store.retire(ME)
        await store.renew(ME)
        assert (await store.claim("run-1", ME)).epoch == 2

    async def test_retiring_a_stranger_does_nothing(self, store: Store) -> None:
        await begun(store)
        await store.retire(TWO)
        assert (await store.load("run-1")).record.owner == ME

    async def test_eight_claims_at_once_have_one_winner(self, store: Store) -> None:
        await store.create(a_record(), a_write(epoch=0, status=CREATED), None)
        tries = [store.claim("run-1", an_owner(str(i))) for i in range(8)]
        ends = await asyncio.gather(*tries, return_exceptions=True)
        won = [end for end in ends if isinstance(end, RunRecord)]
        assert [record.epoch for record in won] == [1]
        assert sum(isinstance(end, RunOwned) for end in ends) == 7

    async def test_the_record_shows_until_when(self, store: Store, clock: HandClock) -> None:
        await begun(store)
        (record,) = await store.find(Runs())
        assert (record.owner, record.owner_until) == (ME, clock.time + LEASE_SECONDS)
