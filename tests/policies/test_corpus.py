"""Two hundred and more answers as models write them: each goes to its route, with its value or what is wrong with it.

One line of corpus/answers.jsonl is one answer: `text` (repeated `times`), what is expected (`schema`, and what differs
from it: repairs that are left, `ask`, `partial`), and what has to come of it: the `way`, and the `value`, or what is
`wrong`: layer, path, and a part of the message of each problem.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pytest
from pydantic import BaseModel, Field

from windlass import Case, Expect, Normal, rule
from windlass.policies import normal
from windlass.policies.output import assess, passed, route

pytest.importorskip("jsonschema_rs")
NOW = datetime(2026, 11, 21, 11, tzinfo=UTC).timestamp()  # a Saturday
LINES = (Path(__file__).parent / "corpus" / "answers.jsonl").read_text(encoding="utf-8").split("\n")
CORPUS: list[dict[str, Any]] = [json.loads(line) for line in LINES if line]


@dataclass(frozen=True)
class Line:
    name: str
    price: float


@dataclass(frozen=True)
class Invoice:
    vendor: str
    number: str
    total: float | str
    currency: Literal["EUR", "USD", "GBP"]
    due: str
    paid: bool = False
    lines: tuple[Line, ...] = ()
    sure: float = 1.0


class Person(BaseModel):
    name: str
    age: Annotated[int, Field(ge=0)]
    mail: str


class Point(TypedDict):
    x: float
    y: float


class User(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    user_id: int
    name: str


@dataclass(frozen=True)
class Delivery:
    lead: str


TICKET = {
    "title": "Ticket",
    "type": "object",
    "properties": {
        "title": {"type": "string", "minLength": 1},
        "level": {"type": "integer", "minimum": 1, "maximum": 5},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["title"],
    "additionalProperties": False,
}


@rule(Invoice, field="total")
def total(given: float | str) -> Normal | str:
    amount = float(normal.number(given)) if isinstance(given, str) else float(given)
    return Normal(amount) if amount > 0 else "is not above 0"


@rule(Line, field="price")
def price(given: float) -> bool | str:
    return given > 0 or "is not above 0"


@rule(Invoice, field="due")
def due(given: str, case: Case) -> Normal | str:
    day = normal.day(given, case.now)
    return Normal(day) if day >= case.now.date().isoformat() else "is in the past"


@rule(Delivery, field="lead")
def lead(given: str, case: Case) -> Normal:
    return Normal(normal.when(given, case.now))


@rule("Ticket", field="title")
def title(given: str) -> bool | str:
    return given != "test" or "says nothing"


INVOICE = Expect(Invoice, rules=[total, price, due], confidence="sure", act=0.8, ask=0.4)
EXPECTED: dict[str, Callable[[], Expect]] = {
    "invoice": lambda: INVOICE,
    "fenced": lambda: replace_with(INVOICE, parser="fenced"),
    "strict": lambda: replace_with(INVOICE, parser="json"),
    "choice": lambda: Expect(Literal["approve", "reject"]),
    "whole": lambda: Expect(int),
    "lines": lambda: Expect(list[Line]),
    "ticket": lambda: Expect(TICKET, rules=[title]),
    "person": lambda: Expect(Person),
    "point": lambda: Expect(Point),
    "struct": lambda: Expect(User),
    "note": lambda: Expect(str),
    "when": lambda: Expect(Delivery, rules=[lead]),
}


def replace_with(expect: Expect, **options: Any) -> Expect:
    return replace(expect, **options)


def plain(value: Any) -> Any:
    """Show a value as JSON would, with the defaults that its type has."""
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, Invoice):
        return {name: plain(getattr(value, name)) for name in Invoice.__dataclass_fields__}
    return msgspec.json.decode(msgspec.json.encode(value))


def test_there_are_two_hundred_and_more() -> None:
    assert len(CORPUS) >= 200
    assert len({one["id"] for one in CORPUS}) == len(CORPUS)
    assert {one["way"] for one in CORPUS} == {"act", "repair", "ask", "dead_letter"}
    assert {layer for one in CORPUS for layer, _, _ in one.get("wrong", ())} == {
        "parser", "schema", "rules", "confidence",
    }  # fmt: skip


@pytest.mark.parametrize("one", CORPUS, ids=lambda one: one["id"])
def test_an_answer_goes_its_way(one: dict[str, Any]) -> None:
    options = {name: one[name] for name in ("ask", "partial") if name in one}
    expect = replace_with(EXPECTED[one["schema"]](), **options)
    verdict = assess(one["text"] * one.get("times", 1), expect, NOW)
    assert (route(verdict, expect, one.get("repairs", 1)), verdict.problems if one["way"] == "act" else ()) == (
        one["way"], (),
    )  # fmt: skip
    wrong = [list(each) for each in one.get("wrong", ())]
    found = [[problem.layer, problem.path] for problem in verdict.problems]
    assert found == [each[:2] for each in wrong]
    for problem, (_, _, message) in zip(verdict.problems, wrong, strict=True):
        assert message in problem.message
        assert len(problem.got) <= 200
    if "value" in one:
        assert plain(verdict.value) == one["value"]
    if one["way"] == "act":
        assert passed(verdict, ()).degraded is one.get("degraded", False)
