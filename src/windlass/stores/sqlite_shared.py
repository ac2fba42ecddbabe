"""Checking and mending what belongs to no single run: shared numbers and dead letters.

A damaged number is kept in `lost_and_found` and begins anew: nobody can say what it stood at, and the repair says that
what was counted before counts no more. What all runs hold of a budget is the sum of what each holds, and is worked out
anew where it is not. A damaged letter is kept in `lost_and_found`.
"""

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import msgspec

from windlass.core.tallies import Amounts, BudgetState
from windlass.policies.budget_tally import add
from windlass.policies.tally import BUDGET, HELD, kind_of
from windlass.stores.queries import queries
from windlass.stores.sqlite_file import Link
from windlass.stores.sqlite_read import LETTER
from windlass.stores.tallies import Stand

SQL = queries("sqlite")
ENCODER = msgspec.json.Encoder()
COLUMNS = ("id", "run", "tenant", "definition", "node", "pattern", "reason", "status", "at")
NOTHING = Stand(b"{}", 0, 0.0)
PARTS = ("tallies", "dead_letters")


def tally_problems(link: Link, _: object) -> Iterator[tuple[str, int]]:
    """Compare shared numbers with their digests, and what a budget holds with what each run holds of it."""
    if _are_there(link):
        yield from ((f"tallies: {key!r} does not match its digest", 0) for key, _ in _damaged_tallies(link))
        yield from ((f"tallies: {key!r} does not hold what its runs hold", 0) for key, _ in _uneven(link))


def letter_problems(link: Link, _: object) -> Iterator[tuple[str, int]]:
    """Compare dead letters with their digests, and with the columns beside them."""
    if _are_there(link):
        yield from ((f"dead_letters: {said}", 0) for said, *_ in _damaged_letters(link))


def mend(link: Link, now: float) -> Iterator[str]:
    """Set damaged rows apart, and work out anew what a budget holds, in one transaction; says what was done."""
    link.execute("BEGIN IMMEDIATE")
    for key, stand in list(_damaged_tallies(link)):
        body = f"{key} ".encode(errors="surrogatepass") + bytes(stand.body or b"")
        link.execute(SQL["keep_row"], (now, 0, "tally", sha256(body).digest(), body))
        link.execute(SQL["drop_tally"], (key,))
        yield f"the tally {key!r} begins anew: what was counted before is in lost_and_found, and counts no more"
    for key, stand in list(_uneven(link)):
        link.execute(SQL["save_tally"], (key, stand.version, stand.at, stand.sign(key), stand.body))
        yield f"the tally {key!r} holds what its runs hold"
    for _, id_, digest, body in list(_damaged_letters(link)):
        link.execute(SQL["keep_row"], (now, 0, "letter", digest, body))
        link.execute(SQL["drop_letter"], (id_,))
        yield f"the dead letter {id_!r} is in lost_and_found"
    link.execute("COMMIT")


def _are_there(link: Link) -> bool:
    """Say whether the file has the tables: not before it is migrated."""
    return bool(link.value("SELECT 1 FROM sqlite_schema WHERE name = 'tallies'"))


def _is_signed(stand: Stand, key: Any, digest: Any) -> bool:
    try:
        return bool(stand.sign(key) == digest)
    except (AttributeError, TypeError):  # a damaged page holds values of any type
        return False


def _damaged_tallies(link: Link) -> Iterator[tuple[str, Stand]]:
    for body, version, at, digest, key in link.execute(SQL["all_tallies"]):
        stand = Stand(body, version, at)
        if not _is_signed(stand, key, digest):
            yield key, stand


def _uneven(link: Link) -> Iterator[tuple[str, Stand]]:
    """Name the budgets that hold something else than their runs do, as they should stand."""
    budgets: dict[str, tuple[Stand, BudgetState]] = {}
    holds: dict[str, Amounts] = {}  # budget → what its runs hold
    for body, version, at, digest, key in link.execute(SQL["all_tallies"]):
        stand = Stand(body, version, at)
        if stand.sign(key) != digest:
            continue
        if kind_of(key) == "budget":
            state = BUDGET.decode(body)
            budgets[key] = stand, state
            add(holds.setdefault(key, {}), state.own.amounts if state.own is not None else {})
        elif kind_of(key) == "held":
            add(holds.setdefault(key.removeprefix("held|").rpartition("\x1f")[0], {}), HELD.decode(body).amounts)
    for key, due in holds.items():
        stand, state = budgets.get(key, (NOTHING, BudgetState()))
        if due != state.held:
            state.held = due
            yield key, Stand(ENCODER.encode(state), stand.version + 1, stand.at)


def _damaged_letters(link: Link) -> Iterator[tuple[str, str, bytes, bytes]]:
    for _, digest, body, *columns in link.execute(SQL["all_dead_letters"]):
        if sha256(body).digest() != digest:
            yield f"a record does not match its digest: {body[:80].decode(errors='replace')}…", columns[0], digest, body
            continue
        letter: Any = LETTER.decode(body)
        if [getattr(letter, name) for name in COLUMNS] != columns:
            yield f"a record is filed under another name: {columns}", columns[0], digest, body
