"""What a SQLite store checks of the turns of threads, inside the transaction that would break their order."""

from windlass.core.changes import TurnBegun
from windlass.core.records import Command, RunRecord
from windlass.core.thread import place_of
from windlass.stores.checks import over, taken, waits
from windlass.stores.queries import queries
from windlass.stores.sqlite_file import Link

SQL = queries("sqlite")


def check_place(link: Link, record: RunRecord) -> None:
    """Refuse a second run in one place of a thread.

    Raises:
        OutOfTurn: the place is taken, by a run of another id.
    """
    place = place_of(record)
    if place is None or link.value(SQL["run_number"], (record.id,)) is not None:
        return
    if link.value(SQL["place_taken"], (record.thread, record.tenant, record.definition, place)) is not None:
        raise taken(record)


def check_begin(link: Link, no: int | None, run: str, begins: TurnBegun) -> None:
    """Refuse to let a turn begin before its time.

    Raises:
        OutOfTurn: a turn before it is not over, was asked to go on, or has gone on.
    """
    if no is None or link.value(SQL["turn_waits"], (no, begins.after, begins.seq)) is not None:
        raise waits(run)


def check_reopening(link: Link, no: int, command: Command) -> None:
    """Refuse to let a turn go on with whose state another has begun.

    Raises:
        TurnOver: see above.
    """
    later = link.value(SQL["turn_over"], (no,))
    if later is not None:
        raise over(command, later)
