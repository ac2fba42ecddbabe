"""The front pages, and what happens before a command is found."""

import sys
from importlib import util

import pytest

from tests.cli.conftest import Windlass
from windlass.cli.app import build
from windlass.cli.table import COMMANDS, GROUPS


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_the_front_page_lists_every_command(windlass: Windlass, words: list[str]) -> None:
    done = windlass(*words)
    assert done.code == 0
    assert [command.words for command in COMMANDS if f"  {command.words} " not in done.out] == []


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_has_its_page(windlass: Windlass, group: str) -> None:
    done = windlass(group)
    assert done.out == windlass(group, "--help").out
    assert done.out.startswith(f"Usage: windlass {group} COMMAND")
    assert done.code == 0


def test_the_front_page_needs_no_library(windlass: Windlass, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "windlass.cli.app", None)
    assert windlass("--help").code == 0


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.words)
def test_every_command_explains_itself(windlass: Windlass, command: object) -> None:
    done = windlass(*command.words.split(), "--help")  # type: ignore[attr-defined]
    assert done.code == 0
    assert "--store" in done.out
    assert "--json" in done.out


def test_every_command_is_registered() -> None:
    assert set(GROUPS) <= set(build())


def test_the_version(windlass: Windlass, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", {"windlass": "1.2.3"}.__getitem__)
    assert windlass("--version").out == "windlass 1.2.3\n"


def test_a_missing_extra_is_one_line(windlass: Windlass, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("windlass.cli.find_spec", lambda name: None if name == "cyclopts" else util.find_spec(name))
    done = windlass("runs", "list")
    assert done.code == 2
    assert done.err == "error: the command line needs cyclopts: pip install 'windlass[cli]'\n"


def test_windows_is_sent_to_wsl(windlass: Windlass, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert windlass("--help").code == 0
    done = windlass("runs", "list")
    assert done.code == 2
    assert "use WSL" in done.err
