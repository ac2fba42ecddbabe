"""Looking after a store."""

from pathlib import Path

import pytest

from tests.cli.conftest import Windlass


def test_migrate_check_backup(windlass: Windlass, folder: Path) -> None:
    windlass("run", "flows.py:steady", "--input", "3", "--id", "s")
    assert windlass("store", "migrate").out == "sqlite:///.windlass/windlass.db is up to date\n"
    checked = windlass("store", "check", "--json")
    assert checked.code == 0
    assert (checked.object["runs"], checked.object["problems"]) == (1, [])
    assert windlass("store", "check").out.endswith("all is well\n")
    assert windlass("store", "backup", "copy.db").code == 0
    assert (folder / "copy.db").exists()
    shown = windlass("runs", "show", "s", "--store", "sqlite:///copy.db", "--json")
    assert shown.object["output"] == 6
    again = windlass("store", "backup", "copy.db", "--json")
    assert again.code == 5
    assert "exists" in again.object["message"]


def test_damage_is_5(windlass: Windlass, folder: Path) -> None:
    import apsw

    windlass("run", "flows.py:steady", "--input", "3", "--id", "s")
    connection = apsw.Connection(str(folder / ".windlass" / "windlass.db"))
    connection.execute(
        "UPDATE log SET body = CAST(replace(CAST(body AS TEXT), '3', '4') AS BLOB) WHERE id = (SELECT min(id) FROM log)"
    )
    connection.close()
    done = windlass("store", "check", "--json")
    assert done.code == 5
    assert any("does not match its digest" in problem for problem in done.object["problems"])
    assert windlass("runs", "show", "s").code == 5


def test_an_old_copy_is_refused_until_it_is_repaired(windlass: Windlass, folder: Path) -> None:
    path = folder / ".windlass" / "windlass.db"
    windlass("run", "flows.py:steady", "--input", "3", "--id", "s")
    old = path.read_bytes()
    windlass("run", "flows.py:steady", "--input", "4", "--id", "t")
    path.write_bytes(old)
    for words in (["runs", "list"], ["store", "backup", "x.db"], ["run", "flows.py:steady", "--input", "3"]):
        done = windlass(*words, "--json")
        assert (done.code, done.object["error"]) == (5, "store.behind")
        assert "--repair" in done.object["hint"]
    assert path.read_bytes() == old
    assert any("its anchor knows" in problem for problem in windlass("store", "check", "--json").object["problems"])
    assert "took the file as it stands" in windlass("store", "check", "--repair").out
    assert windlass("runs", "show", "s", "--json").object["output"] == 6


def test_a_quarantined_run_is_shown(windlass: Windlass, folder: Path) -> None:
    import apsw

    windlass("run", "flows.py:steady", "--input", "3", "--id", "s")
    windlass("run", "flows.py:steady", "--input", "4", "--id", "t")
    connection = apsw.Connection(str(folder / ".windlass" / "windlass.db"))
    connection.execute("UPDATE log SET body = x'00' WHERE id = (SELECT max(id) FROM log WHERE id >> 32 = 1)")
    connection.close()
    assert windlass("runs", "show", "s").code == 5
    assert windlass("runs", "show", "t").code == 0
    states = {line.split()[0]: line.split()[2] for line in windlass("runs", "list").out.splitlines()[1:]}
    assert states == {"s": "quarantined", "t": "completed"}
    assert "quarantine" in windlass("doctor").out
    repaired = windlass("store", "check", "--repair")
    assert repaired.code == 5
    assert "lost_and_found" in repaired.out
    again = windlass("store", "check", "--repair")
    assert (again.code, "released run s" in again.out) == (0, True), again.out


@pytest.mark.parametrize(
    "words", [["check"], ["check", "--repair"], ["migrate"], ["backup", "x.db"], ["prune", "--older-than", "1d"]]
)
@pytest.mark.parametrize("content", [b"no database " * 1_000, b"SQLite format 3\0" + b"\7" * 9_000])
def test_a_damaged_file_is_a_typed_error_of_every_command(
    windlass: Windlass, folder: Path, words: list[str], content: bytes
) -> None:
    path = folder / "broken.db"
    path.write_bytes(content)
    done = windlass("store", *words, "--store", "sqlite:///broken.db", "--json")
    assert done.code == 5
    assert done.object["error"] in {"store.corrupt", "store.unknown"}
    assert path.read_bytes() == content


def test_no_store(windlass: Windlass) -> None:
    for words in (["migrate"], ["check"], ["backup", "x.db"]):
        assert windlass("store", *words).code == 5


def test_a_repair_that_was_stopped_between_two_files_goes_on(windlass: Windlass, folder: Path) -> None:
    path = folder / ".windlass" / "windlass.db"
    windlass("run", "flows.py:steady", "--input", "3", "--id", "s")
    path.with_name("windlass.db.repaired").write_bytes(path.read_bytes())
    path.rename(path.with_name("windlass.db.damaged-20260101-000000"))
    assert windlass("run", "flows.py:steady", "--input", "3", "--id", "t").code == 5
    done = windlass("store", "check", "--repair")
    assert (done.code, "put the file of a repair" in done.out) == (0, True), done.out
    assert windlass("runs", "show", "s", "--json").object["output"] == 6


def test_rows_that_differ_from_the_log_are_named_and_made_anew(windlass: Windlass, folder: Path) -> None:
    import apsw

    windlass("run", "flows.py:steady", "--input", "3", "--id", "s")
    connection = apsw.Connection(str(folder / ".windlass" / "windlass.db"))
    connection.execute("UPDATE runs SET status = 'paused'")
    connection.close()
    done = windlass("store", "check", "--json")
    assert done.code == 5
    (one,) = done.object["differing"]
    assert (one["run"], one["table"], one["row"]) == ("s", "runs", "s")
    assert "is paused, and completed by its log" in one["said"]
    assert windlass("store", "check", "--repair").code == 0
    assert windlass("runs", "show", "s", "--json").object["status"] == "completed"
