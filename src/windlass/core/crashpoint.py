"""Places where a test may kill the process; in production a global that is None, tested once.

A label names what is about to happen or has just happened (`record.before`, `record.after`). The crash harness sets
`on_reach`; nothing else does.
"""

from collections.abc import Callable

on_reach: Callable[[str], None] | None = None


def crashpoint(label: str) -> None:
    """Tell the harness, if there is one, that the product has reached `label`."""
    if on_reach is not None:
        on_reach(label)
