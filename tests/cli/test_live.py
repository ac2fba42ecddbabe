"""The live view of a run on a terminal."""

from typing import Any

from msgspec import Raw
from rich.console import Console

from windlass.cli.board import Board
from windlass.cli.live import Live
from windlass.cli.view import nodes_of
from windlass.core.events import Event
from windlass.core.records import RunRecord

RECORD = RunRecord(id="r", definition="d", fingerprint="f", structure=Raw(b'{"nodes": {"b": {}, "a": {}}}'))


def event(kind: str, address: str = "", **data: Any) -> Event:
    return Event(run="r", type=kind, address=address, seq=3, at=1.5, data=data)


def test_the_live_view_draws_nodes_with_state_attempt_time_and_last_item() -> None:
    console = Console(record=True, width=100, force_terminal=True, color_system=None)
    shown = Live(RECORD, Board(nodes_of(RECORD)), console)
    shown.show(event("run.created", definition="d", fingerprint="f"))
    shown.show(event("step.committed", n=1, branch=0, finished=[], planned=["a#1[0]", "a#1[1]"]))
    shown.show(event("activation.completed", "a#1[0]", attempt=1, writes={}))
    shown.show(event("item", "a#1[1]", value={"page": 7}))
    shown.show(event("attempt.retrying", "a#1[1]", attempt=2, due_at=9.0))
    shown.tick()
    shown.close()
    shown.close()
    last = console.export_text().rpartition("NODE")[2]
    (line,) = [line.split() for line in last.splitlines() if line.startswith("a ")]
    assert line[:4] == ["a", "retrying", "1/2", "2"]
    assert line[-2:] == ['{"page":', "7}"]
    assert "attempt.retrying" in last
