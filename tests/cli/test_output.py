"""Values and times as text."""

import io
import math
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import Raw

from windlass.cli.output import Out, clock_time, cut, duration, iso, plain, short, spell, table, write_line
from windlass.core.codec import Unknown


@dataclass
class Point:
    """A value of the user's."""

    x: int
    tags: set[str]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Point(1, {"a"}), {"x": 1, "tags": ["a"]}),
        ({(1, 2): math.inf}, {"[1, 2]": "inf"}),
        (Unknown("Point", {"x": 1}), {"type": "Point", "x": 1}),
        (Unknown("Kilo", 3), {"type": "Kilo", "value": 3}),
        (Raw(b'{"a": 1}'), {"a": 1}),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00Z"),
        (10**30, 10**30),
        (object, "<class 'object'>"),
    ],
    ids=repr,
)
def test_any_value_can_be_shown(value: Any, shown: Any) -> None:
    assert plain(value) == shown


def test_a_line_is_cut() -> None:
    assert cut("a\nb  c") == "a b c"
    assert short("x" * 100, 10) == '"xxxxxxxx…'


def test_a_lone_surrogate_reaches_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    write_line(stream, spell("\ud800é"))
    stream.seek(0)
    assert stream.read() == '"\\ud800é"\n'


def test_a_terminal_without_these_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    write_line(stream, "…")
    stream.seek(0)
    assert stream.read() == "\\u2026\n"


def test_json_keeps_prose_off_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    out = Out(as_json=True)
    out.line("prose")
    out.end("an end")
    out.give({"a": 1})
    assert capsys.readouterr() == ('{"a": 1}\n', "an end\n")


def test_columns() -> None:
    assert table(("A", "B"), [("x", "1"), ("long", "2")]) == ["A     B", "x     1", "long  2"]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.04, "0.0 s"), (9.96, "10.0 s"), (59, "59 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (90000, "1 d 1 h")],
)
def test_lengths_of_time(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_moments() -> None:
    assert iso(0.5) == "1970-01-01T00:00:00.500Z"
    assert clock_time(time.time()).count(":") == 2
    assert "-" in clock_time(0.0)
    assert sys.stdout is not None
