"""Nested programs as definitions: every part of a program is a node of a graph or a task of a pipeline.

A graph has three channels: `x` is its number, `acc` collects what its parts come to, `turns` counts its loops. What
a graph within a graph finds under the same names is its outer graph's.
"""

import asyncio
from collections import Counter
from typing import Annotated, Any, TypedDict

from trials.nested_reference import PRIME, Program, as_given, total
from windlass import (
    AgentSpec,
    Context,
    Edge,
    Graph,
    Pipeline,
    Retry,
    RunFailed,
    Send,
    Subgraph,
    Task,
    Update,
    append,
    merge,
)
from windlass.core.blueprint import Definition
from windlass.testing.sim_acts import ask_outside, happen
from windlass.testing.sim_play import here

AGAIN = Retry(on=(ValueError, ConnectionError, RunFailed), max_attempts=10, initial=1.0, jitter=0.0)
takes = as_given


class State(TypedDict):
    """Of every graph."""

    x: Any
    acc: Annotated[list[Any], append]
    turns: Annotated[dict[str, int], merge]


async def act(ctx: Context, part: Program, given: Any, number: int) -> int:
    """Do what a leaf does."""
    id_, what = part["id"], part["do"]
    if what == "ask":
        return int(await ctx.ask(f"question {id_} at {ctx.address}", int))
    if what == "call":
        return int(await ctx.call("twice", lambda: id_ * 2, key=f"{id_}"))
    if what == "effect":
        token = f"{id_}|{ctx.key('happen', f'{id_}')}"
        had: int = await ctx.effect("happen", happen, id_, token, key=f"{id_}", on_doubt=ask_outside)
        return had
    if what == "sleep":
        await ctx.sleep(3.0)
        return 0
    if what == "flaky":
        tried = here().outside.setdefault("tried", Counter())
        tried[ctx.run_id, ctx.address] += 1
        if tried[ctx.run_id, ctx.address] == 1:
            raise ValueError(f"not yet: {ctx.address}")
        return int(id_)
    if what == "once":
        three = [act(ctx, {**part, "do": do}, given, number) for do in ("ask", "call", "sleep")]
        return int(sum(await asyncio.gather(*three)))
    if what == "child":
        return total(await ctx.run(f"d{part['of']['id']}", as_given(part["of"], number)))
    return 0


async def leaf(ctx: Context, part: Program, given: Any) -> int:
    """Do a leaf, and return its number."""
    number = (total(given) * 31 + part["id"]) % PRIME
    return int((number + await act(ctx, part, given, number)) % PRIME)


class Leaf(Task[Any, Any]):
    """A leaf of a pipeline."""

    spec = AgentSpec(retry=AGAIN)

    def __init__(self, part: Program) -> None:
        self.part = part
        self.id = f"n{part['id']}"

    async def execute(self, input: Any, ctx: Context) -> Any:
        """Do it."""
        return await leaf(ctx, self.part, input)


class Give(Task[Any, Any]):
    """Makes of what comes what a part takes: one, or a list of them."""

    def __init__(self, id_: str, of: Program, count: int | None) -> None:
        self.id, self.of, self.count = id_, of, count

    async def execute(self, input: Any, ctx: Context) -> Any:
        """Make it."""
        start = total(input)
        given = [self._as(start + place) for place in range(1 if self.count is None else self.count)]
        return given[0] if self.count is None else given

    def _as(self, number: int) -> Any:
        return as_given(self.of["of"], number) if self.of["do"] == "sub" else number


class Listed(Task[Any, Any]):
    """Ends a pipeline that gives a list."""

    def __init__(self, id_: str, of: list[str]) -> None:
        self.id, self.of = id_, of

    async def execute(self, input: Any, ctx: Context) -> Any:
        """Digest the ends of the pipeline."""
        return [total(input if len(self.of) > 1 else {self.of[0]: input})]


class Definitions:
    """All definitions of a program: `top`, and those that are started as child runs."""

    def __init__(self, program: Program) -> None:
        self.all: list[Definition] = []
        self.top = self._made(program)
        self.all.insert(0, self.top)

    def _made(self, program: Program) -> Any:
        return self._graph(program) if program["kind"] == "graph" else self._pipeline(program)

    def _child(self, part: Program) -> None:
        if part["do"] == "child":
            self.all.append(self._made(part["of"]))

    def _pipeline(self, program: Program) -> Pipeline:
        tasks: list[Any] = []
        edges: list[Any] = []
        for node in program["nodes"]:
            name, part = f"n{node['id']}", node["of"] if node["do"] == "each" else node
            first = name
            if node["do"] == "each" or part["do"] == "sub":
                first = f"g{node['id']}"
                tasks.append(Give(first, part, node["count"] if node["do"] == "each" else None))
                held = node.get("held")
                edges.append(Edge(first, name, each=True, concurrency=held) if node["do"] == "each" else (first, name))
            edges += [(f"n{need}", first) for need in node["needs"]]
            if part["do"] == "sub":
                tasks.append(Subgraph(self._made(part["of"]), id=name))
            else:
                self._child(part)
                tasks.append(Leaf(part))
                tasks[-1].id = name
        if program["listed"]:
            used = {need for node in program["nodes"] for need in node["needs"]}
            ends = [f"n{node['id']}" for node in program["nodes"] if node["id"] not in used]
            tasks.append(Listed(f"l{program['id']}", ends))
            edges += [(end, tasks[-1].id) for end in ends]
        return Pipeline(f"d{program['id']}", tasks, edges)

    def _graph(self, program: Program) -> Graph:
        graph = Graph(f"d{program['id']}", State)
        exits: list[str] = []
        for phase in program["phases"]:
            entries, leaves = self._phase(graph, phase)
            for entry in entries:
                for before in exits:
                    graph.edge(before, entry)
            if not exits:
                graph.start(*entries)
            exits = [leaves]
        return graph

    def _phase(self, graph: Graph, phase: Program) -> tuple[list[str], str]:
        """Add a phase; returns the nodes that it begins with, and the one that it ends with."""
        id_ = phase["id"]
        if phase["do"] == "parallel":
            names = [self._part(graph, part) for part in phase["of"]]
            graph.node(_pass, id=f"j{id_}", writes=[])
            graph.edge(names, f"j{id_}")
            return names, f"j{id_}"
        if phase["do"] == "send":
            name = self._part(graph, phase["of"], is_sent=True)
            graph.node(_sender(phase, name), id=f"s{id_}", writes=[], sends=[name])
            graph.node(_pass, id=f"p{id_}", writes=[])
            graph.edge(name, f"p{id_}")
            return [f"s{id_}"], f"p{id_}"
        if phase["do"] == "loop":
            name = self._part(graph, phase["of"])
            graph.node(_ticker(f"t{id_}"), id=f"t{id_}", writes=["turns"])
            graph.node(_pass, id=f"p{id_}", writes=[])
            graph.edge(name, f"t{id_}")
            graph.branch(f"t{id_}", _again(f"t{id_}", phase["count"], name, f"p{id_}"), [name, f"p{id_}"])
            return [name], f"p{id_}"
        name = self._part(graph, phase)
        return [name], name

    def _part(self, graph: Graph, part: Program, *, is_sent: bool = False) -> str:
        name = f"n{part['id']}"
        if part["do"] == "sub" and part["of"]["kind"] == "graph":
            graph.subgraph(self._made(part["of"]), id=name, writes=["acc", "turns"])
        elif part["do"] == "sub":
            graph.subgraph(self._made(part["of"]), id=name, reads=None if is_sent else "acc", writes="acc")
        else:
            self._child(part)
            graph.node(_sent(part) if is_sent else _noded(part), id=name, writes=["acc"], retry=AGAIN)
        return name


def _noded(part: Program) -> Any:
    async def node(x: Any, acc: list[Any], ctx: Context) -> dict[str, Any]:
        return {"acc": [await leaf(ctx, part, [x, acc])]}

    return node


def _sent(part: Program) -> Any:
    async def worker(payload: int, ctx: Context) -> dict[str, Any]:
        return {"acc": [await leaf(ctx, part, payload)]}

    return worker


def _sender(phase: Program, to: str) -> Any:
    of = phase["of"]

    async def spread(x: Any, acc: list[Any]) -> Update:
        start = total([x, acc])
        given = [as_given(of["of"], start + n) if of["do"] == "sub" else start + n for n in range(phase["count"])]
        return Update(sends=[Send(to, one) for one in given])

    return spread


def _ticker(name: str) -> Any:
    async def tick(turns: dict[str, int]) -> dict[str, Any]:
        return {"turns": {name: turns.get(name, 0) + 1}}

    return tick


def _again(name: str, most: int, body: str, out: str) -> Any:
    def again(turns: dict[str, int]) -> str:
        return body if turns[name] < most else out

    return again


async def _pass() -> None:
    """Do nothing; a name for what comes next."""


__all__ = ["Definitions", "takes"]
