"""The end of a simulation's audit: whether what was counted is what calls came to, and nothing is held for ever."""

from typing import Any

import msgspec

from windlass.core import ops
from windlass.core.letters import DeadLetter
from windlass.core.records import BODY
from windlass.core.states import FAILED
from windlass.core.tallies import Amounts
from windlass.testing.sim_audit import Audit, Book

LETTER = msgspec.json.Decoder(DeadLetter)


def balance(audit: Audit) -> list[str]:
    """Say what is wrong with how everything has ended."""
    found: list[str] = []
    letters = [LETTER.decode(body) for body in audit.simulation.world.letters.values()]
    for letter in letters:
        audit.watch.reach(f"letter: {'run timeout' if letter.failure.kind == 'RunTimeout' else letter.reason}")
    for run, story in audit.watch.stories.items():
        if story.status is FAILED and not any(letter.run == run for letter in letters):
            found.append(f"{run} failed, and no letter says so")
        if any("[wrap]" in address for _, address in story.finished):
            audit.watch.reach("wrapped up")
    recorded = _recorded(audit)
    for run in audit.watch.stories:
        found += _weigh(audit, run, [audit.books.get(f"budget|run|{run}", Book())], recorded)
    found += _weigh(audit, "", [b for key, b in audit.books.items() if key.startswith("budget|tenant")], recorded)
    for key, book in audit.books.items():
        if book.held:
            found.append(f"{key}: {book.held} is held for ever")
    for key, gate in audit.gates.items():
        held = {run: (e, n) for run, (e, n, until) in gate.held.items() if until > audit.watch.now()}
        if held and not audit.has_jumped:
            found.append(f"{key}: {held} is held, and nothing runs")
    return found


def _weigh(audit: Audit, run: str, books: list[Book], recorded: dict[int, Amounts]) -> list[str]:
    """Compare what was spent with what calls came to, or may have come to where nobody knows."""
    found = []
    for unit in {unit for book in books for unit in book.limit if unit in ("tokens_out", "model_calls")}:
        least = most = over = under = 0
        for number, paid in enumerate(audit.paid):
            if run not in ("", paid.run):
                continue
            expected, real = paid.estimate.get(unit, 0), (paid.actual or {}).get(unit, 0)
            told = recorded.get(number)
            if told is not None:
                least += told.get(unit, 0)
                most += told.get(unit, 0)
                over += max(0, told.get(unit, 0) - expected)
                under += max(0, expected - told.get(unit, 0)) if len(books) > 1 else 0  # in flight at midnight
            else:
                least += min(real, expected)
                most += max(real, expected)
                over += max(0, real - expected)
        spent, lost = sum(book.spent[unit] for book in books), sum(book.lost[unit] for book in books)
        limit = sum(book.limit.get(unit, 0) + book.extra[unit] for book in books)
        if not least <= spent <= most + under + lost:
            found.append(f"{run or 'tenant'}: {spent} {unit} spent, {least} to {most} was used, {lost} lost")
        if spent > limit + over + lost:
            found.append(f"{run or 'tenant'}: {spent} {unit} spent of {limit}, and calls took {over} too much")
    return found


def _recorded(audit: Audit) -> dict[int, Amounts]:
    """Return what calls came to as the logs say, by their number."""
    found: dict[int, Amounts] = {}
    for kept in audit.simulation.world.runs.values():
        for row in kept.rows:
            for op in BODY.decode(row.body).ops:
                if isinstance(op, ops.CallRecorded) and op.name == "pay":
                    value: Any = msgspec.json.decode(op.value)
                    found[value[0]] = op.usage
    return found
