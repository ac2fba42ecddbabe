"""Which view a run is shown in."""

import sys

import pytest
from msgspec import Raw

from windlass.cli.live import Live
from windlass.cli.output import Out
from windlass.cli.view import Lines, nodes_of, open_view
from windlass.core.events import Event
from windlass.core.records import RunRecord

RECORD = RunRecord(id="r", definition="d", fingerprint="f", structure=Raw(b'{"nodes": {"b": {}, "a": {}}}'))


def test_nodes_stand_in_the_order_of_the_definition() -> None:
    assert nodes_of(RECORD) == ["b", "a"]


def test_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    shown = open_view(Out(as_json=False), RECORD)
    assert isinstance(shown, Lines)
    shown.show(Event(run="r", type="run.completed", seq=3))
    shown.tick()
    shown.close()
    assert "run.completed" in capsys.readouterr().out


def test_a_terminal_gets_the_live_view(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    shown = open_view(Out(as_json=False), RECORD)
    shown.close()
    assert isinstance(shown, Live)
    assert isinstance(open_view(Out(as_json=True), RECORD), Lines)
