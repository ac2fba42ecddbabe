"""Graphs that are wrong, and graphs that are large.

Times are those of the thread that works, so that what else the machine does counts little.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Annotated, Any, TypedDict

from trials.figures import Figures, Trial
from windlass import END, Edge, Graph, Pipeline, Runtime, append, task
from windlass.core.errors import DefinitionError
from windlass.graph.render import mermaid, text

COMPILE_SECONDS, MANY = 1.0, 10_000  # for so many nodes
FLAT = 1.2  # how many times as long a step may take in something large
MOST_NAMED = 12  # names in a message


async def body() -> int:
    """Do nothing; every node of a random graph."""
    return 0


async def writes_nothing() -> None:
    """Do nothing, in a graph."""


def closure(names: list[str], edges: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return who can be reached from whom: the reference, slow and plain."""
    reach = set(edges)
    for middle in names:
        for source in names:
            if (source, middle) in reach:
                reach |= {(source, target) for target in names if (middle, target) in reach}
    return reach


def wrong(folder: Path, graphs: int) -> Figures:
    """Compile random pipelines and graphs, and compare what is said of each with the reference."""
    figures = Figures()
    for seed in range(graphs):
        dice = Random(seed)
        figures.trials += 1
        name = f"seed {seed}"
        (_pipeline if seed % 2 else _graph)(dice, name, figures)
    return figures


def _said(compiled: Callable[[], Any]) -> tuple[str, str]:
    """Return code and message of the refusal; nothing if there is none."""
    try:
        compiled()
    except DefinitionError as error:
        return error.code, str(error)
    return "", ""


def _pipeline(dice: Random, name: str, figures: Figures) -> None:
    names = [f"t{number}" for number in range(dice.randint(1, 8))]
    declared = [*names, *([dice.choice(names)] if dice.random() < 0.1 else [])]
    known = [*names, *(["ghost"] if dice.random() < 0.1 else [])]
    pairs = {(dice.choice(known), dice.choice(known)) for _ in range(dice.randint(0, 10))}
    if dice.random() < 0.5:  # most random graphs have a cycle: half of them are made to have none
        pairs = {(min(a, b), max(a, b)) for a, b in pairs if a != b}
    edges = sorted(pairs)
    dice.shuffle(edges)
    code, message = _said(lambda: Pipeline("p", [task(id=one)(body) for one in declared], edges).compile())
    unknown = any("ghost" in edge for edge in edges)
    on_cycle = {one for one in names if (one, one) in closure(names, pairs)}
    expected = (
        "definition.duplicate" if len(declared) > len(names)
        else "pipeline.unknown_task" if unknown else "pipeline.cycle" if on_cycle else ""
    )  # fmt: skip
    figures.reach(expected or "whole pipelines")
    if code != expected:
        figures.blame("disagrees", f"{name}: {code!r} instead of {expected!r}: {declared} {edges}")
    elif expected == "pipeline.cycle":
        path = message.partition("cycle: ")[2].partition(" (")[0].split(" -> ")
        steps = set(pairwise(path))
        if path[0] != path[-1] or not steps <= pairs:
            figures.blame("no cycle", f"{name}: {message}")
    elif expected and (declared[-1] if expected == "definition.duplicate" else "ghost") not in message:
        figures.blame("not named", f"{name}: {message}")


class State(TypedDict):
    """What random graphs write: nothing."""

    n: int


def _graph(dice: Random, name: str, figures: Figures) -> None:
    names = [f"n{number}" for number in range(dice.randint(1, 8))]
    graph = Graph("g", State)
    for one in names:
        graph.node(writes_nothing, id=one)
    starts = dice.sample(names, dice.randint(1, min(2, len(names))))
    graph.start(*starts)
    pairs = {(dice.choice(names), dice.choice(names)) for _ in range(dice.randint(0, 8))}
    for source, target in sorted(pairs):
        graph.edge(source, target)
    ways = set(pairs)
    for number in range(dice.randint(0, 2)):
        source, targets = dice.choice(names), dice.sample(names, dice.randint(1, min(3, len(names))))
        graph.branch(source, _ends, [*targets, END], name=f"b{number}")
        ways |= {(source, target) for target in targets}
    joins: dict[str, set[str]] = {}
    if len(names) > 2 and dice.random() < 0.5:
        *sources, target = dice.sample(names, 3)
        graph.edge(sources, target)
        joins[target] = set(sources)
    reached: set[str] = set(starts)
    while True:
        more = {target for source, target in ways if source in reached}
        more |= {target for target, sources in joins.items() if sources <= reached}
        if more <= reached:
            break
        reached |= more
    lost = [one for one in names if one not in reached]
    code, message = _said(graph.compile)
    expected = "graph.unreachable" if lost else ""
    figures.reach(expected or "whole graphs")
    if code != expected or (lost and message.count("'n") != min(len(lost), MOST_NAMED)):
        figures.blame("disagrees", f"{name}: {code!r} instead of {expected!r}: {message} {lost}")
    if any(f"'{one}'" not in message for one in lost[:MOST_NAMED]):
        figures.blame("not named", f"{name}: {message}")


def _ends() -> str:
    return END


class Notes(TypedDict):
    """A counter and a list."""

    n: int
    notes: Annotated[list[int], append]


def large(folder: Path, nodes: int, wide: int, rounds: int) -> Figures:
    """Build, draw and run something deep and something wide; compare its steps with those of something small."""
    figures = Figures()
    for kind, build in (("pipeline", _deep_pipeline), ("graph", _deep_graph)):
        figures.trials += 1
        seconds = min(_timed(build(nodes).compile) for _ in range(2))
        figures.shown[f"compile a {kind} of {nodes:,}, s"] = round(seconds, 3)
        if seconds > COMPILE_SECONDS * nodes / MANY:
            figures.blame("slow to compile", f"{kind}: {seconds:.2f} s")
        blueprint = build(nodes).compile()
        drawn = mermaid(blueprint), text(blueprint)
        if any(f"t{nodes - 1}" not in one for one in drawn):
            figures.blame("not drawn", kind)
    asyncio.run(_run_deep(nodes, rounds, figures))
    asyncio.run(_run_wide(wide, rounds, figures))
    return figures


def _timed(work: Callable[[], Any]) -> float:
    began = time.thread_time()
    work()
    return time.thread_time() - began


def _deep_pipeline(nodes: int) -> Pipeline:
    tasks = [task(id=f"t{number}")(body) for number in range(nodes)]
    return Pipeline("deep", tasks, [(f"t{number - 1}", f"t{number}") for number in range(1, nodes)])


def _deep_graph(nodes: int, starts: list[float] | None = None) -> Graph:
    graph = Graph("deep", Notes, step_limit=nodes + 1)

    async def count(n: int) -> dict[str, int]:
        if starts is not None:
            starts.append(time.thread_time())
        return {"n": n + 1}

    for number in range(nodes):
        graph.node(count, id=f"t{number}", writes=["n"])
        if number:
            graph.edge(f"t{number - 1}", f"t{number}")
    graph.start("t0")
    return graph


async def _run_deep(nodes: int, rounds: int, figures: Figures) -> None:
    """Run a chain to its end; its last tenth takes as long as its first, and as a chain of a hundredth."""
    best: dict[str, float] = {}
    edge, few = nodes // 10, nodes // 100
    async with Runtime() as runtime:
        starts: list[float] = []
        deep, short = _deep_graph(nodes, starts), _deep_graph(few)
        short.name = "short"
        await runtime.run(short, {"n": 0})
        for number in range(rounds):
            figures.trials += 1
            starts.clear()
            result = await runtime.run(deep, {"n": 0}, id=f"deep{number}")
            if result.output["n"] != nodes:
                figures.blame("lost", f"{result.output['n']} of {nodes} nodes ran")
            began = time.thread_time()
            for _ in range(10):
                await runtime.run(short, {"n": 0})
            took = {
                "first": (starts[edge] - starts[0]) / edge,
                "last": (starts[-1] - starts[-1 - edge]) / edge,
                "short": (time.thread_time() - began) / few / 10,
            }
            best = {name: min(seconds, best.get(name, 1.0)) for name, seconds in took.items()}
        replayed = await runtime.replay("deep0")
        if replayed.differing or replayed.checkpoints != nodes + 1:
            figures.blame("not replayed", f"{replayed.checkpoints} of {nodes}, {replayed.differing[:3]} differ")
        if Counter(one.n for one in await runtime.history("deep0")).most_common(1)[0][1] != 1:
            figures.blame("not replayed", "a checkpoint stands twice in the history")
    figures.shown["µs a step of the deep chain"] = round(best["last"] * 1e6)
    _flat("last tenth of the chain, times its first", best["last"] / best["first"], figures)
    _flat("deep chain, times a short one", best["last"] / best["short"], figures)


async def _run_wide(wide: int, rounds: int, figures: Figures) -> None:
    """Fan out; an activation takes as long as in a tenth of the width."""
    best: dict[int, float] = {}

    @task
    async def items(n: int) -> list[int]:
        return list(range(n))

    @task
    async def each(items: int) -> int:
        return items

    @task
    async def total(each: list[int]) -> int:
        return sum(each)

    made = Pipeline("wide", [items, each, total], [Edge("items", "each", each=True)])
    async with Runtime() as runtime:
        for _ in range(rounds):
            for width, times in ((wide, 1), (wide // 10, 10)):
                figures.trials += 1
                began = time.thread_time()
                for _ in range(times):
                    result = await runtime.run(made, width)
                    if result.output != sum(range(width)):
                        figures.blame("lost", f"{result.output} at width {width}")
                best[width] = min((time.thread_time() - began) / wide, best.get(width, 1.0))
    figures.shown["µs an activation of the fan-out"] = round(best[wide] * 1e6)
    _flat(f"fan-out of {wide:,}, times one of {wide // 10:,}", best[wide] / best[wide // 10], figures)


def _flat(what: str, times: float, figures: Figures) -> None:
    figures.shown[what] = round(times, 2)
    if times > FLAT:
        figures.blame("not flat", f"{what}: {times:.2f}")


TRIALS = (
    Trial(
        name="wrong-graphs",
        faults="F47",
        says="Random pipelines and graphs, with cycles, unreachable nodes, duplicate and unknown names: what is said "
        "of each agrees with a plain reference, and names the culprit.",
        run=wrong,
        short={"graphs": 10_000},
        long={"graphs": 200_000},
    ),
    Trial(
        name="large-graphs",
        faults="F48",
        says="A chain of 10,000 nodes and a fan-out of 1,000: compiled in less than a second, drawn, run and replayed "
        "without recursion, and a step takes no longer than in something small.",
        run=large,
        short={"nodes": 10_000, "wide": 1_000, "rounds": 2},
        long={"nodes": 30_000, "wide": 3_000, "rounds": 7},
        timed=True,
    ),
)
