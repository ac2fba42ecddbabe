"""What runs did outside."""

from tests.cli.conftest import Windlass


def test_list(windlass: Windlass) -> None:
    windlass("run", "flows.py:publishing", "--input", "line", "--id", "p")
    (effect,) = windlass("effects", "list", "p", "--json").objects
    assert (effect["address"], effect["name"], effect["status"]) == ("publish#1", "write", "done")
    assert (effect["value"], effect["undo"], effect["branch"]) == (4, "unwrite", 0)
    assert windlass("effects", "list", "p").out.splitlines()[1].split()[:3] == ["publish#1", "write", "done"]


def test_none(windlass: Windlass) -> None:
    windlass("run", "flows.py:steady", "--input", "1", "--id", "s")
    assert windlass("effects", "list", "s").out == "no effects\n"
    assert windlass("effects", "list", "other").code == 2
