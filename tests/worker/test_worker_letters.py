"""What a death left of a dead letter is handed on by a worker: its handler runs once, wherever the process died."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import windlass
from tests.engine.orders import World, clerk, order
from windlass import Runtime
from windlass.core.clock import Seams
from windlass.core.letters import DeadLetter
from windlass.core.queries import Letters
from windlass.testing.specimens import HandClock
from windlass.worker.worker import ALL_SECONDS, LETTERS_SECONDS, Worker

PROGRAM = """
import asyncio, os, signal, sys
from pathlib import Path
from windlass import Pipeline, Runtime, RunFailed, task
from windlass.core import crashpoint

LABEL, TIMES = sys.argv[1], int(sys.argv[2])
reached = -1  # not armed


@task
async def ship(number: int) -> int:
    global reached
    reached = 0
    raise ConnectionError("down")


@task
async def note(letter: dict) -> str:
    with Path("noted.txt").open("a") as file:
        file.write(letter["id"] + "\\n")
    return letter["id"]


clerk = Pipeline("clerk", [note])
orders = Pipeline("orders", [ship], dead_letters=clerk)


def reach(label):
    global reached
    if reached >= 0 and label == LABEL:
        reached += 1
        if reached == TIMES:
            os.kill(os.getpid(), signal.SIGKILL)


async def main():
    crashpoint.on_reach = reach
    async with Runtime("sqlite:///w.db", [orders, clerk]) as runtime:
        await runtime.start(orders, 4, "r")
        try:
            await runtime.wait("r")
        except RunFailed:
            pass
        for letter in await runtime.dead_letters():
            if letter.handled_by:
                await runtime.wait(letter.handled_by)


if __name__ == "__main__":
    asyncio.run(main())
"""


def killed(folder: Path, label: str, times: int) -> None:
    """Let the program run in a folder, and die at a label."""
    (folder / "program_of_letters.py").write_text(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": str(Path(windlass.__file__).parents[1])}
    command = [sys.executable, "program_of_letters.py", label, str(times)]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


@pytest.mark.parametrize(
    ("label", "times"),
    [
        ("commit.before", 1), ("commit.after", 1), ("create.before", 1), ("create.after", 1), ("adjust.before", 1),
        ("adjust.inside", 1), ("adjust.after", 1), ("commit.after", 2),
    ],
)  # fmt: skip
async def test_a_kill_anywhere_leaves_one_run_of_the_handler(
    label: str, times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(tmp_path, label, times)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["", "none", "1"])
    monkeypatch.syspath_prepend(str(tmp_path))
    program = __import__("program_of_letters")
    try:
        definitions = [program.orders, program.clerk]
        async with Runtime("sqlite:///w.db", definitions, timers=False) as runtime:
            seams = Seams(dice=lambda: 0.0)
            worker = Worker(runtime, definitions, seams=seams)
            letter = await found(worker, runtime)
            assert (await runtime.wait(letter.handled_by)).output == letter.id
            assert len(await runtime.runs(definitions=("clerk",))) == 1
    finally:
        del sys.modules["program_of_letters"]
    noted = (tmp_path / "noted.txt").read_text().split()
    assert set(noted) == {letter.id}
    assert len(noted) <= 2  # a node that was under way may begin again; its run is one


async def found(worker: Worker, runtime: Runtime) -> DeadLetter:
    """Let a worker look until the letter was handed on."""
    while True:
        await worker.tick()
        for letter in await runtime.dead_letters():
            if letter.handled_by:
                return letter
        await worker.seams.clock.sleep(0.01)


async def test_a_worker_looks_at_all_letters_first_then_at_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = HandClock()
    asked: list[float | None] = []

    async def hand_on(since: float | None, limit: int) -> list[str]:
        asked.append(since)
        return ["dead-1"] if len(asked) == 1 else []

    async with Runtime() as runtime:
        monkeypatch.setattr(runtime, "hand_on", hand_on)
        told: list[tuple[str, str]] = []
        worker = Worker(
            runtime, [order(World())], concurrency=5, seams=Seams(clock=clock),
            told=lambda what, run, **_: told.append((what, run)),
        )  # fmt: skip
        assert await worker.tick() == ["dead-1"]
        assert await worker.tick() == []
        assert asked == [None]
        clock.time += LETTERS_SECONDS
        await worker.tick()
        assert asked == [None, clock.time - 60]
        clock.time += ALL_SECONDS
        await worker.tick()
        assert asked[2:] == [None]
        worker.stop()
        clock.time += LETTERS_SECONDS
        await worker.tick()
        assert len(asked) == 3
    assert told == [("run.picked_up", "dead-1")]


async def test_without_handlers_no_letter_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Runtime("memory:", [order(World())]) as runtime:

        async def find(query: object) -> list[object]:
            assert not isinstance(query, Letters), "the store was asked for letters"
            return []

        monkeypatch.setattr(runtime.store, "find", find)
        assert await runtime.hand_on() == []


async def test_no_more_are_started_than_there_is_room_for() -> None:
    world = World()
    definition = order(world, dead_letters="clerk")
    async with Runtime("memory:letters", [definition]) as runtime:
        for number in range(5):
            await runtime.start(definition, number, f"r{number}")
        while len(await runtime.dead_letters()) < 5:
            await runtime.services.seams.clock.sleep(0.005)
    async with Runtime("memory:letters", [definition, clerk(world)]) as runtime:
        assert [len(await runtime.hand_on(limit=limit)) for limit in (2, 2, 2)] == [2, 2, 1]
        for letter in await runtime.dead_letters():
            await runtime.wait(letter.handled_by)
    assert len(world.handled) == 5
