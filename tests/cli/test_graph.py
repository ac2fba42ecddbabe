"""Definitions drawn."""

from tests.cli.conftest import Windlass


def test_show(windlass: Windlass) -> None:
    listing = windlass("graph", "show", "flows.py:steady")
    assert listing.code == 0
    assert listing.out.startswith("pipeline steady  3 nodes")
    picture = windlass("graph", "show", "flows.py:looping", "--format", "mermaid")
    assert picture.out.startswith("flowchart TD")
    shown = windlass("graph", "show", "flows.py:looping", "--format", "mermaid", "--json").object
    assert (shown["name"], shown["kind"]) == ("looping", "graph")
    assert shown["mermaid"] == picture.out


def test_what_is_not_there(windlass: Windlass) -> None:
    assert windlass("graph", "show", "none.py:x").code == 4
    assert windlass("graph", "show", "flows.py:steady", "--format", "png").code == 2
