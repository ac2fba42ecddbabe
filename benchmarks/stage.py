"""Where contestants are measured: each time in a new process, in a new folder, in turns."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
Found = dict[str, Any]  # what a contestant's process printed
Play = tuple[str, dict[str, Any]]  # whom, with what
PATIENCE_SECONDS = 600


class Stage:
    """Runs contestants.

    Args:
        folder: for databases. It should be on a disk: where syncing costs nothing, the journal is all there is.
        with_peer: whether LangGraph is measured, too.
    """

    def __init__(self, folder: Path, *, with_peer: bool) -> None:
        self.folder = folder.resolve()
        self.with_peer = with_peer

    @contextmanager
    def place(self) -> Iterator[Path]:
        """Make a folder for one measurement."""
        with tempfile.TemporaryDirectory(dir=self.folder) as made:
            yield Path(made)

    def start(self, play: Play, place: Path) -> subprocess.Popen[str]:
        """Let one contestant play in a process of its own; its working directory is `place`."""
        environment = dict(os.environ)
        # Compiled modules must be kept: a start that compiles is not what is measured.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        paths = environment.get("PYTHONPATH", "").split(os.pathsep)
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *(str(Path(path).resolve()) for path in paths if path)])
        environment["LANGSMITH_TRACING"] = environment["LANGCHAIN_TRACING_V2"] = "false"
        contestant, arguments = play
        environment["SPAWNED_AT"] = repr(time.monotonic())  # one clock for all processes of a machine
        command = [sys.executable, "-m", "benchmarks.play", contestant, json.dumps(arguments)]
        return subprocess.Popen(
            command, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def play(self, play: Play, place: Path | None = None) -> Found:
        """Let one contestant play to the end, and return what it found; nothing, if it killed itself.

        Raises:
            RuntimeError: it failed.
        """
        if place is None:
            with self.place() as made:
                return self.play(play, made)
        process = self.start(play, place)
        try:
            out, err = process.communicate(timeout=PATIENCE_SECONDS)
        except BaseException:
            process.kill()
            process.communicate()
            raise
        if process.returncode == -9:
            return {}
        if process.returncode != 0:
            raise RuntimeError(f"{play[0]} {play[1]} failed:\n{err}")
        found: Found = json.loads(out.splitlines()[-1])
        return found

    def take_turns(self, plays: dict[str, Play], rounds: int) -> dict[str, list[Found]]:
        """Let all play in turns, so that what else the machine does meets everyone; the peer only if it is there."""
        found: dict[str, list[Found]] = {side: [] for side in plays}
        for _ in range(rounds):
            for side, play in plays.items():
                if self.with_peer or not play[0].startswith("peer."):
                    found[side].append(self.play(play))
        return found


def column(found: dict[str, list[Found]], name: str) -> dict[str, list[float]]:
    """Take one number out of what was found."""
    return {who: [float(one[name]) for one in rounds] for who, rounds in found.items()}


def peer_is_here() -> bool:
    """Say whether LangGraph is installed."""
    return find_spec("langgraph") is not None


def copy(database: Path, place: Path) -> None:
    """Copy a database with the log beside it."""
    for part in database.parent.glob(f"{database.name}*"):
        shutil.copy(part, place / part.name)


def weight(database: Path) -> int:
    """Return the bytes of a database and what stands beside it."""
    return sum(part.stat().st_size for part in database.parent.glob(f"{database.name}*"))
