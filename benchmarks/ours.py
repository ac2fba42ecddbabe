"""Windlass, doing what a row measures: default settings, with digests, events and leases as always.

Definitions are compiled and something small has run before the clock starts, as for the others.
"""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, make_dataclass
from typing import Annotated, Any, TypedDict

from windlass import END, Edge, Graph, Pipeline, Runtime, Send, append, task
from windlass.core.tallies import Answer
from windlass.stores.memory import MemoryStore

FILE = "sqlite:///bench.db"


class Count(TypedDict):
    """The state of the loop."""

    n: int


def counter(steps: int, seen: Callable[[int], object] | None = None) -> Graph:
    """Build a loop of one node, which may tell where it is."""
    graph = Graph("counter", Count, step_limit=steps + 10)

    @graph.node(writes=["n"])
    async def count(n: int) -> dict[str, int]:
        if seen is not None:
            seen(n)
        return {"n": n + 1}

    def more(n: int) -> str:
        return END if n >= steps else "count"

    graph.start(count)
    graph.branch(count, more, [count, END])
    graph.compile()
    return graph


def loop(url: str, steps: int, marks: bool = False) -> dict[str, float]:
    """One run, each step waits for its own commit; with `marks`, each writes a line outside before it begins."""
    return asyncio.run(_loop(url, steps, marks=marks))


async def _loop(url: str, steps: int, *, marks: bool) -> dict[str, float]:
    async with Runtime(url) as runtime:
        await runtime.run(counter(20), {"n": 0})
        file = os.open("marks", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        graph = counter(steps, (lambda n: os.write(file, b"%d\n" % n)) if marks else None)
        begun = time.perf_counter()
        found = await runtime.run(graph, {"n": 0}, id="run")
        seconds = time.perf_counter() - begun
        os.close(file)
    assert found.output == {"n": steps}
    return {"rate": steps / seconds}


def durable(run: str = "run") -> dict[str, int]:
    """Say how many steps of a run are in the file."""
    return asyncio.run(_durable(run))


async def _durable(run: str) -> dict[str, int]:
    async with Runtime(FILE) as runtime:
        state = await runtime.state(run)
    return {"n": state["n"]}


def concurrent(runs: int, steps: int) -> dict[str, float]:
    """Many runs at once, started one by one."""
    return asyncio.run(_concurrent(runs, steps))


async def _concurrent(runs: int, steps: int) -> dict[str, float]:
    graph = counter(steps)
    async with Runtime(FILE) as runtime:
        await runtime.run(graph, {"n": 0})
        begun = time.perf_counter()
        await asyncio.gather(*(runtime.run(graph, {"n": 0}) for _ in range(runs)))
        return {"rate": runs * steps / (time.perf_counter() - begun)}


class Items(TypedDict):
    """The state of the fan-out."""

    width: int
    items: Annotated[list[int], append]
    total: int


def spread(width: int) -> list[Send]:
    """Plan an activation for each item."""
    return [Send("work", item) for item in range(width)]


def sends() -> Graph:
    """Build a fan-out of Sends with a join."""
    graph = Graph("sends", Items)

    @graph.node
    async def split() -> None:
        return None

    @graph.node(writes=["items"])
    async def work(item: int) -> dict[str, list[int]]:
        return {"items": [item]}

    @graph.node(writes=["total"])
    async def join(items: list[int]) -> dict[str, int]:
        return {"total": len(items)}

    graph.start(split)
    graph.branch(split, spread, [work])
    graph.edge(work, join)
    graph.compile()
    return graph


def mapped() -> Pipeline:
    """Build a fan-out over a mapped edge with a join."""

    @task
    async def split(width: int) -> list[int]:
        return list(range(width))

    @task
    async def work(split: int) -> int:
        return split

    @task
    async def join(work: list[int]) -> int:
        return len(work)

    pipeline = Pipeline("mapped", tasks=[split, work, join], edges=[Edge(split, work, each=True)])
    pipeline.compile()
    return pipeline


def fan_out(width: int, by_sends: bool) -> dict[str, float]:
    """One step of many activations, each durable, and a join."""
    return asyncio.run(_fan_out(width, by_sends=by_sends))


async def _fan_out(width: int, *, by_sends: bool) -> dict[str, float]:
    definition: Graph | Pipeline = sends() if by_sends else mapped()
    async with Runtime(FILE) as runtime:
        await runtime.run(definition, {"width": 5} if by_sends else 5)
        begun = time.perf_counter()
        found = await runtime.run(definition, {"width": width} if by_sends else width)
        seconds = time.perf_counter() - begun
    assert (found.output["total"] if by_sends else found.output) == width
    return {"ms": seconds * 1e3}


def resume(at: int, build: bool = False) -> dict[str, float]:
    """Go on with a run of so many checkpoints; with `build`, make it, and die in the step after them."""
    return asyncio.run(_resume(at, build=build))


async def _resume(at: int, *, build: bool) -> dict[str, float]:
    started: list[float] = []

    def seen(n: int) -> None:
        if build and n >= at:
            os.kill(os.getpid(), signal.SIGKILL)
        started.append(time.monotonic() - float(os.environ["SPAWNED_AT"]))

    async with Runtime(FILE) as runtime:
        found = await runtime.run(counter(at + 1, seen), {"n": 0}, id="run")
    assert found.output == {"n": at + 1}
    return {"seconds": started[0]}


@dataclass(frozen=True, slots=True)
class Message:
    """An item that cannot change: readers share it."""

    number: int
    text: str


class Texts(TypedDict):
    """A growing list, and how long it is."""

    n: int
    messages: Annotated[list[str], append]


class Messages(TypedDict):
    """The same with items that cannot change."""

    n: int
    messages: Annotated[list[Message], append]


class Dicts(TypedDict):
    """The same with items that can."""

    n: int
    messages: Annotated[list[dict[str, str]], append]


STATES = {"": Texts, "frozen": Messages, "dicts": Dicts}


def growing(steps: int, reads: str, starts: list[float]) -> Graph:
    """Build a loop that appends a message of 1 KB; it reads none, or all, as `frozen` items or as `dicts`."""
    graph = Graph("growing", STATES[reads], step_limit=steps + 10)

    def add(n: int) -> dict[str, Any]:
        text = f"{n:06d}".ljust(1024, "x")
        made = {"": text, "frozen": Message(n, text), "dicts": {"number": str(n), "text": text}}
        return {"n": n + 1, "messages": [made[reads]]}

    async def write(n: int) -> dict[str, Any]:
        starts.append(time.perf_counter())
        return add(n)

    async def read_frozen(n: int, messages: list[Message]) -> dict[str, Any]:
        starts.append(time.perf_counter())
        assert len(messages) == n
        return add(n)

    async def read_dicts(n: int, messages: list[dict[str, str]]) -> dict[str, Any]:
        starts.append(time.perf_counter())
        assert len(messages) == n
        return add(n)

    def more(n: int) -> str:
        return END if n >= steps else "add"

    nodes: dict[str, Callable[..., Any]] = {"": write, "frozen": read_frozen, "dicts": read_dicts}
    graph.node(nodes[reads], id="add", writes=["n", "messages"])
    graph.start("add")
    graph.branch("add", more, ["add", END])
    graph.compile()
    return graph


def grow(appends: int, url: str, reads: str = "") -> dict[str, Any]:
    """Append a message at each step, and say when each began."""
    starts: list[float] = []
    asyncio.run(_grow(growing(50, reads, []), "sqlite:///warm.db"))
    asyncio.run(_grow(growing(appends, reads, starts), url))
    return {"starts": starts}


async def _grow(graph: Graph, url: str) -> None:
    async with Runtime(url) as runtime:
        await runtime.run(graph, {"n": 0})


def channels(many: int, steps: int, url: str) -> dict[str, float]:
    """Loop over one of so many channels."""
    return asyncio.run(_channels(many, steps, url))


async def _channels(many: int, steps: int, url: str) -> dict[str, float]:
    seconds = {}
    async with Runtime(url) as runtime:
        for width in (1, many):
            names = [f"c{number}" for number in range(width)]
            graph = Graph(f"wide{width}", make_dataclass("Wide", [(name, int) for name in names]), step_limit=steps + 9)

            @graph.node(writes=["c0"])
            async def count(c0: int) -> dict[str, int]:
                return {"c0": c0 + 1}

            def more(c0: int) -> str:
                return END if c0 >= steps else "count"

            graph.start("count")
            graph.branch("count", more, ["count", END])
            zeros = dict.fromkeys(names, 0)
            await runtime.run(graph, {**zeros, "c0": steps - 20})
            begun = time.perf_counter()
            await runtime.run(graph, zeros)
            seconds[width] = time.perf_counter() - begun
    return {"ratio": seconds[many] / seconds[1]}


def compile_chain(nodes: int) -> dict[str, float]:
    """Build a chain of tasks."""

    async def body() -> int:
        return 0

    begun = time.perf_counter()
    tasks = [task(id=f"t{number}")(body) for number in range(nodes)]
    edges = [(f"t{number - 1}", f"t{number}") for number in range(1, nodes)]
    blueprint = Pipeline("chain", tasks=tasks, edges=edges).compile()
    seconds = time.perf_counter() - begun
    assert len(blueprint.nodes) == nodes
    return {"seconds": seconds}


class SlowStore(MemoryStore):
    """A store whose commits take their time."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.kept = 0

    async def commit(self, write: Any) -> tuple[Answer, ...]:
        """Keep a write, later."""
        await asyncio.sleep(self.seconds)
        answers = await super().commit(write)
        self.kept = write.head.n
        return answers


class Heavy(TypedDict):
    """The state under back-pressure."""

    n: int
    text: str


def pressure(steps: int, seconds: float, size: int) -> dict[str, float]:
    """Run on a slow store under `async` durability, and count the steps that are not kept yet."""
    return asyncio.run(_pressure(steps, SlowStore(seconds), size))


async def _pressure(steps: int, store: SlowStore, size: int) -> dict[str, float]:
    behind = 0
    graph = Graph("heavy", Heavy, step_limit=steps + 10, durability="async")

    @graph.node(writes=["n", "text"])
    async def add(n: int) -> dict[str, Any]:
        nonlocal behind
        behind = max(behind, n - store.kept)
        return {"n": n + 1, "text": f"{n:09d}".ljust(size, "x")}  # a new value each time: equal ones are kept once

    def more(n: int) -> str:
        return END if n >= steps else "add"

    graph.start(add)
    graph.branch(add, more, [add, END])
    await store.open()
    async with Runtime(store) as runtime:
        await runtime.run(graph, {"n": 0})
    return {"steps": behind, "MB": behind * size / 1e6}
