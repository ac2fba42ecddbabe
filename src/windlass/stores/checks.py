"""What every store checks: that a write continues its run without a gap, and that what is read is what was written."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from math import isnan

from msgspec import MsgspecError, Raw
from msgspec.structs import replace

from windlass.core.changes import BlobPut, ManifestPut, Write
from windlass.core.errors import (
    AlreadyAnswered,
    NotForYou,
    QuestionExpired,
    QuestionUnknown,
    RunOwned,
    StoreCorrupt,
    StoreError,
)
from windlass.core.pending import onward
from windlass.core.records import ENCODER, Command, Manifest, Owner, Question, Row, RunRecord
from windlass.core.states import CANCELLED, COMPLETED, FAILED
from windlass.core.thread_errors import OutOfTurn, TurnOver
from windlass.stores.base import row_digest

LAST_EVENT = 2**32 - 1  # what fits into half a log key of SQLite
DIGITS = 64  # of a SHA-256 in hex
OF_QUESTIONS = ("answer", "escalate")  # commands that change their question in the transaction that keeps them


def check_write(write: Write) -> None:
    """Refuse a write that would leave a gap: its rows follow `after` and each other, and end at its head.

    Raises:
        StoreError: they do not, or it holds what no store keeps; the store's caller is at fault.
    """
    last, due_at = write.after, write.head.due_at
    for row in write.rows:
        if row.first != last + 1 or row.last < row.first or row.run != write.run:
            raise StoreError(f"run {write.run}: a row of events {row.first}..{row.last} cannot follow event {last}")
        last = row.last
        if isnan(row.at) or len(row.digest) != DIGITS:
            raise StoreError(f"run {write.run}: the row that ends at event {last} has no time or no digest")
    if write.head.seq != last:
        raise StoreError(f"run {write.run}: the head says event {write.head.seq}, the rows end at {last}")
    if last > LAST_EVENT:
        raise StoreError(f"run {write.run}: event {last} is above {LAST_EVENT}, the last that a run may have")
    if due_at is not None and isnan(due_at):
        raise StoreError(f"run {write.run}: it cannot be due at a time that is not a number")


def encoded(record: object) -> bytes:
    """Encode a record.

    Raises:
        StoreError: it holds what JSON does not; nothing was written.
    """
    try:
        return ENCODER.encode(record)
    except (TypeError, ValueError, MsgspecError) as error:
        raise StoreError(f"a {type(record).__name__} cannot be kept: {error}") from error


def answer(command: Command, question: Question | None, value: Raw, now: float = 0.0) -> Question:
    """Move a question from open to answered, as an `answer` command asks, or put it to somebody else (`escalate`).

    Args:
        now: when that is; whoever has stamped the command may have stood still since.

    Raises:
        QuestionUnknown: the command's run has no such question.
        AlreadyAnswered: the question is not open.
        NotForYou: it is not put to whom the command has found it put to (`asked`) any more.
        QuestionExpired: the answer comes after the deadline.
    """
    if question is None or question.run != command.run:
        raise QuestionUnknown(f"run {command.run} has no question {command.arguments.get('question')!r}")
    if question.status != "open":
        by = f" by {question.by}" if question.by else ""
        raise AlreadyAnswered(f"question {question.id} of run {question.run} is {question.status}{by}")
    asked, to = command.arguments.get("asked"), question.terms.to
    if asked is not None and asked != to:
        raise NotForYou(f"question {question.id} of run {question.run} is put to {to or 'anybody'} by now")
    is_due, due_at = bool(command.arguments.get("expired")), question.terms.due_at
    if command.verb == "escalate":
        return replace(question, terms=onward(question.terms, str(command.arguments.get("to") or ""), is_due=is_due))
    if due_at is not None and max(command.at, now) >= due_at and not is_due:
        raise QuestionExpired(f"question {question.id} of run {question.run}: its deadline has passed")
    by = command.by or str(command.arguments.get("by") or "")
    return replace(question, status="answered", answer=value, by=by, answered_at=command.at)


def is_in_vain(command: Command, status: str) -> bool:
    """Say whether a command that another run posts would never be taken, or of no use: see `CommandPut`."""
    return status in (COMPLETED, CANCELLED) or (status == FAILED and command.verb != "child")


def is_kin(command: Command) -> bool:
    """Say whether another run posted a command: it is of no use to a run that has ended."""
    return command.verb == "child" or bool(command.arguments.get("cascade"))


def check_birth(record: RunRecord, first: Write) -> None:
    """Refuse a run that is made within a write of another and could not be made by itself.

    Raises:
        StoreError: its first write is of another run, leaves a gap, or changes what is not its own.
    """
    check_write(first)
    if (
        first.run != record.id
        or first.after
        or not all(isinstance(change, BlobPut | ManifestPut) for change in first.changes)
    ):
        raise StoreError(f"run {record.id} cannot begin with this write of {first.run}")


def thread_of(record: RunRecord) -> tuple[str, str, str]:
    """Name the thread that a turn belongs to."""
    return record.thread, record.tenant, record.definition


def taken(record: RunRecord) -> OutOfTurn:
    """Say that a place of a thread was given to another run."""
    return OutOfTurn(f"turn {record.turn} of thread {record.thread} is another run's")


def waits(run: str) -> OutOfTurn:
    """Say that a turn cannot begin before its time, nor with what is no longer so."""
    return OutOfTurn(f"run {run}: a turn before it is not over, or has gone on")


def over(command: Command, later: str) -> TurnOver:
    """Say that a turn cannot go on, because another began with its state."""
    return TurnOver(f"run {command.run} is an earlier turn: {later} goes on from its end, so it cannot {command.verb}")


def owned(run: str, owner: Owner, until: float) -> RunOwned:
    """Say who has a run, and until when nobody else gets it."""
    moment = datetime.fromtimestamp(until, tz=UTC).isoformat(timespec="seconds")
    return RunOwned(f"run {run} is owned by process {owner.pid} on {owner.host} until {moment}")


def verify_rows(run: str, rows: Iterable[Row]) -> None:
    """Compare rows with their digests.

    Raises:
        StoreCorrupt: one does not match.
    """
    for row in rows:
        if row_digest(run, row.first, row.last, row.body) != row.digest:
            raise StoreCorrupt(f"run {run}: the row of events {row.first}..{row.last} does not match its digest")


def verify_sequence(run: str, rows: Iterable[Row], after: int) -> int:
    """Follow rows from event `after` on, and return the last event.

    Raises:
        StoreCorrupt: events are missing.
    """
    for row in rows:
        if row.first != after + 1:
            raise StoreCorrupt(f"run {run}: event {after + 1} is missing before {row.first}..{row.last}")
        after = row.last
    return after


def verify_tail(run: str, rows: Sequence[Row], after: int, head: int) -> None:
    """Verify the rows with which a run is loaded: digests, sequence, and that they reach the head.

    Raises:
        StoreCorrupt: they do not.
    """
    verify_rows(run, rows)
    last = verify_sequence(run, rows, after)
    if last != head:
        raise StoreCorrupt(f"run {run}: the log ends at event {last}, the run stands at {head}")


def verify_manifest(manifest: Manifest) -> None:
    """Compare a snapshot with its digest.

    Raises:
        StoreCorrupt: it does not match.
    """
    run, seq = manifest.run, manifest.seq
    if row_digest(run, seq, seq, manifest.body) != manifest.digest:  # signed as the row of one event would be
        raise StoreCorrupt(f"run {run}: the snapshot at event {seq} does not match its digest")


def verify_blob(digest: str, content: bytes) -> bytes:
    """Compare a blob with its digest and return it.

    Raises:
        StoreCorrupt: it does not match.
    """
    if sha256(content).hexdigest() != digest:
        raise StoreCorrupt(f"blob {digest} does not match its digest")
    return content
