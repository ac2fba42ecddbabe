"""Every limit in force, and who set it."""

from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Windlass

RULES = """
from windlass import (
    Allow, Breaker, Budget, Ceilings, Defaults, Deny, Edge, HandTo, Limit, Pipeline, Platform, Retry, task,
)

@task(timeout=900, retry=[Retry(on=OSError, max_attempts=500, initial=1), Retry.fixed(3, on=(KeyError, ValueError))],
      breaker="openai", limits=["gpu", Limit("mail", rate="60/min", burst=3, scope="tenant")], grants=[Allow("call:*")])
async def look(x: int) -> list[int]:
    return [x]

@task
async def report(look: int) -> int:
    return look

review = Pipeline("review", tasks=[look, report], edges=[Edge("look", "report", each=True, concurrency=2)],
                  run_timeout=3600, dead_letters="triage", defaults={"idle_timeout": 30},
                  budget=Budget(money=20, tokens_in=1000, edge=HandTo("cheap")))

platform = Platform(
    defaults=Defaults(retry=Retry(on=TimeoutError, jitter=0)),
    ceilings=Ceilings(timeout=600, attempts=50, budget=Budget(money=10, depth=2)),
    breakers=[Breaker("openai", failures=3)],
    limits=[Limit("gpu", concurrency=4)],
    budgets=[Budget(money=100, per="tenant", window="day")],
    grants={"*": [Deny("effect:*")], "role:clerk": []},
)
other = 3
"""


@pytest.fixture(autouse=True)
def rules(folder: Path) -> None:
    (folder / "rules.py").write_text(RULES)


def listed(rows: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    return {row["name"]: (row["value"], row["origin"]) for row in rows}


def test_every_limit_says_where_it_came_from(windlass: Windlass) -> None:
    done = windlass("explain", "rules.py:review", "--platform", "rules.py:platform", "--tenant", "acme", "--json")
    assert done.code == 0
    run = listed(done.object["run"])
    assert run["run_timeout"] == ("1 h 0 min", "definition review")
    assert run["budget per run: money"] == ("10", "platform ceiling (definition review asked for 20)")
    assert run["budget per run: tokens_in"] == ("1,000", "definition review")
    assert run["budget per run: depth"] == ("2", "platform ceiling")
    assert run["budget per run: edge"] == ("hand to cheap", "definition review")
    assert run["budget per tenant and day: money"] == ("100", "platform")
    assert run["dead_letters"] == ("triage", "definition review")
    look = listed(done.object["tasks"]["look"])
    assert look["timeout"] == ("10 min 0 s", "platform ceiling (task look asked for 900 s)")
    assert look["idle_timeout"] == ("30 s", "definition review")
    assert look["attempts"] == ("at most 50", "platform ceiling (task look asked for 500)")
    assert look["retry"] == ("KeyError, ValueError: 3 attempts, wait 3.0 s", "task look")
    assert look["breaker openai"] == (
        "3 failures (Exception) in 1 min 0 s open it for 30 s; a probe may take 1 min 0 s",
        "task look, as the platform declares it",
    )
    assert look["limit gpu"] == ("4 at once", "task look, as the platform declares it")
    assert look["limit mail"] == ("1 a second, 3 in a burst", "task look")
    permissions = [(row["value"], row["origin"]) for row in done.object["tasks"]["look"] if row["name"] == "permission"]
    assert permissions[:2] == [("allow call:*", "task look"), ("deny effect:*", "platform")]
    keys = {row["name"]: row["key"] for row in (*done.object["run"], *done.object["tasks"]["look"]) if row["key"]}
    assert keys == {
        "budget per run: money": "budget|run|RUN",
        "budget per run: tokens_in": "budget|run|RUN",
        "budget per tenant and day: money": "budget|tenant|acme|DAY",
        "breaker openai": "breaker|fleet||openai",
        "limit gpu": "limit|fleet||gpu",
        "limit mail": "limit|tenant|acme|mail",
    }
    report = listed(done.object["tasks"]["report"])
    assert report["retry"] == ("TimeoutError: 3 attempts, wait 0.5 s, × 2 up to 1 min 0 s", "platform default")
    assert report["concurrency"] == ("2 at once in a run", "edge look -> report")


USING = """
from dataclasses import dataclass
from windlass import Expect, Pipeline, Platform, Redact, Rules, fallback, model, rule, task, tool

@dataclass
class Quote:
    price: float
    sure: float

rules = Rules()

@rules.rule(Quote, field="price")
def above_zero(price: float) -> bool:
    return price > 0

@rule()
def polite(answer: object) -> bool:
    return True

@model(version="7")
async def writer(request):
    raise NotImplementedError

careful = fallback("careful", [writer])

@tool
async def stock(item: str, most: int = 3) -> int:
    return most

@tool(effect=True)
async def order(**more: str) -> None: ...

@task(expect=Expect(Quote, rules=[polite], confidence="sure", act=0.8, ask=0.5, parser="json"))
async def quote(mail: str) -> str:
    return ""

@task(expect=Expect({"title": "Ticket", "type": "object"}, repairs=0))
async def ticket(quote: Quote) -> str:
    return ""

quotes = Pipeline("quotes", [quote, ticket], models=[careful, writer], tools=[stock, order], rules=rules,
                  redact=Redact(["password"], {"card": "[0-9]{16}"}))
platform = Platform(rules=[polite], redact=Redact(["token"]))
"""


def test_what_it_may_use_and_what_is_expected_of_it(windlass: Windlass, folder: Path) -> None:
    (folder / "using.py").write_text(USING)
    done = windlass("explain", "using.py:quotes", "--platform", "using.py:platform", "--json")
    assert done.code == 0, done.err
    run = [(row["name"], row["value"], row["origin"]) for row in done.object["run"]]
    assert run[-8:] == [
        ("model careful", "asked where no name is given; falls back over writer", "definition quotes"),
        ("model writer", "version 7", "definition quotes"),
        ("tool stock", "call (item, most)", "definition quotes"),
        ("tool order", "effect (…)", "definition quotes"),
        ("rule", "polite for any output", "platform"),
        ("rule", "above_zero for Quote.price", "definition quotes"),
        ("redact", "token", "platform"),
        ("redact", "password, values: card", "definition quotes"),
    ]
    quote, ticket = (done.object["tasks"][name] for name in ("quote", "ticket"))
    said = "Quote, read by json; confidence by sure; taken from 0.8; a person is asked from 0.5; 1 repair"
    assert listed(quote)["expect"] == (said, "task quote")
    assert listed(quote)["rule"] == ("polite for any output", "task quote")
    assert listed(ticket)["expect"] == ("Ticket; 0 repairs", "task ticket")
    assert "[0-9]" not in done.out


def test_for_a_person(windlass: Windlass) -> None:
    shown = windlass("explain", "flows.py:looping")
    assert shown.code == 0
    assert "open → permit → reserve → breaker → timeout → call → classify → settle" in shown.out
    assert "step_limit" in shown.out
    lines = [line.split() for line in shown.out.splitlines()]
    assert ["timeout", "none", "not", "declared"] in lines
    assert windlass("explain", "rules.py:review", "--platform", "rules.py:platform", "--role", "clerk").code == 0


def test_what_cannot_be_explained(windlass: Windlass) -> None:
    missing = windlass("explain", "rules.py:review")  # it names a limit that only the platform has
    assert (missing.code, "limit.unknown" in missing.err) == (4, True)
    for target, code in (
        ("rules.py:other", "definition.kind"),
        ("rules.py:none", "definition.attribute"),
        ("none.py:platform", "definition.file"),
        ("rules.py", "definition.target"),
    ):
        refused = windlass("explain", "flows.py:steady", "--platform", target)
        assert (refused.code, f"code: {code}" in refused.err) == (4, True), target
