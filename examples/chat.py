"""A conversation on a thread, over several processes: each message is a run, and one comes while another waits.

    python examples/chat.py [STORE]

Each line below is said by a process of its own, which ends when it has nothing to do. The second message needs a
person, so its run parks. The third comes meanwhile: it is kept and waits for its turn; no process does. When somebody
answers, both go on, in their order, and the third has seen all that was said. The fifth interrupts the fourth.
"""

import asyncio
import sys
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any, TypedDict

from windlass import Context, Graph, Runtime, append
from windlass.core.states import COMPLETED

THREAD = "ann"


class Chat(TypedDict):
    """What was said so far, in every turn of the thread."""

    messages: Annotated[list[str], append]


chat = Graph("chat", Chat)


@chat.node(writes=["messages"])
async def reply(messages: list[str], ctx: Context) -> dict[str, list[str]]:
    """Answer the last message; a model would be asked here, with all that was said."""
    said = messages[-1].removeprefix("ann: ")
    if said.startswith("may"):
        allowed: str = await ctx.ask(f"Ann asks: {said}", str)
        return {"messages": [f"agent: the boss says {allowed}"]}
    return {"messages": [f"agent: {said}, noted as number {1 + len(messages) // 2}"]}


chat.start(reply)


async def say(store: str, message: str, run: str, on_busy: str = "enqueue") -> None:
    """Say something; this process ends when the run has ended, or waits."""
    async with Runtime(store, [chat]) as runtime:
        options: dict[str, Any] = {"thread": THREAD, "on_busy": on_busy}
        result = await runtime.run(chat, {"messages": [f"ann: {message}"]}, id=run, **options)
        answer = result.output["messages"][-1] if result.status == COMPLETED else f"({result.status})"
        print(f"{run}: {message} -> {answer}")


async def decide(store: str, value: str, last: str) -> None:
    """Answer what is asked, and drive what goes on then."""
    async with Runtime(store, [chat]) as runtime:
        await runtime.resume(last)  # whoever waits for a turn drives the ones in front of it, too
        (question,) = await runtime.questions()
        await runtime.answer(question.id, value, by="boss")
        while (result := await runtime.wait(last)).status != COMPLETED:
            pass
        print("\n".join(f"  {line}" for line in result.output["messages"]))


async def show(store: str) -> None:
    """List the turns, and what was said after the last."""
    async with Runtime(store) as runtime:
        turns = await runtime.thread(THREAD)
        for record in turns:
            print(f"turn {record.turn}: {record.id} {record.head.status}")
        print("\n".join(f"  {line}" for line in (await runtime.state(turns[-1].id))["messages"][-3:]))


STEPS: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {"say": say, "decide": decide, "show": show}
PLAY = (
    ("say", "hello", "m1"),
    ("say", "may I have a day off?", "m2"),
    ("say", "and a cup of tea", "m3"),
    ("decide", "yes", "m3"),
    ("say", "may I have another?", "m4"),
    ("say", "never mind", "m5", "interrupt"),
    ("show",),
)


def in_a_process(name: str, store: str, given: Sequence[str]) -> None:
    """Do a step in a process of its own."""
    asyncio.run(STEPS[name](store, *given))


def main(store: str = "") -> None:
    """Let one process after the other speak."""
    with tempfile.TemporaryDirectory() as folder:
        url = store or f"sqlite:///{Path(folder) / 'chat.db'}"
        for name, *given in PLAY:
            process = get_context("spawn").Process(target=in_a_process, args=(name, url, given))
            process.start()
            process.join()
            if process.exitcode:
                sys.exit(process.exitcode)


if __name__ == "__main__":
    main(*sys.argv[1:2])
