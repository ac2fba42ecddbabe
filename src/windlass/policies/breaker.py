"""Circuit breakers: a dependency that fails again and again is left alone for a while (Nygard, Release It!, 2007).

What is declared, and pure decisions. The state is a tally of the store that every process shares (D38).
"""

from dataclasses import dataclass
from typing import Any, Literal

from windlass.core.errors import AttemptTimeout, DefinitionError, WindlassError
from windlass.core.usage import is_whole
from windlass.policies.keys import Scope, is_scope, read_named, scope_key
from windlass.policies.numbers import ErrorKinds, is_meant, is_name, is_positive, length, names_errors

Verdict = Literal["failed", "succeeded", ""]


@dataclass(frozen=True, slots=True)
class Breaker:
    """Stop calling what fails: after `failures` within `window`, nobody passes until `cooldown` is over.

    Then one attempt is let through as a probe; its success closes the breaker, its failure opens it again. A run that
    meets an open breaker parks until it may try.

    Args:
        name: the dependency: `openai`, `billing-db`. Tasks that name the same one share its state.
        scope: who shares it: all, or those of the same tenant, definition or node.
        failures: how many within `window` open it.
        window, cooldown: seconds.
        on: errors that count as the dependency's; others change nothing.
        patience: seconds that a probe may take before another is let through.

    Raises:
        DefinitionError: a number is not above zero, the scope is none, or `on` names no errors.
    """

    name: str
    scope: Scope = "fleet"
    failures: int = 5
    window: float = 60.0
    cooldown: float = 30.0
    on: ErrorKinds = Exception
    patience: float = 60.0

    def __post_init__(self) -> None:
        where = f"breaker {self.name!r}"
        if not is_name(self.name):
            raise DefinitionError("breaker.name", f"{where} has no name", hint="name what is called: openai")
        if not is_scope(self.scope):
            raise DefinitionError(
                "breaker.scope", f"{where}: no scope {self.scope!r}", hint="fleet, tenant, definition or node"
            )
        if not is_whole(self.failures):
            raise DefinitionError("breaker.failures", f"{where}: {self.failures!r} failures", hint="a number from 1")
        for what in ("window", "cooldown", "patience"):
            given = getattr(self, what)
            if not is_positive(given):
                raise DefinitionError("breaker.wait", f"{where}: {what} is {given!r}", hint="seconds above 0")
            object.__setattr__(self, what, length(given))  # a timedelta will do, too
        if not names_errors(self.on):
            raise DefinitionError(
                "breaker.on", f"{where}: on is {self.on!r}",
                hint="an exception class, a tuple of some, or a plain def predicate",
            )  # fmt: skip

    def key(self, *, tenant: str = "", definition: str = "", node: str = "") -> str:
        """Name the tally that holds its state."""
        return scope_key("breaker", self.scope, self.name, tenant=tenant, definition=definition, node=node)


def verdict(breaker: Breaker, error: BaseException | None) -> Verdict:
    """Say what the end of an attempt means for the dependency: `failed`, `succeeded`, or "" for nothing.

    The runtime's own refusals are not its fault. A predicate that raises counts as a failure: it is safer to leave a
    dependency alone once too often.

    Args:
        error: None: the attempt finished.
    """
    if error is None:
        return "succeeded"
    if isinstance(error, WindlassError) and not isinstance(error, AttemptTimeout):
        return ""
    try:
        return "failed" if is_meant(breaker.on, error) else ""
    except Exception:  # noqa: BLE001 -- the user's predicate
        return "failed"


def read_breakers(given: Any, where: str) -> tuple[Breaker | str, ...] | None:
    """Read `breaker=`: a name, a Breaker, or a sequence of them; None where nothing is declared.

    Raises:
        DefinitionError: it is something else, or one name stands twice.
    """
    hint = 'write breaker="openai", or a Breaker(...)'
    return read_named(
        given,
        Breaker,
        wrong=lambda one: DefinitionError("breaker.kind", f"{where}: breaker is {one!r}", hint=hint),
        twice=lambda names: DefinitionError("breaker.twice", f"{where}: one breaker is named twice: {names}"),
    )
