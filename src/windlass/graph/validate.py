"""What cannot be what it says: every check that a definition goes through before any run exists.

Walks are iterative and linear, so that a chain of 10,000 nodes is checked as well as one of three.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from windlass.core.blueprint import END, INPUT, ChannelSpec, Checkpoints
from windlass.core.errors import DefinitionError

FORBIDDEN: Final = re.compile(r"[#\[\]/:<>\s]")  # an address is node#visit[index]/node#visit…
RESERVED: Final = frozenset({INPUT, END, "ctx"})
UPDATE_WORDS: Final = frozenset({"ctx", "goto", "sends", "self"})  # what Update(...) takes beside channels
MOST_NAMED: Final = 12  # names in a list of what there is


def check_name(name: str, where: str) -> None:
    """Refuse a name that an address, a channel or a parameter could not carry.

    Raises:
        DefinitionError: it is empty or reserved, or has a character that addresses use.
    """
    if not name or name in RESERVED or FORBIDDEN.search(name):
        raise DefinitionError(
            "definition.name",
            f"{where}: {name!r} cannot be an id",
            hint=f"ids have no space and none of # [ ] / : < >, and are not {', '.join(sorted(RESERVED))}; give id=",
        )


def check_channel_name(name: str, where: str) -> None:
    """Refuse a channel that an Update could not write, or a parameter could not read.

    Raises:
        DefinitionError: it is reserved, or has a character that hidden channels use.
    """
    if name in UPDATE_WORDS or FORBIDDEN.search(name):
        raise DefinitionError("definition.name", f"{where}: no channel can be called {name!r}")


def did_you_mean(name: str, known: Iterable[str], what: str) -> str:
    """Make the hint for an unknown name: the nearest one, and what there is."""
    from difflib import get_close_matches  # for slips only

    names = list(known)
    near = get_close_matches(name, names, n=1)
    listed = ", ".join(names[:MOST_NAMED]) + (f" and {len(names) - MOST_NAMED} more" if names[MOST_NAMED:] else "")
    guess = f"did you mean {near[0]!r}? " if near else ""
    return guess + (f"{what}: {listed}" if names else f"there are no {what}")


def check_checkpoints(checkpoints: Checkpoints, nodes: set[str], where: str) -> None:
    """Refuse a checkpoint strategy that names what is not there.

    Raises:
        DefinitionError: `Checkpoints.after` names an unknown node.
    """
    for name in sorted(checkpoints.nodes - nodes):
        raise DefinitionError(
            "definition.checkpoints", f"{where}: no node {name!r} to keep a checkpoint after",
            hint=did_you_mean(name, sorted(nodes), "nodes"),
        )  # fmt: skip


def check_acyclic(successors: Mapping[str, Sequence[str]], where: str) -> None:
    """Refuse a pipeline that leads back to where it was.

    Args:
        successors: every node, with the nodes that its edges lead to.

    Raises:
        DefinitionError: there is a cycle; its path is named.
    """
    incoming = dict.fromkeys(successors, 0)
    for targets in successors.values():
        for target in targets:
            incoming[target] += 1
    ready = [name for name, count in incoming.items() if not count]
    for name in ready:  # grows while it is read (Kahn, 1962)
        for target in successors[name]:
            incoming[target] -= 1
            if not incoming[target]:
                ready.append(target)
    if len(ready) == len(successors):
        return
    path = _cycle(successors, {name for name, count in incoming.items() if count})
    shown = (
        path
        if len(path) <= MOST_NAMED
        else [*path[: MOST_NAMED - 2], f"… {len(path) - MOST_NAMED + 1} more …", path[-1]]
    )
    raise DefinitionError(
        "pipeline.cycle", f"{where} has a cycle: {' -> '.join(shown)}", hint="use a Graph for loops, or remove an edge"
    )


def _cycle(successors: Mapping[str, Sequence[str]], left: set[str]) -> list[str]:
    """Walk backwards inside what Kahn left over: each node there has a predecessor there, so the walk must close."""
    before: dict[str, str] = {}
    for name in successors:
        if name in left:
            for target in successors[name]:
                if target in left:
                    before.setdefault(target, name)
    path: dict[str, None] = {}
    at = next(iter(before))
    while at not in path:
        path[at] = None
        at = before[at]
    names = list(path)
    cycle = names[names.index(at) :][::-1]
    places = {name: place for place, name in enumerate(cycle)}
    first = next(places[name] for name in successors if name in places)  # begin as declared
    return [*cycle[first:], *cycle[: first + 1]]


def check_reachable(
    nodes: Iterable[str], begin: Iterable[str], successors: Callable[[str], Iterable[str]],
    joins: Mapping[str, frozenset[str]], where: str,
) -> None:  # fmt: skip
    """Refuse a graph with a node that nothing leads to.

    Args:
        begin: nodes that may run without another: starts, and subscribers (the input may write their channels).
        successors: where a node may lead, joins left out.
        joins: nodes that all their sources lead to together.

    Raises:
        DefinitionError: a node is out of reach.
    """
    reached = dict.fromkeys(begin)
    queue = list(reached)
    missing = {target: set(sources) for target, sources in joins.items()}
    arrive: dict[str, list[str]] = {}
    for target, sources in joins.items():
        for source in sources:
            arrive.setdefault(source, []).append(target)
    for name in queue:  # grows while it is read
        found = list(successors(name))
        for target in arrive.get(name, ()):
            missing[target].discard(name)
            found += [target] * (not missing[target])
        for target in found:
            if target not in reached:
                reached[target] = None
                queue.append(target)
    lost = [name for name in nodes if name not in reached]
    if lost:
        raise DefinitionError(
            "graph.unreachable",
            f"{where}: nothing leads to {', '.join(repr(name) for name in lost[:MOST_NAMED])}",
            hint="add an edge, a start or on=[...]; where an Update or a Send leads there, name it in goto= or sends=",
        )


def check_two_writers(
    together: Mapping[str, Sequence[str]], repeated: Mapping[str, str], writes: Mapping[str, Iterable[str]],
    channels: Mapping[str, ChannelSpec], where: str,
) -> None:  # fmt: skip
    """Refuse two activations that are certain to write one single-value channel in one step (D13).

    Args:
        together: by reason, nodes that are always planned in the same step.
        repeated: nodes of which one step may run several activations, with the reason.

    Raises:
        DefinitionError: both writers and the channel are named.
    """
    single = {name for name, spec in channels.items() if spec.kind in ("last", "ephemeral") and spec.reduce is None}
    for reason, nodes in together.items():
        writer: dict[str, str] = {}
        for node in dict.fromkeys(nodes):
            for name in writes[node]:
                if name in single and writer.setdefault(name, node) != node:
                    raise _two_writers(where, f"{writer[name]!r} and {node!r}, both {reason}, write", name)
    for node, reason in repeated.items():
        for name in writes[node]:
            if name in single:
                raise _two_writers(where, f"the activations of {node!r}, {reason}, all write", name)


def _two_writers(where: str, who: str, channel: str) -> DefinitionError:
    said = f"{where}: {who} channel {channel!r}, which holds one value"
    return DefinitionError("graph.two_writers", said, hint="give the channel a reducer, or let one of them write")
