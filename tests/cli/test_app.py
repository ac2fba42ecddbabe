"""Errors: a line, a hint, a code; with --json an object; never a traceback for one of ours."""

import pytest

from tests.cli.conftest import Windlass
from windlass.cli import app
from windlass.core import errors
from windlass.core.errors import WindlassError

USAGE = [
    ["nope"],
    ["runs", "nope"],
    ["runs", "show"],
    ["runs", "list", "--nope"],
    ["runs", "list", "--status", "tired"],
    ["run", "flows.py:steady", "--durability", "never"],
]


@pytest.mark.parametrize("words", USAGE, ids=" ".join)
def test_a_wrong_command_line_is_2(windlass: Windlass, words: list[str]) -> None:
    done = windlass(*words)
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert "code: usage" in done.err
    assert done.out == ""


def test_an_error_as_json(windlass: Windlass) -> None:
    done = windlass("runs", "nope", "--json")
    assert done.code == 2
    assert done.object["error"] == "usage"
    assert "nope" in done.object["message"]
    assert done.object["hint"] == "windlass runs --help"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.DefinitionError("definition.x", "x"), 4),
        (errors.DefinitionUnknown("x"), 4),
        (errors.DefinitionChanged("x"), 4),
        (errors.StoreCorrupt("x"), 5),
        (errors.StaleLease("x"), 5),
        (errors.RunFailed("x"), 1),
        (errors.RunUnknown("x"), 2),
        (errors.RunOwned("x"), 2),
        (errors.InputError("x", "y"), 2),
    ],
)
def test_the_exit_code_of_an_error(
    windlass: Windlass, monkeypatch: pytest.MonkeyPatch, error: WindlassError, code: int
) -> None:
    def build() -> object:
        raise error

    monkeypatch.setattr(app, "build", build)
    done = windlass("runs", "list", "--json")
    assert done.code == code
    assert done.object == {"error": error.code, "message": str(error.args[0]), "hint": error.hint}


def test_an_unknown_exception_shows_its_traceback(windlass: Windlass, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "build", lambda: 1 / 0)
    done = windlass("runs", "list")
    assert done.code == 1
    assert "ZeroDivisionError" in done.err


def test_an_interrupt_before_a_run_goes_on(windlass: Windlass, monkeypatch: pytest.MonkeyPatch) -> None:
    def build() -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "build", build)
    assert windlass("runs", "list").code == 130


def test_a_store_that_is_not_there_is_not_made(windlass: Windlass) -> None:
    done = windlass("runs", "list", "--store", "sqlite:///none.db")
    assert done.code == 5
    assert "there is no store at sqlite:///none.db" in done.err
    assert windlass("runs", "list").code == 5


def test_a_url_that_names_no_store(windlass: Windlass) -> None:
    done = windlass("runs", "list", "--store", "mongo://x", "--json")
    assert done.code == 5
    assert done.object["error"] == "store.unknown"


def test_a_file_that_is_no_store(windlass: Windlass) -> None:
    with open("x.db", "w") as file:  # noqa: PTH123 -- a plain file
        file.write("no database, only words " * 100)
    done = windlass("runs", "list", "--store", "sqlite:///x.db", "--json")
    assert done.code == 5
    assert done.object["error"] == "store.corrupt"
