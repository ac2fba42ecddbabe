"""A pipeline of 10,000 nodes in a chain, from the functions to the frozen blueprint."""

from benchmarks.figure import Figure, Goal
from benchmarks.sizes import Sizes
from benchmarks.stage import Stage, column


def measure(stage: Stage, sizes: Sizes) -> list[Figure]:
    """Take the time to declare the tasks and edges and to compile them; LangGraph builds the same chain."""
    size = {"nodes": sizes.nodes}
    plays = {"ours": ("ours.compile_chain", size), "peer": ("peer.compile_chain", size)}
    times = column(stage.take_turns(plays, sizes.rounds), "seconds")
    name = f"compile a pipeline of {sizes.nodes:,} nodes"
    return [Figure(row="compiling", name=name, unit="s", goals=(Goal(1),), less=True, values=times)]
