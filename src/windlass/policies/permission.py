"""What a run may do: rules in layers, and the decision about one action. Deny by default, and nothing widens.

Decided where the action is executed, on its final arguments, outside the model and outside the task's code. A
decision is a pure function of layers and action: no order of layers or rules changes its verdict, and a layer more
never allows more.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final, Literal, TypeAlias, get_args

from msgspec import Struct, field

from windlass.core.errors import DefinitionError

Effect: TypeAlias = Literal["allow", "ask", "deny"]
Kind: TypeAlias = Literal["tool", "effect", "call", "model", "http"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
WILD: Final = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a layer. Made by `Allow`, `Ask` and `Deny`.

    Args:
        pattern: the name of what is done, or a pattern with `*`, `?` and `[…]`, in which case counts.
        when: a CEL condition on the action; the rule is silent where it is false. None: always.

    Raises:
        DefinitionError: there is no such effect or kind, the pattern is empty, or the condition cannot be judged.
    """

    effect: Effect
    kind: Kind
    pattern: str
    when: str | None = None

    def __post_init__(self) -> None:
        if self.effect not in get_args(Effect) or self.kind not in KINDS:
            raise DefinitionError(
                "permission.rule", f"there is no rule {self.effect!r} for {self.kind!r}",
                hint=f"write Allow, Ask or Deny, for one of: {', '.join(KINDS)}",
            )  # fmt: skip
        pattern: Any = self.pattern
        if not isinstance(pattern, str) or not pattern or " " in pattern or not pattern.isprintable():
            raise DefinitionError(
                "permission.rule",
                f"{pattern!r} names nothing that a rule could speak of",
                hint="name a tool, or tool:*",
            )
        when: Any = self.when
        if isinstance(when, str):
            from windlass.policies.cel import condition  # not before there is one

            condition(when)
        elif when is not None:
            raise DefinitionError("permission.condition", f"the condition {when!r} is no text")

    def __str__(self) -> str:
        name = self.pattern if self.kind == "tool" and ":" not in self.pattern else f"{self.kind}:{self.pattern}"
        return f"{self.effect} {name}" + (f" when {self.when}" if self.when is not None else "")

    def names(self, name: str) -> bool:
        """Say whether the pattern fits a name."""
        return name == self.pattern or (WILD.search(self.pattern) is not None and fnmatchcase(name, self.pattern))


def Allow(pattern: str, *, when: str | None = None) -> Rule:  # noqa: N802 -- reads as the rule that it makes
    """Allow what the pattern names: `pricing` or `tool:pricing*` a tool, `effect:push`, `call:*`, `model:*`."""
    return _rule("allow", pattern, when)


def Ask(pattern: str, *, when: str | None = None) -> Rule:  # noqa: N802 -- as Allow
    """Let a person decide about what the pattern names; wins over Allow."""
    return _rule("ask", pattern, when)


def Deny(pattern: str, *, when: str | None = None) -> Rule:  # noqa: N802 -- as Allow
    """Deny what the pattern names; wins over any other rule, in any layer."""
    return _rule("deny", pattern, when)


def _rule(effect: Effect, pattern: str, when: str | None) -> Rule:
    kind, colon, name = str(pattern).partition(":")
    if not colon:
        return Rule(effect, "tool", pattern, when)
    if kind not in KINDS:
        raise DefinitionError(
            "permission.rule", f"{pattern!r}: there is no kind {kind!r} of action",
            hint=f"kinds: {', '.join(KINDS)}; a tool with a colon in its name is tool:{pattern}",
        )  # fmt: skip
    return Rule(effect, kind, name, when)


@dataclass(frozen=True, slots=True)
class Layer:
    """What one place declares: a task, its definition, or the platform for a tenant or a role.

    Args:
        name: who says so, for people: `task order`, `tenant:acme`.
        rules: without one, nothing of the layer's kinds is allowed.
        kinds: kinds of action that the layer has a say in: tools always, and those that its rules speak of.
    """

    name: str
    rules: tuple[Rule, ...]
    kinds: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        object.__setattr__(self, "kinds", self.kinds | {"tool"} | {rule.kind for rule in self.rules})


class Action(Struct, frozen=True, kw_only=True):
    """What is about to be done.

    Args:
        args: the final arguments by name, defaults included: what is called afterwards must be called with these.
    """

    kind: Kind
    name: str
    args: Mapping[str, Any] = field(default_factory=dict)
    task: str = ""
    definition: str = ""
    tenant: str = ""
    roles: tuple[str, ...] = ()
    run: str = ""

    def variables(self) -> dict[str, Any]:
        """Return what a condition may name."""
        return {
            "args": self.args, "definition": self.definition, "kind": self.kind, "name": self.name,
            "roles": tuple(self.roles), "run": self.run, "task": self.task, "tenant": self.tenant,
            "tool": self.name if self.kind == "tool" else "",
        }  # fmt: skip


class Decision(Struct, frozen=True):
    """What is decided about an action, and by which rule.

    Args:
        rule: None where no rule speaks.
        layer: the name of the layer that decided; empty where there is none.
        why: in words, for the event and for people.
    """

    verdict: Effect
    rule: Rule | None = None
    layer: str = ""
    why: str = ""


def decide(layers: Sequence[Layer], action: Action) -> Decision:
    """Decide about an action: any deny wins, then every layer must allow or ask, and ask wins over allow.

    Without a layer that has a say, a tool is denied and anything else is allowed. A condition that cannot be judged
    denies (fail closed: S6, F44 of the fault list).
    """
    is_asked = any(rule.when is not None for layer in layers for rule in layer.rules)
    sight = _sight(action) if is_asked else None
    decisions = [_of_layer(layer, action, sight) for layer in layers if action.kind in layer.kinds]
    if not decisions:
        if action.kind == "tool":
            return Decision("deny", why="no grant: no tool is allowed unless a rule allows it")
        return Decision("allow", why=f"no rule speaks of kind {action.kind}")
    return min(decisions, key=lambda decision: STRICTEST.index(decision.verdict))


STRICTEST: Final = ("deny", "ask", "allow")


def _sight(action: Action) -> Any:
    from windlass.policies.cel import Sight

    return Sight(action.variables())


def _of_layer(layer: Layer, action: Action, sight: Any) -> Decision:
    """Decide as one layer does; every rule is judged, so that their order does not matter."""
    found: dict[str, Rule] = {}
    for rule in layer.rules:
        if rule.kind != action.kind or not rule.names(action.name):
            continue
        holds = True if rule.when is None else sight.judge(rule.when)
        if isinstance(holds, str):
            return Decision("deny", rule, layer.name, f"{layer.name}: {rule}: the condition cannot be judged: {holds}")
        if holds:
            found.setdefault(rule.effect, rule)
    for effect in STRICTEST:
        if effect in found:
            return Decision(found[effect].effect, found[effect], layer.name, f"{layer.name}: {found[effect]}")
    return Decision("deny", None, layer.name, f"{layer.name}: no rule allows {action.kind} {action.name!r}")


def intersect(parent: Sequence[Layer], own: Sequence[Layer]) -> tuple[Layer, ...]:
    """Return the layers of a child run: its parent's and its own; a parent without any grants no tool."""
    return (*(parent or (Layer("parent without grants", ()),)), *own)


def platform_layers(
    grants: Mapping[str, Iterable[Rule]], *, tenant: str = "", roles: Iterable[str] = ()
) -> tuple[Layer, ...]:
    """Return what the platform's grants say for a tenant and some roles: at most one layer for each of the three.

    A tenant, or a person, that no key names gets an empty layer as soon as any tenant, or any role, has one: silence
    is no grant. The rules of several roles count together.

    Args:
        grants: by `*` (everybody), `tenant:NAME` or `role:NAME`, where NAME may be a pattern.
    """
    layers = [Layer("platform", tuple(grants["*"]))] if "*" in grants else []
    for family, names in (("tenant", [tenant]), ("role", sorted(roles))):
        keys = {key: tuple(rules) for key, rules in grants.items() if key.startswith(f"{family}:")}
        if not keys:
            continue
        spoken = frozenset(rule.kind for rules in keys.values() for rule in rules)
        patterns = {key: key.partition(":")[2] for key in keys}
        mine = [key for key, pattern in patterns.items() if any(fnmatchcase(name, pattern) for name in names)]
        rules = tuple(rule for key in mine for rule in keys[key])
        layers.append(Layer(", ".join(mine) or f"no {family} of the platform's grants", rules, spoken))
    return tuple(layers)
