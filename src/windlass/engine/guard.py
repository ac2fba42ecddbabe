"""The guard: what stands between a ready activation and its attempt. Limits, breakers and budgets, and their answers.

What is shared between processes stands in the store as tallies (D38). The guard holds this run's part of them in
memory, and what changes rides on writes that are made anyway: permits are taken by the write that plans the
activations which need them, and given back by the write that keeps what came of them. Only what nothing has provided
for is asked for by itself, once, for all activations that are ready.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec

from windlass.core import queries
from windlass.core.blueprint import Blueprint
from windlass.core.changes import Adjust, Change
from windlass.core.errors import BudgetExceeded, StaleLease, StoreError
from windlass.core.position import place
from windlass.core.records import Planned
from windlass.core.tallies import (
    Answer,
    BreakerAnswer,
    BreakerOp,
    BreakerState,
    BudgetAnswer,
    LimitAnswer,
    LimitOp,
    Verb,
)
from windlass.engine.escrow import Escrow
from windlass.engine.journal import Journal
from windlass.engine.permits import FORGET_SECONDS, LOOK_AGAIN_SECONDS, Permits
from windlass.engine.reconcile import Step
from windlass.engine.services import Gate, Seen, Services
from windlass.policies.breaker import Breaker, verdict

FRESH_SECONDS = {"closed": 1.0, "half-open": 0.1}  # for so long a breaker that was seen is believed (D38)
KEEP_SECONDS = 20.0  # permits that are held for long are renewed so often
LOOK_SECONDS = 5.0  # at the active time that is left
SOON_AGAIN_SECONDS = 0.01  # for a breaker whose probe is under way


class Hold(NamedTuple):
    """What an activation waits for before its attempt may begin, and until when."""

    kind: str
    name: str
    until: float


class Guard:
    """Admits the attempts of one run."""

    def __init__(self, services: Services, blueprint: Blueprint, journal: Journal) -> None:
        self.services = services
        self.journal = journal
        self.clock = services.seams.clock
        self.record = record = journal.record
        self.approvals: list[float] | None = None  # when the run has asked for some; None: nobody has looked
        self.rules = rules = services.rules(blueprint, record.tenant, record.roles)
        self.chains = rules.chains
        self.escrow = Escrow(services.store, services.seams, record, rules.bounds, services.ceilings)
        self.kinds, self.depth = rules.kinds, rules.depth
        if record.origin is not None:
            self.chains, self.kinds = rules.below(record.origin)
        self.gates = rules.gates
        self.permits = {key: Permits(limit) for key, limit in rules.limits.items()}
        self.probing: dict[str, set[str]] = {}  # address → breakers that its attempt probes
        self.outcomes: list[Adjust] = []  # of breakers, for the next write
        self.dues: dict[str, float] = {}  # when a held activation may try again
        self.wake: Callable[[str], bool]  # lets an activation try again at once, if it still waits
        self.node = ""  # the one that is to run, if it is only one: it may be the one that wraps up
        self.is_over = False
        self._keeper: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.exceed: Callable[[BudgetExceeded], Awaitable[None]]
        self.is_on = bool(self.escrow.levels) or rules.has_bounds
        if self.is_on:
            journal.rider, journal.answered = self.ride, self.answered

    def begin(self, exceed: Callable[[BudgetExceeded], Awaitable[None]]) -> None:
        """Watch the active time from now on.

        Args:
            exceed: is told of a budget that is used up.
        """
        self.exceed = exceed
        self._watch_time()

    def _watch_time(self) -> None:
        left = None if self.is_over else self.escrow.time_left()
        if left is not None:
            wait = max(0.001, min(left, LOOK_SECONDS))
            self._timer = asyncio.get_running_loop().call_later(wait, self._look_at_time)

    def _look_at_time(self) -> None:
        self._timer = None
        left = self.escrow.time_left()
        if left is not None and left > 0:
            self._watch_time()
        else:
            self.services.seams.background(self._time_is_up(), f"time of {self.record.id}")

    async def _time_is_up(self) -> None:
        exceeded = await self._provide()
        if exceeded is not None:
            await self.exceed(exceeded)

    def check(self, planned: Sequence[Planned]) -> None:
        """Refuse a step that leads to more activations at once than the run may have.

        Raises:
            BudgetExceeded: naming how many.
        """
        most = self.rules.fan_out
        if most is not None and len(planned) > most:
            said = f"{len(planned):,} activations are planned at once, and {most:,} are the most"
            raise BudgetExceeded(said, unit="fan_out")

    # -- before an attempt

    async def prepare(self, addresses: Iterable[str]) -> BudgetExceeded | None:
        """Ask the store, in one go, for what these activations need and nothing has provided for.

        Returns:
            Why the run may not go on, if a budget is used up.
        """
        if self.journal.is_behind and self.escrow.is_short:
            await self.journal.drain()  # what was asked for is on its way
        if self.rules.has_bounds:
            await self._ask(addresses)
        nodes = {place(address) for address in addresses}
        self.node = nodes.pop() if len(nodes) == 1 else ""
        return None if self.is_watched and self.escrow.is_settled else await self._provide()

    async def _ask(self, addresses: Iterable[str]) -> None:
        """Ask for the permits that these activations need, and how their breakers stand."""
        changes: list[Adjust] = []
        stale: dict[str, Breaker] = {}
        now = self.clock.now()
        needs: dict[str, int] = {}
        probed = {key for keys in self.probing.values() for key in keys} if self.probing else set()
        for address in addresses:
            gate = self.gates[place(address)]
            for key, _ in gate.limits:
                needs[key] = needs.get(key, 0) + 1
            for key, breaker in gate.breakers:
                seen = self.services.seen.get(key)
                if seen is None or _is_stale(seen, now):
                    stale[key] = breaker
                elif self._may_probe(seen, breaker, gate, now) and key not in probed:
                    changes.append(Adjust(key, self._told("ask", breaker, address)))
                    probed.add(key)
        for key, number in needs.items():
            permits = self.permits[key]
            if permits.free < number and self.journal.is_behind:
                await self.journal.drain()
            if permits.free < number and max(permits.retry_at, permits.rests_until) <= now:
                changes.append(Adjust(key, permits.wanted(self.record, self.clock.now(), number - permits.free)))
        if stale:
            await self._refresh(stale)
        if changes:
            self.answered(changes, await self.services.store.adjust(changes))
        if len(self.permits) > 1:
            await self._let_go(addresses)

    async def _let_go(self, addresses: Iterable[str]) -> None:
        """Give back permits that let no attempt begin: two that hold one of the same two would wait for each other."""
        spare = _unused(self.permits, ([key for key, _ in self.gates[place(one)].limits] for one in addresses))
        now = self.clock.now()
        changes = [Adjust(key, self.permits[key].wanted(self.record, now, 0)) for key in spare]
        if changes:
            self.answered(changes, await self.services.store.adjust(changes))

    async def _provide(self) -> BudgetExceeded | None:
        """See to it that the run may go on for a while, and watch how long that is."""
        exceeded = await self.escrow.provide(self.node) if self.escrow.levels else None
        if exceeded is None and not self.is_watched:
            self._watch_time()
        return exceeded

    @property
    def is_watched(self) -> bool:
        """Whether there is no limit of active time, or a timer that looks at it."""
        return self._timer is not None or not self.escrow.times

    async def _refresh(self, breakers: dict[str, Breaker]) -> None:
        found = await self.services.store.find(queries.Tallies(keys=tuple(breakers)))
        states = {tally.key: msgspec.json.decode(tally.body, type=BreakerState) for tally in found}
        now = self.clock.now()
        for key, breaker in breakers.items():
            state = states.get(key, BreakerState())
            self.services.seen[key] = Seen(state.status, min(state.until, now + _longest(state.status, breaker)), now)

    def admit(self, address: str) -> Hold | None:
        """Let an attempt begin, or say what holds it and until when."""
        gate = self.gates[place(address)]
        now = self.clock.now()
        for key, breaker in gate.breakers:
            seen = self.services.seen.get(key)
            if seen is not None and seen.status != "closed" and key not in self.probing.get(address, ()):
                if seen.until <= now and (short := self._short(gate, address, now)) is not None:
                    return short  # it may be the probe once it has its permits
                return Hold("breaker", breaker.name, _again(seen, breaker, now, self.services.seams.dice()))
        if (short := self._short(gate, address, now)) is not None:
            return short
        for key, _ in gate.limits:
            permits = self.permits[key]
            permits.free -= 1
            permits.taken += 1
            if address in permits.waiting:
                permits.waiting.remove(address)
            self._keep_on()
        self.dues.pop(address, None)
        return None

    def _short(self, gate: Gate, address: str, now: float) -> Hold | None:
        """Say which permit an attempt has to wait for, and when to ask for it again."""
        for key, _ in gate.limits:
            permits = self.permits[key]
            if not permits.free:
                if address not in permits.waiting:
                    permits.waiting.append(address)
                return Hold("limit", permits.limit.name, permits.look_again(now, self.services.seams.dice()))
        return None

    def ended(self, address: str, error: BaseException | None, *, is_stopped: bool) -> None:
        """Note that an attempt is over: its permits go on to the next, or back; its breakers hear of it."""
        gate = self.gates[place(address)]
        for key, _ in gate.limits:
            permits = self.permits[key]
            permits.taken -= 1
            if permits.limit.rate is None and permits.waiting and not permits.is_wanted:
                permits.free += 1
                while permits.waiting and not self.wake(permits.waiting.popleft()):
                    pass
            else:
                permits.give += 1
        probed = self.probing.pop(address, set())
        for key, breaker in gate.breakers:
            said = "" if is_stopped and error is None else verdict(breaker, error)
            if not said and key in probed:
                said = "failed"  # it has found out nothing, so another may probe: not now, but before its patience ends
            if said == "succeeded" and key in probed:
                self.journal.say("breaker.closed", address, breaker=key)
            if said == "failed" or (said == "succeeded" and key in probed):
                self.outcomes.append(Adjust(key, self._told(said, breaker, address)))

    # -- with the run's writes

    def ride(self, step: Step | None, size: int, release: bool) -> list[Change]:
        """Say what a write carries: breakers' outcomes, permits for what it plans, and what was spent."""
        changes: list[Change] = []
        if self.outcomes:
            changes, self.outcomes = list(self.outcomes), []
        if self.permits:
            planned = step.planned if step is not None and not release else ()
            changes += self._permits(planned, release=release)
        if self.escrow.levels:
            self.escrow.count("bytes", size)
            changes += self.escrow.ride(close=release)
        return changes

    def _permits(self, planned: Sequence[Planned], *, release: bool) -> list[Change]:
        """Take permits for what is planned, and give back what is over; what one step leaves is the next one's."""
        changes: list[Change] = []
        now = self.clock.now()
        needs: dict[str, int] = {}
        for one in planned:
            for key, _ in self.gates[place(one.address)].limits:
                needs[key] = needs.get(key, 0) + 1
        for key, permits in self.permits.items():
            op = permits.close(self.record, now) if release else permits.ride(self.record, now, needs.get(key, 0))
            if op is not None:
                changes.append(Adjust(key, op))
        return changes

    def answered(self, adjusts: Iterable[Adjust], answers: Iterable[Answer]) -> None:
        """Take what the store said to a write's adjustments."""
        for adjust, answer in zip(adjusts, answers, strict=True):
            if isinstance(answer, BudgetAnswer):
                self.escrow.answered(adjust.key, adjust.op, answer)
            elif isinstance(answer, LimitAnswer):
                if isinstance(adjust.op, LimitOp) and _is_overtaken(adjust.op, answer):
                    raise StaleLease(f"run {self.record.id} has another owner: there are permits, and it got none")
                self.permits[adjust.key].answered(answer, self.clock.now())
            else:
                self._saw(adjust, answer)

    def _saw(self, adjust: Adjust, answer: BreakerAnswer) -> None:
        before = self.services.seen.get(adjust.key)
        op = adjust.op
        until = op.at + op.patience if answer.is_probe and isinstance(op, BreakerOp) else answer.retry_at
        self.services.seen[adjust.key] = Seen(answer.status, until, self.clock.now())
        if answer.is_probe and isinstance(op, BreakerOp) and op.verb == "ask":
            self.probing.setdefault(op.holder.split("|", 2)[2], set()).add(adjust.key)
        if answer.status == "open" and (before is None or before.status != "open"):
            self.journal.say("breaker.opened", breaker=adjust.key, until=answer.retry_at)

    # -- parts

    def _may_probe(self, seen: Seen, breaker: Breaker, gate: Gate, now: float) -> bool:
        """Say whether an attempt may ask to be the probe: one that would wait for permits then helps nobody."""
        # What is further ahead than it could have been set is of a clock that has jumped: the store puts it right.
        is_due = seen.status != "closed" and not now < seen.until <= now + _longest(seen.status, breaker)
        return is_due and all(self.permits[key].free for key, _ in gate.limits)

    def _told(self, verb: Verb, breaker: Breaker, address: str) -> BreakerOp:
        return BreakerOp(
            verb=verb, holder=f"{self.record.id}|{self.record.epoch}|{address}", at=self.clock.now(),
            failures=breaker.failures, window=breaker.window, cooldown=breaker.cooldown, patience=breaker.patience,
        )  # fmt: skip

    def _keep_on(self) -> None:
        if self._keeper is None:
            self._keeper = asyncio.get_running_loop().call_later(KEEP_SECONDS, self._keep)

    def _keep(self) -> None:
        """Renew the permits of attempts that take long."""
        self._keeper = None
        now = self.clock.now()
        op = LimitOp(run=self.record.id, epoch=self.record.epoch, at=now, keep=True, until=now + FORGET_SECONDS)
        held = [Adjust(key, op) for key, permits in self.permits.items() if permits.taken or permits.free]
        if held:
            self.services.seams.background(self.services.store.adjust(held), f"permits of {self.record.id}")
            self._keep_on()

    async def close(self) -> None:
        """Give back what is held, as the run is let go without a last write.

        What is held of budgets is left where a write has failed, since nobody knows what the store has: it counts as
        spent as the next owner tells.
        """
        self.stop()
        if not self.is_on:
            return
        await self.journal.settled()  # what rides on a write under way is not given back before it arrives
        gone = LimitOp(run=self.record.id, epoch=self.record.epoch, at=self.clock.now(), close=True)
        held: list[Change] = [Adjust(key, gone) for key in self.permits]  # also what a write has not given back
        if changes := held if self.journal.broken is not None else self.ride(None, 0, release=True):
            with suppress(StoreError):  # then it counts as spent, and permits come free in a while
                await self.services.store.adjust([change for change in changes if isinstance(change, Adjust)])

    def stop(self) -> None:
        """Stop renewing, and watching."""
        self.is_over = True
        for handle in (self._keeper, self._timer):
            if handle is not None:
                handle.cancel()
        self._keeper = self._timer = None


def _unused(held: dict[str, Permits], needs: Iterable[list[str]]) -> list[str]:
    """Put aside what does not let one of these begin that need several each; return the limits it is of."""
    used = dict.fromkeys(held, 0)
    for keys in needs:
        if all(held[key].free > used[key] for key in keys):
            used.update({key: used[key] + 1 for key in keys})
    spare = [key for key in held if held[key].free > used[key] and held[key].limit.concurrency is not None]
    for key in spare:
        held[key].give += held[key].free - used[key]
        held[key].free = used[key]
    return spare


def _is_overtaken(op: LimitOp, answer: LimitAnswer) -> bool:
    """Say whether there were permits that it was not granted: an owner that only asks would never hear of another."""
    has_room = op.concurrency is None or answer.busy < op.concurrency
    return op.take > answer.granted and has_room and (op.rate is None or answer.retry_at <= op.at)


def _longest(status: str, breaker: Breaker) -> float:
    """Return for how long a breaker stays as it is, at most."""
    return breaker.cooldown if status == "open" else breaker.patience


def _is_stale(seen: Seen, now: float) -> bool:
    """Say whether to read a breaker again; one that is due is asked, not read."""
    is_due = seen.status != "closed" and seen.until <= now
    return seen.status != "open" and not is_due and abs(now - seen.at) > FRESH_SECONDS[seen.status]


def _again(seen: Seen, breaker: Breaker, now: float, dice: float) -> float:
    """Say when to look at a breaker again: a probe may end long before its patience, so look as it grows old."""
    if seen.status == "open" or seen.until <= now:
        return max(seen.until, now + SOON_AGAIN_SECONDS)
    age = now - (seen.until - breaker.patience)
    return min(seen.until, now + max(age, LOOK_AGAIN_SECONDS * (0.5 + dice)))
