"""Law 5 within sub-graphs: frames go on at their own pace; what has finished gives one digest, whatever the order."""

from typing import Annotated, Any, TypedDict

from tests.laws.specimens import Pace, simulate
from windlass import END, Edge, Graph, Pipeline, Runtime, append, task

Known = dict[tuple[frozenset[str], frozenset[str]], str]


class State(TypedDict):
    """Channels of both graphs."""

    n: int
    log: Annotated[list[str], append]
    found: list[int]


@task
async def parts(n: int) -> list[int]:
    """Make a list."""
    await Pace.wait()
    return [n, n + 1, n + 2]


@task
async def double(item: int) -> int:
    """Compute."""
    await Pace.wait()
    return item * 2


@task
async def less(double: int) -> int:
    """Compute on."""
    await Pace.wait()
    return double - 1


COUNTING = Pipeline("counting", [parts, inner := Pipeline("inner", [double, less])], [Edge("parts", inner, each=True)])


def _team() -> Graph:
    graph = Graph("team", State)

    @graph.node(writes=["n", "log"])
    async def write(n: int) -> dict[str, Any]:
        await Pace.wait()
        return {"n": n + 1, "log": [f"wrote {n}"]}

    @graph.node(writes=["log"])
    async def read(n: int) -> dict[str, Any]:
        await Pace.wait()
        return {"log": [f"read {n}"]}

    def more(n: int) -> list[str]:
        return ["write", "read"] if n < 3 else [END]

    graph.start(write, read)
    graph.branch(write, more, [write, read, END])
    return graph


def _desk() -> Graph:
    graph = Graph("desk", State)
    graph.subgraph(_team())
    graph.subgraph(_team(), id="other", reads={"n": "n"}, writes=["log"])
    graph.subgraph(COUNTING, reads="n", writes="found")
    graph.start("team", "other", "counting")
    return graph


DESK = _desk()


async def by_place(runtime: Runtime) -> tuple[Known, dict[str, Any]]:
    """The digest by what had finished and what had been planned, and the channels at the end."""
    finished: frozenset[str] = frozenset()
    planned: frozenset[str] = frozenset()
    found = {}
    for checkpoint in await runtime.history("r"):
        finished |= {*checkpoint.finished}
        planned |= {*checkpoint.planned}
        found[finished, planned] = checkpoint.digest
    assert (await runtime.replay("r")).differing == ()
    return found, await runtime.state("r")


def test_forty_schedules_of_frames_give_one_digest_for_what_has_finished() -> None:
    known, end = simulate(DESK, {"n": 1}, 0, then=by_place)
    assert len(end["log"]) == 8
    orders = {tuple(known)}
    for seed in range(1, 40):
        found, came = simulate(DESK, {"n": 1}, seed, then=by_place)
        assert came == end
        assert all(known.setdefault(place, digest) == digest for place, digest in found.items())
        orders.add(tuple(found))
    assert len(orders) > 10, "schedules differ"
