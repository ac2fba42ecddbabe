"""Free words for times and numbers: one meaning, or none. The corpus has the many cases, this what is left."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.policies.normal import Unclear, day, number, when

NOW = datetime(2026, 11, 21, 11, tzinfo=UTC)  # a Saturday


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2-3 days", "2026-11-23/2026-11-24"),
        ("48 hours", "PT48H"),
        ("by Thursday", "2026-11-26"),
        ("1.5 seconds", "PT1.5S"),
        ("a year", "P1Y"),
        ("two months", "P2M"),
        ("p3d", "P3D"),
        ("pt0.5s", "PT0.5S"),
        ("2026-12-05T10:00+01:00", "2026-12-05T10:00:00+01:00"),
        ("the day after tomorrow", "2026-11-23"),
    ],
)
def test_words_for_a_time(text: str, iso: str) -> None:
    assert when(text, NOW) == iso


@pytest.mark.parametrize(
    "text", ["soon", "1.5 hours", "2 business days", "3-1 days", "1-2 hours", "x days", "9999999 d"]
)
def test_words_that_are_no_time(text: str) -> None:
    with pytest.raises(Unclear):
        when(text, NOW)


@pytest.mark.parametrize(
    ("text", "now", "iso"),
    [
        ("1 month", datetime(2027, 1, 31, tzinfo=UTC), "2027-02-28"),
        ("1 month", datetime(2028, 1, 31, tzinfo=UTC), "2028-02-29"),
        ("1 year", datetime(2028, 2, 29, tzinfo=UTC), "2029-02-28"),
        ("3 business days", datetime(2026, 11, 27, tzinfo=UTC), "2026-12-02"),
        ("10 business days", datetime(2026, 11, 25, tzinfo=UTC), "2026-12-09"),
        ("0 business days", NOW, "2026-11-20"),
        ("29 February", datetime(2028, 1, 1, tzinfo=UTC), "2028-02-29"),
        ("today", datetime(2026, 11, 21, 23, tzinfo=timezone(timedelta(hours=-5))), "2026-11-21"),
    ],
)
def test_days_by_the_calendar(text: str, now: datetime, iso: str) -> None:
    assert day(text, now) == iso


@pytest.mark.parametrize("text", ["0.5 months", "99999 years", "99999 weeks ago", "29 February"])
def test_days_that_are_not_there(text: str) -> None:
    with pytest.raises(Unclear):
        day(text, NOW)


def test_the_author_may_know_the_order() -> None:
    assert day("03/04/2027", NOW, order="dmy") == "2027-04-03"
    assert when("03/04/2027", NOW, order="mdy") == "2027-03-04"
    assert day("04/04/2027", NOW) == "2027-04-04"


def test_the_author_may_know_the_mark() -> None:
    assert number("1,299", decimal=".") == Decimal(1299)
    assert number("1,299", decimal=",") == Decimal("1.299")


@given(st.decimals(min_value=-(10**12), max_value=10**12, places=2, allow_nan=False, allow_infinity=False))
def test_an_amount_as_two_countries_write_it(amount: Decimal) -> None:
    english = f"{amount:,.2f}"
    german = english.translate(str.maketrans(",.", ".,"))
    assert number(f"{english}") == number(f"{german} €") == amount


@given(st.text(max_size=30))
def test_any_text_is_a_number_or_unclear(text: str) -> None:
    for read in (number, lambda said: when(said, NOW), lambda said: day(said, NOW)):
        try:
            found = str(read(text))
        except Unclear as error:
            found = str(error)
        assert found
