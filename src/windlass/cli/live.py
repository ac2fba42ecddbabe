"""The live view of a run on a terminal: a line for each node, redrawn as events come in."""

import time

from rich.console import Console, Group
from rich.live import Live as Screen
from rich.table import Table
from rich.text import Text

from windlass.cli.board import Board, NodeLine
from windlass.cli.output import clock_time, duration, short
from windlass.cli.telling import details
from windlass.core.events import Event
from windlass.core.records import RunRecord
from windlass.core.states import Status

STYLES = {
    "done": "green", "completed": "green", "failed": "bold red", "cancelled": "red", "running": "cyan", "next": "blue",
    "retrying": "yellow", "asking": "magenta", "waiting": "magenta", "paused": "yellow", "-": "dim",
}  # fmt: skip
NUMBERS = ("DONE", "ATTEMPT", "TIME")
KEPT_LINES = 3  # of what happened last, below the nodes
REDRAW_SECONDS = 0.1
PASSING = ("activation.started", "activation.completed", "step.committed", "item")  # the board shows them


class Live:
    """Draws a run's board."""

    def __init__(self, record: RunRecord, board: Board, console: Console | None = None) -> None:
        self.record = record
        self.board = board
        self.recent: list[Event] = []
        self.drawn_at = 0.0
        # No thread of rich's own: it would read the board while an event changes it.
        self.screen = Screen(console=console or Console(), auto_refresh=False)
        self.screen.start()

    def show(self, event: Event) -> None:
        """Take the event in; the screen is redrawn a few times a second."""
        self.board.see(event)
        if event.type not in PASSING:
            self.recent = [*self.recent, event][-KEPT_LINES:]
        if time.monotonic() - self.drawn_at > REDRAW_SECONDS:
            self.tick()

    def tick(self) -> None:
        """Draw how things stand now."""
        self.drawn_at = time.monotonic()
        self.screen.update(draw(self.record, self.board, self.recent, time.time()), refresh=True)

    def close(self) -> None:
        """Draw once more and leave it there."""
        if self.screen.is_started:
            self.tick()
            self.screen.stop()


def draw(record: RunRecord, board: Board, recent: list[Event], now: float) -> Group:
    """Draw a board: a heading, the nodes, and what happened last."""
    status = board.status.value
    heading = Text.assemble(
        (record.id, "bold"), "  ", record.definition, "  ", (status, STYLES.get(status, "cyan")), "  ",
        duration(_end(board, now) - board.began_at if board.began_at else 0.0),
    )  # fmt: skip
    nodes = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for head, right in (
        ("NODE", False),
        ("STATE", False),
        ("DONE", True),
        ("ATTEMPT", True),
        ("TIME", True),
        ("LAST ITEM", False),
    ):
        nodes.add_column(head, justify="right" if right else "left", no_wrap=True)
    for line in board.nodes.values():
        state = line.state(board.status)
        attempt = str(line.attempt) if line.attempts or line.planned else ""
        nodes.add_row(
            line.id, Text(state, STYLES.get(state, "")), line.progress, attempt, _time(line, _end(board, now)),
            Text(short(line.item, 60) if line.has_item else "", "dim"),
        )  # fmt: skip
    below = [
        Text(f"{clock_time(event.at)}  {event.type}  {event.address}  {details(event)}", "dim") for event in recent
    ]
    return Group(heading, nodes, *below)


def _end(board: Board, now: float) -> float:
    return now if board.status in (Status.RUNNING, Status.CREATED) else board.seen_at


def _time(line: NodeLine, now: float) -> str:
    if not line.began_at:
        return ""
    return duration((now if line.planned else line.ended_at or now) - line.began_at)
