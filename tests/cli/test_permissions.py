"""What a definition's grants say about a call."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Done, Windlass

SHOP = """
from windlass import Allow, Ask, Deny, Graph, Pipeline, Platform, task
from windlass.graph.tools import tool


@tool
async def pricing(amount: int, city: str = "Paris") -> int:
    return amount


@tool(effect=True)
async def drop(table: str) -> None: ...


@task(grants=[Allow("pricing", when="args.amount <= 10000"), Ask("pricing", when="args.amount > 500"), Allow("drop")])
async def quote(order: int) -> int:
    return order


@task
async def plain(quote: int) -> int:
    return quote


orders = Pipeline("orders", [quote, plain], tools=[pricing, drop], grants=[Allow("*"), Allow("effect:push")])
platform = Platform(grants={"*": [Allow("*"), Allow("effect:*"), Deny("drop")], "role:analyst": [Allow("pricing")]})
"""
Asked = Callable[..., Done]


@pytest.fixture
def asked(windlass: Windlass, folder: Path) -> Asked:
    """Ask about a call of task quote."""
    (folder / "shop.py").write_text(SHOP)

    def ask(call: str, *more: str, task: str = "quote") -> Done:
        return windlass("permissions", "test", "shop.py:orders", "--task", task, "--call", call, *more)

    return ask


@pytest.mark.parametrize(
    ("call", "code", "verdict", "rule"),
    [
        ('pricing {"amount": 5}', 0, "allow", "allow *"),
        ('pricing {"amount": 501}', 3, "ask", "ask pricing when args.amount > 500"),
        ('pricing {"amount": 10001}', 3, "ask", "ask pricing when args.amount > 500"),
        ('tool:pricing {"amount": 4611686018427387904}', 3, "ask", "ask pricing when args.amount > 500"),
        ('drop {"table": "users"}', 0, "allow", "allow drop"),
        ("effect:push", 0, "allow", "allow effect:push"),
        ("effect:drop {}", 1, "deny", "none"),
        ("call:anything", 0, "allow", "none"),
    ],
)
def test_a_verdict_and_its_rule(asked: Asked, call: str, code: int, verdict: str, rule: str) -> None:
    done = asked(call)
    assert done.code == code, done
    said = dict(line.split(maxsplit=1) for line in done.out.splitlines())
    assert said["verdict"] == verdict
    assert said["rule"] in (rule, "allow pricing when args.amount <= 10000")


def test_as_json_with_platform_role_and_tenant(asked: Asked) -> None:
    more = ("--platform", "shop.py:platform", "--tenant", "acme", "--json")
    allowed = asked('pricing {"amount": 5}', "--role", "analyst", *more)
    assert allowed.code == 0
    assert allowed.object["args"] == {"city": "Paris", "amount": 5}
    assert [layer["name"] for layer in allowed.object["layers"]] == [
        "task quote", "definition orders", "platform", "role:analyst",
    ]  # fmt: skip
    refused = asked('pricing {"amount": 5}', *more)
    assert (refused.code, refused.object["layer"]) == (1, "no role of the platform's grants")
    dropped = asked('drop {"table": "users"}', "--role", "analyst", *more)
    assert (dropped.code, dropped.object["rule"]) == (1, "deny drop")
    assert dropped.object["why"] == "platform: deny drop"


def test_the_definition_speaks_for_a_task_that_does_not(asked: Asked) -> None:
    assert asked('drop {"table": "users"}', task="plain").code == 0


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("pricng {}", "did you mean 'pricing'?"),
        ("pricing {}", "'amount' is missing"),
        ('tool:pricing {"amount": "5"}', "tool pricing.amount: expected `int`, got `str`"),
        ('pricing {"amount": 1, "to": 2}', "there is no 'to'"),
        ("pricing {amount: 1}", "this is not JSON"),
        ("pricing [1]", "followed by a JSON object"),
        ("effect:", "followed by a JSON object"),
        ("", "followed by a JSON object"),
    ],
)
def test_a_call_that_cannot_be_is_a_mistake_and_no_verdict(asked: Asked, call: str, said: str) -> None:
    done = asked(call)
    assert (done.code, done.out) == (2, "")
    assert said in done.err


def test_a_task_that_is_not_there(asked: Asked) -> None:
    done = asked("pricing", "--json", task="quoet")
    assert done.code == 2
    assert "did you mean 'quote'" in json.loads(done.out)["hint"]


def test_a_grant_that_cannot_be_is_told_where_it_stands(asked: Asked, folder: Path) -> None:
    shop = (folder / "shop.py").read_text()
    (folder / "shop.py").write_text(shop.replace('Allow("drop")]', 'Allow("dorp")]'))
    done = asked("pricing")
    assert done.code == 4
    assert "code: permission.tool" in done.err
    (folder / "shop.py").write_text(shop.replace("args.amount <= 10000", "args.amount <="))
    assert asked("pricing").code == 4
