"""Steering runs: pause, resume, cancel, rollback, fork."""

from pathlib import Path

from tests.cli.conftest import Windlass


def test_fail_mend_resume(windlass: Windlass, folder: Path) -> None:
    windlass("run", "flows.py:failing", "--input", "books", "--id", "f")
    assert windlass("runs", "resume", "f").code == 1
    (folder / "mended").touch()
    done = windlass("runs", "resume", "f")
    assert done.code == 0
    assert "importing flows.py:failing: the run was started with it" in done.err
    assert done.out.splitlines()[-1] == '"ABOUT BOOKS"'
    assert "draft#1" not in done.out  # what finished before is not done again
    again = windlass("runs", "resume", "f", "--json")
    assert again.code == 2
    assert again.object["error"] == "run.state"


def test_mending_the_body_needs_no_flag(windlass: Windlass, folder: Path) -> None:
    source = (
        "from windlass import Pipeline, task\n@task\nasync def a() -> int: return {}\np = Pipeline('p', tasks=[a])\n"
    )
    (folder / "p.py").write_text(source.format("1 // 0"))
    assert windlass("run", "p.py:p", "--id", "r").code == 1
    (folder / "p.py").write_text(source.format("1 // 1"))
    assert windlass("runs", "resume", "r", "--json").object["output"] == 1


def test_another_structure_is_refused(windlass: Windlass, folder: Path) -> None:
    source = "from windlass import Pipeline, task\n@task\nasync def {}() -> int: return 1 // 0\n"
    (folder / "p.py").write_text(source.format("a") + "p = Pipeline('p', tasks=[a])\n")
    windlass("run", "p.py:p", "--id", "r")
    (folder / "p.py").write_text(source.format("b") + "p = Pipeline('p', tasks=[b])\n")
    done = windlass("runs", "resume", "r", "--json")
    assert done.code == 4
    assert done.object["error"] == "run.definition_changed"
    assert "nodes.a: removed" in done.object["message"]


def test_the_file_it_was_started_with_is_gone(windlass: Windlass, folder: Path) -> None:
    windlass("run", "flows.py:failing", "--input", "books", "--id", "f")
    (folder / "flows.py").rename(folder / "moved.py")
    assert windlass("runs", "resume", "f").code == 4
    (folder / "mended").touch()
    assert windlass("runs", "resume", "f", "moved.py:failing").code == 0


def test_pause_resume_cancel(windlass: Windlass) -> None:
    windlass("run", "flows.py:asking", "--input", "books", "--id", "q")
    paused = windlass("runs", "pause", "q", "--json")
    assert (paused.code, paused.object["status"]) == (0, "paused")
    assert paused.err.startswith("store ")
    assert windlass("run", "flows.py:asking", "--input", "books", "--id", "q").code == 3  # paused: it stays so
    assert windlass("runs", "resume", "q", "--json").object["status"] == "waiting"
    assert windlass("runs", "cancel", "q").out == "q is cancelled\n"
    assert windlass("inbox", "list").out == "no open questions\n"
    done = windlass("runs", "cancel", "q", "--json")
    assert done.code == 2
    assert done.object["error"] == "run.state"


def test_resume_with_an_edit(windlass: Windlass) -> None:
    windlass("run", "flows.py:failing", "--input", "books", "--id", "f")
    done = windlass("runs", "resume", "f", "--with", "tired=1", "--json")
    assert done.code == 2
    assert done.object["error"] == "value.input"
    assert "there are: " in done.object["hint"]


def test_rollback_undoes_and_the_run_goes_on_anew(windlass: Windlass, folder: Path) -> None:
    outside = folder / "outside.txt"
    windlass("run", "flows.py:publishing", "--input", "line", "--id", "p")
    refused = windlass("runs", "rollback", "p", "publish", "--json")
    assert refused.code == 4
    assert refused.object["hint"] == "windlass runs rollback p publish flows.py:publishing"
    assert outside.read_text() == "line\n"
    done = windlass("runs", "rollback", "p", "publish", "flows.py:publishing")
    assert done.code == 0
    assert "undone: publish#1 write" in done.err
    assert "p is paused" in done.out
    assert outside.read_text() == ""
    assert windlass("runs", "resume", "p").code == 0
    assert outside.read_text() == "line\n"
    shown = windlass("runs", "show", "p", "--json").object
    assert (shown["branch"], [node["done"] for node in shown["nodes"]]) == (1, [1, 1])


def test_rollback_to_what_is_not_there(windlass: Windlass) -> None:
    windlass("run", "flows.py:looping", "--input", '{"count": 0}', "--id", "l")
    done = windlass("runs", "rollback", "l", "99", "flows.py:looping", "--json")
    assert done.code == 2
    assert done.object["error"] == "run.checkpoint_unknown"
    assert windlass("runs", "show", "l", "--json").object["status"] == "completed"


def test_fork_with_an_edit_is_the_rerun(windlass: Windlass) -> None:
    windlass("run", "flows.py:looping", "--input", '{"count": 0}', "--id", "l")
    words = ["runs", "fork", "l", "flows.py:looping", "--from", "grow#2", "--with", "count=10", "--id", "k"]
    done = windlass(*words, "--json")
    assert done.code == 0
    assert done.object["output"] == {"count": 11, "seen": [0, 10]}
    assert "run   k" in done.err
    shown = windlass("runs", "show", "k", "--json").object
    assert shown["parent"]["run"] == "l"
    assert windlass("runs", "show", "l", "--json").object["output"] == {"count": 3, "seen": [0, 1, 2]}


def test_fork_without_the_definition_waits_to_be_resumed(windlass: Windlass) -> None:
    windlass("run", "flows.py:looping", "--input", '{"count": 0}', "--id", "l")
    done = windlass("runs", "fork", "l", "--from", "2", "--id", "k", "--json")
    assert (done.code, done.object["status"]) == (3, "created")
    assert windlass("runs", "resume", "k", "--json").object["output"] == {"count": 3, "seen": [0, 1, 2]}


def test_what_a_fork_needs_the_definition_for(windlass: Windlass) -> None:
    windlass("run", "flows.py:asking", "--input", "books", "--id", "q")
    done = windlass("runs", "fork", "q", "--from", "draft", "--json")
    assert done.code == 4
    assert done.object["hint"] == "windlass runs fork q flows.py:asking --from draft"
    edited = windlass("runs", "fork", "q", "--with", "draft=x", "--json")
    assert edited.object["hint"] == "windlass runs fork q flows.py:asking --from 2 --with draft=x"
    assert len(windlass("runs", "list", "--json").objects) == 1
    assert windlass("runs", "fork", "q", "flows.py:asking", "--from", "draft").code == 3


def test_a_signal_is_sent_before_and_while_a_task_waits(windlass: Windlass, folder: Path) -> None:
    source = (
        "from windlass import Context, Pipeline, task\n"
        "@task\nasync def a(ctx: Context) -> list[object]: "
        "return [await ctx.signal('go', dict), await ctx.signal('go', dict)]\n"
        "p = Pipeline('p', tasks=[a])\n"
    )
    (folder / "s.py").write_text(source)
    waits = windlass("run", "s.py:p", "--id", "s")
    assert waits.code == 3
    assert "for a signal: go" in waits.out
    assert "windlass runs signal s go --value VALUE" in waits.out
    refused = windlass("runs", "signal", "s", "go", "--value", "text", "--json")
    assert (refused.code, refused.object["error"]) == (2, "signal.invalid")
    for id_ in ("1", "2"):
        sent = windlass("runs", "signal", "s", "go", "--value", f'{{"n": {id_}}}', "--id", id_)
        assert sent.code == 0
        assert sent.out.splitlines()[0] == "sent; s goes on with a worker, or with"
    again = windlass("runs", "signal", "s", "go", "--value", '{"n": 3}', "--id", "1")
    assert (again.code, again.out) == (0, "not sent: s was sent a signal '1' before, and has that one\n")
    again = windlass("runs", "signal", "s", "go", "--value", '{"n": 3}', "--id", "1", "--json")
    assert again.object == {"type": "signalled", "run": "s", "name": "go", "duplicate": True}
    assert windlass("runs", "signal", "s", "", "--json").object["error"] == "value.input"
    done = windlass("runs", "resume", "s", "--json")
    assert (done.code, done.object["output"]) == (0, [{"n": 1}, {"n": 2}])
    assert windlass("runs", "signal", "s", "go", "--json").object["error"] == "run.state"
