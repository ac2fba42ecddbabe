"""A step of a graph with 500 channels, beside one of a graph with one channel."""

from typing import Any

from benchmarks.figure import Figure, Goal
from benchmarks.sizes import Sizes
from benchmarks.stage import Stage, column


def measure(stage: Stage, sizes: Sizes) -> list[Figure]:
    """Divide the time of a looping run with many channels, all of them set, by that of one with a single channel.

    The node reads and writes one of them. On the memory store, where no disk hides the difference, and on SQLite;
    LangGraph runs without a store.
    """
    size: dict[str, Any] = {"many": sizes.channels, "steps": sizes.channel_steps}
    plays = {
        "memory": ("ours.channels", {**size, "url": "memory:"}),
        "file": ("ours.channels", {**size, "url": "sqlite:///bench.db"}),
        "peer": ("peer.channels", size),
    }
    ratios = column(stage.take_turns(plays, sizes.rounds), "ratio")
    return [
        Figure(
            row="channels",
            name=f"a step with {sizes.channels} channels to one with 1, {store}",
            unit="×",
            values={"ours": ratios[who], "peer": ratios["peer"]},
            goals=(Goal(2),),
            less=True,
        )
        for who, store in (("memory", "memory store"), ("file", "SQLite"))
    ]
