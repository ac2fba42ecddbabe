"""1,000 activations at once and a join on a SQLite file, each result durable before the join begins."""

from typing import Any

from benchmarks.figure import Figure, Goal
from benchmarks.sizes import Sizes
from benchmarks.stage import Play, Stage, column


def measure(stage: Stage, sizes: Sizes) -> list[Figure]:
    """Take the time from the start of the run to its end.

    Measured twice, as a Graph with Sends and as a Pipeline with a mapped edge; LangGraph's Sends stand beside both
    (`invoke` with SqliteSaver, `durability="sync"`, is faster than `ainvoke`). The journal writes all results in one
    transaction.
    """
    width: dict[str, Any] = {"width": sizes.fan_out}
    plays: dict[str, Play] = {
        "sends": ("ours.fan_out", {**width, "by_sends": True}),
        "mapped": ("ours.fan_out", {**width, "by_sends": False}),
        "peer": ("peer.fan_out", width),
        "floor": ("journal.fan_out", width),
    }
    times = column(stage.take_turns(plays, sizes.rounds), "ms")
    return [
        Figure(
            row="fan_out",
            name=f"fan-out of {sizes.fan_out:,} and join, {words}",
            unit="ms",
            values={"ours": times[who], "peer": times["peer"], "floor": times["floor"]},
            goals=(Goal(60),),
            less=True,
        )
        for who, words in (("sends", "Sends"), ("mapped", "mapped edge"))
    ]
