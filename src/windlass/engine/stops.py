"""Breakpoints of one run: where it stops for a person beside what its definition declares, named as it was started.

A node of a sub-graph is named by its path, as `team/write`.
"""

from collections.abc import Sequence
from dataclasses import replace

from windlass.core.blueprint import Blueprint
from windlass.core.errors import InputError
from windlass.core.records import RunRecord

ANYBODY = ""


def check_stops(blueprint: Blueprint, before: Sequence[str], after: Sequence[str]) -> None:
    """Refuse to stop where that cannot be.

    Raises:
        InputError: there is no such node, it is a sub-graph, or it tells what it writes before that is settled.
    """
    for where, names in (("before", before), ("after", after)):
        for name in names:
            node = None if "#" in name else blueprint.node(name)
            if node is None:
                hint = f"there are: {', '.join(sorted(one.path for one in blueprint.tree()))}"
                raise InputError(where, f"{blueprint.name} has no node {name!r}", hint=hint)
            if node.sub is not None:  # only what runs itself can stop
                hint = f"name a node of it: {name}/{next(iter(node.sub.blueprint.nodes))}"
                raise InputError(where, f"{name} is a sub-graph: nothing stops at it as a whole", hint=hint)
            if where == "after" and node.streams_to:
                raise InputError(where, f"{name} streams to {', '.join(node.streams_to)}: stop there")


def with_stops(blueprint: Blueprint, record: RunRecord) -> Blueprint:
    """Return a run's definition with the stops that it was started with; what is declared for a node stands."""
    return _stopping(blueprint, record.before, record.after)


def _stopping(blueprint: Blueprint, before: Sequence[str], after: Sequence[str]) -> Blueprint:
    if not before and not after:
        return blueprint
    nodes = dict(blueprint.nodes)
    for name in dict.fromkeys(path.partition("/")[0] for path in (*before, *after)):
        node = nodes[name]
        if node.sub is not None:
            inner = _stopping(node.sub.blueprint, _below(name, before), _below(name, after))
            nodes[name] = replace(node, sub=replace(node.sub, blueprint=inner))
            continue
        first = ANYBODY if node.before is None and name in before else node.before
        then = ANYBODY if node.after is None and name in after else node.after
        nodes[name] = replace(node, before=first, after=then)
    return replace(blueprint, nodes=nodes)


def _below(name: str, paths: Sequence[str]) -> list[str]:
    return [path.removeprefix(f"{name}/") for path in paths if path.startswith(f"{name}/")]
