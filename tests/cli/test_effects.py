"""What runs did outside."""

import pytest

from tests.cli.conftest import Windlass


def test_list(windlass: Windlass) -> None:
    windlass("run", "flows.py:publishing", "--input", "line", "--id", "p")
    (effect,) = windlass("effects", "list", "p", "--json").objects
    assert (effect["address"], effect["name"], effect["status"]) == ("publish#1", "write", "done")
    assert (effect["value"], effect["undo"], effect["branch"]) == (4, "unwrite", 0)
    assert (effect["how"], effect["in_doubt"], effect["generation"]) == ("completed", False, 0)
    heads, line = windlass("effects", "list", "p").out.splitlines()
    assert line.split()[:3] == ["publish#1", "write", "done"]
    assert line[heads.index("KEY") :].split()[0] == effect["effect_key"]


def test_none(windlass: Windlass) -> None:
    windlass("run", "flows.py:steady", "--input", "1", "--id", "s")
    assert windlass("effects", "list", "s").out == "no effects\n"
    assert windlass("effects", "show", "s").out == "no effects\n"
    assert windlass("effects", "list", "other").code == 2
    assert windlass("effects", "show", "other").code == 2


def test_states_are_told_apart_and_filtered(windlass: Windlass) -> None:
    windlass("run", "flows.py:publishing", "--input", "line", "--id", "p")
    windlass("runs", "rollback", "p", "publish", "flows.py:publishing")
    windlass("runs", "resume", "p", "flows.py:publishing")
    windlass("runs", "fork", "p", "flows.py:publishing", "--from", "publish", "--id", "f")
    shown = [
        (e["branch"], e["status"], e["how"], e["undo_how"]) for e in windlass("effects", "list", "p", "--json").objects
    ]
    assert shown == [(0, "undone", "completed", "undone"), (1, "done", "completed", "")]
    (adopted,) = windlass("effects", "list", "f", "--json").objects
    assert (adopted["status"], adopted["how"]) == ("done", "adopted")
    assert "done (adopted)" in windlass("effects", "list", "f").out
    (undone,) = windlass("effects", "list", "p", "--status", "undone", "--json").objects
    assert (undone["branch"], undone["generation"]) == (0, 0)
    assert len(windlass("effects", "list", "p", "--status", "undone", "--status", "done", "--json").objects) == 2
    assert windlass("effects", "list", "p", "--status", "standing").out == "no effects\n"
    assert windlass("effects", "list", "p", "--status", "maybe").code == 2


def test_show(windlass: Windlass) -> None:
    windlass("run", "flows.py:publishing", "--input", "line", "--id", "p")
    (effect,) = windlass("effects", "list", "p", "--json").objects
    for which in ([], [effect["effect_key"][:8]], ["publish#1"], ["write"]):
        (shown,) = windlass("effects", "show", "p", *which, "--json").objects
        assert shown == effect
    said = windlass("effects", "show", "p").out
    for line in (
        "publish#1 write",
        effect["effect_key"],
        '[["line"], {}]',
        "unwrite",
        "outcome       4",
        "generation    0",
    ):
        assert line in said
    assert windlass("effects", "show", "p", "nothing").code == 2


@pytest.mark.parametrize("happened", [True, False])
def test_a_doubt_is_shown_and_so_is_who_settled_it(windlass: Windlass, happened: bool) -> None:
    assert windlass("run", "flows.py:losing", "--input", "5", "--id", "l").code == 3
    (effect,) = windlass("effects", "list", "l", "--json").objects
    assert (effect["status"], effect["in_doubt"]) == ("intended", True)
    assert "in doubt" in windlass("effects", "list", "l").out
    (question,) = windlass("inbox", "list", "--json").objects
    about = question["about"]
    assert (about["effect"], about["address"], about["key"]) == ("lose", "lost#1", effect["effect_key"])
    assert (about["arguments"], about["intended_at"][-1]) == ([[5], {}], "Z")
    (shown,) = windlass("runs", "show", "l", "--json").object["questions"]
    assert shown["about"] == about
    answer = '{"happened": true, "value": 7}' if happened else '{"happened": false}'
    windlass("inbox", "answer", question["id"], answer, "flows.py:losing", "--by", "ada")
    (effect,) = windlass("effects", "list", "l", "--json").objects
    assert effect["status"] == "done"
    if happened:
        assert (effect["how"], effect["by"], effect["value"]) == ("answered", "ada", 7)
        assert "ada" in windlass("effects", "show", "l").out
    else:
        assert (effect["how"], effect["value"]) == ("completed", 6)
