"""The same looping run, killed by SIGKILL in the middle: every step whose successor began is in the file."""

import time
from pathlib import Path

from benchmarks.figure import Figure, Goal
from benchmarks.sizes import Sizes
from benchmarks.stage import Stage

TRIES = 20


def measure(stage: Stage, sizes: Sizes) -> list[Figure]:
    """Count the steps that were left behind and are not in the file.

    Each step writes its number to a file outside before it does anything. The process is killed at different places;
    then the last number that was written is compared with the run's state in the database.
    """
    missing = [lost(stage, sizes.loop, sizes.loop * (kill + 1) // (sizes.kills + 1)) for kill in range(sizes.kills)]
    name = f"steps lost in {sizes.kills} × SIGKILL in mid-loop"
    values = {"ours": [sum(missing)]}
    return [Figure(row="killed", name=name, unit="steps", values=values, goals=(Goal(0),), less=True)]


def lost(stage: Stage, steps: int, at: int) -> float:
    """Kill a run once it has begun step `at`; return how many finished steps the file lacks.

    Raises:
        RuntimeError: it failed, or always ended before it was killed.
    """
    for _ in range(TRIES):
        with stage.place() as place:
            marks = place / "marks"
            process = stage.start(("ours.loop", {"url": "sqlite:///bench.db", "steps": steps, "marks": True}), place)
            while begun(marks) < at and process.poll() is None:
                time.sleep(0.0005)
            process.kill()
            _, err = process.communicate()
            if process.returncode not in (0, -9):
                raise RuntimeError(f"the run failed before it was killed:\n{err}")
            reached = begun(marks)
            if at <= reached < steps - 1:
                durable: int = stage.play(("ours.durable", {}), place)["n"]
                return max(0, reached - durable)
    raise RuntimeError(f"the run of {steps} steps was never killed in the middle")


def begun(marks: Path) -> int:
    """Return the number of the last step that began: so many are finished."""
    lines = marks.read_text().split() if marks.exists() else []
    return int(lines[-1]) if lines else -1
