"""What is called, seen through what wraps it: the same in another process, another one for other code."""

import functools
from collections.abc import Callable
from typing import Any

import pytest

from windlass.core.codec import PLAIN
from windlass.engine.called import called_digest, code_digest, unwrapped

LOG: list[str] = []


def plainly(fn: Any) -> Callable[..., Any]:
    """Decorate without a word about what is decorated."""

    def inner(*given: Any) -> Any:
        return fn(*given)

    return inner


def wrapping(fn: Any) -> Callable[..., Any]:
    @functools.wraps(fn)
    def inner(*given: Any) -> Any:
        return fn(*given)

    return inner


class Kept:
    """A decorator that is an object."""

    def __init__(self, fn: Any) -> None:
        self.fn = fn

    def __call__(self, *given: Any) -> Any:
        return self.fn(*given)


WAYS: dict[str, Callable[[Any], Any]] = {
    "itself": lambda fn: fn,
    "partial": lambda fn: functools.partial(fn, 1),
    "partial of a partial": lambda fn: functools.partial(functools.partial(fn, 1), 2),
    "decorated": plainly,
    "wraps": wrapping,
    "decorated twice": lambda fn: plainly(wrapping(fn)),
    "a partial decorated": lambda fn: plainly(functools.partial(fn, 1)),
    "an object": Kept,
    "cached": functools.lru_cache,
    "method": lambda fn: type("One", (), {"pay": fn})().pay,
    "class method": lambda fn: type("One", (), {"pay": classmethod(fn)}).pay,  # type: ignore[attr-defined]
    "called object": lambda fn: type("One", (), {"__call__": fn})(),
    "class": lambda fn: type("One", (), {"__init__": fn}),
    "made by a class": lambda fn: type("One", (), {"__new__": fn}),
}


def paying(code: str) -> Any:
    made: dict[str, Any] = {"LOG": LOG}
    exec(f"def pay(*given):\n    LOG.append({code!r})", made)
    return made["pay"]


@pytest.mark.parametrize("way", WAYS)
def test_the_code_counts_however_it_is_wrapped(way: str) -> None:
    first, same, other = (called_digest(PLAIN, WAYS[way](paying(code))) for code in ("good", "good", "evil"))
    assert first == same != other


def closing(name: str) -> Any:
    made: dict[str, Any] = {}
    said = f"def outer(ann, bob):\n    def pay(n):\n        return {name}\n    return pay\npay = outer(1, 2)"
    exec(said, made)
    return made["pay"]


def trying(code: str) -> Any:
    made: dict[str, Any] = {}
    exec(f"def pay(n):\n    {code}", made)
    return made["pay"]


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (closing("ann"), closing("bob")),  # the same instructions, of other names
        (trying("return n"), trying("return -n")),
        (lambda n, to="ann": n, lambda n, to="bob": n),
        (lambda n, *, to="ann": n, lambda n, *, to="bob": n),
        (plainly(functools.partial(LOG.append, "ann")), plainly(functools.partial(LOG.append, "bob"))),
        (print, sorted),
        (int, str),
    ],
)
def test_these_differ(one: Any, two: Any) -> None:
    assert called_digest(PLAIN, one) != called_digest(PLAIN, two)


def test_what_an_exception_is_caught_around_is_code() -> None:
    code: Any = trying("try:\n        LOG.append(n)\n    except ValueError:\n        pass").__code__
    assert code_digest(code) != code_digest(code.replace(co_exceptiontable=b""))


def test_what_cannot_be_encoded_is_told_by_its_type() -> None:
    def client(given: Any) -> Any:
        return lambda n, client=given: n

    assert called_digest(PLAIN, client(Kept(1))) == called_digest(PLAIN, client(Kept(2)))
    assert called_digest(PLAIN, client(Kept(1))) != called_digest(PLAIN, client(object()))


def test_functions_that_know_one_another() -> None:
    def outer(n: int) -> int:
        return inner(n)

    def inner(n: int) -> int:
        return outer(n)

    assert called_digest(PLAIN, outer) == called_digest(PLAIN, outer) != called_digest(PLAIN, inner)


def test_a_cell_that_is_filled_later() -> None:
    def outer(n: int) -> int:
        return inner(n)

    found = called_digest(PLAIN, outer)

    def inner(n: int) -> int:
        return n

    assert found != called_digest(PLAIN, outer)


def test_a_partial_is_a_function_and_arguments() -> None:
    fn = paying("good")
    given = functools.partial(functools.partial(fn, 1, a=1, b=1), 2, b=2)
    assert unwrapped((given, (3,), {"c": 3})) == (fn, (1, 2, 3), {"a": 1, "b": 2, "c": 3})
