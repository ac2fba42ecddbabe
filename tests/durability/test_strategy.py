"""What a strategy keeps does not depend on which of a step's activations ended last."""

from typing import TypedDict

import pytest

from tests.laws.specimens import GIVEN, Pace, Shape, graph_of, simulate
from windlass import SAVEPOINTS, Checkpoints, Context, Graph, Runtime
from windlass.core.errors import CheckpointUnknown

SHAPE = Shape(3, ((1, 2), (2, 0), (0,)), (), (3, 0, 0), 60)


async def finished(runtime: Runtime) -> list[tuple[int, list[str]]]:
    """What finished in each step."""
    return [(checkpoint.n, sorted(checkpoint.finished)) for checkpoint in await runtime.history("r")]


async def reached(runtime: Runtime) -> list[int]:
    """The checkpoints that can be looked at."""
    found = []
    for checkpoint in await runtime.history("r"):
        try:
            await runtime.state("r", at=checkpoint.n)
        except CheckpointUnknown:
            continue
        found.append(checkpoint.n)
    return found


def after(node: str) -> Graph:
    """A graph that keeps the steps in which a node finished."""
    graph = graph_of(SHAPE)
    graph.options["checkpoints"] = Checkpoints.after(node)
    return graph


def test_a_checkpoint_lists_all_that_finished_in_its_step() -> None:
    graph = graph_of(SHAPE)
    first = simulate(graph, GIVEN, 0, then=finished)
    assert any(len(addresses) > 3 for _, addresses in first)
    for seed in range(1, 10):
        assert simulate(graph, GIVEN, seed, then=finished) == first


@pytest.mark.parametrize("node", ["n0", "n1", "worker"])
def test_the_steps_of_a_node_are_kept_whenever_it_ends(node: str) -> None:
    first = simulate(after(node), GIVEN, 0, then=reached)
    assert len(first) > 3
    for seed in range(1, 10):
        assert simulate(after(node), GIVEN, seed, then=reached) == first


class Two(TypedDict):
    """A channel for each of two nodes."""

    quick: int
    slow: int


def test_a_savepoint_is_found_whenever_its_node_ends() -> None:
    graph = Graph("two", Two, checkpoints=SAVEPOINTS)

    @graph.node(writes=["quick"])
    async def quick(ctx: Context) -> dict[str, int]:
        ctx.savepoint("here")
        return {"quick": 1}

    @graph.node(writes=["slow"])
    async def slow() -> dict[str, int]:
        await Pace.wait()
        return {"slow": 1}

    @graph.node(writes=["slow"])
    async def later(slow: int) -> dict[str, int]:
        return {"slow": slow + 1}

    graph.start(quick, slow)
    graph.edge(slow, later)

    async def saved(runtime: Runtime) -> dict[str, object]:
        return await runtime.state("r", at="here")

    for seed in range(10):
        assert simulate(graph, {}, seed, then=saved) == {"quick": 1, "slow": 1}
