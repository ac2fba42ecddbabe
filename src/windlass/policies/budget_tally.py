"""A budget that many runs share: what is spent, what is held in escrow, and how more of it is granted (D38).

Nothing is granted that is not there, so what is spent and held never exceeds a limit by a grant. What is *spent* may
exceed it, by what calls in flight cost more than was reserved for them. What a dead owner held counts as spent.
"""

from windlass.core.tallies import MOST, Amounts, BudgetAnswer, BudgetOp, BudgetState, Held

RAISES = 64  # acts of raising that are remembered, so that one of them that is told again does nothing


def settle_budget(state: BudgetState, mine: Held | None, op: BudgetOp) -> tuple[BudgetState, Held | None, BudgetAnswer]:
    """Do what an operation says, in the order in which `BudgetOp` has its parts.

    Args:
        mine: what the run holds. It is part of `state.held`, before and afterwards.
    """
    extra, raised = state.extra, state.raised
    if op.raise_by and not (op.raise_id and op.raise_id in raised):
        extra = dict(extra)
        add(extra, op.raise_by)
        extra = {unit: max(-MOST, min(amount, MOST)) for unit, amount in extra.items() if amount}
        raised = (*raised, op.raise_id)[-RAISES:] if op.raise_id else raised
    spent, held = dict(state.spent), dict(state.held)
    if mine is not None and op.epoch < mine.epoch:  # the run has another owner by now
        after = BudgetState(spent, held, extra, raised)
        return after, mine, BudgetAnswer({}, is_granted=False, left=_left(op.limit, after))
    own = {} if mine is None else dict(mine.amounts)
    if mine is not None and mine.epoch != op.epoch:
        add(spent, own)
        _give(held, own, own)
    _give(held, own, op.used)
    add(spent, op.spent)
    after = BudgetState(spent, held, extra, raised)
    left = _left(op.limit, after)
    granted, is_granted = _grant(op, left) if op.want or op.need else ({}, True)
    for unit, amount in granted.items():
        own[unit] = own.get(unit, 0) + amount
        held[unit] = held.get(unit, 0) + amount
        if unit in left:
            left[unit] -= amount
    if op.close:
        if op.write_off:
            add(spent, own)
        _give(held, own, own)
        left = _left(op.limit, after)
    after.spent, after.held, own = _some(spent), _some(held), _some(own)
    return after, Held(op.epoch, own) if own else None, BudgetAnswer(granted, is_granted, left)


def add(to: Amounts, more: Amounts) -> None:
    """Add amounts."""
    for unit, amount in more.items():
        to[unit] = to.get(unit, 0) + amount


def _give(held: Amounts, own: Amounts, amounts: Amounts) -> None:
    """Hold so much less: of a unit at most all that the run holds."""
    for unit, amount in amounts.items():
        has = own.get(unit, 0)
        rest = has - amount if has > amount else 0
        own[unit] = rest
        held[unit] = held.get(unit, 0) + rest - has


def _grant(op: BudgetOp, left: Amounts) -> tuple[Amounts, bool]:
    """Give of each unit what is wanted or what there is, all of one without a limit; else nothing of any."""
    granted = dict(op.want)
    for unit, amount in op.want.items():
        if amount > left.get(unit, MOST):
            granted[unit] = max(left[unit], 0)
    for unit, amount in op.need.items():
        if granted.get(unit, 0) < amount:
            return {}, False
    return granted, True


def _left(limit: Amounts, state: BudgetState) -> Amounts:
    spent, held = state.spent, state.held
    left = {unit: most - spent.get(unit, 0) - held.get(unit, 0) for unit, most in limit.items()}
    for unit, amount in state.extra.items():
        if unit in left:
            left[unit] += amount
    return left


def _some(amounts: Amounts) -> Amounts:
    """Leave out what has come to nothing, and stop a sum at what every reader of JSON keeps."""
    values = amounts.values()
    if not values or (min(values) > 0 and max(values) <= MOST):
        return amounts
    return {unit: min(amount, MOST) for unit, amount in amounts.items() if amount > 0}
