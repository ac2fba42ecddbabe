"""Pipelines: how parameters find their sources, what the blueprint holds, and what is refused."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import pytest

from windlass.core.blueprint import END_ONLY, INPUT, Blueprint, Checkpoints, Param, differences
from windlass.core.words import Failed, Output, Stream, Undo, Yields
from windlass.engine.context import Context, SyncContext
from windlass.graph.pipeline import Edge, Pipeline
from windlass.graph.task import AgentSpec, FunctionTask, Task, task
from windlass.policies.retry import Retry

Refused = Callable[..., AbstractContextManager[None]]
AnyTask = FunctionTask[..., Any]


@dataclass(frozen=True)
class Findings:
    files: list[str]


@dataclass(frozen=True)
class Patch:
    text: str


def delete_branch() -> None: ...


@task(timeout=30, retry=Retry(on=ConnectionError, max_attempts=3))
async def analyze(repo: str, ctx: Context) -> Findings:
    return Findings([repo])


@task(undo=[delete_branch])
async def refactor(analyze: Findings, ctx: Context) -> Yields[Patch]:
    yield Output(Patch(analyze.files[0]))


@task
def report(refactor: Patch, input: str, ctx: SyncContext) -> str:
    return refactor.text + input


@task
async def scan(root: str) -> list[str]:
    return [root]


@task
async def check(file: str) -> Findings:
    return Findings([file])


@task
async def rank(ctx: Context, found: Stream[Findings]) -> int:
    return 1


class Refactor(Task[Findings, Patch]):
    id = "refactor"
    spec = AgentSpec(timeout=300, output=Patch)

    async def execute(self, input: Findings, ctx: Context) -> Patch:
        return Patch(input.files[0])


class Both(Task[dict[str, Any], int]):
    id = "both"

    async def execute(self, input: dict[str, Any], ctx: Context) -> int:
        return len(input)


def named(id: str) -> AnyTask:
    @task(id=id)
    async def some() -> int:
        return 1

    return some


def compiled(*tasks: Any, edges: Any = (), **options: Any) -> Blueprint:
    return Pipeline("p", tasks, edges, **options).compile()


def params(blueprint: Blueprint, node: str) -> list[tuple[str, str, str]]:
    return [(p.name, p.kind, p.source) for p in blueprint.nodes[node].params]


def test_a_parameter_named_after_a_task_is_its_output_and_makes_the_edge() -> None:
    declared = compiled(analyze, refactor, report, edges=[("analyze", "refactor"), ("refactor", report)])
    implied = compiled(report, refactor, analyze)
    assert params(declared, "analyze") == [("repo", "channel", INPUT), ("ctx", "context", "")]
    assert params(declared, "refactor") == [("analyze", "channel", "analyze"), ("ctx", "context", "")]
    assert params(declared, "report") == [
        ("refactor", "channel", "refactor"),
        ("input", "channel", INPUT),
        ("ctx", "context", ""),
    ]
    assert declared.fingerprint == implied.fingerprint
    assert (declared.kind, declared.wait, declared.starts, declared.sinks) == (
        "pipeline",
        "any",
        ("analyze",),
        ("report",),
    )
    assert declared.input_type is str
    assert declared.step_limit is None


def test_a_node_is_all_that_the_engine_needs() -> None:
    node = compiled(analyze, refactor).nodes["analyze"]
    assert (node.id, node.mode, node.output) == ("analyze", "async", "analyze")
    assert node.writes == {"analyze"}
    assert node.returns is Findings
    assert (node.timeout, node.retry) == (30.0, (Retry(on=ConnectionError, max_attempts=3),))
    assert (node.needs, node.feeds, node.streams_to, node.mapped) == ((), ("refactor",), (), None)
    assert node.fn is analyze.fn
    assert len(node.source_digest) == 64
    following = compiled(analyze, refactor).nodes["refactor"]
    assert (following.mode, following.returns, dict(following.undo)) == (
        "yields",
        Patch,
        {"delete_branch": Undo(delete_branch)},
    )
    assert (following.needs, following.feeds) == (("analyze",), ())
    assert compiled(analyze, refactor, report).nodes["report"].mode == "sync"


def test_the_class_form_takes_its_upstreams_by_number() -> None:
    none = compiled(Both)
    one = compiled(analyze, Refactor, edges=[("analyze", Refactor)])
    several = compiled(analyze, scan, Both(), edges=[(analyze, "both"), ("scan", "both")])
    assert none.nodes["both"].params == (Param("input", "channel", INPUT), Param("ctx", "context"))
    assert one.nodes["refactor"].params[0] == Param("input", "channel", "analyze")
    assert one.nodes["refactor"].returns is Patch
    assert one.nodes["refactor"].timeout == 300
    assert one.nodes["refactor"].validate is None
    assert several.nodes["both"].params[0] == Param("input", "upstreams", sources=("analyze", "scan"))


def test_mapped_and_stream_edges() -> None:
    edges = [Edge("scan", check, each=True, concurrency=4, on_error="collect"), Edge("check", "rank", stream=True)]
    blueprint = compiled(scan, check, rank, edges=edges)
    mapped, ranked = blueprint.nodes["check"], blueprint.nodes["rank"]
    assert params(blueprint, "check") == [("file", "item", "scan")]
    assert (mapped.mapped, mapped.concurrency, mapped.on_error, mapped.streams_to) == ("scan", 4, "collect", ("rank",))
    assert (mapped.needs, mapped.feeds) == (("scan",), ())
    assert params(blueprint, "rank") == [("ctx", "context", ""), ("found", "stream", "check")]
    assert ranked.needs == ()
    assert blueprint.starts == ("scan",)
    assert blueprint.sinks == ("rank",)
    assert {name: (spec.kind, spec.type) for name, spec in blueprint.channels.items()} == {
        "input": ("last", str),
        "scan": ("last", list[str]),
        "check": ("gather", list[Findings | Failed]),
        "rank": ("last", int),
    }


def test_a_map_of_a_map_and_a_reader_of_its_list() -> None:
    @task
    async def total(check: list[Findings], scan: list[str]) -> int:
        return 1

    class One(Task[Findings, int]):
        id = "one"

        async def execute(self, input: Findings, ctx: Context) -> int:
            return 1

    blueprint = compiled(
        scan, check, One, total, edges=[Edge("scan", "check", each=True), Edge("check", One, each=True)]
    )
    assert params(blueprint, "one")[0] == ("input", "item", "check")
    assert params(blueprint, "total") == [("check", "channel", "check"), ("scan", "channel", "scan")]
    assert blueprint.channels["one"].kind == "gather"


def test_an_edge_may_say_order_alone() -> None:
    @task
    async def cleanup() -> None: ...

    blueprint = compiled(scan, cleanup, edges=[("scan", cleanup)])
    assert blueprint.nodes["cleanup"].params == ()
    assert blueprint.nodes["cleanup"].needs == ("scan",)


def test_defaults_are_the_authors_own(refused: Refused) -> None:
    @task
    async def deep(repo: str = "here", depth: int = 3, *, fast: bool = True) -> int:
        return depth

    @task
    async def only(depth: int = 3) -> int:
        return depth

    @task
    async def late(deep: int, wide: int = 4, ctx: Context | None = None) -> int:
        return deep

    assert params(compiled(only), "only") == [("depth", "channel", INPUT)]
    assert compiled(only).nodes["only"].params[0].default == 3
    assert compiled(deep).nodes["deep"].params == ()
    with refused("definition.parameter", "'wide' names no task"):
        compiled(only, deep, late)


def test_inputs_of_one_type_and_of_several() -> None:
    assert compiled(analyze, scan).input_type is str
    assert compiled(analyze, Both).input_type is Any


def test_the_output_type_may_stand_in_the_spec_or_the_bases() -> None:
    @task(spec=AgentSpec(output=Patch))
    async def untyped(repo: str):  # type: ignore[no-untyped-def]  # noqa: ANN202
        return repo

    class Loose(Task[str, Patch]):
        id = "loose"

        async def execute(self, input, ctx):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            return input

    blueprint = compiled(untyped, Loose)
    assert blueprint.nodes["untyped"].returns is Patch
    assert blueprint.nodes["loose"].returns is Patch
    assert blueprint.input_type is str


def test_compile_is_cached_and_options_arrive() -> None:
    pipeline = Pipeline("p", [analyze], checkpoints=END_ONLY, durability="async", version="2", types=[Patch])
    blueprint = pipeline.compile()
    assert pipeline.compile() is blueprint
    assert (blueprint.checkpoints, blueprint.durability, blueprint.version) == (END_ONLY, "async", "2")
    assert compiled(analyze, checkpoints=Checkpoints.after("analyze")).checkpoints.nodes == {"analyze"}


def test_the_codec_keeps_what_the_annotations_and_types_name() -> None:
    blueprint = compiled(analyze, types=[Patch])
    for value in (Findings(["a"]), Patch("b")):
        assert blueprint.codec.decode(blueprint.codec.encode(value).data) == value
    collecting = compiled(scan, check, edges=[Edge(scan, check, each=True)])
    failed = Failed("check#1[0]", "OSError", "gone")
    assert collecting.codec.decode(collecting.codec.encode(failed).data) == failed


# What is refused


def test_a_cycle_is_named_by_its_path(refused: Refused) -> None:
    tasks = [named(name) for name in "abcd"]
    with refused("pipeline.cycle", "b -> c -> b", "pipeline 'p'"):
        compiled(*tasks, edges=[("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")])

    @task
    async def selfish(selfish: int) -> int:
        return selfish

    with refused("pipeline.cycle", "selfish -> selfish"):
        compiled(selfish)
    with refused("pipeline.cycle", "a -> b -> a"):
        compiled(named("a"), check_as("b"), edges=[Edge("a", "b", stream=True), ("b", "a")])


def check_as(id: str) -> AnyTask:
    @task(id=id)
    async def some(things: Stream[int]) -> int:
        return 1

    return some


def test_names_that_are_not_there(refused: Refused) -> None:
    with refused("pipeline.unknown_task", "'analize'", "did you mean 'analyze'?"):
        compiled(analyze, edges=[("analize", "analyze")])
    with refused("pipeline.unknown_task", "'scan'", "tasks: analyze"):
        compiled(analyze, edges=[("analyze", scan)])
    with refused("pipeline.unknown_task", "'analyze'"):
        compiled(named("analyze"), scan, edges=[(analyze, scan)])

    @task
    async def misspelt(analize: Findings) -> int:
        return 1

    with refused("definition.parameter", "task 'misspelt'", "'analize'", "did you mean 'analyze'?"):
        compiled(analyze, misspelt, edges=[("analyze", "misspelt")])

    @task
    async def two(one: int, other: int) -> int:
        return one

    with refused("definition.parameter", "task 'two'", "'one' names no task", "one parameter for the run's input"):
        compiled(two)
    with refused("definition.checkpoints", "'analise'", "did you mean"):
        compiled(analyze, checkpoints=Checkpoints.after("analise"))


def test_tasks_that_cannot_stand_together(refused: Refused) -> None:
    with refused("definition.duplicate", "'analyze'"):
        compiled(analyze, named("analyze"))
    with refused("pipeline.empty"):
        compiled()
    with refused("definition.task", "@task above delete_branch"):
        compiled(delete_branch)
    with refused("definition.name", "Task has no id"):
        compiled(Task)
    for name in ("input", "ctx", "__end__", "a#1", "a[0]", "a/b", "a:b", "a b"):
        with refused("definition.name", repr(name)):
            compiled(named(name))
    with refused("definition.name", "has no name"):
        Pipeline("", [analyze]).compile()
    with refused("definition.durability", "sync, async, exit"):
        compiled(analyze, durability="always")
    with refused("definition.on_busy", "enqueue, reject, interrupt, rollback"):
        compiled(analyze, on_busy="wait")
    with pytest.raises(TypeError, match="checkpoint"):
        Pipeline("p", [analyze], checkpoint=END_ONLY)  # type: ignore[call-arg]


def test_edges_that_contradict_themselves(refused: Refused) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"each": True, "stream": True}, "exclude"),
        ({"concurrency": 3}, "belong to each=True"),
        ({"on_error": "collect"}, "belong to each=True"),
        ({"each": True, "concurrency": 0}, "at least 1"),
        ({"each": True, "on_error": "ignore"}, "'ignore'"),
    ]
    for options, words in wrong:
        with refused("pipeline.edge", "a -> check", words):
            Edge("a", check, **options)


def test_edges_that_contradict_each_other(refused: Refused) -> None:
    with refused("pipeline.edge", "analyze -> refactor", "twice"):
        compiled(analyze, refactor, edges=[("analyze", "refactor"), Edge(analyze, refactor, stream=True)])
    two_maps = [Edge("scan", "check", each=True), Edge("list", "check", each=True)]
    with refused("pipeline.edge", "'check'", "scan and list"):
        compiled(scan, named("list"), check, edges=two_maps)
    with refused("pipeline.edge", "'check'", "scan and list"):
        compiled(scan, named("list"), check, edges=[Edge("scan", "check", each=True), Edge("list", check, stream=True)])
    with refused("pipeline.edge", "no parameter for what comes from 'scan'"):
        compiled(scan, named("blind"), edges=[Edge("scan", "blind", each=True)])
    with refused("pipeline.edge", "'both'", "beside others"):
        compiled(scan, check, Both, edges=[("check", Both), Edge("scan", Both, each=True)])

    @task
    def waits(scan: Stream[str]) -> int:
        return 1

    with refused("pipeline.edge", "'waits'", "cannot await"):
        compiled(scan, waits, edges=[Edge("scan", "waits", stream=True)])


def test_the_class_form_is_async_and_takes_input_and_ctx(refused: Refused) -> None:
    class Sync(Task[str, int]):
        id = "sync"

        def execute(self, input: str, ctx: Any) -> Any:
            return 1

    class Crowded(Task[str, int]):
        id = "crowded"

        async def execute(self, input: str, ctx: Context, more: int = 1) -> int:
            return 1

    with refused("definition.sync_execute", "'sync'"):
        compiled(Sync)
    with refused("definition.parameter", "(self, input, ctx)"):
        compiled(Crowded)


# What the fingerprint covers


def variant(
    returns: Any = int, body: int = 1, *, parameter: str = "repo", with_ctx: bool = False, **options: Any
) -> AnyTask:
    extra = ", ctx" if with_ctx else ""
    names: dict[str, Any] = {"returns": returns}
    exec(f"async def work({parameter}{extra}) -> returns: return {body}", names)
    return task(names["work"], **options)


def test_code_and_policies_are_not_structure() -> None:
    base = compiled(variant())
    same = [
        compiled(variant(body=2)),
        compiled(variant(timeout=3, idle_timeout=3, retry=Retry(on=OSError), undo=[delete_branch])),
        compiled(variant(validate=bool, recover=bool, spec=AgentSpec(role="x"))),
        compiled(variant(with_ctx=True)),
        compiled(variant(), checkpoints=END_ONLY, durability="exit", types=[Patch], max_value=3),
    ]
    assert {one.fingerprint for one in same} == {base.fingerprint}
    eager = compiled(scan, check, edges=[Edge(scan, check, each=True)])
    calm = compiled(scan, check, edges=[Edge(scan, check, each=True, concurrency=2, on_error="collect")])
    assert eager.fingerprint == calm.fingerprint


def test_each_structural_edit_changes_the_fingerprint_and_can_be_said() -> None:
    base = compiled(variant())
    edits: list[tuple[Blueprint, str]] = [
        (compiled(variant(returns=str)), "channels.work.type: int -> str"),
        (compiled(variant(parameter="root")), "nodes.work.params.root: added"),
        (compiled(variant(id="other")), "nodes.other: added"),
        (compiled(variant(version="2")), "nodes.work.version: added"),
        (compiled(variant(), version="2"), "version:  -> 2"),
        (compiled(variant(), scan), "nodes.scan: added"),
        (compiled(variant(parameter="repo: str")), "channels.input.type: "),
    ]
    for edited, said in edits:
        assert edited.fingerprint != base.fingerprint
        assert any(said in line for line in differences(base.structure, edited.structure)), said
    kinds = [
        compiled(scan, check_as("b"), edges=[Edge("scan", "b", stream=True)]),
        compiled(scan, check_as("b"), edges=[Edge("scan", "b", each=True)]),
        compiled(scan, check_as("b")),
    ]
    assert len({one.fingerprint for one in kinds}) == 3
    assert "edges.scan -> b: stream -> each" in differences(kinds[0].structure, kinds[1].structure)


def test_ten_thousand_tasks_in_a_chain() -> None:
    names: dict[str, Any] = {"Context": Context}
    head = "async def t0(start: int, ctx: Context) -> int: ...\n"
    exec(head + "".join(f"async def t{i}(t{i - 1}: int, ctx) -> int: ...\n" for i in range(1, 10_000)), names)
    blueprint = compiled(*(task(names[f"t{i}"]) for i in range(10_000)))
    assert blueprint.sinks == ("t9999",)
    assert blueprint.nodes["t5000"].needs == ("t4999",)
