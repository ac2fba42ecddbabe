"""How breakers and limits stand, who probes, and who holds permits."""

from pathlib import Path

from tests.cli.conftest import Windlass, adjust
from windlass.core.changes import Adjust
from windlass.core.tallies import BreakerOp, LimitOp, Verb

SHOP = """
from windlass import Breaker, Limit, Pipeline, task


@task(breaker=Breaker("till", failures=1, cooldown=300, on=KeyError), limits=[Limit("till", rate="1/min")])
async def buy(item: str) -> int:
    raise KeyError(item)


shop = Pipeline("shop", [buy])
"""
HOLDER = "r|1|a#1"


def told(verb: Verb, at: float) -> BreakerOp:
    return BreakerOp(verb=verb, holder=HOLDER, at=at, failures=1, window=60.0, cooldown=1.0, patience=1e9)


def test_nothing_has_happened(windlass: Windlass) -> None:
    windlass("run", "flows.py:steady", "--input", "1", "--id", "s")
    assert windlass("breakers", "list").out == "no breaker has met a failure, and no limit is in use\n"
    assert windlass("breakers", "list", "--json").out == ""


def test_breakers_and_limits(windlass: Windlass, folder: Path) -> None:
    (folder / "shop.py").write_text(SHOP)
    assert windlass("run", "shop.py:shop", "--input", "nothing", "--id", "s").code == 1
    breaker, limit = windlass("breakers", "list", "--json").objects
    assert (breaker["kind"], breaker["name"], breaker["scope"], breaker["of"]) == ("breaker", "till", "fleet", None)
    assert (breaker["status"], breaker["opened"], breaker["is_due"], breaker["probe"]) == ("open", 1, False, None)
    assert (limit["kind"], limit["busy"], limit["held"]) == ("limit", 0, {})
    assert limit["full_at"]
    _, first, second = windlass("breakers", "list").out.splitlines()
    assert first.split()[:6] == ["breaker", "till", "fleet", "open,", "opened", "1"]
    assert second.split()[:3] == ["limit", "till", "fleet"]


def test_who_probes_and_who_has_permits(windlass: Windlass) -> None:
    windlass("run", "flows.py:steady", "--input", "1", "--id", "s")
    limit = LimitOp(run="r", epoch=1, at=1.0, take=2, until=4e9, concurrency=3)
    adjust(
        Adjust("breaker|tenant|acme|x", told("failed", 1.0)),
        Adjust("breaker|tenant|a%7Cb|x", told("failed", 1.0)),
        Adjust("breaker|tenant|acme|x", told("ask", 10.0)),
        Adjust("limit|node|review.find|y", limit),
    )
    due, probed, held = windlass("breakers", "list", "--json").objects
    assert (due["of"], due["status"], due["is_due"]) == ("a|b", "open", True)
    assert (probed["of"], probed["status"], probed["probe"]) == ("acme", "half-open", HOLDER)
    assert (held["of"], held["busy"], held["held"]["r"]["permits"]) == ("review.find", 2, 2)
    said = windlass("breakers", "list").out
    for part in ("may be probed", HOLDER, "2 in use", "r (2)"):
        assert part in said
