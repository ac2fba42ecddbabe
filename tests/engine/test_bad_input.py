"""Bad input: each a typed error with code and hint, and nothing in the store has changed."""
# ruff: noqa: ASYNC240 -- nothing else runs on the loop of these tests

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

import apsw
import pytest

from windlass import Context, DefinitionError, Edge, Graph, Pipeline, RunFailed, Runtime, Send, Update, task
from windlass.core.errors import (
    CheckpointUnknown,
    DefinitionChanged,
    DefinitionUnknown,
    InputError,
    QuestionUnknown,
    RunExists,
    RunOwned,
    RunState,
    RunUnknown,
    StoreCorrupt,
    StoreUnavailable,
    StoreVersion,
    ValueNotKept,
    ValueTooLarge,
    WindlassError,
)
from windlass.stores.sqlite import SQLiteStore
from windlass.testing.disk import FailingDisk


@contextmanager
def refused(kind: type[WindlassError], code: str, *said: str) -> Iterator[None]:
    """Expect an error of a kind and code that says all this, and has a hint."""
    with pytest.raises(kind) as caught:
        yield
    error = caught.value
    assert error.code == code
    assert error.hint, f"{code} has no hint"
    for words in said:
        assert words in str(error), str(error)


async def kept(runtime: Runtime) -> list[Any]:
    """All that is in the store: runs with their events, and questions."""
    runs = await runtime.runs()
    return [(run, [event async for event in runtime.events(run.id)]) for run in runs] + [await runtime.questions()]


# Definitions


@task
async def one(n: int) -> int:
    return n


@task
async def two(one: int) -> int:
    return one


@task
async def three(two: int) -> int:
    return two


def test_a_cycle_is_named_with_its_path() -> None:
    with refused(DefinitionError, "pipeline.cycle", "one", "two", "three", "->"):
        Pipeline("p", [one, two, three], [("three", "one")]).compile()


def test_an_edge_to_nobody_is_named_with_who_there_is() -> None:
    with refused(DefinitionError, "pipeline.unknown_task", "twoo", "two"):
        Pipeline("p", [one, two], [Edge("one", "twoo")]).compile()


class State(TypedDict):
    """Channels."""

    n: int
    names: list[str]


def nodes(body: Callable[..., Any], **options: Any) -> Graph:
    """A graph of one node."""
    graph = Graph("g", State)
    graph.node(id="node", **options)(body)
    graph.start("node")
    return graph


async def test_a_parameter_that_names_nothing_is_refused_before_there_is_a_run(runtime: Runtime) -> None:
    async def node(names: list[str], nam: str) -> None:
        return None

    with refused(DefinitionError, "definition.parameter", "nam", "names"):
        await runtime.start(nodes(node), {}, id="r")
    assert await kept(runtime) == [[]]


async def test_a_value_that_is_no_definition_is_refused(runtime: Runtime) -> None:
    for given in (object(), "p", one, Pipeline):
        with refused(DefinitionError, "definition.kind", "is no definition"):
            await runtime.start(given, 1)  # type: ignore[arg-type]
    assert await kept(runtime) == [[]]


# Values


@dataclass
class Deep:
    """A value with something in it."""

    a: list[Any]


@pytest.mark.parametrize("given", ["three", 3.5, None, [3], {"n": 3}])
async def test_an_input_of_another_type_is_refused(runtime: Runtime, given: Any) -> None:
    with refused(InputError, "value.input", "input"):
        await runtime.start(Pipeline("p", [one]), given, id="r")
    assert await kept(runtime) == [[]]


async def test_an_input_that_names_no_channel_is_refused(runtime: Runtime) -> None:
    async def node(n: int) -> dict[str, int]:
        return {"n": n}

    with refused(InputError, "value.input", "nn", "names"):
        await runtime.start(nodes(node, writes=["n"]), {"nn": 1}, id="r")
    with refused(InputError, "value.input", "input.n"):
        await runtime.start(nodes(node, writes=["n"]), {"n": "one"}, id="r")
    assert await kept(runtime) == [[]]


async def test_an_input_that_cannot_be_kept_is_refused_with_its_path(runtime: Runtime) -> None:
    @task
    async def take(deep: Any) -> int:
        return 1

    with socket.socket() as open_socket:
        values: dict[str, Any] = {
            "input.a[3].b": {"a": [1, 2, 3, {"b": open_socket}]}, "input[0]": [(n for n in range(3))],
            "input.lock": {"lock": asyncio.Lock()},
        }  # fmt: skip
        for path, value in values.items():
            with pytest.raises(ValueNotKept) as caught:
                await runtime.start(Pipeline("p", [take]), value, id="r")
            assert str(caught.value).startswith(f"{path}: ")
            assert "is not a value that can be kept" in str(caught.value)
            assert caught.value.code == "value.not_kept"
            assert caught.value.hint
    assert await kept(runtime) == [[]]


async def failed(runtime: Runtime, definition: Any, given: Any) -> dict[str, Any]:
    """Run what has to fail; return what is kept of the failure. Its state is the one before the step."""
    with pytest.raises(RunFailed) as caught:
        await runtime.run(definition, given, id="r")
    assert caught.value.hint
    assert [checkpoint.n for checkpoint in await runtime.history("r")] == [1]
    assert (await runtime.replay("r")).differing == ()
    return caught.value.failure


async def test_a_write_that_cannot_be_kept_fails_with_its_path_and_writes_nothing(runtime: Runtime) -> None:
    async def node(n: int) -> dict[str, Any]:
        with socket.socket() as open_socket:
            return {"n": 7, "names": ["a", "b", {"c": [open_socket]}]}

    failure = await failed(runtime, nodes(node, writes=["n", "names"]), {"n": 1, "names": ["x"]})
    assert (failure["kind"], failure["code"]) == ("ValueNotKept", "value.not_kept")
    assert "names[2].c[0]: socket" in failure["message"]
    assert await runtime.state("r") == {"n": 1, "names": ["x"]}


@pytest.mark.parametrize("where", ["call", "effect", "send"])
async def test_what_a_call_an_effect_or_a_send_gives_has_to_be_kept_too(runtime: Runtime, where: str) -> None:
    async def give(n: int) -> Any:
        return [object()]

    async def take(given: object) -> None:
        return None

    async def node(n: int, ctx: Context) -> Any:
        if where == "call":
            await ctx.call("give", give, n)
        elif where == "effect":
            await ctx.effect("take", take, object())
        return Update(n=2, sends=[Send("other", object())])

    async def other(item: Any) -> None:
        return None

    graph = nodes(node, writes=["n"], sends=["other"])
    graph.node(id="other")(other)
    failure = await failed(runtime, graph, {"n": 1})
    assert (failure["kind"], failure["code"]) == ("ValueNotKept", "value.not_kept")
    assert "node#1" in failure["message"]
    assert await runtime.state("r") == {"n": 1}


async def test_a_value_that_is_too_large_is_refused_with_its_size(runtime: Runtime) -> None:
    async def node(n: int) -> dict[str, Any]:
        return {"n": 2, "names": ["small", "x" * 200_000]}

    graph = Graph("g", State, max_value=100_000)
    graph.node(id="node", writes=["n", "names"])(node)
    graph.start("node")
    failure = await failed(runtime, graph, {"n": 1})
    assert failure["code"] == "value.too_large"
    assert "names" in failure["message"]
    assert "200,0" in failure["message"]
    assert await runtime.state("r") == {"n": 1}
    with refused(ValueTooLarge, "value.too_large", "input", "100,000"):
        await runtime.start(Pipeline("p", [sized], max_value=100_000), "y" * 100_001, id="s")
    assert [run.id for run in await runtime.runs()] == ["r"]


@task
async def sized(text: str) -> int:
    return len(text)


def picky(current: int, incoming: int) -> int:
    """A reducer that raises."""
    if incoming > 1:
        raise ArithmeticError("too much")
    return current + incoming


class Picky(TypedDict):
    """A channel with it, and one without."""

    n: Annotated[int, picky]
    other: list[str]


async def test_a_reducer_that_raises_applies_nothing_of_the_step(runtime: Runtime) -> None:
    graph = Graph("picky", Picky)

    @graph.node(writes=["n", "other"])
    async def node(n: int) -> dict[str, Any]:
        return {"n": n + 1, "other": ["changed"]}

    graph.start(node)
    failure = await failed(runtime, graph, {"n": 1, "other": ["as it was"]})
    assert (failure["kind"], failure["code"]) == ("ReducerFailed", "run.reducer")
    for said in ("channel n", "ArithmeticError('too much')", "node#1"):
        assert said in failure["message"]
    assert await runtime.state("r") == {"n": 1, "other": ["as it was"]}


async def test_an_undeclared_write_is_refused(runtime: Runtime) -> None:
    async def node(n: int) -> dict[str, Any]:
        return {"n": 2, "names": ["undeclared"]}

    failure = await failed(runtime, nodes(node, writes=["n"]), {"n": 1})
    assert failure["code"] == "run.write_undeclared"
    assert "node#1 wrote names" in failure["message"]
    assert await runtime.state("r") == {"n": 1}


# Stores


@pytest.fixture
async def parked(tmp_path: Path) -> Path:
    """A database with a run that waits for an answer."""
    async with Runtime(f"sqlite:///{tmp_path}/w.db") as runtime:
        await runtime.run(asking, 1, id="r")
    return tmp_path / "w.db"


@task
async def ask(n: int, ctx: Context) -> str:
    return await ctx.ask("well?", str)


asking = Pipeline("asking", [ask])


async def opened(path: Path) -> None:
    """Open a runtime over a file."""
    async with Runtime(f"sqlite:///{path}"):
        pass


def change(path: Path, statement: str) -> None:
    """Change a database behind the store's back."""
    connection = apsw.Connection(str(path))
    connection.execute(statement)
    connection.close()


async def test_a_database_of_a_newer_version_is_refused(parked: Path) -> None:
    change(parked, "PRAGMA user_version = 99")
    before = parked.read_bytes()
    with refused(StoreVersion, "store.version", "99", str(parked)):
        await opened(parked)
    assert parked.read_bytes() == before


@pytest.mark.parametrize("damage", [b"no database at all " * 300, b"SQLite format 3\0" + b"\xff" * 4096])
async def test_a_file_that_is_no_database_is_refused(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "w.db"
    path.write_bytes(damage)
    with refused(StoreCorrupt, "store.corrupt", str(path)):
        await opened(path)
    assert path.read_bytes() == damage


async def test_a_row_that_was_changed_is_found_and_other_runs_go_on(parked: Path) -> None:
    async with Runtime(f"sqlite:///{parked}") as runtime:
        await runtime.run(asking, 2, id="s")
    flipped = "CAST(replace(CAST(body AS TEXT), '\"at\"', '\"aT\"') AS BLOB)"
    change(parked, f"UPDATE log SET body = {flipped} WHERE id = (SELECT max(id) FROM log WHERE id >> 32 = 1)")
    async with Runtime(f"sqlite:///{parked}", [asking]) as runtime:
        with refused(StoreCorrupt, "store.corrupt", "r"):
            await runtime.run(asking, 1, id="r")
        (question,) = await runtime.questions("s")
        await runtime.answer(question.id, "fine")
        assert (await runtime.wait("s")).output == "fine"


async def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with refused(StoreUnavailable, "store.unavailable"):
        await opened(tmp_path / "file" / "w.db")


@pytest.mark.parametrize("error", [apsw.FullError, apsw.IOError, apsw.ReadOnlyError])
async def test_a_disk_that_fails_leaves_the_run_at_its_last_row(tmp_path: Path, error: type[apsw.Error]) -> None:
    @task
    async def first(n: int) -> int:
        return n

    @task
    async def second(first: int) -> int:
        disk.error, disk.fails = error, "write"
        return first + 1

    pipeline = Pipeline("p", [first, second])
    with FailingDisk(f"full-{error.__name__}") as disk:
        store = SQLiteStore(f"sqlite:///{tmp_path}/w.db", vfs=f"full-{error.__name__}")
        await store.open()
        async with Runtime(store) as runtime:
            with refused(StoreUnavailable, "store.unavailable"):
                await runtime.run(pipeline, 1, id="r")
            disk.fails = ""
            record = await runtime.get("r")
            assert record.head.status == "running"
            done = [event.address async for event in runtime.events("r") if event.type == "activation.completed"]
            assert done == ["first#1"]
        await store.close()
    async with Runtime(f"sqlite:///{tmp_path}/w.db") as runtime:
        disk_is_well = await runtime.run(Pipeline("p", [first, task(id="second")(plus_one)]), 1, id="r")
        assert disk_is_well.output == 2


async def plus_one(first: int) -> int:
    """The second task, on a disk that is well."""
    return first + 1


async def test_who_follows_a_run_is_told_that_its_store_failed(tmp_path: Path) -> None:
    @task
    async def fill(n: int) -> int:
        disk.error, disk.fails = apsw.FullError, "write"
        return n

    with FailingDisk("followed") as disk:
        store = SQLiteStore(f"sqlite:///{tmp_path}/w.db", vfs="followed")
        await store.open()
        async with Runtime(store) as runtime:
            with refused(StoreUnavailable, "store.unavailable"):
                async for event in runtime.execute(Pipeline("p", [fill]), 1, id="r"):
                    assert event.type != "run.completed"
            disk.fails = ""
            assert (await runtime.get("r")).head.status == "running"
        await store.close()


# Runs


async def test_a_second_runtime_does_not_take_an_owned_run(url: str) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    @task
    async def wait(n: int) -> int:
        begun.set()
        await go_on.wait()
        return n

    pipeline = Pipeline("p", [wait])
    async with Runtime(url) as owner, Runtime(url, [pipeline]) as other:
        await owner.start(pipeline, 1, id="r")
        await begun.wait()
        before = await kept(other)
        for verb in (other.resume("r"), other.pick_up("r")):
            with refused(RunOwned, "run.owned", "r", "until"):
                await verb
        assert await kept(other) == before
        go_on.set()
        assert (await owner.wait("r")).output == 1


async def test_verbs_on_what_is_not_there_are_refused(runtime: Runtime) -> None:
    await runtime.run(Pipeline("p", [one, two]), 1, id="r")
    before = await kept(runtime)
    verbs: tuple[Awaitable[Any], ...] = (
        runtime.rollback("r", 99),
        runtime.rollback("r", "nowhere"),
        runtime.fork("r", at=99),
        runtime.state("r", 99),
    )
    for verb in verbs:
        with refused(CheckpointUnknown, "run.checkpoint_unknown", "r"):
            await verb
    verbs = (
        runtime.get("x"),
        runtime.resume("x"),
        runtime.pause("x"),
        runtime.rollback("x", 1),
        runtime.history("x"),
    )
    for verb in verbs:
        with refused(RunUnknown, "run.unknown", "x"):
            await verb
    with refused(QuestionUnknown, "question.unknown", "nobody asked"):
        await runtime.answer("nobody asked", 1)
    for verb in (runtime.resume("r"), runtime.cancel("r"), runtime.pause("r")):
        with refused(RunState, "run.state", "completed"):
            await verb
    with refused(RunExists, "run.exists", "another input"):
        await runtime.start(Pipeline("p", [one, two]), 2, id="r")
    with refused(RunExists, "run.exists", "definition"):
        await runtime.start(Pipeline("q", [one, two]), 1, id="r")
    assert await kept(runtime) == before


async def test_a_rollback_by_a_process_without_the_definition_is_refused(url: str) -> None:
    async with Runtime(url) as runtime:
        await runtime.run(Pipeline("p", [one, two]), 1, id="r")
    async with Runtime(url) as runtime:
        before = await kept(runtime)
        with refused(DefinitionUnknown, "run.definition_unknown", "'p'"):
            await runtime.rollback("r", ("two", 1))
        assert await kept(runtime) == before


EDITS: dict[str, tuple[Pipeline, str]] = {}


@task(id="ask")
async def ask_number(n: int, ctx: Context) -> int:
    return await ctx.ask("well?", int)


@task(id="ask")
async def ask_twice(n: str, ctx: Context) -> str:
    return await ctx.ask("well?", str)


@task
async def say(ask: str) -> str:
    return ask


CHANGED = {
    "nodes.say: added": Pipeline("asking", [ask, say]), "ask: str -> int": Pipeline("asking", [ask_number]),
    "int -> str": Pipeline("asking", [ask_twice]), "version": Pipeline("asking", [ask], version="2"),
}  # fmt: skip


@pytest.mark.parametrize("difference", CHANGED)
async def test_a_structure_that_changed_is_refused_with_both_fingerprints(url: str, difference: str) -> None:
    changed = CHANGED[difference]
    async with Runtime(url) as runtime:
        await runtime.run(asking, 1, id="r")
    async with Runtime(url, [changed]) as runtime:
        before = await kept(runtime)
        (question,) = await runtime.questions("r")
        prints = (asking.compile().fingerprint, changed.compile().fingerprint)
        with refused(DefinitionChanged, "run.definition_changed", *prints):
            await runtime.resume("r")
        with refused(DefinitionChanged, "run.definition_changed", *prints):
            await runtime.pick_up("r")
        assert await kept(runtime) == before
    async with Runtime(url, [asking]) as runtime:
        await runtime.answer(question.id, "yes")
        assert (await runtime.wait("r")).output == "yes"
