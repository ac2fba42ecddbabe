import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.core.errors import DefinitionError
from windlass.policies import cel
from windlass.policies.cel import DEEPEST, FUNCTIONS, MOST_CHARACTERS, MOST_TOKENS, MOST_VALUES, Sight, condition


class Colour(StrEnum):
    RED = "red"


class Size(Enum):
    BIG = 3


@dataclass
class Order:
    amount: int


class Parcel(msgspec.Struct):
    order: Order


def sight(**args: Any) -> Sight:
    variables: dict[str, Any] = dict.fromkeys(cel.VARIABLES, "")
    return Sight({**variables, "args": args, "roles": ("analyst",), "tool": "pricing", "tenant": "acme"})


@pytest.mark.parametrize(
    ("source", "args", "holds"),
    [
        ("args.amount <= 10000", {"amount": 10000}, True),
        ("args.amount <= 10000", {"amount": 10001}, False),
        ("args.amount <= 10000", {"amount": 9.5}, True),
        ("args.amount <= 10000", {"amount": Decimal("9.99")}, True),
        ("args.amount <= 10000", {"amount": Decimal("10000.01")}, False),
        ('tool == "pricing" && tenant == "acme" && "analyst" in roles', {}, True),
        ("has(args.note)", {}, False),
        ("args.items.all(item, item.amount < 5)", {"items": [{"amount": 1}, {"amount": 4}]}, True),
        ("args.items.exists(item, item < 0)", {"items": (1, -2)}, True),
        ("args.parcel.order.amount == 3", {"parcel": Parcel(Order(3))}, True),
        ('args.colour == "red" && args.size == 3', {"colour": Colour.RED, "size": Size.BIG}, True),
        ('args.url.startsWith("https://") && args.url.matches("^[a-z:/.]+$")', {"url": "https://a.b"}, True),
        ("args.at < timestamp('2030-01-01T00:00:00Z')", {"at": datetime(2026, 1, 1, tzinfo=UTC)}, True),
        ("args.wait <= duration('1h')", {"wait": timedelta(minutes=5)}, True),
        ("args.data == b'x'", {"data": b"x"}, True),
        ("args.nothing == null", {"nothing": None}, True),
        ("size(args) == 2", {"a": 1, "b": 2}, True),
    ],
)
def test_a_condition_holds_or_does_not(source: str, args: dict[str, Any], holds: bool) -> None:
    assert sight(**args).judge(source) is holds


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def round_and_round() -> list[Any]:
    circle: list[Any] = []
    circle += [circle, circle, circle]
    return circle


UNSEEN = {
    "nan": (float("nan"), "finite"),
    "infinite": (float("inf"), "finite"),
    "signalling": (Decimal("sNaN"), "sNaN"),
    "large": (2**63, "64 bits"),
    "small": (-(10**40), "64 bits"),
    "digits": (Decimal("10000.00000000000000001"), "digits"),
    "overflow": (Decimal("1e999"), "finite"),
    "surrogate": ("a\ud800b", "surrogate"),
    "key": ({1: 2}, "a key that is a int"),
    "odd key": ({"\udfff": 2}, "surrogate"),
    "object": (object(), "a object"),
    "set": ({1}, "a set"),
    "naive": (datetime(2026, 1, 1), "a datetime"),  # noqa: DTZ001 -- the zone is what is missing
    "kind": (type("Sly", (int,), {})(5), "a Sly"),
    "text": (type("Sly", (str,), {})("x"), "a Sly"),
    "deep": (nested(DEEPEST + 1), "deep"),
    "circle": (round_and_round(), "more than"),
    "many": ([0] * MOST_VALUES, "values"),
    "long": ("x" * (MOST_CHARACTERS + 1), "characters"),
    "bytes": (b"x" * (MOST_CHARACTERS + 1), "characters"),
}


@pytest.mark.parametrize("name", UNSEEN)
def test_a_value_that_cel_does_not_hold_exactly_is_not_judged(name: str) -> None:
    value, said = UNSEEN[name]
    asked = sight(amount=5, odd=value)
    for source in ("args.amount <= 10000", "true || args.amount == 1", "!has(args.odd)"):
        why = asked.judge(source)
        assert isinstance(why, str)
        assert said in why or name == "signalling"
    assert asked.judge('tool == "pricing"') is True  # it does not look at them


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("args.missing <= 3", "there is no field 'missing'"),
        ("args.amount > '3'", "No such overload"),
        ("args.amount / 0 > 1", "division by zero"),
        ("args.list[7] == 1", "index out of bounds"),
        ("args.amount", "it gives int, not true or false"),
        ("tool", "it gives str, not true or false"),
        ("args.amount == 5 ? null : true", "it gives NoneType, not true or false"),
        ("x + y", "there is no 'x'"),
        ("9223372036854775807 + args.amount > 0", "overflow"),
    ],
)
def test_what_cannot_be_judged_is_said(source: str, why: str) -> None:
    said = sight(amount=5, list=[1]).judge(source)
    assert isinstance(said, str)
    assert why.lower() in said.lower()


def test_the_deeper_macros_are_nested_the_fewer_values_they_go_through() -> None:
    asked = sight(items=list(range(2_000)))
    assert asked.judge("args.items.all(x, x >= 0) && args.items.exists(x, x == 7)") is True
    assert asked.judge("args.items.all(x, (args.items.exists(y, y == x)))") == (
        "args holds 2,001 values, and its macros are nested: 1,000 is the most"
    )
    assert sight(items=[1, 2]).judge("args.items.all(x, args.items.exists(y, y == x))") is True
    assert asked.judge("args.items.all(x, size(args.items) > x)") is True


def test_args_that_are_no_mapping_are_not_judged() -> None:
    variables = dict.fromkeys(cel.VARIABLES, "") | {"args": 3}
    assert isinstance(Sight(variables).judge("args.amount <= 3"), str)
    assert isinstance(sight(**{"a\ud800": 3}).judge("has(args.x)"), str)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("args.amount <=", "1:15"),
        ("", "mismatched"),
        ("   ", "mismatched"),
        ("tol == 'x'", "there is no 'tol'"),
        ("amount <= 3", "there is no 'amount'"),
        (".args.amount < 3", "there is no '.args'"),
        ("args.items.all(x, y > 2)", "there is no 'y'"),
        ("foo(args)", "there is no function 'foo'"),
        ("args.x.lowerAscii() == 'x'", "there is no function 'lowerAscii'"),
        ("args.items.all(tool, tool == 'x')", "'tool' would hide"),
        ("args.items.exists(args, args.x == 1)", "'args' would hide"),
        ("true" + " && true" * MOST_TOKENS, "is the most"),
        ("(" * 150 + "true" + ")" * 150, "recursion limit"),
        ("args.a.all(a, a.all(b, b.all(c, c.all(d, d))))", "nested 4 deep"),
        ("tool == '\ud800'", ""),
    ],
)
def test_what_is_no_condition_is_refused(source: str, said: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        condition(source)
    assert caught.value.code == "permission.condition"
    assert said.lower() in str(caught.value).lower()
    str(caught.value).encode()


@pytest.mark.parametrize(
    ("source", "arguments"),
    [
        ("args.amount <= 3 && args . city == 'x'", ("amount", "city")),
        ("args['amount'] < 3 || has(args.note)", ("amount", "note")),
        ('args["a b"] == 1', ("a b",)),
        ("args.order.args.x == 3", ("order",)),
        ("args.size() == 1 && args.exists(k, k == 'x')", ()),
        ("'args.no' == \"args.no\" // args.no", ()),
        ("r'\\' == 'args.no' && args.yes", ("yes",)),
        ("'''args.no ' ''' == 'it\\'s args.no' && args.yes == 1", ("yes",)),
        ("size(args) == 1 && args[tool] == 2", ()),
        ("args.amount + args.amount == .5e3", ("amount",)),
    ],
)
def test_the_arguments_that_a_condition_looks_at_are_known(source: str, arguments: tuple[str, ...]) -> None:
    assert condition(source).arguments == arguments


def test_every_known_function_is_one_of_the_library() -> None:
    import cel as library

    tries = ["{}('a')", "{}(1)", "'a'.{}('a')", "{}('1h')", "{}('2030-01-01T00:00:00Z')"]
    tries += ["timestamp('2030-01-01T00:00:00Z').{}()"]
    for name in FUNCTIONS:
        said = []
        for text in tries:
            try:
                library.compile(text.format(name)).execute({})
                break
            except Exception as error:  # noqa: BLE001 -- any other error is an answer, too
                said.append(str(error))
        else:
            pytest.fail(f"{name}: {said}")


@given(st.text(st.characters(codec=None), max_size=40))
def test_no_text_is_worse_than_refused(source: str) -> None:
    with suppress(DefinitionError):
        assert condition(source).variables is not None


values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters(codec=None), max_size=5),
        st.decimals(), st.binary(max_size=3), st.datetimes(), st.builds(object),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["amount", "items", "odd"]), values))
def test_no_argument_is_worse_than_not_judged(args: dict[str, Any]) -> None:
    for source in ("args.amount <= 10000", "args.items.all(x, x > 1)", "args.odd == args.amount", "size(args) < 2"):
        said = sight(**args).judge(source)
        assert isinstance(said, bool | str)
        assert not isinstance(said, str) or said.encode()


def test_the_library_is_imported_by_the_first_condition() -> None:
    program = (
        "import sys, windlass; from windlass.policies.permission import Allow\n"
        "Allow('x'); assert 'cel' not in sys.modules\n"
        "Allow('x', when='true'); assert 'cel' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_without_the_extra_a_condition_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cel", None)
    condition.cache_clear()
    with pytest.raises(DefinitionError, match=r"pip install 'windlass\[cel\]'") as caught:
        condition("true == true")
    assert caught.value.code == "permission.extra"


def test_a_defect_of_the_library_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    class Panic(BaseException):
        pass

    class Broken:
        def execute(self, context: Any = None, /) -> Any:
            raise Panic("index out of bounds")

        def references(self) -> dict[str, list[str]]:
            return {}

    monkeypatch.setattr(cel, "condition", lambda source: cel.Condition(source, Broken(), (), ()))
    assert sight().judge("true") == "Panic: index out of bounds"


def test_the_longest_condition_fits_a_small_stack() -> None:
    program = (
        "import threading\n"
        "from windlass.policies.cel import MOST_TOKENS as most, Sight\n"
        "nested = 1\n"
        "for _ in range(31):\n    nested = {'a': nested}\n"
        "sources = ['!' * (most - 1) + 'true', 'args.n == 1' + '+1' * (most // 2 - 3)]\n"
        "sources += ['args.n' + '.a' * (most // 2 - 2)]\n"
        "judge = lambda: [Sight({'args': {'n': nested}}).judge(source) for source in sources]\n"
        "threading.stack_size(256 * 1024)\n"
        "thread = threading.Thread(target=judge)\n"
        "thread.start(); thread.join()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
