"""Permits: a run's part of a limit that all processes share, and what of it its next write gives back or takes."""

from collections import deque

from msgspec import Struct, field

from windlass.core.records import RunRecord
from windlass.core.tallies import LimitAnswer, LimitOp
from windlass.policies.limit import Limit

LOOK_AGAIN_SECONDS = 0.25  # for permits that others hold, on average, at first
LOOK_AGAIN_MOST = 0.66  # seconds, however long it takes: times the dice it stays within one, and the run in memory
FAIR_SECONDS = 1.0  # so often a run that keeps its permits hears whether another waits, and then it rests as long
FORGET_SECONDS = 60.0  # the permits of an owner that is gone come free after so long, if nobody takes its run over


class Permits(Struct):
    """This run's part of one limit."""

    limit: Limit
    free: int = 0
    taken: int = 0  # by attempts that run
    give: int = 0  # back, with the next write
    retry_at: float = 0.0  # when one more may be had, as the store last said
    since: float = 0.0  # that none was to be had
    told_at: float = 0.0  # when the store last answered
    rests_until: float = 0.0  # for the sake of another run
    is_wanted: bool = False  # another run waits
    waiting: deque[str] = field(default_factory=deque)  # addresses

    def wanted(self, record: RunRecord, now: float, number: int) -> LimitOp:
        """Ask for permits, and give back what is no longer needed."""
        give, self.give = self.give, 0
        limit = self.limit
        return LimitOp(
            run=record.id, epoch=record.epoch, at=now, take=number, give=give, until=now + FORGET_SECONDS,
            concurrency=limit.concurrency, rate=limit.rate, burst=limit.burst,
        )  # fmt: skip

    def ride(self, record: RunRecord, now: float, needed: int) -> LimitOp | None:
        """Say what the run's next write carries: permits for what it plans, and back what is over.

        What one step leaves is the next one's, without asking; but now and then the store is asked whether another
        run waits, and then all are given back, and this run rests.
        """
        take = max(0, needed - self.free)
        is_told = now - self.told_at < FAIR_SECONDS
        if self.is_wanted:
            take, self.is_wanted, self.rests_until = 0, False, now + FAIR_SECONDS
        elif self.limit.rate is None and is_told:
            kept = min(take, self.give)
            self.give, self.free, take = self.give - kept, self.free + kept, take - kept
        return self.wanted(record, now, take) if take or self.give or (self.taken and not is_told) else None

    def close(self, record: RunRecord, now: float) -> LimitOp | None:
        """Give all back, as the run is given up; also what an owner before this one may have held."""
        holds = self.free or self.taken or self.give
        self.free = self.give = 0
        return LimitOp(run=record.id, epoch=record.epoch, at=now, close=True) if holds or record.owner else None

    def answered(self, answer: LimitAnswer, now: float) -> None:
        """Take what the store granted."""
        self.free += answer.granted
        self.since = 0.0 if answer.granted else self.since
        self.told_at, self.is_wanted = now, answer.is_wanted
        self.retry_at = answer.retry_at if not answer.granted and self.limit.rate is not None else 0.0

    def look_again(self, now: float, dice: float) -> float:
        """Say when to ask for one again: less often as it takes longer."""
        if max(self.retry_at, self.rests_until) > now:
            return max(self.retry_at, self.rests_until)
        self.since = self.since or now
        return now + min(LOOK_AGAIN_MOST, max(LOOK_AGAIN_SECONDS, (now - self.since) / 4)) * (0.5 + dice)
