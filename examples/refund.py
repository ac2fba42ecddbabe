"""A refund that a person approves, over two processes: one asks and ends, the other finds the answer and pays.

    python examples/refund.py [STORE]

The first process computes a refund, wants to pay it, and waits for the chief financial officer: it parks the run and
ends. While nobody lives, the customer's message is changed to another amount: what was approved would not be what
runs, so the second process asks again instead of paying. Then it is approved as it stands, and paid once.
"""

import asyncio
import sys
import tempfile
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from windlass import Approve, Context, Pipeline, Runtime, task
from windlass.core.errors import NotForYou

RUN = "refund-7"


@dataclass(frozen=True)
class Claim:
    """What a customer wants."""

    order: int
    amount: int


@task
async def assess(claim: Claim) -> Claim:
    """Allow at most 500; an agent would read the correspondence here."""
    return Claim(claim.order, min(claim.amount, 500))


@task
async def refund(assess: Claim, ctx: Context) -> str:
    """Pay, once the chief financial officer has approved exactly this."""
    paid: str = await ctx.effect("pay", pay, assess.order, assess.amount, approve=Approve("role:cfo", deadline="2 d"))
    return paid


def pay(order: int, amount: int) -> str:
    """Move money: here, print."""
    print(f"paid {amount} for order {order}")
    return f"{amount} for order {order}"


refunds = Pipeline("refunds", [assess, refund])


async def ask(store: str) -> None:
    """Start the refund; this process ends while it waits."""
    async with Runtime(store) as runtime:
        result = await runtime.run(refunds, Claim(7, 900), id=RUN)
        (question,) = await runtime.questions(RUN)
        print(f"{result.status}: {question.prompt}")


async def decide(store: str) -> None:
    """Correct the state, be asked again, and approve."""
    async with Runtime(store, [refunds]) as runtime:
        (first,) = await runtime.questions(RUN)
        await runtime.edit(RUN, {"assess": Claim(7, 90)}, by="ann", why="the customer meant 90")
        await runtime.wait(RUN)
        (question,) = await runtime.questions(RUN)
        print(f"asked again: {question.id != first.id}, {question.about['shown']}")
        try:
            await runtime.answer(question.id, "allow", by="ann", roles=["support"])
        except NotForYou as refused:
            print(f"ann may not: {refused.code}")
        await runtime.answer(question.id, "allow", by="carl", roles=["cfo"])
        print(f"{(await runtime.wait(RUN)).status}: {(await runtime.state(RUN))['refund']}")
        async for event in runtime.events(RUN):
            if event.type in ("approval.void", "run.edited", "question.answered"):
                said = {name: event.data[name] for name in ("fields", "why", "by") if name in event.data}
                print(f"  {event.type} {said}")


def in_a_process(step: str, store: str) -> None:
    """Do a step in a process of its own."""
    asyncio.run({"ask": ask, "decide": decide}[step](store))


def main(store: str = "") -> None:
    """Ask in one process, decide in another."""
    with tempfile.TemporaryDirectory() as folder:
        url = store or f"sqlite:///{Path(folder) / 'refunds.db'}"
        for step in ("ask", "decide"):
            process = get_context("spawn").Process(target=in_a_process, args=(step, url))
            process.start()
            process.join()
            if process.exitcode:
                sys.exit(process.exitcode)


if __name__ == "__main__":
    main(*sys.argv[1:2])
