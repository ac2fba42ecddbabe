"""What is given from outside arrives as it was given, or is refused before anything is written."""

import datetime as dt
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypedDict

import pytest

from windlass import Context, Graph, Pipeline, RunFailed, Runtime, task
from windlass.core.errors import InputError, RunUnknown, ValueNotKept, ValueTooLarge
from windlass.core.queries import Commands, Questions

VALUES: list[Any] = [
    float("inf"), {1, 2}, (1, (2,)), b"\0\xff", {1: "a"}, "a\ud800", 2**64, -0.0, {"$": "set", "v": [1]},
    dt.datetime(2026, 3, 29, 2, 30, tzinfo=dt.UTC),
]  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """Known to the question alone, not to the definition."""

    good: bool
    at: dt.date


@task
async def asking(input: None, ctx: Context) -> list[Any]:
    return [await ctx.ask("What?", Any)]


@task
async def judging(input: None, ctx: Context) -> bool:
    return (await ctx.ask("How?", Verdict)) == Verdict(good=True, at=dt.date(2026, 1, 2))


class State(TypedDict, total=False):
    value: Any
    seen: Any


def stopping() -> Graph:
    """Fail until it is told to go on with another value."""
    graph = Graph("stopping", State)

    @graph.node(writes=["seen"])
    async def look(value: Any = None) -> dict[str, Any]:
        if value is None:
            raise ValueError("nothing is set")
        return {"seen": [value]}

    graph.start("look")
    return graph


@pytest.mark.parametrize("value", VALUES, ids=repr)
async def test_an_answer_arrives_as_it_was_given(runtime: Runtime, value: Any) -> None:
    asked = await runtime.run(Pipeline("asking", tasks=[asking]), None)
    await runtime.answer(asked.waiting[0], value)
    await runtime.answer(asked.waiting[0], value)  # the same one again is fine
    output = (await runtime.wait(asked.run)).output
    assert (output, repr(output)) == ([value], repr([value]))


async def test_an_answer_may_be_an_object_that_only_the_question_knows(runtime: Runtime) -> None:
    asked = await runtime.run(Pipeline("judging", tasks=[judging]), None)
    await runtime.answer(asked.waiting[0], Verdict(good=True, at=dt.date(2026, 1, 2)))
    assert (await runtime.wait(asked.run)).output is True


@pytest.mark.parametrize(("value", "error"), [([object()], ValueNotKept), (b"x" * 100_000, ValueTooLarge)])
async def test_an_answer_that_cannot_be_kept_leaves_the_question_open(
    runtime: Runtime, value: Any, error: type[Exception]
) -> None:
    asked = await runtime.run(Pipeline("asking", tasks=[asking]), None)
    with pytest.raises(error, match=r"^answer"):
        await runtime.answer(asked.waiting[0], value)
    assert len(await runtime.store.find(Questions(run=asked.run))) == 1


@pytest.mark.parametrize("value", [*VALUES, b"x" * 100_000], ids=lambda value: repr(value)[:20])
async def test_an_edit_arrives_as_it_was_given(runtime: Runtime, value: Any) -> None:
    graph = stopping()
    with pytest.raises(RunFailed):
        await runtime.run(graph, {}, id="s")
    await runtime.resume("s", edits={"value": value})
    output = (await runtime.wait("s")).output
    assert (output, repr(output)) == ({"value": value, "seen": [value]}, repr({"value": value, "seen": [value]}))


@pytest.mark.parametrize(
    "value", [*VALUES, b"x" * 100_000, {"a": [b"x" * 100_000, b"y" * 100_000]}], ids=lambda value: repr(value)[:20]
)
async def test_a_correction_arrives_as_it_was_given(runtime: Runtime, value: Any) -> None:
    with pytest.raises(RunFailed):
        await runtime.run(stopping(), {}, id="s")
    await runtime.edit("s", {"value": value})
    await runtime.resume("s")
    output = (await runtime.wait("s")).output
    assert (output, repr(output)) == ({"value": value, "seen": [value]}, repr({"value": value, "seen": [value]}))
    assert (await runtime.replay("s")).differing == ()


async def test_an_edit_that_cannot_be_kept_is_not_posted(runtime: Runtime) -> None:
    with pytest.raises(RunFailed):
        await runtime.run(stopping(), {}, id="s")
    with pytest.raises(ValueNotKept, match=r"edits.value.a\[0\]"):
        await runtime.resume("s", edits={"value": {"a": [object()]}})
    assert await runtime.store.find(Commands(run="s")) == []


async def test_an_id_is_text(runtime: Runtime) -> None:
    with pytest.raises(InputError, match=r"id: .*is no text"):
        await runtime.run(stopping(), {}, id="a\ud800")


@dataclass
class Begun:
    """A state of fields; the list of a channel called `count` is one that a list has as a method."""

    count: int = 0
    title: str = ""


def counting(name: str = "counting") -> Graph:
    """Count one on."""
    graph = Graph(name, Begun)

    @graph.node(writes=["count"])
    async def add(count: int) -> dict[str, Any]:
        return {"count": count + 1}

    graph.start("add")
    return graph


@dataclass
class Other:
    """Another class with a field more."""

    count: int
    more: int = 0


@pytest.mark.parametrize("given", [5, "abc", [{"count": 2}], (1,), {1}, b"x", 1.5, True, object(), Begun])
async def test_what_is_no_dict_of_channels_is_no_input_of_a_graph(runtime: Runtime, given: Any) -> None:
    with pytest.raises(InputError, match=r"^input: expected a dict of channels, got `.+has count, title") as caught:
        await runtime.start(counting(), given, id="r")
    assert caught.value.code == "value.input"
    assert await runtime.runs() == []


@pytest.mark.parametrize(
    ("given", "count"),
    [(None, 1), ({}, 1), ({"count": 2}, 3), (MappingProxyType({"count": 2}), 3), (Begun(4), 5), ({"count": 0}, 1)],
)
async def test_a_graph_takes_a_dict_of_channels_or_an_object_with_such_fields(
    runtime: Runtime, given: Any, count: int
) -> None:
    assert (await runtime.run(counting(), given)).output["count"] == count


async def test_a_field_that_is_no_channel_is_refused_as_an_entry_is(runtime: Runtime) -> None:
    for given in (Other(1), {"count": 1, "more": 0}):
        with pytest.raises(InputError, match=r"^more: counting has no channel 'more' \(there are: count, title\)$"):
            await runtime.start(counting(), given)
    with pytest.raises(InputError, match=r"^1: counting has no channel 1 "):
        await runtime.start(counting(), {1: 2})


async def test_a_sub_graph_and_a_child_run_take_no_other_input(runtime: Runtime) -> None:
    @task
    async def start(input: int, ctx: Context) -> Any:
        return await ctx.run(counting(), input)

    @task
    async def one(input: int) -> int:
        return input

    for definition in (
        Pipeline("child", [start], children=[counting()]),
        Pipeline("within", [one, counting("sub")], [("one", "sub")]),
    ):
        with pytest.raises(RunFailed, match="input: expected a dict of channels, got `int`"):
            await runtime.run(definition, 5)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "durability": ({"durability": "x"}, "durability: 'x' is none of sync, async, exit"),
    "on_busy": ({"on_busy": "wait"}, "on_busy: 'wait' is none of enqueue, reject, interrupt, rollback"),
    "id": ({"id": 5}, r'id: 5 is no text \(id="5"\)'),
    "thread": ({"thread": 7}, "thread: expected `str`, got `int`"),
    "tenant": ({"tenant": 5}, "tenant: expected `str`, got `int`"),
    "tags": ({"tags": ["a"]}, "tags: expected `object`, got `array`"),
    "a tag": ({"tags": {"a": 1}}, "tags.a: expected `str`, got `int`"),
    "half a letter": ({"tags": {"a": "\ud800"}}, r"tags: .*is no plain text"),
    "roles": ({"roles": "editor"}, r"roles: 'editor' is no list \(roles=\['editor'\]\)"),
    "before": ({"before": 5}, "before: expected `array`, got `int`"),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_an_option_of_a_run_that_cannot_be_is_refused(runtime: Runtime, wrong: str) -> None:
    options, said = WRONG[wrong]
    with pytest.raises(InputError, match=f"^{said}") as caught:
        await runtime.start(counting(), {}, **options)
    assert caught.value.hint
    assert await runtime.runs() == []
    with pytest.raises(TypeError, match="tag"):
        await runtime.start(counting(), {}, tag={})


async def test_an_option_is_taken_as_it_was_given(runtime: Runtime) -> None:
    tags = {"a": "b"}
    options: dict[str, Any] = {"tags": tags, "durability": "exit", "roles": ["x"], "tenant": "t", "source": "f.py:f"}
    record = await runtime.get((await runtime.run(counting(), {}, before=(), after={"add"} - {"add"}, **options)).run)
    assert (record.tags, record.durability, record.roles, record.tenant) == (tags, "exit", ("x",), "t")


async def test_a_filter_that_cannot_be_is_refused(runtime: Runtime) -> None:
    run = (await runtime.run(counting(), {})).run
    states = "created, running, waiting, paused, completed, failed, cancelled"
    for filters, said in (
        ({"statuses": ["nope"]}, rf"statuses: \['nope'\] is none of {states} "),
        ({"statuses": "failed"}, "statuses: 'failed' is no list"),
        ({"limit": "5"}, "limit: expected `int`"),
    ):
        with pytest.raises(InputError, match=f"^{said}"):
            await runtime.runs(**filters)
    assert [one.id for one in await runtime.runs(statuses=["completed"], ids=[run])] == [run]
    with pytest.raises(InputError, match=r"^tenant: "):
        await runtime.thread("t", tenant=5)
    wrong: list[dict[str, Any]] = [{"statuses": ["nope"]}, {"statuses": "open"}, {"node": 5}, {"limit": "x"}]
    for letters in wrong:
        with pytest.raises(InputError, match=f"^{min(letters)}: "):
            await runtime.dead_letters(**letters)
    with pytest.raises(RunUnknown):
        await runtime.questions("nosuch")
    assert await runtime.questions(run) == []


@pytest.mark.parametrize("target", [object(), 1.5, None, ("add",), ("add", "1"), (1, "add"), ["add", 1]], ids=repr)
async def test_what_names_no_checkpoint_is_refused(runtime: Runtime, target: Any) -> None:
    run = (await runtime.run(counting(), {})).run
    if not isinstance(target, list):  # as JSON has pairs
        with pytest.raises(InputError, match=r"^target: .*names no checkpoint"):
            await runtime.rollback(run, target)
    if target is not None:  # the head
        for verb in (runtime.fork(run, at=target), runtime.state(run, target), runtime.diff(run, target, 1)):
            with pytest.raises(InputError, match=r"^target: .*names no checkpoint"):
                await verb
    assert [one.id for one in await runtime.runs()] == [run]


@pytest.mark.parametrize("given", [5, None, ["a"], b"x", "\ud800"], ids=repr)
async def test_who_does_it_is_a_text_or_nothing_is_done(runtime: Runtime, given: Any) -> None:
    """What nobody can read as a command again would be taken for damage of its run, which is put aside."""
    run = (await runtime.run(Pipeline("asking", tasks=[asking]), None)).run
    (asked,) = await runtime.questions(run)
    verbs: dict[str, list[Any]] = {
        "by": [
            runtime.pause(run, by=given), runtime.cancel(run, by=given), runtime.rollback(run, 1, by=given),
            runtime.answer(asked.id, 1, by=given), runtime.signal(run, "paid", by=given),
            runtime.escalate(asked.id, "role:chief", by=given), runtime.edit(run, {"asking": [1]}, by=given),
            runtime.drop(by=given),
        ],
        "why": [runtime.edit(run, {"asking": [1]}, why=given), runtime.escalate(asked.id, "role:chief", why=given)],
        "note": [runtime.drop(note=given)],
        "run": [runtime.get(given), runtime.wait(given), runtime.pause(given), runtime.signal(given, "x")],
    }  # fmt: skip
    for where, several in verbs.items():
        for verb in several:
            with pytest.raises(InputError, match=f"^{where}: .*is no text"):
                await verb
    assert await runtime.store.find(Commands(run=run)) == []
    await runtime.answer(asked.id, 1)
    assert (await runtime.wait(run)).output == [1]
    assert not (await runtime.get(run)).quarantined


@pytest.mark.parametrize("edits", [5, ["seen"], "seen", {5: 1}, {None: 1}], ids=repr)
async def test_edits_that_are_no_dict_of_channels_are_refused(runtime: Runtime, edits: Any) -> None:
    with pytest.raises(RunFailed) as caught:
        await runtime.run(stopping(), {}, id="r")
    assert caught.value.failure["kind"] == "ValueError"
    for verb in (runtime.resume("r", edits=edits), runtime.edit("r", edits), runtime.fork("r", at=1, edits=edits)):
        with pytest.raises(InputError, match="seen, value"):
            await verb
    assert [one.id for one in await runtime.runs()] == ["r"]
