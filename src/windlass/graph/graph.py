"""Graph: nodes over typed channels, with loops; each super-step commits when all of its activations have ended."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, Unpack, get_args, get_origin, overload

from windlass.core.blueprint import (
    END,
    EVERY_STEP,
    Blueprint,
    Branch,
    ChannelSpec,
    Definition,
    NodeSpec,
    Param,
    fingerprint,
)
from windlass.core.errors import DefinitionError
from windlass.core.judged import Problem
from windlass.core.words import Send
from windlass.graph.options import (
    DefinitionOptions,
    Policies,
    boundaries,
    check_known,
    policies,
    with_defaults,
    wraps_up_at,
)
from windlass.graph.reducers import channels, name_of
from windlass.graph.seal import check_options, codec, structure
from windlass.graph.signature import Signature, Sources, bare, bound, read
from windlass.graph.subgraph import Binding, Bound, Reads, Writes, companions, compiled, compiling, paths, tools, whole
from windlass.graph.tools import tools_of
from windlass.graph.validate import (
    check_checkpoints,
    check_name,
    check_reachable,
    check_two_writers,
    did_you_mean,
)

F = TypeVar("F", bound=Callable[..., Any])
Place = str | Callable[..., Any] | Definition  # a node by its id, or what was made one
Choice = str | Send | Sequence[str | Send]


class NodeOptions(Policies, total=False):
    """What `graph.node` takes beside an id.

    Attributes:
        writes: channels that the node may write; needed when it returns a dict.
        on: channels of which a write plans the node, instead of an edge.
        sends: nodes that its Update may Send to.
        goto: nodes that its Update may lead to, for those that nothing else leads to.
    """

    writes: Sequence[str]
    on: Sequence[str]
    sends: Sequence[Place]
    goto: Sequence[Place]


@dataclass(frozen=True, slots=True)
class _Declared:
    fn: Any  # a function, or the definition of a sub-graph
    options: NodeOptions
    bound: Bound | None = None  # of a sub-graph


class Graph:
    """Nodes that read and write channels; edges, branches, subscriptions and Updates say what runs next.

    The signature is the scope: a node gets exactly the channels that its parameters name, and the context. Each
    activation reads the state as the last step left it; what it writes is seen from the next step on.

    Args:
        name: the definition's name; runs have ids of their own.
        state: a TypedDict, dataclass or Pydantic model: its fields are the channels.
        step_limit: most super-steps of a run; a loop that never ends is a failed run, not a bill.
        options: see DefinitionOptions.

    Raises:
        DefinitionError: `step_limit` is below 1, or none.
    """

    def __init__(self, name: str, state: type, *, step_limit: int = 1000, **options: Unpack[DefinitionOptions]) -> None:
        check_known(options, DefinitionOptions, "Graph()")
        if not _is_limit(step_limit):
            raise DefinitionError(
                "graph.step_limit",
                f"graph {name!r}: step_limit is {step_limit!r}",
                hint="a number from 1: none is unbounded",
            )
        self.name = name
        self.state = state
        self.step_limit = step_limit
        self.options = options
        self.nodes: dict[str, _Declared] = {}
        self.starts: list[Place] = []
        self.edges: list[tuple[tuple[Place, ...], Place]] = []
        self.branches: list[tuple[Place, Callable[..., Choice], tuple[Place, ...], str]] = []
        self._blueprint: Blueprint | None = None

    @overload
    def node(self, fn: F, /, *, id: str = "", **options: Unpack[NodeOptions]) -> F: ...
    @overload
    def node(self, /, *, id: str = "", **options: Unpack[NodeOptions]) -> Callable[[F], F]: ...
    def node(self, fn: Callable[..., Any] | None = None, /, *, id: str = "", **options: Unpack[NodeOptions]) -> Any:
        """Make a node of a function, bare (`@graph.node`) or with options; the name stays the function.

        Args:
            id: the node's name; default: the function's.
            options: see NodeOptions.

        Raises:
            DefinitionError: the id is taken or cannot be one, or the graph is compiled.
        """
        check_known(options, NodeOptions, "node()")

        def declare(function: F) -> F:
            self._declare(id or getattr(function, "__name__", ""), _Declared(function, options))
            return function

        return declare if fn is None else declare(fn)

    def subgraph(
        self, definition: Definition, *, id: str = "", reads: Reads | None = None, writes: Writes | None = None,
        on: Sequence[str] = (),
    ) -> str:  # fmt: skip
        """Make a node of another definition, which takes an input and gives an output as a run of it does.

        What it was given it does not give back: a channel that is read and written under one name gets only what is
        new, items of an append channel, another value only if it has changed.

        Args:
            id: the node's name; default: the definition's.
            reads: the channel whose value is the input, or input name → channel; default: channels of the same name,
                or what a Send carries where one may reach it.
            writes: the channel that gets the whole output, channels that get the parts of their name, or channel →
                part; default: channels of the same name that a node of it writes.
            on: channels of which a write plans the node, instead of an edge.

        Returns:
            The id.

        Raises:
            DefinitionError: the id is taken or cannot be one, or the graph is compiled.
        """
        name = id or definition.name
        self._declare(name, _Declared(definition, {"on": on}, Bound(reads=reads, writes=writes)))
        return name

    def _declare(self, name: str, declared: _Declared) -> None:
        self._is_open(f"node {name!r}")
        check_name(name, self.where)
        if name in self.nodes:
            raise DefinitionError(
                "definition.duplicate", f"{self.where}: two nodes are called {name!r}", hint="give id="
            )
        self.nodes[name] = declared

    def start(self, *nodes: Place) -> None:
        """Plan these nodes in the first step."""
        self._is_open("start")
        self.starts += nodes

    def edge(self, source: Place | Sequence[Place], target: Place) -> None:
        """Plan `target` in the step after `source`.

        Args:
            source: a node; a list is a join: the target waits until each of them has finished since it last ran.
            target: a node, or END, which says that nothing follows.
        """
        self._is_open("edge")
        self.edges.append((_places(source), target))

    def branch(self, source: Place, choose: Callable[..., Choice], targets: Sequence[Place], *, name: str = "") -> None:
        """Let a function decide what follows `source`.

        Args:
            choose: a named sync function of settled state, its parameters naming channels. It returns a node's id,
                END, a Send, or a list of these; it runs once, and its choice is kept.
            targets: where it may lead.
            name: what to call a `choose` that has no name of its own.
        """
        self._is_open("branch")
        self.branches.append((source, choose, _places(targets), name))

    def compile(self) -> Blueprint:
        """Check the graph and return its frozen blueprint; the same object each time.

        Raises:
            DefinitionError: it cannot be what it says.
        """
        if self._blueprint is None:
            with compiling(self):
                self._blueprint = _Builder(self).blueprint()
        return self._blueprint

    @property
    def where(self) -> str:
        """What to call the graph in an error."""
        return f"graph {self.name!r}"

    def _is_open(self, what: str) -> None:
        if self._blueprint is not None:
            raise DefinitionError("graph.compiled", f"{self.where} is compiled, and {what} comes too late")


def _is_limit(number: Any) -> bool:
    return isinstance(number, int) and number >= 1


def _places(given: Place | Sequence[Place]) -> tuple[Place, ...]:
    return (given,) if isinstance(given, str) or not isinstance(given, Iterable) else tuple(given)


class _Builder:
    """One compilation: what is known of the graph so far."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.where = graph.where
        check_options(graph.name, self.where, **graph.options)
        self.tools = tools_of(graph.options.get("tools", ()), self.where)
        types = graph.options.get("types", ())
        self.ids: dict[Any, str] = {}
        for name, declared in graph.nodes.items():
            self.ids[declared.fn] = f"{name} (one of several)" if declared.fn in self.ids else name
        self.channels = channels(graph.state, self.where)
        self.inner = {
            name: compiled(declared.fn, f"node {name!r}") for name, declared in graph.nodes.items() if declared.bound
        }
        self.signatures = {
            name: read(node.fn, f"node {name!r}", types) for name, node in graph.nodes.items() if name not in self.inner
        }
        self.writes = {name: self._channels(name, "writes") for name in graph.nodes}
        self.on = {name: self._channels(name, "on") for name in graph.nodes}
        self.sends = {name: self._targets(name, "sends") for name in graph.nodes}
        self.goto = {name: self._targets(name, "goto") for name in graph.nodes}
        self.starts = tuple(dict.fromkeys(self._node_id(place, "start") for place in graph.starts))
        self.edges: dict[str, list[str]] = {}
        self.joins: dict[str, frozenset[str]] = {}
        self._read_edges()
        self.branches: dict[str, list[Branch]] = {}
        self.sent = {target for targets in self.sends.values() for target in targets}  # nodes that a Send may reach
        self._read_branches(types)
        self.bound = {name: self._bind(name) for name in self.inner}
        self.writes |= {name: tuple(binding.node(name).writes) for name, binding in self.bound.items()}

    def _bind(self, name: str) -> Binding:
        bound = self.graph.nodes[name].bound or Bound()
        return Binding(self.inner[name], bound, self.channels, f"node {name!r}", is_sent=name in self.sent)

    def _channels(self, name: str, option: str) -> tuple[str, ...]:
        """Read `writes` or `on` of a node.

        Raises:
            DefinitionError: there is no such channel.
        """
        given: Any = self.graph.nodes[name].options.get(option, ())
        named: tuple[str, ...] = (given,) if isinstance(given, str) else tuple(given)
        for channel in named:
            if channel not in self.channels:
                raise DefinitionError(
                    "graph.unknown_channel", f"node {name!r}: {option}= names {channel!r}, which is no channel",
                    hint=did_you_mean(channel, self.channels, "channels"),
                )  # fmt: skip
        return named

    def _targets(self, name: str, option: str) -> tuple[str, ...]:
        named: Any = self.graph.nodes[name].options.get(option, ())
        return tuple(
            self._node_id(place, f"{option}= of node {name!r}", end=option == "goto") for place in _places(named)
        )

    def _node_id(self, place: Place, what: str, *, end: bool = False) -> str:
        given: Any = place
        known = getattr(place, "__name__", repr(place))
        name: str = given if isinstance(given, str) else self.ids.get(given, known)
        if name not in self.graph.nodes and not (end and name == END):
            raise DefinitionError(
                "graph.unknown_node", f"{self.where}: {what} names {name!r}, which is none of its nodes",
                hint=did_you_mean(name, self.graph.nodes, "nodes"),
            )  # fmt: skip
        return name

    def _read_edges(self) -> None:
        for sources, target in self.graph.edges:
            named = tuple(dict.fromkeys(self._node_id(source, "an edge") for source in sources))
            to = self._node_id(target, "an edge", end=True)
            if not named or (len(named) > 1 and to == END):
                raise DefinitionError("graph.join", f"{self.where}: an edge from {list(named)} to {to!r} joins nothing")
            if len(named) == 1:
                targets = self.edges.setdefault(named[0], [])
                targets += [to] if to != END and to not in targets else []
            elif to in self.joins:
                raise DefinitionError(
                    "graph.join",
                    f"{self.where}: two joins lead to {to!r}",
                    hint="name all sources in one, or add a node",
                )
            else:
                self.joins[to] = frozenset(named)

    def _read_branches(self, types: Iterable[type]) -> None:
        for place, choose, targets, given in self.graph.branches:
            source = self._node_id(place, "a branch")
            name = given or name_of(choose, f"{self.where}: the branch after {source!r}")
            what = f"branch {name!r} after {source!r}"
            signature = read(choose, what, types)
            if signature.mode != "sync":
                raise DefinitionError(
                    "graph.branch", f"{what} is async", hint="it must be a plain def of settled state"
                )
            for argument in signature.arguments:
                if argument.name not in self.channels:
                    raise self._unknown(what, argument.name)
            leads_to = tuple(dict.fromkeys(self._node_id(target, what, end=True) for target in targets))
            known = self.branches.setdefault(source, [])
            if not leads_to or any(one.name == name for one in known):
                said = "is declared twice" if leads_to else "leads nowhere"
                raise DefinitionError("graph.branch", f"{self.where}: {what} {said}")
            known.append(Branch(choose, tuple(a.name for a in signature.arguments), leads_to, name))
            if _may_send(signature.returns):
                self.sent |= {target for target in leads_to if target != END}

    def _unknown(self, what: str, parameter: str) -> DefinitionError:
        return DefinitionError(
            "definition.parameter", f"{what}: parameter {parameter!r} names no channel",
            hint=did_you_mean(parameter, self.channels, "channels"),
        )  # fmt: skip

    def blueprint(self) -> Blueprint:
        """Put the parts together."""
        graph = self.graph
        sources = Sources()
        nodes = {name: self._node(name, sources) for name in graph.nodes}
        subscribers: dict[str, tuple[str, ...]] = {}
        for name, on in self.on.items():
            for channel in on:
                subscribers[channel] = (*subscribers.get(channel, ()), name)
        rules = boundaries(graph.name, self.where, nodes, self.tools, graph.options, tools(nodes))
        rules["companions"] += companions(nodes)
        self._check(nodes, subscribers)
        hidden = {
            f"join:{name}": ChannelSpec(name=f"join:{name}", kind="barrier", type=list[str]) for name in self.joins
        }
        described = self._structure(nodes)
        kept = whole(codec(self._annotations(), **graph.options), nodes)
        return Blueprint(
            name=graph.name,
            kind="graph",
            nodes=nodes,
            channels=self.channels | hidden,
            codec=kept,
            structure=described,
            wait="all",
            starts=self.starts,
            edges={source: tuple(targets) for source, targets in self.edges.items() if targets},
            joins=self.joins,
            branches={source: tuple(found) for source, found in self.branches.items()},
            subscribers=subscribers,
            step_limit=graph.step_limit,
            checkpoints=graph.options.get("checkpoints", EVERY_STEP),
            durability=graph.options.get("durability", "sync"),
            version=graph.options.get("version", ""),
            fingerprint=fingerprint(described),
            **rules,
        ).sealed(kept)

    def _structure(self, nodes: Mapping[str, NodeSpec]) -> dict[str, Any]:
        ways = {"on": self.on, "sends": self.sends, "goto": self.goto}
        details: dict[str, dict[str, Any]] = {
            n: {way: sorted(found[n]) for way, found in ways.items() if found[n]} for n in nodes
        }
        for name, binding in self.bound.items():
            details[name] |= binding.described()
        return structure(
            nodes, self.channels, details, {},
            kind="graph",
            version=self.graph.options.get("version", ""),
            starts=sorted(self.starts),
            edges={f"{source} -> {target}": "edge" for source, targets in self.edges.items() for target in targets},
            joins={target: sorted(sources) for target, sources in self.joins.items()},
            branches={s: {one.name: sorted(one.targets) for one in found} for s, found in self.branches.items()},
        )  # fmt: skip

    def _annotations(self) -> list[Any]:
        """Name the types of channels and of what Sends carry; a return says no more than the channels do."""
        told = [Problem for node in self.graph.nodes.values() if node.options.get("expect")]
        read_types = [a.type for s in self.signatures.values() for a in s.arguments if not a.is_context]
        return [spec.type for spec in self.channels.values()] + read_types + told

    def _node(self, name: str, sources: Sources) -> NodeSpec:
        if name in self.bound:
            return self.bound[name].node(name)
        where, signature, declared = f"node {name!r}", self.signatures[name], self.graph.nodes[name]
        rules = with_defaults(policies(declared.options, where, self.tools), self.graph.options, self.where)
        if not self.writes[name] and _is_dict(signature.returns):
            raise DefinitionError(
                "graph.writes",
                f"{where} returns a dict and declares no channel that it writes",
                hint="add writes=[...]",
            )
        output = None
        if rules["expect"] is not None:
            if len(self.writes[name]) != 1:
                raise DefinitionError(
                    "graph.writes", f"{where} expects an output, and writes {len(self.writes[name])} channels",
                    hint="name the one channel that gets it: writes=[...]",
                )  # fmt: skip
            output = self.writes[name][0]
        return NodeSpec(
            id=name,
            output=output,
            fn=declared.fn,
            mode=signature.mode,
            params=self._params(name, signature),
            writes=frozenset(self.writes[name]),
            returns=signature.returns,
            source_digest=sources.digest(declared.fn, rules["validate"], rules["recover"]),
            **rules,
        )

    def _params(self, name: str, signature: Signature) -> tuple[Param, ...]:
        """Bind by name; the one parameter that is no channel takes what a Send carries, where a Send may come."""
        params: list[Param | None] = []
        for argument in signature.arguments:
            if argument.is_context:
                params.append(Param(argument.name, "context"))
            elif argument.name in self.channels:
                params.append(Param(argument.name, "channel", argument.name, default=argument.default))
            elif name in self.sent and not any(p and p.kind == "payload" for p in params):
                params.append(Param(argument.name, "payload"))
            else:
                params.append(None)
        return bound(signature, params, lambda unknown: self._unknown(f"node {name!r}", unknown))

    def _check(self, nodes: Mapping[str, NodeSpec], subscribers: Mapping[str, Sequence[str]]) -> None:
        if not self.starts and not subscribers:
            raise DefinitionError("graph.no_start", f"{self.where} starts nowhere", hint="call graph.start(...)")
        check_checkpoints(self.graph.options.get("checkpoints", EVERY_STEP), set(paths(nodes)), self.where)
        begin = [*self.starts, *(node for found in subscribers.values() for node in found)]
        begin += wraps_up_at(self.graph.options)
        check_reachable(nodes, begin, self._leads_to, self.joins, self.where)
        plain = {*begin, *self.joins, *(t for targets in self.edges.values() for t in targets)}
        for name, node in nodes.items():
            payload = next((p.name for p in node.params if p.kind == "payload"), "")
            if payload and name in plain:
                raise DefinitionError(
                    "graph.payload",
                    f"node {name!r}: parameter {payload!r} is what a Send carries, and other ways lead there, too",
                    hint="reach it by sends= or a branch only, or name a channel",
                )
        together = {"planned at the start": self.starts}
        together |= {f"planned after {source!r}": tuple(targets) for source, targets in self.edges.items()}
        together |= {f"subscribed to {channel!r}": tuple(found) for channel, found in subscribers.items()}
        repeated = {t: f"which {name!r} sends to" for name, targets in self.sends.items() for t in targets}
        check_two_writers(together, repeated, self.writes, self.channels, self.where)

    def _leads_to(self, name: str) -> Iterable[str]:
        yield from self.edges.get(name, ())
        for way in (self.sends[name], self.goto[name], *(branch.targets for branch in self.branches.get(name, ()))):
            yield from (target for target in way if target != END)


def _is_dict(annotation: Any) -> bool:
    kind = get_origin(bare(annotation)) or bare(annotation)
    return isinstance(kind, type) and issubclass(kind, dict)


def _may_send(annotation: Any) -> bool:
    """Say whether a branch that returns this may return a Send; one that does not say may."""
    if annotation in (Any, Send):
        return True
    return any(_may_send(one) for one in get_args(annotation) if not isinstance(one, str))
