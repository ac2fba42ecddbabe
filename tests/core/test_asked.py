"""What an answer is judged by says what its type says, as far as a schema can."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal, NamedTuple, NewType, TypedDict
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from windlass.core.asked import asked_schema, check_wanted
from windlass.core.errors import InputError
from windlass.core.schema import misfit
from windlass.core.types import convert, json_schema
from windlass.core.words import Answered


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


@dataclass
class Meeting:
    at: datetime
    took: timedelta | None = None
    then: "list[Meeting] | None" = None


class Slot(NamedTuple):
    at: time
    day: date


class Loose(TypedDict, total=False):
    id: UUID


class Cat(msgspec.Struct, tag=True, rename="camel"):
    was_born: datetime


class Dog(msgspec.Struct, tag=True):
    was_born: str


class Row(msgspec.Struct, array_like=True, tag=True):
    at: datetime


@dataclass
class Price:
    of: Decimal


class Model(BaseModel):
    at: datetime
    day: date
    id: UUID
    lasts: timedelta


AT, DAY, SPAN = "2026-01-31T12:00:00Z", "2026-01-31", "PT5M"
ID = "00000000-0000-4000-8000-000000000000"
When = NewType("When", datetime)
GOOD = [
    (datetime, AT), (datetime, "2026-01-31T12:00:00"), (datetime, "2026-01-31T12:00:00.5+01:00"), (date, DAY),
    (time, "12:00:00"), (time, "12:00:00Z"), (timedelta, SPAN), (timedelta, "-P1DT0.5S"), (UUID, ID),
    (Decimal, "1.50"), (Decimal, "NaN"), (bytes, "YQ=="), (bytearray, ""), (When, AT), (datetime | None, None),
    (datetime | None, AT), (datetime | int, 5), (list[date], [DAY]), (tuple[date, ...], [DAY]),
    (Slot, ["12:00:00", DAY]),
    (tuple[date, int], [DAY, 1]), (dict[date, UUID], {DAY: ID}), (dict[int, str], {"-5": ""}),
    (dict[str, int], {"x": 1}),
    (dict[Literal["a", 5], int], {"a": 1, "5": 1}), (dict[Colour, int], {"red": 1}), (dict[Level, int], {"1": 1}),
    (Meeting, {"at": AT, "took": SPAN, "then": [{"at": AT}]}), (Loose, {"id": ID}), (Loose, {}),
    (Cat | Dog | None, {"type": "Dog", "was_born": "long ago"}), (Cat | Dog | None, {"type": "Cat", "wasBorn": AT}),
    (Row, ["Row", AT]), (Meeting | Price, {"at": AT}), (Meeting | Price, {"of": "1.5"}), (date | str, "soon"),
    (Annotated[datetime, msgspec.Meta(title="when")], AT), (Annotated[time, msgspec.Meta(tz=False)], "12:00:00"),
    (Model, {"at": AT, "day": DAY, "id": ID, "lasts": "P1W"}), ({"type": "string", "format": "duration"}, "P1Y2M"),
    ({"type": "string", "format": "email"}, "x"),
]  # fmt: skip
BAD = [
    (datetime, "x"), (datetime, DAY), (datetime, "2026-13-31T12:00:00Z"), (date, "31.1.2026"), (date, "2026-02-30"),
    (time, "noon"), (time, "25:00:00"), (timedelta, "5 min"), (timedelta, "P1Y"), (timedelta, "P1M"),
    (timedelta, "P1W"),
    (UUID, "x"), (Decimal, "x"), (bytes, "red"), (bytearray, "a b"), (When, "x"), (datetime | None, "x"),
    (datetime | int, "x"), (list[date], ["x"]), (tuple[date, ...], ["x"]), (Slot, ["x", DAY]),
    (Slot, ["12:00:00", "x"]),
    (tuple[date, int], ["x", 1]), (dict[date, UUID], {DAY: "x"}), (dict[date, int], {"x": 1}),
    (dict[int, str], {"x": ""}),
    (dict[Literal["a", 5], int], {"b": 1}), (dict[Colour, int], {"blue": 1}), (dict[Level, int], {"2": 1}),
    (Meeting, {"at": "x"}), (Meeting, {"at": AT, "took": "x"}), (Meeting, {"at": AT, "then": [{"at": "x"}]}),
    (Loose, {"id": "x"}), (Cat | Dog | None, {"type": "Cat", "wasBorn": "long ago"}), (Row, ["Row", "x"]),
    (Meeting | Price, {"at": "x"}), (Meeting | Price, {"of": "x"}),
    (Model, {"at": "x", "day": DAY, "id": ID, "lasts": SPAN}),
    (Model, {"at": AT, "day": "x", "id": ID, "lasts": SPAN}), (Model, {"at": AT, "day": DAY, "id": "x", "lasts": SPAN}),
    (Model, {"at": AT, "day": DAY, "id": ID, "lasts": "long"}), ({"type": "string", "format": "duration"}, "P"),
    ({"type": "string", "format": "date"}, "x"),
]  # fmt: skip


def judged_by(kind: Any) -> dict[str, Any]:
    return kind if isinstance(kind, dict) else asked_schema(kind)


@pytest.mark.parametrize(("kind", "value"), GOOD)
def test_what_fits(kind: Any, value: Any) -> None:
    assert misfit(value, judged_by(kind)) == ""
    if not isinstance(kind, dict) and kind is not Model:
        convert(value, kind, "answer")


@pytest.mark.parametrize(("kind", "value"), BAD)
def test_what_does_not_fit(kind: Any, value: Any) -> None:
    assert misfit(value, judged_by(kind)) != ""


WORDS = [AT, DAY, SPAN, ID, "", "1.5", "Infinity", "1e5", "12:00:00", "P1DT1H", "p1dt0.5s", "+P1D", "YQ==", "YQ"]
SPANS = st.from_regex(r"[+-]?P([0-9]{1,2}[DWMY]){0,2}(T([0-9]{1,2}[HMS]){0,2})?", fullmatch=True)
TEXTS = st.sampled_from(WORDS) | SPANS | st.text(max_size=4)


@given(st.sampled_from([datetime, date, time, timedelta, UUID, Decimal, bytes]), TEXTS)
def test_what_the_type_takes_the_schema_takes_and_no_more(kind: Any, text: str) -> None:
    try:
        convert(text, kind, "answer")
    except InputError:
        assert misfit(text, asked_schema(kind)) != ""
    else:
        assert misfit(text, asked_schema(kind)) == ""


@pytest.mark.parametrize(
    "value",
    [
        datetime(2026, 1, 31, tzinfo=UTC),
        datetime(2026, 1, 31),  # noqa: DTZ001 - a zone may be left out
        date(2026, 1, 31),
        time(12),
        timedelta(days=-1, seconds=5),
        UUID(ID),
        Decimal("1.50"),
        b"a",
    ],
)
def test_the_value_itself_fits(value: Any) -> None:
    assert misfit(msgspec.to_builtins(value), asked_schema(type(value))) == ""


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (datetime, "x", 'it is "x", no date and time as 2026-01-31T12:00:00Z'),
        (list[date], ["x"], '[0] is "x", no date as 2026-01-31'),
        (timedelta, "5 min", 'it is "5 min", no duration as P1DT12H or PT5M'),
        (bytes, "red", 'it is "red", not in base64'),
        (dict[int, int], {"x": 1}, "it has a key that does not match '^-?[0-9]+$'"),
        (dict[date, int], {"x": 1}, 'it has a key that is "x", no date as 2026-01-31'),
    ],
)
def test_what_is_said(kind: Any, value: Any, said: str) -> None:
    assert misfit(value, asked_schema(kind)) == said


def test_what_goes_to_models_stays_as_it_was() -> None:
    assert (json_schema(datetime), asked_schema(datetime)) == (
        {"type": "string"},
        {"type": "string", "format": "date-time"},
    )


@pytest.mark.parametrize("wanted", [3, lambda: 1, "int", [int], (int, str), ..., {"type": "strnig"}, {"type": str}])
def test_what_says_nothing_of_an_answer_is_refused(wanted: Any) -> None:
    with pytest.raises(InputError, match="schema: ") as caught:
        check_wanted(wanted)
    assert "or a JSON Schema as a dict" in caught.value.hint


@pytest.mark.parametrize("wanted", [None, Any, When, Literal["a"], Answered[int], int | str, {}, *(k for k, _ in GOOD)])
def test_what_says_something_of_an_answer(wanted: Any) -> None:
    check_wanted(wanted)
