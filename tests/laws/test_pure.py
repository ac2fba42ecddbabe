"""Law 1: plan and reconcile are pure; what they call of the user's is sync.

No clock, no dice, no I/O, no waiting: shown on their source, and on every step of random graphs and pipelines, each of
which is worked out twice, the second time with what finished in another order.
"""

import ast
import sys
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import windlass
from tests.laws.specimens import GIVEN, Shape, graph_of, pipelines, shapes, simulate
from windlass import DefinitionError, Graph, Pipeline, RecoveryAction, Task, TaskError, ValidationResult, task
from windlass.core.blueprint import Definition
from windlass.engine import loop
from windlass.engine import plan as planning
from windlass.engine import reconcile as module
from windlass.engine.reconcile import Step, reconcile

PACKAGE = Path(windlass.__file__).parent
PURE = [
    "engine/plan.py", "engine/reconcile.py", "engine/initiate.py", "core/position.py", "core/channels.py",
    "core/asked.py", "core/frames.py", "core/pending.py", "core/schema.py",
    "core/pieces.py", "core/states.py", "core/tallies.py", "core/usage.py",
    *(f"policies/{path.name}" for path in sorted((PACKAGE / "policies").glob("*.py")) if path.stem != "cel"),
]  # fmt: skip
PLAIN = {  # what they may import beside each other: nothing in it tells the time, throws dice, waits or reads
    "collections.abc", "contextlib", "dataclasses", "datetime", "decimal", "email.utils", "enum", "fnmatch",
    "functools", "gc", "hashlib", "inspect", "itertools", "json", "json.decoder", "math", "msgspec", "msgspec.structs",
    "re", "sys", "types", "typing", "unicodedata",
    "windlass.core.tallies", *(f"windlass.policies.{path.stem}" for path in (PACKAGE / "policies").glob("*.py")),
    "windlass.core.blueprint", "windlass.core.channels", "windlass.core.codec", "windlass.core.errors",
    "windlass.core.frames", "windlass.core.ops", "windlass.core.origin", "windlass.core.pending",
    "windlass.core.pieces", "windlass.core.position",
    "windlass.core.records",
    "windlass.core.annotations", "windlass.core.asked", "windlass.core.judged", "windlass.core.redact",
    "windlass.core.secret",
    "windlass.core.schema", "windlass.core.shapes", "windlass.core.talk", "windlass.core.types", "windlass.core.usage",
    "windlass.core.states", "windlass.core.words", "windlass.core", "windlass.engine.plan", "windlass.engine.reconcile",
}  # fmt: skip
EXTRAS = {  # libraries that one of them imports, each used as a function of what it is given
    "core/schema.py": {"uuid"},  # a text is read as one; none is made
    "policies/schemas.py": {  # a JSON Schema is compiled, and references outside it are refused, not fetched
        "jsonschema_rs",
        "google.protobuf",
    },
}
CLOCKS = {"now", "today", "utcnow"}  # of datetime
DOORS = {"open", "input", "print", "exec", "eval", "__import__", "globals"}


@pytest.mark.parametrize("name", PURE)
def test_the_source_has_no_way_out(name: str) -> None:
    for node in ast.walk(ast.parse((PACKAGE / name).read_text())):
        assert not isinstance(node, ast.Await | ast.AsyncFunctionDef | ast.AsyncFor | ast.AsyncWith), node.lineno
        assert not isinstance(node, ast.Global | ast.Nonlocal), node.lineno
        if isinstance(node, ast.Import):
            assert {alias.name for alias in node.names} <= PLAIN | EXTRAS.get(name, set())
        elif isinstance(node, ast.ImportFrom):
            assert node.module in PLAIN | EXTRAS.get(name, set()), node.module
        elif isinstance(node, ast.Name):
            assert node.id not in DOORS, node.lineno
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            assert node.func.attr not in CLOCKS, node.lineno


def shown(step: Step) -> Any:
    """All that a step says, as plain values."""
    channels = {
        name: (one.kind, one.version, one.count, one.pieces[: one.count], one.mark)
        for name, one in step.channels.items()
    }
    return step.finished, step.results, step.deltas, step.planned, step.blobs, channels


class Twice:
    """Stands in for reconcile: works each step out three times, and compares steps and inputs."""

    def __init__(self) -> None:
        self.steps = 0

    def __call__(self, blueprint: Any, position: Any, finished: Any, known: Any, blobs: Any) -> Step:
        before = (position.dump(), position.digest(), str(finished), repr(known))
        step = reconcile(blueprint, position, finished, known, blobs)
        assert shown(reconcile(blueprint, position, finished, known, blobs)) == shown(step)
        assert shown(reconcile(blueprint, position, list(reversed(finished)), known, blobs)) == shown(step)
        assert shown(reconcile(blueprint, position, finished, {}, blobs)) == shown(step)
        assert (position.dump(), position.digest(), str(finished), repr(known)) == before
        self.steps += 1
        return step


def watched(definition: Definition, given: Any, seed: int) -> int:
    """Run a definition with every step worked out several times; return how many there were."""
    twice = Twice()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "reconcile", twice)
        assert simulate(definition, given, seed).status == "completed"
    return twice.steps


@settings(max_examples=40)
@given(shape=shapes(), seed=st.integers(0, 1000))
def test_each_step_of_a_graph_is_a_function_of_its_inputs(shape: Shape, seed: int) -> None:
    assert watched(graph_of(shape), GIVEN, seed) >= 1


@settings(max_examples=20)
@given(pipeline=pipelines(), seed=st.integers(0, 1000))
def test_each_step_of_a_pipeline_is_a_function_of_its_inputs(pipeline: Pipeline, seed: int) -> None:
    assert watched(pipeline, 2, seed) > 1


def test_a_step_that_told_the_time_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    real = planning.plan
    seen: list[int] = []

    def plan(*arguments: Any) -> Any:
        seen.append(0)
        result = real(*arguments)
        result.planned = result.planned[: len(seen) % 2]
        return result

    monkeypatch.setattr(module, "plan", plan)
    with pytest.raises(AssertionError):
        watched(graph_of(Shape(2, ((1,), (0,)), (), (0, 0), 6)), GIVEN, 0)


class One(TypedDict):
    """A channel."""

    n: int


def test_a_branch_is_sync() -> None:
    graph = Graph("g", One)

    @graph.node(writes=["n"])
    async def node(n: int) -> dict[str, int]:
        return {"n": n}

    async def choose(n: int) -> str:
        return "node"

    graph.start(node)

    def build() -> None:
        graph.branch(node, choose, [node])  # type: ignore[arg-type]
        graph.compile()

    with pytest.raises(DefinitionError, match="choose"):
        build()


async def fold(current: int, incoming: int) -> int:
    """A reducer that cannot be one."""
    return current + incoming


class Folded(TypedDict):
    """A channel with it."""

    n: Annotated[int, fold]


def test_a_reducer_is_sync() -> None:
    graph = Graph("g", Folded)

    @graph.node(writes=["n"])
    async def node(n: int) -> dict[str, int]:
        return {"n": n}

    graph.start(node)
    with pytest.raises(DefinitionError, match="reducer of channel 'n' is async"):
        graph.compile()


def test_validate_and_recover_are_sync() -> None:
    async def validate(output: int) -> ValidationResult:
        return ValidationResult.ok()

    async def recover(error: TaskError) -> RecoveryAction:
        raise NotImplementedError

    async def body(n: int) -> int:
        return n

    class Hooked(Task[int, int]):
        id = "hooked"

        async def execute(self, input: int, ctx: windlass.Context) -> int:
            return input

        async def validate(self, output: int) -> ValidationResult:  # type: ignore[override]
            return ValidationResult.ok()

    with pytest.raises(DefinitionError, match="validate"):
        Pipeline("p", [task(validate=validate)(body)]).compile()  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match="recover"):
        Pipeline("p", [task(recover=recover)(body)]).compile()  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match="validate"):
        Pipeline("p", [Hooked()]).compile()


def test_what_is_plain_is_plain() -> None:
    """The list above names no module that it should not."""
    assert not {"asyncio", "time", "random", "os", "io", "threading", "socket"} & PLAIN
    assert {
        name for name in PLAIN if "." not in name and name not in ("msgspec", "windlass")
    } <= sys.stdlib_module_names
