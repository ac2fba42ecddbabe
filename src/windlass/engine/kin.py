"""Parents and children: what a run tells the runs around it, in its own writes.

A child's last write posts its end to its parent; whatever stops a parent posts the same to the children that it waits
for. Each is a command in the same transaction as what it tells of, so a crash leaves both or neither; whoever owns the
other run takes it, in whatever process.
"""

from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from windlass.core import ops
from windlass.core.blueprint import Blueprint
from windlass.core.changes import Change, CommandPut
from windlass.core.codec import Codec, Encoded
from windlass.core.crashpoint import crashpoint
from windlass.core.envelope import Blob
from windlass.core.errors import ValueNotKept, WindlassError
from windlass.core.pending import Pending
from windlass.core.records import Command, Said
from windlass.core.states import CANCELLED, COMPLETED, FAILED, PAUSED, Status
from windlass.engine.journal import Journal
from windlass.engine.outputs import output, show
from windlass.engine.redacting import notice

CASCADE = {"cascade": True}  # of a command that a run posts to a child: its end need not be told
ENDS = {FAILED: "its parent failed", CANCELLED: "its parent was cancelled"}
NOTHING = Pending()


def farewell(journal: Journal, blueprint: Blueprint | None) -> Callable[[Status, Iterable[Said]], tuple[Change, ...]]:
    """Make what tells a run's parent of its end: called with the row that ends it, once that is folded.

    Args:
        blueprint: None where no code runs; the run cannot complete then.
    """

    def tell(status: Status, said: Iterable[Said]) -> tuple[Change, ...]:
        origin = journal.record.origin
        assert origin is not None  # noqa: S101 -- for the type checker: only a child has one
        told: dict[str, Any] = {"address": origin.address, "key": origin.key, "child": journal.record.id}
        told["status"] = status.value
        if status is COMPLETED and blueprint is not None:
            told |= _result(journal, blueprint)
        for one in said:
            if one.type == "run.failed":
                told["failure"] = one.details.get("failure")
        id_ = sha256(f"{journal.record.id}|{journal.position.seq}|end".encode()).hexdigest()[:32]
        crashpoint("child.end")
        journal.posted.append((origin.run, "child"))
        now = journal.seams.clock.now()
        return (
            CommandPut(Command(id=id_, run=origin.run, verb="child", arguments=told, by=journal.record.id, at=now)),
        )

    return tell


def _result(journal: Journal, blueprint: Blueprint) -> dict[str, Any]:
    """Encode what a run came to; the contents of what stands out of line go along."""
    codec = blueprint.codec
    try:
        encoded = codec.encode(
            output(show(journal.position, journal.blobs, codec, blueprint.sinks), blueprint), "output"
        )
    except WindlassError as error:
        failure = {"kind": type(error).__name__, "message": str(error), "code": error.code}
        return {"status": FAILED.value, "failure": failure}
    contents = {blob.digest: bytes(blob.content) for blob in encoded.blobs}
    return {"value": encoded.data.decode()} | ({"contents": contents} if contents else {})


class Heard(NamedTuple):
    """The end of a child as its parent keeps it."""

    op: ops.ChildEnded
    blobs: tuple[Any, ...]


def heard(end: ops.ChildEnded, told: Mapping[str, Any], codec: Codec) -> Heard:
    """Read what a child told of its end.

    Args:
        codec: of the child's values, with what the parent does not keep: that is masked here.
    """
    if told.get("failure"):
        return Heard(replace(end, failure=msgspec.convert(told["failure"], ops.Failure)), ())
    contents = told.get("contents", {}).items()
    blobs = tuple(Blob(digest, b64decode(content)) for digest, content in contents)
    try:
        kept = codec.mask_all(Encoded(told.get("value", "null").encode(), frozen=False, blobs=blobs), "child")
    except ValueNotKept as error:
        failure = ops.Failure(type(error).__name__, str(error), error.code)
        return Heard(replace(end, status=FAILED.value, failure=failure), ())
    return Heard(replace(end, value=msgspec.Raw(notice(kept.data))), kept.blobs)


def say_farewell(journal: Journal, blueprint: Blueprint | None) -> None:
    """See to it that the run's parent hears of its end, if it waits for it."""
    origin = journal.record.origin
    if origin is not None and not origin.detached:
        journal.farewell = farewell(journal, blueprint)


def post(journal: Journal, child: str, verb: str) -> None:
    """Put a command to a child into the next write."""
    seams = journal.seams
    command = Command(
        id=seams.ids(), run=child, verb=verb, arguments=CASCADE, by=journal.record.id, at=seams.clock.now()
    )
    journal.change(CommandPut(command))
    journal.posted.append((child, verb))


def stop(journal: Journal, address: str, why: str, keys: Iterable[str] | None = None) -> list[ops.ChildEnded]:
    """Cancel children that an activation waits for, and return that they are waited for no longer.

    Args:
        keys: of those; None: all.
    """
    pending = journal.position.pending.get(address, NOTHING)
    ended = []
    for key, child in pending.children.items():
        if child.is_open and (keys is None or key in keys):
            post(journal, child.id, "cancel")
            ended.append(ops.ChildEnded(address, key, child.id, CANCELLED.value, why=why))
    return ended


def leave(journal: Journal, address: str, why: str = "the activation that started it is over") -> None:
    """Cancel the children that an activation still waits for, as it ends, in the write that says so."""
    if address in journal.position.pending:
        journal.note(*stop(journal, address, why))


def cascade(journal: Journal, status: Status) -> None:
    """Let the children of a run that stops stop as well: paused with it, or cancelled."""
    for address, pending in journal.position.pending.items():
        if status in ENDS:
            journal.note(*(replace(end, is_stale=True) for end in stop(journal, address, ENDS[status])))
        elif status is PAUSED:
            for child in pending.open_children:
                post(journal, child, "pause")


def resume(journal: Journal) -> None:
    """Let the children that a run waits for go on with it."""
    for pending in journal.position.pending.values():
        for child in pending.open_children:
            post(journal, child, "resume")


def is_decided(pending: Pending, key: str) -> bool:
    """Say whether the end of this child lets its activation go on: a group may still need others."""
    group = pending.children[key].group
    if not group:
        return True
    of = [child for child in pending.children.values() if child.group == group and not child.is_stale]
    completed = sum(child.status == COMPLETED for child in of)
    still = sum(child.is_open for child in of)
    need, spare = pending.children[key].need, pending.children[key].spare
    return not still or completed >= need or len(of) - completed - still > spare


def failed(child: str, definition: str, end: ops.ChildEnded) -> tuple[str, dict[str, Any]]:
    """Say in words how a child failed, and give what failed it; of children of children, the innermost."""
    if end.failure is None:
        said = end.why or "it was cancelled"
        return f"child run {child} ({definition}) was cancelled: {said}", {"kind": "Cancelled", "message": said}
    failure: dict[str, Any] = msgspec.to_builtins(end.failure)
    if failure["kind"] == "ChildFailed" and failure["message"].startswith("child run "):
        return failure["message"].partition(" (mend it")[0], failure
    return f"child run {child} ({definition}) failed: {failure['kind']}: {failure['message']}", failure
