"""`windlass worker`: a process of its own, its log, and its end."""

import json
import signal
from pathlib import Path

import pytest

from tests.cli.conftest import Start, Windlass, wait_for
from windlass.cli.output import Out
from windlass.cli.worker import Log
from windlass.core.errors import RunOwned
from windlass.core.events import Event


def test_it_takes_up_what_it_finds_and_stops_cleanly(windlass: Windlass, start: Start) -> None:
    question = windlass("run", "flows.py:asking", "--input", "x", "--id", "q", "--json").object["questions"][0]["id"]
    windlass("run", "flows.py:napping", "--input", "1.1", "--id", "n")
    windlass("inbox", "answer", question, "true")
    process = start("worker", "flows.py:asking", "flows.py:napping", "--json", "--verbose")
    completed = set()
    lines = []
    assert process.stdout is not None
    for text in process.stdout:
        line = json.loads(text)
        lines.append(line)
        if line["event"] == "run.completed":
            completed.add(line["run"])
        if completed == {"q", "n"}:
            break
    process.send_signal(signal.SIGTERM)
    rest, prose = process.communicate(timeout=10)
    lines += [json.loads(text) for text in rest.splitlines()]
    assert process.returncode == 0
    assert prose == "store sqlite:///.windlass/windlass.db\n"
    assert [lines[0]["event"], lines[-1]["event"]] == ["worker.started", "worker.stopped"]
    (done,) = [line for line in lines if line["event"] == "activation.completed" and line["run"] == "q"]
    assert (done["level"], done["node"], done["attempt"]) == ("info", "approve", 1)
    assert windlass("runs", "show", "n", "--json").object["output"] == "rested"


def test_it_rescues_a_run_and_lets_go_of_it(windlass: Windlass, folder: Path, start: Start) -> None:
    owner = start("run", "flows.py:gated", "--id", "g")
    wait_for(folder / "begun")
    owner.kill()
    owner.wait()
    (folder / "begun").unlink()
    worker = start("worker", "flows.py:gated", "--grace", "0")
    wait_for(folder / "begun")
    worker.send_signal(signal.SIGTERM)
    said, _ = worker.communicate(timeout=10)
    assert worker.returncode == 0
    assert "lease.taken_over" in said
    assert "run.interrupted" in said
    (listed,) = windlass("runs", "list", "--json").objects
    assert (listed["status"], listed["owner"]) == ("running", None)
    (folder / "release").touch()
    assert windlass("runs", "resume", "g", "--json").object["output"] == "THROUGH"


def test_a_definition_that_is_not_there_is_4(windlass: Windlass) -> None:
    assert windlass("worker", "flows.py:none").code == 4


@pytest.mark.parametrize("words", [[], ["flows.py:steady", "--concurrency", "0"]])
def test_a_wrong_command_line_is_2(windlass: Windlass, words: list[str]) -> None:
    assert windlass("worker", *words).code == 2


def test_a_plain_line(capsys: pytest.CaptureFixture[str]) -> None:
    log = Log(Out(as_json=False), verbose=False)
    log.event(Event(run="r", type="attempt.failed", seq=7, at=1.0, address="a#1", data={"attempt": 3, "failure": {}}))
    log.line("worker.draining", driving=2)
    first, second = capsys.readouterr().out.splitlines()
    assert first.split()[2:6] == ["warning", "r", "attempt.failed", "a#1"]
    assert second.endswith("worker.draining       driving=2")


def test_an_event_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    log = Log(Out(as_json=True), verbose=False)
    data = {"attempt": 3, "failure": {"kind": "E", "message": "m"}}
    log.event(Event(run="r", type="attempt.failed", seq=7, at=1.0, address="a#1[2]", data=data))
    log.event(Event(run="r", type="activation.completed", seq=8, at=1.0, address="a#1[2]", data={}))
    log.line("run.refused", "r", error=RunOwned("owned by pid 3"))
    failed, refused = map(json.loads, capsys.readouterr().out.splitlines())  # what went well: with --verbose only
    assert failed == {
        "at": "1970-01-01T00:00:01.000Z", "level": "warning", "event": "attempt.failed", "seq": 7, "run": "r",
        "node": "a", "address": "a#1[2]", "attempt": 3, "data": {"failure": data["failure"]},
    }  # fmt: skip
    assert (refused["level"], refused["event"], refused["data"]["error"]) == ("error", "run.refused", "run.owned")
