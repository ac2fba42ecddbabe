"""A research loop that would go on for ever, and a budget that lets it come to a good end.

    python examples/research_budget.py [STORE]

The model (a script here: no key, no network) always finds one more question. Each call says what it is expected to
cost, which is set aside before it, and what it did cost, which is settled after. When the next call no longer fits, the
run does not fail: it wraps up at `report`, for which a fifth of the budget was kept back.
"""

import asyncio
import sys
from dataclasses import dataclass
from typing import Annotated, TypedDict

from windlass import END, Budget, Context, Cost, Graph, Runtime, Usage, WrapUp, append

BUDGET = 1.00
ESTIMATE = Cost(estimate=Usage(money="0.08", model_calls=1))
paid: list[float] = []  # what the model's provider would put on its bill


@dataclass(frozen=True)
class Answer:
    """What the model says, and what that came to: `result.usage` is read by itself."""

    text: str
    usage: Usage


async def model(prompt: str) -> Answer:
    """Stand in for a model: a longer prompt costs more."""
    cost = round(0.03 + 0.0002 * len(prompt), 4)
    paid.append(cost)
    usage = Usage(money=str(cost), model_calls=1)
    if prompt.startswith("Report"):
        return Answer(f"A windlass has {prompt.count('fact')} parts that matter.", usage)
    return Answer(f"fact {len(paid)}; what about part {len(paid) + 1}?", usage)


class State(TypedDict):
    """The channels."""

    question: str
    notes: Annotated[list[str], append]
    report: str


graph = Graph("research", State, budget=Budget(money=BUDGET, edge=WrapUp(node="report", reserve=0.2)))


@graph.node(writes=["notes", "question"])
async def research(question: str, notes: list[str], ctx: Context) -> dict[str, object]:
    """Ask the model; it answers, and has another question."""
    answer: Answer = await ctx.call("model", model, "\n".join([*notes, question]), cost=ESTIMATE)
    fact, _, more = answer.text.partition("; ")
    return {"notes": [fact], "question": more}


@graph.node(writes=["report"])
async def report(notes: list[str], ctx: Context) -> dict[str, str]:
    """Write up what was found."""
    answer: Answer = await ctx.call("model", model, "\n".join(["Report on:", *notes]), cost=ESTIMATE)
    return {"report": answer.text}


def enough(question: str) -> str:
    """Go on as long as there is a question; there always is."""
    return "research" if question else "report"


graph.start("research")
graph.branch("research", enough, ["research", "report"])
graph.edge("report", END)


async def main(store: str = "memory:") -> None:
    """Research, and print what came of it and what it cost."""
    async with Runtime(store) as runtime:
        async for event in runtime.execute(graph, {"question": "What is a windlass?"}, "research-1"):
            if event.type == "budget.exceeded":
                print(f"no {event.data['unit']} is left for another call: {event.data['edge']}")
        result = await runtime.wait("research-1")
    print(f"{result.status}: {result.output['report']}")
    print(f"{len(paid)} calls for {sum(paid):.2f} of {BUDGET:.2f}; the last of them wrote the report")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:2]))
