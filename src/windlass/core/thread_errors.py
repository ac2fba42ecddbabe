"""What can go wrong between the turns of a thread."""

from windlass.core.errors import RunError, RunState, StoreError


class ThreadBusy(RunError):
    """A turn of the thread has not ended, and its definition refuses a second input meanwhile."""

    code = "thread.busy"
    retryable = True


class ThreadUnknown(RunError):
    """No run is a turn of a thread of this name."""

    code = "thread.unknown"
    default_hint = "`windlass threads list` shows those that there are"


class TurnOver(RunState):
    """A later turn of the thread has begun with what this one left: it can be no other thing any more."""

    code = "thread.turn_over"
    default_hint = "fork it, or roll the last turn back"


class OutOfTurn(StoreError):
    """A turn's number is taken by another run, or a turn before it has not ended; nothing was written."""

    code = "store.out_of_turn"
    retryable = True


class NotContinued(RunError):
    """A node returned ContinueAsNew where no run can follow: in a child run, Pipeline or sub-graph, or twice."""

    code = "run.not_continued"
    default_hint = "continue a run that is no child, from one node of a Graph"
