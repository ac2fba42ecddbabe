"""Tools of a definition and the grants for them: made, named and checked while building, before any run exists."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any, ParamSpec, TypeVar, get_type_hints, overload

import msgspec

from windlass.core.errors import DefinitionError
from windlass.core.types import json_schema
from windlass.core.usage import Usage
from windlass.core.words import OnDoubt, Tool
from windlass.graph.validate import did_you_mean
from windlass.policies.permission import WILD, Rule

P = ParamSpec("P")
R = TypeVar("R")
UNFIT = "*?[]"  # a grant's pattern would read them as its own signs


@overload
def tool(
    fn: Callable[P, R], /, *, name: str = "", effect: bool = False, cost: Usage | None = None, on_doubt: OnDoubt = "ask"
) -> Tool[P, R]: ...
@overload
def tool(
    *, name: str = "", effect: bool = False, cost: Usage | None = None, on_doubt: OnDoubt = "ask"
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...
def tool(
    fn: Callable[..., Any] | None = None, /, *, name: str = "", effect: bool = False, cost: Usage | None = None,
    on_doubt: OnDoubt = "ask",
) -> Any:  # fmt: skip
    """Make a tool of a function, bare (`@tool`) or with options; list it in `tools=[...]` of its definition.

    A task calls it by name, `await ctx.tool("pricing", amount=5)`: what no grant allows is not called.

    Args:
        name: what tasks, models and grants call it; default: the function's.
        effect: it changes the world outside.
        cost: what a call is expected to use beside one tool call.
        on_doubt: of an effect, as for `ctx.effect`.

    Raises:
        DefinitionError: it has no fitting name, takes arguments that cannot be given by name or have no type, or an
            option is wrong.
    """
    if fn is None:
        return lambda function: tool(function, name=name, effect=effect, cost=cost, on_doubt=on_doubt)
    if not callable(fn):
        raise DefinitionError("tool.function", f"{fn!r} is no function", hint="write @tool above a def")
    called = _checked_name(name or getattr(fn, "__name__", ""), fn)
    if cost is not None and not isinstance(cost, Usage):
        raise DefinitionError("tool.cost", f"tool {called}: cost is {cost!r}", hint="write cost=Usage(...)")
    if on_doubt not in ("ask", "retry") and not callable(on_doubt):
        raise DefinitionError(
            "tool.on_doubt", f"tool {called}: on_doubt is {on_doubt!r}", hint='"ask", "retry" or a verify function'
        )
    parameters, types = _parameters(fn, called)
    schema, description = _schema(types, parameters, called), inspect.getdoc(fn) or ""
    digest = sha256(msgspec.json.encode([called, description, schema], order="sorted")).hexdigest()[:16]
    return Tool(
        name=called, fn=fn, parameters=parameters, types=types, takes_more="**" in types, description=description,
        schema=schema, digest=digest, effect=bool(effect), on_doubt=on_doubt,
        cost=cost.amounts() if cost is not None else {},
    )  # fmt: skip


def _checked_name(name: Any, fn: Any) -> str:
    if not isinstance(name, str) or not name or name == "<lambda>":
        raise DefinitionError("tool.name", f"{fn!r} has no name that a grant could use", hint="give name=")
    if not name.isprintable() or any(letter in UNFIT or letter.isspace() for letter in name):
        raise DefinitionError(
            "tool.name", f"{name!r} cannot be the name of a tool", hint=f"a name has no space and none of {UNFIT}"
        )
    return name


def _parameters(fn: Callable[..., Any], called: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the defaults of the parameters, and their types; that of `**named` stands under `**`."""
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError) as error:
        raise DefinitionError(
            "tool.parameters", f"tool {called}: its parameters cannot be read: {error}", hint="wrap it in a def"
        ) from error
    found: dict[str, Any] = {}
    types: dict[str, Any] = {}
    hints = _hints(fn, called)
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
            raise DefinitionError(
                "tool.parameters", f"tool {called}: {str(parameter)!r} cannot be given by name",
                hint="arguments of a tool are given by name, so that conditions can name them",
            )  # fmt: skip
        if parameter.name not in hints:
            raise DefinitionError(
                "tool.types", f"tool {called}: the parameter {parameter.name!r} has no type",
                hint=f"annotate it: {parameter.name}: str; Any where it may be anything",
            )  # fmt: skip
        if parameter.kind is parameter.VAR_KEYWORD:
            types["**"] = hints[parameter.name]
            continue
        types[parameter.name] = hints[parameter.name]
        found[parameter.name] = msgspec.UNSET if parameter.default is parameter.empty else parameter.default
    return found, types


def _hints(fn: Callable[..., Any], called: str) -> dict[str, Any]:
    target: Any = fn
    if isinstance(fn, type):
        target = inspect.getattr_static(fn, "__init__")
    elif not inspect.isroutine(fn):
        target = inspect.getattr_static(type(fn), "__call__")
    try:
        return get_type_hints(target, include_extras=True)
    except (TypeError, NameError, AttributeError) as error:
        raise DefinitionError(
            "tool.types", f"tool {called}: its annotations cannot be read: {error}",
            hint="name types that can be found where the function is defined",
        ) from error  # fmt: skip


def _schema(types: Mapping[str, Any], defaults: Mapping[str, Any], called: str) -> dict[str, Any]:
    """Give the JSON Schema of a tool's arguments."""
    made = {name: json_schema(kind) for name, kind in types.items()}
    definitions: dict[str, Any] = {}
    for name, part in made.items():
        for title, found in part.pop("$defs", {}).items():
            if definitions.setdefault(title, found) != found:
                raise DefinitionError(
                    "tool.types", f"tool {called}: two types in its parameters are called {title!r}",
                    hint=f"rename that of {name!r}",
                )  # fmt: skip
    more = made.pop("**", False)
    schema: dict[str, Any] = {"type": "object", "properties": made, "additionalProperties": more}
    required = [name for name, default in defaults.items() if default is msgspec.UNSET]
    return schema | ({"required": required} if required else {}) | ({"$defs": definitions} if definitions else {})


def tools_of(declared: Any, where: str) -> dict[str, Tool[..., Any]]:
    """Name the tools of a definition.

    Raises:
        DefinitionError: something in it is no tool, or two tools have one name.
    """
    found: dict[str, Tool[..., Any]] = {}
    if not _is_list(declared):
        raise DefinitionError("tool.kind", f"{where}: tools is {declared!r}", hint="write tools=[pricing, push]")
    for given in declared:
        if not isinstance(given, Tool):
            name = getattr(given, "__name__", repr(given))
            raise DefinitionError("tool.kind", f"{where}: {name} is not a tool", hint=f"write @tool above {name}")
        if given.name in found:
            raise DefinitionError("tool.duplicate", f"{where}: two tools are called {given.name!r}", hint="give name=")
        found[given.name] = given
    return found


def grants_of(declared: Any, tools: Mapping[str, Tool[..., Any]], where: str) -> tuple[Rule, ...] | None:
    """Check the grants of a definition or a task against the definition's tools; None where none are declared.

    Raises:
        DefinitionError: something in it is no rule, or a rule speaks of a tool or an argument that there is not.
    """
    if declared is None:
        return None
    if not _is_list(declared):
        raise DefinitionError(
            "permission.rule", f"{where}: grants is {declared!r}", hint='write grants=[Allow("pricing"), Ask("push")]'
        )
    for rule in declared:
        if not isinstance(rule, Rule):
            raise DefinitionError(
                "permission.rule", f"{where}: {rule!r} is not a rule", hint='write Allow("…"), Ask("…") or Deny("…")'
            )
        if rule.kind == "tool":
            _check_rule(rule, [known for name, known in tools.items() if rule.names(name)], tools, where)
    return tuple(declared)


def _check_rule(rule: Rule, meant: Sequence[Tool[..., Any]], tools: Mapping[str, Tool[..., Any]], where: str) -> None:
    if not meant and rule.pattern != "*":
        what = "names no tool" if WILD.search(rule.pattern) is None else "fits no tool"
        raise DefinitionError(
            "permission.tool", f"{where}: the grant {str(rule)!r} {what} of the definition",
            hint=did_you_mean(rule.pattern, tools, "tools"),
        )  # fmt: skip
    if rule.when is None or not meant or any(known.takes_more for known in meant):
        return
    from windlass.policies.cel import condition

    there = dict.fromkeys(name for known in meant for name in known.parameters)
    for name in condition(rule.when).arguments:
        if name not in there:
            raise DefinitionError(
                "permission.field", f"{where}: the grant {str(rule)!r} looks at args.{name}, which no such tool takes",
                hint=did_you_mean(name, there, "parameters"),
            )  # fmt: skip


def _is_list(declared: Any) -> bool:
    return isinstance(declared, Sequence) and not isinstance(declared, str | bytes)
