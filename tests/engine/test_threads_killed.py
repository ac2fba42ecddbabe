"""Real processes on one file: killed with SIGKILL on the way of a second input, and speaking to one thread at once."""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest

from windlass import Context, ContinueAsNew, Graph, RunFailed, Runtime, Undo, append
from windlass.core import crashpoint
from windlass.core.queries import Runs
from windlass.core.states import CANCELLED, COMPLETED, FAILED
from windlass.core.thread_errors import TurnOver
from windlass.stores.base import open_store

BOOK = [""]
OVER = (COMPLETED, CANCELLED, FAILED)


class Talk(TypedDict):
    """A conversation."""

    messages: Annotated[list[str], append]


def enter(line: str) -> None:
    """Do something outside."""
    with Path(BOOK[0]).open("a") as book:
        book.write(f"{line}\n")


async def unsay(message: str) -> None:
    """Take it back."""
    enter(f"not {message}")


def talk() -> Graph:
    graph = Graph("talk", Talk)

    @graph.node(writes=["messages"], undo=[Undo(unsay, on_doubt="retry")])
    async def reply(messages: list[str], ctx: Context) -> dict[str, list[str]] | ContinueAsNew:
        said = messages[-1]
        await ctx.effect("say", enter, said, undo=unsay, on_doubt="retry")
        if said.startswith("?"):
            await ctx.ask("Well?", str)
        if said.startswith("on "):
            return ContinueAsNew({"messages": [f"more of {said[3:]}"]})
        return {"messages": [f"re {said}"]}

    graph.start(reply)
    return graph


TALK = talk()


def in_process(work: Callable[[], Coroutine[Any, Any, None]], label: str = "", number: int = 1) -> int:
    """Do something in a process of its own, which dies at the n-th time that it comes by a label."""
    left = [number]

    def reach(here: str) -> None:
        left[0] -= here == label
        if here == label and not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    pid = os.fork()
    if not pid:
        try:
            crashpoint.on_reach = reach
            asyncio.run(work())
        finally:
            os._exit(0)
    return pid


def died(pid: int) -> bool:
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


async def attend(runtime: Runtime, run: str, *, answers: bool = True) -> None:
    """Drive what has work, as a worker does, until a run is over; `answers` what is asked."""
    for _ in range(1_000):
        for found in await runtime.store.find(Runs(claimable=True, definitions=("talk",))):
            if found.id not in runtime.driving:
                await runtime.pick_up(found.id)
        for asked in await runtime.questions() if answers else ():
            await runtime.answer(asked.id, "well")
        if (await runtime.get(run)).head.status in OVER:
            return
        await asyncio.sleep(0.01)
    raise AssertionError([(one.id, one.head) for one in await runtime.runs()])


async def is_whole(url: str) -> None:
    store = open_store(url)
    await store.open()
    assert (await store.maintain("check"))["problems"] == []
    await store.close()


LABELS = (
    "run.create.before", "create.inside", "thread.queued", "run.create.after", "claim.after", "thread.begin",
    "commit.inside", "commit.after", "thread.begun", "undo.before", "undo.result.after", "branch.before",
    "effect.call.before", "release.after",
)  # fmt: skip
WHEN = [(policy, label) for policy in ("enqueue", "interrupt", "rollback") for label in LABELS]


@pytest.mark.parametrize(("policy", "label"), WHEN)
def test_a_second_input_survives_a_kill_anywhere(tmp_path: Path, policy: str, label: str) -> None:
    url, BOOK[0] = f"sqlite:///{tmp_path}/runs.db", str(tmp_path / "book")
    Path(BOOK[0]).touch()

    async def first() -> None:
        async with Runtime(url) as runtime:
            await runtime.run(TALK, {"messages": ["a"]}, "zero", thread="t")
            await runtime.run(TALK, {"messages": ["?b"]}, "one", thread="t")

    async def second() -> None:
        async with Runtime(url, [TALK]) as runtime:
            await runtime.start(TALK, {"messages": ["c"]}, "two", thread="t", on_busy=policy)
            await attend(runtime, "two", answers=policy == "enqueue")

    asyncio.run(first())
    died(in_process(second, label))
    died(in_process(second, label, 2))
    asyncio.run(second())

    async def look() -> None:
        async with Runtime(url, [TALK]) as runtime:
            turns = await runtime.thread("t")
            assert [(one.id, one.turn) for one in turns] == [("zero", 1), ("one", 2), ("two", 3)]
            kept = {"enqueue": ["?b", "re ?b"], "interrupt": ["?b"], "rollback": []}[policy]
            assert (await runtime.state("two"))["messages"] == ["a", "re a", *kept, "c", "re c"]
            for one in turns:
                assert (await runtime.replay(one.id)).differing == ()

    asyncio.run(look())
    asyncio.run(is_whole(url))
    lines = Path(BOOK[0]).read_text().splitlines()
    assert set(lines) == {"a", "?b", "c"} | ({"not ?b"} if policy == "rollback" else set())


@pytest.mark.parametrize("label", ["commit.inside", "commit.after", "thread.begin", "thread.begun", "claim.after"])
@pytest.mark.parametrize("number", [1, 3])
def test_a_run_that_goes_on_as_a_new_one_survives_a_kill_anywhere(tmp_path: Path, label: str, number: int) -> None:
    url, BOOK[0] = f"sqlite:///{tmp_path}/runs.db", str(tmp_path / "book")
    Path(BOOK[0]).touch()

    async def work() -> None:
        async with Runtime(url, [TALK]) as runtime:
            await runtime.start(TALK, {"messages": ["on a"]}, "one", thread="t")
            await runtime.start(TALK, {"messages": ["b"]}, "two", thread="t")
            await attend(runtime, "two")

    died(in_process(work, label, number))
    died(in_process(work, label, number))
    asyncio.run(work())

    async def look() -> None:
        async with Runtime(url, [TALK]) as runtime:
            assert [(one.turn, one.part) for one in await runtime.thread("t")] == [(1, 0), (1, 1), (2, 0)]
            said = ["on a", "more of a", "re more of a", "b", "re b"]
            assert (await runtime.state("two"))["messages"] == said

    asyncio.run(look())
    asyncio.run(is_whole(url))


def test_processes_that_speak_at_once_take_turns(tmp_path: Path) -> None:
    url, BOOK[0] = f"sqlite:///{tmp_path}/runs.db", str(tmp_path / "book")
    Path(BOOK[0]).touch()

    async def open_it() -> None:
        async with Runtime(url):
            pass

    def speaker(name: int) -> Callable[[], Coroutine[Any, Any, None]]:
        async def speak() -> None:
            async with Runtime(url, [TALK]) as runtime:
                for n in range(5):
                    run = await runtime.start(TALK, {"messages": [f"{name}.{n}"]}, f"r{name}.{n}", thread="t")
                    async with asyncio.timeout(60):
                        assert (await runtime.wait(run)).status == COMPLETED

        return speak

    asyncio.run(open_it())
    pids = [in_process(speaker(name)) for name in range(3)]
    assert [died(pid) for pid in pids] == [False] * 3

    async def look() -> None:
        async with Runtime(url, [TALK]) as runtime:
            turns = await runtime.thread("t")
            assert [one.turn for one in turns] == list(range(1, 16))
            assert {one.head.status for one in turns} == {COMPLETED}
            before: list[str] = []
            for one in turns:
                said = one.id.removeprefix("r")
                before = [*before, said, f"re {said}"]
                assert (await runtime.state(one.id))["messages"] == before

    asyncio.run(look())
    assert len(Path(BOOK[0]).read_text().splitlines()) == 15


async def test_a_resume_that_nobody_took_is_seen_to_before_the_next_turn_begins(tmp_path: Path) -> None:
    """Whoever resumed the turn in front died before it could be claimed: a run that has failed has no work."""
    url, BOOK[0] = f"sqlite:///{tmp_path}/runs.db", str(tmp_path / "book")
    is_down = [True]
    graph = Graph("talk", Talk)

    @graph.node(writes=["messages"])
    async def reply(messages: list[str]) -> dict[str, list[str]]:
        if is_down[0]:
            raise ConnectionError("down")
        return {"messages": [f"re {messages[-1]}"]}

    graph.start(reply)
    async with Runtime(url, [graph]) as runtime:
        await runtime.start(graph, {"messages": ["a"]}, "one", thread="t")
        with pytest.raises(RunFailed):
            await runtime.wait("one")
        is_down[0] = False
        (failed,) = await runtime.runs()
        assert failed.owner is None
        from windlass.core.records import Command

        await runtime.store.post(Command(id="c", run="one", verb="resume"))
        async with asyncio.timeout(10):
            result = await runtime.run(graph, {"messages": ["b"]}, "two", thread="t")
            while result.status != COMPLETED:
                result = await runtime.wait("two")
        assert result.output["messages"] == ["a", "re a", "b", "re b"]
        with pytest.raises(TurnOver):
            await runtime.rollback("one", 1)
