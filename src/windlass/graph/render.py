"""A definition as a picture (Mermaid) or as a listing for a terminal."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import Final, NamedTuple

from windlass.core.blueprint import END, Blueprint, NodeSpec
from windlass.core.types import spell

BEGIN: Final = "__start__"
ARROWS: Final = {  # how a way is drawn, by its kind
    "edge": "-->",
    "each": "-- each -->",
    "stream": "== stream ==>",
    "join": "-- join -->",
    "branch": "-. {} .->",
    "goto": "-. goto .->",
    "send": "-. send .->",
    "on": "-. {} .->",
}


class Way(NamedTuple):
    """One arrow: from, to, its kind, and the name of the branch or channel."""

    source: str
    target: str
    kind: str
    label: str = ""


def ways(blueprint: Blueprint) -> list[Way]:
    """List every way from one node to another; BEGIN and END stand for the outside."""
    found = list(_pipeline_ways(blueprint) if blueprint.kind == "pipeline" else _graph_ways(blueprint))
    leading = {way.source for way in found}
    found += [Way(name, END, "edge") for name in blueprint.nodes if name not in leading]
    return [Way(BEGIN, name, "edge") for name in blueprint.starts] + found


def _pipeline_ways(blueprint: Blueprint) -> Iterable[Way]:
    for name, node in blueprint.nodes.items():
        for target in node.feeds:
            yield Way(name, target, "each" if blueprint.nodes[target].mapped == name else "edge")
        for target in node.streams_to:
            yield Way(name, target, "stream")


def _graph_ways(blueprint: Blueprint) -> Iterable[Way]:
    for name, node in blueprint.nodes.items():
        details = blueprint.structure["nodes"][name]
        for target in blueprint.edges.get(name, ()):
            yield Way(name, target, "edge")
        for target, sources in blueprint.joins.items():
            if name in sources:
                yield Way(name, target, "join")
        for branch in blueprint.branches.get(name, ()):
            for target in branch.targets:
                yield Way(name, target, "branch", branch.name)
        for kind, targets in (("goto", details.get("goto", ())), ("send", details.get("sends", ()))):
            for target in targets:
                yield Way(name, target, kind)
        for channel in sorted(node.writes):
            for target in blueprint.subscribers.get(channel, ()):
                yield Way(name, target, "on", channel)


def mermaid(blueprint: Blueprint) -> str:
    """Draw a blueprint as a Mermaid flowchart: branches, sends and subscriptions dashed, streams thick.

    A sub-graph is drawn as one, with what is in it.
    """
    head = ["flowchart TD", f"    %% {blueprint.kind} {blueprint.name!r} {blueprint.fingerprint}"]
    return "\n".join([*head, *_drawn(blueprint, count(), "    ")]) + "\n"


def _drawn(blueprint: Blueprint, numbers: "count[int]", indent: str) -> Iterable[str]:
    marks = {name: f"n{next(numbers)}" for name in (BEGIN, *blueprint.nodes, END)}  # names may hold anything
    arrows = ways(blueprint)
    used = {name for way in arrows for name in (way.source, way.target)}
    for name, mark in marks.items():
        node = blueprint.nodes.get(name)
        if node is not None and node.sub is not None:
            each = " (each)" if node.mapped is not None else ""
            yield f'{indent}subgraph {mark}["{_quoted(name)}{each}"]'
            yield from _drawn(node.sub.blueprint, numbers, f"{indent}    ")
            yield f"{indent}end"
        elif node is not None:
            shape = '[["{}"]]' if node.mapped is not None else '["{}"]'
            yield f"{indent}{mark}{shape.format(_quoted(name))}"
        elif name in used:
            yield f"{indent}{mark}([{'START' if name == BEGIN else 'END'}])"
    for way in arrows:
        arrow = ARROWS[way.kind].format(f'"{_quoted(way.label)}"')
        yield f"{indent}{marks[way.source]} {arrow} {marks[way.target]}"


def _quoted(label: str) -> str:
    """Escape a label as Mermaid wants it: entity codes between #…;."""
    return label.replace("#", "#35;").replace('"', "#quot;")


def text(blueprint: Blueprint) -> str:
    """List a blueprint for a terminal, layer by layer: what each node reads and writes, and where it goes."""
    head = f"{blueprint.kind} {blueprint.name}  {len(blueprint.nodes)} nodes  fingerprint {blueprint.fingerprint}"
    lines = [head, *_channel_lines(blueprint), *_listed(blueprint, "  ")]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _listed(blueprint: Blueprint, indent: str) -> Iterable[str]:
    """List the nodes layer by layer; those of a sub-graph below it."""
    arrows = ways(blueprint)
    out: dict[str, list[Way]] = {}
    for way in arrows:
        out.setdefault(way.source, []).append(way)
    layers = _layers(blueprint, arrows)
    width = max(len(name) for name in blueprint.nodes)
    for name in sorted(blueprint.nodes, key=lambda name: layers[name]):
        node = blueprint.nodes[name]
        yield f"{indent}{layers[name]:>3}  {name:<{width}}  {_node_line(node, out.get(name, ()))}"
        if node.sub is not None:
            yield from _listed(node.sub.blueprint, f"{indent}     ")


def _channel_lines(blueprint: Blueprint) -> list[str]:
    if blueprint.kind == "pipeline":
        return [f"  input: {spell(blueprint.input_type)}"]
    kept = {name: spec for name, spec in blueprint.channels.items() if spec.kind != "barrier"}
    width = max((len(name) for name in kept), default=0)
    return [f"  {n:<{width}}  {spell(spec.type)}  {spec.reducer_name or spec.kind}" for n, spec in kept.items()] + [""]


def _node_line(node: NodeSpec, out: Sequence[Way]) -> str:
    parts = [f"{node.sub.blueprint.kind} {node.sub.blueprint.name}"] if node.sub is not None else []
    parts += [f"each of {node.mapped}"] if node.mapped is not None else []
    aside = ("context", "item", "stream")
    reads = [p.source or "+".join(p.sources) or "a Send" for p in node.params if p.kind not in aside]
    streams = [p.source for p in node.params if p.kind == "stream"]
    parts += [f"reads {', '.join(reads)}"] if reads else []
    parts += [f"follows {', '.join(streams)}"] if streams else []
    parts += [f"writes {', '.join(sorted(node.writes))}"] if node.output is None and node.writes else []
    return "  ".join([*parts, *_goes_to(out)])


def _goes_to(out: Sequence[Way]) -> list[str]:
    """Spell the ways out: plain ones first, choices of one branch together."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for way in out:
        grouped.setdefault((way.kind, way.label), []).append("END" if way.target == END else way.target)
    signs: Mapping[str, str] = {"edge": "->", "each": "-> each", "stream": "=> stream", "join": "-> join"}
    spelled = []
    for (kind, label), targets in grouped.items():
        what = label if kind == "branch" else f"{kind} {label}".rstrip()
        sign = signs.get(kind, f"..> {what}:")
        spelled.append(f"{sign} {(' | ' if kind == 'branch' else ', ').join(targets)}")
    return spelled


def _layers(blueprint: Blueprint, arrows: Iterable[Way]) -> dict[str, int]:
    """Number the nodes: in a pipeline by the longest way from a start, in a graph by the shortest."""
    successors: dict[str, list[str]] = {}
    incoming = dict.fromkeys(blueprint.nodes, 0)
    for way in arrows:
        if way.source != BEGIN and way.target != END:
            successors.setdefault(way.source, []).append(way.target)
            incoming[way.target] += 1
    if blueprint.kind == "pipeline":
        begin = [name for name, number in incoming.items() if not number]
    else:
        begin = [*blueprint.starts, *(node for found in blueprint.subscribers.values() for node in found)]
    layers = dict.fromkeys(begin, 1)
    queue = list(layers)
    for name in queue:  # grows while it is read
        for target in successors.get(name, ()):
            incoming[target] -= 1
            if blueprint.kind == "pipeline":
                layers[target] = max(layers.get(target, 0), layers[name] + 1)
                queue += [target] * (not incoming[target])
            elif target not in layers:
                layers[target] = layers[name] + 1
                queue.append(target)
    return layers
