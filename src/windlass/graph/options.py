"""What a definition may declare beside its structure: the policies of a node, and what concerns the whole."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from windlass.core.blueprint import Checkpoints, Definition, Durability
from windlass.core.errors import DefinitionError, InputError, TaskError
from windlass.core.redact import Redact
from windlass.core.talk import Model, models_of
from windlass.core.words import Approve, RecoveryAction, Tool, Undo, ValidationResult
from windlass.engine.terms import addressee
from windlass.graph.reducers import name_of
from windlass.graph.tools import grants_of
from windlass.graph.validate import did_you_mean
from windlass.policies.breaker import Breaker, read_breakers
from windlass.policies.budget import Budget, HandTo, WrapUp, read_budget
from windlass.policies.chain import Declared
from windlass.policies.limit import Limit, read_limits
from windlass.policies.numbers import Duration
from windlass.policies.permission import Rule
from windlass.policies.platform import read_retry
from windlass.policies.retry import Retry
from windlass.policies.timeout import seconds

if TYPE_CHECKING:  # what judges outputs is a tenth of an import of Windlass: who expects nothing does without
    from windlass.policies.output import Expect
    from windlass.policies.rules import Rule as OutputRule
    from windlass.policies.rules import Rules

Tools = Mapping[str, Tool[..., Any]]


class TaskDefaults(TypedDict, total=False):
    """Rules for attempts that a definition may declare for all of its tasks; what a task declares itself wins.

    Attributes:
        timeout: for one attempt, in seconds or as a timedelta; None is not declared, `math.inf` is no limit.
        idle_timeout: between two signs of life of an attempt; as timeout.
        retry: one Retry, or several of which the first that names the error decides; NO_RETRY is a single attempt.
        breaker: the dependency that an attempt needs: a name, a Breaker, or several.
        limits: Limits that an attempt needs a permit of, or names of the platform's.
        recover: proposes what to do when no attempt is left; sync.
    """

    timeout: Duration | None
    idle_timeout: Duration | None
    retry: Retry | Sequence[Retry] | None
    breaker: str | Breaker | Sequence[str | Breaker] | None
    limits: Sequence[str | Limit] | None
    recover: Callable[[TaskError], RecoveryAction]


class Policies(TaskDefaults, total=False):
    """Rules for one node's attempts. None of them is part of the structure.

    Attributes:
        grants: what the node may do: Allow, Ask and Deny; None leaves it to the definition and the platform.
        undo: compensations that `ctx.effect(undo=...)` may name.
        expect: what the output has to be: parser, schema, rules, confidence, and what follows where it is not.
        validate: judges an output before it is kept, after `expect`; sync.
        before: who approves, edits or rejects what the node is given before it runs: `role:editor`, an Approve; ""
            is anybody.
        after: the same, of what it wrote, before that is settled.
    """

    grants: Sequence[Rule] | None
    undo: Sequence[Callable[..., Any] | Undo]
    expect: "Expect | None"
    validate: Callable[[Any], ValidationResult]
    before: str | Approve | None
    after: str | Approve | None


class DefinitionOptions(TypedDict, total=False):
    """What a Pipeline and a Graph both take.

    Attributes:
        checkpoints: which steps stay addressable; default EVERY_STEP.
        durability: when a write is acknowledged; default "sync".
        types: classes that values may have beyond those that annotations name.
        aliases: old tag → class, for values kept before a class was renamed.
        version: a word of the author's own in the fingerprint: a change is a change of structure.
        max_value: most bytes that one value may take in the store; default 16 MiB.
        run_timeout: active time of a run, in seconds or as a timedelta.
        budget: what a run, or the tenant's runs together, may spend.
        grants: what the tasks may do, all of them: Allow, Ask and Deny.
        tools: what `ctx.tool` may call.
        models: what `ctx.model` may ask; the first is asked where no name is given.
        redact: what is not kept of any value, beside known secrets.
        dead_letters: a definition, or its name: started on what ran out of attempts, budget or time.
        rules: for what is expected of outputs, by type or field; adding one touches no task.
        children: definitions that the tasks start runs of, with `ctx.run` and its like.
        defaults: policies for the tasks that do not declare them.
    """

    checkpoints: Checkpoints
    durability: Durability
    types: Sequence[type]
    aliases: Mapping[str, type]
    version: str
    max_value: int
    run_timeout: Duration | None
    budget: Budget | None
    grants: Sequence[Rule] | None
    tools: Sequence[Tool[..., Any]]
    models: Sequence[Model]
    redact: Redact | None
    dead_letters: str | Definition
    rules: "Rules | Sequence[OutputRule | Callable[..., Any]]"
    children: Sequence[Definition]
    defaults: TaskDefaults


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


def policies(declared: Policies, where: str, tools: Tools) -> dict[str, Any]:
    """Check the policies of a node, and name them as a NodeSpec does.

    Args:
        tools: those of the definition, which grants may name.

    Raises:
        DefinitionError: one of them cannot be, or a hook is async (law 2).
    """
    return {
        **_attempts(declared, where),
        "grants": grants_of(declared.get("grants"), tools, where),
        "undo": compensations(declared.get("undo", ()), where),
        "expect": _expected(declared.get("expect"), where),
        "before": read_breakpoint("before", declared.get("before"), where),
        "after": read_breakpoint("after", declared.get("after"), where),
        "validate": _hook("validate", declared.get("validate"), where),
        "recover": _hook("recover", declared.get("recover"), where),
    }


def read_breakpoint(name: str, declared: Any, where: str) -> str | Approve | None:
    """Check who is asked at a breakpoint.

    Raises:
        DefinitionError: it is nobody.
    """
    asked = declared.to if isinstance(declared, Approve) else declared
    try:
        if declared is not None:
            addressee(asked, name)
    except InputError as error:
        raise DefinitionError("policy.breakpoint", f"{where}: {error.args[0]}", hint=error.hint) from error
    found: str | Approve | None = declared
    return found


def _attempts(declared: TaskDefaults, where: str) -> dict[str, Any]:
    return {
        "timeout": seconds(declared.get("timeout"), "timeout", where),
        "idle_timeout": seconds(declared.get("idle_timeout"), "idle_timeout", where),
        "retry": read_retry(declared.get("retry"), where),
        "breakers": read_breakers(declared.get("breaker"), where),
        "limits": read_limits(declared.get("limits"), where),
    }


def _expected(given: Any, where: str) -> "Expect | None":
    if given is None:
        return None
    from windlass.policies.output import Expect

    if isinstance(given, Expect):
        return given
    raise DefinitionError("output.expect", f"{where}: expect is {given!r:.80}", hint="write Expect(Quote, ...)")


def _rules(given: Any, where: str) -> "Rules | tuple[()]":
    if given == ():
        return ()
    from windlass.policies.rules import read_rules

    return read_rules(given, where)


def _hook(name: str, hook: Callable[..., Any] | None, where: str) -> Callable[..., Any] | None:
    if inspect.iscoroutinefunction(hook):
        raise DefinitionError(
            "definition.async_hook", f"{where}: {name} is async", hint="it must be a plain def: only execute awaits"
        )
    return hook


def with_defaults(rules: dict[str, Any], options: DefinitionOptions, where: str) -> dict[str, Any]:
    """Give a node the definition's `recover` where it has none; the other defaults stay apart, so that they show."""
    given = options.get("defaults", {}).get("recover")
    return {**rules, "recover": _hook("recover", given, where)} if rules["recover"] is None else rules


def boundaries(
    name: str, where: str, nodes: Iterable[str], tools: Tools, options: DefinitionOptions, more: Tools | None = None
) -> dict[str, Any]:  # fmt: skip
    """Check what a definition declares about its runs, and name it as a Blueprint does.

    Args:
        nodes: its nodes, one of which a budget may wrap up at; none where it cannot.
        more: tools of its sub-graphs, of which its grants may speak, too.

    Raises:
        DefinitionError: one of the rules cannot be, or names what is not there.
    """
    defaults = options.get("defaults", {})
    check_known(defaults, TaskDefaults, f"defaults= of {where}")
    budget = read_budget(options.get("budget"), where)
    edge = budget.edge if budget is not None else None
    _check_edge(edge, name, where, list(nodes))
    handler = options.get("dead_letters", "")
    handled_by = handler if isinstance(handler, str) else getattr(handler, "name", None)
    if not isinstance(handled_by, str) or handled_by == name:
        raise DefinitionError(
            "policy.dead_letters", f"{where}: dead_letters is {handler!r}", hint="another definition, or its name"
        )
    return {
        "run_timeout": seconds(options.get("run_timeout"), "run_timeout", where),
        "budget": budget,
        "grants": grants_of(options.get("grants"), {**(more or {}), **tools}, where),
        "tools": tools,
        "rules": _rules(options.get("rules", ()), where),
        "models": models_of(options.get("models", ()), where),
        "defaults": Declared(**_attempts(defaults, f"defaults= of {where}")) if defaults else None,
        "dead_letters": handled_by,
        "companions": (
            *(one for one in (handler, getattr(edge, "given", None)) if hasattr(one, "compile")),
            *children_of(options.get("children", ()), where),
        ),
    }


def children_of(given: Any, where: str) -> tuple[Definition, ...]:
    """Read `children=`.

    Raises:
        DefinitionError: one is no definition.
    """
    declared = tuple(given) if isinstance(given, list | tuple) else (given,)
    for one in declared:
        if not hasattr(one, "compile"):
            hint = "children=[...] takes pipelines and graphs"
            raise DefinitionError("definition.child", f"{where}: {one!r} is no definition to run", hint=hint)
    return declared


def wraps_up_at(options: DefinitionOptions) -> list[str]:
    """Name the node at which a budget lets a run end; nothing else need lead there."""
    edge = getattr(options.get("budget"), "edge", None)
    return [edge.node] if isinstance(edge, WrapUp) else []


def _check_edge(edge: Any, name: str, where: str, nodes: Sequence[str]) -> None:
    if isinstance(edge, WrapUp) and not nodes:
        raise DefinitionError(
            "budget.edge", f"{where}: its budget wraps up at {edge.node!r}, but a pipeline cannot choose its next node",
            hint="write a Graph, or let the budget stop, ask or HandTo(...)",
        )  # fmt: skip
    if isinstance(edge, WrapUp) and edge.node not in nodes:
        raise DefinitionError(
            "budget.edge", f"{where}: its budget wraps up at {edge.node!r}, which is none of its nodes",
            hint=did_you_mean(edge.node, nodes, "nodes"),
        )  # fmt: skip
    if isinstance(edge, HandTo) and edge.definition == name:
        raise DefinitionError(
            "budget.edge", f"{where}: its budget hands over to itself", hint="name another definition"
        )
