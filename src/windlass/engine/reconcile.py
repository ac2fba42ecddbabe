"""Reconcile: what a step's finished activations do to the state. Pure: no clock, no dice, no I/O.

Writes are applied in the order of activation paths, never in the order of completion, so the same results give the
same state whatever the timing. The answer is a step record and the channels it leads to; nothing is changed here.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, Raw

from windlass.core.blueprint import Blueprint, ChannelSpec
from windlass.core.channels import MUTABLE, REPLACING, Channel
from windlass.core.errors import ReducerFailed, TwoWriters, WindlassError
from windlass.core.frames import Frame, in_order
from windlass.core.pieces import Blobs
from windlass.core.position import settle
from windlass.core.records import Blob, Body, Finished, Planned
from windlass.engine.plan import Plan, plan

Known = Mapping[str, Mapping[str, Any]]  # address → channel → decoded write, as `Channel.after` takes it


class Step(NamedTuple):
    """A step that is ready to be committed: its record's parts, the channels after it, and new blobs."""

    finished: tuple[Finished, ...]  # those that are not in the log yet
    results: dict[str, Raw]
    deltas: dict[str, Raw]
    planned: tuple[Planned, ...]
    channels: dict[str, Channel]
    blobs: tuple[Blob, ...]
    edited: bool = False
    frame: str = ""  # the path of the frame that it settles
    given: tuple[str, ...] = ()  # of the channels with which it is opened


class Scratch:
    """Settled state under construction: reads see this step's channels, new values are encoded once."""

    def __init__(self, blueprint: Blueprint, frame: Frame, blobs: Blobs) -> None:
        self.codec = blueprint.codec
        self.frame = frame
        self.stored = blobs
        self.fresh: dict[str, bytes] = {}
        self.channels: dict[str, Channel] = {}
        self.known: dict[str, Any] = {}

    def blob(self, digest: str) -> bytes:
        """Fetch a content, this step's own included."""
        return self.fresh[digest] if digest in self.fresh else self.stored(digest)

    def read(self, name: str) -> Any:
        """Return a channel's value as it stands by now; None if there is none."""
        channel = self.channels.get(name) or self.frame.channels[name]
        value = channel.read(self.codec, self.blob)
        return None if value is UNSET else value

    def keep(self, value: Any, where: str) -> Raw:
        """Encode a value, and note whether readers may share it."""
        encoded = self.codec.encode(value, where)
        for blob in encoded.blobs:
            self.fresh[blob.digest] = bytes(blob.content)
        channel = self.frame.channels.get(where)
        if channel is not None and channel.kind in REPLACING:
            self.known[where] = value if encoded.frozen else MUTABLE
        return Raw(encoded.data)


def reconcile(blueprint: Blueprint, frame: Frame, finished: Iterable[Finished], known: Known, blobs: Blobs) -> Step:
    """Settle the finished activations, and plan what follows.

    Args:
        finished: activations that are not in the log yet; those in `frame.settled` are added.
        known: decoded writes of activations that ended in this process.
        blobs: fetches a stored blob by digest.

    Raises:
        TwoWriters: two activations wrote a channel that holds one value.
        ReducerFailed: a reducer raised, or gave a value that cannot be kept.
        TaskError: a branch function raised or chose a node that it may not lead to.
    """
    scratch = Scratch(blueprint, frame, blobs)
    new = tuple(in_order(list(finished)))
    done = in_order([*frame.settled.values(), *new]) if frame.settled else list(new)
    results, deltas = _reduce(blueprint, done, scratch)
    body = Body(at=0.0, finished=new, results=results, deltas=deltas)
    scratch.channels = settle(frame, body, done, _shared(blueprint, done, known, scratch.known))
    following = plan(blueprint, frame, done, scratch.channels, scratch.read, scratch.keep)
    return as_step(frame, scratch, new, following, results, deltas)


def as_step(
    frame: Frame, scratch: Scratch, new: tuple[Finished, ...], following: Plan,
    results: dict[str, Raw], deltas: dict[str, Raw],
) -> Step:  # fmt: skip
    """Put a step together: joins and empty maps become channel writes of their own."""
    for join, arrived in following.arrivals.items():
        if join in following.joined:
            results[f"join:{join}"] = Raw(b"[]")
        else:
            deltas[f"join:{join}"] = Raw(msgspec.json.encode(arrived))
    channels = scratch.channels
    if following.arrivals or following.empty:
        new = (*new, *following.empty)
        extra = Body(
            at=0.0,
            results={f"join:{j}": results[f"join:{j}"] for j in following.joined},
            deltas={f"join:{j}": deltas[f"join:{j}"] for j in following.arrivals if j not in following.joined},
        )
        channels = {**channels, **settle(frame, extra, following.empty)}
    blobs = tuple(Blob(digest, content) for digest, content in scratch.fresh.items())
    return Step(new, results, deltas, tuple(following.planned), channels, blobs, frame=frame.path)


def _reduce(blueprint: Blueprint, done: list[Finished], scratch: Scratch) -> tuple[dict[str, Raw], dict[str, Raw]]:
    """Fold the writes to channels with a reducer of their own; standard deltas need nothing.

    Raises:
        TwoWriters: see `reconcile`.
        ReducerFailed: see `reconcile`.
    """
    writers: dict[str, list[Finished]] = {}
    for finished in done:
        for name in finished.writes:
            writers.setdefault(name, []).append(finished)
    results: dict[str, Raw] = {}
    deltas: dict[str, Raw] = {}
    for name, by in writers.items():
        spec = blueprint.channels[name]
        if spec.kind == "unique":
            deltas[name] = _unique(spec, by, scratch)
        elif spec.kind not in ("last", "ephemeral"):
            continue
        elif spec.reduce is not None:
            results[name] = _folded(spec, by, scratch)
        elif len(by) > 1:
            raise TwoWriters(f"channel {name} holds one value, and {by[0].address} and {by[1].address} both wrote it")
    return results, deltas


def _folded(spec: ChannelSpec, by: list[Finished], scratch: Scratch) -> Raw:
    assert spec.reduce is not None  # noqa: S101 -- for the type checker; the caller looked
    value = scratch.read(spec.name)
    is_set = (scratch.channels.get(spec.name) or scratch.frame.channels[spec.name]).is_set
    for finished in by:
        incoming = scratch.codec.decode(bytes(finished.writes[spec.name]), scratch.blob)
        try:
            value = spec.reduce(value, incoming) if is_set else incoming
        except Exception as error:
            said = f"the reducer of channel {spec.name} raised {error!r} on the write of {finished.address}"
            raise ReducerFailed(said) from error
        is_set = True
    try:
        return scratch.keep(value, spec.name)
    except WindlassError as error:
        raise ReducerFailed(f"the reducer of channel {spec.name} gave what cannot be kept: {error}") from error


def _unique(spec: ChannelSpec, by: list[Finished], scratch: Scratch) -> Raw:
    """Turn incoming items into pieces: a known key replaces in place, a new one is appended."""
    assert spec.reduce is not None  # noqa: S101 -- for the type checker: unique always has its key function
    pairs: list[list[Any]] = []
    try:
        places = {spec.reduce(item): place for place, item in enumerate(scratch.read(spec.name) or ())}
        for finished in by:
            for item in scratch.codec.decode(bytes(finished.writes[spec.name]), scratch.blob):
                key = spec.reduce(item)
                pairs.append([places.get(key), item])
                places.setdefault(key, len(places))
    except Exception as error:
        raise ReducerFailed(f"the key of channel {spec.name} raised {error!r}") from error
    return scratch.keep(pairs, spec.name)


def _shared(blueprint: Blueprint, done: list[Finished], known: Known, reduced: dict[str, Any]) -> dict[str, Any]:
    """Collect the decoded values that channels may share with readers (D26)."""
    shared: dict[str, Any] = {}
    for finished in done:
        values = known.get(finished.address)
        for name in finished.writes:
            value = UNSET if values is None else values.get(name, UNSET)
            if blueprint.channels[name].kind != "append":
                shared[name] = value
            elif name not in shared:
                shared[name] = list(value) if isinstance(value, list) else value
            elif isinstance(shared[name], list) and isinstance(value, list):
                shared[name].extend(value)
            else:
                shared[name] = MUTABLE if MUTABLE in (shared[name], value) else UNSET
    return shared | reduced
