"""One very large value: refused by its path before anything is written, or kept, if the limit allows, at a fair price.

The price is the most memory that a process of its own takes while the value is made, kept and read back, as a multiple
of its size.
"""

import asyncio
import json
import os
import traceback
from collections.abc import Callable, Coroutine
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, TypedDict

from trials.figures import Figures, Trial
from windlass import Graph, RunFailed, Runtime
from windlass.core.errors import WindlassError
from windlass.core.queries import Rows
from windlass.core.states import ENDED

MOST_TIMES = 3.0  # FAULTS F31; a plain `json.dumps` of the whole takes six times the value
MEGABYTE = 1_000_000
DIGITS = 64  # of a SHA-256 in hex
BEGAN = [0]
VALUES: dict[str, Callable[[int], Any]] = {"bytes": os.urandom, "text": lambda size: "x" * size}


class State(TypedDict, total=False):
    """The channels."""

    before: int
    value: Any


def graph_of(give: Callable[[], Any], **options: Any) -> Graph:
    """Make a graph of a node that writes little and one that writes much."""
    graph = Graph("large", State, **options)

    @graph.node(writes=["before"])
    async def first() -> dict[str, Any]:
        return {"before": 1}

    @graph.node(writes=["value"])
    async def second() -> dict[str, Any]:
        return {"value": give()}

    graph.start("first")
    graph.edge("first", "second")
    return graph


async def refused(url: str, value: Any) -> str:
    """Say what is wrong with how a value above the limit fares, as what a node writes and as an input."""
    async with Runtime(url) as runtime:
        graph = graph_of(lambda: {"a": [1, value]})
        try:
            await runtime.run(graph, {}, id="written")
        except RunFailed as error:
            said = error.failure
            if said.get("code") != "value.too_large" or "value.a[1]" not in said["message"]:
                return f"not refused by its path: {said!r:.200}"
        else:
            return "kept"
        state = await runtime.state("written")
        rows = await runtime.store.find(Rows(run="written"))
        if state != {"before": 1} or sum(len(row.body) for row in rows) > MEGABYTE:
            return "partial"
        try:
            await runtime.start(graph, {"value": value}, id="given")
        except WindlassError as error:
            return (
                "" if error.code == "value.too_large" and not await runtime.runs(ids=("given",)) else f"{error!r:.200}"
            )
        return "kept"


async def kept(url: str, make: Callable[[], Any], size: int) -> str:
    """Keep a value, and return its digest; a small one before it pays for what every process pays."""
    digests: list[str] = []

    def give() -> Any:
        value = make()
        digests.append(digest_of(value))
        return value

    async with Runtime(url) as runtime:
        await runtime.run(graph_of(lambda: 1), {}, id="small")
        begin()
        run = await runtime.start(graph_of(give, max_value=2 * size), {}, id="kept")
        while (await runtime.get(run)).head.status not in ENDED:  # noqa: ASYNC110 -- `wait` would read the value
            await asyncio.sleep(0.01)
        if url == "memory:":
            digests.append(digest_of((await runtime.state(run))["value"]))
    return digests[0] if len(set(digests)) == 1 else "CHANGED"


async def found(url: str) -> str:
    """Read the value in a process that has not seen it, and return its digest."""
    async with Runtime(url, [graph_of(lambda: 1)]) as runtime:
        await runtime.state("small")
        begin()
        return digest_of((await runtime.state("kept"))["value"])


def digest_of(value: Any) -> str:
    """Name a value and its type, without a copy of a large one."""
    whole = sha256(type(value).__name__.encode())
    for start in range(0, len(value), MEGABYTE):
        part = value[start : start + MEGABYTE]
        whole.update(part.encode() if isinstance(part, str) else part)
    return whole.hexdigest()


def begin() -> None:
    """Count this process's memory from here."""
    Path("/proc/self/clear_refs").write_text("5")
    BEGAN[:] = [memory("VmRSS")]


def measured(work: Callable[[], Coroutine[Any, Any, str]]) -> tuple[str, int]:
    """Do work in a child, and say how it went and how many bytes of memory it took at most since it said `begin`."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            begin()
            try:
                said = asyncio.run(work())
            except BaseException:  # noqa: BLE001 -- a child must never come back
                said = traceback.format_exc(limit=-3)
            os.write(write, json.dumps([said[:1_000], memory("VmHWM") - BEGAN[0]]).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as told:
        answer = told.read()
    os.waitpid(child, 0)
    said, took = json.loads(answer) if answer else ("the child was killed", 0)
    return said, took


def memory(what: str) -> int:
    """Read a line of this process's status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))


def large(folder: Path, megabytes: int) -> Figures:
    """Try values of so many megabytes on every store."""
    figures = Figures(bad={"CHANGED": 0, "not refused": 0, "too dear": 0}, reached={"kept": 0, "refused": 0})
    size = megabytes * MEGABYTE
    for kind, make in VALUES.items():
        for store, url in {"memory": "memory:", "sqlite": f"sqlite:///{folder / kind}.db"}.items():
            one(figures, f"{store}, {kind}", url, partial(make, size), size)
    return figures


def one(figures: Figures, where: str, url: str, make: Callable[[], Any], size: int) -> None:
    """Try one kind of value on one store."""
    said, _ = measured(lambda: refused(url, make()))
    figures.trials += 2
    figures.reach("refused", not said)
    if said:
        figures.blame("not refused", f"{where}: {said}")
    written, took = measured(lambda: kept(url, make, size))
    read, took_reading = (written, 0) if url == "memory:" else measured(lambda: found(url))
    figures.reach("kept", len(read) == DIGITS)
    if written != read or len(read) != DIGITS:
        figures.blame("CHANGED", f"{where}: {written:.200} into {read:.200}")
    times = round(max(took, took_reading) / size, 1)
    figures.shown[where] = f"{took / size:.2f} × the value to keep, {took_reading / size:.2f} × to read"
    if times > MOST_TIMES:
        figures.blame("too dear", f"{where}: {times} times its size in memory")


TRIALS = (
    Trial(
        "large values", "F31",
        "A very large value is refused by its path with nothing written; with a raised limit it comes back as it was, "
        "and takes at most three times its size in memory",
        large, short={"megabytes": 64}, long={"megabytes": 100},
    ),
)  # fmt: skip
