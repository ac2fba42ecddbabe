"""Ways to break the product, each of which the trials must notice: `make mutants`.

A mutant replaces a few functions of the product in the process of a trial, before it begins; children that are forked
inherit it. Each is run through the detectors, cheapest first, until one turns red. One that survives is a hole.
"""

import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from operator import itemgetter
from typing import Any

from msgspec import Raw
from msgspec.structs import replace

from trials import page
from trials.rooms import NameUnknown, every_trial, run_apart
from windlass.core import ops, pieces, queries
from windlass.core.crashpoint import crashpoint
from windlass.core.errors import ReducerFailed
from windlass.core.position import Position
from windlass.core.records import Question, Row
from windlass.core.secret import Masks
from windlass.core.tallies import Answer, BreakerAnswer, BreakerOp, BreakerState, BudgetOp, BudgetState, Held
from windlass.engine import commands, doubts, effects, entry, ledger, reads, reconcile
from windlass.engine.functions import run_within
from windlass.engine.journal import Journal
from windlass.policies import breaker_tally, budget_tally
from windlass.stores import checks, sqlite_jobs, sqlite_read, turns
from windlass.stores.memory import MemoryStore
from windlass.stores.memory_world import World
from windlass.stores.sqlite import SQLiteStore
from windlass.stores.sqlite_writer import Writer

DETECTORS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("conform", {"stores": ["memory", "sqlite"]}),
    ("simulate", {"schedules": 4_000}),
    ("kills", {"trials": 60}),
    ("zombies", {"trials": 12}),
    ("flips", {"flips": 0}),
    ("power", {"images": 300}),
)
BOUNDARIES: tuple[tuple[str, dict[str, Any]], ...] = (  # what limits are made of is looked at by these first
    ("half-open", {"rounds": 10}),
    ("kept", {"trials": 20}),
    ("budgets", {"rounds": 0, "killed": 4}),
)
OUTWARD: tuple[tuple[str, dict[str, Any]], ...] = (  # and what is said to models, kept of secrets, and handed out
    ("canaries", {"kills": 3}),
    ("fair", {"backlog": 1_000, "few": 5, "slots": 4}),
    ("wire", {"stories": 8}),
)
LANES = 2  # mutants at once


def put(place: Any, name: str, replacement: Any) -> Any:
    """Replace a function of the product wherever it is known by its name, and return what it was."""
    real = getattr(place, name)
    setattr(place, name, replacement)
    for module in [module for key, module in sys.modules.items() if key.startswith("windlass.")]:
        if getattr(module, name, None) is real:
            setattr(module, name, replacement)
    return real


# Effects


def no_key() -> None:
    """Let the idempotency key change with the process."""
    real: Any = put(ledger, "next_key", lambda *asked: (f"{real(*asked)[0]}{os.getpid()}", real(*asked)[1]))


def epoch_in_key() -> None:
    """Let the idempotency key change with the owner."""

    def next_one(activation: Any, name: str, key: str) -> tuple[str, int]:
        made, generation = real(activation, name, key)
        return f"{made}{activation.journal.record.epoch}", generation

    real = put(ledger, "next_key", next_one)


def record_before_call() -> None:
    """Keep an effect's outcome before it is called."""

    async def happen(activation: Any, codec: Any, intent: ops.EffectIntended, call: Any) -> Any:
        kept, journal = activation.ledger, activation.journal
        kept.put(journal, ledger.line_of(journal, kept.tree, intent, "intended"))
        await activation.record(intent)
        await activation.record(ledger.completed(journal, kept, intent, Raw(b"null"), "completed"))
        crashpoint("effect.call.before")
        fn, arguments, named = call
        return await run_within(activation.services, fn, arguments, named, enough=activation.enough)

    put(effects, "_happen", happen)


def call_again() -> None:
    """Take an effect in doubt for one that did not happen."""

    async def settled(*_: Any) -> None:
        return None

    put(doubts, "settled", settled)
    put(entry, "doubts", lambda *_: [])


def believe() -> None:
    """Take every answer about a doubt for a yes."""

    def answered(*given: Any) -> Any:
        yes = Raw(b'{"happened": true, "undone": true, "stand": true, "value": 0}')
        return real(*(replace(one, answer=yes) if isinstance(one, Question) else one for one in given))

    real = put(commands, "answered", answered)


def forget_calls() -> None:
    """Fold a log as if no call were in it."""

    def note(position: Position, op: Any) -> None:
        if not isinstance(op, ops.CallRecorded):
            real(position, op)

    real = put(Position, "_note", note)


# Who may write


def no_compare_and_set() -> None:
    """Let a second answer to a question win."""

    def answer(command: Any, question: Question | None, value: Any, now: float) -> Question:
        return real(command, question and replace(question, status="open"), value, now)

    real: Callable[..., Question] = put(checks, "answer", answer)


def no_fence() -> None:
    """Let an owner write whose epoch is over."""

    async def commit(store: MemoryStore, write: Any) -> tuple[Answer, ...]:
        kept = store._open().runs.get(write.run)
        answers: tuple[Answer, ...] = await real(store, write if kept is None else replace(write, epoch=kept.epoch))
        return answers

    real = put(MemoryStore, "commit", commit)
    for name in ("MOVE_HEAD", "MOVE_HEAD_AND_RELEASE"):
        sql: str = getattr(sqlite_jobs, name)
        assert "AND epoch = ? AND seq = ?" in sql
        put(sqlite_jobs, name, sql.replace("AND epoch = ? AND seq = ?", "AND ? > 0 AND seq = ?"))


def resume_not_unique() -> None:
    """Let anybody claim a run that has a live owner."""

    def lease(*_: Any) -> tuple[None, None]:
        return None, None

    put(World, "lease", lease)
    put(sqlite_jobs, "is_alive", lambda _: False)


# What is durable


def acknowledge_before_commit() -> None:
    """Say that a commit is durable when only the one before it is."""
    for store in (SQLiteStore, MemoryStore):
        _late(store)


def _late(store_class: Any) -> None:
    async def commit(store: Any, write: Any) -> tuple[Answer, ...]:
        kept: list[Any] = store.__dict__.setdefault("late", [])
        due, kept[:] = list(kept), [write]
        if write.release:
            due, kept[:] = [*due, write], []
        answers: tuple[Answer, ...] = ()
        for one in due:
            answers = await real(store, one)
        return answers

    real = put(store_class, "commit", commit)


def checkpoint_outside_transaction() -> None:
    """Move the head in one transaction and write the rows in the next."""

    def append(link: Any, no: int, write: Any, rest: Any) -> None:
        if link.connection.in_transaction:
            link.execute("COMMIT")
            crashpoint("commit.inside")
            link.execute("BEGIN IMMEDIATE")
        real(link, no, write, rest)

    real = put(sqlite_jobs, "append", append)


def event_before_commit() -> None:
    """Tell followers what is being written before it is."""
    early: dict[str, tuple[Row, ...]] = {}

    class Eager:
        """A store that shows rows which it has not kept."""

        def __init__(self, store: Any) -> None:
            self._store = store

        def __getattr__(self, name: str) -> Any:
            return getattr(self._store, name)

        async def find(self, query: Any) -> Any:
            found = await self._store.find(query)
            if isinstance(query, queries.Rows) and query.kind is None:
                last = found[-1].last if found else query.after
                found = [*found, *(row for row in early.get(query.run, ()) if row.first == last + 1)]
            return found

    async def send(journal: Journal, write: Any, **how: Any) -> None:
        early[write.run] = write.rows
        await real_send(journal, write, **how)

    async def events(store: Any, *rest: Any) -> AsyncIterator[Any]:
        async for event in real_events(Eager(store), *rest):
            yield event

    real_send, real_events = put(Journal, "_send", send), put(reads, "events", events)


# What a step is


def half_applied_reducer() -> None:
    """Keep what a reducer has made of the first writes when it raises on a later one."""

    def folded(spec: Any, by: list[Any], scratch: Any) -> Raw:
        with suppress(ReducerFailed):
            return real(spec, by, scratch)
        return folded(spec, by[:-1], scratch) if len(by) > 1 else scratch.keep(scratch.read(spec.name), spec.name)

    real: Callable[..., Raw] = put(reconcile, "_folded", folded)


def compaction_drops_an_item() -> None:
    """Lose the last item when a channel's deltas are joined."""

    def joined(parts: list[bytes]) -> list[bytes]:
        whole: list[bytes] = real(parts)
        if len(parts) > 1 and whole[-1].startswith(b"[") and len(json.loads(whole[-1])) > 1:
            whole[-1] = json.dumps(json.loads(whole[-1])[:-1]).encode()
        return whole

    real: Callable[..., list[bytes]] = put(pieces, "joined", joined)


def digest_not_checked() -> None:
    """Believe whatever is read."""
    for name in ("verify_rows", "verify_manifest"):
        put(checks, name, lambda *_: None)
    put(checks, "verify_blob", lambda _, content: content)


def gap_not_seen() -> None:
    """Take a log with a hole for a whole one."""

    def sequence(_: str, rows: Any, after: int) -> int:
        for row in rows:
            after = row.last
        return after

    put(checks, "verify_sequence", sequence)


def failed_sync_believed() -> None:
    """Go on with a log whose sync has failed as if it were on the disk."""
    put(Writer, "_trust", lambda *_, **__: None)


# What is limited


def escrow_not_written_off() -> None:
    """Give back what a dead owner held, as if nothing of it had been spent."""

    def settle(state: BudgetState, mine: Held | None, op: BudgetOp) -> Any:
        if mine is not None and mine.epoch < op.epoch:
            for unit, amount in mine.amounts.items():
                state.held[unit] -= amount
            mine = None
        return real(state, mine, op)

    real = put(budget_tally, "settle_budget", settle)


def probe_for_everybody() -> None:
    """Let whoever asks a half-open breaker through."""

    def move(state: BreakerState, op: BreakerOp) -> tuple[BreakerState, BreakerAnswer]:
        after, answer = real(state, op)
        is_open = after.status == "half-open" and op.verb == "ask"
        return after, replace(answer, admitted=True, is_probe=True) if is_open else answer

    real = put(breaker_tally, "move_breaker", move)


def attempts_reset_at_claim() -> None:
    """Begin to count attempts anew when an owner has died."""

    async def take_over(drive: Any) -> None:
        for pending in drive.position.pending.values():
            pending.attempts = 0
        await real(drive)

    real = put(entry, "enter", take_over)


# What goes out and comes in


def masks_find_nothing() -> None:
    """Search for known secrets, and find none."""
    put(Masks, "find", lambda *_: False)


def one_tenant_first() -> None:
    """Hand out the oldest work first, whoever's it is."""

    def oldest(ready: Iterable[tuple[str, float, Any]], _: str | None) -> list[Any]:
        return [what for _, _, what in sorted(ready, key=itemgetter(1))]

    put(turns, "in_turn", oldest)
    sqlite_read.ANSWERS[queries.Work] = sqlite_read._whole_work


def answers_made_again() -> None:
    """Fold a log as if no model had answered."""

    def note(position: Position, op: Any) -> None:
        if not (isinstance(op, ops.CallRecorded) and op.kind == "model"):
            real(position, op)

    real = put(Position, "_note", note)


def begin_on_what_was() -> None:
    """Let a turn begin though the one whose state it has read went on meanwhile."""
    real: Callable[..., bool] = put(World, "waits", lambda world, record, after, _: real(world, record, after, 0))


OUTSIDE = (masks_find_nothing, one_tenant_first, answers_made_again)
LIMITED = (escrow_not_written_off, probe_for_everybody, attempts_reset_at_claim)
MUTANTS: dict[str, Callable[[], None]] = {
    mutant.__name__.replace("_", "-"): mutant
    for mutant in (
        no_key, epoch_in_key, no_compare_and_set, no_fence, record_before_call, acknowledge_before_commit,
        checkpoint_outside_transaction, event_before_commit, half_applied_reducer, resume_not_unique,
        digest_not_checked, compaction_drops_an_item, call_again, believe, forget_calls, gap_not_seen,
        failed_sync_believed, begin_on_what_was, *LIMITED, *OUTSIDE,
    )
}  # fmt: skip


def infect(name: str) -> None:
    """Break the product in this process.

    Raises:
        NameUnknown: no mutant has this name.
    """
    if name not in MUTANTS:
        raise NameUnknown("mutant", name, list(MUTANTS))
    MUTANTS[name]()


def noticed(mutant: str) -> tuple[str, str]:
    """Run the detectors on a mutant until one turns red: which, and what it saw; empty when none does."""
    known = every_trial()
    broken = MUTANTS.get(mutant)
    first = BOUNDARIES if broken in LIMITED else OUTWARD if broken in OUTSIDE else ()
    for name, options in dict([*first, *DETECTORS, *BOUNDARIES, *OUTWARD]).items():  # each once, at its first place
        module, trial = known[name]
        figures = run_apart(module, trial, options, mutant).figures
        if not figures.passes:
            blind = [what for what, times in figures.reached.items() if not times]
            return name, (figures.trouble or [f"never reached: {', '.join(blind)}"])[0]
    return "", ""


def hunt(names: list[str], *, as_json: bool = False, to_page: bool = False) -> int:
    """Set the detectors on each mutant, and on the unchanged product; print which noticed; 1 if one survives.

    Raises:
        NameUnknown: no mutant has such a name.
    """
    for name in names:
        if name not in MUTANTS:
            raise NameUnknown("mutant", name, list(MUTANTS))
    chosen = names or list(MUTANTS)
    begun = time.monotonic()
    with ThreadPoolExecutor(LANES) as pool:
        found = pool.map(noticed, ["", *chosen])
        survived, rows = [], [page.MUTANTS_HEAD]
        for name, (detector, saw) in zip(["", *chosen], found, strict=True):
            if bool(name) != bool(detector):
                survived.append(name or "the unchanged product")
            told = {"mutant": name or "unchanged", "noticed by": detector, "saw": saw[:200]}
            line = f"{told['mutant']}: " + (f"noticed by {detector}: {told['saw']}" if detector else "nothing noticed")
            print(json.dumps(told) if as_json else line, flush=True)
            says = (MUTANTS[name].__doc__ or "").strip() if name else "not at all"
            rows.append(page.mutant_row(told["mutant"], says, detector or "nothing", told["saw"][:120]))
    if to_page and not names:
        page.write("mutants", "make mutants", rows, time.monotonic() - begun)
    killed = len(chosen) - len([name for name in survived if name in MUTANTS])
    print(f"{killed} of {len(chosen)} noticed in {time.monotonic() - begun:,.0f} s", file=sys.stderr)
    for name in survived:
        print(f"WRONG: {name}", file=sys.stderr)
    return int(bool(survived))
