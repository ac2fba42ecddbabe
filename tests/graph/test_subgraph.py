"""A definition as a node of another: how it is bound, what its structure and policies come to, what is refused."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest

from windlass import (
    Allow,
    Budget,
    DefinitionError,
    Deny,
    Edge,
    Graph,
    Limit,
    Pipeline,
    Platform,
    Redact,
    Retry,
    Runtime,
    Send,
    Subgraph,
    Update,
    append,
    task,
    tool,
)
from windlass.core.blueprint import differences
from windlass.core.errors import DefinitionChanged
from windlass.graph.render import mermaid, text
from windlass.policies.chain import resolve_at


class Desk(TypedDict, total=False):
    """What is worked on."""

    topic: str
    log: Annotated[list[str], append]


@dataclass(frozen=True)
class Draft:
    """A value of the inner definition alone."""

    words: str


@task
async def draft(topic: str) -> Draft:
    """Write."""
    return Draft(topic)


@task
async def polish(draft: Draft) -> str:
    """Write it again."""
    return draft.words.upper()


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A store in a file."""
    return f"sqlite:///{tmp_path}/w.db"


@pytest.fixture
async def runtime() -> AsyncIterator[Runtime]:
    """An open runtime."""
    async with Runtime("memory:") as opened:
        yield opened


def drafting(**options: Any) -> Pipeline:
    return Pipeline("drafting", [draft, polish], **options)


def team(**options: Any) -> Graph:
    graph = Graph("team", Desk, **options)

    @graph.node(writes=["log"])
    async def write(topic: str) -> dict[str, Any]:
        return {"log": [topic]}

    graph.start(write)
    return graph


def around(inner: Any, *, start: bool = True, **binding: Any) -> Graph:
    graph = Graph("desk", Desk)
    node = graph.subgraph(inner, **binding)
    if start:
        graph.start(node)
    return graph


@task
async def topics(n: int) -> list[str]:
    """Name what to write about."""
    return [f"t{place}" for place in range(n)]


# What it comes to


async def test_one_definition_may_be_there_twice(runtime: Runtime) -> None:
    inner = drafting()
    outer = Pipeline(
        "outer", [topics, inner, Subgraph(inner, id="second")],
        [Edge("topics", inner, each=True), Edge("topics", "second", each=True)],
    )  # fmt: skip
    assert (await runtime.run(outer, 2)).output == {"drafting": ["T0", "T1"], "second": ["T0", "T1"]}


async def test_without_a_task_before_it_a_subgraph_gets_the_input(runtime: Runtime) -> None:
    outer = Pipeline("outer", [drafting()])
    assert outer.compile().input_type is str
    assert (await runtime.run(outer, "x")).output == "X"


async def test_of_several_before_it_a_subgraph_gets_a_dict(runtime: Runtime) -> None:
    @task
    async def count(both: dict[str, Any]) -> int:
        return len(both["topics"]) + len(both["more"])

    @task
    async def more(n: int) -> list[str]:
        return ["m"] * n

    inner = Pipeline("inner", [count])
    outer = Pipeline("outer", [topics, more, inner], [(topics, inner), ("more", "inner")])
    assert (await runtime.run(outer, 2)).output == 4


def test_a_run_has_one_codec_for_all_types() -> None:
    outer = Pipeline("outer", [topics, around(drafting(), reads="topic", writes="topic")], [("topics", "desk")])
    blueprint = outer.compile()
    deepest = blueprint.within("desk/drafting")
    assert deepest.codec is blueprint.codec
    assert blueprint.codec.decode(blueprint.codec.encode(Draft("x")).data) == Draft("x")


def test_redaction_of_both_holds() -> None:
    outer = around(team(redact=Redact(["topic"])))
    outer.options["redact"] = Redact(["log"])
    codec = outer.compile().codec
    assert codec.encode("x", "topic").data != b'"x"'
    assert codec.encode("x", "log").data != b'"x"'
    assert codec.encode("x", "other").data == b'"x"'


def test_what_differs_inside_is_named_by_its_path() -> None:
    one, two = around(team()).compile(), team()

    @two.node(writes=["log"])
    async def check(topic: str) -> dict[str, Any]:
        return {"log": [topic]}

    two.edge("write", check)
    other = around(two).compile()
    assert one.fingerprint != other.fingerprint
    assert "nodes.team.sub.nodes.check: added" in differences(one.structure, other.structure)


async def test_a_changed_subgraph_is_refused(url: str) -> None:
    asking = [True]

    def make(extra: bool) -> Graph:
        inner = Graph("team", Desk)

        @inner.node(writes=["log"])
        async def write(ctx: Any) -> dict[str, Any]:
            return {"log": [await ctx.ask("?")] if asking[0] else []}

        if extra:
            inner.node(write, id="more", writes=["log"])
            inner.edge("write", "more")
        inner.start("write")
        return around(inner)

    async with Runtime(url) as runtime:
        await runtime.run(make(extra=False), {}, "r")
    async with Runtime(url, [make(extra=True)]) as runtime:
        with pytest.raises(DefinitionChanged, match=r"nodes.team.sub.nodes.more: added"):
            await runtime.resume("r")


async def test_other_code_within_is_told_by_its_path(url: str) -> None:
    def first() -> Graph:
        inner = Graph("team", Desk)

        @inner.node(writes=["log"])
        async def write(ctx: Any) -> dict[str, Any]:
            return {"log": [await ctx.ask("first?")]}

        inner.start(write)
        return around(inner)

    def second() -> Graph:
        inner = Graph("team", Desk)

        @inner.node(writes=["log"])
        async def write(ctx: Any) -> dict[str, Any]:
            return {"log": [await ctx.ask("second?"), "second"]}

        inner.start(write)
        return around(inner)

    async with Runtime(url) as runtime:
        await runtime.run(first(), {}, "r")
        await runtime.pause("r")
    async with Runtime(url, [second()]) as runtime:
        await runtime.resume("r")
        await runtime.wait("r")
        told = [event.data async for event in runtime.events("r") if event.type == "definition.code_changed"]
        assert told == [{"nodes": ["team/write"]}]
        (asked,) = await runtime.questions("r")
        assert (asked.prompt, asked.address) == ("second?", "team#1/write#1")


def test_channels_of_a_subgraph_have_static_paths() -> None:
    kinds = around(team()).compile().recorded["channels"]
    assert kinds["team/log"] == "append"
    assert kinds["log"] == "append"


# Policies


@tool
async def publish(text: str) -> str:
    """Print it."""
    return text


def granted(*outer: Any, platform: Platform | None = None) -> tuple[str, ...]:
    inner = team(tools=[publish], grants=[Allow("publish")])
    graph = around(inner)
    if outer:
        graph.options["grants"] = outer
    place = next(one for one in graph.compile().tree() if one.path == "team/write")
    return tuple(layer.name for layer in resolve_at(place, platform or Platform()).layers)


def test_a_subgraph_may_do_what_both_definitions_grant() -> None:
    assert granted(Allow("publish"), Deny("effect:push")) == ("definition team", "definition desk")
    assert granted() == ("definition team", "definition desk without grants")
    assert granted(platform=Platform(grants={"*": [Allow("publish")]})) == ("definition team", "platform")


def test_outer_defaults_stand_below_its_own() -> None:
    inner = team(defaults={"timeout": 5})
    graph = around(inner)
    graph.options["defaults"] = {
        "timeout": 9,
        "retry": Retry(on=ValueError, max_attempts=3),
        "limits": [Limit("l", concurrency=1)],
    }
    places = {one.path: resolve_at(one) for one in graph.compile().tree()}
    chain = places["team/write"]
    assert (chain.timeout, chain.max_attempts, chain.node) == (5, 3, "team/write")
    assert chain.origins["retry"] == "definition desk"
    assert places["team"].is_plain, "a frame takes no permit: what is in it does"


# What is refused


def refused(make: Any) -> str:
    with pytest.raises(DefinitionError) as error:
        make().compile()
    assert error.value.hint
    return f"{error.value.code}: {error.value.args[0]}"


@pytest.mark.parametrize(
    "options", [{"budget": Budget(steps=3)}, {"run_timeout": 5}, {"dead_letters": "other"}], ids=str
)
def test_what_is_of_a_run_cannot_be_of_a_subgraph(options: dict[str, Any]) -> None:
    said = refused(lambda: around(team(**options)))
    assert next(iter(options)) in said


def test_a_definition_is_no_node_of_itself() -> None:
    one, two = Graph("one", Desk), Graph("two", Desk)
    one.subgraph(two)
    two.subgraph(one)
    one.start("two")
    two.start("one")
    assert "one -> two -> one" in refused(lambda: one)


def test_what_would_count_twice_is_refused() -> None:
    def total(current: int, incoming: int) -> int:
        return current + incoming

    class Sum(TypedDict):
        n: Annotated[int, total]

    inner, outer = Graph("inner", Sum), Graph("outer", Sum)

    @inner.node(writes=["n"])
    async def add() -> dict[str, Any]:
        return {"n": 1}

    inner.start(add)
    outer.subgraph(inner)
    outer.start("inner")
    assert "count twice" in refused(lambda: outer)


def test_an_appended_list_that_comes_back_whole_is_refused() -> None:
    class Plain(TypedDict):
        log: list[str]

    inner = Graph("inner", Plain)

    @inner.node(writes=["log"])
    async def add() -> dict[str, Any]:
        return {"log": []}

    inner.start(add)
    assert "count twice" in refused(lambda: around(inner))


@pytest.mark.parametrize(
    "binding",
    [
        {"reads": "nothing"},
        {"reads": {"nothing": "topic"}},
        {"reads": {"topic": "nothing"}},
        {"writes": "nothing"},
        {"writes": {"topic": "nothing"}},
        {"writes": ["nothing"]},
    ],
    ids=str,
)
def test_a_binding_names_what_is_there(binding: dict[str, Any]) -> None:
    assert "nothing" in refused(lambda: around(team(), **binding))


def test_a_pipeline_in_a_graph_needs_to_be_told_its_input_and_where_its_output_goes() -> None:
    assert "takes an input" in refused(lambda: around(drafting()))
    assert "name of a channel" in refused(lambda: around(drafting(), reads="topic"))
    assert "one input" in refused_hint(lambda: around(drafting(), reads={"x": "topic"}, writes="topic"))
    around(drafting(), reads="topic", writes=[]).compile()


def refused_hint(make: Any) -> str:
    with pytest.raises(DefinitionError) as error:
        make().compile()
    return error.value.hint


def test_a_subgraph_that_a_send_reaches_is_reached_by_nothing_else() -> None:
    graph = around(team(), writes=["log"])

    @graph.node(sends=["team"])
    async def plan() -> Update:
        return Update(sends=[Send("team", {})])

    graph.start(plan)
    assert "graph.payload" in refused(lambda: graph)


def test_streams_and_collected_failures_stay_within_a_definition() -> None:
    inner = drafting()
    assert "stream" in refused(lambda: Pipeline("o", [topics, inner], [Edge("topics", inner, stream=True)]))
    collect = [Edge("topics", inner, each=True, on_error="collect")]
    assert "collect" in refused(lambda: Pipeline("o", [topics, inner], collect))


def test_two_types_with_one_tag_are_refused() -> None:
    @dataclass(frozen=True)
    class Other:
        __windlass_tag__ = "Draft"
        other: int

    @task
    async def read(drafting: str) -> Other:
        return Other(len(drafting))

    assert "Draft" in refused(lambda: Pipeline("o", [drafting(), read]))


# How it is shown


def test_a_listing_and_a_picture_show_what_is_inside() -> None:
    outer = Pipeline("outer", [topics, drafting()], [Edge("topics", "drafting", each=True)]).compile()
    listed = text(outer)
    assert "drafting  pipeline drafting  each of topics" in listed
    assert "         1  draft" in listed
    drawn = mermaid(outer)
    assert 'subgraph n2["drafting (each)"]' in drawn
    assert drawn.count("end\n") == 1
