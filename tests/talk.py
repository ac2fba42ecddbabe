"""A conversation for tests of threads: it says yes to everything, and asks about a question mark."""

from typing import Annotated, TypedDict

from windlass import Context, Graph, append


class Talk(TypedDict):
    """What was said."""

    messages: Annotated[list[str], append]


talk = Graph("talk", Talk)


@talk.node(writes=["messages"])
async def reply(messages: list[str], ctx: Context) -> dict[str, list[str]]:
    """Answer the last message."""
    if messages[-1] == "?":
        await ctx.ask("Well?", str)
    return {"messages": ["yes"]}


talk.start(reply)
