"""The states of a run and the moves between them: one table, drawn in docs/states.md and enforced by `move`.

A run is *created*, then *running* while a process owns it, *waiting* when only questions or timers are left,
*paused* when someone asked for it, and ends *completed*, *failed* or *cancelled*. Failed is an end that `resume` and
`rollback` may leave again; completed and cancelled are left by `rollback` only.
"""

from enum import StrEnum

from windlass.core.errors import RunState


class Status(StrEnum):
    """What a run is doing, as kept in the store."""

    CREATED = "created"
    RUNNING = "running"
    WAITING = "waiting"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


CREATED, RUNNING, WAITING, PAUSED, COMPLETED, FAILED, CANCELLED = Status
ENDED = frozenset({COMPLETED, FAILED, CANCELLED})
UNFINISHED = frozenset({CREATED, RUNNING, WAITING})  # an owner may claim these without being told to

MOVES: dict[str, dict[Status, Status]] = {
    "start": {CREATED: RUNNING, RUNNING: RUNNING, WAITING: RUNNING},
    "park": {RUNNING: WAITING, WAITING: WAITING},
    "pause": {CREATED: PAUSED, RUNNING: PAUSED, WAITING: PAUSED, PAUSED: PAUSED},
    "resume": {CREATED: RUNNING, RUNNING: RUNNING, WAITING: RUNNING, PAUSED: RUNNING, FAILED: RUNNING},
    "edit": {CREATED: CREATED, RUNNING: RUNNING, WAITING: WAITING, PAUSED: PAUSED, FAILED: FAILED},
    "signal": {CREATED: CREATED, RUNNING: RUNNING, WAITING: WAITING, PAUSED: PAUSED, FAILED: FAILED},
    "complete": {RUNNING: COMPLETED},
    "fail": {RUNNING: FAILED, WAITING: FAILED, CREATED: FAILED},
    "cancel": {CREATED: CANCELLED, RUNNING: CANCELLED, WAITING: CANCELLED, PAUSED: CANCELLED, FAILED: CANCELLED},
    "rollback": dict.fromkeys(Status, PAUSED),
}


def move(run: str, status: Status, verb: str) -> Status:
    """Return the state that `verb` leads to.

    Raises:
        RunState: the verb does not apply in this state.
    """
    after = MOVES[verb].get(status)
    if after is None:
        allowed = ", ".join(MOVES[verb])
        raise RunState(f"run {run} is {status}: cannot {verb}", hint=f"{verb} applies to runs that are {allowed}")
    return after
