"""What can go wrong about signals."""

from windlass.core.errors import InputError, RunError


class SignalExpired(RunError):
    """No signal came in time: raised in the task that waits for one."""

    code = "signal.expired"
    default_hint = "resume the run to wait again, or declare what follows with otherwise="


class SignalInvalid(InputError):
    """A signal is not what the task that waits for it can use; nothing was sent."""

    code = "signal.invalid"
    default_hint = "the schema of ctx.signal says what it wants"
