"""Sub-graphs: frames of a run are opened, settled and closed; what is in them goes by its address like all else."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any, TypedDict

import pytest

from windlass import (
    END,
    Budget,
    Context,
    Edge,
    Graph,
    Output,
    Pipeline,
    Recover,
    RunFailed,
    Runtime,
    Send,
    Task,
    Update,
    WrapUp,
    Yields,
    append,
    merge,
    task,
    unique_by,
)
from windlass.core.errors import InputError
from windlass.core.position import load
from windlass.engine import journal

EFFECTS: list[str] = []


class Desk(TypedDict):
    """What a team works on."""

    topic: str
    log: Annotated[list[str], append]
    seen: Annotated[dict[str, int], merge]
    n: int


def team(rounds: int = 2, *, asks: bool = True) -> Graph:
    """Write, ask a person, and again: a loop."""
    graph = Graph("team", Desk)

    @graph.node(writes=["log", "n", "seen"])
    async def write(topic: str, ctx: Context, n: int = 0) -> dict[str, Any]:
        await ctx.effect("note", EFFECTS.append, f"{ctx.key('note')}", on_doubt="retry")
        said = await ctx.ask(f"{topic}?") if asks else "yes"
        return {"log": [f"{topic} {said}"], "n": n + 1, "seen": {topic: n + 1}}

    def more(n: int) -> str:
        return "write" if n < rounds else END

    graph.start(write)
    graph.branch(write, more, [write, END])
    return graph


def desk(inner: Graph, visits: int = 2) -> Graph:
    """Have a team work beside a clerk, and again."""
    graph = Graph("desk", Desk)

    @graph.node(writes=["log"])
    async def clerk(ctx: Context) -> dict[str, Any]:
        return {"log": [f"clerk {await ctx.ask('clerk?')}"]}

    @graph.node(writes=["seen", "n"])
    async def look(seen: dict[str, int]) -> dict[str, Any]:
        return {"seen": {"looks": seen.get("looks", 0) + 1}, "n": 0}

    def again(seen: dict[str, int]) -> list[str]:
        return ["team", "clerk"] if seen["looks"] < visits else [END]

    graph.subgraph(inner)
    graph.start("team", clerk)
    graph.edge(["team", clerk], look)
    graph.branch(look, again, ["team", clerk, END])
    return graph


async def answer_all(open_: Callable[[], Runtime], run: str, dice: random.Random, most: int = 50) -> Any:
    """Answer one question at a time, whichever comes, each from a Runtime of its own."""
    asked: list[str] = []
    for _ in range(most):
        async with open_() as runtime:
            await runtime.pick_up(run)
            result = await runtime.wait(run)
            replayed = await runtime.replay(run)
            assert not replayed.differing
            if result.status == "completed":
                return result.output, sorted(asked)
            question = dice.choice(sorted(await runtime.questions(run), key=lambda one: one.id))
            asked.append(question.address)
            await runtime.answer(question.id, f"a{question.address.count('/')}")
    raise AssertionError("it does not end")


@pytest.mark.parametrize("seed", range(3))
async def test_nested_parallel_and_paused_it_is_answered_in_any_order_from_any_process(url: str, seed: int) -> None:
    EFFECTS.clear()
    definition = desk(team())
    async with Runtime(url, [definition]) as runtime:
        await runtime.run(definition, {"topic": "x", "log": ["begun"], "n": 0}, "r")
    output, asked = await answer_all(lambda: Runtime(url, [definition]), "r", random.Random(seed))
    assert asked == [
        "clerk#1", "clerk#2", "team#1/write#1", "team#1/write#2", "team#2/write#1", "team#2/write#2",
    ]  # fmt: skip
    assert output["log"] == ["begun", "clerk a0", "x a1", "x a1", "clerk a0", "x a1", "x a1"]
    assert output["seen"] == {"looks": 2, "x": 2}
    assert len(EFFECTS) == len(set(EFFECTS)) == 4


@task
async def split(n: int) -> list[int]:
    """Make a list to work on."""
    return list(range(n))


@task
async def check(item: int, ctx: Context) -> str:
    """Ask about one."""
    return f"{item} {await ctx.ask(f'{item}?')}"


@task
async def sign(check: str) -> str:
    """Sign what was checked."""
    return f"{check}, signed"


CHECKING = Pipeline("checking", [check, sign])


async def test_each_element_has_a_frame_of_its_own(url: str) -> None:
    @task
    async def together(checking: list[str]) -> str:
        return "; ".join(checking)

    outer = Pipeline("outer", [split, CHECKING, together], [Edge("split", CHECKING, each=True)])
    async with Runtime(url, [outer]) as runtime:
        await runtime.run(outer, 3, "r")
        assert [question.address for question in await runtime.questions("r")] == [
            f"checking#1[{place}]/check#1" for place in range(3)
        ]
    output, _ = await answer_all(lambda: Runtime(url, [outer]), "r", random.Random(1))
    assert output == "0 a1, signed; 1 a1, signed; 2 a1, signed"


async def test_an_empty_map_over_a_subgraph_is_an_empty_list(runtime: Runtime) -> None:
    outer = Pipeline("outer", [split, CHECKING], [Edge(split, CHECKING, each=True)])
    assert (await runtime.run(outer, 0)).output == []


async def test_concurrency_holds_frames_back(runtime: Runtime) -> None:
    outer = Pipeline("outer", [split, CHECKING], [Edge("split", "checking", each=True, concurrency=2)])
    await runtime.run(outer, 5, "r")
    result = None
    for left in range(5, 0, -1):
        questions = await runtime.questions("r")
        assert len(questions) == min(2, left)
        await runtime.answer(questions[0].id, "ok")
        result = await runtime.wait("r")
    assert result is not None
    assert len(result.output) == 5


class Plan(TypedDict):
    """What a Send goes around with."""

    topic: str
    log: Annotated[list[str], append]


def sending() -> Graph:
    graph = Graph("sending", Plan)

    @graph.node(sends=["team"])
    async def plan() -> Update:
        return Update(sends=[Send("team", {"topic": name, "n": 1}) for name in ("a", "b", "c")])

    graph.subgraph(team(), writes=["log"])
    graph.start(plan)
    return graph


async def test_a_send_gives_a_subgraph_its_input(url: str) -> None:
    definition = sending()
    async with Runtime(url, [definition]) as runtime:
        await runtime.run(definition, {}, "r")
    output, asked = await answer_all(lambda: Runtime(url, [definition]), "r", random.Random(2))
    assert asked == [f"team#1[plan.{n}]/write#1" for n in range(3)]
    assert output["log"] == ["a a1", "b a1", "c a1"]


def deep(depth: int, kind: str = "graph") -> Any:
    """Nest pipelines and graphs in each other, each with a step of its own before and after."""
    inner = deep(depth - 1, "pipeline" if kind == "graph" else "graph") if depth > 1 else None
    if kind == "graph":
        graph = Graph(f"g{depth}", Plan)

        @graph.node(writes=["topic", "log"])
        async def before(topic: str) -> dict[str, Any]:
            return {"topic": f"{topic}<", "log": [f"in {depth}"]}

        graph.start(before)
        if inner is not None:
            graph.subgraph(inner, reads="topic", writes="topic")
            graph.edge(before, inner)
        return graph

    @task
    async def first(topic: str) -> dict[str, Any]:
        return {"topic": f"{topic}(", "log": []}

    class Last(Task[Any, str]):
        id = "last"

        async def execute(self, input: Any, ctx: Context, /) -> str:
            return f"{input['topic']})"

    if inner is None:
        return Pipeline(f"p{depth}", [first, Last], [("first", "last")])
    return Pipeline(f"p{depth}", [first, inner, Last], [("first", inner), (inner, "last")])


async def test_any_depth_and_mix(runtime: Runtime) -> None:
    result = await runtime.run(deep(6), {"topic": "x", "log": []}, "r")
    assert result.output["topic"] == "x<(<(<()))"
    assert not (await runtime.replay("r")).differing
    steps = await runtime.history("r")
    assert max(point.frame.count("/") for point in steps) == 4


async def test_what_is_given_is_not_given_back(runtime: Runtime) -> None:
    inner = Graph("inner", Desk)

    @inner.node(writes=["log"])
    async def add(log: list[str]) -> dict[str, Any]:
        return {"log": [f"after {len(log)}"]}

    inner.start(add)
    outer = Graph("outer", Desk)
    written: list[str] = []

    @outer.node(on=["n"])
    async def watch() -> None:
        written.append("n")

    outer.subgraph(inner)
    outer.start("inner")
    result = await runtime.run(outer, {"log": ["one", "two"], "topic": "t", "seen": {"a": 1}}, "r")
    assert result.output["log"] == ["one", "two", "after 2"]
    assert not written, "a channel that is as it was is not written"
    (closed,) = [event async for event in runtime.events("r") if event.address == "inner#1"]
    assert closed.data["writes"] == {"log": ["after 2"]}


async def test_input_and_output_can_be_named(runtime: Runtime) -> None:
    inner = Graph("inner", Plan)

    @inner.node(writes=["log"])
    async def add(topic: str) -> dict[str, Any]:
        return {"log": [topic.upper()]}

    inner.start(add)

    class Wide(TypedDict):
        name: str
        topic: str
        found: list[str]
        whole: dict[str, Any]

    outer = Graph("outer", Wide)
    outer.subgraph(inner, id="a", reads={"topic": "name"}, writes={"found": "log", "topic": "topic"})
    outer.subgraph(inner, id="b", reads={"topic": "name"}, writes="whole")
    outer.start("a", "b")
    output = (await runtime.run(outer, {"name": "n"})).output
    assert output == {"name": "n", "topic": "n", "found": ["N"], "whole": {"topic": "n", "log": ["N"]}}


async def test_what_fails_within_fails_the_run_and_goes_on_there(runtime: Runtime) -> None:
    broken = [True]

    @task
    async def breaks(item: int) -> int:
        if broken[0] and item == 1:
            raise ValueError("no")
        return item

    inner = Pipeline("inner", [breaks])
    outer = Pipeline("outer", [split, inner], [Edge("split", inner, each=True)])
    with pytest.raises(RunFailed):
        await runtime.run(outer, 2, "r")
    (letter,) = await runtime.dead_letters()
    assert (letter.address, letter.node) == ("inner#1[1]/breaks#1", "inner/breaks")
    broken[0] = False
    await runtime.resume("r")
    assert (await runtime.wait("r")).output == [0, 1]


async def test_an_input_of_the_wrong_type_fails_the_node_and_an_edit_mends_it(runtime: Runtime) -> None:
    inner = Graph("inner", Plan)

    @inner.node(writes=["topic"])
    async def change(topic: str) -> dict[str, Any]:
        return {"topic": topic * 2}

    inner.start(change)

    class Loose(TypedDict):
        given: Any

    outer = Graph("outer", Loose)
    outer.subgraph(inner, reads="given", writes="given")
    outer.start("inner")
    with pytest.raises(RunFailed) as failed:
        await runtime.run(outer, {"given": {"topic": 5}}, "r")
    assert failed.value.failure["kind"] == "InputError"
    assert "activation.failed" in [event.type async for event in runtime.events("r")]
    await runtime.resume("r", edits={"given": {"topic": "ab"}})
    assert (await runtime.wait("r")).output["given"]["topic"] == "abab"


async def test_step_limit_is_of_the_definition_and_names_the_frame(runtime: Runtime) -> None:
    inner = Graph("inner", Plan, step_limit=4)

    @inner.node(writes=["log"])
    async def loop() -> dict[str, Any]:
        return {"log": ["again"]}

    inner.start(loop)
    inner.edge(loop, loop)
    outer = Graph("outer", Plan)
    outer.subgraph(inner)
    outer.start("inner")
    with pytest.raises(RunFailed, match=r"inner#1 of r took 4 steps"):
        await runtime.run(outer, {}, "r")


async def test_pause_and_cancel_with_open_frames(runtime: Runtime) -> None:
    definition = desk(team())
    await runtime.run(definition, {"topic": "x", "n": 0}, "r")
    await runtime.pause("r")
    assert (await runtime.get("r")).head.status == "paused"
    await runtime.resume("r")
    assert len(await runtime.questions("r")) == 2
    await runtime.cancel("r")
    assert await runtime.questions("r") == []
    assert (await runtime.get("r")).head.status == "cancelled"


async def test_state_and_edits_of_a_frame(runtime: Runtime) -> None:
    definition = desk(team())
    await runtime.run(definition, {"topic": "x", "n": 0}, "r")
    assert (await runtime.state("r", frame="team#1"))["topic"] == "x"
    with pytest.raises(InputError, match="team#7"):
        await runtime.state("r", frame="team#7")
    await runtime.edit("r", {"team#1/topic": "y"}, overwrite=True)
    assert (await runtime.state("r"))["topic"] == "x"
    assert (await runtime.state("r", frame="team#1"))["topic"] == "y"
    for wrong in (
        {"team#1/topic": "z", "topic": "z"},
        {"team#1/nothing": 1},
        {"team#4/topic": "z"},
        {"x#1/topic": "z"},
    ):
        with pytest.raises(InputError):
            await runtime.edit("r", wrong)
    for _ in range(20):
        questions = await runtime.questions("r")
        if not questions:
            break
        await runtime.answer(questions[-1].id, "ok")
        await runtime.wait("r")
    assert "y ok" in (await runtime.state("r"))["log"]


async def test_rollback_into_a_frame_and_before_it(runtime: Runtime) -> None:
    definition = desk(team(), visits=1)
    await runtime.run(definition, {"topic": "x", "n": 0}, "r")

    async def go_on() -> Any:
        await runtime.resume("r")
        result = await runtime.wait("r")
        while questions := await runtime.questions("r"):
            await runtime.answer(questions[0].id, "ok")
            result = await runtime.wait("r")
        assert not (await runtime.replay("r")).differing
        return result.output

    first = await go_on_from(runtime, go_on)
    for target, left in (
        (("team/write", 2), {"team#1/write#2"}),
        ("team#1/write#2", {"team#1/write#2"}),
        ("team#1/write", {"team#1/write#2"}),
        ("team", {"team#1", "clerk#1"}),
    ):
        await runtime.rollback("r", to=target)
        position = load(await runtime.store.load("r"))
        assert left <= {*position.open(), *position.waiting}
        assert await go_on() == first


async def go_on_from(runtime: Runtime, go_on: Callable[[], Awaitable[Any]]) -> Any:
    await runtime.pause("r")
    return await go_on()


UNDONE: list[str] = []


async def undo(key: str) -> None:
    """Take an effect back."""
    UNDONE.append(key)


async def test_a_rollback_into_a_frame_leaves_what_had_finished_beside_it(runtime: Runtime) -> None:
    UNDONE.clear()
    graph = Graph("desk", Desk)

    @graph.node(writes=["log"], undo=[undo])
    async def clerk(ctx: Context) -> dict[str, Any]:
        await ctx.effect("file", EFFECTS.append, "clerk", undo="undo")
        return {"log": ["filed"]}

    inner = Graph("team", Desk)

    @inner.node(writes=["log", "n"], undo=[undo])
    async def write(ctx: Context, n: int = 0) -> dict[str, Any]:
        await ctx.effect("write", EFFECTS.append, f"write {n}", undo="undo")
        await ctx.ask("?")
        return {"log": [f"wrote {n}"], "n": n + 1}

    def more(n: int) -> str:
        return "write" if n < 3 else END

    inner.start(write)
    inner.branch(write, more, [write, END])
    graph.subgraph(inner)
    graph.start("team", clerk)
    await runtime.run(graph, {"n": 0}, "r")
    for _ in range(2):
        await runtime.answer((await runtime.questions("r"))[0].id, "ok")
        await runtime.wait("r")
    await runtime.rollback("r", to=("team/write", 2))
    (told,) = [event.data async for event in runtime.events("r") if event.type == "run.rolled_back"]
    assert (told["undone"], told["standing"]) == (["team#1/write#3 write", "team#1/write#2 write"], [])
    assert UNDONE == ["write 2", "write 1"]
    await runtime.resume("r")
    result = await runtime.wait("r")
    while questions := await runtime.questions("r"):
        await runtime.answer(questions[0].id, "ok")
        result = await runtime.wait("r")
    assert result.output["log"] == ["filed", "wrote 0", "wrote 1", "wrote 2"]


async def test_a_task_proposes_a_rollback_to_a_node_beside_it(runtime: Runtime) -> None:
    tried: list[str] = []
    inner = Graph("team", Desk)

    @inner.node(writes=["topic"])
    async def choose() -> dict[str, Any]:
        tried.append("choose")
        return {"topic": f"t{len(tried)}"}

    @inner.node(writes=["log"], recover=lambda _: Recover.rollback("choose"))
    async def write(topic: str) -> dict[str, Any]:
        tried.append(topic)
        if topic == "t1":
            raise ValueError("a bad topic")
        return {"log": [topic]}

    inner.start(choose)
    inner.edge(choose, write)
    outer = Graph("outer", Desk)
    outer.subgraph(inner)
    outer.start("team")
    result = await runtime.run(outer, {}, "r")
    assert tried == ["choose", "t1", "choose", "t3"]
    assert result.output["log"] == ["t3"]


async def test_a_fork_goes_on_in_the_frame(runtime: Runtime) -> None:
    definition = desk(team(), visits=1)
    await runtime.run(definition, {"topic": "x", "n": 0}, "r")
    (asked,) = [one for one in await runtime.questions("r") if one.address == "team#1/write#1"]
    await runtime.answer(asked.id, "first")
    await runtime.wait("r")
    fork = await runtime.fork("r", id="f", edits={"team#1/topic": "forked"})
    result = await runtime.wait(fork)
    while questions := await runtime.questions(fork):
        await runtime.answer(questions[0].id, "second")
        result = await runtime.wait(fork)
    assert result.output["log"] == ["clerk second", "x first", "forked second"]


async def test_a_finished_frame_of_a_step_that_goes_on_stays_finished_in_a_fork(runtime: Runtime) -> None:
    definition = desk(team(rounds=1), visits=1)
    await runtime.run(definition, {"topic": "x", "n": 0}, "r")
    (asked,) = [one for one in await runtime.questions("r") if one.address == "team#1/write#1"]
    await runtime.answer(asked.id, "first")
    await runtime.wait("r")
    fork = await runtime.fork("r", id="f")
    result = await runtime.wait(fork)
    assert {question.address for question in await runtime.questions(fork)} <= {"clerk#1", "team#1/write#1"}
    while questions := await runtime.questions(fork):
        await runtime.answer(questions[0].id, "second")
        result = await runtime.wait(fork)
    assert result.status == "completed"


async def test_snapshots_and_pruning_keep_frames(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "MOST_ROWS", 2)
    outer = Pipeline("outer", [split, CHECKING], [Edge("split", "checking", each=True)])
    await runtime.run(outer, 3, "r")
    await runtime.answer((await runtime.questions("r"))[1].id, "ok")
    await runtime.wait("r")
    await runtime.store.maintain("prune", before=4e9, keep="heads", grace=0.0)
    assert not (await runtime.replay("r")).differing
    for question in await runtime.questions("r"):
        await runtime.answer(question.id, "ok")
    result = await runtime.wait("r")
    assert result.output == [f"{n} ok, signed" for n in range(3)]
    if runtime.store.url.startswith("sqlite"):
        assert not (await runtime.store.maintain("check")).get("damaged")


async def test_a_budget_that_wraps_up_drops_open_frames(runtime: Runtime) -> None:
    graph = Graph("g", Desk, budget=Budget(steps=3, edge=WrapUp(node="close")))
    graph.subgraph(team(rounds=9, asks=False))

    @graph.node(writes=["log"])
    async def close() -> dict[str, Any]:
        return {"log": ["closed"]}

    graph.start("team")
    result = await runtime.run(graph, {"topic": "x", "n": 0}, "r")
    assert result.output["log"] == ["closed"]
    position = load(await runtime.store.load("r"))
    assert not position.frames
    assert not position.pending
    assert not (await runtime.replay("r")).differing


async def test_children_of_a_node_in_a_frame(runtime: Runtime) -> None:
    @task
    async def brief(n: int) -> int:
        return n + 1

    below = Pipeline("below", [brief])

    @task
    async def asks(n: int, ctx: Context) -> int:
        return sum(await asyncio.gather(*(ctx.run(below, n + place) for place in range(2))))

    inner = Pipeline("inner", [asks], children=[below])
    outer = Pipeline("outer", [split, inner], [Edge("split", inner, each=True)])
    result = await runtime.run(outer, 2, "r")
    assert result.output == [3, 5]
    children = await runtime.runs(parent="r")
    assert {run.origin.address for run in children if run.origin} == {f"inner#1[{n}]/asks#1" for n in range(2)}


async def test_streams_within_a_subgraph(runtime: Runtime) -> None:
    @task
    async def words(text: str) -> Yields[str]:
        for word in text.split():
            yield word
        yield Output(len(text))

    @task
    async def shout(words: AsyncIterator[str]) -> list[str]:
        return [word.upper() async for word in words]

    inner = Pipeline("inner", [words, shout], [Edge("words", "shout", stream=True)])

    @task
    async def texts(n: int) -> list[str]:
        return ["a b", "c d e"][:n]

    outer = Pipeline("outer", [texts, inner], [Edge("texts", inner, each=True)])
    assert (await runtime.run(outer, 2)).output == [["A", "B"], ["C", "D", "E"]]


async def test_breakpoints_approvals_and_escalations_within_a_frame(runtime: Runtime) -> None:
    sent: list[str] = []

    async def send(text: str) -> str:
        sent.append(text)
        return text

    @task
    async def judge(given: dict[str, Any]) -> str:
        return f"judged {given['state']['check']}"

    court = Pipeline("court", [judge])

    @task(before="", after="")
    async def check(item: int) -> str:
        return f"checked {item}"

    @task
    async def mail(check: str, ctx: Context) -> str:
        said = await ctx.ask("What else?")
        done: str = await ctx.effect("send", send, f"{check} {said}", approve="")
        return done

    inner = Pipeline("inner", [check, mail])
    outer = Pipeline("outer", [inner])
    await runtime.run(outer, 3, "r")
    for verdict in ({"edit": {"item": 4}}, "approve"):
        (asked,) = await runtime.questions("r")
        assert asked.about["breakpoint"] in ("before", "after")
        await runtime.answer(asked.id, verdict)
        await runtime.wait("r")
    (asked,) = await runtime.questions("r")
    run = await runtime.escalate(asked.id, court)
    await runtime.wait(run)
    for _ in range(100):
        (asked,) = await runtime.questions("r") or [asked]
        if "bound" in asked.about:
            break
        await asyncio.sleep(0.01)
    assert asked.about["bound"]["address"] == "inner#1/mail#1"
    await runtime.answer(asked.id, "allow")
    assert (await runtime.wait("r")).output == "checked 4 judged checked 4"
    assert sent == ["checked 4 judged checked 4"]


class Shelf(TypedDict):
    """What two branches change at once, each of them another part."""

    log: Annotated[list[str], append]
    seen: Annotated[dict[str, int], merge]
    books: Annotated[list[str], unique_by(str.lower)]


def shelver(name: str) -> Graph:
    """Count a name, and shelve a book of that name."""
    graph = Graph(name, Shelf)

    @graph.node(writes=["log", "seen", "books"])
    async def shelve(seen: dict[str, int], ctx: Context) -> dict[str, Any]:
        said = await ctx.ask(f"{name}?")
        return {"log": [said], "seen": {name: seen[name] + 1}, "books": [said]}

    graph.start(shelve)
    return graph


async def test_parallel_sub_graphs_give_back_only_what_each_has_changed(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "MOST_ROWS", 1)  # a snapshot after each row: what frames began with is in it
    graph = Graph("library", Shelf)
    graph.subgraph(shelver("a"))
    graph.subgraph(shelver("b"))
    graph.start("a", "b")
    given = {"log": ["0"], "seen": {"a": 1, "b": 5}, "books": ["A", "B"]}
    await runtime.run(graph, given, id="r")
    for question in await runtime.questions("r"):
        await runtime.answer(question.id, question.prompt[0])
    result = await runtime.wait("r")
    assert result.output == {"log": ["0", "a", "b"], "seen": {"a": 2, "b": 6}, "books": ["a", "b"]}


def endless(name: str) -> Graph:
    """Go on for ever, up to the step limit."""
    graph = Graph(name, Desk, step_limit=3)

    @graph.node(writes=["n"])
    async def step(n: int = 0) -> dict[str, int]:
        return {"n": n + 1}

    def on(n: int) -> str:
        return "step"

    graph.start(step)
    graph.branch(step, on, [step, END])
    return graph


async def test_a_run_that_two_frames_would_fail_at_once_fails_once(runtime: Runtime) -> None:
    graph = Graph("outer", Desk)
    graph.subgraph(endless("a"), reads={}, writes=[])
    graph.subgraph(endless("b"), reads={}, writes=[])
    graph.start("a", "b")
    with pytest.raises(RunFailed, match="StepLimitReached: a#1 of r took 3 steps"):
        await runtime.run(graph, {}, id="r")
    kinds = [event.type async for event in runtime.events("r")]
    assert (kinds.count("run.failed"), kinds[-1]) == (1, "run.failed")


async def test_a_step_limit_in_a_frame_stops_the_children_beside_it(runtime: Runtime) -> None:
    @task
    async def decide(n: int, ctx: Context) -> str:
        return await ctx.ask(f"{n}?", str)

    child = Pipeline("child", [decide])
    graph = Graph("outer", Desk, children=[child])

    @graph.node(writes=["topic"])
    async def boss(ctx: Context) -> dict[str, str]:
        return {"topic": await ctx.run(child, 1)}

    inner = endless("a")

    @inner.node()
    async def wait(ctx: Context) -> None:
        await ctx.ask("go?")

    inner.start(wait)
    inner.edge(wait, "step")
    graph.subgraph(inner, reads={}, writes=[])
    graph.start("a", boss)
    await runtime.start(graph, {}, id="r")
    result = await runtime.wait("r")
    asked = {question.run: question.id for question in await runtime.questions("r")}
    assert (result.status, len(asked)) == ("waiting", 2)
    await runtime.answer(asked.pop("r"), "yes")
    with pytest.raises(RunFailed, match="StepLimitReached: a#1 of r took 3 steps"):
        await runtime.wait("r")
    assert [(await runtime.wait(run)).status for run in asked] == ["cancelled"]
