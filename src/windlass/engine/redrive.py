"""Dead letters once they are there: found, tried again, and put aside.

What is kept of a letter's standing is what somebody did: it is open, until it is retried or dropped. That it is
*resolved* is worked out when it is looked at: its run came to an end after all, whoever drove it there. So it holds
over all processes, and no death between two writes can lose it.
"""

import math
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from windlass.core import queries
from windlass.core.changes import LetterPut
from windlass.core.errors import InputError, LetterUnknown, RunState, StoreUnavailable, WindlassError
from windlass.core.frames import visit_of
from windlass.core.letters import DeadLetter
from windlass.core.records import RunRecord
from windlass.core.states import CANCELLED, COMPLETED, FAILED, PAUSED
from windlass.engine.control import Control
from windlass.engine.dead import is_collected
from windlass.engine.inputs import keywords, written
from windlass.engine.redacting import cleaned
from windlass.stores.base import Store

PAGE = 100
STATUSES = ("open", "retried", "resolved", "dropped")


class Redriven(Struct, frozen=True):
    """What came of a letter that was to be tried again: its run goes on, or `refused` says why it does not."""

    letter: DeadLetter
    refused: WindlassError | None = None


async def letters(
    store: Store, *, statuses: Sequence[str] | None = ("open",), limit: int = 100, after: str | None = None,
    **filters: Any,
) -> list[DeadLetter]:  # fmt: skip
    """Return dead letters, newest first; filters are those of `queries.Letters`.

    Args:
        statuses: open, retried, resolved, dropped; None is all of them.

    Raises:
        InputError: a filter is not of its type.
    """
    keywords(queries.Letters, {"statuses": statuses, "limit": limit, "after": after, **filters})
    if unknown := set(statuses or ()).difference(STATUSES):
        raise InputError("statuses", f"{min(unknown)!r} is no status", hint=f"one of {', '.join(STATUSES)}")
    kept = None if statuses is None else tuple({*statuses} - {"resolved"})
    if statuses is not None and "resolved" in statuses:
        kept = tuple({*statuses, "open", "retried"} - {"resolved"})
    found: list[DeadLetter] = []
    while len(found) < limit:
        page = await store.find(queries.Letters(statuses=kept, after=after, limit=PAGE, **filters))
        found += [
            letter for letter in await _as_they_stand(store, page) if statuses is None or letter.status in statuses
        ]
        if len(page) < PAGE:
            break
        after = page[-1].id
    return found[:limit]


async def _as_they_stand(store: Store, page: list[DeadLetter]) -> list[DeadLetter]:
    """Say of letters whose run has come to an end since that they are resolved."""
    runs = tuple({letter.run for letter in page if letter.status in ("open", "retried") and not is_collected(letter)})
    if not runs:
        return page
    ended = {
        record.id for record in await store.find(queries.Runs(ids=runs, limit=len(runs)))
        if record.head.status in (COMPLETED, CANCELLED)
    }  # fmt: skip
    return [
        msgspec.structs.replace(letter, status="resolved")
        if letter.run in ended and letter.status != "dropped" and not is_collected(letter) else letter
        for letter in page
    ]  # fmt: skip


async def known(store: Store, ids: Sequence[str]) -> list[DeadLetter]:
    """Return letters by their ids, in this order, each once.

    Raises:
        LetterUnknown: there is none of an id.
    """
    wanted = tuple(dict.fromkeys(ids))
    found = await store.find(queries.Letters(ids=wanted, statuses=None, limit=max(1, len(wanted))))
    by_id = {letter.id: letter for letter in await _as_they_stand(store, found)}
    for id_ in wanted:
        if id_ not in by_id:
            raise LetterUnknown(f"no dead letter {id_!r} in {store.url}")
    return [by_id[id_] for id_ in wanted]


async def drop(store: Store, ids: Sequence[str], by: str, note: str) -> None:
    """Put letters aside for good: nobody will retry them, and their runs stay as they are.

    Raises:
        LetterUnknown: there is none of an id; nothing was dropped.
        InputError: who does it, or what is noted, is no text.
    """
    for where, text in (("by", by), ("note", note)):
        written(text, where)
    found = await known(store, ids)
    puts = [
        LetterPut(msgspec.structs.replace(letter, status="dropped", by=by, note=_noted(letter, note)))
        for letter in found if letter.status != "dropped"
    ]  # fmt: skip
    if puts:
        await store.adjust(cleaned(tuple(puts)))


def _noted(letter: DeadLetter, note: str) -> str:
    return "; ".join(filter(None, (letter.note, note)))


async def again(
    control: Control, ids: Sequence[str], *, edits: dict[str, Any] | None = None, rate: float | None = None,
    by: str = "", **filters: Any,
) -> AsyncIterator[Redriven]:  # fmt: skip
    """Let the runs of dead letters go on here, one after the other, and say of each what came of it.

    A letter that cannot be retried is told with the reason, and the others go on.

    Args:
        ids: of the letters; without any, those that the filters find, as they are now: a run that fails again while
            this goes on is not retried again.
        edits: channels to set first, in each of the runs.
        rate: most runs a second that are begun again; None is no limit.
        filters: those of `letters`.

    Raises:
        LetterUnknown: there is none of an id; nothing was retried.
        InputError: the rate is no number above 0, or `by` is no text.
        StoreUnavailable: the store cannot be reached; letters that were told of are retried.
    """
    if rate is not None and not (math.isfinite(rate) and rate > 0):
        raise InputError("rate", f"{rate!r} letters a second", hint="a number above 0")
    written(by, "by")
    wanted = [letter.id for letter in await known(control.store, ids)] if ids else await _all(control.store, filters)
    clock = control.services.seams.clock
    begun: set[str] = set()  # runs; several letters may be of one
    due = clock.monotonic()
    for id_ in wanted:
        (letter,) = await known(control.store, [id_])
        refused = None
        if letter.run not in begun:
            if rate is not None:
                await clock.sleep(max(0.0, due - clock.monotonic()))
                due = max(due, clock.monotonic()) + 1 / rate
            refused = await _resumed(control, letter, edits, by)
            if refused is None:
                begun.add(letter.run)
        if refused is None:
            letter = await _mark(control.store, id_, by)
        yield Redriven(letter, refused)


async def _all(store: Store, filters: dict[str, Any]) -> list[str]:
    """List the ids of all letters that filters find."""
    found: list[str] = []
    after = None
    while page := await letters(store, **filters, after=after, limit=PAGE):
        found += [letter.id for letter in page]
        after = page[-1].id
    return found


async def _resumed(control: Control, letter: DeadLetter, edits: dict[str, Any] | None, by: str) -> WindlassError | None:
    """Resume a letter's run; returns why it cannot be."""
    records = await control.store.find(queries.Runs(ids=(letter.run,)))
    refused = _refusal(letter, records[0] if records else None)
    if refused is not None:
        return refused
    try:
        await control.resume(letter.run, edits, by)
    except StoreUnavailable:
        raise
    except WindlassError as error:
        return error
    return None


def _refusal(letter: DeadLetter, record: RunRecord | None) -> RunState | None:
    """Say why a letter cannot be retried, if so."""
    if record is None:
        hint = f"start it anew: `windlass dlq show {letter.id}` has its input"
        return RunState(f"run {letter.run} of dead letter {letter.id} was pruned", hint=hint)
    begins_at = visit_of(letter.address) if letter.address else str(letter.n)
    fork = f"`windlass runs fork {letter.run} --from {begins_at}` begins a new run there"
    status = record.head.status
    if is_collected(letter):
        return RunState(f"run {letter.run} went on without {letter.address}, as its definition says", hint=fork)
    if status in (COMPLETED, CANCELLED):
        return RunState(f"run {letter.run} of dead letter {letter.id} is {status}", hint=fork)
    if status not in (FAILED, PAUSED):
        hint = f"`windlass runs watch {letter.run}` follows it"
        return RunState(f"run {letter.run} of dead letter {letter.id} goes on already: it is {status}", hint=hint)
    return None


async def _mark(store: Store, id_: str, by: str) -> DeadLetter:
    """Note who retried a letter; the run's own write has done so already if it was the run's failure."""
    found = await store.find(queries.Letters(ids=(id_,), statuses=None))
    letter = found[0]
    if letter.status in ("open", "dropped"):
        letter = msgspec.structs.replace(letter, status="retried", by=by)
        await store.adjust([LetterPut(letter)])
    return letter
