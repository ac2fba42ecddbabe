"""When a failed attempt is tried again, and what makes no Retry."""

import math
from datetime import timedelta
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.core.errors import DefinitionError
from windlass.policies.retry import NO_RETRY, Retry, asked_for, naming, next_wait

NOW = 1_800_000_000.0


async def too_late(error: BaseException) -> bool:
    return True


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({}, "retry.on"),
        ({"on": "ConnectionError"}, "retry.on"),
        ({"on": ()}, "retry.on"),
        ({"on": (OSError, "x")}, "retry.on"),
        ({"on": int}, "retry.on"),
        ({"on": too_late}, "retry.on"),
        ({"on": OSError, "max_attempts": 0}, "retry.max_attempts"),
        ({"on": OSError, "max_attempts": math.inf}, "retry.max_attempts"),
        ({"on": OSError, "max_attempts": True}, "retry.max_attempts"),
        ({"on": OSError, "initial": -1}, "retry.wait"),
        ({"on": OSError, "initial": math.nan}, "retry.wait"),
        ({"on": OSError, "cap": math.inf}, "retry.wait"),
        ({"on": OSError, "factor": 0.5}, "retry.wait"),
        ({"on": OSError, "jitter": 1.1}, "retry.wait"),
    ],
)
def test_a_retry_that_cannot_be(wrong: dict[str, Any], code: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        Retry(**wrong)
    assert caught.value.code == code
    assert caught.value.hint


def test_a_wait_grows_up_to_its_cap() -> None:
    retry = Retry(on=OSError, max_attempts=5, initial=1, factor=3, cap=timedelta(seconds=10), jitter=0)  # type: ignore[arg-type]
    waits = [next_wait(retry, n, OSError(), dice=0.5, asked_for=None, ceiling=99) for n in range(1, 6)]
    assert waits == [1, 3, 9, 10, None]


def test_a_fixed_wait_stays() -> None:
    retry = Retry.fixed(timedelta(seconds=2), on=OSError, max_attempts=4)
    waits = [next_wait(retry, n, OSError(), dice=n / 4, asked_for=None, ceiling=99) for n in range(1, 5)]
    assert waits == [2, 2, 2, None]
    with pytest.raises(DefinitionError, match="does not say which errors"):
        Retry.fixed(1)


def test_no_retry_is_one_attempt() -> None:
    assert next_wait(NO_RETRY, 1, OSError(), dice=0, asked_for=None, ceiling=99) is None


def test_the_first_rule_that_names_the_error_decides() -> None:
    rules = (Retry(on=TimeoutError, max_attempts=2), NO_RETRY, Retry(on=OSError))
    assert naming(rules, TimeoutError()) is rules[0]
    assert naming(rules, ConnectionError()) is NO_RETRY
    assert naming(rules, KeyboardInterrupt()) is None


class Saying(Exception):
    def __init__(self, retry_after: Any = None, headers: Any = None) -> None:
        super().__init__()
        self.retry_after = retry_after
        self.response = type("Response", (), {"headers": headers})()


@pytest.mark.parametrize(
    ("error", "wait"),
    [
        (OSError(), None),
        (Saying(3), 3),
        (Saying("2.5"), 2.5),
        (Saying(timedelta(minutes=1)), 60),
        (Saying(formatdate(NOW + 90, usegmt=True)), 90),
        (Saying(formatdate(NOW + 90)), 90),
        (Saying(formatdate(NOW - 90, usegmt=True)), 0),
        (Saying(-5), 0),
        (Saying(math.nan), None),
        (Saying(math.inf), None),
        (Saying("soon"), None),
        (Saying([1]), None),
        (Saying(headers={"retry-after": "7"}), 7),
        (Saying(headers={"Retry-After": "7"}), 7),
        (Saying(headers={"retry-after": b"7"}), 7),
        (Saying(headers={}), None),
        (Saying(headers=3), None),
    ],
)
def test_what_the_other_side_asks_for(error: Exception, wait: float | None) -> None:
    assert asked_for(error, NOW) == wait


def test_an_error_with_properties_that_raise_asks_for_nothing() -> None:
    class Odd(Exception):
        @property
        def retry_after(self) -> float:
            raise RuntimeError

    assert asked_for(Odd(), NOW) is None


@given(
    st.integers(1, 200), st.floats(0, 1), st.none() | st.floats(0, 1e9), st.floats(0, 1e6), st.floats(1, 1e6),
    st.floats(0, 1),
)  # fmt: skip
def test_no_wait_is_above_the_ceiling(
    attempt: int, dice: float, asked: float | None, ceiling: float, factor: float, jitter: float
) -> None:
    retry = Retry(on=OSError, max_attempts=100, factor=factor, jitter=jitter)
    wait = next_wait(retry, attempt, OSError(), dice=dice, asked_for=asked, ceiling=ceiling)
    if attempt >= 100:
        assert wait is None
    else:
        assert wait is not None
        assert 0 <= wait <= ceiling
        assert wait >= min(asked or 0, ceiling)
