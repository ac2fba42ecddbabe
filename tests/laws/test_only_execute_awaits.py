"""Law 2: only execute awaits user code; what else is the user's (branches, reducers, validate, recover) is called.

Shown on the source, and on a run whose every function looks who called it.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TypedDict

import windlass
from tests.laws.specimens import simulate
from windlass import (
    END,
    Context,
    Graph,
    Happened,
    Output,
    Pipeline,
    Recover,
    RecoveryAction,
    Retry,
    Runtime,
    SyncContext,
    TaskError,
    ValidationResult,
    Yields,
    task,
)

ENGINE = Path(windlass.__file__).parent / "engine"
ASKING = {"run_function", "run_within"}
USERS = {"fn", "validate", "recover", "choose", "reduce", "undo", "on_doubt"}  # what definitions and calls bring


def users_calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Find the calls of what is the user's."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in USERS:
                yield node


def test_the_source_awaits_user_code_in_two_places_only() -> None:
    awaited: set[str] = set()
    called: set[str] = set()
    asked: set[str] = set()
    for path in ENGINE.glob("*.py"):
        tree = ast.parse(path.read_text())
        waits = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Await)}
        for call in users_calls(tree):
            (awaited if id(call) in waits else called).add(path.stem)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ASKING:
                asked.add(path.stem)
    assert awaited == {"execute", "functions"}
    # sync, or an async iterator
    assert called <= {"execute", "functions", "plan", "reconcile", "initiate", "failures", "models"}
    # Calls, models, effects and their verify functions, undos: user code that tasks or a rollback asked for.
    assert asked == {"calls", "models", "effects", "doubts", "undo", "functions"}


SEEN: dict[str, set[str]] = {}


def look(what: str) -> None:
    """Note who called a function of the user's."""
    frame: Any = sys._getframe(1)
    name = "nobody"
    while frame is not None and name == "nobody":
        path = Path(frame.f_code.co_filename)
        name = path.stem if path.parent == ENGINE else "nobody"
        frame = frame.f_back
    SEEN.setdefault(what, set()).add(name)


def summed(current: int, incoming: int) -> int:
    look("reducer")
    return current + incoming


class State(TypedDict):
    """One channel."""

    n: Annotated[int, summed]


def graph() -> Graph:
    made = Graph("looks", State)

    @made.node(writes=["n"])
    async def node(n: int) -> dict[str, int]:
        look("node")
        return {"n": 1}

    def choose(n: int) -> str:
        look("branch")
        return END if n > 3 else "node"

    made.start(node)
    made.branch(node, choose, [node, END])
    return made


def validate(output: int) -> ValidationResult:
    look("validate")
    return ValidationResult.ok()


def recover(error: TaskError) -> RecoveryAction:
    look("recover")
    return Recover.fallback(1)


def is_it(error: BaseException) -> bool:
    look("retry")
    return isinstance(error, ConnectionError)


async def undo(number: int) -> None:
    look("undo")


@task(validate=validate)
async def first(n: int, ctx: Context) -> int:
    async def call() -> int:
        look("call")
        return 1

    async def act(number: int) -> int:
        look("effect")
        return number

    look("task")
    await ctx.effect("act", act, n)
    made: int = await ctx.call("call", call)
    return made


@task
async def items(first: int) -> Yields[int]:
    look("items")
    yield 1
    yield Output(2)


@task
def plain(first: int, ctx: SyncContext) -> int:
    look("sync task")
    return first


@task(retry=Retry(on=is_it, max_attempts=2, initial=0), recover=recover, undo=[undo])
async def failing(items: int, ctx: Context) -> int:
    async def broken(number: int) -> int:
        if ctx.attempt == 1:
            raise ConnectionError("dead")
        return number

    async def verify(number: int) -> Happened | None:
        look("verify")
        return None

    await ctx.effect("broken", broken, items, on_doubt=verify, undo=undo)
    raise ValueError("recover me")


async def rolled_back(runtime: Runtime) -> None:
    await runtime.rollback("r", ("failing", 1))


def test_every_function_of_the_users_is_called_by_the_part_that_may() -> None:
    SEEN.clear()
    simulate(graph(), {"n": 0}, 1)
    simulate(Pipeline("looks", [first, items, plain, failing]), 1, 1, then=rolled_back)
    assert {
        "node": {"execute"}, "task": {"execute"}, "items": {"execute"}, "sync task": {"pool"}, "validate": {"execute"},
        "call": {"functions"}, "effect": {"functions"}, "verify": {"functions"}, "undo": {"functions"},
        "branch": {"plan"}, "reducer": {"reconcile"}, "recover": {"failures"}, "retry": {"failures"},
    } == SEEN  # fmt: skip
