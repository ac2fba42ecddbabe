"""Questions: listed and answered, from any process."""

from tests.cli.conftest import Windlass


def ask(windlass: Windlass, definition: str, *words: str) -> str:
    done = windlass("run", f"flows.py:{definition}", "--id", "q", "--json", *words)
    assert done.code == 3
    found: str = done.object["questions"][0]["id"]
    return found


def test_list(windlass: Windlass) -> None:
    id_ = ask(windlass, "asking", "--input", "books")
    (listed,) = windlass("inbox", "list", "--json").objects
    assert (listed["id"], listed["run"], listed["address"]) == (id_, "q", "approve#1")
    assert (listed["prompt"], listed["schema"]) == ("Ship 'about books'?", {"type": "boolean"})
    assert windlass("inbox", "list", "--run", "q").out.splitlines()[1].startswith(id_)
    assert windlass("inbox", "list", "--run", "other").code == 2


def test_answer_and_resume(windlass: Windlass) -> None:
    id_ = ask(windlass, "asking", "--input", "books")
    done = windlass("inbox", "answer", id_, "true", "--by", "ann")
    assert done.code == 0
    assert done.out == "answered; q goes on with a worker, or with\n  windlass runs resume q\n"
    assert windlass("inbox", "list", "--json").out == ""
    resumed = windlass("runs", "resume", "q", "--json")
    assert resumed.code == 0
    assert resumed.object["output"] is True
    (answered,) = windlass("runs", "events", "q", "--type", "question.answered", "--json").objects
    assert answered["data"]["by"] == "ann"


def test_answer_and_go_on_here(windlass: Windlass) -> None:
    id_ = ask(windlass, "judging", "--input", "books")
    done = windlass("inbox", "answer", id_, '{"ship": true, "why": "good"}', "flows.py:judging", "--json")
    assert done.code == 0
    assert done.object["output"] == {"ship": True, "why": "good"}


def test_text_stays_text(windlass: Windlass) -> None:
    id_ = ask(windlass, "naming")
    assert windlass("inbox", "answer", id_, "5", "flows.py:naming", "--json").object["output"] == "5"


def test_an_answer_that_does_not_fit_is_2_and_the_question_stays(windlass: Windlass) -> None:
    id_ = ask(windlass, "asking", "--input", "books")
    done = windlass("inbox", "answer", id_, "maybe", "--json")
    assert done.code == 2
    assert done.object["error"] == "value.input"
    assert len(windlass("inbox", "list", "--json").objects) == 1


def test_the_first_answer_wins(windlass: Windlass) -> None:
    id_ = ask(windlass, "asking", "--input", "books")
    windlass("inbox", "answer", id_, "true")
    assert windlass("inbox", "answer", id_, "true").code == 0  # the same again is no conflict
    done = windlass("inbox", "answer", id_, "false", "--json")
    assert done.code == 2
    assert done.object["error"] == "question.closed"


def test_no_such_question(windlass: Windlass) -> None:
    ask(windlass, "asking", "--input", "books")
    done = windlass("inbox", "answer", "none", "true", "--json")
    assert done.code == 2
    assert done.object["error"] == "question.unknown"
