"""Sleeps: the due time is stored when a sleep is first reached, and is over then, whatever happens to the process."""

from datetime import timedelta

from windlass.core import ops
from windlass.core.errors import InputError
from windlass.engine.activation import Activation

IN_MEMORY_SECONDS = 1.0  # a sleep that ends sooner is slept in memory, to the same stored due time (D19)


async def sleep(activation: Activation, duration: float | timedelta) -> None:
    """Sleep. See `Context.sleep`.

    Raises:
        InputError: it is no length of time.
    """
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
    if seconds < 0:
        raise InputError("sleep", f"{seconds} seconds: a duration is at least 0")
    identity = f"sleep|{activation.nth('sleep')}"
    clock = activation.services.seams.clock
    activation.begin_op()
    try:
        await activation.firm()
        due_at = activation.pending.timers.get(identity)
        if due_at is None:
            due_at = clock.now() + seconds
            await activation.record(ops.TimerSet(activation.address, identity, due_at))
        # Once it was told that a sleep is over it is over, though the clock of this owner may say otherwise.
        left = 0.0 if due_at in activation.pending.fired else due_at - clock.now()
        if 0 < left <= IN_MEMORY_SECONDS:
            await clock.sleep(left)
        if left <= IN_MEMORY_SECONDS and due_at not in activation.pending.fired:
            activation.pending.fired.add(due_at)
            activation.journal.say("timer.fired", activation.address, due_at=due_at)
    finally:
        activation.end_op()
    if left > IN_MEMORY_SECONDS:
        await activation.wait(identity)
