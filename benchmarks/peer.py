"""LangGraph, doing the same; in the way that is fastest for it, where there are several (a row says which).

Written after its documentation: `StateGraph`, a conditional edge for the loop, `Send` for the fan-out, and its own
SQLite saver with its own settings (WAL, `synchronous=FULL`). It is compiled and has run once before the clock starts.
What only one row needs is imported there: how long a start takes is measured, too.
"""

import asyncio
import operator
import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Annotated, Any, TypedDict

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send


class Count(TypedDict):
    """The state of the loop."""

    n: int


def place(thread: str, steps: int = 100) -> dict[str, Any]:
    """Name a thread, and how far it may go."""
    return {"configurable": {"thread_id": thread}, "recursion_limit": 10 * steps + 100}


def counter(node: Callable[..., Any], more: Callable[..., Any], saver: Any, state: Any = Count) -> Any:
    """Build a loop of one node."""
    graph = StateGraph(state)
    graph.add_node("count", node)
    graph.add_edge(START, "count")
    graph.add_conditional_edges("count", more)
    return graph.compile(checkpointer=saver)


def loop(steps: int, kept: bool = True) -> dict[str, float]:
    """One run; `invoke` with SqliteSaver is faster than `ainvoke` with the async one."""
    with ExitStack() as stack:
        saver = stack.enter_context(SqliteSaver.from_conn_string("bench.db")) if kept else None
        graph = counter(lambda s: {"n": s["n"] + 1}, lambda s: END if s["n"] >= steps else "count", saver)
        durable: dict[str, Any] = {"durability": "sync"} if kept else {}
        graph.invoke({"n": steps - 20}, place("warm"), **durable)
        begun = time.perf_counter()
        found = graph.invoke({"n": 0}, place("run", steps), **durable)
        seconds = time.perf_counter() - begun
        assert found["n"] == steps
    return {"rate": steps / seconds}


def concurrent(runs: int, steps: int) -> dict[str, float]:
    """Many threads at once; the async saver is the only one that can."""
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    async def count(state: Count) -> Count:
        return {"n": state["n"] + 1}

    async def more(state: Count) -> str:  # a sync one would cost a trip to a thread at every step
        return END if state["n"] >= steps else "count"

    async def main() -> float:
        async with AsyncSqliteSaver.from_conn_string("bench.db") as saver:
            graph = counter(count, more, saver)
            await graph.ainvoke({"n": 0}, place("warm"), durability="sync")
            begun = time.perf_counter()
            await asyncio.gather(*(graph.ainvoke({"n": 0}, place(f"{n}"), durability="sync") for n in range(runs)))
            return time.perf_counter() - begun

    return {"rate": runs * steps / asyncio.run(main())}


class Items(TypedDict):
    """The state of the fan-out."""

    width: int
    items: Annotated[list[int], operator.add]
    total: int


def fan_out(width: int) -> dict[str, float]:
    """One step of many Sends, and a join."""
    graph = StateGraph(Items)
    graph.add_node("split", lambda _: {})
    graph.add_node("work", lambda sent: {"items": [sent["item"]]})
    graph.add_node("join", lambda s: {"total": len(s["items"])})
    graph.add_edge(START, "split")
    graph.add_conditional_edges("split", lambda s: [Send("work", {"item": n}) for n in range(s["width"])], ["work"])
    graph.add_edge("work", "join")
    graph.add_edge("join", END)
    with SqliteSaver.from_conn_string("bench.db") as saver:
        built = graph.compile(checkpointer=saver)
        built.invoke({"width": 5, "items": []}, place("warm"), durability="sync")
        begun = time.perf_counter()
        found = built.invoke({"width": width, "items": []}, place("run"), durability="sync")
        seconds = time.perf_counter() - begun
    assert found["total"] == width
    return {"ms": seconds * 1e3}


def resume(at: int, build: bool = False) -> dict[str, float]:
    """Go on with a run of so many checkpoints; with `build`, make it, and die in the step after them."""
    started: list[float] = []

    def count(state: Count) -> Count:
        if build and state["n"] >= at:
            os.kill(os.getpid(), signal.SIGKILL)
        started.append(time.monotonic() - float(os.environ["SPAWNED_AT"]))
        return {"n": state["n"] + 1}

    with SqliteSaver.from_conn_string("bench.db") as saver:
        graph = counter(count, lambda _: "count" if build else END, saver)
        graph.invoke({"n": 0} if build else None, place("run", at), durability="sync")
    return {"seconds": started[0]}


class Added(TypedDict):
    """Messages, in the channel that the documentation shows."""

    messages: Annotated[list[str], operator.add]


def grow(appends: int, delta: bool) -> dict[str, Any]:
    """Append a message of 1 KB at each step; with `delta`, in the channel that keeps only what was added."""
    from langgraph.channels.delta import DeltaChannel

    class Deltas(TypedDict):
        messages: Annotated[list[str], DeltaChannel(lambda old, new: old + [one for write in new for one in write])]

    starts: list[float] = []

    def append(state: Any) -> Any:
        starts.append(time.perf_counter())
        return {"messages": [f"{len(state['messages']):06d}".ljust(1024, "x")]}

    for file, steps in (("warm.db", 50), ("bench.db", appends)):
        starts.clear()
        with SqliteSaver.from_conn_string(file) as saver:
            graph = counter(append, partial(more, steps), saver, Deltas if delta else Added)
            graph.invoke({"messages": []}, place("run", steps), durability="sync")
    return {"starts": starts}


def more(steps: int, state: Any) -> str:
    """Say where to go on."""
    return END if len(state["messages"]) >= steps else "count"


def channels(many: int, steps: int) -> dict[str, float]:
    """Loop over one of so many channels, without a saver."""
    made: Any = TypedDict  # a type checker wants to know the fields
    seconds = {}
    for width in (1, many):
        names = [f"c{number}" for number in range(width)]
        graph = counter(
            lambda s: {"c0": s["c0"] + 1},
            lambda s: END if s["c0"] >= steps else "count",
            None,
            made("Wide", dict.fromkeys(names, int)),
        )
        zeros = dict.fromkeys(names, 0)
        graph.invoke({**zeros, "c0": steps - 20}, place("warm"))
        begun = time.perf_counter()
        graph.invoke(zeros, place("run", steps))
        seconds[width] = time.perf_counter() - begun
    return {"ratio": seconds[many] / seconds[1]}


def compile_chain(nodes: int) -> dict[str, float]:
    """Build a chain of nodes."""
    begun = time.perf_counter()
    graph = StateGraph(Count)
    for number in range(nodes):
        graph.add_node(f"t{number}", lambda _: {})
        graph.add_edge(f"t{number - 1}" if number else START, f"t{number}")
    graph.compile()
    return {"seconds": time.perf_counter() - begun}


class Texts(TypedDict):
    """The state under back-pressure."""

    n: int
    text: str


def pressure(steps: int, seconds: float, size: int) -> dict[str, float]:
    """Run on a slow saver under `async` durability, and count the steps that are not kept yet."""
    from langgraph.checkpoint.memory import InMemorySaver

    saver = InMemorySaver()
    fast, kept, behind = saver.put, [0], [0]

    def slowly(config: Any, checkpoint: Any, metadata: Any, versions: Any) -> Any:
        time.sleep(seconds)
        found = fast(config, checkpoint, metadata, versions)
        kept[0] = max(kept[0], metadata["step"])
        return found

    def count(state: Count) -> Any:
        behind[0] = max(behind[0], state["n"] - kept[0])
        return {"n": state["n"] + 1, "text": "x" * size}

    saver.put = slowly
    graph = counter(count, lambda s: END if s["n"] >= steps else "count", saver, Texts)
    graph.invoke({"n": 0}, place("run", steps), durability="async")
    return {"steps": behind[0], "MB": behind[0] * size / 1e6}
