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
        InputError: there is no such node, or it tells what it writes before it is settled.
    """
    for where, names in (("before", before), ("after", after)):
        for name in names:
            if name not in blueprint.nodes:
                hint = f"there are: {', '.join(sorted(blueprint.nodes))}"
                raise InputError(where, f"{blueprint.name} has no node {name!r}", hint=hint)
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
