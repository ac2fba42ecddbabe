"""A definition as a node of another: what may be one, how its input and output are bound, what is checked."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from windlass.core.blueprint import INPUT, LEFT_OUT, Blueprint, ChannelSpec, Definition, NodeSpec, Param, Sub
from windlass.core.channels import REPLACING
from windlass.core.codec import Codec
from windlass.core.errors import DefinitionError
from windlass.graph.validate import did_you_mean

Reads = str | Mapping[str, str]
Writes = str | Sequence[str] | Mapping[str, str]
OF_A_RUN: Final = ("budget", "run_timeout", "dead_letters")  # what a definition says about its runs as a whole
ABOVE: Final = ContextVar[tuple[Definition, ...]]("definitions that are being compiled", default=())


@dataclass(frozen=True)
class Subgraph:
    """A definition as a task of a Pipeline, under another name than its own: for one that is there twice.

    Args:
        definition: a Pipeline or a Graph. What it is given is the output of the task before it: one element of it on
            an `each=True` edge, a dict by id of several, the run's input of none.
        id: the node's name; default: the definition's.
    """

    definition: Definition
    id: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", self.id or self.definition.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """How a Graph gives a sub-graph its input, and where its output goes; None is by name."""

    reads: Reads | None = None
    writes: Writes | None = None


def as_subgraph(given: Any) -> Subgraph | None:
    """Take a definition among tasks as what it is; None if it is no definition."""
    if isinstance(given, Subgraph):
        return given
    return Subgraph(given) if hasattr(given, "compile") and not isinstance(given, type) else None


def compiled(definition: Definition, where: str) -> Blueprint:
    """Compile a definition that is to be a node.

    Raises:
        DefinitionError: it says something about its runs as a whole: here it has none.
    """
    blueprint = definition.compile()
    for name in OF_A_RUN:
        if getattr(blueprint, name) not in (None, ""):
            raise DefinitionError(
                "graph.subgraph",
                f"{where} is definition {blueprint.name!r}, which declares {name}=, and a sub-graph is no run",
                hint=f"declare {name}= of the definition around it, or start {blueprint.name!r} with ctx.run",
            )
    return blueprint


def returned(blueprint: Blueprint) -> Any:
    """Return the type of a definition's output."""
    single = len(blueprint.sinks) == 1
    return blueprint.channels[blueprint.sinks[0]].type if single else dict[str, Any]


def takes_input(blueprint: Blueprint) -> bool:
    """Say whether any node of a pipeline looks at its input."""
    return any(INPUT in (param.source, *param.sources) for node in blueprint.nodes.values() for param in node.params)


def parts(blueprint: Blueprint) -> list[str]:
    """Name what the output is made of."""
    return list(blueprint.sinks) or [name for name, spec in blueprint.channels.items() if spec.kind != "barrier"]


async def never(*_: Any) -> None:
    """Stand where a node's function stands: a sub-graph has none."""
    raise NotImplementedError


class Binding:
    """One sub-graph of a Graph, as it is bound to the graph's channels.

    Args:
        is_sent: a Send may reach it: what that carries is its input then, unless it reads channels.

    Raises:
        DefinitionError: it names what is not there, or would count something twice.
    """

    def __init__(
        self, blueprint: Blueprint, bound: Bound, channels: Mapping[str, ChannelSpec], where: str, *, is_sent: bool
    ) -> None:
        self.blueprint, self.channels, self.where = blueprint, channels, where
        self.is_sent = is_sent
        self.params = self._params(bound.reads)
        self.output = bound.writes if isinstance(bound.writes, str) else None
        self.writes = {} if self.output is not None else self._writes(bound.writes)
        is_whole = isinstance(bound.reads, str) or self._takes_payload(bound.reads)
        self.is_dict = blueprint.kind == "graph" and not is_whole
        self.back = frozenset(name for name, part in self.writes.items() if self._is_back(name, part))
        self._check()

    def _takes_payload(self, reads: Reads | None) -> bool:
        return reads is None and self.is_sent

    def _params(self, reads: Reads | None) -> tuple[Param, ...]:
        if isinstance(reads, str):
            return (Param("input", "channel", self._channel(reads, "reads")),)
        if self._takes_payload(reads):
            return (Param("input", "payload"),)
        inner = self.blueprint
        if reads is not None:
            for name in reads:
                self._part(name, inner.channels if inner.kind == "graph" else (), "reads")
            return tuple(Param(n, "channel", self._channel(c, "reads"), default=LEFT_OUT) for n, c in reads.items())
        if inner.kind == "graph":
            shared = [name for name in parts(inner) if name in self.channels]
            return tuple(Param(name, "channel", name, default=LEFT_OUT) for name in shared)
        if takes_input(inner):
            raise DefinitionError(
                "graph.subgraph", f"{self.where}: pipeline {inner.name!r} takes an input, and is given none",
                hint='reads="CHANNEL" gives it the value of a channel, reads={} nothing',
            )  # fmt: skip
        return ()

    def _writes(self, writes: Sequence[str] | Mapping[str, str] | None) -> dict[str, str]:
        there = parts(self.blueprint)
        if writes is None:
            written = {name for node in self.blueprint.nodes.values() for name in node.writes}
            found = {name: name for name in there if name in self.channels and name in written}
            if not found:
                raise DefinitionError(
                    "graph.subgraph", f"{self.where}: nothing of its output has the name of a channel",
                    hint='writes="CHANNEL" takes the whole output, writes={"CHANNEL": "PART"} parts of it, [] nothing',
                )  # fmt: skip
            return found
        named = dict(writes) if isinstance(writes, Mapping) else {name: name for name in writes}
        return {self._channel(name, "writes"): self._part(part, there, "writes") for name, part in named.items()}

    def _channel(self, name: str, option: str) -> str:
        if name not in self.channels:
            raise DefinitionError(
                "graph.unknown_channel", f"{self.where}: {option}= names {name!r}, which is no channel",
                hint=did_you_mean(name, self.channels, "channels"),
            )  # fmt: skip
        return name

    def _part(self, name: str, there: Any, option: str) -> str:
        if name not in there:
            inner = self.blueprint
            raise DefinitionError(
                "graph.subgraph", f"{self.where}: {option}= names {name!r}, which {inner.kind} {inner.name!r} has not",
                hint=did_you_mean(name, there, "names") if there else 'a pipeline has one input: reads="CHANNEL"',
            )  # fmt: skip
        return name

    def _is_back(self, name: str, part: str) -> bool:
        """Say whether a channel is given to the sub-graph and written by it, so that only what is new goes back."""
        if self.blueprint.kind == "pipeline":
            return False
        if not self.is_dict:
            return name == part
        return any((param.name, param.source) == (part, name) for param in self.params)

    def _check(self) -> None:
        if self.output is not None:
            self._channel(self.output, "writes")
        for name in self.back:
            spec, inner = self.channels[name], self.blueprint.channels[self.writes[name]]
            if spec.kind in REPLACING and spec.reduce is not None:
                why, hint = "folds what it is written", "let the sub-graph write another channel"
            elif spec.kind == "append" and inner.kind != "append":
                why, hint = "appends what it is written", "let it be an append channel in the sub-graph, too"
            else:
                continue
            raise DefinitionError(
                "graph.subgraph", f"{self.where}: channel {name!r} is given and comes back whole, and {why}: "
                "what was there would count twice", hint=hint,
            )  # fmt: skip

    def node(self, name: str) -> NodeSpec:
        """Make the node."""
        return NodeSpec(
            id=name, fn=never, params=self.params, output=self.output, returns=returned(self.blueprint),
            writes=frozenset(self.writes) if self.output is None else frozenset({self.output}),
            sub=Sub(blueprint=self.blueprint, reads=self.is_dict, writes=self.writes, back=self.back),
        )  # fmt: skip

    def described(self) -> dict[str, Any]:
        """Describe what of it the structure covers beside its params and channels."""
        return {"sub": self.blueprint.structure, **({"parts": self.writes} if self.writes else {})}


def whole(codec: Codec, nodes: Mapping[str, NodeSpec]) -> Codec:
    """Return the codec of a definition: one for all types of its sub-graphs, too.

    Raises:
        DefinitionError: two types have one tag.
    """
    for node in nodes.values():
        if node.sub is not None:
            codec = codec.also(node.sub.blueprint.codec)
    return codec


def companions(nodes: Mapping[str, NodeSpec]) -> tuple[Definition, ...]:
    """List the definitions that whoever knows a definition has to know as well, because of its sub-graphs."""
    return tuple(one for node in nodes.values() if node.sub is not None for one in node.sub.blueprint.companions)


def paths(nodes: Mapping[str, NodeSpec], above: str = "") -> Iterator[str]:
    """Name all nodes, those of sub-graphs by their static paths."""
    for name, node in nodes.items():
        yield f"{above}{name}"
        if node.sub is not None:
            yield from paths(node.sub.blueprint.nodes, f"{above}{name}/")


def tools(nodes: Mapping[str, NodeSpec]) -> dict[str, Any]:
    """List the tools of sub-graphs, of which grants may speak."""
    found: dict[str, Any] = {}
    for node in nodes.values():
        if node.sub is not None:
            found |= {**tools(node.sub.blueprint.nodes), **node.sub.blueprint.tools}
    return found


@contextmanager
def compiling(definition: Definition) -> Iterator[None]:
    """Refuse a definition that is a node of itself, however deep.

    Raises:
        DefinitionError: it is; the way is named.
    """
    above = ABOVE.get()
    if any(one is definition for one in above):
        way = " -> ".join(one.name for one in (*above, definition))
        raise DefinitionError(
            "graph.subgraph", f"{definition.name!r} is a node of itself: {way}", hint="start it with ctx.run instead"
        )
    token = ABOVE.set((*above, definition))
    try:
        yield
    finally:
        ABOVE.reset(token)
