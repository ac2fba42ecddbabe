"""Fifty agents behind one breaker and one limit; what they all depend on goes down in the middle, and comes back.

    python examples/fleet.py [STORE]

Breaker and limit stand in the store, so it would be the same with agents in fifty processes: at most ten calls are
under way at any time; the first failures open the breaker; then only a probe is let through now and then, until one
comes back with an answer. No agent fails, and none has code for that.
"""

import asyncio
import sys
import tempfile
import time
from typing import TypedDict

from windlass import END, Breaker, Context, Graph, Limit, Retry, Runtime

AGENTS, TURNS = 50, 4
AT_ONCE = 10
DOWN_AFTER, DOWN_SECONDS = 60, 2.0


class Dependency:
    """What every agent calls: it takes a moment, and is down for a while after so many calls."""

    def __init__(self) -> None:
        self.answered = self.met_it_down = self.busy = self.most_busy = 0
        self.down_until = 0.0

    async def ask(self, agent: int) -> str:
        """Answer, or fail at once."""
        now = time.monotonic()
        if self.answered >= DOWN_AFTER and not self.down_until:
            self.down_until = now + DOWN_SECONDS
        if now < self.down_until:
            self.met_it_down += 1
            raise ConnectionError("down")
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        await asyncio.sleep(0.02)
        self.busy -= 1
        self.answered += 1
        return f"answer for {agent}"


dependency = Dependency()


class State(TypedDict):
    """The channels of an agent."""

    agent: int
    turn: int


fleet = Graph("fleet", State)


@fleet.node(
    writes=["turn"],
    breaker=Breaker("dependency", failures=5, window=10, cooldown=0.5, on=ConnectionError),
    limits=[Limit("dependency", concurrency=AT_ONCE)],
    retry=Retry(on=ConnectionError, max_attempts=20, initial=0.1, cap=0.5),
)
async def think(agent: int, turn: int, ctx: Context) -> dict[str, int]:
    """Take a turn."""
    await ctx.call("ask", dependency.ask, agent)
    return {"turn": turn + 1}


def more(turn: int) -> str:
    """Go on until all turns are taken."""
    return "think" if turn < TURNS else END


fleet.start("think")
fleet.branch("think", more, ["think", END])


async def main(store: str) -> None:
    """Let them all run at once, and print what the dependency saw of them."""
    opened = 0
    async with Runtime(store) as runtime:
        agents = (runtime.run(fleet, {"agent": agent, "turn": 0}, f"agent-{agent}") for agent in range(AGENTS))
        results = await asyncio.gather(*agents)
        for result in results:
            async for event in runtime.events(result.run):
                opened += event.type == "breaker.opened"
    completed = sum(result.status == "completed" for result in results)
    print(f"{completed} of {AGENTS} agents completed with {dependency.answered} answers", end="")
    print(f", at most {dependency.most_busy} calls at once")
    print(f"down for {DOWN_SECONDS:g} s: {dependency.met_it_down} calls met that; the breaker opened {opened} times")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else f"sqlite:///{folder}/fleet.db"))
