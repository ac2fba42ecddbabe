"""A newsroom: a desk that gives each story to a team, a graph within a pipeline, with a loop that an editor ends.

    windlass run examples/newsroom.py:newsroom --input '["rain", "trade"]' --id issue-1
    windlass inbox list
    windlass inbox answer QUESTION print

Every story has a frame of its own, `team#1[0]` and `team#1[1]`, in one run: the editor answers in any order, in another
process, tomorrow. `shorter` sends a story round once more. Run as a program it answers by itself.
"""

import asyncio
from typing import Annotated, Any, TypedDict

from windlass import END, Context, Edge, Graph, Pipeline, Runtime, append, task


class Story(TypedDict):
    """What a team works on."""

    topic: str
    text: str
    verdict: str
    history: Annotated[list[str], append]


team = Graph("team", Story)


@team.node(writes=["text", "history"])
async def write(topic: str, text: str = "") -> dict[str, Any]:
    """Write a story, or cut the last version by half."""
    fresh = text[: len(text) // 2] if text else f"All there is to say about {topic}, and a little more."
    return {"text": fresh, "history": [f"{len(fresh)} characters"]}


@team.node(writes=["verdict"])
async def edit(text: str, ctx: Context) -> dict[str, Any]:
    """Ask the editor."""
    return {"verdict": await ctx.ask(f"Print this? {text!r}", {"enum": ["print", "shorter"]})}


def again(verdict: str) -> str:
    """Go round once more unless it is printed."""
    return "write" if verdict == "shorter" else END


team.start(write)
team.edge(write, edit)
team.branch(edit, again, [write, END])


@task
async def assign(topics: list[str]) -> list[dict[str, str]]:
    """Give each topic to a team."""
    return [{"topic": topic} for topic in topics]


@task
async def layout(team: list[dict[str, Any]]) -> list[str]:
    """Put the stories on a page."""
    return [f"{story['topic']}: {story['text']} ({', '.join(story['history'])})" for story in team]


newsroom = Pipeline("newsroom", [assign, team, layout], [Edge("assign", team, each=True, concurrency=4)])


async def main() -> None:
    """Let an editor who cuts the first version answer."""
    async with Runtime("memory:") as runtime:
        result = await runtime.run(newsroom, ["rain", "trade"], "issue-1")
        while result.status == "waiting":
            for question in await runtime.questions("issue-1"):
                print(f"{question.address}: {question.prompt}")
                await runtime.answer(question.id, "shorter" if "more" in question.prompt else "print")
            result = await runtime.wait("issue-1")
        print("\n".join(result.output))


if __name__ == "__main__":
    asyncio.run(main())
