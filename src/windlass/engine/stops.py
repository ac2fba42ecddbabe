"""Breakpoints of one run: where it stops for a person beside what its definition declares, named as it was started."""

from collections.abc import Sequence
from dataclasses import replace

from windlass.core.blueprint import Blueprint
from windlass.core.errors import InputError
from windlass.core.records import RunRecord

ANYBODY = ""


def check_stops(blueprint: Blueprint, before: Sequence[str], after: Sequence[str]) -> None:
    """Refuse to stop where that cannot be.

    Raises:
        InputError: it is no list of names, there is no such node, it is a sub-graph, or it tells what it writes before
            that is settled.
    """
    for where, names in (("before", before), ("after", after)):
        if isinstance(names, str):
            raise InputError(where, f"{names!r} is no list of nodes", hint=f"{where}=[{names!r}]")
        for name in names:
            if name not in blueprint.nodes:
                hint = f"there are: {', '.join(sorted(blueprint.nodes))}"
                raise InputError(where, f"{blueprint.name} has no node {name!r}", hint=hint)
            if blueprint.nodes[name].sub is not None:  # only what runs itself can stop
                hint = f"declare {where}= for a node of it"
                raise InputError(where, f"{name} is a sub-graph: nothing stops at it as a whole", hint=hint)
            if where == "after" and blueprint.nodes[name].streams_to:
                raise InputError(where, f"{name} streams to {', '.join(blueprint.nodes[name].streams_to)}: stop there")


def with_stops(blueprint: Blueprint, record: RunRecord) -> Blueprint:
    """Return a run's definition with the stops that it was started with; what is declared for a node stands."""
    if not record.before and not record.after:
        return blueprint
    nodes = dict(blueprint.nodes)
    for name in (*record.before, *record.after):
        node = nodes[name]
        before = ANYBODY if node.before is None and name in record.before else node.before
        after = ANYBODY if node.after is None and name in record.after else node.after
        nodes[name] = replace(node, before=before, after=after)
    return replace(blueprint, nodes=nodes)
