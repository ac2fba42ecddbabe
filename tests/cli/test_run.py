"""`windlass run`: every exit code, and going on by id."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Windlass
from windlass.core.errors import StoreUnavailable
from windlass.stores.sqlite import SQLiteStore


def test_a_run_that_completes_is_0(windlass: Windlass) -> None:
    done = windlass("run", "flows.py:steady", "--input", "4", "--id", "s")
    assert done.code == 0
    assert done.err == "store sqlite:///.windlass/windlass.db\nrun   s\n"
    lines = done.out.splitlines()
    assert "run.created" in lines[0]
    assert lines[-2:] == ["s completed", "12"]


def test_json_gives_an_object_a_line_and_the_result_last(windlass: Windlass) -> None:
    done = windlass("run", "flows.py:steady", "--input", "2", "--id", "s", "--json")
    assert [one["type"] for one in done.objects][:2] == ["run.created", "step.committed"]
    seqs = [one["seq"] for one in done.objects[:-1] if one["seq"]]
    assert seqs == list(range(1, len(seqs) + 1))
    assert done.object["type"] == "result"
    assert (done.object["run"], done.object["status"], done.object["output"]) == ("s", "completed", 2)
    assert "run   s" in done.err


def test_the_same_id_attaches_and_another_input_is_refused(windlass: Windlass) -> None:
    windlass("run", "flows.py:steady", "--input", "4", "--id", "s")
    again = windlass("run", "flows.py:steady", "--input", "4", "--id", "s")
    assert again.code == 0
    assert again.out.splitlines() == ["s completed", "12"]
    other = windlass("run", "flows.py:steady", "--input", "5", "--id", "s", "--json")
    assert other.code == 2
    assert other.object["error"] == "run.exists"


def test_an_id_is_made_up(windlass: Windlass) -> None:
    done = windlass("run", "flows.py:steady", "--input", "1", "--json")
    assert done.object["run"].startswith("steady-")


def test_input_from_a_file(windlass: Windlass, folder: Path) -> None:
    (folder / "in.json").write_text('{"count": 1}')
    done = windlass("run", "flows.py:looping", "--input", "@in.json", "--json")
    assert done.object["output"] == {"count": 3, "seen": [1, 2]}


def test_a_wrong_input_is_2_and_nothing_is_written(windlass: Windlass) -> None:
    done = windlass("run", "flows.py:steady", "--input", "many", "--id", "s", "--json")
    assert done.code == 2
    assert done.object["error"] == "value.input"
    graph = windlass("run", "flows.py:looping", "--input", "5")
    assert graph.code == 2
    assert "error: input: expected a dict of channels, got `int`\nhint: looping has count, seen\n" in graph.err
    assert windlass("runs", "list", "--json").out == ""


def test_a_run_that_fails_is_1_and_says_all(windlass: Windlass, folder: Path) -> None:
    done = windlass("run", "flows.py:failing", "--input", "books", "--id", "f")
    assert done.code == 1
    said = done.out[done.out.index("f failed") :].splitlines()
    work, check = f"{folder}/flows.py:", " in check_mended"
    assert said[0] == "f failed at work#1, attempt 2 of 2"
    assert said[1] == '  draft = "about books"'
    assert said[2] == "  ValueError: not mended"
    assert said[3].strip().startswith(work)
    assert said[3].endswith(" in work")
    assert said[4].endswith(check)
    assert said[5] == "  caused by KeyError: 'about books'"
    assert said[6].endswith(check)
    assert said[7] == "  last checkpoint: 2"
    assert said[8] == "mended, it goes on with:  windlass runs resume f"
    assert said[9] == "to begin anew from there:  windlass runs fork f flows.py:failing --from work"


def test_a_failure_as_json(windlass: Windlass) -> None:
    failure = windlass("run", "flows.py:failing", "--input", "books", "--id", "f", "--json").object["failure"]
    assert (failure["address"], failure["attempt"], failure["of"], failure["checkpoint"]) == ("work#1", 2, 2, 2)
    assert failure["input"] == {"draft": "about books"}
    assert failure["failure"]["kind"] == "ValueError"
    assert failure["failure"]["cause"]["kind"] == "KeyError"


def test_a_run_that_asks_is_3_and_says_how_to_answer(windlass: Windlass) -> None:
    done = windlass("run", "flows.py:asking", "--input", "books", "--id", "q")
    assert done.code == 3
    said = done.out.splitlines()[-3:]
    assert said[0] == "q waits"
    assert said[1] == "  for an answer (approve#1): Ship 'about books'?"
    assert said[2].startswith("    windlass inbox answer ")
    assert said[2].endswith(" true flows.py:asking")


def test_a_run_that_sleeps_is_3_and_says_until_when(windlass: Windlass) -> None:
    done = windlass("run", "flows.py:napping", "--input", "3600", "--id", "n")
    assert done.code == 3
    said = done.out.splitlines()[-4:]
    assert said[0] == "n waits"
    assert "in 1 h 0 min" in said[1] or "in 59 min" in said[1]
    assert said[2:] == ["    windlass runs resume n", "    windlass worker flows.py:napping"]


def test_wait_stays_until_it_is_due(windlass: Windlass) -> None:
    done = windlass("run", "flows.py:napping", "--input", "1.2", "--wait", "--json")
    assert done.code == 0
    assert [one["type"] for one in done.objects if one["type"].startswith("run.")] == [
        "run.created", "run.parked", "run.completed",
    ]  # fmt: skip


def test_a_definition_that_is_not_there_is_4(windlass: Windlass) -> None:
    done = windlass("run", "flows.py:none", "--json")
    assert done.code == 4
    assert done.object["error"] == "definition.attribute"


def test_the_store_that_was_named(windlass: Windlass, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINDLASS_STORE", "sqlite:///env.db")
    windlass("run", "flows.py:asking", "--input", "x", "--id", "a")
    done = windlass("run", "flows.py:asking", "--input", "x", "--id", "b", "--store", "sqlite:///named.db")
    assert (folder / "env.db").exists()
    assert (folder / "named.db").exists()
    assert not (folder / ".windlass").exists()
    assert done.out.rstrip().endswith("true flows.py:asking --store sqlite:///named.db")


def test_tags_and_durability(windlass: Windlass) -> None:
    words = ["run", "flows.py:steady", "--input", "1", "--id", "s", "--tag", "team=7", "--tag", "who=me"]
    windlass(*words, "--durability", "exit")
    (listed,) = windlass("runs", "list", "--json").objects
    assert listed["tags"] == {"team": "7", "who": "me"}
    assert json.dumps(listed)


def test_a_disk_that_fails_in_the_middle_is_5(windlass: Windlass, monkeypatch: pytest.MonkeyPatch) -> None:
    commit, left = SQLiteStore.commit, 2

    async def full(*given: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise StoreUnavailable("the disk is full")
        await commit(*given)

    with monkeypatch.context() as broken:
        broken.setattr(SQLiteStore, "commit", full)
        done = windlass("run", "flows.py:looping", "--input", '{"count": 0}', "--id", "l", "--json")
    assert done.code == 5
    assert done.object == {
        "error": "store.unavailable", "message": "the disk is full", "hint": StoreUnavailable.default_hint,
    }  # fmt: skip
    assert windlass("runs", "resume", "l", "--json").object["output"] == {"count": 3, "seen": [0, 1, 2]}


def test_a_run_stops_at_nodes_that_are_named_with_it(windlass: Windlass) -> None:
    stopped = windlass("run", "flows.py:steady", "--input", "2", "--id", "s", "--before", "total", "--after", "numbers")
    assert stopped.code == 3
    assert "numbers#1 has written what is shown" in stopped.out
    for node in ("numbers", "total"):
        (asked,) = windlass("inbox", "list", "--json").objects
        assert asked["about"]["node"] == node
        windlass("inbox", "answer", asked["id"], "approve", "flows.py:steady")
    assert windlass("runs", "show", "s", "--json").object["status"] == "completed"
    refused = windlass("run", "flows.py:steady", "--input", "2", "--before", "nobody", "--json")
    assert (refused.code, refused.object["error"]) == (2, "value.input")
