"""Business rules: for a type or a field, wherever it stands; what is no verdict lets nothing pass."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict

import msgspec
import pytest
from pydantic import BaseModel

from windlass import Case, DefinitionError, Expect, Normal, OutputRefused, Rules, judge, rule
from windlass.policies.rules import read_rules


@dataclass(frozen=True)
class Line:
    price: float


@dataclass(frozen=True)
class Order:
    lines: tuple[Line, ...]
    by_name: dict[str, Line]
    note: str = ""


class Struct(msgspec.Struct, frozen=True):
    price: float
    note: str = ""


class Model(BaseModel):
    price: float
    note: str = ""


class Tuple(NamedTuple):
    price: float
    note: str = ""


class Dict(TypedDict):
    price: float
    note: str


def wrong(answer: Any, expect: Expect) -> list[str]:
    try:
        judge(answer, expect, 0.0)
    except OutputRefused as error:
        return list(map(str, error.problems))
    return []


def positive(price: float) -> bool | str:
    return price > 0 or "is not above 0"


def test_a_type_is_found_wherever_it_stands() -> None:
    expect = Expect(Order, rules=[rule(Line, field="price")(positive)])
    bad = {"lines": [{"price": 1}, {"price": -1}], "by_name": {"a": {"price": -2}}}
    assert wrong(bad, expect) == [
        "rules: lines[1].price: is not above 0 (got -1.0)", "rules: by_name.a.price: is not above 0 (got -2.0)",
    ]  # fmt: skip


def test_a_normal_form_is_put_in_its_place() -> None:
    @rule(Line, field="price")
    def rounded(price: float) -> Normal:
        return Normal(round(price))

    found = judge(
        {"lines": [{"price": 1.4}, {"price": 2}], "by_name": {"a": {"price": 3.6}}}, Expect(Order, rules=[rounded]), 0.0
    )
    assert found.value == Order((Line(1), Line(2)), {"a": Line(4)})


@pytest.mark.parametrize("kind", [Struct, Model, Tuple, Dict])
def test_every_kind_of_record(kind: Any) -> None:
    shout = rule(kind, field="note")(lambda note: Normal(note.upper()))
    check = rule(kind, field="price")(positive)
    given = [1.0, "hi"] if kind is Tuple else {"price": 1.0, "note": "hi"}
    value = judge(given, Expect(kind, rules=[shout, check]), 0.0).value
    assert (value["note"] if kind is Dict else value.note) == "HI"
    given = [-1.0, "hi"] if kind is Tuple else {"price": -1.0, "note": "hi"}
    assert wrong(given, Expect(kind, rules=[shout, check])) == ["rules: price: is not above 0 (got -1.0)"]


def test_inner_before_outer_and_fields_before_the_whole() -> None:
    seen: list[str] = []

    def note(name: str) -> Callable[[Any], None]:
        return lambda _: seen.append(name)

    rules = Rules()
    rules.add(note("order"), Order)
    rules.add(note("any"))
    rules.add(note("note"), Order, field="note")
    rules.add(note("line"), Line)
    rules.add(note("price"), Line, field="price")
    assert wrong({"lines": [{"price": 1}], "by_name": {}}, Expect(Order, rules=rules)) == []
    assert seen == ["price", "line", "note", "order", "any"]


def test_a_case_says_when_and_where() -> None:
    seen: list[Case] = []

    @rule(Line, field="price")
    def look(price: float, case: Case) -> None:
        seen.append(case)

    judge({"lines": [{"price": 1}], "by_name": {}}, Expect(Order, rules=[look]), 1_795_000_000.0)
    (case,) = seen
    assert (case.now.isoformat(), case.whole, case.path) == ("2026-11-18T11:06:40+00:00", Line(1.0), "lines[0].price")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (False, "rule one refuses it"),
        (0, "rule one returned 0"),
        ("", ""),
        ("no", "no"),
        (1.5, "rule one returned 1.5"),
        (Normal("x"), "its normal form does not fit"),
        (ValueError("not so"), "not so"),
        (ValueError(), "rule one refuses it"),
        (KeyError("x"), "rule one raised KeyError: 'x'"),
        (RecursionError(), "rule one raised RecursionError"),
    ],
)
def test_what_is_no_pass_is_a_problem(said: Any, message: str) -> None:
    @rule(int)
    def one(value: int) -> Any:
        if isinstance(said, Exception):
            raise said
        return said

    (found,) = wrong(7, Expect(int, rules=[one]))
    assert message in found


def test_rules_for_a_type_that_is_not_there_are_silent() -> None:
    assert (
        wrong(
            {"price": 1.0, "note": ""}, Expect(Dict, rules=[rule(Line)(lambda _: "no"), rule("Ticket")(lambda _: "no")])
        )
        == []
    )


NO: Any = 5


async def later(value: Any) -> None:
    pass


@pytest.mark.parametrize(
    "make",
    [
        lambda: rule(Line, field="prise")(positive),
        lambda: rule(Dict, field="prise")(positive),
        lambda: rule()(later),
        lambda: rule(5)(positive),
        lambda: rule()(lambda: None),
        lambda: rule()(lambda a, b, c: None),
        lambda: rule()(lambda value, *, case: None),
        lambda: rule()(NO),
        lambda: Rules([NO]),
        lambda: read_rules("no", "here"),
        lambda: read_rules(5, "here"),
        lambda: Expect(int, rules=NO),
    ],
)
def test_what_is_no_rule(make: Callable[[], Any]) -> None:
    with pytest.raises(DefinitionError) as refused:
        make()
    assert refused.value.code == "output.rule"


def test_a_builtin_and_an_object_are_rules() -> None:
    class Limit:
        def __call__(self, value: int) -> bool:
            return value < 10

    assert wrong(3, Expect(int, rules=[bool, Limit()])) == []
    assert wrong(0, Expect(int, rules=[bool])) == ["rules: rule bool refuses it (got 0)"]
    assert wrong(11, Expect(int, rules=[Limit()])) == ["rules: rule Limit refuses it (got 11)"]


def test_the_decorator_of_rules_leaves_the_function() -> None:
    rules = Rules()
    assert rules.rule(int)(positive) is positive
    assert [one.name for one in rules] == ["positive"]
