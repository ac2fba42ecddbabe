"""A circuit breaker that many processes share: closed, open, half-open (Nygard, *Release It!*, 2007).

    closed      counts failures within a window; enough of them open it
    open        admits nobody until its cooldown is over; who asks then is the one probe
    half-open   waits for its probe: it closes the breaker or opens it again; one that is not heard of is replaced

A time that lies much further ahead than it could have been set is that of a clock that has jumped, and is brought back;
a little further, whoever asks is late: it may have stood still between looking at its clock and being heard.
"""

from msgspec.structs import replace

from windlass.core.tallies import BreakerAnswer, BreakerOp, BreakerState

LATE_SECONDS = 60.0  # that an operation may come late


def move_breaker(state: BreakerState, op: BreakerOp) -> tuple[BreakerState, BreakerAnswer]:
    """Do what an operation says."""
    after = _ask(state, op) if op.verb == "ask" else _closed(state, op) if state.status == "closed" else _end(state, op)
    is_probe = after.status == "half-open" and after.probe == op.holder
    is_admitted = is_probe or after.status == "closed"
    return after, BreakerAnswer(is_admitted, after.status, 0.0 if is_admitted else after.until, is_probe)


def _ask(state: BreakerState, op: BreakerOp) -> BreakerState:
    if state.status == "closed":
        return state
    longest = op.cooldown if state.status == "open" else op.patience
    until = state.until if state.until <= op.at + longest + LATE_SECONDS else op.at + longest
    if op.at < until and not (state.status == "half-open" and state.probe == op.holder):
        return replace(state, until=until)
    return replace(state, status="half-open", probe=op.holder, until=op.at + op.patience)


def _closed(state: BreakerState, op: BreakerOp) -> BreakerState:
    """Count a failure. One of a clock that is more than the window ahead does not count for ever."""
    if op.verb != "failed":
        return state
    recent = [at for at in state.failures if abs(op.at - at) <= op.window]
    failures = (*recent, op.at)[-op.failures :]
    if len(failures) < op.failures:
        return replace(state, failures=failures)
    return _opened(replace(state, failures=failures), op)


def _end(state: BreakerState, op: BreakerOp) -> BreakerState:
    if state.status != "half-open" or state.probe != op.holder:
        return state  # begun before it opened: it says nothing about how things stand now
    return BreakerState(times=state.times) if op.verb == "succeeded" else _opened(state, op)


def _opened(state: BreakerState, op: BreakerOp) -> BreakerState:
    return replace(state, status="open", until=op.at + op.cooldown, probe="", times=state.times + 1)
