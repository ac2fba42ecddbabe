"""What a SQLite store writes: each kind of write is a job that is applied inside a transaction, alone or among others.

A job decides first and writes afterwards: when `apply` raises a WindlassError it has written nothing, so the jobs that
share its transaction go on. Any other error takes the whole transaction back.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

from msgspec import Raw
from msgspec.structs import replace

from windlass.core.changes import Adjust, LetterPut, RunPut, TurnBegun, Write
from windlass.core.clock import Clock
from windlass.core.crashpoint import crashpoint
from windlass.core.errors import (
    RunExists,
    RunQuarantined,
    RunUnknown,
    StaleLease,
    StoreError,
)
from windlass.core.owner import is_alive
from windlass.core.records import ENCODER, Command, Head, Item, Owner, Question, RunRecord
from windlass.core.tallies import Answer
from windlass.core.thread import REOPENING, place_of
from windlass.stores.base import LEASE_SECONDS
from windlass.stores.checks import OF_QUESTIONS, answer, check_birth, check_write, encoded, owned
from windlass.stores.queries import queries
from windlass.stores.sqlite_anchor import TICKS
from windlass.stores.sqlite_changes import Statement, item_row, prepare
from windlass.stores.sqlite_file import Link
from windlass.stores.sqlite_read import QUESTION, opened, sealed, to_record
from windlass.stores.sqlite_tallies import keep, may, run_of, tally
from windlass.stores.sqlite_threads import check_begin, check_place, check_reopening
from windlass.stores.tallies import Changed, check_unfenced, settle

SQL = queries("sqlite")
MOVE_HEAD, MOVE_HEAD_AND_RELEASE, ADD_ROW = SQL["move_head"], SQL["move_head_and_release"], SQL["add_row"]
NO_CHANGES: tuple[Sequence[Statement], Sequence[Adjust]] = ((), ())
NOTHING: tuple[Changed, tuple[Answer, ...]] = ({}, ())
FORGET_SECONDS = 86_400.0  # an owner that ran out so long ago and holds nothing is forgotten


class Holdings:
    """What this process holds by this store: run id → number, of the runs that it claimed or made."""

    def __init__(self, url: str, clock: Clock) -> None:
        self.url = url
        self.clock = clock
        self.runs: dict[str, int] = {}
        self.written: tuple[int, int] | None = None  # what the anchor is told of the open transaction

    def begin(self) -> None:
        """A transaction begins: nothing was written in it yet."""
        self.written = None

    def number(self, link: Link, run: str) -> int | None:
        """Translate a run's id; None when there is no such run."""
        no = self.runs.get(run)
        return link.value(SQL["run_number"], (run,)) if no is None else no

    def lease(self, owner: Owner) -> tuple[Any, ...]:
        """Return the bindings of an owner's lease that begins now."""
        until = self.clock.now() + LEASE_SECONDS
        return (owner.id, owner.host, owner.boot, owner.pid, owner.started, until)


class Job(Protocol):
    """A write that waits for its transaction."""

    label: str

    def apply(self, link: Link, held: Holdings) -> Any:
        """Write inside the open transaction, and return what the caller is told once it is durable."""
        ...

    def written(self, link: Link, held: Holdings) -> bool:
        """Say whether the job is in the store; asked on a new connection when the outcome of a COMMIT is not known."""
        ...

    def landed(self, held: Holdings, outcome: Any) -> None:
        """Take note that the job is durable; runs on the loop's thread."""
        ...


class Commit:
    """Write rows and changes, fenced by epoch and head."""

    label = "commit"
    __slots__ = ("adjusts", "begins", "births", "changes", "write")

    def __init__(self, write: Write) -> None:
        check_write(write)
        self.write = write
        self.births: list[Create] = []
        puts = write.changes
        if any(isinstance(put, RunPut) for put in puts):
            self.births = [born(put) for put in puts if isinstance(put, RunPut)]
            puts = tuple(put for put in puts if not isinstance(put, RunPut))
        self.changes, self.adjusts = prepare(write.run, puts) if puts else NO_CHANGES
        self.begins = next((put for put in puts if isinstance(put, TurnBegun)), None)

    def apply(self, link: Link, held: Holdings) -> tuple[Answer, ...]:
        """Move the head if the fence holds, then append; tallies are worked out before anything is written."""
        write, head = self.write, self.write.head
        no = held.number(link, write.run)
        if self.begins is not None:
            check_begin(link, no, write.run, self.begins)
        for birth in self.births:
            check_place(link, birth.record)
        changed, answers = settle(self.adjusts, partial(tally, link)) if self.adjusts else NOTHING
        at = write.rows[-1].at if write.rows else held.clock.now()
        sql = MOVE_HEAD_AND_RELEASE if write.release else MOVE_HEAD
        moved = (head.status, head.branch, head.n, head.seq, head.due_at, head.crashes, at)
        link.execute(sql, (*moved, no, write.epoch, write.after))
        if no is None or not link.connection.changes():
            held.runs.pop(write.run, None)
            raise stale(link, write.run, write.epoch, write.after)
        for birth in self.births:
            birth.bear(link, held)
        append(link, no, write, self.changes)
        if changed:
            keep(link, changed)
        held.written = no, head.seq
        crashpoint("commit.inside")
        return answers

    def written(self, link: Link, held: Holdings) -> bool:
        """Compare the row that ends at the head."""
        return is_signed(link, held.number(link, self.write.run), self.write)

    def landed(self, held: Holdings, _: object) -> None:
        """Hold the runs that were made owned, and forget one that was released."""
        for birth in self.births:
            birth.landed(held, None)
        if self.write.release:
            held.runs.pop(self.write.run, None)


class Create:
    """Make a run with its first row."""

    label = "create"

    def __init__(self, record: RunRecord, first: Write, owner: Owner | None) -> None:
        check_write(first)
        if first.run != record.id:
            raise StoreError(f"run {record.id} cannot begin with a row of {first.run}")
        self.record, self.first, self.owner = record, first, owner
        self.body = sealed(replace(record, head=Head(), epoch=0, owner=None, owner_until=None, updated_at=0.0))
        self.tags = ENCODER.encode(record.tags).decode() if record.tags else None
        self.changes, self.adjusts = prepare(first.run, first.changes)
        self.no = 0

    def apply(self, link: Link, held: Holdings) -> tuple[Answer, ...]:
        """Insert the run unless its id is taken."""
        record, head = self.record, self.first.head
        if link.value(SQL["run_number"], (record.id,)) is not None:
            raise RunExists(f"run {record.id!r} exists in {held.url}")
        check_place(link, record)
        changed, answers = settle(self.adjusts, partial(tally, link))
        self._add(link, held)
        keep(link, changed)
        held.written = self.no, head.seq
        crashpoint("create.inside")
        return answers

    def bear(self, link: Link, held: Holdings) -> None:
        """Insert the run within a write of another; one that exists is the same."""
        self.no = 0
        if link.value(SQL["run_number"], (self.record.id,)) is None:
            self._add(link, held)

    def _add(self, link: Link, held: Holdings) -> None:
        record, head, owner = self.record, self.first.head, self.owner
        if owner is not None:
            link.execute(SQL["keep_lease"], held.lease(owner))
        at = self.first.rows[-1].at if self.first.rows else record.created_at
        link.execute(
            SQL["add_run"],
            (record.id, record.tenant, record.definition, self.tags, record.thread if record.turn else None,
             place_of(record), head.status, 0 if owner is None else 1,
             None if owner is None else owner.id, head.branch, head.n, head.seq, head.due_at, head.crashes,
             record.created_at, at),
        )  # fmt: skip
        no = link.connection.last_insert_rowid()
        link.execute(SQL["add_record"], (no, *self.body))
        append(link, no, self.first, self.changes)
        self.no = no

    def written(self, link: Link, _: Holdings) -> bool:
        """Compare the first row."""
        return is_signed(link, link.value(SQL["run_number"], (self.record.id,)), self.first)

    def landed(self, held: Holdings, _: object) -> None:
        """Hold the run if it was made owned."""
        if self.owner is not None and self.no:
            held.runs[self.record.id] = self.no


def born(put: RunPut) -> Create:
    """Make the job of a run that is made within a write of another."""
    check_birth(put.record, put.first)
    return Create(put.record, put.first, put.owner)


class Post:
    """Keep a command; an answer closes its question in the same transaction."""

    label = "post"

    def __init__(self, command: Command) -> None:
        self.command = command
        self.body = sealed(command)
        self.value = Raw(encoded(command.arguments.get("value")))

    def apply(self, link: Link, held: Holdings) -> bool:
        """Insert the command unless its id was posted before."""
        command = self.command
        no = held.number(link, command.run)
        if no is None:
            raise RunUnknown(command.run, held.url)
        if link.value(SQL["command"], (command.id,)) is not None:
            return False
        if command.verb in REOPENING:
            check_reopening(link, no, command)
        answered = self._answered(link, held.clock.now()) if command.verb in OF_QUESTIONS else None
        link.execute(SQL["post_command"], (no, command.id, *self.body))
        if answered is not None:
            link.execute(SQL["save_question"], (no, answered.id, answered.status, *sealed(answered)))
        touch(link, held, no)
        crashpoint("post.inside")
        return True

    def _answered(self, link: Link, now: float) -> Question:
        command = self.command
        rows = link.execute(SQL["question"], (str(command.arguments.get("question")),)).fetchall()
        question = QUESTION.decode(opened(*rows[0])) if rows else None
        return answer(command, question, self.value, now)

    def written(self, link: Link, _: Holdings) -> bool:
        """Look for the command."""
        return link.value(SQL["command"], (self.command.id,)) is not None

    def landed(self, held: Holdings, outcome: bool) -> None:
        """Nothing is held."""


class Claim:
    """Take a run for an owner."""

    label = "claim"

    def __init__(self, run: str, owner: Owner) -> None:
        self.run, self.owner = run, owner
        self.no = self.epoch = 0

    def apply(self, link: Link, held: Holdings) -> RunRecord:
        """Raise the epoch, unless another live owner has the run; return the record with the owner before."""
        rows = link.execute(SQL["one_run"], (self.run,)).fetchall()
        if not rows:
            raise RunUnknown(self.run, held.url)
        record = to_record(rows[0])
        if record.quarantined:
            raise RunQuarantined(f"run {self.run} is quarantined: {record.quarantined}")
        before, until = record.owner, record.owner_until
        if before is None or until is None or before.id == self.owner.id:
            before = until = None
        elif until > held.clock.now() and is_alive(before) is not False:
            raise owned(self.run, before, until)
        self.no, self.epoch = rows[0][0], record.epoch + 1
        link.execute(SQL["keep_lease"], held.lease(self.owner))
        link.execute(SQL["take_run"], (self.owner.id, self.no))
        touch(link, held, self.no)
        crashpoint("claim.inside")
        return replace(record, epoch=self.epoch, owner=before, owner_until=until)

    def written(self, link: Link, _: Holdings) -> bool:
        """Compare owner and epoch."""
        found = link.execute(SQL["claim_of_run"], (self.run,)).fetchall()
        return bool(found == [(self.owner.id, self.epoch)])

    def landed(self, held: Holdings, _: RunRecord) -> None:
        """Hold the run."""
        held.runs[self.run] = self.no


class Release:
    """Give a run up."""

    label = "release"

    def __init__(self, run: str, epoch: int) -> None:
        self.run, self.epoch = run, epoch

    def apply(self, link: Link, _: Holdings) -> None:
        """Clear the owner if the epoch is still the same."""
        link.execute(SQL["release_run"], (self.run, self.epoch))
        crashpoint("release.inside")

    def written(self, link: Link, _: Holdings) -> bool:
        """Look whether anyone still has the run by this epoch."""
        found = link.execute(SQL["claim_of_run"], (self.run,))
        return all(owner is None or epoch != self.epoch for owner, epoch in found)

    def landed(self, held: Holdings, _: None) -> None:
        """Hold the run no longer."""
        held.runs.pop(self.run, None)


class Retire:
    """Forget an owner's lease and give up all its runs."""

    label = "retire"

    def __init__(self, owner: Owner) -> None:
        self.owner = owner

    def apply(self, link: Link, held: Holdings) -> None:
        """Clear the owner wherever it stands, then delete it."""
        link.execute(SQL["release_all"], (self.owner.id,))
        link.execute(SQL["drop_leases"], (self.owner.id, held.clock.now() - FORGET_SECONDS))
        crashpoint("retire.inside")

    def written(self, link: Link, _: Holdings) -> bool:
        """Look for the lease."""
        return link.value(SQL["lease"], (self.owner.id,)) is None

    def landed(self, held: Holdings, _: None) -> None:
        """Hold nothing; another owner that shares this store looks its runs' numbers up again."""
        held.runs.clear()


class Append:
    """Keep stream items, fenced by the epoch only."""

    label = "items"

    def __init__(self, run: str, epoch: int, items: Sequence[Item]) -> None:
        self.run, self.epoch, self.items = run, epoch, items
        self.rows = [item_row(run, item) for item in items]

    def apply(self, link: Link, held: Holdings) -> None:
        """Insert the items if the run still has this epoch."""
        found = link.execute(SQL["run_fence"], (self.run,)).fetchall()
        if not found or found[0][1] != self.epoch:
            raise stale(link, self.run, self.epoch, None)
        for row in self.rows:
            link.execute(SQL["add_item"], (found[0][0], *row))
        touch(link, held, found[0][0])
        crashpoint("items.inside")

    def written(self, link: Link, held: Holdings) -> bool:
        """Look for the last item."""
        no = held.number(link, self.run)
        return not self.rows or link.value(SQL["item"], (no, *self.rows[-1][:5])) is not None

    def landed(self, held: Holdings, _: None) -> None:
        """Nothing is held."""


class Unfenced:
    """Change tallies and dead letters, which are not one run's."""

    label = "adjust"

    def __init__(self, puts: Sequence[Adjust | LetterPut]) -> None:
        check_unfenced(puts)
        self.puts = tuple(puts)
        self.changes, self.adjusts = prepare("", puts)
        self.changed: Changed = {}

    def apply(self, link: Link, held: Holdings) -> tuple[Answer, ...]:
        """Work the tallies out and keep them; a run that they name counts the write, for the anchor."""
        self.changed, answers = settle(self.adjusts, partial(tally, link), partial(may, link))
        keep(link, self.changed)
        for sql, rest in self.changes:
            link.execute(sql, (0, *rest))
        no = held.number(link, run_of(self.puts[0])) if self.puts else None
        if no is not None:
            touch(link, held, no)
        crashpoint("adjust.inside")
        return answers

    def written(self, link: Link, _: Holdings) -> bool:
        """Compare every tally and letter. One that was changed again since counts as not written: nobody can say.

        So does one that changed nothing: its answer may come of what others wrote in a transaction that is lost.
        """
        letters = [put.letter for put in self.puts if isinstance(put, LetterPut)]
        if not (self.changed or letters):
            return False
        return all(tally(link, key) == stand for key, stand in self.changed.items()) and all(
            link.value(SQL["letter_digest"], (letter.id,)) == sealed(letter)[0] for letter in letters
        )

    def landed(self, held: Holdings, _: object) -> None:
        """Nothing is held."""


def append(link: Link, no: int, write: Write, changes: Sequence[Statement]) -> None:
    """Insert a write's rows and changes; its fence has held."""
    for row in write.rows:
        key, digest = no << 32 | row.last, bytes.fromhex(row.digest)
        link.execute(ADD_ROW, (key, row.last - row.first, row.branch, row.n, row.kind, row.at, digest, row.body))
    for sql, rest in changes:
        link.execute(sql, (no, *rest))


def touch(link: Link, held: Holdings, no: int) -> None:
    """Count a write that raises no event, so that the anchor can tell whether it is still there."""
    held.written = no | TICKS, link.value(SQL["touch_run"], (no,))


def is_signed(link: Link, no: int | None, write: Write) -> bool:
    """Say whether the log ends a write's events with that write's last row."""
    if no is None or not write.rows:
        return False
    last = write.rows[-1]
    return bool(link.value(SQL["row_digest"], (no << 32 | last.last,)) == bytes.fromhex(last.digest))


def stale(link: Link, run: str, epoch: int, after: int | None) -> StaleLease:
    """Say why a fence did not hold."""
    found = link.execute(SQL["run_fence"], (run,)).fetchall()
    if not found:
        return StaleLease(f"run {run} does not exist")
    mine = f"epoch {epoch}" if after is None else f"epoch {epoch} after event {after}"
    return StaleLease(f"run {run} is at epoch {found[0][1]}, event {found[0][2]}: a write of {mine} is refused")
