"""What an operator declares for every definition: defaults, hard ceilings, and what all of them share.

A platform is given to a Runtime or a worker. A default holds where neither definition nor task says anything; a
ceiling holds whatever they say (C15).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from windlass.core.errors import DefinitionError
from windlass.core.redact import NOTHING, Redact, read_redact
from windlass.core.usage import is_whole
from windlass.policies.breaker import Breaker
from windlass.policies.budget import Budget, WrapUp, read_budget
from windlass.policies.limit import Limit
from windlass.policies.numbers import Duration, is_name, is_positive
from windlass.policies.permission import Rule
from windlass.policies.retry import Retry
from windlass.policies.timeout import seconds

if TYPE_CHECKING:  # what judges outputs is a tenth of an import of Windlass: who expects nothing does without
    from windlass.policies.rules import Rule as OutputRule
    from windlass.policies.rules import Rules

MOST_ATTEMPTS = 100  # unbounded retry is impossible, whatever anybody declares
MOST_WAIT_SECONDS = 24 * 3600.0
MOST_APPROVALS = 100  # that a run asks for within an hour (S9 of the fault list: a flood wears people out)
MOST_APPROVALS_EACH = 1_000  # that one approver is asked for by all runs of a tenant; a role may be many people


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What holds where nothing is declared; None is nothing.

    Args:
        timeout, idle_timeout: of an attempt.
        run_timeout: active time of a run.
        retry: one Retry or several, of which the first that names the error decides.
        budget: of each run.
    """

    timeout: Duration | None = None
    idle_timeout: Duration | None = None
    run_timeout: Duration | None = None
    retry: Retry | Sequence[Retry] | None = None
    budget: Budget | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceilings:
    """What holds whatever is declared or proposed; None is no ceiling.

    Args:
        attempts: of an activation, by retry and by `recover` together.
        wait: longest wait between two attempts, in seconds.
        budget: of each run.
    """

    timeout: Duration | None = None
    idle_timeout: Duration | None = None
    run_timeout: Duration | None = None
    attempts: int = MOST_ATTEMPTS
    wait: float = MOST_WAIT_SECONDS
    budget: Budget | None = None


def read_retry(given: Any, where: str) -> tuple[Retry, ...] | None:
    """Read `retry=`: one Retry or several; () for NO_RETRY, None where nothing is declared.

    Raises:
        DefinitionError: it is something else.
    """
    if given is None:
        return None
    rules = (given,) if isinstance(given, Retry) else tuple(given) if isinstance(given, Sequence) else (given,)
    for rule in rules:
        if not isinstance(rule, Retry):
            raise DefinitionError(
                "retry.kind", f"{where}: retry is {rule!r}", hint="write Retry(on=..., max_attempts=...) or NO_RETRY"
            )
    return rules if any(rule.max_attempts > 1 for rule in rules) else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """Defaults, ceilings and shared limits of every run on a platform.

    Args:
        budgets: beside those of definitions: of each tenant, in all or in a window, or of each run.
        breakers, limits: what tasks may name. A limit of the same name that a task declares can only be tighter.
        grants: rules by whom they are for: `"tenant:acme"`, `"role:analyst"`, `"*"`; each of the three that is named
            has to allow what a run does.
        handlers: a pattern of definition names → the definition that is started on their dead letters.
        rules: for what is expected of outputs, by type or field, before those of definitions and tasks.
        redact: what is not kept of any value, beside what its definition says.
        show: what commands do not show, beside that.
        approvals: most approvals that a run may ask for within an hour; what it asks for beyond is denied.
        approvals_each: most that one approver is asked for at once by all runs of a tenant, and as many in each further
            hour; what is put to them beyond is denied.

    Raises:
        DefinitionError: a default is above its ceiling, or a part is not what it has to be.
    """

    defaults: Defaults = Defaults()
    ceilings: Ceilings = Ceilings()
    budgets: Sequence[Budget] = ()
    breakers: Sequence[Breaker] = ()
    limits: Sequence[Limit] = ()
    grants: Mapping[str, Sequence[Rule]] = field(default_factory=dict)
    handlers: Mapping[str, str] = field(default_factory=dict)
    redact: Redact = NOTHING
    show: Redact = NOTHING
    rules: "Rules | Sequence[OutputRule | Callable[..., Any]]" = ()
    approvals: int = MOST_APPROVALS
    approvals_each: int = MOST_APPROVALS_EACH

    def __post_init__(self) -> None:
        parts: tuple[tuple[Any, type], ...] = ((self.defaults, Defaults), (self.ceilings, Ceilings))
        if not all(isinstance(part, kind) for part, kind in parts):
            raise DefinitionError("platform.kind", "defaults= is a Defaults, ceilings= is a Ceilings")
        read_redact(self.redact, "platform")
        read_redact(self.show, "platform")
        for name in ("approvals", "approvals_each"):
            if not is_whole(getattr(self, name), 0):
                said = f"{name} is {getattr(self, name)!r}"
                raise DefinitionError("platform.approvals", said, hint="a number from 0")
        _check_ceilings(self.ceilings)
        _check_defaults(self.defaults, self.ceilings)
        _check_parts(self)
        _check_grants(self.grants)
        for name in ("budgets", "breakers", "limits"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "grants", {who: tuple(rules) for who, rules in self.grants.items()})
        object.__setattr__(self, "handlers", dict(self.handlers))
        if self.rules != ():
            from windlass.policies.rules import read_rules

            object.__setattr__(self, "rules", read_rules(self.rules, "platform"))

    def handler(self, definition: str) -> str:
        """Name the definition that is started on a dead letter of this one; "" for none."""
        found = (to for pattern, to in self.handlers.items() if fnmatchcase(definition, pattern) and to != definition)
        return next(found, "")


def _check_ceilings(ceilings: Ceilings) -> None:
    for name in ("timeout", "idle_timeout", "run_timeout"):
        seconds(getattr(ceilings, name), name, "platform ceiling")
    if not is_whole(ceilings.attempts):
        raise DefinitionError(
            "platform.attempts", f"a ceiling of {ceilings.attempts!r} attempts", hint="a number from 1: none is no end"
        )
    if not is_positive(ceilings.wait):
        raise DefinitionError("platform.wait", f"a ceiling of {ceilings.wait!r} seconds of wait", hint="more than 0")
    budget = read_budget(ceilings.budget, "platform ceiling")
    if budget is not None and budget.per != "run":
        raise DefinitionError(
            "platform.budget", "the ceiling's budget is of a run", hint="put budgets of tenants into budgets="
        )


def _check_defaults(defaults: Defaults, ceilings: Ceilings) -> None:
    for name in ("timeout", "idle_timeout", "run_timeout"):
        default = seconds(getattr(defaults, name), name, "platform default")
        ceiling = seconds(getattr(ceilings, name), name, "platform ceiling")
        _check_order(name, default, ceiling)
    for rule in read_retry(defaults.retry, "platform default") or ():
        _check_order("attempts", rule.max_attempts, ceilings.attempts)
        _check_order("wait", rule.initial, ceilings.wait)
    budget = read_budget(defaults.budget, "platform default")
    if budget is not None and budget.per != "run":
        raise DefinitionError(
            "platform.budget", "the default's budget is of a run", hint="put budgets of tenants into budgets="
        )
    if budget is not None and ceilings.budget is not None:
        for unit, limit in budget.shared.items():
            _check_order(unit, limit, ceilings.budget.shared.get(unit))
        for what in ("depth", "fan_out"):
            _check_order(what, getattr(budget, what), getattr(ceilings.budget, what))


def _check_order(what: str, default: float | None, ceiling: float | None) -> None:
    if default is not None and ceiling is not None and default > ceiling:
        raise DefinitionError(
            "platform.ceiling", f"the platform's ceiling of {what}, {ceiling:g}, is below its default, {default:g}",
            hint="lower the default, or raise the ceiling",
        )  # fmt: skip


def _check_parts(platform: Platform) -> None:
    kinds = (("budgets", Budget), ("breakers", Breaker), ("limits", Limit))
    for name, kind in kinds:
        parts = getattr(platform, name)
        if not _is_list(parts) or not all(isinstance(part, kind) for part in parts):
            raise DefinitionError("platform.kind", f"{name} is {parts!r}", hint=f"a list of {kind.__name__}(...)")
    given: Any = platform.handlers
    if not isinstance(given, Mapping) or not all(is_name(name) for pair in given.items() for name in pair):
        raise DefinitionError(
            "platform.kind", f"handlers is {given!r}", hint='{"order-*": "refund"}: patterns and names of definitions'
        )
    budgets = (*platform.budgets, platform.ceilings.budget, platform.defaults.budget)
    if any(budget is not None and isinstance(budget.edge, WrapUp) for budget in budgets):
        raise DefinitionError(
            "platform.edge", "a platform's budget wraps up at a node", hint="it knows none: stop, ask or HandTo(...)"
        )
    for what, names in (
        ("breakers", [breaker.name for breaker in platform.breakers]),
        ("limits", [limit.name for limit in platform.limits]),
        ("budgets", [f"per {budget.per}, window {budget.window}" for budget in platform.budgets]),
    ):
        if len(set(names)) < len(names):
            raise DefinitionError("platform.twice", f"two {what} of one name: {', '.join(names)}")


def _check_grants(grants: Any) -> None:
    if not isinstance(grants, Mapping):
        raise DefinitionError("platform.grants", f"grants is {grants!r}", hint='{"role:analyst": [Allow("pricing")]}')
    for who, rules in grants.items():
        if who != "*" and not str(who).startswith(("tenant:", "role:")):
            raise DefinitionError("platform.grants", f"grants for {who!r}", hint='"*", "tenant:NAME" or "role:NAME"')
        if not _is_list(rules) or not all(isinstance(rule, Rule) for rule in rules):
            raise DefinitionError(
                "platform.grants", f"the grants for {who!r} are {rules!r}", hint="a list of Allow, Ask and Deny"
            )


def _is_list(given: Any) -> bool:
    return isinstance(given, Sequence) and not isinstance(given, str | bytes)
