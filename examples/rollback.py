"""A rollback: what was done outside is undone, and the second try does it anew.

    python examples/rollback.py [STORE]

It shows effects with an undo that the task declares, so that any process that knows the task can run it. Two seats are
booked; the bill turns out too high; the run goes back to just before `book`, which frees the seats, the latest first;
the price is mended, and the run goes on. The key that the outside world sees is another one for the second booking.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from windlass import Context, Pipeline, Runtime, task

price = {"a seat": 90}  # the world outside, as far as this program can change it
LIMIT = 100


def reserve(folder: str, seat: str, key: str) -> str:
    """Book a seat in the outside world: a file."""
    Path(folder, seat).write_text(key)
    print(f"  booked {seat}")
    return seat


def free(folder: str, seat: str, key: str) -> None:  # noqa: ARG001 -- an undo gets the arguments of its effect
    """Undo a booking."""
    Path(folder, seat).unlink()
    print(f"  freed  {seat}")


def keys(folder: str) -> list[str]:
    """Return the keys of the seats that are booked."""
    return [seat.read_text() for seat in sorted(Path(folder).iterdir())]


@task(undo=[free])
async def book(folder: str, ctx: Context) -> list[str]:
    """Book two seats, each once."""
    booked = []
    for seat in ("12A", "12B"):
        key = ctx.key("reserve", seat)
        booked.append(await ctx.effect("reserve", reserve, folder, seat, key, key=seat, undo=free))
    return booked


@task
async def bill(book: list[str]) -> int:
    """Add it up."""
    total = len(book) * price["a seat"]
    if total > LIMIT:
        raise ValueError(f"{total} is above {LIMIT}")
    return total


trip = Pipeline("trip", [book, bill])


async def main(store: str = "memory:") -> list[list[str]]:
    """Book, roll back, book again; return the keys of both bookings."""
    price["a seat"] = 90
    with tempfile.TemporaryDirectory() as folder:
        async with Runtime(store) as runtime:
            run = await runtime.start(trip, folder)
            async for event in runtime.events(run, follow=True):
                if event.type == "activation.failed":
                    print(f"failed at {event.address}: {event.data['failure']['message']}")
            first = keys(folder)
            print("back to just before book:")
            await runtime.rollback(run, ("book", 1))
            print(f"  {len(keys(folder))} seats are booked now; the run is {(await runtime.get(run)).head.status}")
            price["a seat"] = 45
            await runtime.resume(run)
            result = await runtime.wait(run)
            second = keys(folder)
    print(f"the second try {result.status}: {result.output} for two seats, under {len({*first, *second})} keys in all")
    return [first, second]


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:2]))
