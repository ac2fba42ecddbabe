"""What every definition compiles to: one frozen record, the only thing about a definition that the engine sees.

Building APIs (`graph/`) make it; `plan`, `execute` and `reconcile` read it. Names stay names: a node or channel is
known by its string, so that a log reads without the definition.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, NamedTuple, Protocol

import msgspec

from windlass.core.codec import Codec
from windlass.core.errors import InputError
from windlass.core.words import Approve, Undo

END = "__end__"
INPUT = "input"  # the channel that holds a pipeline's input
LEFT_OUT: Final = object()  # the default of a sub-graph's parameter: a channel without a value gives it nothing

ParamKind = Literal["context", "channel", "item", "payload", "stream", "upstreams"]
ChannelKind = Literal["last", "append", "merge", "unique", "gather", "barrier", "ephemeral"]
Mode = Literal["async", "yields", "sync"]
Durability = Literal["sync", "async", "exit"]


@dataclass(frozen=True, slots=True)
class Param:
    """Where one argument of a node comes from.

    `context` is the Context; `channel` the value of a channel; `item` one element of a channel's list, by the
    activation's index; `payload` what a Send carried; `stream` an async iterator over the items of node `source`;
    `upstreams` a dict of the channels in `sources` by name.
    """

    name: str
    kind: ParamKind
    source: str = ""
    sources: tuple[str, ...] = ()
    default: Any = msgspec.UNSET  # what a channel that was never written gives; UNSET: the node fails


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpec:
    """A task's place in a graph: what is called, with what, under which policies.

    Args:
        fn: the user's function or bound method; called with `params` by position.
        mode: `async` returns its output, `yields` yields items and one Output, `sync` runs in a thread.
        writes: channels that it may write. With `output` set, what it returns is the value of that one channel.
        mapped: the channel whose list gives one activation per element; None for an ordinary node.
        concurrency: most activations of this node at once; None is no limit.
        timeout, idle_timeout, retry, breakers, limits, grants: as its task declares them, None where it does not; what
            is in force comes from `policies.chain.resolve`.
        undo: compensations by name.
        sub: a definition that the node is, instead of a function; `params` say what its input is made of.
    """

    id: str
    fn: Callable[..., Any]
    mode: Mode = "async"
    params: tuple[Param, ...] = ()
    writes: frozenset[str] = frozenset()
    output: str | None = None
    returns: Any = Any
    mapped: str | None = None
    on_error: Literal["fail", "collect"] = "fail"
    concurrency: int | None = None
    timeout: float | None = None
    idle_timeout: float | None = None
    retry: tuple[Any, ...] | None = None  # policies.retry.Retry; () is one attempt
    breakers: tuple[Any, ...] | None = None  # policies.breaker.Breaker, or a name
    limits: tuple[Any, ...] | None = None  # policies.limit.Limit, or a name
    grants: tuple[Any, ...] | None = None  # policies.permission.Rule
    expect: Any = None  # policies.output.Expect
    validate: Callable[[Any], Any] | None = None
    recover: Callable[[Any], Any] | None = None
    undo: Mapping[str, Undo] = field(default_factory=dict)
    before: str | Approve | None = None  # a person sees what it is given, and approves, edits or rejects
    after: str | Approve | None = None  # and what it wrote
    streams_to: tuple[str, ...] = ()  # nodes that consume this one's items
    needs: tuple[str, ...] = ()  # pipeline: nodes that must have finished
    feeds: tuple[str, ...] = ()  # pipeline: nodes that wait for this one
    source_digest: str = ""
    sub: "Sub | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sub:
    """A definition that is a node of another, and how its input and output are bound.

    Args:
        reads: its input is a dict of the node's `params` by name; else it is the one parameter.
        writes: channel of the outer definition → the part of the output that it gets, where that is a dict of channels
            (the node's `output` gets it whole otherwise).
        back: those of `writes` that its input comes from as well: only what is new goes back.
    """

    blueprint: "Blueprint"
    reads: bool = False
    writes: Mapping[str, str] = field(default_factory=dict)
    back: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSpec:
    """One typed channel of the state.

    Args:
        kind: how writes are kept. `last` keeps one value; `append`, `merge`, `unique` and `gather` keep deltas;
            `barrier` collects arrivals for a join; `ephemeral` is unset again after the next step.
        reduce: `(current, incoming) -> new` for a `last` or `ephemeral` channel that folds its writes; None: at most
            one write a step. With kind `unique` it is the key function.
        initial: the value before any write; `msgspec.UNSET` for none.
    """

    name: str
    kind: ChannelKind = "last"
    type: Any = Any
    reduce: Callable[..., Any] | None = None
    reducer_name: str = ""
    initial: Any = msgspec.UNSET


@dataclass(frozen=True, slots=True)
class Branch:
    """A choice made on settled state, after the node's step: a named sync function and where it may lead."""

    choose: Callable[..., Any]
    params: tuple[str, ...]  # channels, by parameter name
    targets: tuple[str, ...]
    name: str


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """Which steps stay addressable for rollback, fork and state: the strategy (durability is another matter, D25)."""

    keep: Literal["every", "nodes", "savepoints", "end"] = "every"
    nodes: frozenset[str] = frozenset()

    @classmethod
    def after(cls, *nodes: str) -> "Checkpoints":
        """Keep the steps in which one of these nodes finished."""
        return cls("nodes", frozenset(nodes))


EVERY_STEP = Checkpoints("every")
SAVEPOINTS = Checkpoints("savepoints")
END_ONLY = Checkpoints("end")


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """A compiled definition.

    Args:
        wait: `all` commits at the super-step barrier (Graph), `any` as each activation ends (Pipeline).
        edges: graph: node → nodes planned in the step after it.
        joins: graph: node → the sources that must all have finished since it last ran (barrier channel `join:node`).
        branches: graph: node → choices made after it.
        subscribers: graph: channel → nodes planned in the step after it was written.
        sinks: channels that make up the output; one → its value, several → a dict; empty → all public channels.
        structure: what the fingerprint covers, as plain JSON, to say what differs.
        on_busy: what a second input to a thread does whose last turn has not ended.
        run_timeout: active seconds of a run, as declared; None where it is not.
        rules: for what is expected of outputs, by type or field.
        budget, grants, defaults: as declared: a `policies.budget.Budget`, Rules, a `policies.chain.Declared`.
        tools, models: what `ctx.tool` may call and `ctx.model` ask, by name.
        dead_letters: the definition that is started on a dead letter of a run; empty for none.
        companions: definitions that whoever knows this one has to know as well: those that its runs are handed to,
            and those of its child runs.
    """

    name: str
    kind: Literal["graph", "pipeline"]
    nodes: Mapping[str, NodeSpec]
    channels: Mapping[str, ChannelSpec]
    codec: Codec
    structure: Mapping[str, Any]
    wait: Literal["all", "any"]
    starts: tuple[str, ...] = ()
    edges: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    joins: Mapping[str, frozenset[str]] = field(default_factory=dict)
    branches: Mapping[str, tuple[Branch, ...]] = field(default_factory=dict)
    subscribers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sinks: tuple[str, ...] = ()
    step_limit: int | None = None
    checkpoints: Checkpoints = EVERY_STEP
    durability: Durability = "sync"
    on_busy: str = "enqueue"  # thread.OnBusy
    run_timeout: float | None = None
    budget: Any = None
    grants: tuple[Any, ...] | None = None
    defaults: Any = None
    rules: Any = ()  # policies.rules.Rules
    tools: Mapping[str, Any] = field(default_factory=dict)
    models: Mapping[str, Any] = field(default_factory=dict)
    dead_letters: str = ""
    companions: tuple["Definition", ...] = ()
    input_type: Any = Any
    version: str = ""
    fingerprint: str = ""
    has_streams: bool = field(init=False)  # some node feeds a stream edge, sub-graphs included
    has_frames: bool = field(init=False)  # some node is a sub-graph
    recorded: Mapping[str, Any] = field(init=False)  # what the record of each run says of it

    def __post_init__(self) -> None:
        """Work out once what every run would work out again."""
        places = list(self.tree())
        kinds: dict[str, str] = {name: channel.kind for name, channel in self.channels.items()}
        for one in places:
            if one.node.sub is not None:
                inner = one.node.sub.blueprint.channels.items()
                kinds.update({f"{one.path}/{name}": channel.kind for name, channel in inner})
        recorded = {
            "definition": self.name,
            "fingerprint": self.fingerprint,
            "structure": msgspec.Raw(msgspec.json.encode(self.structure)),
            "channels": kinds,  # by static path, so that a log folds without the definition
            "sources": {one.path: one.node.source_digest for one in places if one.node.source_digest},
        }
        object.__setattr__(self, "recorded", recorded)
        object.__setattr__(self, "has_streams", any(one.node.streams_to for one in places))
        object.__setattr__(self, "has_frames", any(node.sub is not None for node in self.nodes.values()))

    def within(self, path: str) -> "Blueprint":
        """Return the blueprint of the frame at a path, static or not: `team` or `team#1`; itself for none.

        Raises:
            KeyError: there is no such sub-graph.
        """
        found = self
        for part in path.split("/") if path else ():
            sub = found.nodes[part.partition("#")[0]].sub
            if sub is None:
                raise KeyError(path)
            found = sub.blueprint
        return found

    def of_edits(self, names: Iterable[str]) -> "tuple[str, Blueprint]":
        """Find the frame that edits are of, by their names (`draft`, `team#1/draft`), and its definition.

        Raises:
            InputError: they are of several, or there is no such sub-graph.
        """
        paths = {name.rpartition("/")[0] for name in names}
        if len(paths) > 1:
            said = f"they are of {' and '.join(sorted(path or 'the run' for path in paths))}"
            raise InputError("edits", said, hint="one edit is of the run's own channels, or of one sub-graph's")
        path = paths.pop() if paths else ""
        try:
            return path, self.within(path)
        except KeyError:
            raise InputError(path, f"{self.name} has no sub-graph {path!r}", hint="an address, as team#1") from None

    def node(self, address: str) -> NodeSpec | None:
        """Return the node of an activation, or at a static path; None if there is none."""
        path, _, last = address.rpartition("/")
        try:
            return self.within(path).nodes.get(last.partition("#")[0])
        except KeyError:
            return None

    def tree(self, path: str = "", above: "tuple[Blueprint, ...]" = ()) -> "Iterator[Place]":
        """Yield all nodes, those of sub-graphs behind the node that each is."""
        for name, node in self.nodes.items():
            yield Place(f"{path}{name}", node, self, above)
            if node.sub is not None:
                yield from node.sub.blueprint.tree(f"{path}{name}/", (self, *above))

    def sealed(self, codec: Codec) -> "Blueprint":
        """Return the blueprint with another codec, its sub-graphs included: a run has one."""
        nodes = {
            name: node if node.sub is None
            else replace(node, sub=replace(node.sub, blueprint=node.sub.blueprint.sealed(codec)))
            for name, node in self.nodes.items()
        }  # fmt: skip
        return replace(self, codec=codec, nodes=nodes)


class Place(NamedTuple):
    """A node where it stands: its static path, the definition that it is of, and those above that, the nearest first.

    A `Place` of a run's own definition has none above.
    """

    path: str
    node: NodeSpec
    of: Blueprint
    above: tuple[Blueprint, ...]


class Definition(Protocol):
    """What a Runtime accepts: anything that compiles to a Blueprint."""

    @property
    def name(self) -> str:
        """The definition's name; a run's id is another thing."""
        ...

    def compile(self) -> Blueprint:
        """Return the frozen blueprint; the same object each time."""
        ...


def with_companions(definitions: Iterable[Definition]) -> list[Blueprint]:
    """Compile definitions, and all that whoever knows them has to know as well: theirs, and those of these."""
    found: dict[str, Blueprint] = {}
    queue = [definition.compile() for definition in definitions]
    for blueprint in queue:
        if blueprint.name not in found:
            found[blueprint.name] = blueprint
            queue += [one.compile() for one in blueprint.companions]
    return list(found.values())


def fingerprint(structure: Mapping[str, Any]) -> str:
    """Digest a structure: 16 hex digits of the SHA-256 of its JSON with sorted keys."""
    return hashlib.sha256(msgspec.json.encode(structure, order="sorted")).hexdigest()[:16]


def differences(before: Mapping[str, Any], after: Mapping[str, Any], path: str = "") -> list[str]:
    """Say in words what differs between two structures: `nodes.review: removed`, `channels.draft.type: str -> int`."""
    found: list[str] = []
    for key in sorted({*before, *after}):
        where = f"{path}.{key}" if path else key
        old, new = before.get(key), after.get(key)
        if key not in after:
            found.append(f"{where}: removed")
        elif key not in before:
            found.append(f"{where}: added")
        elif isinstance(old, Mapping) and isinstance(new, Mapping):
            found += differences(old, new, where)
        elif old != new:
            found.append(f"{where}: {old} -> {new}")
    return found
