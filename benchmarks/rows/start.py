"""What an import takes: seconds, and memory of the process afterwards."""

from benchmarks.figure import Figure, Goal
from benchmarks.sizes import Sizes
from benchmarks.stage import Stage, column

IMPORTS = {
    "ours": "import windlass",
    "peer": "import langgraph.graph",
    "floor": "import asyncio, queue, sqlite3, threading, msgspec",
}


def measure(stage: Stage, sizes: Sizes) -> list[Figure]:
    """Time one import statement in a process that has imported nothing else, compiled modules being there.

    Memory is what the whole process holds after it, the interpreter's own included. The journal's side is what the
    journal imports.
    """
    plays = {side: ("probe.start", {"statement": statement}) for side, statement in IMPORTS.items()}
    if not stage.with_peer:
        del plays["peer"]
    for play in plays.values():
        stage.play(play)  # compiles what is not compiled yet
    found = stage.take_turns(plays, sizes.rounds)
    times, memory = column(found, "seconds"), column(found, "mb")
    return [
        Figure(row="start", name="import, time", unit="s", values=times, goals=(Goal(0.12),), less=True),
        Figure(row="start", name="import, memory", unit="MB", values=memory, goals=(Goal(32),), less=True),
    ]
