"""Reading and keeping shared numbers in SQLite, inside the transaction of whoever changes them."""

from windlass.core.changes import Adjust, LetterPut
from windlass.core.tallies import BreakerOp
from windlass.stores.queries import queries
from windlass.stores.sqlite_file import Link
from windlass.stores.sqlite_read import to_stand
from windlass.stores.tallies import Changed, Stand

SQL = queries("sqlite")
TALLY, SAVE_TALLY = SQL["tally"], SQL["save_tally"]


def tally(link: Link, key: str) -> Stand | None:
    """Read a tally, verified."""
    rows = link.execute(TALLY, (key,)).fetchall()
    return to_stand(key, *rows[0]) if rows else None


def may(link: Link, run: str, epoch: int) -> bool:
    """Say whether a run that is known is owned by this epoch."""
    found = link.execute(SQL["claim_of_run"], (run,)).fetchall()
    return not found or (found[0][0] is not None and bool(found[0][1] == epoch))


def keep(link: Link, changed: Changed) -> None:
    """Let tallies stand at what was worked out."""
    for key, stand in changed.items():
        if stand is None:
            link.execute(SQL["drop_tally"], (key,))
        else:
            link.execute(SAVE_TALLY, (key, stand.version, stand.at, stand.sign(key), stand.body))


def run_of(put: Adjust | LetterPut) -> str:
    """Name the run that a change is made for."""
    if isinstance(put, LetterPut):
        return put.letter.run
    return put.op.holder.partition("|")[0] if isinstance(put.op, BreakerOp) else put.op.run
