"""A run as it goes: JSON or one readable line an event; on a terminal the live view of `live.py`."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from windlass.cli.board import Board
from windlass.cli.output import Out, Shown
from windlass.cli.telling import as_line, as_object
from windlass.core.events import Event
from windlass.core.records import RunRecord


class View(Protocol):
    """Shows a run while it goes on."""

    board: Board

    def show(self, event: Event) -> None:
        """Show an event or a stream item."""
        ...

    def tick(self) -> None:
        """Time has passed: called a few times a second."""
        ...

    def close(self) -> None:
        """Leave what was shown last on the screen."""
        ...


class Lines:
    """One line an event: JSON, or text."""

    def __init__(self, out: Out, board: Board) -> None:
        self.out = out
        self.board = board

    def show(self, event: Event) -> None:
        """Write the event."""
        self.board.see(event)
        if self.out.as_json:
            self.out.give(as_object(event))
        else:
            self.out.line(as_line(event))

    def tick(self) -> None:
        """Lines stay as they are."""

    def close(self) -> None:
        """Nothing is held back."""


def open_view(out: Out, record: RunRecord) -> View:
    """Choose the view: the live one if a person looks at a terminal."""
    board = Board(nodes_of(record))
    if out.as_json or Shown.hidden or not sys.stdout.isatty():
        return Lines(out, board)
    from windlass.cli.live import Live

    return Live(record, board)


def nodes_of(record: RunRecord) -> Sequence[str]:
    """List a run's nodes in the order of their definition, those of a sub-graph behind it by their static paths."""
    return list(_nodes(msgspec.json.decode(record.structure), ""))


def _nodes(structure: Mapping[str, Any], path: str) -> Iterator[str]:
    for name, described in structure.get("nodes", {}).items():
        yield f"{path}{name}"
        yield from _nodes(described.get("sub", {}), f"{path}{name}/")
