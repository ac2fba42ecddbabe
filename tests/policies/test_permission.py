import itertools
import random
from collections.abc import Callable
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest

from windlass.core.errors import DefinitionError
from windlass.policies.permission import (
    KINDS,
    Action,
    Allow,
    Ask,
    Decision,
    Deny,
    Effect,
    Kind,
    Layer,
    Rule,
    decide,
    intersect,
    platform_layers,
)

SMALL = "args.amount <= 10000"


def action(name: str = "pricing", kind: Kind = "tool", **args: Any) -> Action:
    return Action(kind=kind, name=name, args=args, task="quote", definition="sales", tenant="acme", run="r1")


def verdict(layers: list[Layer], asked: Action) -> str:
    return decide(layers, asked).verdict


def test_nothing_granted_is_nothing_allowed() -> None:
    decision = decide([], action())
    assert decision == Decision("deny", why="no grant: no tool is allowed unless a rule allows it")
    assert verdict([Layer("task quote", ())], action()) == "deny"


def test_the_decision_names_rule_and_layer() -> None:
    rule = Allow("pricing", when=SMALL)
    decision = decide([Layer("task quote", (rule, Ask("push")))], action(amount=5))
    assert decision == Decision("allow", rule, "task quote", f"task quote: allow pricing when {SMALL}")
    refused = decide([Layer("task quote", (rule, Ask("push")))], action(amount=10001))
    assert refused == Decision("deny", None, "task quote", "task quote: no rule allows tool 'pricing'")


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ([Allow("pricing")], "allow"),
        ([Allow("pricing"), Ask("pricing")], "ask"),
        ([Allow("pricing"), Ask("pricing"), Deny("pricing")], "deny"),
        ([Allow("pricing"), Deny("pricing", when="args.amount > 100")], "allow"),
        ([Allow("pricing"), Deny("pricing", when="args.amount > 4")], "deny"),
        ([Allow("pricing"), Ask("pricing", when="args.amount > 4")], "ask"),
        ([Allow("price*"), Allow("p?icing")], "deny"),
        ([Allow("pric*")], "allow"),
        ([Allow("[op]ricing")], "allow"),
        ([Allow("Pricing")], "deny"),
        ([Allow("effect:*"), Allow("call:*"), Allow("model:*")], "deny"),
        ([Allow("tool:pricing")], "allow"),
        ([Allow("*", when="args.missing > 1"), Allow("pricing")], "deny"),
        ([Deny("*", when="args.missing > 1"), Allow("pricing")], "deny"),
        ([Deny("other", when="args.missing > 1"), Allow("pricing")], "allow"),
    ],
)
def test_rules_of_a_layer_in_any_order(rules: list[Rule], said: str) -> None:
    if rules == [Allow("price*"), Allow("p?icing")]:
        said = "allow"  # the second fits
    for order in itertools.permutations(rules):
        assert verdict([Layer("one", order)], action(amount=5)) == said


def test_a_condition_that_cannot_be_judged_denies_and_says_so() -> None:
    decision = decide([Layer("task quote", (Allow("pricing", when="args.amount > 'x'"),))], action(amount=5))
    assert decision.verdict == "deny"
    assert decision.why.startswith(
        "task quote: allow pricing when args.amount > 'x': the condition cannot be judged: No"
    )


def test_every_layer_has_to_agree() -> None:
    task, platform = Layer("task quote", (Allow("pricing"),)), Layer("platform", (Allow("p*"), Ask("push")))
    assert verdict([task, platform], action()) == "allow"
    assert decide([task, platform], action("push")).layer == "task quote"
    assert decide([platform, task], action("push")).verdict == "deny"
    assert verdict([platform, Layer("task quote", (Allow("*"),))], action("push")) == "ask"
    assert decide([task, Layer("tenant:acme", ())], action()).layer == "tenant:acme"


@pytest.mark.parametrize("kind", ["effect", "call", "model"])
def test_what_is_no_tool_is_free_until_a_layer_speaks_of_its_kind(kind: Kind) -> None:
    others = Layer("definition", (Allow("pricing"),))
    assert decide([others], action("push", kind)) == Decision("allow", why=f"no rule speaks of kind {kind}")
    named = Layer("task", (Allow(f"{kind}:push*"),))
    assert verdict([others, named], action("push_tag", kind)) == "allow"
    assert verdict([others, named], action("drop", kind)) == "deny"
    assert verdict([named], action("push_tag")) == "deny"  # a tool of that name is something else


def test_conditions_see_who_asks_and_where() -> None:
    asked = Action(kind="effect", name="push", task="a", definition="d", tenant="t", roles=("x", "y"), run="r")
    when = 'kind == "effect" && name == "push" && tool == "" && task == "a" && definition == "d" && tenant == "t"'
    rule = Allow("effect:push", when=when + ' && run == "r" && roles == ["x", "y"] && args == {}')
    assert verdict([Layer("l", (rule,))], asked) == "allow"


def test_a_child_gets_the_intersection() -> None:
    own = [Layer("child", (Allow("pricing"), Allow("push")))]
    assert verdict(list(intersect([Layer("parent", (Allow("push"), Allow("drop")))], own)), action("push")) == "allow"
    for name in ("pricing", "drop"):
        assert verdict(list(intersect([Layer("parent", (Allow("push"), Allow("drop")))], own)), action(name)) == "deny"
    assert verdict(list(intersect([], own)), action("push")) == "deny"
    assert verdict(list(intersect(intersect([], own), own)), action("push")) == "deny"
    assert verdict(list(intersect([], ())), action("push", "effect")) == "allow"


GRANTS = MappingProxyType({
    "*": [Allow("*"), Deny("drop")],
    "tenant:acme": [Allow("p*")],
    "tenant:beta*": [Allow("push")],
    "role:analyst": [Allow("pricing")],
    "role:editor": [Allow("push"), Allow("effect:push")],
})  # fmt: skip


@pytest.mark.parametrize(
    ("tenant", "roles", "allowed"),
    [
        ("acme", ["analyst"], {"pricing"}),
        ("acme", ["editor"], {"push", "effect"}),
        ("acme", ["analyst", "editor"], {"pricing", "push", "effect"}),
        ("acme", [], set()),
        ("acme", ["stranger"], set()),
        ("beta-2", ["editor", "analyst"], {"push", "effect"}),
        ("other", ["editor"], {"effect"}),
        ("", ["editor"], {"effect"}),
    ],
)
def test_the_platform_grants_by_tenant_and_role(tenant: str, roles: list[str], allowed: set[str]) -> None:
    layers = list(platform_layers(GRANTS, tenant=tenant, roles=roles))
    found = {name for name in ("pricing", "push", "drop", "other") if verdict(layers, action(name)) == "allow"}
    found |= {"effect"} if verdict(layers, action("push", "effect")) == "allow" else set()
    assert found == allowed


def test_without_grants_a_platform_has_no_say() -> None:
    assert platform_layers({}, tenant="acme", roles=["x"]) == ()
    assert [layer.name for layer in platform_layers(GRANTS, tenant="x", roles=["editor"])] == [
        "platform", "no tenant of the platform's grants", "role:editor",
    ]  # fmt: skip


@pytest.mark.parametrize("pattern", ["", "a b", "a\n", "tol:x", "call:", 3, None, "\ud800", "a\x00", "a\u202eb"])
def test_a_pattern_that_names_nothing_is_refused(pattern: Any) -> None:
    with pytest.raises(DefinitionError) as caught:
        Allow(pattern)
    assert caught.value.code == "permission.rule"
    str(caught.value).encode()


def test_a_rule_that_cannot_be_is_refused() -> None:
    wrong: Any = "permit"
    makes: list[Callable[[], Rule]] = [lambda: Rule(wrong, "tool", "x"), lambda: Rule("allow", wrong, "x")]
    for make in makes:
        with pytest.raises(DefinitionError) as caught:
            make()
        assert caught.value.code == "permission.rule"
    for when in ("", "args.", True, 5):
        with pytest.raises(DefinitionError) as caught:
            Deny("x", when=when)  # type: ignore[arg-type]
        assert caught.value.code == "permission.condition"


def test_rules_read_as_they_were_written() -> None:
    assert str(Allow("pricing", when=SMALL)) == f"allow pricing when {SMALL}"
    assert str(Ask("effect:push")) == "ask effect:push"
    assert str(Deny("tool:server:push")) == "deny tool:server:push"
    assert Deny("tool:pricing") == Deny("pricing")


# The model is hijacked: it asks for everything, with anything. A reference that shares no code with the product judges.

NAMES = (
    "read",
    "read_all",
    "Read",
    "write",
    "pay",
    "pay.refund",
    "r\u0435ad",
    "read\n",
    "",
    "*",
    "tool:read",
    "\ud800",
)
PATTERNS = {  # what each fits, spelled out
    "*": set(NAMES),
    "read": {"read"},
    "read*": {"read", "read_all", "read\n"},
    "pay.*": {"pay.refund"},
    "?ay": {"pay"},
    "[rw]*": {"read", "read_all", "write", "read\n", "r\u0435ad"},
    "write": {"write"},
    "tool:read": {"tool:read"},
}
NOTHING = object()
AMOUNTS = (5, 10_000, 10_001, -1, 2.5, True, "5", None, [1], {"x": 1}, float("nan"), float("inf"), 2**70, "\ud800",
           Decimal(3), Decimal("1.00000000000000000001"), object(), {1: 1}, NOTHING)  # fmt: skip
UNSEEN = (10, 11, 12, 13, 15, 16, 17)  # of the amounts, those that CEL does not hold exactly


def numeric(test: Callable[[Any], bool]) -> Callable[[Action], bool | None]:
    def holds(asked: Action) -> bool | None:
        amount = asked.args.get("amount", "")
        return test(amount) if type(amount) in (int, float, Decimal) else None

    return holds


CONDITIONS: dict[str | None, Callable[[Action], bool | None]] = {  # None: nobody can say
    None: lambda _: True,
    SMALL: numeric(lambda amount: amount <= 10_000),
    "args.amount > 0": numeric(lambda amount: amount > 0),
    "has(args.amount)": lambda asked: "amount" in asked.args,
    'args.to == "home"': lambda asked: asked.args["to"] == "home" if "to" in asked.args else None,
    "args.amount": lambda asked: asked.args["amount"] if asked.args.get("amount") is True else None,
    '"admin" in roles': lambda asked: "admin" in asked.roles,
    'tenant != "acme"': lambda asked: asked.tenant != "acme",
    "size(roles) / 0 == 1": lambda _: None,
}


def reference(layers: list[Layer], asked: Action) -> str:
    """Thirty lines that share nothing with the product but the shape of its rules."""
    unseen = any(asked.args.get("amount", NOTHING) is AMOUNTS[place] for place in UNSEEN)

    def truth(rule: Rule) -> bool | None:
        if rule.when is not None and "args" in rule.when and unseen:
            return None
        return CONDITIONS[rule.when](asked)

    said = []
    for layer in layers:
        if asked.kind != "tool" and asked.kind not in {rule.kind for rule in layer.rules}:
            continue
        fits = [rule for rule in layer.rules if rule.kind == asked.kind and asked.name in PATTERNS[rule.pattern]]
        truths = [truth(rule) for rule in fits]
        hits = {rule.effect for rule, true in zip(fits, truths, strict=True) if true}
        if None in truths or "deny" in hits or not hits:
            return "deny"
        said.append("ask" if "ask" in hits else "allow")
    if not said:
        return "deny" if asked.kind == "tool" else "allow"
    return "ask" if "ask" in said else "allow"


EFFECTS: tuple[Effect, ...] = ("allow", "ask", "deny")


def random_rule(dice: random.Random) -> Rule:
    effect = dice.choices(EFFECTS, (6, 4, 1))[0]
    kind = dice.choices(KINDS, (6, 1, 1, 1, 1))[0]
    when = dice.choice([None, None, None, *CONDITIONS])
    return Rule(effect, kind, dice.choice(list(PATTERNS)), when)


def random_action(dice: random.Random) -> Action:
    args = {"amount": dice.choice(AMOUNTS), "to": dice.choice(("home", "away", NOTHING))}
    return Action(
        kind=dice.choices(KINDS, (6, 1, 1, 1, 1))[0],
        name=dice.choice(NAMES),
        args={name: value for name, value in args.items() if value is not NOTHING},
        tenant=dice.choice(("acme", "beta")),
        roles=dice.choice(((), ("admin",), ("analyst", "admin"))),
    )


def test_ten_thousand_hijacked_programs_do_nothing_outside_their_grants() -> None:
    dice = random.Random(20261121)
    rules = [random_rule(dice) for _ in range(400)]
    seen = {"allow": 0, "ask": 0, "deny": 0}
    for _ in range(10_000):
        layers = [
            Layer(f"l{n}", tuple(dice.choices(rules, k=dice.choice((0, 1, 2, 4, 6)))))
            for n in range(dice.randint(0, 3))
        ]
        for _ in range(4):
            asked = random_action(dice)
            said = verdict(layers, asked)
            assert said == reference(layers, asked), (layers, asked)
            seen[said] += 1
    assert min(seen.values()) > 500, seen  # the dice try every outcome


def test_a_layer_more_never_allows_more_and_no_order_matters() -> None:
    dice = random.Random(1)
    for _ in range(2_000):
        layers = [Layer(f"l{n}", tuple(random_rule(dice) for _ in range(3))) for n in range(3)]
        asked = random_action(dice)
        said = verdict(layers, asked)
        fewer = verdict(layers[:2], asked)
        assert EFFECTS.index(said) >= EFFECTS.index(fewer)
        assert EFFECTS.index(verdict(list(intersect(layers[:1], layers[1:])), asked)) >= EFFECTS.index(fewer)
        shuffled = [Layer(one.name, tuple(dice.sample(one.rules, 3))) for one in dice.sample(layers, 3)]
        assert verdict(shuffled, asked) == said
