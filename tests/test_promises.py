"""Promises of docs/promises.md that no test of a single module shows."""

import ast
import asyncio
import re
import sys
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Annotated, Any, TypedDict

import msgspec
import pytest

from windlass import END, Context, Graph, Initial, Pipeline, RunFailed, Runtime, Task, append, task
from windlass.core.queries import Rows
from windlass.core.records import BODY
from windlass.engine import loop

TREE = Path(__file__).parents[1]
SOURCE = TREE / "src" / "windlass"
PATIENCE = 20.0  # seconds until a wait that should end at once is given up


class State(TypedDict):
    n: Annotated[int, Initial(0)]
    log: Annotated[list[str], append]
    aside: Annotated[dict[str, int], Initial({"never": 1})]


def counter(steps: int, line: str = "x") -> Graph:
    graph = Graph("counter", State, step_limit=1000)

    @graph.node(writes=["n", "log"])
    async def step(n: int) -> dict[str, object]:
        return {"n": n + 1, "log": [line]}

    def more(n: int) -> str:
        return END if n >= steps else "step"

    graph.start(step)
    graph.branch(step, more, [step, END])
    return graph


@pytest.fixture
async def runtime() -> AsyncIterator[Runtime]:
    async with Runtime("memory:") as opened:
        yield opened


async def test_siblings_run_at_once(runtime: Runtime) -> None:
    meet = asyncio.Barrier(2)

    @task
    async def left(n: int) -> int:
        await meet.wait()
        return n

    @task
    async def right(n: int) -> int:
        await meet.wait()
        return n

    async with asyncio.timeout(PATIENCE):
        result = await runtime.run(Pipeline("siblings", [left, right]), 1)
    assert result.output == {"left": 1, "right": 1}


@pytest.mark.parametrize("seed", range(10))
async def test_no_task_begins_before_all_that_it_needs_has_finished(runtime: Runtime, seed: int) -> None:
    chance = Random(seed)
    needs = {number: chance.sample(range(number), min(number, chance.randrange(4))) for number in range(20)}
    finished: set[int] = set()

    class Step(Task[Any, int]):
        def __init__(self, number: int) -> None:
            self.id = f"step{number}"
            self.number = number
            self.pause = chance.random() / 500

        async def execute(self, input: Any, ctx: Context) -> int:
            assert finished.issuperset(needs[self.number])
            await asyncio.sleep(self.pause)
            finished.add(self.number)
            return self.number

    edges = [(f"step{source}", f"step{number}") for number, sources in needs.items() for source in sources]
    result = await runtime.run(Pipeline("dag", [Step(number) for number in needs], edges), 0)
    assert result.status == "completed"
    assert len(finished) == len(needs)


async def test_calls_of_one_task_run_at_once(runtime: Runtime) -> None:
    meet = asyncio.Barrier(3)

    async def model(prompt: str) -> str:
        await meet.wait()
        return prompt.upper()

    @task
    async def ask_all(prompts: list[str], ctx: Context) -> list[str]:
        return list(await asyncio.gather(*(ctx.call("model", model, prompt) for prompt in prompts)))

    async with asyncio.timeout(PATIENCE):
        result = await runtime.run(Pipeline("calls", [ask_all]), ["a", "b", "c"])
    assert result.output == ["A", "B", "C"]


async def test_fifty_agents_are_one_graph(runtime: Runtime) -> None:
    def agent(number: int) -> Any:
        @task(id=f"agent{number}")
        async def work(topic: str) -> str:
            return f"{topic} {number}"

        return work

    result = await runtime.run(Pipeline("fleet", [agent(number) for number in range(60)]), "rope")
    assert result.output == {f"agent{number}": f"rope {number}" for number in range(60)}


async def rows(runtime: Runtime, run: str) -> list[Any]:
    return [BODY.decode(row.body) for row in await runtime.store.find(Rows(run=run))]


async def test_a_step_writes_the_channels_that_changed_and_no_others(runtime: Runtime) -> None:
    run = (await runtime.run(counter(5), {})).run
    first, *later = await rows(runtime, run)
    assert first.results.keys() == State.__annotations__.keys()
    for body in later:
        assert {name for done in body.finished for name in done.writes} | body.results.keys() == {"n", "log"}


async def test_what_is_written_grows_with_the_data_and_not_with_its_square(runtime: Runtime) -> None:
    run = (await runtime.run(counter(200, line="x" * 1024), {})).run
    kept = sum(len(row.body) for row in await runtime.store.find(Rows(run=run)))
    assert kept < 2 * 200 * 1024


async def test_every_checkpoint_is_told_and_says_what_the_step_did(runtime: Runtime) -> None:
    run = (await runtime.run(counter(3), {})).run
    events = [event async for event in runtime.events(run)]
    told = [event for event in events if event.type == "step.committed"]
    history = await runtime.history(run)
    assert [event.data["n"] for event in told] == [point.n for point in history] == [1, 2, 3, 4]
    assert [event.data["digest"] for event in told] == [point.digest for point in history]
    assert [event.data["finished"] for event in told] == [[], ["step#1"], ["step#2"], ["step#3"]]
    assert [event.data["planned"] for event in told] == [["step#1"], ["step#2"], ["step#3"], []]
    wrote = [event.data["writes"] for event in events if event.type == "activation.completed"]
    assert wrote == [{"n": n, "log": ["x"]} for n in (1, 2, 3)]
    assert [(await runtime.state(run, at=point.n))["n"] for point in history] == [0, 1, 2, 3]


async def test_a_step_begins_when_the_one_before_is_in_the_store(runtime: Runtime) -> None:
    graph, seen = Graph("looking", State), []

    @graph.node(writes=["n"])
    async def step(n: int, ctx: Context) -> dict[str, int]:
        seen.append((await runtime.history(ctx.run_id))[-1].n)
        return {"n": n + 1}

    def more(n: int) -> str:
        return END if n >= 5 else "step"

    graph.start(step)
    graph.branch(step, more, [step, END])
    await runtime.run(graph, {})
    assert seen == [1, 2, 3, 4, 5]


async def test_a_failure_is_an_event_and_no_exception(runtime: Runtime) -> None:
    @task
    async def fails(n: int) -> int:
        raise ValueError("no")

    events = [event async for event in runtime.execute(Pipeline("fails", [fails]), 1)]
    ended = ["attempt.failed", "activation.failed", "dead_letter.made", "run.failed"]
    assert [event.type for event in events[-4:]] == ended
    assert events[-1].data["failure"]["kind"] == "ValueError"


async def test_what_finished_beside_a_failure_is_kept(runtime: Runtime) -> None:
    began: list[str] = []
    graph = Graph("beside", State)

    @graph.node(writes=["log"])
    async def good() -> dict[str, list[str]]:
        began.append("good")
        return {"log": ["good"]}

    @graph.node(writes=["n"])
    async def bad(n: int) -> dict[str, int]:
        began.append("bad")
        if began.count("bad") == 1:
            raise ValueError("not yet")
        return {"n": 1}

    graph.start("good", "bad")
    with pytest.raises(RunFailed, match="not yet"):
        await runtime.run(graph, {}, id="r")
    assert (await runtime.state("r"))["log"] == []  # kept, and not settled: the step is not complete
    await runtime.resume("r")
    assert (await runtime.wait("r")).output["log"] == ["good"]
    assert began == ["good", "bad", "bad"]


async def test_a_run_is_seen_from_elsewhere_while_it_goes_on(tmp_path: Path) -> None:
    url, go_on = f"sqlite:///{tmp_path}/runs.db", asyncio.Event()

    @task
    async def first(n: int) -> int:
        return n + 1

    @task
    async def second(first: int, ctx: Context) -> int:
        ctx.emit("half way")
        await go_on.wait()
        return first

    async with Runtime(url) as owner, Runtime(url) as watcher, asyncio.timeout(PATIENCE):
        run = await owner.start(Pipeline("long", [first, second]), 1)
        async for event in watcher.events(run, follow=True):
            if event.type == "activation.completed" and event.address == "first#1":
                assert (await watcher.state(run))["first"] == 2
                assert (await watcher.get(run)).head.status == "running"
                go_on.set()
        assert event.type == "run.completed"


async def test_a_stall_is_told_before_the_timeout(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "STALL_SECONDS", 0.05)
    end = asyncio.Event()

    @task(timeout=PATIENCE)
    async def quiet(n: int) -> int:
        await end.wait()
        return n

    kinds = []
    async with asyncio.timeout(PATIENCE):
        async for event in runtime.execute(Pipeline("quiet", [quiet]), 1):
            kinds.append(event.type)
            if event.type == "activation.stalled":
                end.set()
    assert "activation.stalled" in kinds
    assert kinds[-1] == "run.completed"


async def test_a_run_that_fails_leaves_the_others_alone(runtime: Runtime) -> None:
    both = asyncio.Barrier(2)

    @task
    async def work(n: int) -> int:
        await both.wait()
        if n < 0:
            raise ValueError(n)
        return n

    pipeline = Pipeline("work", [work])
    bad, good = await runtime.start(pipeline, -1), await runtime.start(pipeline, 1)
    async with asyncio.timeout(PATIENCE):
        assert (await runtime.wait(good)).output == 1
    assert (await runtime.history(bad))[0].finished == ()
    assert await runtime.state(good) == {"input": 1, "work": 1}
    assert await runtime.state(bad) == {"input": -1}


async def test_a_snapshot_holds_each_channel_by_itself(runtime: Runtime) -> None:
    run = (await runtime.run(counter(3), {})).run
    fork = await runtime.fork(run, at=3)
    loaded = await runtime.store.load(fork)
    assert loaded.manifest is not None
    kept = msgspec.json.decode(loaded.manifest.body)["channels"]
    assert kept.keys() == State.__annotations__.keys()


# Structure


ROOMS = ("core", "policies", "engine", "graph", "stores", "worker")


def modules(*rooms: str) -> dict[str, ast.Module]:
    paths = [path for room in rooms for path in sorted((SOURCE / room).rglob("*.py"))]
    return {str(path.relative_to(SOURCE)): ast.parse(path.read_text()) for path in paths}


def test_nothing_is_global() -> None:
    found = {
        path: node.names
        for path, tree in modules(*ROOMS).items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Global)
    }
    assert found == {}


def test_no_model_tool_or_memory_is_built_in() -> None:
    project = tomllib.loads((TREE / "pyproject.toml").read_text())["project"]
    named = {re.split(r"[ ;<>=]", entry)[0] for entry in project["dependencies"]}
    assert named == {"apsw", "msgspec", "backports.zstd"}
    imported: set[str] = set()
    for tree in modules(*ROOMS).values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").partition(".")[0])
    newer = {"annotationlib", "compression"}  # of the standard library from 3.14 on
    outside = imported - sys.stdlib_module_names - newer
    schemas = {"pydantic", "jsonschema_rs", "google"}  # of outputs: protobuf is the user's own
    assert outside <= {"windlass", "apsw", "msgspec", "backports", "numpy", "cel"} | schemas


def test_only_looking_back_reads_history() -> None:
    readers = {
        path
        for path, tree in modules("engine").items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) in {("queries", "Rows"), ("r", "Rows")}
    }  # fmt: skip
    assert readers <= {"engine/reads.py", "engine/tree.py", "engine/regained.py", "engine/audits.py"}


def calls_in(path: str) -> dict[str, list[str]]:
    """What each async function of a module calls by its plain name, in the order of the source."""
    (tree,) = [tree for name, tree in modules("engine").items() if name == path]
    found: dict[str, list[str]] = {}
    for function in tree.body:
        if isinstance(function, ast.AsyncFunctionDef):
            called = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
            called.sort(key=lambda node: (node.lineno, node.col_offset))
            found[function.name] = [node.func.id for node in called if isinstance(node.func, ast.Name)]
    return found


def test_what_a_task_has_done_passes_the_boundary_before_it_is_done() -> None:
    """`ctx.call`, `ctx.tool`, `ctx.effect` and `ctx.model` come down to three places that call a user's function."""
    calls, effects, models = (calls_in(f"engine/{name}.py") for name in ("calls", "effects", "models"))
    assert [name for name, called in calls.items() if "run_function" in called] == ["_made"]
    assert calls["_made"].index("enter") < calls["_made"].index("run_function")
    assert [name for name, called in models.items() if "run_function" in called] == ["_talk"]
    assert [name for name, called in models.items() if "_talk" in called] == ["_ask_one"]
    assert models["_ask_one"].index("enter") < models["_ask_one"].index("_talk")
    assert [name for name, called in effects.items() if "run_within" in called] == ["_happen"]
    assert [name for name, called in effects.items() if "_in_flight" in called] == ["perform"]
    assert effects["perform"].index("enter") < effects["perform"].index("_in_flight")
