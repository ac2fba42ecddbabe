"""Tenants in turn: the order in which work is handed out, done in the plainest way."""

from collections.abc import Iterable
from operator import itemgetter
from typing import TypeVar

from windlass.core.records import Head
from windlass.core.states import WAITING

T = TypeVar("T")


def ready_since(head: Head, updated_at: float, due_before: float) -> float:
    """Say since when a run that has work has it: when it was due, else when it last moved."""
    if head.status is WAITING and head.due_at is not None and head.due_at <= due_before:
        return head.due_at
    return updated_at


def in_turn(ready: Iterable[tuple[str, float, T]], behind: str | None) -> list[T]:
    """Order work fairly: the first of each tenant, beginning behind one of them, then the second of each, and so on.

    Args:
        ready: tenant, since when, and what; of one moment, what comes first stays first.
        behind: the tenant that had its turn last.
    """
    lines: dict[str, list[T]] = {}
    for tenant, _, what in sorted(ready, key=itemgetter(1)):
        lines.setdefault(tenant, []).append(what)
    names = sorted(lines, key=lambda name: (behind is not None and name <= behind, name))
    ranked = [(rank, turn, what) for turn, name in enumerate(names) for rank, what in enumerate(lines[name])]
    return [what for _, _, what in sorted(ranked, key=itemgetter(0, 1))]
