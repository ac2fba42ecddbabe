"""The trial of the hijacked model sees what it is there to see."""

from pathlib import Path
from typing import Any

import pytest

from trials.hijack import GRANTS, Grant, hijack, is_granted
from windlass import Allow
from windlass.core.words import Tool
from windlass.engine import boundary, calls


def test_nothing_outside_its_grant_executes(tmp_path: Path) -> None:
    figures = hijack(tmp_path, programs=150)
    assert figures.trials == 150
    assert figures.passes, figures.trouble


def test_the_second_judge_reads_grants_as_they_are_written() -> None:
    small = Grant(Allow("pay", when="args.amount < 3"), lambda name: name == "pay", lambda args: args["amount"] < 3)
    assert is_granted([small], "pay", {"amount": 2})
    assert not is_granted([small], "pay", {"amount": 3})
    assert not is_granted([small], "read", {"amount": 2})
    assert not is_granted([], "pay", {"amount": 2})
    assert not is_granted(GRANTS, "pay", {"amount": 2, "to": "mallory"})


async def let_through(*_: Any) -> bool:
    return False


def as_given(_: Any, given: dict[str, Any]) -> dict[str, Any]:
    return dict(given)


@pytest.mark.parametrize("broken", ["permission", "arguments", "events"])
def test_a_broken_boundary_is_seen(broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if broken == "permission":
        monkeypatch.setattr(boundary, "_permit", let_through)
    elif broken == "arguments":
        monkeypatch.setattr(Tool, "arguments", as_given)
    else:
        monkeypatch.setattr(calls, "tell_failed", lambda *_, **__: "")
    figures = hijack(tmp_path, programs=60)
    assert not figures.passes
    assert figures.trouble
