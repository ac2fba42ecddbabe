"""Breakpoints: a person sees what a node is given or what it wrote, and approves, edits or rejects it."""

from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import pytest

from windlass import (
    Approve,
    Context,
    DefinitionError,
    Edge,
    Graph,
    Output,
    Pipeline,
    RunFailed,
    Runtime,
    Send,
    Stream,
    Update,
    Yields,
    append,
    task,
)  # fmt: skip
from windlass.core.errors import AnswerInvalid, NotForYou
from windlass.core.records import Question


class Page(TypedDict):
    text: str
    log: Annotated[list[str], append]


@dataclass(frozen=True)
class Draft:
    """An output of a declared type."""

    text: str
    words: int = 1


async def the_question(runtime: Runtime, run: str) -> Question:
    (found,) = await runtime.questions(run)
    return found


def page(ran: list[str], **options: Any) -> Graph:
    graph = Graph("page", Page)

    @graph.node(writes=["text", "log"], **options)
    async def write(text: str) -> dict[str, Any]:
        ran.append(text)
        return {"text": text.upper(), "log": [text]}

    graph.start(write)
    return graph


async def test_before_a_node_its_input_is_shown(runtime: Runtime) -> None:
    ran: list[str] = []
    run = (await runtime.run(page(ran, before="role:editor"), {"text": "a"})).run
    asked = await the_question(runtime, run)
    assert (ran, asked.about["breakpoint"], asked.about["shown"]) == ([], "before", '{"text":"a"}')
    with pytest.raises(NotForYou):
        await runtime.answer(asked.id, "approve")
    await runtime.answer(asked.id, "approve", roles=["editor"])
    assert (await runtime.wait(run)).output == {"text": "A", "log": ["a"]}
    assert ran == ["a"]


async def test_what_a_node_is_given_can_be_edited(runtime: Runtime) -> None:
    ran: list[str] = []
    run = (await runtime.run(page(ran, before=""), {"text": "a"})).run
    asked = await the_question(runtime, run)
    for bad, said in (
        ("perhaps", 'none of "approve", "reject"'),
        ({"edit": {"text": 5}}, "edit.text is 5, not of type string"),
        ({"edit": {"other": "x"}}, "edit.other may not be there, only text"),
        ({"edit": {}, "and": 1}, "and may not be there, only edit"),
        ({}, "edit is missing"),
    ):
        with pytest.raises(AnswerInvalid, match=said):
            await runtime.answer(asked.id, bad)
    await runtime.answer(asked.id, {"edit": {"text": "b"}})
    assert (await runtime.wait(run)).output == {"text": "B", "log": ["b"]}


async def test_what_a_node_wrote_is_settled_as_it_was_shown(url: str) -> None:
    """It does not run again, in whatever process the answer is taken."""
    ran: list[str] = []
    async with Runtime(url) as runtime:
        run = (await runtime.run(page(ran, after="user:ann"), {"text": "a"})).run
        asked = await the_question(runtime, run)
        assert asked.about["shown"] == '{"text":"A","log":["a"]}'
        assert (await runtime.state(run))["text"] == "a"
    async with Runtime(url, [page(ran, after="user:ann")]) as runtime:
        await runtime.answer(asked.id, "approve", by="ann")
        assert (await runtime.wait(run)).output == {"text": "A", "log": ["a"]}
        assert ran == ["a"]
        assert (await runtime.replay(run)).differing == ()


async def test_what_a_node_wrote_can_be_edited(runtime: Runtime) -> None:
    run = (await runtime.run(page([], after=""), {"text": "a"})).run
    await runtime.answer((await the_question(runtime, run)).id, {"edit": {"log": ["b", "c"]}})
    assert (await runtime.wait(run)).output == {"text": "A", "log": ["b", "c"]}


@pytest.mark.parametrize(("side", "times"), [("before", 0), ("after", 1)])
async def test_a_rejection_fails_the_run_and_a_resume_asks_again(runtime: Runtime, side: str, times: int) -> None:
    ran: list[str] = []
    run = (await runtime.run(page(ran, **{side: ""}), {"text": "a"})).run
    await runtime.answer((await the_question(runtime, run)).id, "reject", by="ann")
    with pytest.raises(RunFailed, match="rejected by ann") as failed:
        await runtime.wait(run)
    assert failed.value.failure["code"] == "run.rejected"
    assert len(ran) == times
    await runtime.resume(run)
    await runtime.wait(run)
    await runtime.answer((await the_question(runtime, run)).id, "approve")
    assert (await runtime.wait(run)).output["text"] == "A"


async def test_tasks_have_them_and_values_keep_their_types(runtime: Runtime) -> None:
    seen: list[Draft] = []

    @task(after="role:editor")
    async def draft(n: int) -> Draft:
        return Draft("a", n)

    @task(before=Approve("role:editor", deadline="1h"))
    async def send(draft: Draft, ctx: Context) -> str:
        seen.append(draft)
        return draft.text

    run = (await runtime.run(Pipeline("drafts", [draft, send]), 3)).run
    await runtime.answer((await the_question(runtime, run)).id, {"edit": {"draft": {"text": "b"}}}, roles=["editor"])
    await runtime.wait(run)
    asked = await the_question(runtime, run)
    assert asked.terms.due_at is not None
    await runtime.answer(asked.id, {"edit": {"draft": Draft("c", 5)}}, roles=["editor"])
    assert (await runtime.wait(run)).output == "c"
    assert seen == [Draft("c", 5)]


@dataclass(frozen=True)
class Short:
    """What its schema does not say in full."""

    text: str

    def __post_init__(self) -> None:
        if len(self.text) > 9:
            raise ValueError("too long")


@pytest.mark.parametrize("side", ["before", "after"])
async def test_an_edit_that_the_type_refuses_is_asked_for_again(runtime: Runtime, side: str) -> None:
    ran: list[str] = []
    declared = Approve("user:ann", deadline="2 h")

    @task(id="a", after=declared if side == "after" else None)
    async def a(n: int) -> Short:
        ran.append("a")
        return Short("one")

    @task(id="b", before=declared if side == "before" else None)
    async def b(a: Short) -> str:
        ran.append("b")
        return a.text

    run = (await runtime.run(Pipeline("p", [a, b], types=[Short]), 1)).run
    first = await the_question(runtime, run)
    await runtime.answer(first.id, {"edit": {"a": {"text": "far too long"}}}, by="ann")
    await runtime.wait(run)
    second = await the_question(runtime, run)
    assert "too long" in second.prompt
    assert (second.about, second.terms.to, second.terms.due_at) == (first.about, "user:ann", first.terms.due_at)
    await runtime.answer(second.id, {"edit": {"a": {"text": "two"}}}, by="ann")
    assert (await runtime.wait(run)).output == "two"
    assert ran == ["a", "b"]


async def test_each_element_of_a_map_has_its_own(runtime: Runtime) -> None:
    @task
    async def numbers(n: int) -> list[int]:
        return list(range(n))

    @task(after="", id="double")
    async def double(numbers: int) -> int:
        return 2 * numbers

    definition = Pipeline("map", [numbers, double], [Edge("numbers", "double", each=True)])
    run = (await runtime.run(definition, 3)).run
    assert [asked.about["shown"] for asked in await runtime.questions(run)] == [f'{{"double":{n}}}' for n in (0, 2, 4)]
    for asked in reversed(await runtime.questions(run)):
        await runtime.answer(asked.id, {"edit": {"double": 7}} if asked.address == "double#1[1]" else "approve")
    assert (await runtime.wait(run)).output == [0, 7, 4]


@pytest.mark.parametrize("who", ["ann", 5, "role:", Approve("nobody")])
def test_a_breakpoint_for_nobody_is_refused(who: Any) -> None:
    with pytest.raises(DefinitionError, match="nobody"):
        page([], before=who).compile()


async def test_where_a_node_leads_is_kept_with_what_it_wrote(url: str) -> None:
    ran: list[str] = []

    def definition() -> Graph:
        graph = Graph("leading", Page)

        @graph.node(writes=["text"], goto=["end"], sends=["each"], after="")
        async def first(text: str) -> Update:
            ran.append("first")
            return Update(goto="end", sends=[Send("each", n) for n in range(2)], text=text * 2)

        @graph.node(writes=["log"])
        async def each(n: int) -> dict[str, list[str]]:
            return {"log": [f"each {n}"]}

        @graph.node(writes=["log"])
        async def end(text: str) -> dict[str, list[str]]:
            return {"log": [text]}

        graph.start(first)
        return graph

    async with Runtime(url) as runtime:
        run = (await runtime.run(definition(), {"text": "a"})).run
        asked = await the_question(runtime, run)
    async with Runtime(url, [definition()]) as runtime:
        await runtime.answer(asked.id, {"edit": {"text": "b"}})
        output = (await runtime.wait(run)).output
        assert (output["text"], sorted(output["log"]), ran) == ("b", ["b", "each 0", "each 1"], ["first"])


async def test_a_long_value_is_shown_and_kept(url: str) -> None:
    long = "x" * 200_000

    def definition() -> Pipeline:
        @task(after="")
        async def writes(n: int) -> str:
            return long

        return Pipeline("long", [writes])

    async with Runtime(url) as runtime:
        run = (await runtime.run(definition(), 1)).run
        asked = await the_question(runtime, run)
        assert asked.about["shown"].startswith('{"writes":"xxx')
        assert "bytes hidden" in asked.about["shown"]
    async with Runtime(url, [definition()]) as runtime:
        await runtime.answer(asked.id, "approve")
        assert (await runtime.wait(run)).output == long


def test_a_stream_cannot_be_kept_back() -> None:
    @task(after="")
    async def tells(n: int) -> Yields[int]:
        yield n
        yield Output(n)

    @task
    async def hears(tells: Stream[int]) -> int:
        return 1

    with pytest.raises(DefinitionError, match="stream"):
        Pipeline("telling", [tells, hears], [Edge("tells", "hears", stream=True)]).compile()
