"""Sub-graphs of a run: their frames are opened, settled and closed here, beside the loop.

A sub-graph takes an input and gives an output as a run of its definition does, but it is no run: it is a frame of the
run that it is in, with the same log, owner and lease. Its first step opens the frame. When nothing waits in it any more
its output becomes what the activation `team#1` leaves, which is settled in the frame above like that of any node. Both
are pure: a crash in between leaves a frame that is whole, and the next owner comes to the same.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from windlass.core.blueprint import LEFT_OUT, ChannelKind, Sub
from windlass.core.channels import Channel
from windlass.core.errors import WindlassError
from windlass.core.frames import Frame, lane, place
from windlass.core.records import Finished
from windlass.engine import failures
from windlass.engine.activation import Activation
from windlass.engine.dead import fail
from windlass.engine.drive import Drive
from windlass.engine.edges import exceed
from windlass.engine.execute import gather_inputs, keep_writes
from windlass.engine.initiate import initiate
from windlass.engine.inputs import input_writes
from windlass.engine.outputs import output, show
from windlass.policies.chain import reason


async def prepare(drive: Drive) -> None:
    """Open the sub-graphs that are ready, and ask for what attempts need before they may begin."""
    if drive.has_frames and not drive.leaving:
        await go_on(drive)
    if drive.guard.is_on and drive.ready and not drive.leaving:
        exceeded = await drive.guard.prepare(drive.ready)
        if exceeded is not None:
            await exceed(drive, exceeded)


async def go_on(drive: Drive) -> None:
    """Take up what the last owner left whole, and open the frames of sub-graphs that are ready."""
    whole, drive.whole = sorted(drive.whole, key=lambda path: path.count("/")), []
    while whole and not drive.leaving:
        path = whole.pop()
        frame = drive.position.frames.get(path)
        if frame is not None and frame.waiting:
            await drive.step([], path)
        elif frame is not None:
            await close(drive, path)
    drive.whole += whole
    others: list[str] = []
    while drive.ready and not drive.leaving:  # what is opened, or ended at once, makes more ready
        address = drive.ready.popleft()
        node = drive.blueprint.node(address)
        if node is None or node.sub is None:
            others.append(address)
        elif not drive.position.waits(address) or address in drive.position.frames:
            drive.next_held(address)
        elif node.concurrency is not None and _under_way(drive, lane(address)) >= node.concurrency:
            drive.held.setdefault(lane(address), deque()).append(address)
        else:
            await _open(drive, drive.activation(address), node.sub)
    drive.ready.extendleft(reversed(others))


def _under_way(drive: Drive, of: str) -> int:
    return sum(lane(path) == of and drive.position.waits(path) for path in drive.position.frames)


async def _open(drive: Drive, activation: Activation, sub: Sub) -> None:
    """Write the first step of a sub-graph."""
    address, journal = activation.address, drive.journal
    frame = Frame(address, drive.position.kinds.get(place(address), {}))
    try:
        writes = input_writes(sub.blueprint, _input(activation, sub))
        step = initiate(sub.blueprint, frame, writes, journal.blob)
        given = tuple(sorted({sub.writes[outer] for outer in sub.back} & writes.keys()))
        drive.guard.check(step.planned)
    except WindlassError as error:
        _fail(drive, address, error)
        return
    drive.resting.pop(address, None)
    await journal.write("step", step=step._replace(given=given), status=drive.status())
    drive.ready.extend(planned.address for planned in step.planned)
    if not step.planned:
        await close(drive, address)


def _input(activation: Activation, sub: Sub) -> Any:
    """Make the input of a sub-graph out of what its node is given."""
    values = gather_inputs(activation)
    if not sub.reads:
        return values[0] if values else None
    named = zip(activation.node.params, values, strict=True)
    return {param.name: value for param, value in named if value is not LEFT_OUT}


async def close(drive: Drive, path: str) -> None:
    """End a frame in which nothing waits any more: its output is settled in the frame above it."""
    activation = drive.activation(path)  # nothing of it runs but what is in it
    sub = activation.node.sub
    assert sub is not None  # noqa: S101 -- for the type checker: it has a frame
    try:
        value = _output(drive, activation, sub)
        finished, known = keep_writes(activation, value)
    except WindlassError as error:
        _fail(drive, path, error)
        return
    drive.known[path] = known
    drive.next_held(path)
    await commit(drive, [finished])


def _output(drive: Drive, activation: Activation, sub: Sub) -> Any:
    """Make what a node returns that is a sub-graph; what it was given it does not give back, only what is new."""
    frame, inner, outer = drive.position.frames[activation.address], sub.blueprint, activation.blueprint
    if activation.node.output is not None:
        return output(show(frame, drive.journal.blobs, inner.codec, inner.sinks), inner)
    found = {}
    for name, part in sub.writes.items():
        channel = frame.channels[part]
        is_back = name in sub.back and part in frame.given
        if not channel.is_set or (is_back and channel.version == 1):
            continue  # nothing has happened to it
        value = channel.read(inner.codec, drive.journal.blob)
        if is_back and outer.channels[name].kind == channel.kind:
            began = Channel(part, channel.kind).after((bytes(frame.given[part]),), whole=True)
            value = _news(channel.kind, began.decode(inner.codec, drive.journal.blob), value, inner.codec.key)
        found[name] = value
    return found


def _news(kind: ChannelKind, began: Any, value: Any, key: Callable[[Any], bytes]) -> Any:
    """Return what of a channel's value was not there in the beginning: others may have changed the rest meanwhile."""
    if kind == "append":
        return value[len(began) :]
    if kind == "merge":
        return {name: one for name, one in value.items() if name not in began or key(began[name]) != key(one)}
    if kind == "unique":
        known = {key(one) for one in began}
        return [one for one in value if key(one) not in known]
    return value


def _fail(drive: Drive, address: str, error: WindlassError) -> None:
    failure = failures.describe(error)
    drive.journal.say("activation.failed", address, failure=failures.plain(failure))
    fail(drive, address, failure, reason(error))


async def commit(drive: Drive, finished: list[Finished]) -> None:
    """Settle what has finished, frame by frame: a step where it is complete, else it is kept until it is."""
    found: dict[str, list[Finished]] = {}
    for done in finished:
        found.setdefault(done.address.rpartition("/")[0], []).append(done)
    steps: list[tuple[str, list[Finished]]] = []
    kept: list[Finished] = []
    for path, ended in found.items():
        frame = drive.position.frame(path)
        is_any = drive.blueprint.within(path).wait == "any"
        if is_any or len(ended) + len(frame.settled) == len(frame.waiting):
            steps.append((path, ended))
        else:
            kept += ended
    if kept:
        await drive.journal.write("writes", finished=tuple(kept), status=drive.status())
    for path, ended in steps:
        if drive.over:  # a step before it was one too many: what ended beside that runs again if the run is resumed
            return
        await drive.step(ended, path)
