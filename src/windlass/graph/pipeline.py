"""Pipeline: tasks and the edges between them, without a way back; each task commits by itself as it ends."""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from types import GenericAlias
from typing import Any, Literal, Unpack

from windlass.core.blueprint import (
    EVERY_STEP,
    INPUT,
    Blueprint,
    ChannelSpec,
    Definition,
    NodeSpec,
    Param,
    ParamKind,
    Sub,
    fingerprint,
)
from windlass.core.errors import DefinitionError
from windlass.core.judged import Problem
from windlass.core.words import Failed
from windlass.graph.options import DefinitionOptions, boundaries, check_known, policies, with_defaults
from windlass.graph.seal import check_options, codec, structure
from windlass.graph.signature import Argument, Signature, Sources, bound, items, read
from windlass.graph.subgraph import (
    Subgraph,
    as_subgraph,
    companions,
    compiled,
    compiling,
    never,
    paths,
    returned,
    takes_input,
    tools,
    whole,
)
from windlass.graph.task import FunctionTask, Task, declared_types, instance, policies_of
from windlass.graph.tools import tools_of
from windlass.graph.validate import check_acyclic, check_checkpoints, check_name, did_you_mean

AnyTask = Task[Any, Any]
Part = AnyTask | Subgraph  # a node, as it was declared
End = str | AnyTask | type[AnyTask] | Definition | Subgraph


@dataclass(frozen=True, slots=True)
class Edge:
    """A way from one task to another.

    Args:
        each: the target runs once for each element of the source's output; its own output is the list of results in
            the order of the elements, [] for none.
        stream: the target starts with the source and gets its items as they come, instead of its output.
        concurrency: with `each`, most activations at once; None is no limit.
        on_error: with `each`: `fail` fails the run, `collect` puts a Failed into the list and goes on.

    Raises:
        DefinitionError: the options contradict each other.
    """

    source: End
    target: End
    _: KW_ONLY
    each: bool = False
    stream: bool = False
    concurrency: int | None = None
    on_error: Literal["fail", "collect"] = "fail"

    def __post_init__(self) -> None:
        wrong = ""
        if self.each and self.stream:
            wrong = "each= and stream= exclude each other"
        elif not self.each and (self.concurrency is not None or self.on_error != "fail"):
            wrong = "concurrency= and on_error= belong to each=True"
        elif self.concurrency is not None and self.concurrency < 1:
            wrong = f"concurrency is {self.concurrency}: at least 1 is needed"
        elif self.on_error not in ("fail", "collect"):
            wrong = f"on_error is {self.on_error!r}: 'fail' or 'collect'"
        if wrong:
            raise DefinitionError("pipeline.edge", f"the edge {_shown(self.source)} -> {_shown(self.target)}: {wrong}")

    @property
    def kind(self) -> ParamKind:
        """What the target's parameter for this edge holds."""
        return "item" if self.each else "stream" if self.stream else "channel"


Ways = dict[str, dict[str, Edge]]  # target → source → edge


class Pipeline:
    """Tasks that depend on each other without a cycle; a task starts as soon as all it needs has finished.

    Args:
        name: the definition's name; runs have ids of their own.
        tasks: tasks, or task classes that are made without arguments; other definitions, each of which is a sub-graph.
        edges: pairs of ids or tasks, or Edge. A parameter named after a task makes the edge by itself.
        options: see DefinitionOptions.
    """

    def __init__(
        self, name: str, tasks: Sequence[End], edges: Sequence[tuple[End, End] | Edge] = (),
        **options: Unpack[DefinitionOptions],
    ) -> None:  # fmt: skip
        check_known(options, DefinitionOptions, "Pipeline()")
        self.name = name
        self.tasks = tuple(tasks)
        self.edges = tuple(edges)
        self.options = options
        self._blueprint: Blueprint | None = None

    def compile(self) -> Blueprint:
        """Check the pipeline and return its frozen blueprint; the same object each time.

        Raises:
            DefinitionError: it cannot be what it says.
        """
        if self._blueprint is None:
            with compiling(self):
                self._blueprint = _Builder(self).blueprint()
        return self._blueprint


class _Builder:
    """One compilation: what is known of the pipeline so far."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.name = pipeline.name
        self.where = f"pipeline {pipeline.name!r}"
        self.options = pipeline.options
        check_options(self.name, self.where, **self.options)
        self.tools = tools_of(self.options.get("tools", ()), self.where)
        self.tasks = self._named(pipeline.tasks)
        self.inner = {
            name: compiled(task.definition, f"task {name!r}")
            for name, task in self.tasks.items() if isinstance(task, Subgraph)
        }  # fmt: skip
        self.signatures = {
            name: self._read(name, task) for name, task in self.tasks.items() if not isinstance(task, Subgraph)
        }
        self.ways = self._ways(pipeline.edges)
        self.feeds: dict[str, list[str]] = {name: [] for name in self.tasks}
        self.streams_to: dict[str, list[str]] = {name: [] for name in self.tasks}
        for target, sources in self.ways.items():
            for source, edge in sources.items():
                (self.streams_to if edge.stream else self.feeds)[source].append(target)
        check_acyclic({name: [*self.feeds[name], *self.streams_to[name]] for name in self.tasks}, self.where)
        self.inputs: list[Any] = []  # types that tasks expect of the run's input

    def _named(self, tasks: Sequence[Any]) -> dict[str, Part]:
        named: dict[str, Part] = {}
        for given in tasks:
            task = as_subgraph(given) or instance(given, self.where)
            if not task.id:
                kind = type(task).__name__
                raise DefinitionError(
                    "definition.name", f"{self.where}: task {kind} has no id", hint='write id = "..."'
                )
            check_name(task.id, self.where)
            if task.id in named:
                raise DefinitionError(
                    "definition.duplicate",
                    f"{self.where}: two tasks are called {task.id!r}",
                    hint="give one of them id=",
                )
            named[task.id] = task
        if not named:
            raise DefinitionError("pipeline.empty", f"{self.where} has no tasks")
        return named

    def _read(self, name: str, task: AnyTask) -> Signature:
        where = f"task {name!r}"
        if isinstance(task, FunctionTask):
            return read(task.fn, where, self.options.get("types", ()))
        signature = read(task.execute, where, self.options.get("types", ()))
        if signature.mode == "sync":
            raise DefinitionError(
                "definition.sync_execute", f"{where}: execute is not async", hint="write async def, or @task over a def"
            )
        return signature

    def _ways(self, edges: Sequence[tuple[End, End] | Edge]) -> Ways:
        """Resolve the declared edges, and add those that parameters imply."""
        ways: Ways = {name: {} for name in self.tasks}
        for declared in edges:
            edge = declared if isinstance(declared, Edge) else Edge(*declared)
            source, target = self._end(edge.source), self._end(edge.target)
            if source in ways[target]:
                raise DefinitionError("pipeline.edge", f"{self.where}: the edge {source} -> {target} is declared twice")
            ways[target][source] = edge
        for target, task in self.tasks.items():
            if isinstance(task, FunctionTask):
                for argument in self.signatures[target].arguments:
                    if argument.name in self.tasks and not argument.is_context:
                        ways[target].setdefault(argument.name, Edge(argument.name, target))
        return ways

    def _end(self, end: End) -> str:
        name = _shown(end)
        known = self.tasks.get(name)
        meant = known.definition if isinstance(known, Subgraph) and not isinstance(end, Subgraph) else known
        if known is None or (not isinstance(end, str | type) and meant is not end):
            raise DefinitionError(
                "pipeline.unknown_task", f"{self.where}: an edge names {name!r}, which is none of its tasks",
                hint=did_you_mean(name, self.tasks, "tasks"),
            )  # fmt: skip
        return name

    def blueprint(self) -> Blueprint:
        """Put the parts together."""
        sources = Sources()
        nodes = {
            name: self._subgraph(name) if isinstance(task, Subgraph) else self._node(name, task, sources)
            for name, task in self.tasks.items()
        }
        check_checkpoints(self.options.get("checkpoints", EVERY_STEP), set(paths(nodes)), self.where)
        first = self.inputs[0] if self.inputs else Any
        input_type = first if all(one == first for one in self.inputs) else Any
        channels = {INPUT: ChannelSpec(name=INPUT, type=input_type)} | {n: _channel(node) for n, node in nodes.items()}
        version = self.options.get("version", "")
        described = structure(
            nodes, channels, self._details(),
            {n: GenericAlias(list, (node.returns,)) for n, node in nodes.items() if node.mapped is not None},
            kind="pipeline", version=version, edges=self._described_edges(),
        )  # fmt: skip
        kept = whole(codec(self._annotations(nodes, input_type), **self.options), nodes)
        rules = boundaries(self.name, self.where, (), self.tools, self.options, tools(nodes))
        rules["companions"] += companions(nodes)
        return Blueprint(
            name=self.name,
            kind="pipeline",
            nodes=nodes,
            channels=channels,
            codec=kept,
            structure=described,
            wait="any",
            starts=tuple(name for name, sources in self.ways.items() if not sources),
            sinks=tuple(name for name in nodes if not self.feeds[name] and not self.streams_to[name]),
            checkpoints=self.options.get("checkpoints", EVERY_STEP),
            durability=self.options.get("durability", "sync"),
            input_type=input_type,
            version=version,
            fingerprint=fingerprint(described),
            **rules,
        ).sealed(kept)

    def _details(self) -> dict[str, dict[str, Any]]:
        """Say what the structure covers of a task beside its NodeSpec."""
        found: dict[str, dict[str, Any]] = {name: {"sub": inner.structure} for name, inner in self.inner.items()}
        for name, task in self.tasks.items():
            if not isinstance(task, Subgraph) and task.spec.version:
                found[name] = {"version": task.spec.version}
        return found

    def _described_edges(self) -> dict[str, str]:
        kinds = {"item": "each", "stream": "stream", "channel": "plain"}
        return {f"{s} -> {t}": kinds[edge.kind] for t, sources in self.ways.items() for s, edge in sources.items()}

    def _annotations(self, nodes: Mapping[str, NodeSpec], input_type: Any) -> list[Any]:
        found: list[Any] = [input_type, *self.inputs]
        for name, node in nodes.items():
            found += [node.returns] if node.expect is None else [node.returns, Problem]
            arguments = self.signatures[name].arguments if name in self.signatures else ()
            found += [items(a.type) if p.kind == "stream" else a.type
                      for p, a in zip(node.params, arguments, strict=False)
                      if p.kind != "context"]  # fmt: skip
            if node.mapped is not None:
                found.append(Failed)  # so that on_error may change under a run
        return found

    def _subgraph(self, name: str) -> NodeSpec:
        """Make the node that is another definition: its input is what a class form's would be."""
        ways, inner = self.ways[name], self.inner[name]
        edges = list(ways.values())
        if any(edge.stream for edge in edges) or self.streams_to[name]:
            raise DefinitionError(
                "graph.subgraph", f"task {name!r} is a definition, which neither takes a stream nor gives one",
                hint="let a task of it take the items as a list, or put the stream edge within it",
            )  # fmt: skip
        if any(edge.on_error == "collect" for edge in edges):
            raise DefinitionError(
                "graph.subgraph", f"task {name!r} is a definition: on_error='collect' would end a part of this run",
                hint="fan out over child runs, with ctx.run_all(..., 'collect')",
            )  # fmt: skip
        param = self._given(name, "input")
        if param.source == INPUT and (inner.kind == "graph" or takes_input(inner)):
            self.inputs.append(inner.input_type)
        edge = next((edge for edge in edges if edge.each), None)
        return NodeSpec(
            id=name, fn=never, params=(param,), writes=frozenset({name}), output=name, returns=returned(inner),
            mapped=param.source if edge else None, concurrency=edge.concurrency if edge else None,
            needs=tuple(ways), feeds=tuple(self.feeds[name]), sub=Sub(blueprint=inner),
        )  # fmt: skip

    def _node(self, name: str, task: AnyTask, sources: Sources) -> NodeSpec:
        where, signature, ways = f"task {name!r}", self.signatures[name], self.ways[name]
        mapped = [source for source, edge in ways.items() if edge.each]
        streams = [source for source, edge in ways.items() if edge.stream]
        if len(mapped) > 1 or (mapped and streams):
            both = " and ".join((*mapped, *streams))
            raise DefinitionError("pipeline.edge", f"{where} is to run for each element of one source, not of {both}")
        if streams and signature.mode == "sync":
            raise DefinitionError(
                "pipeline.edge", f"{where} takes a stream, which a plain def cannot await", hint="async def"
            )
        declared = with_defaults(policies(policies_of(task), where, self.tools), self.options, self.where)
        if declared["after"] is not None and self.streams_to[name]:
            said = f"{where}: after= would keep back what its stream has told already"
            raise DefinitionError("policy.breakpoint", said, hint="put before= on the task that takes the stream")
        if isinstance(task, FunctionTask):
            fn, returns = task.fn, signature.returns
            params = self._function_params(name, signature)
        else:
            fn, returns = task.execute, signature.returns
            params = self._class_params(name, task, signature)
            returns = declared_types(type(task))[1] if returns is Any else returns
        edge = ways[mapped[0]] if mapped else None
        returns = task.spec.output if returns is Any and task.spec.output is not None else returns
        return NodeSpec(
            id=name,
            fn=fn,
            mode=signature.mode,
            params=params,
            writes=frozenset({name}),
            output=name,
            returns=returns if declared["expect"] is None else declared["expect"].returns,
            mapped=mapped[0] if mapped else None,
            on_error=edge.on_error if edge else "fail",
            concurrency=edge.concurrency if edge else None,
            streams_to=tuple(self.streams_to[name]),
            needs=tuple(source for source, edge in ways.items() if not edge.stream),
            feeds=tuple(self.feeds[name]),
            source_digest=sources.digest(fn, declared["validate"], declared["recover"]),
            **declared,
        )

    def _function_params(self, name: str, signature: Signature) -> tuple[Param, ...]:
        """Bind by name: a task's output, the run's input, the context; else what only one parameter can mean."""
        ways = self.ways[name]
        arguments = signature.arguments
        params = [self._by_name(argument, ways) for argument in arguments]
        read_by_name = {param.source for param in params if param}
        unread = [source for source, edge in ways.items() if edge.kind != "channel" and source not in read_by_name]
        loose = [a for a, param in zip(arguments, params, strict=True) if param is None]
        loose = [a for a in loose if a.is_required] or loose
        if len(loose) == 1 and (len(unread) == 1 or (not ways and INPUT not in read_by_name)):
            kind, source = (ways[unread[0]].kind, unread.pop()) if unread else ("channel", INPUT)
            params[arguments.index(loose[0])] = Param(loose[0].name, kind, source, default=loose[0].default)
        if unread:
            raise DefinitionError(
                "pipeline.edge", f"task {name!r} has no parameter for what comes from {unread[0]!r}",
                hint=f"add a parameter called {unread[0]}",
            )  # fmt: skip
        self.inputs += [a.type for a, p in zip(arguments, params, strict=True) if p and p.source == INPUT]
        return bound(signature, params, lambda unknown: self._unknown(name, unknown))

    def _by_name(self, argument: Argument, ways: Mapping[str, Edge]) -> Param | None:
        if argument.is_context:
            return Param(argument.name, "context")
        if argument.name in ways:
            return Param(argument.name, ways[argument.name].kind, argument.name)
        return Param(INPUT, "channel", INPUT, default=argument.default) if argument.name == INPUT else None

    def _unknown(self, name: str, parameter: str) -> DefinitionError:
        others = [one for one in self.tasks if one != name]
        roots = "" if self.ways[name] else "; a task without upstream has one parameter for the run's input"
        return DefinitionError(
            "definition.parameter", f"task {name!r}: parameter {parameter!r} names no task{roots}",
            hint=did_you_mean(parameter, others, "tasks"),
        )  # fmt: skip

    def _class_params(self, name: str, task: AnyTask, signature: Signature) -> tuple[Param, ...]:
        """Bind by place: the input, and the context."""
        ways, arguments = self.ways[name], signature.arguments
        if not 1 <= len(arguments) <= 2 or arguments[0].is_context:  # noqa: PLR2004 -- (input, ctx)
            raise DefinitionError("definition.parameter", f"task {name!r}: execute takes (self, input, ctx)")
        first = arguments[0]
        param = self._given(name, first.name)
        if not ways:
            self.inputs.append(declared_types(type(task))[0] if first.type is Any else first.type)
        return (param, *(Param(argument.name, "context") for argument in arguments[1:]))

    def _given(self, name: str, parameter: str) -> Param:
        """Say what a task is given as a whole: an output, one element of it, a dict of several, the run's input."""
        ways = self.ways[name]
        if len(ways) > 1:
            if any(edge.kind != "channel" for edge in ways.values()):
                raise DefinitionError(
                    "pipeline.edge",
                    f"task {name!r} has an each= or stream= edge beside others",
                    hint="write it with @task",
                )
            return Param(parameter, "upstreams", sources=tuple(ways))
        for source, edge in ways.items():
            return Param(parameter, edge.kind, source)
        return Param(parameter, "channel", INPUT)


def _channel(node: NodeSpec) -> ChannelSpec:
    if node.mapped is None:
        return ChannelSpec(name=node.id, type=node.returns)
    kind = node.returns | Failed if node.on_error == "collect" and node.returns is not Any else node.returns
    return ChannelSpec(name=node.id, kind="gather", type=GenericAlias(list, (kind,)))


def _shown(end: Any) -> str:
    """Name an edge's end as the user would."""
    if isinstance(end, str):
        return end
    return getattr(end, "id", "") or getattr(end, "__name__", "") or getattr(end, "name", repr(end))
