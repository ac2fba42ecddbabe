"""Law 5: the same checkpoint and the same results give the same state digest, whatever the order of completion."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.laws.specimens import GIVEN, RICH, Shape, graph_of, pipelines, shapes, simulate
from windlass import Graph, Pipeline, Runtime, engine
from windlass.core import position
from windlass.engine import reconcile

SCHEDULES = 100


async def by_step(runtime: Runtime) -> tuple[list[str], dict[str, Any]]:
    """The digest of each step, and the channels at the end."""
    assert (await runtime.replay("r")).differing == ()
    return await digests(runtime), await runtime.state("r")


async def digests(runtime: Runtime) -> list[str]:
    """The digest of each step."""
    return [checkpoint.digest for checkpoint in await runtime.history("r")]


async def by_finished(runtime: Runtime) -> dict[frozenset[str], str]:
    """The digest by what had finished: in a pipeline steps come in any order."""
    finished: frozenset[str] = frozenset()
    found = {}
    for checkpoint in await runtime.history("r"):
        finished |= {*checkpoint.finished}
        found[finished] = checkpoint.digest
    assert (await runtime.replay("r")).differing == ()
    return found


def test_a_hundred_schedules_of_a_graph_give_one_digest_for_each_step() -> None:
    first = simulate(RICH, GIVEN, 0, then=by_step)
    assert len(first[0]) == len(set(first[0])) > 8
    assert "worker#1[n0.2]" in first[1]["log"]
    for seed in range(1, SCHEDULES):
        assert simulate(RICH, GIVEN, seed, then=by_step) == first


def test_without_the_order_of_paths_schedules_would_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (position, reconcile):
        monkeypatch.setattr(module, "in_order", list)
    assert len({str(simulate(RICH, GIVEN, seed, then=digests)) for seed in range(10)}) > 1


@settings(max_examples=40)
@given(shape=shapes(), seeds=st.lists(st.integers(0, 1000), min_size=2, max_size=3, unique=True))
def test_any_graph_gives_one_digest_for_each_step(shape: Shape, seeds: list[int]) -> None:
    graph: Graph = graph_of(shape)
    first, *others = [simulate(graph, GIVEN, seed, then=by_step) for seed in seeds]
    assert all(other == first for other in others)


@settings(max_examples=40)
@given(pipeline=pipelines(), seed=st.integers(0, 1000))
def test_a_pipeline_gives_one_digest_for_each_finished_set(pipeline: Pipeline, seed: int) -> None:
    known: dict[frozenset[str], str] = {}
    for pace in range(seed, seed + 6):
        for finished, digest in simulate(pipeline, 2, pace, then=by_finished).items():
            assert known.setdefault(finished, digest) == digest, finished


def test_another_environment_gives_the_same_digests() -> None:
    """Hash seed, time zone and locale may differ between the process that parks a run and the one that resumes it."""
    root = Path(__file__).parents[2]
    code = "from tests.laws.test_same_digest import *; print(simulate(RICH, GIVEN, 3, then=by_step)[0])"
    source = Path(engine.__file__).parents[2]
    said = set()
    for seed, zone in (("0", "UTC"), ("1", "Asia/Kathmandu"), ("77", "America/St_Johns")):
        changed = {"PYTHONHASHSEED": seed, "TZ": zone, "LC_ALL": "C", "PYTHONPATH": f"{source}{os.pathsep}{root}"}
        command = [sys.executable, "-c", code]
        said.add(
            subprocess.run(command, cwd=root, env={**os.environ, **changed}, capture_output=True, check=True).stdout
        )
    assert said == {f"{simulate(RICH, GIVEN, 3, then=by_step)[0]}\n".encode()}
