"""Threads: runs that follow one another from state to state, and a second input to a busy one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypedDict

import pytest

from windlass import Context, Graph, Initial, Pipeline, RunFailed, Runtime, add, append, task
from windlass.core.errors import InputError, RunExists, RunState
from windlass.core.queries import Query, Runs
from windlass.core.states import CANCELLED, COMPLETED, CREATED, FAILED, PAUSED, WAITING
from windlass.core.thread_errors import ThreadBusy, TurnOver


class Chat(TypedDict):
    """A conversation."""

    messages: Annotated[list[str], append]
    mood: str


def chat(**options: Any) -> Graph:
    """Answer each message with how many there are; ask about those that begin with `?`, fail at `!`."""
    graph = Graph("chat", Chat, **options)

    @graph.node(writes=["messages"])
    async def reply(messages: list[str], ctx: Context) -> dict[str, list[str]]:
        said = messages[-1]
        if said.startswith("?"):
            said = await ctx.ask(f"what about {said}", str)
        if said.startswith("!"):
            raise ValueError(said)
        return {"messages": [f"{said} is number {len(messages)}"]}

    graph.start(reply)
    return graph


def said(*messages: str, **more: Any) -> dict[str, Any]:
    return {"messages": list(messages), **more}


@asynccontextmanager
async def another(url: str) -> AsyncIterator[Runtime]:
    """Another process, as far as a store can tell."""
    async with Runtime(url, [chat()]) as runtime:
        yield runtime


async def test_a_turn_begins_where_the_one_before_ended(runtime: Runtime) -> None:
    first = await runtime.run(chat(), said("a", mood="good"), "one", thread="t")
    second = await runtime.run(chat(), said("b"), "two", thread="t")
    assert first.output == said("a", "a is number 1", mood="good")
    assert second.output == said("a", "a is number 1", "b", "b is number 3", mood="good")
    assert await runtime.state("one") == first.output
    third = await runtime.run(chat(), {"mood": "bad"}, thread="t")
    assert third.output["mood"] == "bad"
    assert [(one.id, one.turn) for one in await runtime.thread("t")] == [("one", 1), ("two", 2), (third.run, 3)]
    events = [event async for event in runtime.events("two")]
    assert [event.type for event in events][:3] == ["run.created", "run.begun", "step.committed"]
    assert events[1].data == {"turn": 2, "part": 0, "after": "one"}
    for run in ("one", "two", third.run):
        assert (await runtime.replay(run)).differing == ()
    assert [point.finished for point in await runtime.history("two")] == [(), ("reply#2",)]


async def test_many_queued_turns_are_not_looked_at_one_by_one(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, looked, find = 40, 0, runtime.store.find

    async def counted(query: Query[Any]) -> list[Any]:
        nonlocal looked
        looked += len(query.ids or ()) if isinstance(query, Runs) else 0
        return await find(query)

    monkeypatch.setattr(runtime.store, "find", counted)
    runs = [await runtime.start(chat(), said("a"), f"r{n}", thread="t") for n in range(count)]
    async with asyncio.timeout(20):
        while (result := await runtime.wait(runs[-1])).status != COMPLETED:
            pass
    assert len(result.output["messages"]) == 2 * count
    assert looked < 15 * count  # each of them at each look would be a multiple of the square


async def test_definitions_tenants_and_threads_are_apart(runtime: Runtime) -> None:
    other = Graph("other", Chat)
    other.node(writes=["messages"])(chat_node)
    other.start("chat_node")
    await runtime.run(chat(), said("a"), thread="t")
    assert (await runtime.run(other, said("b"), thread="t")).output == said("b")
    assert len((await runtime.run(chat(), said("c"), thread="u")).output["messages"]) == 2
    assert len((await runtime.run(chat(), said("d"), thread="t", tenant="other")).output["messages"]) == 2
    assert len((await runtime.run(chat(), said("e"), thread="t")).output["messages"]) == 4
    assert {one.turn for one in await runtime.runs()} == {1, 2}
    assert len(await runtime.thread("t")) == 4
    assert len(await runtime.thread("t", definition="chat", tenant="default")) == 2


async def chat_node() -> None:
    """Do nothing."""


async def test_a_later_turn_has_the_channels_of_the_run_and_not_those_of_its_subgraphs(runtime: Runtime) -> None:
    team, outer = Graph("team", Chat), Graph("outer", Chat)
    team.node(writes=["messages"])(chat_node)
    team.start("chat_node")
    outer.subgraph(team, reads={"messages": "messages"}, writes={"messages": "messages"})
    outer.start("team")
    for turn in (1, 2):
        result = await runtime.run(outer, {"mood": "good"}, f"turn {turn}", thread="t")
        assert set(result.output) == {"messages", "mood"}
        assert result.output == await runtime.state(f"turn {turn}")


async def test_turns_of_a_pipeline_are_ordered_and_share_nothing(runtime: Runtime) -> None:
    pipeline = Pipeline("p", [double])
    assert [(await runtime.run(pipeline, n, f"r{n}", thread="t")).output for n in range(3)] == [0, 2, 4]
    assert [(one.id, one.turn) for one in await runtime.thread("t")] == [("r0", 1), ("r1", 2), ("r2", 3)]
    assert (await runtime.replay("r2")).differing == ()


@task
async def double(n: int) -> int:
    return 2 * n


async def test_a_second_input_waits_and_begins_once_the_first_is_answered_elsewhere(url: str) -> None:
    async with Runtime(url) as runtime:
        first = await runtime.run(chat(), said("?"), "one", thread="t")
        assert first.status == WAITING
        second = await runtime.run(chat(), said("b"), "two", thread="t")
        assert (second.status, second.waiting) == (CREATED, first.waiting)
        third = await runtime.start(chat(), said("c"), "three", thread="t")
        assert [one.turn for one in await runtime.thread("t")] == [1, 2, 3]
        async with another(url) as elsewhere:
            await elsewhere.answer(first.waiting[0], "yes")
            async with asyncio.timeout(5):
                result = await runtime.wait(third)
                assert (await runtime.wait("two")).status == COMPLETED
    assert result.output["messages"] == ["?", "yes is number 1", "b", "b is number 3", "c", "c is number 5"]


async def test_what_is_queued_begins_in_any_process_that_is_told_to(url: str) -> None:
    async with Runtime(url) as runtime:
        first = await runtime.run(chat(), said("?"), "one", thread="t")
        await runtime.start(chat(), said("b"), "two", thread="t")
    async with another(url) as elsewhere:
        assert await elsewhere.store.find(Runs(claimable=True)) == []
        await elsewhere.resume("two")
        assert (await elsewhere.wait("two")).status == CREATED
        await elsewhere.answer(first.waiting[0], "yes")
        async with asyncio.timeout(5):
            while (await elsewhere.wait("two")).status != COMPLETED:
                pass
    async with another(url) as elsewhere:
        assert (await elsewhere.wait("two")).output == said("?", "yes is number 1", "b", "b is number 3")


async def test_the_same_id_and_input_attaches_whatever_its_turn(runtime: Runtime) -> None:
    await runtime.run(chat(), said("?"), "one", thread="t")
    await runtime.run(chat(), said("b"), "two", thread="t")
    assert await runtime.start(chat(), said("?"), "one", thread="t") == "one"
    assert await runtime.start(chat(), said("b"), "two", thread="t") == "two"
    with pytest.raises(RunExists):
        await runtime.start(chat(), said("c"), "two", thread="t")
    assert len(await runtime.thread("t")) == 2


async def test_reject_says_which_run_is_in_the_way_and_makes_nothing(runtime: Runtime) -> None:
    graph = chat(on_busy="reject")
    first = await runtime.run(graph, said("?"), "one", thread="t")
    with pytest.raises(ThreadBusy, match=f"run one waits for question {first.waiting[0]}"):
        await runtime.run(graph, said("b"), thread="t")
    assert len(await runtime.runs()) == 1
    await runtime.answer(first.waiting[0], "!")
    with pytest.raises(RunFailed):
        await runtime.wait("one")
    with pytest.raises(ThreadBusy, match="is failed"):
        await runtime.run(graph, said("b"), thread="t")
    assert (await runtime.run(graph, said("b"), thread="t", on_busy="enqueue")).status == COMPLETED


async def test_a_failed_turn_counts_as_over(runtime: Runtime) -> None:
    with pytest.raises(RunFailed):
        await runtime.run(chat(), said("!"), "one", thread="t")
    assert (await runtime.run(chat(), said("b"), thread="t")).output == said("!", "b", "b is number 2")
    for again in (runtime.resume("one"), runtime.rollback("one", 1)):
        with pytest.raises(TurnOver):
            await again
    assert (await runtime.get("one")).head.status is FAILED


async def test_interrupt_ends_the_turn_in_front_and_keeps_what_it_committed(runtime: Runtime) -> None:
    await runtime.run(chat(), said("?"), "one", thread="t")
    await runtime.run(chat(), said("b"), "two", thread="t")
    result = await runtime.run(chat(), said("c"), "three", thread="t", on_busy="interrupt")
    assert result.output == said("?", "c", "c is number 2")
    assert [one.head.status for one in await runtime.thread("t")] == [CANCELLED, CANCELLED, COMPLETED]
    assert await runtime.questions() == []


async def test_interrupt_stops_what_runs(runtime: Runtime) -> None:
    began = asyncio.Event()
    graph = Graph("chat", Chat)

    @graph.node(writes=["messages"])
    async def reply(messages: list[str]) -> dict[str, list[str]]:
        if messages[-1] == "slow":
            began.set()
            await asyncio.sleep(60)
        return {"messages": ["done"]}

    graph.start(reply)
    await runtime.start(graph, said("slow"), "one", thread="t")
    await began.wait()
    async with asyncio.timeout(5):
        result = await runtime.run(graph, said("quick"), thread="t", on_busy="interrupt")
    assert result.output == said("slow", "quick", "done")


def shop(world: list[str], **options: Any) -> Graph:
    """Order what is asked for; an order can be taken back."""
    graph = Graph("shop", Chat, **options)

    async def cancel_order(what: str) -> None:
        world.remove(what)

    @graph.node(writes=["messages"], undo=[cancel_order])
    async def order(messages: list[str], ctx: Context) -> dict[str, list[str]]:
        async def place(what: str) -> None:
            world.append(what)

        await ctx.effect("place", place, messages[-1], undo=cancel_order)
        return {"messages": [f"ordered {messages[-1]}"]}

    @graph.node()
    async def confirm(messages: list[str], ctx: Context) -> None:
        if messages[-2].startswith("?"):
            await ctx.ask("sure?", bool)

    graph.start(order)
    graph.edge(order, confirm)
    return graph


@pytest.mark.parametrize("before", [(), ("tea",)])
async def test_rollback_takes_the_turn_in_front_back(runtime: Runtime, before: tuple[str, ...]) -> None:
    world: list[str] = []
    graph = shop(world)
    for message in before:
        await runtime.run(graph, said(message), thread="t")
    await runtime.run(graph, said("?cake"), "doubted", thread="t")
    assert world == [*before, "?cake"]
    await runtime.start(graph, said("rum"), "queued", thread="t")
    result = await runtime.run(graph, said("?cake"), "again", thread="t", on_busy="rollback")
    assert result.status == WAITING
    assert world == [*before, "?cake"]  # placed anew: what another turn did is not adopted
    records = {one.id: one.head.status for one in await runtime.thread("t")}
    assert (records["doubted"], records["queued"], records["again"]) == (CANCELLED, CANCELLED, WAITING)
    expected = [line for message in (*before, "?cake") for line in (message, f"ordered {message}")]
    assert (await runtime.state("again"))["messages"] == expected
    assert (await runtime.state("doubted")).get("messages", []) == expected[:-2]
    told = [event async for event in runtime.events("doubted") if event.type == "run.rolled_back"]
    assert [event.data["undone"] for event in told] == [[f"order#{1 + len(before)} place"]]
    for run in records:
        assert (await runtime.replay(run)).differing == ()


async def test_a_queued_turn_can_be_cancelled_and_paused(runtime: Runtime) -> None:
    first = await runtime.run(chat(), said("?"), "one", thread="t")
    await runtime.run(chat(), said("b"), "two", thread="t")
    await runtime.run(chat(), said("c"), "three", thread="t")
    await runtime.run(chat(), said("d"), "four", thread="t")
    await runtime.cancel("two")
    await runtime.pause("three")
    with pytest.raises(RunState):
        await runtime.edit("four", {"mood": "x"})
    with pytest.raises(RunState):
        await runtime.resume("four", edits={"mood": "x"})
    await runtime.answer(first.waiting[0], "yes")
    assert (await runtime.wait("one")).status == COMPLETED
    assert (await runtime.wait("four")).status == CREATED
    assert [(one.id, one.head.status) for one in await runtime.thread("t")][1:] == [
        ("two", CANCELLED), ("three", PAUSED), ("four", CREATED),
    ]  # fmt: skip
    await runtime.resume("three")
    async with asyncio.timeout(5):
        while (await runtime.wait("four")).status != COMPLETED:
            pass
    assert (await runtime.state("four"))["messages"][2:] == ["c", "c is number 3", "d", "d is number 5"]


async def test_a_paused_queued_turn_that_is_resumed_waits_on(runtime: Runtime) -> None:
    first = await runtime.run(chat(), said("?"), "one", thread="t")
    await runtime.run(chat(), said("b"), "two", thread="t")
    await runtime.pause("two")
    await runtime.resume("two")
    assert (await runtime.wait("two")).status == CREATED
    await runtime.answer(first.waiting[0], "yes")
    async with asyncio.timeout(5):
        while (await runtime.wait("two")).status != COMPLETED:
            pass


async def test_a_fork_of_a_turn_leaves_the_thread(runtime: Runtime) -> None:
    await runtime.run(chat(), said("a"), "one", thread="t")
    await runtime.run(chat(), said("b"), "two", thread="t")
    forked = await runtime.fork("two", at=1)
    assert (await runtime.wait(forked)).output == (await runtime.wait("two")).output
    record = await runtime.get(forked)
    assert (record.thread, record.turn) == ("", 0)
    assert len(await runtime.thread("t")) == 2


async def test_the_last_turn_may_be_rolled_back_and_goes_on(runtime: Runtime) -> None:
    await runtime.run(chat(), said("a"), "one", thread="t")
    await runtime.run(chat(), said("b"), "two", thread="t")
    await runtime.rollback("two", 1)
    assert (await runtime.run(chat(), said("c"), "three", thread="t")).status == CREATED
    await runtime.resume("two")
    async with asyncio.timeout(5):
        while (await runtime.wait("three")).status != COMPLETED:
            pass
    assert len((await runtime.state("three"))["messages"]) == 6


async def test_two_processes_that_speak_at_once_get_turns_of_their_own(url: str) -> None:
    async with Runtime(url) as one, Runtime(url) as two:
        await asyncio.gather(
            *(runtime.run(chat(), said(f"{n}"), f"r{n}", thread="t") for n, runtime in enumerate([one, two] * 6))
        )
        turns = await one.thread("t")
        assert [record.turn for record in turns] == list(range(1, 13))
        last = (await one.state(turns[-1].id))["messages"]
    assert sorted(last[::2]) == sorted(f"{n}" for n in range(12))
    assert [line.rpartition(" ")[2] for line in last[1::2]] == [f"{n}" for n in range(1, 24, 2)]


async def test_a_word_that_is_no_policy_is_refused(runtime: Runtime) -> None:
    with pytest.raises(InputError, match="on_busy"):
        await runtime.start(chat(), said("a"), thread="t", on_busy="shout")


async def test_pruning_leaves_the_state_of_the_thread(url: str) -> None:
    async with Runtime(url) as runtime:
        for message in ("a", "b", "c"):
            await runtime.run(chat(), said(message), message, thread="t")
        await runtime.run(chat(), said("?"), "d", thread="t")
        await runtime.run(chat(), said("e"), "e", thread="t")
        done = await runtime.store.maintain("prune", before=2e12, keep="nothing")
        assert done["runs"] == 3
        assert [one.id for one in await runtime.thread("t")] == ["d", "e"]
        await runtime.cancel("d")
        async with asyncio.timeout(5):
            while (await runtime.wait("e")).status != COMPLETED:
                pass
        assert len((await runtime.state("e"))["messages"]) == 9
        assert (await runtime.replay("e")).differing == ()
        assert (await runtime.store.maintain("prune", before=2e12, keep="nothing"))["runs"] == 2
        assert await runtime.thread("t") == []
        assert (await runtime.run(chat(), said("new"), thread="t")).output == said("new", "new is number 1")


def version(kind: type, *, name: str = "messages", **options: Any) -> Graph:
    """Another version of the chat: other channels, other nodes."""
    graph = Graph("chat", kind, **options)

    @graph.node(writes=[name])
    async def answer(messages: list[str]) -> dict[str, list[str]]:
        return {name: [f"{len(messages)}"]}

    graph.start(answer)
    return graph


class Later(TypedDict):
    """A channel less, and two more."""

    messages: Annotated[list[str], append]
    count: Annotated[int, add, Initial(7)]
    notes: Annotated[list[str], append, Initial(["old"])]


class Other(TypedDict):
    """The channel is kept in another way."""

    messages: list[str]


async def test_a_turn_of_a_later_version_goes_on_with_what_it_knows(url: str) -> None:
    async with Runtime(url) as runtime:
        await runtime.run(chat(), said("a", mood="good"), "one", thread="t")
    async with Runtime(url) as runtime:
        result = await runtime.run(version(Later), {"messages": ["b"], "notes": ["new"]}, "two", thread="t")
        assert result.output == {
            "messages": ["a", "a is number 1", "b", "3"], "count": 7, "notes": ["old", "new"],
        }  # fmt: skip
        assert (await runtime.replay("two")).differing == ()
        third = await runtime.run(version(Later), {"count": 1}, "three", thread="t")
        assert third.output["count"] == 8
    async with Runtime(url) as runtime:
        with pytest.raises(RunFailed, match="channel messages was kept as append"):
            await runtime.run(version(Other), {"messages": ["c"]}, "four", thread="t")
        assert (await runtime.get("four")).head.n == 0
    async with Runtime(url) as runtime:
        assert (await runtime.run(version(Later), {}, "five", thread="t")).output["count"] == 8


async def test_many_inputs_wait_in_their_order(runtime: Runtime) -> None:
    first = await runtime.run(chat(), said("?"), "r0", thread="t")
    for n in range(1, 200):
        await runtime.start(chat(), said(f"{n}"), f"r{n}", thread="t")
    await runtime.answer(first.waiting[0], "yes")
    async with asyncio.timeout(60):
        while (result := await runtime.wait("r199")).status != COMPLETED:
            pass
    assert result.output["messages"][2::2] == [f"{n}" for n in range(1, 200)]
