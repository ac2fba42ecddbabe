"""The chain around an attempt: which rules are in force for a node, where each came from, and what follows from an end.

An attempt goes open → permit → reserve → breaker → timeout → call → classify → settle. Rules cascade (C15): what a task
declares wins over its definition's defaults, these over the platform's; the platform's ceilings hold whatever is said.
Everything here is pure; the engine draws the dice, sleeps and parks.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

from msgspec import Struct, field

from windlass.core.blueprint import Blueprint, NodeSpec, Place
from windlass.core.errors import AttemptTimeout, DefinitionError, TaskError, ValidationFailed, WindlassError, kind_of
from windlass.core.words import RecoveryAction
from windlass.policies.breaker import Breaker
from windlass.policies.budget import UNITS, Budget, spell_amount, tightest
from windlass.policies.limit import Limit
from windlass.policies.limit import tightest as tighter
from windlass.policies.permission import Layer, platform_layers
from windlass.policies.platform import MOST_ATTEMPTS, MOST_WAIT_SECONDS, Platform, read_retry
from windlass.policies.retry import Retry, asked_for, naming, next_wait
from windlass.policies.timeout import seconds

ORDER: Final = ("open", "permit", "reserve", "breaker", "timeout", "call", "classify", "settle")
NOWHERE: Final = "not declared"
NO_PLATFORM: Final = Platform()

Reason = Literal["attempts", "budget", "timeout", "poison", "denied", "step_limit", "output", "error"]
REASONS: Final[Mapping[str, Reason]] = {  # the begin of an error's code → why its run cannot go on
    "policy.budget": "budget",
    "policy.denied": "denied",
    "policy.step_limit": "step_limit",
    "policy.run_timeout": "timeout",
    "task.timeout": "timeout",
    "task.output": "output",
    "run.poison": "poison",
}


class Declared(Struct, frozen=True, kw_only=True):
    """What one place declares for attempts; None is nothing, so that the next place may say it.

    Args:
        timeout, idle_timeout: seconds; `math.inf` says that there is no limit.
        retry: () says that there is one attempt.
    """

    timeout: float | None = None
    idle_timeout: float | None = None
    retry: tuple[Retry, ...] | None = None
    breakers: tuple[Breaker | str, ...] | None = None
    limits: tuple[Limit | str, ...] | None = None


class Chain(Struct, frozen=True, kw_only=True):
    """The rules in force for the attempts of one node.

    Args:
        timeout, idle_timeout: seconds; None is no limit.
        retry: the first that names an error decides; () is one attempt.
        attempts, wait: the platform's ceilings: tries in all, and seconds between two.
        layers: who has a say in what it may do.
        origins: setting → where its value came from, in words.
    """

    node: str
    timeout: float | None = None
    idle_timeout: float | None = None
    retry: tuple[Retry, ...] = ()
    attempts: int = MOST_ATTEMPTS
    wait: float = MOST_WAIT_SECONDS
    breakers: tuple[Breaker, ...] = ()
    limits: tuple[Limit, ...] = ()
    layers: tuple[Layer, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_plain(self) -> bool:
        """Whether nothing shared stands before an attempt: no breaker, no limit."""
        return not self.breakers and not self.limits

    @property
    def max_attempts(self) -> int:
        """The most tries that retry can come to."""
        return min(self.attempts, max((rule.max_attempts for rule in self.retry), default=1))


def resolve(
    node: NodeSpec, blueprint: Blueprint, platform: Platform = NO_PLATFORM, *, tenant: str = "default",
    roles: Iterable[str] = (), place: Place | None = None,
) -> Chain:  # fmt: skip
    """Work out which rules are in force for a node, for a run of this tenant with these roles.

    Args:
        place: where the node stands, if the blueprint is a sub-graph of others.

    Raises:
        DefinitionError: a task names a limit that the platform does not declare.
    """
    above = place.above if place is not None else ()
    path = place.path if place is not None else node.id
    places = _places(node, (blueprint, *above), platform)
    ceilings, origins = platform.ceilings, dict[str, str]()
    limits = [_limit(named, platform, origins) for named in _first(places, "limits", origins) or ()]
    breakers = [_breaker(named, platform, origins) for named in _first(places, "breakers", origins) or ()]
    retry = _first(places, "retry", origins) or ()
    asked = max((rule.max_attempts for rule in retry), default=1)
    origins["attempts"] = "platform ceiling" + (f" ({origins['retry']} asked for {asked})"
                                                if asked > ceilings.attempts else "")  # fmt: skip
    origins["wait"] = "platform ceiling"
    for name in ("breakers", "limits"):
        if not (breakers if name == "breakers" else limits):
            origins[name] = NOWHERE
    return Chain(
        node=path,
        timeout=_timeout(places, "timeout", ceilings.timeout, origins),
        idle_timeout=_timeout(places, "idle_timeout", ceilings.idle_timeout, origins),
        retry=retry,
        attempts=ceilings.attempts,
        wait=ceilings.wait,
        breakers=tuple(breakers),
        limits=tuple(limits),
        layers=layers(node, (blueprint, *above), platform, tenant=tenant, roles=roles),
        origins=origins,
    )


def resolve_at(
    place: Place, platform: Platform = NO_PLATFORM, *, tenant: str = "default", roles: Iterable[str] = ()
) -> Chain:
    """Work out which rules are in force for a node where it stands; none for one that is a sub-graph: its nodes' are.

    Raises:
        DefinitionError: as `resolve`.
    """
    if place.node.sub is not None:
        return Chain(node=place.path)
    return resolve(place.node, place.of, platform, tenant=tenant, roles=roles, place=place)


Places = list[tuple[str, Declared]]


def _places(node: NodeSpec, definitions: Sequence[Blueprint], platform: Platform) -> Places:
    """List who may declare, the nearest first."""
    defaults = platform.defaults
    return [
        (
            f"task {node.id}",
            Declared(
                timeout=node.timeout, idle_timeout=node.idle_timeout, retry=node.retry, breakers=node.breakers,
                limits=node.limits,
            ),
        ),
        *((f"definition {one.name}", one.defaults or Declared()) for one in definitions),
        (
            "platform default",
            Declared(
                timeout=seconds(defaults.timeout, "timeout", "platform default"),
                idle_timeout=seconds(defaults.idle_timeout, "idle_timeout", "platform default"),
                retry=read_retry(defaults.retry, "platform default"),
            ),
        ),
    ]  # fmt: skip


def _first(places: Places, what: str, origins: dict[str, str]) -> Any:
    for where, declared in places:
        found = getattr(declared, what)
        if found is not None:
            origins[what] = where
            return found
    origins[what] = NOWHERE
    return None


def _timeout(places: Places, what: str, ceiling: Any, origins: dict[str, str]) -> float | None:
    return _clamped(_first(places, what, origins), what, seconds(ceiling, what, "platform ceiling"), origins)


def _clamped(asked: float | None, what: str, most: float | None, origins: dict[str, str]) -> float | None:
    if most is not None and (asked is None or asked > most):
        said = "" if asked is None else f" ({origins[what]} asked for {_spelled(asked)})"
        origins[what] = f"platform ceiling{said}"
        asked = most
    return None if asked == math.inf else asked


def _spelled(length: float) -> str:
    return "no limit" if length == math.inf else f"{length:g} s"


def _breaker(named: Breaker | str, platform: Platform, origins: dict[str, str]) -> Breaker:
    if isinstance(named, Breaker):
        origins[f"breaker {named.name}"] = origins["breakers"]
        return named
    declared = next((breaker for breaker in platform.breakers if breaker.name == named), None)
    origins[f"breaker {named}"] = origins["breakers"] + (", as the platform declares it" if declared else "")
    return declared or Breaker(named)


def _limit(named: Limit | str, platform: Platform, origins: dict[str, str]) -> Limit:
    name = named if isinstance(named, str) else named.name
    declared = next((limit for limit in platform.limits if limit.name == name), None)
    where = origins["limits"]
    if isinstance(named, Limit):
        found = named if declared is None else tighter(declared, named)
        origins[f"limit {name}"] = where if found == named else f"platform ({where} asked for another)"
        return found
    if declared is None:
        known = ", ".join(limit.name for limit in platform.limits)
        raise DefinitionError(
            "limit.unknown", f"{where} names the limit {name!r}, which the platform does not declare",
            hint=f"write Limit({name!r}, ...); " + (f"limits there: {known}" if known else "there are none"),
        )  # fmt: skip
    origins[f"limit {name}"] = f"{where}, as the platform declares it"
    return declared


def layers(
    node: NodeSpec, definitions: Sequence[Blueprint], platform: Platform, *, tenant: str, roles: Iterable[str]
) -> tuple[Layer, ...]:
    """List who has a say in what a node may do: its task, its definition, and the platform for who runs it.

    Args:
        definitions: the node's own, and those that it is a sub-graph of, the nearest first: all of them have a say, as
            a parent has in what a child run may do.
    """
    own = ((f"task {node.id}", node.grants), *((f"definition {one.name}", one.grants) for one in definitions))
    found = [Layer(where, rules) for where, rules in own if rules is not None]
    general = platform_layers(platform.grants, tenant=tenant, roles=roles)
    outermost = definitions[-1]
    if len(definitions) > 1 and not general and outermost.grants is None:
        found.append(Layer(f"definition {outermost.name} without grants", ()))
    return (*found, *general)


class InForce(Struct, frozen=True, kw_only=True):
    """One budget in force: the tightest of what is declared for its tally, and where each limit came from."""

    budget: Budget
    origins: Mapping[str, str]


class Bounds(Struct, frozen=True, kw_only=True):
    """What is in force for a run as a whole.

    Args:
        run_timeout: active seconds; None is no limit.
        budgets: at most one for each tally: of the run, of its tenant, of its tenant's day and month.
        handler: the definition that is started on a dead letter; empty for none.
    """

    run_timeout: float | None = None
    budgets: tuple[InForce, ...] = ()
    handler: str = ""
    origins: Mapping[str, str] = field(default_factory=dict)


def bounds(blueprint: Blueprint, platform: Platform = NO_PLATFORM) -> Bounds:
    """Work out what is in force for the runs of a definition."""
    origins: dict[str, str] = {}
    default = seconds(platform.defaults.run_timeout, "run_timeout", "platform default")
    asked = blueprint.run_timeout if blueprint.run_timeout is not None else default
    own = f"definition {blueprint.name}"
    origins["run_timeout"] = own if blueprint.run_timeout is not None else "platform default" if default else NOWHERE
    most = seconds(platform.ceilings.run_timeout, "run_timeout", "platform ceiling")
    run_timeout = _clamped(asked, "run_timeout", most, origins)
    handler = blueprint.dead_letters or platform.handler(blueprint.name)
    origins["dead_letters"] = own if blueprint.dead_letters else "platform" if handler else NOWHERE
    return Bounds(run_timeout=run_timeout, budgets=_budgets(blueprint, platform), handler=handler, origins=origins)


def _budgets(blueprint: Blueprint, platform: Platform) -> tuple[InForce, ...]:
    declared: list[tuple[str, Budget]] = []
    if blueprint.budget is not None:
        declared.append((f"definition {blueprint.name}", blueprint.budget))
    if platform.defaults.budget is not None and (blueprint.budget is None or blueprint.budget.per != "run"):
        declared.append(("platform default", platform.defaults.budget))
    declared += [("platform", budget) for budget in platform.budgets]
    if platform.ceilings.budget is not None:
        declared.append(("platform ceiling", platform.ceilings.budget))
    slots: dict[tuple[str, str | None], list[tuple[str, Budget]]] = {}
    for where, budget in declared:
        slots.setdefault((budget.per, budget.window), []).append((where, budget))
    return tuple(_in_force(slot) for slot in slots.values())


def _in_force(declared: list[tuple[str, Budget]]) -> InForce:
    found = tightest([budget for _, budget in declared])
    origins = {}
    for name in (*UNITS, "depth", "fan_out"):
        given = [(where, amount) for where, budget in declared if (amount := _amount(budget, name)) is not None]
        if given:
            where = next(where for where, amount in given if amount == _amount(found, name))
            asker, wanted = given[0]
            origins[name] = (
                where
                if asker == where
                else f"{where} ({asker} asked for {spell_amount(UNITS.get(name, name), wanted)})"
            )
    return InForce(budget=found, origins=origins)


def _amount(budget: Budget, name: str) -> int | None:
    unit = UNITS.get(name)
    amount: int | None = budget.shared.get(unit) if unit else getattr(budget, name)
    return amount


class Ruling(Struct, frozen=True, kw_only=True):
    """What follows from a failed attempt, by policy alone.

    Args:
        wait: seconds before the next attempt; None: there is none by policy, and `recover` may propose something.
        fresh: recorded calls are made again.
        reason: why there is none, as a dead letter says it.
        said: in words, for the trail of a dead letter.
        clamped: what a ceiling took away, in words; empty if nothing.
    """

    wait: float | None = None
    fresh: bool = False
    reason: Reason = "error"
    said: str = ""
    clamped: str = ""


def classify(chain: Chain, attempt: int, error: BaseException, *, dice: float, now: float) -> Ruling:
    """Decide what follows from the error of an attempt.

    Args:
        attempt: the number of the attempt that failed, from 1.
        dice: a number in 0..1 drawn by the caller.
        now: seconds since the epoch, for a Retry-After that is a date.
    """
    if isinstance(error, WindlassError) and not isinstance(error, TaskError) and not error.retryable:
        return Ruling(reason=reason(error), said=f"{kind_of(error)} would fail again: not retried")
    try:
        rule = naming(chain.retry, error)
        asked = asked_for(error, now)
        wait = None if rule is None else next_wait(rule, attempt, error, dice=dice, asked_for=asked, ceiling=chain.wait)
    except Exception as raised:  # noqa: BLE001 -- the user's predicate: an error in a policy ends what it judges
        return Ruling(reason=reason(error), said=f"retry's predicate raised {raised!r}: not retried")
    if rule is None:
        said = f"no retry names {kind_of(error)}" if chain.retry else "no retry is declared"
        return Ruling(reason=reason(error), said=said)
    if wait is None:
        return Ruling(reason="attempts", said=f"attempt {attempt} of {rule.max_attempts} failed: {kind_of(error)}")
    if attempt >= chain.attempts:
        said = f"the platform allows {chain.attempts} attempts, retry asks for {rule.max_attempts}"
        return Ruling(reason="attempts", said=said, clamped=said)
    clamped = ""
    if asked is not None and asked > chain.wait:
        clamped = f"{kind_of(error)} asks to wait {asked:g} s, the platform allows {chain.wait:g} s"
    said = f"attempt {attempt} of {rule.max_attempts} failed: {kind_of(error)}; again after {wait:.3g} s"
    return Ruling(wait=wait, fresh=isinstance(error, ValidationFailed), said=said, clamped=clamped)


def reason(error: BaseException) -> Reason:
    """Say in one word why a run cannot go on after this error, as a dead letter has it."""
    if isinstance(error, AttemptTimeout):
        return "timeout"
    code = error.code if isinstance(error, WindlassError) else ""
    return next((found for begin, found in REASONS.items() if code.startswith(begin)), "error")


def clamp(chain: Chain, action: Any, *, attempt: int, rollbacks: int = 0) -> tuple[RecoveryAction, str]:
    """Hold what `recover` proposes to the ceilings; return what is done, and in words what was taken away.

    Args:
        action: what `recover` returned; it may be anything.
        attempt: the number of the attempt that failed, from 1.
        rollbacks: how often the run was already taken back because a `recover` proposed it.
    """
    if action is None:
        return RecoveryAction("abort"), ""
    if not isinstance(action, RecoveryAction):
        return RecoveryAction("abort"), f"recover returned {action!r}, which is no RecoveryAction"
    if action.kind == "retry" and attempt >= chain.attempts:
        return RecoveryAction("abort"), f"recover proposed another attempt, the platform allows {chain.attempts}"
    if action.kind == "rollback" and rollbacks >= chain.attempts:
        return RecoveryAction("abort"), f"recover proposed a rollback, the platform allows {chain.attempts}"
    return action, ""
