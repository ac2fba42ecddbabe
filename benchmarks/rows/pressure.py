"""A looping run on a store that takes 50 ms for a commit, under `async` durability: how far it runs ahead."""

from typing import Any

from benchmarks.figure import Figure, Goal
from benchmarks.sizes import Sizes
from benchmarks.stage import Stage, column

SIZES = {"small values": (10, "steps", 64), "50 KB a step": (50_000, "MB", 1), "200 KB a step": (200_000, "MB", 1)}


def measure(stage: Stage, sizes: Sizes) -> list[Figure]:
    """Count the finished steps that are not kept yet when a step begins, at most; with bytes, the values in them.

    A commit under way counts as not kept: so much a kill loses. LangGraph runs on InMemorySaver with a `put` that
    sleeps as long, also with `durability="async"`.
    """
    figures = []
    for what, (size, unit, bound) in SIZES.items():
        asked: dict[str, Any] = {"steps": sizes.slow_steps, "seconds": sizes.slow, "size": size}
        plays = {"ours": ("ours.pressure", asked), "peer": ("peer.pressure", asked)}
        values = column(stage.take_turns(plays, 1), unit)
        name = f"not kept yet on a slow store, {what}"
        figures.append(Figure(row="pressure", name=name, unit=unit, values=values, goals=(Goal(bound),), less=True))
    return figures
