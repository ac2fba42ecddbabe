"""Signals that a branch regains: those whose takers a rollback takes back, and those that came after its target.

A signal tells of something that has happened outside, which no rollback takes back; so none is lost by one.
"""

from collections.abc import AsyncIterator

from windlass.core import ops, queries
from windlass.core.position import Position
from windlass.core.records import BODY
from windlass.engine.undo import is_after
from windlass.stores.base import Store

SIGNALS = ops.SignalReceived | ops.SignalTaken | ops.SignalLeft


async def carry(store: Store, run: str, position: Position) -> None:
    """Give an earlier position the signals that came after it, on whatever branch, unless they were refused.

    What it had then and was taken since it has anyway.
    """
    async for op in _signals(store, run, position.seq):
        if isinstance(op, ops.SignalReceived):
            position.signals[op.id] = op
        elif isinstance(op, ops.SignalLeft) and op.why:
            position.signals.pop(op.id, None)


async def regain(store: Store, run: str, position: Position) -> None:
    """Give a position out of which nodes were taken the signals back that these had taken."""
    received: dict[str, ops.SignalReceived] = {}
    takers: dict[str, str] = {}
    async for op in _signals(store, run, 0):
        if isinstance(op, ops.SignalReceived):
            received[op.id] = op
        elif isinstance(op, ops.SignalTaken):
            takers[op.id] = op.address
        else:
            takers.pop(op.id, None)
    back = {id_: received[id_] for id_ in received if id_ in takers and is_after(takers[id_], position)}
    position.signals = {**back, **position.signals}


async def _signals(store: Store, run: str, after: int) -> AsyncIterator[SIGNALS]:
    while page := await store.find(queries.Rows(run=run, after=after)):
        for row in page:
            for op in BODY.decode(row.body).ops if row.kind != "pruned" else ():
                if isinstance(op, SIGNALS):
                    yield op
        after = page[-1].last
