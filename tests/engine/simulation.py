"""A runtime in simulated time: what waits for minutes takes none, and a busy machine changes nothing."""

from collections.abc import Awaitable, Callable
from random import Random

from windlass import Runtime
from windlass.testing.simloop import SimulatedLoop, simulated_seams


def simulate(main: Callable[[Runtime], Awaitable[None]]) -> None:
    """Let `main` go on with a runtime of its own, in memory."""
    loop = SimulatedLoop(Random(0).randrange)

    async def process() -> None:
        async with Runtime("memory:", seams=simulated_seams(loop)) as runtime:
            await main(runtime)

    loop.run(process())
