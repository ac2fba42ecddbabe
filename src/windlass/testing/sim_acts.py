"""What the tasks of simulated scenes do outside: things that happen, may be asked about, or may be repeated."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from windlass.core.words import Happened
from windlass.engine.context import Context
from windlass.graph.pipeline import Pipeline
from windlass.graph.task import task
from windlass.testing.sim_play import here
from windlass.testing.sim_process import PROCESS

T = TypeVar("T")


async def happen(amount: int, key: str) -> int:
    """Happen, each time anew, some time after it was called."""

    async def arrive() -> int:
        here().outside[key] = amount * 10
        return amount * 10

    return await reach_out("request", arrive)


async def reach_out(what: str, work: Callable[[], Awaitable[T]]) -> T:
    """Do something outside, as the tape says."""
    process = PROCESS.get()
    return await work() if process is None else await process.touch(what, work, ConnectionError)


async def happen_once(amount: int, key: str) -> int:
    """Happen, once for each key."""
    here().outside.setdefault(key, amount * 10)
    return amount * 10


async def ask_outside(amount: int, key: str) -> Happened | None:
    """Say whether it has happened."""
    del amount

    async def look() -> Happened | None:
        value = here().outside.get(key)
        return None if value is None else Happened(value)

    return await reach_out("verify", look)


async def double(amount: int) -> int:
    """Compute."""
    return amount * 2


@task
async def book(n: int, ctx: Context) -> int:
    """Have an effect that a person is asked about."""
    booked: int = await ctx.effect("book", happen, n, ctx.key("book"))
    return booked


@task
async def charge(book: int, ctx: Context) -> int:
    """Have one that may be repeated."""
    charged: int = await ctx.effect("charge", happen_once, book, ctx.key("charge"), on_doubt="retry")
    return charged


@task
async def mail(charge: int, ctx: Context) -> int:
    """Have one that the outside world is asked about."""
    mailed: int = await ctx.effect("mail", happen, charge, ctx.key("mail"), on_doubt=ask_outside)
    return mailed


brief = Pipeline("brief", [book, charge])
