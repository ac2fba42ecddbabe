"""Signals: what is told to a run from outside, by name, whether a task waits for it yet or not.

A signal is posted as any command is, and the run's owner takes it into the log. From then on the run has it until an
activation takes it: each signal goes to one wait that it fits, in the order in which they were posted. Which one a wait
got is recorded, so a later run of the activation gets the same.
"""

import asyncio
from collections.abc import Iterator
from typing import Any, TypeVar, overload

import msgspec
from msgspec import Raw

from windlass.core import ops
from windlass.core.asked import asked_schema, check_wanted
from windlass.core.clock import LOOK_SECONDS
from windlass.core.codec import Codec
from windlass.core.errors import ContextClosed, DecodeError, InputError
from windlass.core.position import Position
from windlass.core.schema import misfit, unfit
from windlass.core.signal_errors import SignalExpired
from windlass.core.types import convert
from windlass.core.words import Escalate, When
from windlass.engine.activation import Activation
from windlass.engine.drive import Drive
from windlass.engine.inputs import check_name
from windlass.engine.terms import REJECT, read_terms

T = TypeVar("T")


class Signals:
    """The part of a task's context that waits for signals."""

    def _open(self) -> Activation:
        raise NotImplementedError

    @overload
    async def signal(
        self, name: str, schema: type[T], *, deadline: When | None = None, otherwise: Any = REJECT
    ) -> T: ...
    @overload
    async def signal(
        self, name: str, schema: Any = None, *, deadline: When | None = None, otherwise: Any = REJECT
    ) -> Any: ...
    async def signal(
        self, name: str, schema: Any = None, *, deadline: When | None = None, otherwise: Any = REJECT
    ) -> Any:
        """Take the next signal of this name, and wait for one without a process while there is none.

        It may have come before. Nobody else gets it, and a re-run of this task gets the same one.

        Args:
            schema: the value's type, as of `ask`; None for any JSON. A signal that does not fit, here or where else
                one is waited for, is told of as an event (`signal.refused`), and the next one is taken.
            deadline: until when: `"2h"`, seconds, a timedelta, or a datetime with its time zone.
            otherwise: what follows then: `"reject"` (SignalExpired is raised; the default), or a value.

        Raises:
            SignalExpired: none came in time, and nothing else was declared to follow.
            InputError: the name is empty or no text, the schema is none, or a deadline cannot be.
        """
        activation, codec = self._open(), self._open().blueprint.codec
        given = schema is None or isinstance(schema, dict)  # a JSON Schema, or none: the value is plain JSON
        shape, kind = (schema or {}, Any) if given else (asked_schema(schema), schema)
        begin = f"signal|{check_name(name, 'signal')}"
        key = _next_try(activation, f"{begin}|{activation.nth(begin)}")
        terms = ops.NO_TERMS
        if key not in activation.pending.awaited and key not in activation.pending.signals:
            if isinstance(otherwise, Escalate):
                raise InputError("otherwise", "nobody is asked, so nobody else can be")
            check_wanted(schema)
            asking = {"deadline": deadline, "otherwise": otherwise}
            terms = read_terms(codec, activation.services.seams.clock.now(), asking, kind)
        wait = ops.SignalAwaited(activation.address, key, name, Raw(msgspec.json.encode(shape)), terms)
        while True:
            signal = await _taken(activation, wait)
            if key in activation.pending.lapsed:
                raise SignalExpired(f"{activation.address}: no signal {name!r} came in time")
            data = bytes(signal.value)
            try:
                value = convert(codec.decode(data, trusted=True), kind, "signal")
                if signal.id and (wrong := misfit(msgspec.json.decode(data), shape) if given else ""):
                    raise InputError("signal", wrong)  # noqa: TRY301 -- refused as what has another type
            except (InputError, DecodeError) as error:
                if not signal.id:
                    raise
                await _put(activation, ops.SignalLeft(activation.address, key, signal.id, name, str(error)))
            else:
                return value


def _next_try(activation: Activation, identity: str) -> str:
    """Name the wait: a resume waits again for what did not come in time."""
    tries, pending = 0, activation.pending
    while pending.lapsed.get(f"{identity}|{tries}", pending.resets) < pending.resets:
        tries += 1
    return f"{identity}|{tries}"


async def _taken(activation: Activation, wait: ops.SignalAwaited) -> ops.SignalReceived:
    """Return the signal that a wait has got; take the next one, or wait for it, if it has none yet."""
    key, clock, codec = wait.key, activation.services.seams.clock, activation.blueprint.codec
    activation.reached.add(key)
    while (signal := activation.pending.signals.get(key)) is None:
        activation.begin_op()
        try:
            await activation.firm()
        finally:
            activation.end_op()
        pending, position = activation.pending, activation.journal.position
        known, found = pending.awaited.get(key), _next(position, codec, wait)
        if key in pending.signals:
            continue
        if f"{wait.address} {key}" in position.promised:  # by the drive, in a row on its way
            await _wait(activation, key, None)
        elif found is not None and (known is not None or fits(codec, found, wait)):
            await _put(activation, promise(position, wait, found.id, found.by))
        elif known is None:  # what does not fit it may fit another wait of these tasks, once that is known
            await _put(activation, wait)
        elif known.terms.due_at is not None and known.terms.due_at <= clock.now():
            await _put(activation, promise(position, known, "", ""))
        else:
            await _wait(activation, key, known.terms.due_at)
    return signal


async def _put(activation: Activation, op: ops.SignalAwaited | ops.SignalTaken | ops.SignalLeft) -> None:
    activation.begin_op()
    try:
        await activation.record(op)
    except ContextClosed:  # nothing is written
        activation.journal.position.promised -= {getattr(op, "id", ""), f"{op.address} {op.key}"}
        raise
    finally:
        activation.end_op()


async def _wait(activation: Activation, key: str, due_at: float | None) -> None:
    """Wait; while the attempt does something else beside, the deadline is watched here."""
    if due_at is None:
        await activation.wait(key)
        return
    left = max(0.0, due_at - activation.services.seams.clock.now())
    timer = asyncio.get_running_loop().call_later(min(left, LOOK_SECONDS), _ring, activation, key)
    try:
        await activation.wait(key)
    finally:
        timer.cancel()


def _ring(activation: Activation, key: str) -> None:
    waiter = activation.waits.get(key)
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


def _next(position: Position, codec: Codec, wait: ops.SignalAwaited) -> ops.SignalReceived | None:
    """Find the first signal that a wait can use, or has to refuse: one that fits another wait is left to that."""
    free = (one for one in position.signals.values() if one.name == wait.name and one.id not in position.promised)
    for one in free:
        others = _open_waits(position, wait.name)
        if fits(codec, one, wait) or not any(fits(codec, one, other) for other in others):
            return one
    return None


def give(drive: Drive, signal: ops.SignalReceived, *, left_by: str = "") -> bool:
    """Give a signal to the first wait that it fits, or, if it is a fresh one that fits none, to the first of them.

    Whoever waits hears of it once that is folded.

    Args:
        left_by: who has given it back, and does not get it again.

    Returns:
        Whether anybody got it.
    """
    found = None
    for wait in _open_waits(drive.position, signal.name):
        if wait.address != left_by and fits(drive.blueprint.codec, signal, wait):
            found = wait
            break
        found = found if found or left_by else wait
    if found is None:
        return False
    drive.journal.note(promise(drive.position, found, signal.id, signal.by))
    drive.answered.append((found.address, found.key))
    return True


def _open_waits(position: Position, name: str) -> Iterator[ops.SignalAwaited]:
    waits = (wait for pending in position.pending.values() for wait in pending.open_signals)
    return (one for one in waits if one.name == name and f"{one.address} {one.key}" not in position.promised)


def fits(codec: Codec, signal: ops.SignalReceived, wait: ops.SignalAwaited) -> bool:
    """Say whether a wait can use a signal, as far as its schema says."""
    try:
        value = codec.decode(bytes(signal.value), trusted=True)
    except DecodeError:
        return False  # its type is not known here
    return not unfit(value, msgspec.json.decode(wait.schema))


def promise(position: Position, wait: ops.SignalAwaited, id: str, by: str) -> ops.SignalTaken:
    """Give a wait its signal, or what stands for none: neither is given again before the row of it is folded."""
    position.promised |= {id, f"{wait.address} {wait.key}"} - {""}
    if id:
        return ops.SignalTaken(wait.address, wait.key, id, wait.name, by)
    terms = wait.terms
    return ops.SignalTaken(wait.address, wait.key, "", wait.name, expired=terms.otherwise, value=terms.value)


def unheard(drive: Drive, activation: Activation, *, waits: bool) -> None:
    """Give back what came for waits of an activation that it does not listen to any more, or give it to who does.

    Args:
        waits: the attempt waits. What it did not come by it may listen to yet, unless it was begun with another state
            or other code, and this attempt did not come by it again.
    """
    pending, journal = activation.pending, drive.journal
    keys = dict.fromkeys((*pending.awaited, *pending.signals))
    for key in [key for key in keys if key not in activation.reached and (not waits or key in pending.stale)]:
        signal = pending.signals.get(key)
        if signal is not None and signal.id:
            journal.note(ops.SignalLeft(activation.address, key, signal.id, signal.name))
            drive.news |= give(drive, signal, left_by=activation.address)  # heard of where commands are taken
        elif waits and signal is None:
            journal.note(ops.SignalLeft(activation.address, key, "", pending.awaited[key].name))
