"""What the engine's parts share within one Runtime: the store, the seams, the wake-ups, the threads."""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from windlass.core.blueprint import Blueprint
from windlass.core.clock import Seams
from windlass.core.origin import Grants, Origin
from windlass.core.records import Owner, RunRecord
from windlass.core.talk import Model
from windlass.engine.inherit import Narrowed, narrowed
from windlass.engine.notifier import Notifier
from windlass.engine.pool import Pool
from windlass.policies.breaker import Breaker
from windlass.policies.budget import WrapUp
from windlass.policies.chain import NO_PLATFORM, Bounds, Chain, bounds, resolve_at
from windlass.policies.limit import Limit
from windlass.policies.platform import Platform
from windlass.stores.base import Store

MOST_RULES = 1024  # kept: of so many definitions, tenants and roles


class Seen(NamedTuple):
    """How a breaker stood when this process last heard of it."""

    status: str
    until: float
    at: float


class Gate(NamedTuple):
    """What is shared and stands before the attempts of a node: limits and breakers, by the keys of their tallies."""

    limits: tuple[tuple[str, Limit], ...]
    breakers: tuple[tuple[str, Breaker], ...]


class Rules:
    """What is in force for the runs of a definition, for one tenant and some roles.

    Attributes:
        chains, gates: by node, those of sub-graphs by their static paths.
        limits: those of all nodes, by key; where two declare one name, as the first node does.
        kinds: by node: the kinds of action that a permission is needed for.
        has_bounds: a limit or a breaker stands before the attempts of some node.
        wraps: a budget lets a run end at a node of its own.
    """

    def __init__(
        self, blueprint: Blueprint, platform: Platform, bounds: Bounds, tenant: str, roles: tuple[str, ...]
    ) -> None:  # fmt: skip
        self.blueprint = blueprint
        self.chains = {one.path: resolve_at(one, platform, tenant=tenant, roles=roles) for one in blueprint.tree()}
        self.bounds = bounds
        self.kinds = {
            name: frozenset({"tool"}.union(*(layer.kinds for layer in chain.layers)))
            for name, chain in self.chains.items()
        }
        self.gates = {name: _gate(chain, tenant, blueprint.name) for name, chain in self.chains.items()}
        self.limits = {key: limit for gate in reversed(self.gates.values()) for key, limit in gate.limits}
        self.has_bounds = any(not chain.is_plain for chain in self.chains.values())
        budgets = [each.budget for each in self.bounds.budgets]
        self.fan_out = next((budget.fan_out for budget in budgets if budget.fan_out is not None), None)
        self.depth = next((budget.depth for budget in budgets if budget.depth is not None), None)
        self._below: dict[tuple[Grants, ...], Narrowed] = {}
        self.wraps = any(isinstance(budget.edge, WrapUp) for budget in budgets)

    def below(self, origin: Origin) -> Narrowed:
        """Return what the nodes of a child run may do; the children of one node may all do the same."""
        known = self._below.get(origin.grants)
        if known is None:
            if len(self._below) >= MOST_RULES:
                self._below.clear()
            known = self._below[origin.grants] = narrowed(self.chains, origin)
        return known


def _gate(chain: Chain, tenant: str, definition: str) -> Gate:
    return Gate(
        tuple((one.key(tenant=tenant, definition=definition, node=chain.node), one) for one in chain.limits),
        tuple((one.key(tenant=tenant, definition=definition, node=chain.node), one) for one in chain.breakers),
    )


@dataclass(slots=True)
class Known:
    """What was worked out of definitions under one platform, with the definition that it was worked out of."""

    bounds: dict[str, tuple[Blueprint, Bounds]] = field(default_factory=dict)
    rules: dict[tuple[str, str, tuple[str, ...]], Rules] = field(default_factory=dict)


@dataclass(slots=True)
class Services:
    """One Runtime's tools.

    Args:
        context: makes the context object of an activation.
        models: those of the deployment: they replace a definition's of the same name.
        strict: tasks may go outside through their ports only.
        seen: breakers, by the key of their tally, as this process saw them last.
        nest: what starts child runs, and lets runs hear of each other (`nest.Nest`).
    """

    store: Store
    seams: Seams
    owner: Owner
    notifier: Notifier
    pool: Pool
    context: Callable[[Any], Any]
    platform: Platform = NO_PLATFORM
    models: Mapping[str, Model] = field(default_factory=dict)
    strict: bool = False
    seen: dict[str, Seen] = field(default_factory=dict)
    escalate: Callable[[str], Coroutine[Any, Any, str]] | None = None  # starts what a question was put to
    escalation_ended: Callable[[RunRecord], Coroutine[Any, Any, None]] | None = None
    nest: Any = None
    known: Known = field(default_factory=Known)

    @property
    def ceilings(self) -> Mapping[str, int]:
        """The platform's ceiling of a run's budget, by unit."""
        budget = self.platform.ceilings.budget
        return budget.shared if budget is not None else {}

    def rules(self, blueprint: Blueprint, tenant: str, roles: tuple[str, ...]) -> Rules:
        """Work out what is in force for a definition's runs; once for each tenant and roles.

        Raises:
            DefinitionError: a task names a limit that the platform does not declare.
        """
        key, rules = (blueprint.name, tenant, roles), self.known.rules
        known = rules.get(key)
        if known is None or known.blueprint is not blueprint:
            if len(rules) >= MOST_RULES:
                rules.clear()
            known = rules[key] = Rules(blueprint, self.platform, self.bounds(blueprint), tenant, roles)
        return known

    def bounds(self, blueprint: Blueprint) -> Bounds:
        """Work out what is in force for a definition's runs as a whole, once."""
        of, found = self.known.bounds.get(blueprint.name, (None, None))
        if found is None or of is not blueprint:
            found = bounds(blueprint, self.platform)
            self.known.bounds[blueprint.name] = (blueprint, found)
        return found
