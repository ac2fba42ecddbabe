"""Runs, rows and writes to try a store with: well formed and signed, without an engine that makes them."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from msgspec import Raw

from windlass.core.changes import Change, Write
from windlass.core.letters import DeadLetter
from windlass.core.ops import Failure
from windlass.core.queries import Blobs
from windlass.core.records import (
    ENCODER,
    Blob,
    Command,
    Effect,
    Head,
    Item,
    Manifest,
    Owner,
    Question,
    Row,
    RowKind,
    RunRecord,
)
from windlass.core.states import RUNNING, Status
from windlass.core.tallies import BreakerOp, BudgetOp, LimitOp, Verb
from windlass.stores.base import Store, row_digest

NOON = 1_750_000_000.0


class HandClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: float = NOON) -> None:
        self.time = now

    def now(self) -> float:
        """Return the time it was set to."""
        return self.time

    def monotonic(self) -> float:
        """Return the same time."""
        return self.time

    async def sleep(self, seconds: float) -> None:
        """Move on at once."""
        self.time += seconds


def an_owner(name: str = "one") -> Owner:
    """Describe a process of another host: whether it lives, only its lease tells."""
    return Owner(f"elsewhere-7-{name}", "elsewhere", "boot", 7, "12345")


def a_record(run: str = "run-1", **fields: Any) -> RunRecord:
    """Describe a run."""
    return RunRecord(**{"id": run, "definition": "review", "fingerprint": "f" * 64, "created_at": NOON, **fields})


def a_row(run: str, first: int, size: int = 1, *, kind: RowKind = "step", branch: int = 0, body: bytes = b"") -> Row:
    """Make a row of `size` events."""
    last = first + size - 1
    data = body or b'{"at":%d}' % (NOON + last)
    return Row(run, first, last, branch, last, kind, NOON + last, data, row_digest(run, first, last, data))


def a_write(
    run: str = "run-1", epoch: int = 1, after: int = 0, *, rows: Sequence[Row] | None = None, status: Status = RUNNING,
    due_at: float | None = None, changes: tuple[Change, ...] = (), release: bool = False,
) -> Write:  # fmt: skip
    """Make a write of one row, or of those given."""
    kept = tuple(rows) if rows is not None else (a_row(run, after + 1),)
    last, branch = (kept[-1].last, kept[-1].branch) if kept else (after, 0)
    return Write(run, epoch, after, kept, Head(status, branch, last, last, due_at), changes, release)


def a_manifest(run: str, seq: int, *, branch: int = 0, blobs: tuple[str, ...] = ()) -> Manifest:
    """Make a snapshot."""
    body = b'{"seq":%d}' % seq
    return Manifest(run, seq, branch, seq, body, row_digest(run, seq, seq, body), blobs)


def a_question(run: str, id_: str, **fields: Any) -> Question:
    """Ask something."""
    asked = {
        "address": "ask#1",
        "key": id_,
        "prompt": "Ship it?",
        "schema": Raw(b'{"type":"boolean"}'),
        "asked_at": NOON,
    }
    return Question(**{"id": id_, "run": run, **asked, **fields})


def an_effect(run: str, key: str, **fields: Any) -> Effect:
    """Enter an effect into the ledger."""
    given = {"address": "push#1", "name": "push", "effect_key": f"{run}/{key}", "arguments": Raw(b"[]")}
    rules = {"branch": 0, "generation": 0, "status": "intended", "arguments_digest": "0" * 64, "on_doubt": "ask"}
    return Effect(**{"tree": run, "run": run, "key": key, **given, **rules, **fields})


def a_command(run: str, id_: str, verb: str = "pause", **arguments: Any) -> Command:
    """Ask a run's owner for something."""
    return Command(id=id_, run=run, verb=verb, arguments=arguments, by="anna", at=NOON)


def an_item(run: str, arrival: int, **fields: Any) -> Item:
    """Make a stream item whose value is its arrival number."""
    placed = {"address": "read#1", "attempt": 1, "ordinal": arrival, "arrival": arrival, "value": Raw(b"%d" % arrival)}
    return Item(**{"run": run, **placed, **fields})


def a_letter(run: str, id_: str, **fields: Any) -> DeadLetter:
    """Describe what ran out of attempts."""
    given = {
        "tenant": "default", "definition": "review", "fingerprint": "f" * 64, "address": "push#1", "node": "push",
        "reason": "attempts", "attempts": 3, "failure": Failure("ValueError", "no"), "pattern": "0" * 16,
        "input": Raw(b'{"n":1}'), "branch": 0, "n": 1, "trail": ("attempt 3 of 3",), "at": NOON,
    }  # fmt: skip
    return DeadLetter(**{"id": id_, "run": run, **given, **fields})


def a_budget_op(run: str = "run-1", **fields: Any) -> BudgetOp:
    """Make an operation on a budget."""
    return BudgetOp(**{"run": run, "epoch": 1, "at": NOON, **fields})


def a_breaker_op(verb: Verb, **fields: Any) -> BreakerOp:
    """Make an operation on a breaker that opens at five failures a minute, for half a minute."""
    given = {"holder": "run-1|1|push#1", "at": NOON, "failures": 5, "window": 60.0, "cooldown": 30.0, "patience": 60.0}
    return BreakerOp(**{"verb": verb, **given, **fields})


def a_limit_op(run: str = "run-1", **fields: Any) -> LimitOp:
    """Make an operation on a limit."""
    return LimitOp(**{"run": run, "epoch": 1, "at": NOON, "until": NOON + 15, **fields})


def a_blob(content: bytes) -> Blob:
    """Make a blob."""
    return Blob(sha256(content).hexdigest(), content)


async def contents(store: Store, *blobs: str | Blob) -> dict[str, bytes]:
    """Ask a store for blobs, by digest or as they were given to it."""
    digests = tuple(blob if isinstance(blob, str) else blob.digest for blob in blobs)
    return {blob.digest: blob.content for blob in await store.find(Blobs(digests=digests))}


def as_json(record: object) -> bytes:
    """Encode a record, to compare all of it."""
    return ENCODER.encode(record)
