"""Questions: listed and answered, from any process."""

import os
import pty
import subprocess
import sys
from pathlib import Path

from tests.cli.conftest import COMMAND, Windlass
from windlass.cli.steer import user


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
    assert done.object["error"] == "question.invalid"
    assert len(windlass("inbox", "list", "--json").objects) == 1


def test_an_answer_that_only_the_type_refuses_is_asked_for_anew_and_told_why(windlass: Windlass) -> None:
    id_ = ask(windlass, "splitting", "--input", "books")
    done = windlass("inbox", "answer", id_, '{"of": "much", "until": "soon"}')
    assert (done.code, 'of is "much", no decimal number' in done.err) == (2, True)
    done = windlass("inbox", "answer", id_, '{"of": "0.5", "until": "2025-12-31"}', "flows.py:splitting", "--json")
    (again,) = windlass("inbox", "list", "--json").objects
    why = "the last answer was refused: answer: the budget is for 2026"
    assert (done.code, again["id"] == id_, again["about"]) == (3, False, {"why": why})
    assert why in windlass("inbox", "show", again["id"]).out
    done = windlass(
        "inbox", "answer", again["id"], '{"of": "0.5", "until": "2026-12-31"}', "flows.py:splitting", "--json"
    )
    assert done.object["output"] == "0.5 until 2026-12-31"


def test_the_first_answer_wins(windlass: Windlass) -> None:
    id_ = ask(windlass, "asking", "--input", "books")
    windlass("inbox", "answer", id_, "true")
    again = windlass("inbox", "answer", id_, "true", "--by", "dora")  # the same again is no conflict
    assert (again.code, again.out.splitlines()[0].split("; ")[0]) == (0, f"answered before, by {user()}")
    again = windlass("inbox", "answer", id_, "true", "--by", "dora", "--json")
    assert (again.object["duplicate"], again.object["by"]) == (True, user())
    done = windlass("inbox", "answer", id_, "false", "--json")
    assert done.code == 2
    assert done.object["error"] == "question.closed"


def test_an_approver_sees_what_is_asked_and_what_differs(windlass: Windlass, folder: Path) -> None:
    first = ask(windlass, "refunding", "--input", "1")
    assert 'with {"amount":120}?' in windlass("inbox", "list").out
    (folder / "price").write_text("130")
    assert windlass("inbox", "answer", first, "allow", "flows.py:refunding", "--role", "cfo", "--by", "carl").code == 3
    again = windlass("inbox", "list", "--json").object
    assert again["prompt"].startswith("Asked again, as it differs in arguments: ")
    shown = windlass("inbox", "show", again["id"]).out
    assert f'again     it differs in arguments from question {first}, which showed\n  {{"amount":120}}\n' in shown
    closed = windlass("inbox", "show", first).out
    assert 'given     "allow", by carl, ' in closed
    assert "given" not in shown
    done = windlass("inbox", "answer", again["id"], "allow", "flows.py:refunding", "--role", "cfo", "--by", "dora")
    assert done.code == 0
    (effect,) = windlass("effects", "show", "q", "--json").objects
    assert (effect["approved_by"], effect["approval"]) == ("dora", again["id"])
    assert f"approved by   dora, question {again['id']}" in windlass("effects", "show", "q").out


def test_an_answer_that_comes_after_the_end_says_so(windlass: Windlass) -> None:
    id_ = ask(windlass, "asking", "--input", "books")
    assert windlass("inbox", "answer", id_, "true", "flows.py:asking", "--by", "carl").code == 0
    again = windlass("inbox", "answer", id_, "true", "--by", "dora")
    assert (again.code, again.out) == (0, "answered before, by carl; q is completed\n")


def test_an_answer_to_a_paused_run_says_what_it_goes_on_with(windlass: Windlass) -> None:
    id_ = ask(windlass, "asking", "--input", "books")
    windlass("runs", "pause", "q")
    done = windlass("inbox", "answer", id_, "true")
    assert done.out == "answered; q is paused, and goes on with\n  windlass runs resume q\n"
    assert windlass("runs", "resume", "q", "--json").object["output"] is True


def test_an_answer_below_a_paused_run_says_what_it_goes_on_with(windlass: Windlass) -> None:
    windlass("run", "flows.py:delegating", "--id", "d", "--input", "books")
    (one,) = windlass("inbox", "list", "--run", "d", "--json").objects
    windlass("runs", "pause", "d")
    done = windlass("inbox", "answer", one["id"], "true")
    assert done.out.splitlines() == [
        f"answered; {one['run']} is below d, which is paused, and goes on with", "  windlass runs resume d",
    ]  # fmt: skip
    assert windlass("runs", "resume", "d", "--json").object["output"] is True


def test_a_paused_child_is_told_beside_its_question(windlass: Windlass) -> None:
    windlass("run", "flows.py:delegating", "--id", "d", "--input", "books")
    (one,) = windlass("inbox", "list", "--run", "d", "--json").objects
    windlass("runs", "pause", one["run"])
    shown = windlass("runs", "show", "d").out
    assert f"{one['run']} is paused; it goes on with\n      windlass runs resume {one['run']}\n" in shown


def test_no_such_question(windlass: Windlass) -> None:
    ask(windlass, "asking", "--input", "books")
    done = windlass("inbox", "answer", "none", "true", "--json")
    assert done.code == 2
    assert done.object["error"] == "question.unknown"


def test_list_is_filtered(windlass: Windlass) -> None:
    ask(windlass, "asking", "--input", "books")
    done = windlass("run", "flows.py:paying", "--id", "p", "--input", "1", "--json")
    (priced,) = [question["id"] for question in done.object["questions"]]

    def listed(*words: str) -> list[str]:
        return [found["run"] for found in windlass("inbox", "list", "--json", *words).objects]

    assert listed() == ["q", "p"]
    assert listed("--to", "role:cfo") == ["p"]
    assert listed("--to", "anybody") == ["q"]
    assert listed("--definition", "asking") == ["q"]
    assert listed("--tenant", "other") == []
    assert listed("--due-within", "3h") == ["p"]
    assert listed("--due-within", "1h") == []
    assert listed("--older-than", "1h") == []
    assert listed("--limit", "1") == ["q"]
    (one,) = windlass("inbox", "list", "--run", "p", "--json").objects
    assert (one["id"], one["to"], one["otherwise"], one["definition"]) == (priced, "role:cfo", "reject", "paying")
    assert one["due_at"].endswith("Z")
    heads, row = windlass("inbox", "list", "--run", "p").out.splitlines()
    assert heads.split()[:4] == ["ID", "RUN", "FROM", "TO"]
    assert ("1 h 59 min" in row or "2 h 0 min" in row, "role:cfo" in row) == (True, True)


def test_list_names_no_one_that_cannot_be_asked(windlass: Windlass) -> None:
    ask(windlass, "asking", "--input", "books")
    done = windlass("inbox", "list", "--to", "cfo", "--json")
    assert (done.code, done.object["error"]) == (2, "value.input")
    assert windlass("inbox", "list", "--limit", "-1", "--json").object["error"] == "usage"


def test_questions_of_runs_below_are_listed_with_their_place(windlass: Windlass) -> None:
    shown = windlass("run", "flows.py:delegating", "--id", "d", "--input", "books")
    assert "for an answer (delegate#1/editor/approve#1): Ship 'about books'?" in shown.out
    (one,) = windlass("inbox", "list", "--run", "d", "--json").objects
    assert (one["root"], one["path"], one["address"]) == ("d", "delegate#1/editor", "approve#1")
    assert one["run"].startswith("d.")
    assert windlass("inbox", "list", "--run", one["run"], "--json").object["id"] == one["id"]
    for listed in (windlass("inbox", "list").out, windlass("inbox", "show", one["id"]).out):
        assert "delegate#1/editor/approve#1" in listed


def test_answering_a_child_with_the_definition_above_shows_both(windlass: Windlass) -> None:
    windlass("run", "flows.py:delegating", "--id", "d", "--input", "books")
    (one,) = windlass("inbox", "list", "--run", "d", "--json").objects
    done = windlass("inbox", "answer", one["id"], "true", "flows.py:delegating", "--json")
    child, parent = [found for found in done.objects if found["type"] == "result"]
    assert (child["run"], child["status"], child["output"]) == (one["run"], "completed", True)
    assert (done.code, parent["run"], parent["status"], parent["output"]) == (0, "d", "completed", True)


def test_what_is_printed_can_be_pasted(windlass: Windlass) -> None:
    said = windlass("run", "flows.py:paying", "--id", "p", "--input", "7").out
    (command,) = [line.split() for line in said.splitlines() if "inbox answer" in line]
    assert windlass(*command[1:]).code == 0


def test_show(windlass: Windlass) -> None:
    windlass("run", "flows.py:paying", "--id", "p", "--input", "7")
    id_ = windlass("inbox", "list", "--json").object["id"]
    shown = windlass("inbox", "show", id_).out
    assert "How much \\u202eis it?" in shown
    assert "\u202e" not in shown
    assert "it is rejected" in shown
    assert "input = 7" in shown
    found = windlass("inbox", "show", id_, "--json")
    assert "\u202e" not in found.out
    assert (found.object["prompt"], found.object["state"]) == ("How much \u202eis it?", {"input": 7})
    assert windlass("inbox", "show", "none").code == 2


def test_who_may_answer(windlass: Windlass) -> None:
    windlass("run", "flows.py:paying", "--id", "p", "--input", "7")
    id_ = windlass("inbox", "list", "--json").object["id"]
    done = windlass("inbox", "answer", id_, "5", "--json")
    assert (done.code, done.object["error"]) == (2, "question.not_for_you")
    done = windlass("inbox", "answer", id_, "5", "flows.py:paying", "--role", "cfo", "--by", "eve", "--json")
    assert (done.code, done.object["output"]) == (0, 5)


def test_edit(windlass: Windlass) -> None:
    windlass("run", "flows.py:article", "--id", "a", "--input", '{"title": "Teh news"}')
    id_ = windlass("inbox", "list", "--json").object["id"]
    for bad in ("words=5", "notes=text", "title"):
        assert windlass("inbox", "edit", id_, "--with", bad).code == 2
    assert windlass("inbox", "edit", id_).code == 2
    done = windlass(
        "inbox", "edit", id_, "--with", "title=The news", "--with", 'notes=["a typo"]', "--by", "ann", "--why", "typo",
        "--json",
    )  # fmt: skip
    assert (done.code, done.object) == (0, {"type": "edited", "run": "a", "channels": ["notes", "title"]})
    assert windlass("inbox", "edit", "a", "flows.py:article", "--with", "notes=[]", "--overwrite").code == 0
    (asked,) = windlass("inbox", "list", "--json").objects  # what was asked before is not open any more
    assert windlass("runs", "show", "a", "--json").object["status"] == "waiting"
    assert asked["prompt"] == "Print 'The news'?"
    done = windlass("inbox", "answer", asked["id"], "true", "flows.py:article", "--json")
    assert done.object["output"] == {"title": "The news", "notes": ["The news: True"]}
    first, _ = windlass("runs", "events", "a", "--type", "run.edited", "--json").objects
    assert (first["data"]["by"], first["data"]["why"]) == ("ann", "typo")


def test_the_runs_above_have_come_to_rest_when_a_child_is_answered(windlass: Windlass) -> None:
    windlass("run", "flows.py:overseeing", "--id", "f", "--input", "books")
    (asked,) = windlass("inbox", "list", "--json").objects
    assert asked["run"] != "f"
    answered = windlass("inbox", "answer", asked["id"], "true", "flows.py:overseeing", "--json")
    assert (answered.code, answered.err.count("Traceback")) == (0, 0)
    assert windlass("runs", "show", "f", "--json").object["status"] == "completed"


def test_escalate_to_a_role(windlass: Windlass) -> None:
    id_ = ask(windlass, "asking", "--input", "books")
    assert windlass("inbox", "escalate", id_, "user:").code == 2
    done = windlass("inbox", "escalate", id_, "role:boss", "--why", "too hard", "--json")
    assert (done.code, done.object["to"], done.object["status"]) == (0, "role:boss", "open")
    assert windlass("inbox", "list", "--to", "role:boss", "--json").object["id"] == id_
    assert windlass("inbox", "answer", id_, "true").code == 2
    done = windlass("inbox", "answer", id_, "true", "flows.py:asking", "--role", "boss", "--json")
    assert done.object["output"] is True


def test_escalate_to_a_definition(windlass: Windlass) -> None:
    windlass("run", "flows.py:paying", "--id", "p", "--input", "7")
    id_ = windlass("inbox", "list", "--json").object["id"]
    done = windlass("inbox", "escalate", id_, "flows.py:estimating", "--json")
    assert (done.code, done.object["status"]) == (0, "answered")
    resumed = windlass("runs", "resume", "p", "--json")
    assert resumed.object["output"] > 50
    (answered,) = windlass("runs", "events", "p", "--type", "question.answered", "--json").objects
    assert answered["data"]["by"] == "definition:estimating"
    assert windlass("inbox", "escalate", id_, "role:x").code == 2


def test_escalate_to_a_worker(windlass: Windlass) -> None:
    windlass("run", "flows.py:paying", "--id", "p", "--input", "7")
    id_ = windlass("inbox", "list", "--json").object["id"]
    refused = windlass("inbox", "escalate", id_, "chief", "--json")
    assert (refused.code, refused.object["error"]) == (2, "value.input")
    assert '"role:chief"' in refused.object["hint"]
    assert windlass("inbox", "list", "--to", "role:cfo", "--json").object["id"] == id_
    done = windlass("inbox", "escalate", id_, "definition:estimating")
    assert (done.code, done.out) == (0, "escalated to definition:estimating; the question is open\n")
    assert "a worker that knows 'estimating' starts it" in done.err
    assert windlass("inbox", "list", "--to", "definition:estimating", "--json").object["id"] == id_
    done = windlass("inbox", "escalate", id_, "flows.py:estimating", "--json")
    assert (done.code, done.object["status"]) == (0, "answered")


def test_answer_at_a_terminal(windlass: Windlass, folder: Path) -> None:
    """A person at a terminal sees the question and types the answer."""
    id_ = ask(windlass, "asking", "--input", "books")
    assert windlass("inbox", "answer", id_).code == 2  # no terminal
    parent, child = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(Path(sys.modules["windlass"].__file__ or "").parents[1])}
    command = [sys.executable, "-c", COMMAND, "inbox", "answer", id_]
    process = subprocess.Popen(command, stdin=child, stdout=child, stderr=child, env=environment, cwd=folder)
    os.close(child)
    seen = b""
    while b"answer>" not in seen:
        seen += os.read(parent, 4096)
    os.write(parent, b"true\n")
    try:
        while more := os.read(parent, 4096):
            seen += more
    except OSError:  # the other side is closed
        pass
    os.close(parent)
    assert process.wait() == 0
    text = seen.decode()
    assert "Ship 'about books'?" in text
    assert "answered; q goes on with a worker" in text
    assert windlass("runs", "resume", "q", "--json").object["output"] is True
