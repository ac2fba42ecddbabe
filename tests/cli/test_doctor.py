"""Is this machine, and is this store, fit for use?"""

from pathlib import Path
from typing import Any

import apsw
import pytest

from tests.cli.conftest import Start, Windlass, wait_for
from windlass.cli import doctor


def found(windlass: Windlass, *words: str) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in windlass("doctor", "--json", *words).objects}


def test_a_sound_machine_before_the_first_run(windlass: Windlass, folder: Path) -> None:
    done = windlass("doctor")
    assert done.code == 0
    assert "is not there yet" in done.out
    assert not (folder / ".windlass").exists()
    names = {"windlass", "python", "platform", "sqlite", "file system", "free space", "fsync", "store"}
    assert names <= set(found(windlass))


def test_a_store_with_runs(windlass: Windlass) -> None:
    windlass("run", "flows.py:asking", "--input", "books")
    assert found(windlass)["store"]["said"].endswith("windlass.db: 1 waiting")


def test_an_old_sqlite(windlass: Windlass, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.40.1")
    sqlite = found(windlass)["sqlite"]
    assert sqlite["verdict"] == "warn"
    assert "before 3.51.3" in sqlite["said"]


def test_a_network_file_system(windlass: Windlass, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "file_system_of", lambda _: "nfs4")
    done = windlass("doctor")
    assert done.code == 5
    assert "a network file system cannot hold a store" in done.out


def test_a_file_that_is_no_store(windlass: Windlass, folder: Path) -> None:
    (folder / "x.db").write_text("words " * 1000)
    done = windlass("doctor", "--store", "sqlite:///x.db")
    assert done.code == 5
    assert "bad  store" in done.out
    assert windlass("doctor", "--store", "mongo:x").code == 5


def test_runs_that_nobody_drives(windlass: Windlass, monkeypatch: pytest.MonkeyPatch) -> None:
    windlass("run", "flows.py:looping", "--input", '{"count": 0}', "--id", "l")
    windlass("runs", "fork", "l", "--from", "2")
    monkeypatch.setattr(doctor, "LATE_SECONDS", -1.0)
    idle = found(windlass)["idle runs"]
    assert idle["verdict"] == "warn"
    assert idle["said"].endswith("start a worker: windlass worker flows.py:looping")


def test_who_holds_runs_and_whether_they_are_there(windlass: Windlass, folder: Path, start: Start) -> None:
    process = start("run", "flows.py:gated", "--id", "g")
    wait_for(folder / "begun")
    lease = found(windlass)["lease"]
    assert lease["verdict"] == "ok"
    assert lease["said"].startswith(f"1 run held by pid {process.pid} on ")
    process.kill()
    process.wait()
    lease = found(windlass)["lease"]
    assert lease["verdict"] == "warn"
    assert lease["said"].endswith("which is gone: free to claim")
