"""What was spent, what is held, and what is left."""

from pathlib import Path

import pytest

from tests.cli.conftest import Windlass, adjust
from windlass.core.changes import Adjust
from windlass.core.tallies import BudgetOp

SHOP = """
from windlass import Budget, Context, Cost, Pipeline, Platform, Usage, task


async def price(item: str) -> int:
    return len(item)


@task
async def buy(item: str, ctx: Context) -> int:
    return await ctx.call("price", price, item, cost=Cost(estimate=Usage(money="0.25", model_calls=1)))


shop = Pipeline("shop", [buy], budget=Budget(money=2, steps=10))
platform = Platform(budgets=[Budget(money=5, per="tenant", window="day"), Budget(money=100, per="tenant")])
"""


@pytest.fixture(autouse=True)
def shop(folder: Path) -> None:
    (folder / "shop.py").write_text(SHOP)


def test_spent_and_left(windlass: Windlass) -> None:
    assert windlass("run", "shop.py:shop", "--input", "tea", "--id", "s", "--platform", "shop.py:platform").code == 0
    run, *tenants = windlass(
        "budget", "show", "shop.py:shop", "--run", "s", "--platform", "shop.py:platform", "--json"
    ).objects
    assert (run["per"], run["of"], run["window"]) == ("run", "s", None)
    money = {"spent": 250_000, "held": 0, "raised": 0, "limit": 2_000_000, "left": 1_750_000}
    assert run["units"]["money"] == money
    assert run["units"]["model_calls"] == {"spent": 1, "held": 0, "raised": 0, "limit": None, "left": None}
    assert [(each["of"], bool(each["window"]), each["units"]["money"]["left"]) for each in tenants] == [
        ("default", False, 99_750_000), ("default", True, 4_750_000),
    ]  # fmt: skip
    heads, *lines = windlass("budget", "show", "shop.py:shop", "--run", "s").out.splitlines()
    assert heads.split() == ["BUDGET", "OF", "WINDOW", "UNIT", "SPENT", "HELD", "RAISED", "LIMIT", "LEFT"]
    assert ["run", "s", "money", "0.25", "0", "0", "2", "1.75"] in [line.split() for line in lines]
    assert [each["per"] for each in windlass("budget", "show", "--json").objects] == ["tenant", "tenant"]
    assert windlass("budget", "show", "--tenant", "default", "--json").out == windlass("budget", "show", "--json").out


def test_who_holds_and_who_raised(windlass: Windlass) -> None:
    windlass("run", "shop.py:shop", "--input", "tea", "--id", "s")
    want = {"money": 500_000}
    own = BudgetOp(run="s", epoch=2, at=1.0, want=want, raise_by={"money": 1_000_000}, raise_id="q")
    tenant = BudgetOp(run="other", epoch=2, at=1.0, want=want)
    adjust(
        Adjust("budget|run|s", own),
        Adjust("budget|tenant|default", tenant),
        Adjust("budget|tenant|default2", tenant),
        claims="s",  # nobody else is granted anything of its budget
    )
    run, default = windlass("budget", "show", "shop.py:shop", "--run", "s", "--json").objects
    assert run["units"]["money"] == {
        "spent": 250_000, "held": 500_000, "raised": 1_000_000, "limit": 2_000_000, "left": 2_250_000
    }  # fmt: skip
    assert run["holders"] == {"s": {"epoch": 2, "amounts": want}}
    assert (default["of"], default["holders"]) == ("default", {"other": {"epoch": 2, "amounts": want}})
    assert "  other holds 0.5 money of the tenant default's" in windlass("budget", "show").out.splitlines()


def test_no_budget(windlass: Windlass) -> None:
    windlass("run", "flows.py:steady", "--input", "1", "--id", "s")
    assert windlass("budget", "show").out == "nothing was spent under a budget\n"
    assert windlass("budget", "show", "--run", "nothing").code == 2
    assert windlass("budget", "show", "shop.py:nothing").code == 4
