"""An editor reviews what was written: corrects a field of the state, edits a draft at a breakpoint, and lets it go.

    python examples/editor.py [STORE]

A graph writes an article and stops after the draft (`after="role:editor"`), where the editor changes the text itself;
then it asks whether to print. Before answering, the editor corrects the title in the state, through `runtime.edit`: the
question is asked anew with the title that will be printed. Who changed what, and why, is in the log.
"""

import asyncio
import sys
from typing import Annotated, TypedDict

from windlass import Context, Graph, Runtime, append


class Article(TypedDict):
    """The state: a channel for each field."""

    topic: str
    title: str
    text: str
    notes: Annotated[list[str], append]


graph = Graph("article", Article)


@graph.node(writes=["title", "text", "notes"], after="role:editor")
async def write(topic: str) -> dict[str, object]:
    """Write; a model would, and would make such mistakes."""
    return {"title": f"Teh truth about {topic}", "text": f"{topic} are great, buy {topic}.", "notes": ["drafted"]}


@graph.node(writes=["notes"])
async def publish(title: str, text: str, ctx: Context) -> dict[str, list[str]]:
    """Print what the editor lets go."""
    if await ctx.ask(f"Print {title!r}?", bool, to="role:editor", deadline="1 d"):
        return {"notes": [f"printed: {title}: {text}"]}
    return {"notes": ["not printed"]}


graph.start(write)
graph.edge(write, publish)


async def main(store: str = "memory:") -> None:
    """Play the author's run and the editor's part."""
    async with Runtime(store) as runtime:
        run = (await runtime.run(graph, {"topic": "windlasses"})).run
        (draft,) = await runtime.questions(run)
        print(f"{draft.prompt}\n  {draft.about['shown']}")
        await runtime.answer(draft.id, {"edit": {"text": "Windlasses lift."}}, by="ed", roles=["editor"])
        await runtime.wait(run)
        (question,) = await runtime.questions(run)
        print(question.prompt)
        corrected = {"title": "The truth about windlasses", "notes": ["title mended"]}
        await runtime.edit(run, corrected, by="ed", why="a typo")
        await runtime.wait(run)
        (question,) = await runtime.questions(run)
        print(question.prompt)
        await runtime.answer(question.id, value=True, by="ed", roles=["editor"])
        result = await runtime.wait(run)
        print(f"{result.status}: {', '.join(result.output['notes'])}")
        async for event in runtime.events(run):
            if event.type == "run.edited":
                print(f"{event.data['by']} edited {', '.join(event.data['channels'])}: {event.data['why']}")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:2]))
