"""A limit that many processes share: how many at once, and how many a second.

The rate is kept by GCRA, the generic cell rate algorithm (ITU-T I.371): one number, the time at which the bucket would
be full again. It gives the same answers as a leaky bucket, and nothing has to be done while time goes by.
"""

from math import floor

from msgspec.structs import replace

from windlass.core.tallies import LimitAnswer, LimitOp, LimitState, Permit

LATE_SECONDS = 60.0  # that an operation may come late, from a process that stood still
WAITING_SECONDS = 2.0  # for so long a run that was refused counts as one that waits
EMPTY = LimitState()
NOBODY = EMPTY.refused, EMPTY.refused_at  # these very objects: only then they are left out of a row
SLACK = 5e-7  # seconds: about the resolution of a float that counts seconds since 1970


def move_limit(state: LimitState, op: LimitOp) -> tuple[LimitState, LimitAnswer]:
    """Do what an operation says, in the order in which `LimitOp` says it."""
    held = {run: permit for run, permit in state.held.items() if permit.until >= op.at}
    mine = held.get(op.run)
    if mine is not None and op.epoch < mine.epoch:  # the run has another owner by now
        return replace(state, held=held), _answer(0, held, _tat(state.tat, op), op)
    n, until = (mine.n, mine.until) if mine is not None and mine.epoch == op.epoch else (0, op.until)
    held.pop(op.run, None)
    n = 0 if op.close else max(0, n - op.give)
    busy = n + sum(permit.n for permit in held.values())
    tat = _tat(state.tat, op)
    granted = op.take
    refused, refused_at = (state.refused, state.refused_at) if state.refused != op.run else NOBODY
    if op.concurrency is not None:
        granted = min(granted, op.concurrency - busy)
        if max(granted, 0) < op.take:
            refused, refused_at = op.run, op.at
    if op.rate is not None:
        granted = min(granted, floor(op.burst - (tat - op.at - SLACK) * op.rate))
    granted = max(granted, 0)
    if op.rate is not None:
        tat += granted / op.rate
    holds = n if op.concurrency is None else n + granted  # of a rate alone nobody holds anything
    if holds:
        held[op.run] = Permit(op.epoch, holds, op.until if granted or op.keep else until)
    is_wanted = refused not in ("", op.run) and 0 <= op.at - refused_at <= WAITING_SECONDS
    if not held:
        refused, refused_at = NOBODY
    after = LimitState(held, tat if tat > op.at else EMPTY.tat, refused, refused_at)
    return after, replace(_answer(granted, held, tat, op), is_wanted=is_wanted)


def _tat(tat: float, op: LimitOp) -> float:
    """Say when the bucket is full again: not before now, and not much later than an empty one would be.

    A little later than that it is where an operation comes late, and permits were given since. Much later it can only
    be after the clock went back, or when the rate is another since.
    """
    if op.rate is None:
        return max(tat, op.at)
    empty = op.at + op.burst / op.rate
    return empty if tat > empty + LATE_SECONDS else max(tat, op.at)


def _answer(granted: int, held: dict[str, Permit], tat: float, op: LimitOp) -> LimitAnswer:
    busy = sum(permit.n for permit in held.values())
    retry_at = op.at
    if op.rate is not None:
        retry_at = max(retry_at, tat - (op.burst - 1) / op.rate)
    if op.concurrency is not None and busy >= op.concurrency:
        retry_at = max(retry_at, min((permit.until for permit in held.values()), default=retry_at))
    return LimitAnswer(granted, retry_at, busy)
