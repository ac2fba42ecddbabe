"""Graphs: the signature is the scope; ways between nodes; what is refused."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Annotated, Any, Literal, TypedDict

import pytest
from msgspec import UNSET

from windlass.core.blueprint import END, Blueprint, Branch, Checkpoints, Param, differences
from windlass.core.words import Send, Update
from windlass.engine.context import Context
from windlass.graph.graph import Graph, NodeOptions
from windlass.graph.reducers import append, ephemeral, merge, overwrite

Refused = Callable[..., AbstractContextManager[None]]


class State(TypedDict):
    messages: Annotated[list[str], append]
    draft: str
    votes: Annotated[dict[str, int], merge]


def done_or_again(draft: str, votes: dict[str, int]) -> str:
    return END if votes else draft


def writer() -> Graph:
    graph = Graph("writer", State, step_limit=50)

    @graph.node(writes=["draft"])
    async def write(messages: list[str], ctx: Context) -> dict[str, str]:
        return {"draft": messages[0]}

    @graph.node(writes=["messages", "votes"])
    async def review(draft: str) -> Update:
        return Update(messages=[draft], votes={"a": 1}, goto="write")

    graph.start(write)
    graph.edge(write, "review")
    graph.branch("review", done_or_again, ["write", END])
    return graph


async def nothing() -> None: ...


def small(*nodes: str, state: Any = State, **options: Any) -> Graph:
    """Make a graph of nodes that do nothing; it starts at the first."""
    graph = Graph("small", state, **options)
    for name in nodes:
        graph.node(nothing, id=name)
    graph.start(*nodes[:1])
    return graph


def params(blueprint: Blueprint, node: str) -> list[tuple[str, str, str]]:
    return [(p.name, p.kind, p.source) for p in blueprint.nodes[node].params]


def test_a_loop_with_a_way_out() -> None:
    blueprint = writer().compile()
    assert (blueprint.kind, blueprint.wait, blueprint.step_limit) == ("graph", "all", 50)
    assert params(blueprint, "write") == [("messages", "channel", "messages"), ("ctx", "context", "")]
    assert blueprint.nodes["write"].writes == {"draft"}
    assert blueprint.nodes["write"].output is None
    assert blueprint.starts == ("write",)
    assert dict(blueprint.edges) == {"write": ("review",)}
    choice = Branch(done_or_again, ("draft", "votes"), ("write", END), "done_or_again")
    assert dict(blueprint.branches) == {"review": (choice,)}
    assert list(blueprint.channels) == ["messages", "draft", "votes"]
    assert blueprint.sinks == ()


def test_the_decorated_name_is_still_the_function() -> None:
    graph = Graph("g", State)

    @graph.node
    async def one(draft: str) -> None: ...

    @graph.node(id="second", timeout=3)
    def two() -> int:
        return 2

    assert one.__name__ == "one"
    assert two() == 2
    graph.start(one, two)
    blueprint = graph.compile()
    assert blueprint.starts == ("one", "second")
    assert blueprint.nodes["second"].mode == "sync"
    assert blueprint.nodes["second"].timeout == 3.0
    assert len(blueprint.nodes["one"].source_digest) == 64


def test_compile_is_cached_and_closes_the_graph(refused: Refused) -> None:
    graph = writer()
    blueprint = graph.compile()
    assert graph.compile() is blueprint
    with refused("graph.compiled", "edge"):
        graph.edge("write", END)
    with refused("graph.compiled", "node 'nothing'"):
        graph.node(nothing)
    with refused("graph.compiled"):
        graph.start("write")
    with refused("graph.compiled"):
        graph.branch("write", done_or_again, [END])


def test_a_list_of_sources_is_a_join() -> None:
    graph = small("a", "b", "c", "d")
    graph.edge("a", "b")
    graph.edge("a", "c")
    graph.edge(["b", "c", "b"], "d")
    graph.edge(["d"], END)
    blueprint = graph.compile()
    assert dict(blueprint.joins) == {"d": frozenset({"b", "c"})}
    assert dict(blueprint.edges) == {"a": ("b", "c")}
    assert blueprint.channels["join:d"].kind == "barrier"


def test_what_a_send_carries_is_the_one_parameter_that_is_no_channel() -> None:
    graph = Graph("g", State)

    @graph.node(sends=["work"])
    async def split() -> Update:
        return Update(sends=[Send("work", 1)])

    @graph.node(writes="messages")
    async def work(ctx: Context, item: int, draft: str = "") -> None: ...

    def fan_out(messages: list[str]) -> list[Send]:
        return [Send("late", message) for message in messages]

    @graph.node
    async def late(message: str) -> None: ...

    graph.start("split")
    graph.edge("work", "split")
    graph.branch("split", fan_out, ["late"])
    blueprint = graph.compile()
    assert blueprint.nodes["work"].params == (
        Param("ctx", "context"),
        Param("item", "payload"),
        Param("draft", "channel", "draft", default=""),
    )
    assert blueprint.nodes["work"].writes == {"messages"}
    assert params(blueprint, "late") == [("message", "payload", "")]


def test_subscriptions_need_no_start() -> None:
    graph = Graph("g", State)

    @graph.node(on=["messages", "draft"])
    async def echo(messages: list[str]) -> None: ...

    @graph.node(on=["draft"], goto=[END, "echo"])
    async def other() -> None: ...

    blueprint = graph.compile()
    assert dict(blueprint.subscribers) == {"messages": ("echo",), "draft": ("echo", "other")}
    assert blueprint.nodes["echo"].params[0].default is UNSET


def test_a_node_may_be_called_like_a_channel() -> None:
    graph = small("draft", "messages")
    graph.edge("draft", "messages")
    assert list(graph.compile().nodes) == ["draft", "messages"]


# What is refused


def test_names_that_are_not_there(refused: Refused) -> None:
    graph = small("write")
    graph.edge("write", "reveiw")
    graph.node(nothing, id="review")
    with refused("graph.unknown_node", "'reveiw'", "did you mean 'review'?"):
        graph.compile()
    graph = small("a")
    graph.branch("a", done_or_again, ["a", "b"])
    with refused("graph.unknown_node", "branch 'done_or_again' after 'a'", "'b'"):
        graph.compile()
    for option in ("sends", "goto"):
        graph = Graph("g", State)
        graph.node(nothing, id="a", **{option: ["b"]})  # type: ignore[call-overload]
        with refused("graph.unknown_node", f"{option}= of node 'a'"):
            graph.compile()
    for option in ("writes", "on"):
        graph = Graph("g", State)
        graph.node(nothing, id="a", **{option: ["draught"]})  # type: ignore[call-overload]
        with refused("graph.unknown_channel", f"{option}= names 'draught'", "did you mean 'draft'?"):
            graph.compile()
    graph = small("a")
    graph.edge("a", END)
    graph.start(END)
    with refused("graph.unknown_node", "__end__"):
        graph.compile()
    with refused("definition.checkpoints", "'b'"):
        small("a", checkpoints=Checkpoints.after("b")).compile()


def test_a_function_that_is_two_nodes_cannot_name_either(refused: Refused) -> None:
    graph = small("a", "b")
    graph.edge(nothing, "b")
    with refused("graph.unknown_node", "one of several"):
        graph.compile()


def test_parameters_that_name_no_channel(refused: Refused) -> None:
    graph = Graph("g", State)

    @graph.node
    async def write(mesages: list[str]) -> None: ...

    graph.start("write")
    with refused("definition.parameter", "node 'write'", "'mesages'", "did you mean 'messages'?", "draft, votes"):
        graph.compile()

    def choose(drafts: str) -> str:
        return drafts

    graph = small("a")
    graph.branch("a", choose, [END])
    with refused("definition.parameter", "branch 'choose' after 'a'", "'drafts'"):
        graph.compile()


def test_a_branch_that_returns_names_sends_nothing(refused: Refused) -> None:
    def choose(draft: str) -> Literal["work"]:
        return "work"

    graph = small("a")

    @graph.node
    async def work(item: int) -> None: ...

    graph.branch("a", choose, ["work"])
    with refused("definition.parameter", "'item'"):
        graph.compile()


def test_a_payload_needs_a_send(refused: Refused) -> None:
    graph = Graph("g", State)
    graph.node(nothing, id="a", sends=["work"])

    @graph.node
    async def work(item: int) -> None: ...

    graph.start("a")
    graph.edge("a", "work")
    with refused("graph.payload", "node 'work'", "'item'"):
        graph.compile()


def test_branches_are_named_and_sync(refused: Refused) -> None:
    async def later(draft: str) -> str:
        return draft

    graph = small("a")
    graph.branch("a", later, [END])  # type: ignore[arg-type]
    with refused("graph.branch", "is async"):
        graph.compile()
    graph = small("a")
    graph.branch("a", lambda draft: draft, [END])
    with refused("definition.unnamed", "lambda", "name="):
        graph.compile()
    graph = small("a")
    graph.branch("a", lambda draft: draft, [END], name="choose")
    assert graph.compile().branches["a"][0].name == "choose"
    graph = small("a")
    graph.branch("a", done_or_again, [])
    with refused("graph.branch", "leads nowhere"):
        graph.compile()
    graph = small("a")
    graph.branch("a", done_or_again, [END])
    graph.branch("a", done_or_again, ["a"])
    with refused("graph.branch", "declared twice"):
        graph.compile()


def test_nodes_out_of_reach(refused: Refused) -> None:
    with refused("graph.no_start"):
        Graph("g", State).compile()
    with refused("graph.unreachable", "'b', 'c'", "goto="):
        small("a", "b", "c").compile()
    graph = small("a", "b", "c", "d")
    graph.edge("a", "b")
    graph.edge(["b", "c"], "d")
    with refused("graph.unreachable", "'c', 'd'"):
        graph.compile()
    graph = Graph("g", State)
    graph.node(nothing, id="a", goto=["b"])
    graph.node(nothing, id="b", sends=["c"])
    graph.node(nothing, id="c")
    graph.start("a")
    assert len(graph.compile().nodes) == 3


def test_limits_names_and_duplicates(refused: Refused) -> None:
    for limit in (None, 0, 2.5):
        with refused("graph.step_limit", "unbounded"):
            Graph("g", State, step_limit=limit)  # type: ignore[arg-type]
    assert small("a").compile().step_limit == 1000
    graph = small("a")
    with refused("definition.duplicate", "'a'"):
        graph.node(nothing, id="a")
    for name in ("input", "ctx", END, "a#1", "a/b", ""):
        with refused("definition.name"):
            graph.node(lambda: None, id=name)
    with refused("graph.join", "two joins lead to 'b'"):
        graph = small("a", "b")
        graph.edge(["a", "b"], "b")
        graph.edge(["b", "a"], "b")
        graph.compile()
    with refused("graph.join"):
        graph = small("a", "b")
        graph.edge(["a", "b"], END)
        graph.compile()
    with pytest.raises(TypeError, match="write"):
        graph.node(write=["draft"])  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="limit"):
        Graph("g", State, limit=3)  # type: ignore[call-arg]


def test_a_node_that_returns_a_dict_says_what_it_writes(refused: Refused) -> None:
    for annotation in (dict, dict[str, Any], State, dict[str, Any] | None):

        async def node() -> annotation: ...  # type: ignore[valid-type]

        graph = Graph("g", State)
        graph.node(node, id="a")
        graph.start("a")
        with refused("graph.writes", "node 'a'", "writes="):
            graph.compile()


class Shared(TypedDict):
    single: str
    quick: Annotated[str, ephemeral]
    last: Annotated[str, overwrite]
    log: Annotated[list[str], append]


def pair(channel: str, **options: Any) -> Graph:
    graph = Graph("g", Shared)
    graph.node(nothing, id="top")
    for name in ("one", "two"):
        graph.node(nothing, id=name, writes=[channel], **options)
    return graph


@pytest.mark.parametrize("channel", ["single", "quick"])
def test_two_certain_writers_are_refused(channel: str, refused: Refused) -> None:
    starts = pair(channel)
    starts.start("top", "one", "two")
    edges = pair(channel)
    edges.start("top")
    edges.edge("top", "one")
    edges.edge("top", "two")
    subscribed = pair(channel, on=["log"])
    subscribed.start("top")
    for graph, how in ((starts, "at the start"), (edges, "after 'top'"), (subscribed, "subscribed to 'log'")):
        with refused("graph.two_writers", "'one' and 'two'", how, repr(channel)):
            graph.compile()
    sent = Graph("g", Shared)
    sent.node(nothing, id="top", sends=["work"])
    sent.node(nothing, id="work", writes=[channel])
    sent.start("top")
    with refused("graph.two_writers", "'work'", "'top' sends to", repr(channel)):
        sent.compile()


def test_two_writers_that_are_not_certain_pass() -> None:
    for channel in ("last", "log"):
        graph = pair(channel)
        graph.start("top", "one", "two")
        graph.compile()
    graph = pair("single")
    graph.start("top")
    graph.edge("top", "one")
    graph.branch("top", lambda: "two", ["two"], name="sometimes")
    graph.compile()


# What the fingerprint covers


def edited(change: Callable[[Graph], Any] = lambda graph: None, state: Any = State, **options: Any) -> Blueprint:
    graph = Graph("g", state, **options)
    graph.node(nothing, id="a", writes=["draft"])
    graph.node(nothing, id="b")
    graph.start("a")
    graph.edge("a", "b")
    change(graph)
    return graph.compile()


def one_channel(annotation: Any) -> Any:
    return TypedDict("one_channel", {"draft": annotation})  # type: ignore[operator]


def test_code_and_policies_are_not_structure() -> None:
    same = [
        edited(step_limit=3, checkpoints=Checkpoints.after("a"), durability="exit", types=[int]),
        edited(lambda graph: graph.edge("b", END)),
        edited(lambda graph: graph.edge("a", "b")),
    ]
    assert {one.fingerprint for one in same} == {edited().fingerprint}


def test_each_structural_edit_changes_the_fingerprint_and_can_be_said() -> None:
    def choose(draft: str) -> str:
        return draft

    edits: list[tuple[Blueprint, str]] = [
        (edited(lambda graph: graph.edge("b", "a")), "edges.b -> a: added"),
        (edited(lambda graph: graph.edge(["a", "b"], "a")), "joins.a: added"),
        (edited(lambda graph: graph.start("b")), "starts: ['a'] -> ['a', 'b']"),
        (edited(lambda graph: graph.branch("b", choose, ["a"])), "branches.b: added"),
        (edited(lambda graph: graph.node(nothing, id="c", on=["draft"])), "nodes.c: added"),
        (edited(state=one_channel(str)), "channels.messages: removed"),
        (edited(version="2"), "version:  -> 2"),
    ]
    for blueprint, said in edits:
        assert blueprint.fingerprint != edited().fingerprint
        assert said in differences(edited().structure, blueprint.structure)
    plain, kept = edited(state=one_channel(str)), edited(state=one_channel(Annotated[str, overwrite]))
    assert differences(plain.structure, kept.structure) == ["channels.draft.reducer:  -> overwrite"]
    typed = edited(state=one_channel(int))
    assert differences(plain.structure, typed.structure) == ["channels.draft.type: str -> int"]


def test_options_of_a_node_are_structure() -> None:
    seen = set()
    several: list[NodeOptions] = [{}, {"writes": ["votes"]}, {"on": ["votes"]}, {"sends": ["a"]}, {"goto": ["a"]}]
    for options in several:
        graph = Graph("g", State)
        graph.node(nothing, id="a", **options)
        graph.start("a")
        seen.add(graph.compile().fingerprint)
    assert len(seen) == 5
