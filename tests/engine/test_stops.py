"""Breakpoints of one run, named as it is started: its definition is as it was."""

from typing import Any

import pytest

from windlass import Context, Edge, Output, Pipeline, Runtime, Stream, Yields, task
from windlass.core.errors import InputError, NotForYou


@task
async def draft(topic: str) -> str:
    return f"about {topic}"


@task(before="role:publisher")
async def publish(draft: str) -> str:
    return draft.upper()


@task
async def count(publish: str) -> int:
    return len(publish)


flow = Pipeline("flow", [draft, publish, count])


async def asked(runtime: Runtime, run: str) -> tuple[str, str]:
    (found,) = await runtime.questions(run)
    return found.about["node"], found.about["breakpoint"]


async def approve(runtime: Runtime, run: str, answer: Any = "approve", **who: Any) -> None:
    (found,) = await runtime.questions(run)
    await runtime.answer(found.id, answer, **who)
    await runtime.wait(run)


async def test_a_run_stops_where_it_is_told_to(url: str) -> None:
    async with Runtime(url) as runtime:
        run = (await runtime.run(flow, "a", before=["publish", "count"], after=["draft"])).run
        assert await asked(runtime, run) == ("draft", "after")
    async with Runtime(url, [flow]) as runtime:  # another process knows of it, too
        await approve(runtime, run, {"edit": {"draft": "on b"}})
        assert await asked(runtime, run) == ("publish", "before")
        with pytest.raises(NotForYou):
            await approve(runtime, run)  # what the definition declares stands
        await approve(runtime, run, roles=["publisher"])
        assert await asked(runtime, run) == ("count", "before")
        await approve(runtime, run)
        assert (await runtime.wait(run)).output == 4
        assert (await runtime.replay(run)).differing == ()


async def test_another_run_a_fork_and_a_child_do_not(runtime: Runtime) -> None:
    plain = Pipeline("plain", [draft])

    @task(id="calls")
    async def calls(topic: str, ctx: Context) -> str:
        return str(await ctx.run(plain, topic))

    parent = Pipeline("parent", [calls, draft], children=[plain])
    run = (await runtime.run(parent, "a", after=["draft"])).run
    await approve(runtime, run)
    assert (await runtime.wait(run)).output == {"calls": "about a", "draft": "about a"}
    assert (await runtime.run(parent, "a")).status == "completed"
    fork = await runtime.fork(run, at=("draft", 1))
    assert (await runtime.wait(fork)).status == "completed"
    events = [event.type async for event in runtime.execute(parent, "b", before=["draft"])]
    assert events[-1] == "run.parked"


@pytest.mark.parametrize(
    ("stops", "said"),
    [
        ({"before": ["nobody"]}, "no node 'nobody'"),
        ({"after": ["draft", "x"]}, "no node 'x'"),
        ({"before": "draft"}, "no list of nodes"),
    ],
)
async def test_where_there_is_no_node_nothing_begins(runtime: Runtime, stops: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        await runtime.run(flow, "a", **stops)
    assert await runtime.runs() == []


async def test_what_streams_is_not_stopped_after(runtime: Runtime) -> None:
    @task(id="feeds")
    async def feeds(n: int) -> Yields[int]:
        yield n
        yield Output(n)

    @task(id="reads")
    async def reads(feeds: Stream[int]) -> int:
        return sum([number async for number in feeds])

    stream = Pipeline("stream", [feeds, reads], [Edge("feeds", "reads", stream=True)])
    with pytest.raises(InputError, match="streams to reads"):
        await runtime.run(stream, 1, after=["feeds"])


@pytest.mark.parametrize("where", ["before", "after"])
async def test_a_sub_graph_is_not_stopped_at_as_a_whole(runtime: Runtime, where: str) -> None:
    team = Pipeline("team", [count])
    with pytest.raises(InputError, match="team is a sub-graph"):
        await runtime.run(Pipeline("outer", [draft, publish, team]), "a", **{where: ["team"]})  # type: ignore[arg-type]
    assert await runtime.runs() == []
