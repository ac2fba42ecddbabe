"""One run that loops over a node 1,000 times on a SQLite file, each step waiting for its own commit."""

from benchmarks.figure import Figure, Goal
from benchmarks.sizes import Sizes
from benchmarks.stage import Play, Stage, column


def measure(stage: Stage, sizes: Sizes) -> list[Figure]:
    """Count steps a second from the start of the run to its end.

    All three write with WAL and `synchronous=FULL`: Windlass as it comes, LangGraph by `invoke` with SqliteSaver and
    `durability="sync"`, the journal one row and one transaction a step. That the steps are in the file when they are
    said to be, `killed` shows. Wished for is 4 × LangGraph.
    """
    plays: dict[str, Play] = {
        "ours": ("ours.loop", {"url": "sqlite:///bench.db", "steps": sizes.loop}),
        "peer": ("peer.loop", {"steps": sizes.loop}),
        "floor": ("journal.loop", {"steps": sizes.loop}),
    }
    rates = column(stage.take_turns(plays, sizes.rounds), "rate")
    name = f"loop of {sizes.loop:,} steps, SQLite FULL"
    return [Figure(row="loop", name=name, unit="steps/s", goals=(Goal(0.6, "floor"), Goal(3, "peer")), values=rates)]
