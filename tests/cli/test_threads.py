"""Threads on the command line."""

from tests.cli.conftest import Windlass


def say(windlass: Windlass, message: str, *words: str) -> int:
    given = f'{{"messages": ["{message}"]}}'
    return windlass("run", "flows.py:chatting", "--input", given, "--thread", "t", *words).code


def test_turns_are_run_listed_and_shown(windlass: Windlass) -> None:
    assert say(windlass, "a", "--id", "one") == 0
    assert say(windlass, "b?", "--id", "two") == 3
    queued = windlass(
        "run", "flows.py:chatting", "--input", '{"messages": ["c"]}', "--thread", "t", "--id", "three"
    )  # fmt: skip
    assert queued.code == 3
    assert "three is turn 3 of thread t, and begins once run two has ended, which is waiting" in queued.out + queued.err
    assert "windlass inbox answer" in queued.out + queued.err
    rows = [line.split()[:4] for line in windlass("threads", "show", "t").out.splitlines()]
    assert rows == [
        ["TURN", "RUN", "DEFINITION", "STATE"], ["1", "one", "chatting", "completed"],
        ["2", "two", "chatting", "waiting"], ["3", "three", "chatting", "queued"],
    ]  # fmt: skip
    shown = windlass("threads", "show", "t", "--json", "--limit", "1").object
    assert (shown["run"], shown["thread"], shown["turn"], shown["status"]) == ("three", "t", 3, "created")
    assert len(shown["input"]) == 64
    assert windlass("threads", "list", "--json").object["run"] == "three"
    assert windlass("threads", "list", "--after", "nosuch").code == 2
    assert windlass("threads", "list", "--limit", "0").code == 2
    listed = windlass("threads", "list").out.splitlines()
    assert [line.split()[:6] for line in listed][1] == ["t", "chatting", "default", "3", "three", "queued"]
    assert [one["run"] for one in windlass("runs", "list", "--thread", "t", "--json").objects] == [
        "three",
        "two",
        "one",
    ]
    assert "thread      t, turn 3" in windlass("runs", "show", "three").out


def test_a_turn_behind_one_that_is_paused_says_what_that_goes_on_with(windlass: Windlass) -> None:
    assert say(windlass, "b?", "--id", "two") == 3
    assert say(windlass, "c", "--id", "three") == 3
    windlass("runs", "pause", "two")
    shown = windlass("runs", "show", "three").out
    assert "has ended, which is paused\n  it goes on with\n    windlass runs resume two\n" in shown
    assert "windlass inbox answer" in shown


def test_a_queued_turn_goes_on_after_the_answer(windlass: Windlass) -> None:
    assert say(windlass, "b?", "--id", "two") == 3
    assert say(windlass, "c", "--id", "three") == 3
    (asked,) = windlass("inbox", "list", "--json").objects
    answered = windlass("inbox", "answer", asked["id"], "fine", "flows.py:chatting", "--json")
    assert (answered.code, answered.objects[-1]["next"]) == (0, "three")
    assert "three, turn 2, can begin: with a worker, or with\n  windlass runs resume three" in answered.err
    done = windlass("runs", "resume", "three", "flows.py:chatting", "--json")
    assert done.code == 0
    assert done.object["output"]["messages"] == ["b?", "fine", "c", "yes"]
    assert done.object["next"] is None


def test_a_busy_thread_refuses_where_it_is_told_to(windlass: Windlass) -> None:
    assert say(windlass, "b?", "--id", "two") == 3
    refused = windlass("run", "flows.py:chatting", "--thread", "t", "--on-busy", "reject", "--json")
    assert (refused.code, refused.object["error"]) == (2, "thread.busy")
    assert say(windlass, "c", "--on-busy", "interrupt") == 0
    assert windlass("runs", "show", "two", "--json").object["status"] == "cancelled"


def test_a_run_that_goes_on_as_a_new_one_is_followed(windlass: Windlass) -> None:
    done = windlass("run", "flows.py:chatting", "--input", '{"messages": ["anew"]}', "--id", "long", "--json")
    assert done.code == 0
    assert done.object["output"]["messages"] == ["anew", "and on", "yes"]
    assert done.object["run"] != "long"
    rows = [line.split()[:2] for line in windlass("threads", "show", "long").out.splitlines()]
    assert rows[1:] == [["1.1", done.object["run"]]]
    again = windlass("run", "flows.py:chatting", "--input", '{"messages": ["anew"]}', "--id", "long", "--json")
    assert (again.code, again.object["output"]) == (0, done.object["output"])
    assert windlass("runs", "show", "long", "--json").objects[-1]["continued"] == done.object["run"]
    assert f"long completed, and went on as {done.object['run']}" in windlass("runs", "show", "long").out


def test_a_thread_that_is_not_there_is_2(windlass: Windlass) -> None:
    say(windlass, "a")
    gone = windlass("threads", "show", "nothing", "--json")
    assert (gone.code, gone.object["error"]) == (2, "thread.unknown")
    assert windlass("threads", "list", "--definition", "other").out == "no threads\n"
