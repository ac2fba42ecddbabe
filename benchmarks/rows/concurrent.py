"""1,000 runs of 10 steps at once on one SQLite file, each step of each waiting until it is durable."""

from benchmarks.figure import Figure, Goal
from benchmarks.sizes import Sizes
from benchmarks.stage import Play, Stage, column


def measure(stage: Stage, sizes: Sizes) -> list[Figure]:
    """Count steps a second from the start of the first run to the end of the last.

    Making the runs is part of it, for us and for LangGraph (AsyncSqliteSaver, `durability="sync"`). The journal
    gathers rows into transactions on a thread of its own.
    """
    size = {"runs": sizes.runs, "steps": sizes.run_steps}
    plays: dict[str, Play] = {
        "ours": ("ours.concurrent", size),
        "peer": ("peer.concurrent", size),
        "floor": ("journal.concurrent", size),
    }
    rates = column(stage.take_turns(plays, sizes.rounds), "rate")
    name = f"{sizes.runs:,} runs × {sizes.run_steps} steps at once"
    return [Figure(row="concurrent", name=name, unit="steps/s", goals=(Goal(40, "peer"),), values=rates)]
