"""Addresses of activations, static paths of nodes, and what a target names."""

import pytest

from windlass.core.frames import by_place, fits, lane, parse, path_key, place, visit_of


def test_parts_of_an_address() -> None:
    address = "team#1[plan[2].0]/write#3[4]"
    assert parse(address) == ("write", 3, "4")
    assert parse("team#1[plan[2].0]") == ("team", 1, "plan[2].0")
    assert place(address) == "team/write"
    assert place("write#2") == place("write") == "write"
    assert lane(address) == "team#1[plan[2].0]/write"
    assert lane("write#2[1]") == "write"
    assert visit_of(address) == "team#1[plan[2].0]/write#3"


def test_frames_are_in_order_of_their_numbers() -> None:
    found = ["team#1[10]/a#1", "team#1[9]/a#10", "team#1[9]/a#9", "team#1", "b#1"]
    assert sorted(found, key=path_key) == ["b#1", "team#1", "team#1[9]/a#9", "team#1[9]/a#10", "team#1[10]/a#1"]


@pytest.mark.parametrize(
    ("target", "does"),
    [
        ("team/write", True),
        ("team#1/write", True),
        ("team#1[2]/write", True),
        ("team#1[2]/write#3", True),
        ("team#1[2]/write#3[4]", True),
        ("team/write#3", True),
        ("write", False),
        ("team", False),
        ("tea/write", False),
        ("team/writ", False),
        ("team#11/write", False),
        ("team#1[3]/write", False),
        ("team#1[2]/write#1", False),
        ("team/team/write", False),
    ],
)
def test_a_target_names_activations_part_by_part(target: str, does: bool) -> None:
    assert fits("team#1[2]/write#3[4]", target) is does


def test_kinds_are_grouped_by_the_subgraph_that_they_are_of() -> None:
    assert by_place({"a": "last", "t/b": "append", "t/u/c": "merge"}) == {
        "": {"a": "last"}, "t": {"b": "append"}, "t/u": {"c": "merge"},
    }  # fmt: skip
