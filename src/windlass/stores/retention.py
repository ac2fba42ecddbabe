"""What may be dropped from a store, and what has to stand in its place (D24): the rules, for every store.

Pruning has two acts. *Whole runs* that have ended go, with everything of theirs; a child run that was waited for goes
after its parent, and not before. The *history* of runs that stay goes:
before savepoints, fork points and the head a snapshot is written, then the rows that lead there are replaced by one row
of kind `pruned` that covers their events. So a log has no gap, and a row that follows a pruned one has a snapshot at
its end. Rows are dropped from the end of a stretch towards its beginning: that holds after every transaction.

Large values are swept in two looks, an hour apart (`GRACE`): a value that nothing refers to is marked, and is deleted
by a later prune if nothing has referred to it since. Whoever read a reference before it was dropped (a fork, a reader)
has that long to write its own.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args

import msgspec
from msgspec import Struct

from windlass.core.errors import InputError, StoreCorrupt
from windlass.core.pieces import REFERENCE
from windlass.core.position import Position, load
from windlass.core.records import BODY, Blob, Loaded, Manifest, Row, RunRecord
from windlass.core.states import CANCELLED, COMPLETED, ENDED, Status
from windlass.stores.base import row_digest
from windlass.stores.checks import verify_manifest, verify_tail

Keep = Literal["nothing", "heads"]
GRACE = 3600.0  # seconds between marking a value that nothing refers to and deleting it
SAVEPOINT = b'"savepoint.made"'  # as it stands in a row's body; inside a longer string its quotes are escaped


class Rule(Struct, frozen=True, kw_only=True):
    """What to prune.

    Args:
        before: whole runs that ended before this time; or history from before it.
        statuses: of runs that go whole, or whose history goes; empty means every one.
        keep: `nothing` drops whole runs, `heads` only history.
        grace: see GRACE.
        dry_run: count, and change nothing.
    """

    now: float
    before: float
    statuses: tuple[Status, ...]
    tenant: str | None
    keep: Keep
    grace: float
    dry_run: bool


class Pruned(Struct):
    """What was dropped, or would be: `kept` counts runs that match and stay, by reason."""

    runs: int = 0
    rows: int = 0
    snapshots: int = 0
    blobs: int = 0
    marked: int = 0
    kept: dict[str, int] = {}

    def keep(self, why: str) -> None:
        """Count a run that stays."""
        self.kept[why] = self.kept.get(why, 0) + 1

    def told(self, rule: Rule, **more: Any) -> dict[str, Any]:
        """Return what the chore tells."""
        counts = {name: getattr(self, name) for name in ("runs", "rows", "snapshots", "blobs", "marked", "kept")}
        return {**counts, **more, "before": rule.before, "dry_run": rule.dry_run}


class Stretch(Struct, frozen=True):
    """Rows to drop, `first..last` by their last events, and the row behind them that needs a snapshot at its end."""

    first: int
    last: int
    anchor: int
    rows: int


class Mark(Struct, frozen=True):
    """What pruning has to know of a row."""

    last: int
    branch: int
    n: int
    kind: str
    at: float
    has_savepoint: bool


def to_rule(
    now: float, *, before: float | None = None, older_than: float | None = None,
    status: str | Sequence[str] | None = None, tenant: str | None = None, keep: str = "nothing",
    grace: float = GRACE, dry_run: bool = False, **unknown: Any,
) -> Rule:  # fmt: skip
    """Check the options of the chore `prune`.

    Args:
        before: seconds since the epoch; or `older_than`: seconds before now. One of them is needed.
        status: one or several; by default completed and cancelled for whole runs (a failed run can be resumed), every
            one for history.

    Raises:
        InputError: an option is missing, unknown, or not what it has to be.
    """
    if unknown:
        raise InputError(next(iter(unknown)), "prune has no such option", hint="it takes before, older_than, status, "
                         "tenant, keep, grace and dry_run")  # fmt: skip
    for name, value in (("before", before), ("older_than", older_than), ("grace", grace)):
        is_time = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (is_time and 0 <= value < float("inf")):
            raise InputError(name, f"{value!r} is no number of seconds, 0 or more")
    if (before is None) == (older_than is None):
        raise InputError("before", "say either before= (a time) or older_than= (an age), in seconds")
    if tenant is not None and not isinstance(tenant, str):
        raise InputError("tenant", f"{tenant!r} is no tenant's name")
    if keep not in get_args(Keep):
        raise InputError("keep", f"{keep!r} is neither nothing nor heads")
    limit = before if before is not None else now - (older_than or 0.0)
    statuses = _statuses(status, keep)
    return Rule(
        now=now, before=limit, statuses=statuses, tenant=tenant, keep="heads" if keep == "heads" else "nothing",
        grace=grace, dry_run=bool(dry_run),
    )  # fmt: skip


def _statuses(status: str | Sequence[str] | None, keep: str) -> tuple[Status, ...]:
    if status is None:
        return () if keep == "heads" else (COMPLETED, CANCELLED)
    named = (status,) if isinstance(status, str) else tuple(status)
    allowed = tuple(Status) if keep == "heads" else tuple(one for one in Status if one in ENDED)
    for name in named:
        if name not in allowed:
            raise InputError("status", f"{name!r} is not one of {', '.join(allowed)}")
    if not named:
        raise InputError("status", "an empty list of statuses matches nothing")
    return tuple(Status(name) for name in named)


def stretches(marks: Iterable[Mark], rule: Rule, last_step: int, forks: frozenset[tuple[int, int]]) -> list[Stretch]:
    """Find what may be dropped of a run's log.

    What stays: rows from `before` on, the row just before those, savepoints, fork points and the run's last step.

    Args:
        marks: the run's rows, in order.
        last_step: the last event of the head branch's last step; 0 if there is none.
        forks: the checkpoints (branch, n) at which other runs began.
    """
    found: list[Stretch] = []
    first = last = rows = 0  # of the stretch under way
    held: Mark | None = None  # becomes the anchor before the rows that stay, or one to drop
    for mark in marks:
        if mark.at >= rule.before:
            break
        if held is not None and _is_free(held, last_step, forks):
            first, last = first or held.last, held.last
            rows += held.kind != "pruned"
        elif held is not None:
            if rows:
                found.append(Stretch(first, last, held.last, rows))
            first = last = rows = 0
        held = mark
    if held is not None and rows:
        found.append(Stretch(first, last, held.last, rows))
    return found


def _is_free(mark: Mark, last_step: int, forks: frozenset[tuple[int, int]]) -> bool:
    is_fork_point = mark.kind == "step" and (mark.branch, mark.n) in forks
    return not (mark.has_savepoint or is_fork_point or mark.last == last_step)


def snapshot(record: RunRecord, manifest: Manifest | None, rows: Sequence[Row]) -> tuple[Manifest, list[Blob]]:
    """Make the snapshot that stands at the end of the last of `rows`, as the engine would have made it there.

    It names every large value that the run held there, needed or not: an owner that goes on may still have one at hand
    and refer to it without writing it again.

    Args:
        manifest: the snapshot before the rows, on their branch.

    Raises:
        StoreCorrupt: what leads there is damaged, or does not come to the digest that stands in the row.
    """
    last = rows[-1]
    if manifest is not None:
        verify_manifest(manifest)
    verify_tail(record.id, rows, manifest.seq if manifest else 0, last.last)
    try:
        position: Position = load(Loaded(record, manifest, tuple(rows)))
        signed = BODY.decode(last.body).digest
    except (msgspec.DecodeError, KeyError, ValueError) as error:
        raise StoreCorrupt(f"run {record.id}: what leads to event {last.last} cannot be read: {error}") from error
    if signed not in ("", position.digest()):
        raise StoreCorrupt(f"run {record.id}: the state at event {last.last} does not come to its digest")
    channels = [channel for frame in position.whole() for channel in frame.channels.values()]
    new = [blob for channel in channels for blob in channel.compact(None, _nothing)]
    blobs = [Blob(blob.digest, bytes(blob.content)) for blob in new]
    held = position.held | {blob.digest for blob in blobs}
    body = position.dump()
    seq = last.last
    digest = row_digest(record.id, seq, seq, body)
    return Manifest(record.id, seq, position.branch, position.n, body, digest, tuple(sorted(held))), blobs


def _nothing(digest: str) -> bytes:
    raise KeyError(digest)


def stub(run: str, first: int, last: int, branch: int, n: int, at: float) -> Row:
    """Make the row that stands for dropped ones."""
    body = b'{"at":%r}' % at
    return Row(run, first, last, branch, n, "pruned", at, body, row_digest(run, first, last, body))


def references(bodies: Iterable[bytes]) -> set[str]:
    """Name the large values that encoded records refer to."""
    return {match.decode() for body in bodies for match in REFERENCE.findall(body)}


__all__ = ["GRACE", "Mark", "Pruned", "Rule", "Stretch", "references", "snapshot", "stretches", "stub", "to_rule"]
