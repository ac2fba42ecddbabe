"""What can go wrong between a run and the runs that it started."""

from windlass.core.errors import RunError, RunFailed


class ChildNameTaken(RunError):
    """A task gave two of its child runs one name, or a run that it started before another definition or input."""

    code = "run.child_name"
    default_hint = "name= tells the child runs of one activation apart: give each its own"


class ChildFailed(RunFailed):
    """A child run failed, or was cancelled, and its parent waited for it. A retry starts it anew."""

    code = "run.child_failed"
    retryable = True
