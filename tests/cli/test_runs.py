"""Looking at runs."""

from pathlib import Path

import pytest

from tests.cli.conftest import Windlass


@pytest.fixture
def some_runs(windlass: Windlass) -> None:
    windlass("run", "flows.py:looping", "--input", '{"count": 0}', "--id", "l", "--tag", "team=7")
    windlass("run", "flows.py:asking", "--input", "books", "--id", "q")
    windlass("run", "flows.py:failing", "--input", "books", "--id", "f")


@pytest.mark.usefixtures("some_runs")
def test_list(windlass: Windlass) -> None:
    assert [one["run"] for one in windlass("runs", "list", "--json").objects] == ["f", "q", "l"]
    table = windlass("runs", "list").out.splitlines()
    assert table[0].split() == ["RUN", "DEFINITION", "STATE", "CHECKPOINT", "AGE", "TAGS"]
    assert [line.split()[:4] for line in table[1:]] == [
        ["f", "failing", "failed", "2"], ["q", "asking", "waiting", "2"], ["l", "looping", "completed", "4"],
    ]  # fmt: skip


@pytest.mark.usefixtures("some_runs")
@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--status", "failed", "--status", "waiting"], ["f", "q"]),
        (["--definition", "looping"], ["l"]),
        (["--tag", "team=7"], ["l"]),
        (["--tag", "team=8"], []),
        (["--limit", "1"], ["f"]),
        (["--after", "f"], ["q", "l"]),
    ],
)
def test_list_some(windlass: Windlass, words: list[str], found: list[str]) -> None:
    assert [one["run"] for one in windlass("runs", "list", "--json", *words).objects] == found


@pytest.mark.usefixtures("some_runs")
@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--after", "nosuch"], "run.unknown"),
        (["--parent", "nosuch"], "run.unknown"),
        (["--limit", "-1"], "usage"),
    ],
)
def test_a_list_of_what_cannot_be_is_refused(windlass: Windlass, words: list[str], error: str) -> None:
    done = windlass("runs", "list", "--json", *words)
    assert (done.code, done.object["error"]) == (2, error)


def test_list_none(windlass: Windlass) -> None:
    windlass("run", "flows.py:steady", "--input", "1")
    assert windlass("runs", "list", "--status", "failed").out == "no runs\n"


@pytest.mark.usefixtures("some_runs")
def test_show_a_run_that_is_done(windlass: Windlass) -> None:
    done = windlass("runs", "show", "l")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == "run         l"
    assert lines[1].endswith("flows.py:looping")
    assert lines[2:4] == ["state       completed", "checkpoint  4"]
    assert lines[5:7] == ["NODE  STATE  DONE  ATTEMPT", "grow  done   3/3   1"]
    assert lines[-1] == '{"count": 3, "seen": [0, 1, 2]}'


@pytest.mark.usefixtures("some_runs")
def test_show_a_run_that_failed(windlass: Windlass) -> None:
    said = windlass("runs", "show", "f").out
    assert "f failed at work#1, attempt 2\n" in said
    assert "caused by KeyError: 'about books'" in said
    assert "windlass runs resume f" in said
    assert "attempt 2 of 2" in windlass("runs", "show", "f", "flows.py:failing").out
    shown = windlass("runs", "show", "f", "--json").object
    assert (shown["type"], shown["status"], shown["failure"]["address"]) == ("run", "failed", "work#1")
    assert shown["nodes"][1] == {
        "node": "work", "state": "failed", "done": 0, "left": 0, "failed": 1, "attempt": 2,
    }  # fmt: skip


SHOP = """
from windlass import Ceilings, Limit, Pipeline, Platform, Retry, task


@task(retry=Retry.fixed(0, on=KeyError, max_attempts=5), limits=["till"])
async def buy(item: str) -> int:
    raise KeyError(item)


shop = Pipeline("shop", [buy])
platform = Platform(limits=[Limit("till", concurrency=2)], ceilings=Ceilings(attempts=3))
"""


def test_how_many_attempts_there_may_be_is_known_with_the_platform(windlass: Windlass, folder: Path) -> None:
    (folder / "shop.py").write_text(SHOP)
    run = windlass("run", "shop.py:shop", "--input", "tea", "--id", "s", "--platform", "shop.py:platform")
    assert "s failed at buy#1, attempt 3 of 3\n" in run.out
    assert "attempt 3 of 5" in windlass("runs", "show", "s", "shop.py:shop").out


@pytest.mark.usefixtures("some_runs")
def test_show_a_run_that_waits(windlass: Windlass) -> None:
    shown = windlass("runs", "show", "q", "--json").object
    assert shown["nodes"][1]["state"] == "asking"
    (question,) = shown["questions"]
    assert question["schema"] == {"type": "boolean"}
    windlass("inbox", "answer", question["id"], "true")
    assert windlass("runs", "show", "q", "--json").object["posted"] == ["answer"]
    assert "answer to take; it goes on with a worker, or with" in windlass("runs", "show", "q").out


@pytest.mark.usefixtures("some_runs")
def test_history(windlass: Windlass) -> None:
    points = windlass("runs", "show", "l", "--history", "--json").objects
    assert [point["n"] for point in points] == [1, 2, 3, 4]
    assert points[1]["finished"] == ["grow#1"]
    assert points[1]["planned"] == ["grow#2"]
    assert windlass("runs", "show", "l", "--history").out.splitlines()[0].startswith("CHECKPOINT  BRANCH  AT")


@pytest.mark.parametrize("verb", ["show", "watch", "events", "replay", "pause", "cancel", "resume"])
def test_a_run_that_is_not_there_is_2(windlass: Windlass, verb: str) -> None:
    windlass("run", "flows.py:steady", "--input", "1")
    done = windlass("runs", verb, "none", "--json")
    assert done.code == 2
    assert done.object["error"] == "run.unknown"


@pytest.mark.usefixtures("some_runs")
@pytest.mark.parametrize(("run", "code"), [("l", 0), ("f", 1), ("q", 3)])
def test_watch_ends_as_the_run_stands(windlass: Windlass, run: str, code: int) -> None:
    assert windlass("runs", "watch", run).code == code


@pytest.mark.usefixtures("some_runs")
def test_events(windlass: Windlass) -> None:
    told = windlass("runs", "events", "l", "--json").objects
    assert [one["seq"] for one in told] == list(range(1, 10))
    assert [one["type"] for one in windlass("runs", "events", "l", "--type", "run", "--json").objects] == [
        "run.created", "run.completed",
    ]  # fmt: skip
    assert [one["seq"] for one in windlass("runs", "events", "l", "--after", "7", "--json").objects] == [8, 9]
    assert windlass("runs", "events", "l", "--follow", "--json").objects == told
    assert windlass("runs", "events", "l").out.splitlines()[-1].split()[0] == "9"


@pytest.mark.usefixtures("some_runs")
def test_diff(windlass: Windlass) -> None:
    assert windlass("runs", "diff", "l", "2", "grow#3", "--json").object == {
        "count": {"a": 1, "b": 2}, "seen": {"a": [0], "b": [0, 1]},
    }  # fmt: skip
    assert windlass("runs", "diff", "l", "2", "3").out.splitlines()[:3] == ["count", "  - 1", "  + 2"]
    assert windlass("runs", "diff", "l", "2", "2").out == "no channel differs\n"
    missing = windlass("runs", "diff", "l", "2", "99", "--json")
    assert missing.code == 2
    assert missing.object["error"] == "run.checkpoint_unknown"


@pytest.mark.usefixtures("some_runs")
def test_replay(windlass: Windlass) -> None:
    assert windlass("runs", "replay", "l").out.splitlines()[0] == "4 checkpoints, all the same"
    done = windlass("runs", "replay", "l", "flows.py:looping", "--json")
    assert (done.code, done.object["checkpoints"], done.object["differing"]) == (0, 4, [])


def test_values_of_the_users_types_read_without_the_definition(windlass: Windlass, folder: Path) -> None:
    (folder / "typed.py").write_text(
        "from dataclasses import dataclass\nfrom windlass import Pipeline, task\n"
        "@dataclass(frozen=True)\nclass Found:\n    name: str\n    lines: int\n"
        "@task\nasync def look() -> Found: return Found('a.py', 3)\n"
        "p = Pipeline('typed', tasks=[look])\n"
    )
    windlass("run", "typed.py:p", "--id", "t")
    assert windlass("runs", "show", "t", "--json").object["output"] == {"type": "Found", "name": "a.py", "lines": 3}


def test_children_are_listed_shown_and_watched(windlass: Windlass) -> None:
    windlass("run", "flows.py:delegating", "--input", "books", "--id", "d")
    (child,) = windlass("runs", "list", "--parent", "d", "--json").objects
    assert child["definition"] == "asking"
    assert child["origin"] == {"run": "d", "address": "delegate#1", "path": "delegate#1/editor", "detached": False}
    shown = windlass("runs", "show", "d").out
    assert f"{child['run']}  asking" in shown
    (told,) = windlass("runs", "show", "d", "--json").objects
    assert [one["run"] for one in told["children"]] == [child["run"]]
    assert "child       of d at delegate#1" in windlass("runs", "show", child["run"]).out
    watched = windlass("runs", "watch", "d", "--children")
    assert "delegate#1/editor  " in watched.out
    assert watched.code == 3
    paths = {one.get("path", "") for one in windlass("runs", "watch", "d", "--children", "--json").objects}
    assert paths == {"", "delegate#1/editor"}


def test_a_question_of_a_child_is_answered_through_the_inbox(windlass: Windlass) -> None:
    done = windlass("run", "flows.py:delegating", "--input", "books", "--id", "d")
    assert done.code == 3
    assert "Ship 'about books'?" in done.out
    (question,) = windlass("inbox", "list", "--json").objects
    assert windlass("inbox", "answer", question["id"], "true", "flows.py:delegating").code == 0
    assert windlass("runs", "resume", "d", "flows.py:delegating").code in (0, 2)
    assert windlass("runs", "show", "d", "--json").objects[0]["status"] == "completed"


def test_cancel_from_the_command_line_reaches_parked_children(windlass: Windlass) -> None:
    windlass("run", "flows.py:delegating", "--input", "books", "--id", "d")
    (child,) = windlass("runs", "list", "--parent", "d", "--json").objects
    assert windlass("runs", "cancel", "d").code == 0
    assert windlass("runs", "show", child["run"], "--json").objects[0]["status"] == "cancelled"
