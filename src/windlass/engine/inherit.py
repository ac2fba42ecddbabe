"""What a child run inherits: the budgets above it, what it may do at most, and how deep it may go.

All of it is worked out when the child is started and stands in its record, so that whoever drives it needs no
definition of the runs above it, and none of them can be widened afterwards.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

from msgspec.structs import replace

from windlass.core.errors import BudgetExceeded
from windlass.core.origin import DEEPEST, Drawn, Grants, Origin
from windlass.core.records import RunRecord
from windlass.engine.redacting import nameable
from windlass.policies.chain import Chain
from windlass.policies.permission import Layer, Rule, intersect


def line_of(record: RunRecord) -> tuple[str, ...]:
    """Name the runs above a child of this one, itself last."""
    return (*(record.origin.line if record.origin is not None else ()), record.id)


def base_of(record: RunRecord) -> str:
    """Name the topmost run that waits for this one, through others; itself if nobody does."""
    return record.origin.base if record.origin is not None else record.id


def depth_of(record: RunRecord, own: int | None) -> int:
    """Say how many runs may stand above a child of this one.

    Args:
        own: what the definition of this run says of runs below it.
    """
    above = record.origin
    most = above.most if above is not None else DEEPEST
    return most if own is None else min(most, (len(above.line) if above is not None else 0) + own)


def check_depth(record: RunRecord, own: int | None, definition: str) -> int:
    """Return how deep it may go here, if a child of this run may be at all.

    Raises:
        BudgetExceeded: runs are nested as deep as they may be; it names the definitions on the way.
    """
    most = depth_of(record, own)
    above = (*(record.origin.names if record.origin is not None else ()), record.definition)
    if len(above) > most:
        path = " → ".join((*above, definition))
        raise BudgetExceeded(f"runs within runs: {path} is deeper than {most}", unit="depth")
    return most


def drawn(record: RunRecord, levels: Any, limit_of: Any) -> tuple[Drawn, ...]:
    """List the budgets that a child of this run draws from: the run's own, and those that it draws from itself.

    A limit of active time that is the run's own timeout stays its own: its children are not active when it is.
    """
    found = []
    for level in levels:
        if level.budget.per != "run":
            continue  # a tenant's: the child is of the same tenant
        is_own_time = level.run_timeout is not None and "wall" not in level.budget.shared
        shared = {unit: number for unit, number in limit_of(level, "").items() if unit != "wall" or not is_own_time}
        if shared:
            found.append(Drawn(level.of or record.id, shared))
    return tuple(found)


def spelled(layers: tuple[Layer, ...]) -> tuple[Grants, ...]:
    """Spell layers of permissions out in plain words, which a child's record keeps.

    Raises:
        SecretInName: a secret stands in one.
    """
    if not layers:
        return ()
    words = tuple(
        (
            layer.name,
            tuple((rule.effect, rule.kind, rule.pattern, rule.when) for rule in layer.rules),
            tuple(sorted(layer.kinds)),
        )
        for layer in layers
    )
    nameable(repr(words), "grants")
    return words


def read(grants: tuple[Grants, ...]) -> tuple[Layer, ...]:
    """Read layers of permissions from their words."""
    return tuple(
        Layer(name, tuple(Rule(*rule) for rule in rules), frozenset(kinds))  # type: ignore[arg-type]
        for name, rules, kinds in grants
    )


Narrowed: TypeAlias = tuple[dict[str, Chain], dict[str, frozenset[str]]]


def narrowed(chains: Mapping[str, Chain], origin: Origin) -> Narrowed:
    """Let a child's nodes do only what the runs above it may do as well; returns the kinds that are judged, too."""
    above = read(origin.grants)
    found = {node: replace(chain, layers=intersect(above, chain.layers)) for node, chain in chains.items()}
    kinds: dict[str, frozenset[str]] = {
        node: frozenset({"tool"}.union(*(layer.kinds for layer in chain.layers))) for node, chain in found.items()
    }
    return found, kinds
