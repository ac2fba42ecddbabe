"""A write that cannot even be made fails whoever waits for it."""

import asyncio
from typing import Any

import pytest

from windlass import Context, Pipeline, Runtime, task
from windlass.core import ops
from windlass.core.position import Position


async def three() -> int:
    return 3


@task
async def calling(_: int, ctx: Context) -> int:
    return int(await ctx.call("three", three))


async def test_a_row_that_cannot_be_made_is_no_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect in the product, say: the record of a call is written beside the task, which waits for it."""
    fold: Any = Position._note

    def broken(position: Position, op: ops.Op) -> None:
        if isinstance(op, ops.CallRecorded):
            raise LookupError("a defect")  # noqa: TRY004 -- it stands for any
        fold(position, op)

    monkeypatch.setattr(Position, "_note", broken)
    async with asyncio.timeout(10), Runtime() as runtime:
        with pytest.raises(LookupError, match="a defect"):
            await runtime.run(Pipeline("p", [calling]), 0)
