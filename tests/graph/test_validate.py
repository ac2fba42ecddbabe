"""The checks, against references that are slow and plain."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windlass.core.errors import DefinitionError
from windlass.graph.validate import check_acyclic, check_reachable, did_you_mean

Refused = Callable[..., AbstractContextManager[None]]
Edges = dict[str, list[str]]

NAMES = list("abcdefgh")


@st.composite
def digraphs(draw: st.DrawFn) -> Edges:
    names = draw(st.permutations(NAMES).map(lambda all_: all_[: draw(st.integers(1, len(NAMES)))]))
    pairs = draw(st.sets(st.tuples(st.sampled_from(names), st.sampled_from(names)), max_size=14))
    return {name: [target for source, target in sorted(pairs) if source == name] for name in names}


def closure(edges: Edges) -> dict[str, set[str]]:
    """Reach by reach, until nothing is added (Warshall, 1962)."""
    reach = {name: set(targets) for name, targets in edges.items()}
    for middle in edges:
        for name in edges:
            if middle in reach[name]:
                reach[name] |= reach[middle]
    return reach


@settings(max_examples=300)
@given(digraphs())
def test_a_cycle_is_found_exactly_when_there_is_one_and_its_path_is_real(edges: Edges) -> None:
    on_cycle = {name for name, reach in closure(edges).items() if name in reach}
    if not on_cycle:
        check_acyclic(edges, "pipeline 'p'")
        return
    with pytest.raises(DefinitionError) as caught:
        check_acyclic(edges, "pipeline 'p'")
    path = caught.value.args[0].rpartition(": ")[2].split(" -> ")
    assert path[0] == path[-1]
    assert len(set(path)) == len(path) - 1
    assert all(target in edges[source] for source, target in pairwise(path))


@settings(max_examples=300)
@given(digraphs(), st.data())
def test_what_is_out_of_reach_is_named(edges: Edges, data: st.DataObject) -> None:
    begin = data.draw(st.lists(st.sampled_from(list(edges)), unique=True))
    reach = closure(edges)
    reached = {*begin, *(target for name in begin for target in reach[name])}
    lost = [name for name in edges if name not in reached]
    if not lost:
        check_reachable(edges, begin, edges.__getitem__, {}, "graph 'g'")
        return
    with pytest.raises(DefinitionError) as caught:
        check_reachable(edges, begin, edges.__getitem__, {}, "graph 'g'")
    assert caught.value.args[0] == f"graph 'g': nothing leads to {', '.join(repr(name) for name in lost)}"


def test_a_join_is_reached_by_all_of_its_sources(refused: Refused) -> None:
    joins = {"d": frozenset({"b", "c"})}
    check_reachable("abcd", ["a"], lambda name: "bc" if name == "a" else "", joins, "graph 'g'")
    with refused("graph.unreachable", "'c', 'd'"):
        check_reachable("abcd", ["a"], lambda name: "b" if name == "a" else "", joins, "graph 'g'")


def test_a_long_cycle_is_cut_short(refused: Refused) -> None:
    ring = {f"n{place}": [f"n{(place + 1) % 10_000}"] for place in range(10_000)}
    with refused("pipeline.cycle", "n0 -> n1 -> ", "9990 more … -> n0"):
        check_acyclic(ring, "pipeline 'p'")


def test_did_you_mean_names_the_nearest_and_what_there_is() -> None:
    assert did_you_mean("reveiw", ["write", "review"], "nodes") == "did you mean 'review'? nodes: write, review"
    assert did_you_mean("x", [], "nodes") == "there are no nodes"
    assert did_you_mean("x", [f"n{i}" for i in range(14)], "nodes").endswith("n11 and 2 more")
