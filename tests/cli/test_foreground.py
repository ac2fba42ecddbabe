"""A run in the foreground: Ctrl-C, other processes, a killed owner."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Start, Windlass, wait_for
from windlass.stores.sqlite import SQLiteStore


def wait_for_line(process: "subprocess.Popen[str]", begin: str) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(begin):
            return line
    raise AssertionError(f"no line begins with {begin!r}")


def aside(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_the_first_ctrl_c_lets_what_runs_finish_and_pauses(
    windlass: Windlass, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    posted = threading.Event()
    post = SQLiteStore.post

    async def told(*given: object) -> bool:
        was_new = await post(*given)  # type: ignore[arg-type]
        posted.set()
        return was_new

    def person() -> None:
        wait_for(folder / "begun")
        press()
        posted.wait(10)
        (folder / "release").touch()

    monkeypatch.setattr(SQLiteStore, "post", told)
    thread = aside(person)
    done = windlass("run", "flows.py:gated", "--id", "g")
    thread.join()
    assert done.code == 3
    assert "pausing: what runs may finish (Ctrl-C again stops it)" in done.err
    assert done.out.splitlines()[-2:] == [
        "g is paused at checkpoint 2; it goes on with", "  windlass runs resume g",
    ]  # fmt: skip
    assert windlass("runs", "resume", "g", "--json").object["output"] == "THROUGH"


def test_the_second_ctrl_c_stops_at_once(windlass: Windlass, folder: Path) -> None:
    def person() -> None:
        wait_for(folder / "begun")
        press()
        threading.Event().wait(0.05)
        press()

    thread = aside(person)
    done = windlass("run", "flows.py:gated", "--id", "g")
    thread.join()
    assert done.code == 130
    assert "stopping (Ctrl-C again leaves)" in done.err
    assert windlass("runs", "show", "g", "--json").object["status"] == "paused"
    (folder / "release").touch()
    assert windlass("runs", "resume", "g").code == 0


def test_the_third_ctrl_c_leaves_an_effect_that_does_not_end(windlass: Windlass, folder: Path, start: Start) -> None:
    process = start("run", "flows.py:stubborn", "--id", "s")
    wait_for(folder / "begun")
    for said in ("pausing", "stopping", "left"):
        process.send_signal(signal.SIGINT)
        wait_for_line(process, said)
    assert process.wait(10) == 130
    shown = windlass("runs", "show", "s", "--json").object
    assert (shown["status"], shown["owner"]) != ("completed", None)
    (folder / "release").touch()
    assert windlass("runs", "resume", "s", "--json").object["output"] == "over"


def test_a_killed_run_goes_on_by_its_id(windlass: Windlass, folder: Path, start: Start) -> None:
    process = start("run", "flows.py:gated", "--id", "g")
    wait_for(folder / "begun")
    assert f"pid {process.pid} on " in windlass("runs", "list").out
    process.kill()
    process.wait()
    assert "interrupted" in windlass("runs", "list").out
    shown = windlass("runs", "show", "g").out
    assert ("state       running  interrupted" in shown, f"pid {process.pid}" in shown) == (True, False)
    (folder / "release").touch()
    done = windlass("run", "flows.py:gated", "--id", "g", "--json")
    assert done.code == 0
    assert done.objects[0]["type"] == "lease.taken_over"
    assert done.object["output"] == "THROUGH"


def test_a_run_that_another_process_drives(windlass: Windlass, folder: Path, start: Start) -> None:
    process = start("run", "flows.py:gated", "--id", "g")
    wait_for(folder / "begun")
    owned = windlass("runs", "resume", "g", "--json")
    assert owned.code == 2
    assert owned.object["error"] == "run.owned"
    shown = windlass("runs", "show", "g").out
    assert f"g is driven by pid {process.pid} on " in shown
    thread = aside((folder / "release").touch)
    watched = windlass("runs", "watch", "g", "--json")
    thread.join()
    assert watched.code == 0
    assert watched.object["output"] == "THROUGH"
    assert process.wait(10) == 0


def test_a_pause_reaches_the_process_that_drives(windlass: Windlass, folder: Path, start: Start) -> None:
    process = start("run", "flows.py:gated", "--id", "g")
    wait_for(folder / "begun")
    assert windlass("runs", "pause", "g", "--now", "--json").object["status"] == "paused"
    assert process.wait(10) == 3


def test_run_takes_over_when_the_owner_dies(windlass: Windlass, folder: Path, start: Start) -> None:
    process = start("run", "flows.py:gated", "--id", "g")
    wait_for(folder / "begun")

    def person() -> None:
        threading.Event().wait(0.2)
        process.kill()
        process.wait()
        (folder / "release").touch()

    thread = aside(person)
    done = windlass("run", "flows.py:gated", "--id", "g", "--json")
    thread.join()
    assert done.code == 0
    assert done.object["output"] == "THROUGH"


def test_wait_stays_for_an_answer(windlass: Windlass, start: Start) -> None:
    process = start("run", "flows.py:naming", "--id", "n", "--wait", "--json")
    wait_for_line(process, "run   n")
    found: list[dict[str, str]] = []
    while not found:
        found = windlass("inbox", "list", "--json").objects
    assert windlass("inbox", "answer", found[0]["id"], "Ann").code == 0
    assert process.wait(10) == 0


def test_resume_waits_for_the_owner_if_told(windlass: Windlass, folder: Path, start: Start) -> None:
    process = start("run", "flows.py:gated", "--id", "g")
    wait_for(folder / "begun")

    def person() -> None:
        threading.Event().wait(0.2)
        process.kill()
        process.wait()
        (folder / "release").touch()

    thread = aside(person)
    done = windlass("runs", "resume", "g", "--wait", "--json")
    thread.join()
    assert done.code == 0
    assert "run g is owned by" in done.err
