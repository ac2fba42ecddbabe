"""A loop that converges: PageRank, one super-step per round, until nothing moves any more.

    python examples/converge.py [STORE]

It shows a `Graph` with a cycle. The node gets exactly the channels that its parameters name, a branch on settled state
decides whether there is another round, and each round is a durable checkpoint.
"""

import asyncio
import sys
from typing import Annotated, TypedDict

from windlass import END, Graph, Initial, Runtime, add

LINKS = {
    "engine": ["core", "stores"],
    "graph": ["core", "engine"],
    "stores": ["core"],
    "cli": ["engine", "graph", "stores"],
    "core": ["engine"],
}
DAMPING = 0.85  # Page, Brin, Motwani, Winograd, 1999
ENOUGH = 1e-9


class State(TypedDict):
    """The channels."""

    ranks: Annotated[dict[str, float], Initial({page: 1 / len(LINKS) for page in LINKS})]
    moved: float
    rounds: Annotated[int, add, Initial(0)]


graph = Graph("converge", State, step_limit=500)


@graph.node(writes=["ranks", "moved", "rounds"])
async def spread(ranks: dict[str, float]) -> dict[str, object]:
    """Let every page pass its rank on to those it links to."""
    passed = dict.fromkeys(LINKS, 0.0)
    for page, targets in LINKS.items():
        for target in targets:
            passed[target] += ranks[page] / len(targets)
    after = {page: (1 - DAMPING) / len(LINKS) + DAMPING * got for page, got in passed.items()}
    return {"ranks": after, "moved": sum(abs(after[page] - ranks[page]) for page in LINKS), "rounds": 1}


def again_or_done(moved: float) -> str:
    """Go on as long as the ranks move."""
    return "spread" if moved > ENOUGH else END


graph.start("spread")
graph.branch("spread", again_or_done, ["spread", END])


async def main(store: str = "memory:") -> dict[str, float]:
    """Run the loop and print what it came to."""
    async with Runtime(store) as runtime:
        result = await runtime.run(graph)
    ranks: dict[str, float] = result.output["ranks"]
    print(f"{result.status} after {result.output['rounds']} rounds; the last one moved {result.output['moved']:.1e}")
    for page, rank in sorted(ranks.items(), key=lambda entry: -entry[1]):
        print(f"  {page:<8}{rank:.4f} {'▇' * round(60 * rank)}")
    return ranks


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:2]))
