"""How a shared number changes: the one function that every store calls inside its transaction."""

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from windlass.core.tallies import (
    Answer,
    BreakerOp,
    BreakerState,
    BudgetOp,
    BudgetState,
    Held,
    LimitOp,
    LimitState,
    Op,
    held_key,
)
from windlass.policies.breaker_tally import move_breaker
from windlass.policies.budget_tally import settle_budget
from windlass.policies.keys import tally_key
from windlass.policies.limit_tally import move_limit

ENCODER = msgspec.json.Encoder()
BUDGET = msgspec.json.Decoder(BudgetState)
HELD = msgspec.json.Decoder(Held)
BREAKER = msgspec.json.Decoder(BreakerState)
LIMIT = msgspec.json.Decoder(LimitState)
NO_BREAKER, NO_LIMIT = BreakerState(), LimitState()
EMPTY = b"{}"
OWN = "budget|run|"
Bodies = Sequence[bytes | None]


def rows_of(key: str, op: Op) -> tuple[str, ...]:
    """Name the rows that an operation needs: the tally, and beside a budget of others what the run holds of it."""
    if not isinstance(op, BudgetOp) or (key.startswith(OWN) and key == tally_key("budget", "run", op.run)):
        return (key,)
    return (key, held_key(key, op.run))


def apply(bodies: Bodies, op: Op) -> tuple[Bodies, Answer]:
    """Work out what becomes of a tally, and what whoever asked is told.

    A body of None is no row: before, there was none; afterwards, none is needed, since nothing is left to know.

    Args:
        bodies: of the rows that `rows_of` names.

    Raises:
        msgspec.DecodeError: a body is no state of the operation's kind.
    """
    body = bodies[0]
    match op:
        case BudgetOp():
            return _budget(bodies, op)
        case BreakerOp():
            switch, admission = move_breaker(NO_BREAKER if body is None else BREAKER.decode(body), op)
            return (_body(switch),), admission
        case LimitOp():
            gate, permits = move_limit(NO_LIMIT if body is None else LIMIT.decode(body), op)
            return (_body(gate),), permits


def _budget(bodies: Bodies, op: BudgetOp) -> tuple[Bodies, Answer]:
    state = BudgetState() if bodies[0] is None else BUDGET.decode(bodies[0])
    if len(bodies) == 1:
        after, mine, answer = settle_budget(state, state.own, op)
        after.own = mine
        return (_body(after),), answer
    after, mine, answer = settle_budget(state, None if bodies[1] is None else HELD.decode(bodies[1]), op)
    after.own = state.own
    return (_body(after), None if mine is None else ENCODER.encode(mine)), answer


def _body(state: BudgetState | BreakerState | LimitState) -> bytes | None:
    body = ENCODER.encode(state)
    return None if body == EMPTY else body


def wanting_nothing(op: Op) -> Op:
    """Return what is left of an operation whose run may not be granted anything: it settles, gives back, keeps."""
    match op:
        case BudgetOp():
            return replace(op, want={}, need={})
        case LimitOp():
            return replace(op, take=0)
        case _:
            return op


def kind_of(key: str) -> str:
    """Name the kind of tally that a key is of."""
    return key.partition("|")[0]
