"""`windlass explain`: every limit in force for a definition, its value, and where it came from; and what it may use."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, NamedTuple

from cyclopts import Parameter

from windlass.cli.loader import load, load_platform
from windlass.cli.options import COMMON, Common
from windlass.cli.output import Out, duration, table
from windlass.core.blueprint import Blueprint, Place
from windlass.core.codec import MAX_VALUE
from windlass.policies.breaker import Breaker
from windlass.policies.budget import UNITS, Edge, HandTo, WrapUp, spell_amount
from windlass.policies.chain import NOWHERE, ORDER, Bounds, Chain, InForce, bounds, resolve_at
from windlass.policies.limit import Limit
from windlass.policies.platform import Platform
from windlass.policies.retry import Retry

NONE = "none"


class Row(NamedTuple):
    """One limit: what it is called, what it is, who set it; for shared ones the key of its tally."""

    name: str
    value: str
    origin: str
    key: str = ""


class Who(NamedTuple):
    """For whose runs a definition is explained."""

    tenant: str
    roles: Sequence[str]


def explain(
    definition: str, /, *,
    platform: str = "",
    tenant: Annotated[str, Parameter(show_default=True)] = "default",
    role: Annotated[list[str] | None, Parameter(negative=())] = None,
    common: Common = COMMON,
) -> int:  # fmt: skip
    """Show every limit in force for a definition, and who set it.

    Args:
        definition: FILE.py:NAME or package.module:NAME.
        platform: FILE.py:NAME of a Platform: its defaults and ceilings count, too.
        tenant: for the runs of this tenant.
        role: for the runs of somebody with this role; as often as needed.
    """
    out = Out(as_json=common.json)
    (loaded,) = load([definition])
    blueprint, rules, who = loaded.compile(), load_platform(platform), Who(tenant, role or [])
    whole = [*of_run(blueprint, bounds(blueprint, rules), who), *of_ports(blueprint, rules)]
    tasks = {one.path: list(of_task(one, blueprint.name, rules, who)) for one in blueprint.tree()}
    out.give({
        "name": blueprint.name, "kind": blueprint.kind, "order": ORDER, "run": [row._asdict() for row in whole],
        "tasks": {name: [row._asdict() for row in rows] for name, rows in tasks.items()},
    })  # fmt: skip
    out.line(f"{blueprint.kind} {blueprint.name}, for runs of tenant {tenant}" + (f", roles {role}" if role else ""))
    out.line(f"an attempt: {' → '.join(ORDER)}")
    for head, rows in (("the run", whole), *((f"task {name}", rows) for name, rows in tasks.items())):
        out.line()
        out.lines(laid_out(head, rows))
    return 0


def laid_out(head: str, rows: Sequence[Row]) -> list[str]:
    """Lay the limits of a run or a task out in columns."""
    return table((head, "in force", "from", "tally" if any(row.key for row in rows) else ""), rows)


def of_run(blueprint: Blueprint, found: Bounds, who: Who) -> Iterator[Row]:
    """List what is in force for a run as a whole."""
    own = f"definition {blueprint.name}"
    yield Row("run_timeout", spelled(found.run_timeout), found.origins["run_timeout"])
    if blueprint.step_limit is not None:
        yield Row("step_limit", f"{blueprint.step_limit:,}", own)
    most = blueprint.codec.max_value
    yield Row("max_value", f"{most:,} bytes", "built in" if most == MAX_VALUE else own)
    for one in found.budgets:
        yield from of_budget(one, who)
    if not found.budgets:
        yield Row("budget", NONE, NOWHERE)
    yield Row("dead_letters", found.handler or NONE, found.origins["dead_letters"])


def of_ports(blueprint: Blueprint, platform: Platform) -> Iterator[Row]:
    """List the models and tools that tasks may ask for, the rules for outputs, and what is masked."""
    own = f"definition {blueprint.name}"
    for place, model in enumerate(blueprint.models.values()):
        said = [f"version {model.version}" if model.version else "", "" if place else "asked where no name is given"]
        said.append(f"falls back over {', '.join(one.name for one in model.choices)}" if model.choices else "")
        yield Row(f"model {model.name}", "; ".join(filter(None, said)) or "asked by its name", own)
    for tool in blueprint.tools.values():
        takes = ", ".join((*tool.parameters, *(["…"] if tool.takes_more else [])))
        yield Row(f"tool {tool.name}", f"{'effect' if tool.effect else 'call'} ({takes})", own)
    for origin, rules in (("platform", platform.rules), (own, blueprint.rules)):
        for rule in rules:
            yield Row("rule", rule_of(rule), origin)
    for origin, masked in (("platform", platform.redact), (own, blueprint.codec.redact)):
        if masked:
            yield Row("redact", ", ".join((*masked.names, *(f"values: {label}" for label in masked.values))), origin)


def rule_of(rule: Any) -> str:
    """Name a business rule, and what it is for."""
    of = "any output" if rule.of is None else getattr(rule.of, "__name__", str(rule.of))
    return f"{rule.name} for {of}{'.' if rule.field else ''}{rule.field}"


def expected(expect: Any) -> Iterator[tuple[str, str]]:
    """Say what an output has to be: the schema, who says how sure it is, and what follows from that."""
    schema = expect.schema if isinstance(expect.schema, dict) else {}
    name = schema.get("title", "a JSON Schema") if schema else getattr(expect.schema, "__name__", str(expect.schema))
    sure = getattr(expect.confidence, "__name__", expect.confidence)
    parts = [
        name if expect.parser == "auto" else f"{name}, read by {getattr(expect.parser, '__name__', expect.parser)}",
        f"confidence by {sure}" if sure else "",
        f"taken from {expect.act:g}" if expect.act else "",
        "" if expect.ask is None else f"a person is asked from {expect.ask:g}",
        f"{expect.repairs} repair{'s' * (expect.repairs != 1)}",
    ]
    yield "expect", "; ".join(filter(None, parts))
    for rule in expect.rules:
        yield "rule", rule_of(rule)


def of_budget(one: InForce, who: Who) -> Iterator[Row]:
    """List the limits of one tally, and what follows at their edge."""
    budget = one.budget
    scope = "budget|run|RUN" if budget.per == "run" else f"budget|tenant|{who.tenant}"
    key = scope + (f"|{budget.window.upper()}" if budget.window else "")
    named = f"budget per {budget.per}" + (f" and {budget.window}" if budget.window else "")
    for name, origin in one.origins.items():
        unit = UNITS.get(name)
        value = spell_amount(unit, budget.shared[unit]) if unit else str(getattr(budget, name))
        yield Row(f"{named}: {name}", value, origin, key if unit else "")
    yield Row(f"{named}: edge", edge_of(budget.edge), next(iter(one.origins.values())).partition(" (")[0])


def edge_of(edge: Edge) -> str:
    """Say what follows at the edge of a budget."""
    match edge:
        case WrapUp(node=node, reserve=reserve):
            return f"wrap up at {node}, with a reserve of {reserve:.0%}"
        case HandTo(definition=name):
            return f"hand to {name}"
        case _:
            return edge


def of_task(at: Place, definition: str, platform: Platform, who: Who) -> Iterator[Row]:
    """List what is in force for the attempts of a task; a sub-graph has none, its tasks have."""
    node = at.node
    if node.concurrency is not None:
        yield Row("concurrency", f"{node.concurrency} at once in a run", f"edge {node.mapped} -> {node.id}")
    if node.sub is not None:
        inner = node.sub.blueprint
        yield Row("sub-graph", f"{inner.kind} {inner.name}", f"definition {at.of.name}")
        if inner.step_limit is not None:
            yield Row("step_limit", f"{inner.step_limit:,}", f"definition {inner.name}")
        return
    chain = resolve_at(at, platform, tenant=who.tenant, roles=who.roles)
    place = {"tenant": who.tenant, "definition": definition, "node": at.path}
    yield Row("timeout", spelled(chain.timeout), chain.origins["timeout"])
    yield Row("idle_timeout", spelled(chain.idle_timeout), chain.origins["idle_timeout"])
    for rule in chain.retry:
        yield Row("retry", retry_of(rule), chain.origins["retry"])
    if not chain.retry:
        yield Row("retry", "1 attempt", chain.origins["retry"])
    yield Row("attempts", f"at most {chain.attempts}", chain.origins["attempts"])
    yield Row("wait", f"at most {spelled(chain.wait)}", chain.origins["wait"])
    for breaker in chain.breakers:
        yield Row(f"breaker {breaker.name}", breaker_of(breaker), chain.origins[f"breaker {breaker.name}"],
                  breaker.key(**place))  # fmt: skip
    for limit in chain.limits:
        yield Row(f"limit {limit.name}", limit_of(limit), chain.origins[f"limit {limit.name}"], limit.key(**place))
    if node.expect is not None:
        for name, said in expected(node.expect):
            yield Row(name, said, f"task {node.id}")
    yield from permissions_of(chain)


def permissions_of(chain: Chain) -> Iterator[Row]:
    """List the rules of every layer that has a say."""
    for layer in chain.layers:
        for rule in layer.rules:
            yield Row("permission", str(rule), layer.name)
        if not layer.rules:
            yield Row("permission", f"deny {', '.join(sorted(layer.kinds))}", layer.name)
    if not chain.layers:
        yield Row("permission", "no tool; calls and effects are free", NOWHERE)


def spelled(length: float | None) -> str:
    """Write a length of time, or that there is no limit."""
    return NONE if length is None else duration(length)


def names_of(on: object) -> str:
    """Name the errors that a policy is about."""
    kinds = on if isinstance(on, tuple) else (on,)
    return ", ".join(getattr(kind, "__name__", repr(kind)) for kind in kinds)


def retry_of(rule: Retry) -> str:
    """Write a Retry on one line."""
    if rule.max_attempts == 1:
        return f"{names_of(rule.on)}: 1 attempt"
    wait = spelled(rule.initial) + (f", × {rule.factor:g} up to {spelled(rule.cap)}" if rule.factor > 1 else "")
    jitter = f", {rule.jitter:.0%} of it random" if rule.jitter else ""
    return f"{names_of(rule.on)}: {rule.max_attempts} attempts, wait {wait}{jitter}"


def breaker_of(breaker: Breaker) -> str:
    """Write a Breaker on one line."""
    return (
        f"{breaker.failures} failures ({names_of(breaker.on)}) in {spelled(breaker.window)} open it "
        f"for {spelled(breaker.cooldown)}; a probe may take {spelled(breaker.patience)}"
    )


def limit_of(limit: Limit) -> str:
    """Write a Limit on one line."""
    parts = [] if limit.concurrency is None else [f"{limit.concurrency} at once"]
    parts += [] if limit.rate is None else [f"{limit.rate:g} a second, {limit.burst} in a burst"]
    return "; ".join(parts)
