"""Plan: which activations follow from what finished. Pure: no clock, no dice, no I/O.

It runs once, after reconcile, on settled state; its answer is part of the step's record, and resume reads it there.
Addresses are `node#visit[index]`: the visit counts how often the node was planned; the index is the place in a mapped
list, or `sender.ordinal` for a Send; those of a sub-graph's nodes begin with its own. None of it depends on the order
in which things ended.
"""

from collections.abc import Callable, Iterable, Mapping, Sized
from dataclasses import dataclass, field
from typing import Any

from msgspec import Raw

from windlass.core.blueprint import END, Blueprint, Branch, NodeSpec
from windlass.core.errors import DefinitionError, TaskError
from windlass.core.frames import Frame, parse
from windlass.core.ops import NULL
from windlass.core.records import Finished, Planned
from windlass.core.words import Send

Read = Callable[[str], Any]  # a channel's settled value, private to the reader
EMPTY = Raw(b"[]")


@dataclass(slots=True)
class Plan:
    """What a step leads to: activations, and arrivals at joins (complete ones in `joined`)."""

    planned: list[Planned] = field(default_factory=list)
    empty: list[Finished] = field(default_factory=list)  # maps over nothing: finished as soon as planned
    arrivals: dict[str, list[str]] = field(default_factory=dict)
    joined: list[str] = field(default_factory=list)


def plan(
    blueprint: Blueprint, frame: Frame, done: list[Finished], written: Iterable[str], read: Read,
    encode: Callable[[Any, str], Raw],
) -> Plan:  # fmt: skip
    """Choose what runs next.

    Args:
        frame: where the definition stood before this step.
        done: what finished in this step, in path order.
        written: channels that this step changed.
        read: reads settled state.
        encode: keeps a Send's payload.

    Raises:
        TaskError: a branch function raised or named a node that it may not lead to, or what is mapped is no list.
    """
    if blueprint.kind == "pipeline":
        return _plan_pipeline(blueprint, frame, done, read)
    return _plan_graph(blueprint, frame, done, written, read, encode)


def begin(blueprint: Blueprint, frame: Frame, written: Iterable[str], read: Read) -> Plan:
    """Choose what runs first."""
    if blueprint.kind == "pipeline":
        return _plan_pipeline(blueprint, frame, [], read)
    result = Plan()
    subscribed = (node for name in written for node in blueprint.subscribers.get(name, ()))
    for node in dict.fromkeys((*blueprint.starts, *subscribed)):
        result.planned.append(_visit(frame, node))
    return result


def _visit(frame: Frame, node: str, index: str = "", payload: Raw = NULL) -> Planned:
    visit = frame.visits.get(node, 0) + 1
    return Planned(f"{frame.prefix}{node}#{visit}[{index}]" if index else f"{frame.prefix}{node}#{visit}", payload)


def _plan_graph(
    blueprint: Blueprint, frame: Frame, done: list[Finished], written: Iterable[str], read: Read,
    encode: Callable[[Any, str], Raw],
) -> Plan:  # fmt: skip
    result = Plan()
    targets: dict[str, None] = {}  # a node is planned once a step, however many edges lead to it
    chosen: set[str] = set()
    for finished in done:
        address = finished.address
        node, _, index = parse(address)
        sender = f"{node}[{index}]" if index else node
        for ordinal, sent in enumerate(finished.sends):
            result.planned.append(_visit(frame, sent.node, f"{sender}.{ordinal}", sent.payload))
        if blueprint.joins:
            _arrive(blueprint, node, result.arrivals)
        if finished.goto is not None:
            targets.update(dict.fromkeys(finished.goto))
            continue
        if node in chosen:  # edges and branches follow the node, not each of its activations
            continue
        chosen.add(node)
        for target in blueprint.edges.get(node, ()):
            targets[target] = None
        for branch in blueprint.branches.get(node, ()):
            names, sends = _choose(branch, node, read)
            for name in names:
                targets[name] = None
            for ordinal, send in enumerate(sends, start=len(finished.sends)):
                payload = encode(send.value, f"{node}.send[{ordinal}]")
                result.planned.append(_visit(frame, send.node, f"{sender}.{ordinal}", payload))
    if blueprint.subscribers or result.arrivals:
        targets.update(dict.fromkeys(_triggered(blueprint, written, result, read)))
    targets.pop(END, None)
    result.planned[:0] = [_visit(frame, node) for node in targets]
    return result


def _triggered(blueprint: Blueprint, written: Iterable[str], result: Plan, read: Read) -> list[str]:
    """The nodes that a written channel or a complete join makes run."""
    for join, new in result.arrivals.items():
        if blueprint.joins[join] <= {*(read(f"join:{join}") or ()), *new}:
            result.joined.append(join)
    subscribed = [node for name in written for node in blueprint.subscribers.get(name, ())]
    return [*subscribed, *result.joined]


def _arrive(blueprint: Blueprint, node: str, arrivals: dict[str, list[str]]) -> None:
    for join, sources in blueprint.joins.items():
        if node in sources and node not in arrivals.setdefault(join, []):
            arrivals[join].append(node)


def _choose(branch: Branch, node: str, read: Read) -> tuple[list[str], list[Send]]:
    try:
        choice = branch.choose(*map(read, branch.params))
        if type(choice) is str and choice in branch.targets:  # the common case
            return [choice], []
        choices = list(choice) if isinstance(choice, Iterable) and not isinstance(choice, str) else [choice]
    except Exception as error:
        raise TaskError(f"branch {branch.name} after {node} raised {error!r}", kind=type(error).__name__) from error
    for one in choices:
        name = one.node if isinstance(one, Send) else one
        if name not in branch.targets:
            raise TaskError(f"branch {branch.name} after {node} chose {name!r}, which is none of {branch.targets}")
    return [one for one in choices if isinstance(one, str)], [one for one in choices if isinstance(one, Send)]


def _plan_pipeline(blueprint: Blueprint, frame: Frame, done: list[Finished], read: Read) -> Plan:
    result = Plan()
    nodes = blueprint.nodes
    complete = _complete(frame, done)
    fresh: set[str] = set()  # planned in this very step
    queue = [feed for node in complete for feed in nodes[node].feeds]
    queue += [] if done else [name for name, node in nodes.items() if not node.needs]
    for name in queue:  # grows while it is read: a node may make the next one ready at once
        node = nodes[name]
        if name in fresh or frame.visits.get(name) or not _is_ready(node, frame, complete, fresh):
            continue
        fresh.add(name)
        queue.extend(node.streams_to)
        if node.mapped is None:
            result.planned.append(_visit(frame, name))
            continue
        size = _size(read(node.mapped), name, node.mapped)
        result.planned.extend(_visit(frame, name, str(place)) for place in range(size))
        if not size:
            result.empty.append(Finished(f"{frame.prefix}{name}#1", {name: EMPTY}))
            complete.add(name)
            queue.extend(node.feeds)
    return result


def _size(mapped: Any, node: str, source: str) -> int:
    if not isinstance(mapped, Sized):
        said = f"{node} maps over {source}, and that is no list but {type(mapped).__name__}"
        raise TaskError(said, kind="NotAList")
    return len(mapped)


def _complete(frame: Frame, done: list[Finished]) -> set[str]:
    """The nodes of which nothing is left to run after this step; of a map, when its last activation is done."""
    ended: dict[str, int] = {}
    for finished in done:
        node = parse(finished.address)[0]
        ended[node] = ended.get(node, 0) + 1
    return {node for node, number in ended.items() if node and frame.left.get(node, 0) <= number}


def _is_ready(node: NodeSpec, frame: Frame, complete: set[str], fresh: set[str]) -> bool:
    visits, left = frame.visits, frame.left
    for need in node.needs:
        if need not in complete and (not visits.get(need) or left.get(need)):
            return False
    return all(p.source in fresh or visits.get(p.source) for p in node.params if p.kind == "stream")


def check_goto(
    blueprint: Blueprint, node: str, goto: tuple[str, ...], sends: Mapping[str, Any] | Iterable[str]
) -> None:
    """Refuse an Update that leads to a node that does not exist.

    Raises:
        DefinitionError: `graph.unknown_node`, naming it.
    """
    for name in (*goto, *sends):
        if name != END and name not in blueprint.nodes:
            raise DefinitionError("graph.unknown_node", f"{node} leads to {name!r}, and there is no such node")
