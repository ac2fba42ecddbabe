"""Where code runs: in which attempt, and whether inside one of its ports. For what is not handed a context.

Both are context variables, so tasks that the user's code starts (`gather`, a TaskGroup) inherit them.
"""

from contextvars import ContextVar

from windlass.engine.activation import Activation

CURRENT: ContextVar[Activation | None] = ContextVar("windlass_current", default=None)
"""The attempt whose code this is; it may be over by now."""

IN_PORT: ContextVar[bool] = ContextVar("windlass_in_port", default=False)
"""Whether a recorded call or an effect is what runs: what happens inside it is its own concern."""


def begin(activation: Activation) -> None:
    """Say that what runs from here on is this attempt's own code: its run may have been started inside a port."""
    CURRENT.set(activation)
    if IN_PORT.get():  # to set it costs more
        IN_PORT.set(False)
