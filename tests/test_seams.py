"""Core and engine take time, ids, dice, tasks and threads from outside, so that tests and simulations own them.

`core/clock.py` is the one door. Imports inside functions count, and so does any name that reaches past the door.
"""

import ast
import pathlib
from collections.abc import Iterator

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / "src" / "windlass"
DOOR = PACKAGE / "core" / "clock.py"
ROOMS = ("core", "engine")

MODULES = {"time", "random", "secrets", "threading", "_thread", "concurrent", "multiprocessing", "sched"}
NAMES = {  # module: what of it is not to be touched
    "uuid": {"uuid1", "uuid4"},
    "os": {"urandom"},
    "asyncio": {"create_task", "ensure_future", "to_thread", "wait_for"},
}
# On whatever object: a loop, a task group, a class. The loop's own timers are no breach: a simulation owns the loop.
METHODS = {"create_task", "ensure_future", "run_in_executor", "utcnow", "today"}


def breaches(source: str) -> Iterator[str]:
    """Name each use of the clock, of chance, of a task's start or of a thread."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom):
            module = (node.module or "").split(".")[0]
            if module in MODULES:
                yield module
            yield from (f"{module}.{alias.name}" for alias in node.names if alias.name in NAMES.get(module, ()))
        elif isinstance(node, ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            if node.attr in METHODS or node.attr in NAMES.get(owner, ()) or (owner, node.attr) == ("datetime", "now"):
                yield f"{owner or '…'}.{node.attr}"


def test_core_and_engine_use_the_door() -> None:
    found = {
        path.relative_to(PACKAGE).as_posix(): list(breaches(path.read_text()))
        for room in ROOMS
        for path in sorted((PACKAGE / room).rglob("*.py"))
        if path != DOOR
    }
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "line",
    [
        "import time",
        "from time import monotonic",
        "def f():\n    import random",
        "from concurrent.futures import ThreadPoolExecutor",
        "import asyncio\nasyncio.create_task(x)",
        "from asyncio import wait_for",
        "loop.create_task(x)",
        "uuid.uuid4()",
        "from uuid import uuid4",
        "datetime.now(tz=UTC)",
        "os.urandom(8)",
    ],
)
def test_a_way_past_the_door_is_seen(line: str) -> None:
    assert list(breaches(line))


@pytest.mark.parametrize("line", ["from datetime import time", "from uuid import UUID", "clock.now()"])
def test_what_is_no_way_past_the_door_is_let_through(line: str) -> None:
    assert not list(breaches(line))
