"""The world outside: a ledger in a file of its own, with the times of what happened, whoever is killed.

An effect is one appended, synced line (`done`): it has happened, or it has not. Around it stand the times at which the
intent was durable (`intended`), the call began and ended, and the outcome was durable (`outcome`).
"""

import json
import os
import signal
import time
from collections import Counter
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from pathlib import Path

from windlass.core import crashpoint

ADDRESS: ContextVar[str] = ContextVar("address", default="")
TOLD = {"effect.call.before": "intended", "effect.result.after": "outcome"}  # label → what the ledger notes


@dataclass(frozen=True)
class Line:
    """One thing that happened: when, in which process of the trial (0 is the first), what, and to whom."""

    at: int
    turn: int
    kind: str
    address: str
    value: int = 0
    key: str = ""


@dataclass(frozen=True)
class Kill:
    """When a process dies: at the n-th time that it reaches a label, or `seconds` after it has begun."""

    label: str = ""
    number: int = 1
    seconds: float | None = None


class World:
    """The ledger, and the hook that kills.

    Args:
        turn: how many processes of the trial went before.
        number: the signal that stands for `kill`.
    """

    def __init__(
        self, path: Path, turn: int = 0, kill: Kill | None = None, number: signal.Signals = signal.SIGKILL
    ) -> None:
        self.turn = turn
        self.kill = kill
        self.number = number
        self.reached: Counter[str] = Counter()
        self._file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    def note(self, kind: str, *, value: int = 0, key: str = "", address: str = "", sync: bool = True) -> None:
        """Append a line, on the disk when this returns; without `sync` it outlives the process, not the machine."""
        line = Line(time.monotonic_ns(), self.turn, kind, address or ADDRESS.get(), value, key)
        os.write(self._file, b"\n" + json.dumps(asdict(line)).encode() + b"\n")  # a torn line before it stays apart
        if sync:
            os.fsync(self._file)

    def reach(self, label: str) -> None:
        """Note what a label means to the ledger, and die if it is time."""
        self.reached[label] += 1
        if label in TOLD:
            self.note(TOLD[label])
        if self.kill is not None and (label, self.reached[label]) == (self.kill.label, self.kill.number):
            self.note("killed")
            os.kill(os.getpid(), self.number)


HERE: list[World] = []  # the world of this process: definitions are made before there is one


def enter(entered: World) -> World:
    """Make a world this process's own, and hear every label that the product reaches."""
    HERE[:] = [entered]
    crashpoint.on_reach = entered.reach
    return entered


def world() -> World:
    """Return this process's world."""
    return HERE[0]


def read(path: Path) -> list[Line]:
    """Read a ledger; a line that a kill has torn is no line: what it tells of had not happened yet."""
    if not path.exists():
        return []
    return [Line(**json.loads(line)) for line in path.read_text().split("\n") if line.endswith("}")]
