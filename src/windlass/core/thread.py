"""Threads: the runs of one definition that follow one another, each from the state that the one before has left.

A run with a place in a thread is a *turn*. A turn that continued as a new run goes on as the next *part* of the same
turn, so a second input that waits stays behind it. Of the turns of a thread one at a time is live: it has begun, and
has not ended. A turn that has not begun has status `created` and no checkpoint; its input stands in its first row.
"""

from typing import Any, Literal

from windlass.core.records import Command, RunRecord
from windlass.core.states import CANCELLED, COMPLETED, CREATED, FAILED

OnBusy = Literal["enqueue", "reject", "interrupt", "rollback"]
POLICIES: tuple[OnBusy, ...] = ("enqueue", "reject", "interrupt", "rollback")
PARTS = 20  # bits of a place that number the parts of a turn
OVER = (COMPLETED, CANCELLED, FAILED)  # a failed turn lets the next one begin: what it committed stands
REOPENING = ("resume", "rollback")  # verbs that let a turn that is over go on


def place_of(record: RunRecord) -> int | None:
    """Return where a run stands in its thread: a number that grows with turn and part; None if it has no place."""
    return record.turn << PARTS | record.part if record.turn else None


def names_of(record: RunRecord, thread: str = "") -> dict[str, Any]:
    """Name a run's thread, or another of its definition and tenant, as `queries.Turns` asks for it."""
    return {"tenant": record.tenant, "definition": record.definition, "thread": thread or record.thread}


def has_begun(record: RunRecord) -> bool:
    """Say whether a turn has made its first step, though it may have been taken back since."""
    return record.head.n > 0 or record.head.branch > 0


def is_queued(record: RunRecord) -> bool:
    """Say whether a run is a turn that has yet to begin."""
    return record.turn > 0 and record.head.status is CREATED and not record.head.n


def is_reopening(command: Command) -> bool:
    """Say whether a command lets a run that is over go on, as long as nobody has taken it."""
    return command.verb in REOPENING
