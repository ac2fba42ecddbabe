"""One run that loops on the memory store: what a step costs without a disk."""

from benchmarks.figure import Figure, Goal
from benchmarks.sizes import Sizes
from benchmarks.stage import Play, Stage, column


def measure(stage: Stage, sizes: Sizes) -> list[Figure]:
    """Count steps a second from the start of the run to its end.

    Our store keeps what the file would hold, encoded and with digests. LangGraph runs without any store, a tenth of
    the steps; the journal keeps nothing.
    """
    plays: dict[str, Play] = {
        "ours": ("ours.loop", {"url": "memory:", "steps": sizes.memory}),
        "peer": ("peer.loop", {"steps": sizes.memory // 10, "kept": False}),
        "floor": ("journal.loop", {"steps": sizes.memory, "kept": False}),
    }
    rates = column(stage.take_turns(plays, sizes.rounds), "rate")
    name = f"loop of {sizes.memory:,} steps, memory store"
    return [Figure(row="memory", name=name, unit="steps/s", goals=(Goal(30_000),), values=rates)]
