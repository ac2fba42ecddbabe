"""Looking after a store."""

from pathlib import Path

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


def test_no_store(windlass: Windlass) -> None:
    for words in (["migrate"], ["check"], ["backup", "x.db"]):
        assert windlass("store", *words).code == 5
