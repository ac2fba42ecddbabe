"""The floor: a bare journal without any feature, as small as one can be. A bound, not a design.

One row a step: run, number, node and a delta, in SQLite's WAL mode at `synchronous=FULL`. No digests, events, leases,
fences, types, retries, reads; it cannot even resume.
"""

import asyncio
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any

import msgspec

ENCODER = msgspec.msgpack.Encoder()
INSERT = "INSERT INTO log VALUES (?, ?, ?, ?)"
Row = tuple[str, int, str, bytes]
Commit = Callable[[Row], Awaitable[None]]


def opened() -> sqlite3.Connection:
    """Open the journal in the working directory."""
    link = sqlite3.connect("bench.db", isolation_level=None, check_same_thread=False)
    link.execute("PRAGMA journal_mode = WAL")
    link.execute("PRAGMA synchronous = FULL")
    link.execute("CREATE TABLE IF NOT EXISTS log (run TEXT, step INT, node TEXT, delta BLOB)")
    link.execute("CREATE UNIQUE INDEX IF NOT EXISTS place ON log (run, step)")
    return link


async def count(state: dict[str, int]) -> dict[str, int]:
    """Do what the benchmark's node does."""
    return {"n": state["n"] + 1}


async def drive(run: str, steps: int, commit: Commit | None) -> None:
    """Go round the loop."""
    state = {"n": 0}
    for step in range(steps):
        delta = await count(dict(state))
        state.update(delta)
        if commit is not None:
            await commit((run, step, "count", ENCODER.encode(delta)))


def loop(steps: int, kept: bool = True) -> dict[str, float]:
    """One run, each step waits for its own commit."""
    with closing(opened()) as link:

        async def commit(row: Row) -> None:
            link.execute(INSERT, row)

        begun = time.perf_counter()
        asyncio.run(drive("run", steps, commit if kept else None))
        return {"rate": steps / (time.perf_counter() - begun)}


def concurrent(runs: int, steps: int) -> dict[str, float]:
    """Many runs; what arrives while a commit is under way shares the next one, on a thread."""
    with closing(opened()) as link:
        return asyncio.run(_concurrent(link, runs, steps))


async def _concurrent(link: sqlite3.Connection, runs: int, steps: int) -> dict[str, float]:
    events = asyncio.get_running_loop()
    waiting: queue.SimpleQueue[tuple[Row, asyncio.Future[None]] | None] = queue.SimpleQueue()

    def wake(done: list[asyncio.Future[None]]) -> None:
        for future in done:
            future.set_result(None)

    def write() -> None:
        going_on = True
        while going_on:
            batch = [waiting.get()]
            while not waiting.empty():
                batch.append(waiting.get())
            going_on = None not in batch
            items = [item for item in batch if item is not None]
            link.execute("BEGIN")
            link.executemany(INSERT, [row for row, _ in items])
            link.execute("COMMIT")
            events.call_soon_threadsafe(wake, [future for _, future in items])

    async def commit(row: Row) -> None:
        future = events.create_future()
        waiting.put((row, future))
        await future

    thread = threading.Thread(target=write)
    thread.start()
    begun = time.perf_counter()
    await asyncio.gather(*(drive(f"run {number}", steps, commit) for number in range(runs)))
    seconds = time.perf_counter() - begun
    waiting.put(None)
    thread.join()
    return {"rate": runs * steps / seconds}


def fan_out(width: int) -> dict[str, float]:
    """As many results at once, all in one transaction, and a join."""
    with closing(opened()) as link:
        return {"ms": asyncio.run(_fan_out(link, width)) * 1e3}


async def _fan_out(link: sqlite3.Connection, width: int) -> float:
    async def work(item: int) -> dict[str, list[int]]:
        return {"items": [item]}

    begun = time.perf_counter()
    deltas = await asyncio.gather(*(work(item) for item in range(width)))
    joined = [item for delta in deltas for item in delta["items"]]
    link.execute("BEGIN")
    link.executemany(INSERT, [("run", place, "work", ENCODER.encode(delta)) for place, delta in enumerate(deltas)])
    link.execute(INSERT, ("run", width, "join", ENCODER.encode(len(joined))))
    link.execute("COMMIT")
    return time.perf_counter() - begun


def resume() -> dict[str, float]:
    """Find the last step of a run, and begin the next one."""
    with closing(opened()) as link:
        found: list[Any] = link.execute("SELECT delta FROM log ORDER BY step DESC LIMIT 1").fetchall()
        state: dict[str, int] = msgspec.msgpack.decode(found[0][0])
        return {"seconds": time.monotonic() - float(os.environ["SPAWNED_AT"]), "n": state["n"]}


def grow(appends: int) -> dict[str, Any]:
    """Append a message of 1 KB at each step."""
    link, messages = opened(), []
    starts = []
    for number in range(appends):
        starts.append(time.perf_counter())
        messages.append(f"{number:06d}".ljust(1024, "x"))
        link.execute(INSERT, ("run", number, "append", ENCODER.encode(messages[-1:])))
    link.close()
    return {"starts": starts}
