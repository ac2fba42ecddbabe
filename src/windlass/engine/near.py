"""What this process does, for whoever waits here for a run above it: as long as it does something, no store is asked.

A run tells those above it when it has ended here, or only parked; so who waits for one of them looks again then.
"""

from collections.abc import Mapping
from typing import Protocol

from windlass.core import records as r
from windlass.engine.inherit import base_of
from windlass.engine.journal import Journal
from windlass.engine.notifier import Notifier


class Driven(Protocol):
    """A drive, as far as others look at it."""

    journal: Journal
    over: bool

    def wake(self) -> None:
        """Let it look again."""


class Near:
    """The runs that are driven here, and those whose ends are on their way to others.

    Args:
        loops: the drives of this process, by run.
    """

    def __init__(self, loops: Mapping[str, Driven], notifier: Notifier) -> None:
        self.loops = loops
        self.notifier = notifier
        self.telling: list[r.RunRecord] = []  # runs whose commands to others are on their way

    def is_below(self, record: r.RunRecord) -> bool:
        """Say whether something happens here below a run, of what it waits for."""
        driven = (loop.journal.record for loop in self.loops.values() if not loop.over)
        return any(is_below(record, one) for here in (driven, self.telling) for one in here)

    def tell_above(self, record: r.RunRecord) -> None:
        """Let everybody look again who waits for a run above this one, and may wait for this one, too."""
        if record.origin is None:
            return
        for above in record.origin.line:
            self.notifier.wake(above)
        if (parent := self.loops.get(record.origin.run)) is not None:
            parent.wake()


def is_below(record: r.RunRecord, one: r.RunRecord) -> bool:
    """Say whether a run waits for another, through others."""
    return one.origin is not None and record.id in one.origin.line and one.origin.base == base_of(record)
