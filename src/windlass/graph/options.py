"""What a definition may declare beside its structure: the policies of a node, and what concerns the whole."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypedDict

from windlass.core.blueprint import Checkpoints, Durability
from windlass.core.errors import DefinitionError, TaskError
from windlass.core.words import RecoveryAction, Undo, ValidationResult
from windlass.graph.reducers import name_of
from windlass.policies.retry import Retry

Duration = float | timedelta


class Policies(TypedDict, total=False):
    """Rules for one node's attempts. None of them is part of the structure.

    Attributes:
        timeout: for one attempt, in seconds or as a timedelta; None is no limit.
        idle_timeout: between two signs of life of an attempt; None is no limit.
        retry: None is a single attempt.
        undo: compensations that `ctx.effect(undo=...)` may name.
        validate: judges an output before it is kept; sync.
        recover: proposes what to do when no attempt is left; sync.
    """

    timeout: Duration | None
    idle_timeout: Duration | None
    retry: Retry | None
    undo: Sequence[Callable[..., Any] | Undo]
    validate: Callable[[Any], ValidationResult]
    recover: Callable[[TaskError], RecoveryAction]


class DefinitionOptions(TypedDict, total=False):
    """What a Pipeline and a Graph both take.

    Attributes:
        checkpoints: which steps stay addressable; default EVERY_STEP.
        durability: when a write is acknowledged; default "sync".
        types: classes that values may have beyond those that annotations name.
        aliases: old tag → class, for values kept before a class was renamed.
        version: a word of the author's own in the fingerprint: a change is a change of structure.
        max_value: most bytes that one value may take in the store; default 16 MiB.
    """

    checkpoints: Checkpoints
    durability: Durability
    types: Sequence[type]
    aliases: Mapping[str, type]
    version: str
    max_value: int


def check_known(given: Mapping[str, Any], options: Any, where: str) -> None:
    """Refuse an option that does not exist, as Python refuses an unknown keyword.

    Args:
        options: the TypedDict of those that do.

    Raises:
        TypeError: naming it.
    """
    unknown = given.keys() - options.__optional_keys__
    if unknown:
        raise TypeError(f"{where} got an unexpected keyword argument {min(unknown)!r}")


def seconds(duration: Duration | None, what: str, where: str) -> float | None:
    """Turn a declared duration into seconds.

    Raises:
        DefinitionError: it is not positive.
    """
    if duration is None:
        return None
    length = duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
    if not length > 0:
        raise DefinitionError(
            "policy.timeout", f"{where}: {what} is {length:g} seconds: more than 0 are needed", hint="None is no limit"
        )
    return length


def compensations(undo: Sequence[Callable[..., Any] | Undo], where: str) -> dict[str, Undo]:
    """Name the compensations of a node: the ledger keeps the name, so that another process can run them (D17).

    Raises:
        DefinitionError: one has no name, two have the same, or its `on_doubt` is none.
    """
    named: dict[str, Undo] = {}
    for given in undo:
        declared = given if isinstance(given, Undo) else Undo(given)
        name = name_of(declared.fn, f"{where}: an undo")
        if name in named:
            raise DefinitionError("policy.undo", f"{where}: two undos are called {name!r}")
        if declared.on_doubt not in ("ask", "retry") and not callable(declared.on_doubt):
            raise DefinitionError("policy.undo", f"{where}: the undo {name!r} has on_doubt={declared.on_doubt!r}")
        named[name] = declared
    return named


def policies(declared: Policies, where: str) -> dict[str, Any]:
    """Check the policies of a node, and name them as a NodeSpec does.

    Raises:
        DefinitionError: a duration is not positive, `retry` is no Retry, or a hook is async (law 2).
    """
    retry = declared.get("retry")
    if retry is not None and not isinstance(retry, Retry):
        raise DefinitionError(
            "policy.retry", f"{where}: retry is {retry!r}", hint="write Retry(on=..., max_attempts=...)"
        )
    for name, hook in (("validate", declared.get("validate")), ("recover", declared.get("recover"))):
        if hook is not None and inspect.iscoroutinefunction(hook):
            raise DefinitionError(
                "definition.async_hook", f"{where}: {name} is async", hint="it must be a plain def: only execute awaits"
            )
    return {
        "timeout": seconds(declared.get("timeout"), "timeout", where),
        "idle_timeout": seconds(declared.get("idle_timeout"), "idle_timeout", where),
        "retry": retry,
        "undo": compensations(declared.get("undo", ()), where),
        "validate": declared.get("validate"),
        "recover": declared.get("recover"),
    }
