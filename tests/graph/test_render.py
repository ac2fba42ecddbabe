"""Definitions as Mermaid and as text."""

from typing import Annotated, TypedDict

from inline_snapshot import snapshot

from windlass.core.blueprint import END
from windlass.core.words import Send, Stream, Update
from windlass.engine.context import Context
from windlass.graph.graph import Graph
from windlass.graph.pipeline import Edge, Pipeline
from windlass.graph.reducers import append
from windlass.graph.render import mermaid, text
from windlass.graph.task import task


@task
async def scan(root: str) -> list[str]:
    return [root]


@task
async def check(file: str, ctx: Context) -> int:
    return 1


@task
async def rank(found: Stream[int]) -> int:
    return 1


@task
async def report(rank: int, check: list[int], input: str) -> str:
    return input


class State(TypedDict):
    messages: Annotated[list[str], append]
    draft: str


def choose(draft: str) -> str:
    return draft


async def nothing() -> None: ...


def review() -> Pipeline:
    edges = [Edge(scan, check, each=True), Edge(check, rank, stream=True)]
    return Pipeline("review", [scan, check, rank, report], edges)


def writer() -> Graph:
    graph = Graph("writer", State)

    @graph.node(writes=["draft"], sends=["work"], goto=[END])
    async def write(messages: list[str]) -> Update:
        return Update(sends=[Send("work", 1)])

    @graph.node(writes=["messages"])
    async def work(item: int) -> None: ...

    graph.node(nothing, id="join")
    graph.node(nothing, id="echo", on=["messages"])
    graph.start(write)
    graph.branch("write", choose, ["write", "join"])
    graph.edge(["work", "write"], "join")
    return graph


def without_fingerprint(drawn: str, fingerprint: str) -> str:
    assert fingerprint in drawn
    return drawn.replace(fingerprint, "…")


def test_a_pipeline_in_mermaid() -> None:
    blueprint = review().compile()
    assert without_fingerprint(mermaid(blueprint), blueprint.fingerprint) == snapshot("""\
flowchart TD
    %% pipeline 'review' …
    n0([START])
    n1["scan"]
    n2[["check"]]
    n3["rank"]
    n4["report"]
    n5([END])
    n0 --> n1
    n1 -- each --> n2
    n2 --> n4
    n2 == stream ==> n3
    n3 --> n4
    n4 --> n5
""")


def test_a_pipeline_in_text() -> None:
    blueprint = review().compile()
    assert without_fingerprint(text(blueprint), blueprint.fingerprint) == snapshot("""\
pipeline review  4 nodes  fingerprint …
  input: str
    1  scan    reads input  -> each check
    2  check   each of scan  -> report  => stream rank
    3  rank    follows check  -> report
    4  report  reads rank, check, input  -> END
""")


def test_a_graph_in_mermaid() -> None:
    blueprint = writer().compile()
    assert without_fingerprint(mermaid(blueprint), blueprint.fingerprint) == snapshot("""\
flowchart TD
    %% graph 'writer' …
    n0([START])
    n1["write"]
    n2["work"]
    n3["join"]
    n4["echo"]
    n5([END])
    n0 --> n1
    n1 -- join --> n3
    n1 -. "choose" .-> n1
    n1 -. "choose" .-> n3
    n1 -. goto .-> n5
    n1 -. send .-> n2
    n2 -- join --> n3
    n2 -. "messages" .-> n4
    n3 --> n5
    n4 --> n5
""")


def test_a_graph_in_text() -> None:
    blueprint = writer().compile()
    assert without_fingerprint(text(blueprint), blueprint.fingerprint) == snapshot("""\
graph writer  4 nodes  fingerprint …
  messages  list[str]  append
  draft     str  last

    1  write  reads messages  writes draft  -> join join  ..> choose: write | join  ..> goto: END  ..> send: work
    1  echo   -> END
    2  work   reads a Send  writes messages  -> join join  ..> on messages: echo
    2  join   -> END
""")


def test_quotes_and_hashes_in_labels_are_escaped() -> None:
    graph = Graph("g", State)
    graph.node(nothing, id='say"hi"')
    graph.start('say"hi"')
    graph.branch('say"hi"', choose, [END], name='a "#1"')
    drawn = mermaid(graph.compile())
    assert 'n1["say#quot;hi#quot;"]' in drawn
    assert 'n1 -. "a #quot;#35;1#quot;" .-> n2' in drawn


def test_a_deep_chain_is_drawn_without_recursion() -> None:
    graph = Graph("deep", State)
    for place in range(3000):
        graph.node(nothing, id=f"n{place}")
        if place:
            graph.edge(f"n{place - 1}", f"n{place}")
    graph.start("n0")
    blueprint = graph.compile()
    assert len(mermaid(blueprint).splitlines()) == 2 + 3002 + 3001
    assert text(blueprint).splitlines()[-1].split() == ["3000", "n2999", "->", "END"]
