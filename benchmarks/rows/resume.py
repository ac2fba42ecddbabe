"""From the start of a process to the next step of a run whose process was killed, after few and many checkpoints."""

from pathlib import Path

from benchmarks.figure import Figure, Goal
from benchmarks.sizes import Sizes
from benchmarks.stage import Play, Stage, copy


def measure(stage: Stage, sizes: Sizes) -> list[Figure]:
    """Take the time from just before the process is spawned until the node is entered.

    A loop is killed by SIGKILL in the step after its last checkpoint; each measurement resumes a copy of what it left.
    The start of the interpreter and all imports are in it. The journal opens its file and reads its last row.
    """
    few, many = resumed(stage, (sizes.few, sizes.many), sizes.rounds)
    ratio = {side: [b / a for a, b in zip(few[side], many[side], strict=True)] for side in few}
    name = "process start to resumed next step, {:,} checkpoints"
    same = f"the same, {sizes.many:,} to {sizes.few:,} checkpoints"
    figures = [
        Figure(row="resume", name=name.format(at), unit="s", values=values, goals=(Goal(0.2),), less=True)
        for at, values in ((sizes.few, few), (sizes.many, many))
    ]
    return [*figures, Figure(row="resume", name=same, unit="×", values=ratio, goals=(Goal(1.1),), less=True)]


def resumed(stage: Stage, checkpoints: tuple[int, ...], rounds: int) -> list[dict[str, list[float]]]:
    """Let everyone make runs of so many checkpoints, and resume copies of them in turns."""
    with stage.place() as kept:
        made = [built(stage, kept / str(at), at) for at in checkpoints]
        seconds: list[dict[str, list[float]]] = [{side: [] for side in sides} for sides in made]
        for _ in range(rounds):
            for at, sides in enumerate(made):
                for side, (database, resume) in sides.items():
                    with stage.place() as place:
                        copy(database, place)
                        seconds[at][side].append(stage.play(resume, place)["seconds"])
    return seconds


def built(stage: Stage, kept: Path, checkpoints: int) -> dict[str, tuple[Path, Play]]:
    """Let everyone make a run of so many checkpoints; return each one's database, and how to go on with it."""
    sides: dict[str, tuple[Play, Play]] = {
        "ours": (("ours.resume", {"at": checkpoints, "build": True}), ("ours.resume", {"at": checkpoints})),
        "floor": (("journal.loop", {"steps": checkpoints}), ("journal.resume", {})),
    }
    if stage.with_peer:
        sides["peer"] = (("peer.resume", {"at": checkpoints, "build": True}), ("peer.resume", {"at": checkpoints}))
    for side, (build, _) in sides.items():
        (kept / side).mkdir(parents=True)
        stage.play(build, kept / side)
    return {side: (kept / side / "bench.db", resume) for side, (_, resume) in sides.items()}
