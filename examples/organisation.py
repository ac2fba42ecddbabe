"""An organisation of 50 agents: a board, teams with a lead and specialists, one budget and one set of permissions.

The board starts a run of each team at once; each team's lead starts its specialists, and a quorum of them is enough.
Whoever is asked for more than the board's budget has left is refused, and so is a tool that the board has no grant for.
A person is asked before anything is bought. Kill it anywhere: what is running goes on, nobody is asked or paid twice.

    windlass run examples/organisation.py:board --input '{"question": "ship it?"}'
"""

import asyncio
from typing import Any, TypedDict

from windlass import (
    Allow,
    Budget,
    Context,
    Cost,
    Failed,
    Pipeline,
    Quorum,
    Retry,
    Runtime,
    Tool,
    Usage,
    task,
    tool,
)
from windlass.core.errors import PermissionDenied

ROLES = ("research", "design", "build", "test", "legal", "sales", "support")
SPECIALISTS = 6  # of each team: seven teams of a lead and six, and the board is the fiftieth


class Brief(TypedDict):
    """What somebody is asked."""

    question: str
    role: str
    number: int


@tool
def look_up(topic: str) -> str:
    """Look something up."""
    return f"what is known of {topic}"


@tool
def buy(item: str) -> str:
    """Spend money: the specialists' own definition grants it, the board does not."""
    return f"bought {item}"


@task(retry=Retry(on=ConnectionError))
async def think(brief: Brief, ctx: Context) -> str:
    """Answer as a specialist: what a model would do, at what it would cost."""
    known = await ctx.tool("look_up", topic=brief["question"])
    try:
        await ctx.tool("buy", item="a market study")
    except PermissionDenied:
        known += ", nothing bought"
    cost = Cost(estimate=Usage(tokens_out=100, model_calls=1))
    said: str = await ctx.call("model", answer, brief["role"], brief["number"], known, cost=cost)
    return said


async def answer(role: str, number: int, known: str) -> str:
    """Stand in for a model."""
    return f"{role} {number} says yes, with {known}"


@task
async def lead(brief: Brief, ctx: Context) -> str:
    """Ask the specialists of a team; four of six are enough."""
    briefs = [Brief(question=brief["question"], role=brief["role"], number=number) for number in range(SPECIALISTS)]
    said = await ctx.run_all([(specialist, one) for one in briefs], Quorum(4), name="specialists")
    heard = [one for one in said if not isinstance(one, Failed)]
    return f"{brief['role']}: {len(heard)} of {SPECIALISTS} answered"


@task
async def decide(wanted: dict[str, Any], ctx: Context) -> dict[str, Any]:
    """Ask every team, then a person."""
    briefs = [Brief(question=wanted["question"], role=role, number=0) for role in ROLES]
    reports = await ctx.run_all([(team, one) for one in briefs], "collect", name="teams")
    said = await ctx.ask(f"{wanted['question']} {len(reports)} teams reported.", str)
    return {"reports": [str(report) for report in reports], "decision": said}


TOOLS: list[Tool[..., Any]] = [look_up, buy]
specialist = Pipeline("specialist", [think], tools=TOOLS, grants=[Allow("look_up"), Allow("buy")])
team = Pipeline("team", [lead], children=[specialist], grants=[Allow("look_up"), Allow("buy")], tools=TOOLS)
board = Pipeline(
    "board", [decide], children=[team], grants=[Allow("look_up")], tools=TOOLS,
    budget=Budget(tokens_out=10_000, model_calls=60, depth=2),
)  # fmt: skip


async def main() -> None:
    """Let the board decide, and show what the organisation spent."""
    async with Runtime("memory:") as runtime:
        asked = await runtime.run(board, {"question": "Ship it?"}, id="board-1")
        await runtime.answer(asked.waiting[0], "yes")
        result = await runtime.wait("board-1")
        agents = await runtime.runs(under="board-1", limit=100)
        print("\n".join(result.output["reports"]), "decision: " + result.output["decision"], sep="\n")
        print(f"{1 + len(agents)} agents")


if __name__ == "__main__":
    asyncio.run(main())
