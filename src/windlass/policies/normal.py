"""Free words for times and numbers, brought to one form against a given clock, or refused.

ISO 8601 for times: a length is a duration (`PT48H`), a span of days an interval (`2026-11-23/2026-11-24`), a day a
date.
What could mean two things (`03/04/2026`, `1,299`, `soon`) is refused with the reason: a rule makes a problem of it.
"""

import re
import unicodedata
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Final, Literal

UNITS: Final = {
    "second": "S", "sec": "S", "minute": "M", "min": "M", "hour": "H", "hr": "H", "h": "H", "day": "D", "d": "D",
    "week": "W", "wk": "W", "month": "MO", "year": "Y", "yr": "Y",
    "business day": "B", "working day": "B",
}  # fmt: skip
NUMBERS: Final = {
    "zero": 0, "a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8,
    "nine": 9, "ten": 10, "eleven": 11, "twelve": 12,
}  # fmt: skip
DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
MOST: Final = 100_000  # of any unit: a longer time is a slip
COUNT: Final = r"(?P<{0}>\d{{1,6}}(?:\.\d{{1,3}})?|" + "|".join(sorted(NUMBERS, reverse=True)) + ")"
LENGTH: Final = re.compile(rf"(?:(?:in|within|about) )?{COUNT.format('n')} ?(?P<unit>[a-z]+(?: days?)?)(?: from now)?")
RANGE: Final = re.compile(
    rf"(?:(?:in|within) )?{COUNT.format('low')} ?(?:-|\u2013|\u2014|to|or) ?{COUNT.format('high')} ?"
    r"(?P<unit>[a-z]+(?: days?)?)(?: from now)?"
)
NAMED: Final = re.compile(r"(?:(?:by|on|until|before) )?(?:(?P<which>this|next) )?(?P<day>[a-z]{3,9})")
WRITTEN: Final = re.compile(
    r"(?:(?:by|on|until|before) )?(?:(?:the )?(?P<d1>\d{1,2})(?:st|nd|rd|th)?\.?(?: of)? (?P<m1>[a-z]{3,9})\.?"
    r"|(?P<m2>[a-z]{3,9})\.? (?P<d2>\d{1,2})(?:st|nd|rd|th)?),? ?(?P<y>\d{4})?"
)
FIGURES: Final = re.compile(r"(?:(?:by|on|until|before) )?(\d{1,2})([./-])(\d{1,2})\2(\d{4})")
ISO_DAY: Final = re.compile(r"(?:(?:by|on|until|before) )?(\d{4}-\d{2}-\d{2})")
ISO_LENGTH: Final = re.compile(
    r"P(?=.)(?:\d+Y)?(?:\d+M)?(?:\d+W)?(?:\d+D)?(?:T(?=.)(?:\d+H)?(?:\d+M)?(?:\d+(?:\.\d+)?S)?)?"
)
CURRENCY: Final = r"(?:[A-Z]{3}|[^\w\s.,'()%+/:-]{1,3})?"
AMOUNT: Final = re.compile(rf"(-?)\s*{CURRENCY}\s*(-?)([\d.,' ]*\d)\s*{CURRENCY}")
Order = Literal["", "dmy", "mdy"]


class Unclear(ValueError):
    """The words have no one meaning."""


def when(text: str, now: datetime, *, order: Order = "") -> str:
    """Bring words for a time to ISO 8601: a duration, an interval of days, a date, or a date with time.

    Args:
        now: the clock that words like Thursday are counted from, in the zone that they are meant in.
        order: of day and month in figures, where the author knows it.

    Raises:
        Unclear: they have no one meaning.
    """
    said = _plain(text)
    if ISO_LENGTH.fullmatch(said.upper()):
        return said.upper()
    if found := RANGE.fullmatch(said):
        low, high = _count(found["low"], text), _count(found["high"], text)
        unit = _unit(found["unit"], text)
        if low > high or unit in "SMH":
            raise Unclear(f"{text!r} is no span of days")
        return f"{_later(now, low, unit, text)}/{_later(now, high, unit, text)}"
    if (found := LENGTH.fullmatch(said)) and _singular(found["unit"]) in UNITS:
        return _duration(_count(found["n"], text), _unit(found["unit"], text), text)
    moment = _moment(text)
    return moment if moment is not None else _day(said, text, now, order).isoformat()


def day(text: str, now: datetime, *, order: Order = "") -> str:
    """Bring words for a day to an ISO 8601 date; a length of time is counted from now.

    Raises:
        Unclear: they have no one meaning, or are a span of days.
    """
    said = _plain(text)
    if (found := LENGTH.fullmatch(said)) and _singular(found["unit"]) in UNITS:
        return _later(now, _count(found["n"], text), _unit(found["unit"], text), text)
    moment = _moment(text)
    return moment[:10] if moment is not None else _day(said, text, now, order).isoformat()


def number(text: str, *, decimal: Literal[".", ","] | None = None) -> Decimal:
    """Bring a number as people write it to a Decimal: currency signs, thousands separators, digits of any script.

    Args:
        decimal: the mark before the fraction, where the author knows it; a lone `1,299` or `1.299` is refused without.

    Raises:
        Unclear: it is no number, or could be two.
    """
    said = "".join(_digit(char) for char in unicodedata.normalize("NFKC", text)).strip()
    said = said.replace("\u2212", "-").replace("\u2019", "'")
    found = AMOUNT.fullmatch(said)
    if found is None or (found[1] and found[2]):
        raise Unclear(f"{text!r} is no number")
    figures, mark = found[3], decimal or _mark(found[3], text)
    whole, _, fraction = figures.partition(mark) if mark else (figures, "", "")
    if not re.fullmatch(r"\d+|\d{1,3}(?:([.,' ])\d{3})(?:\1\d{3})*", whole) or (mark and mark in whole):
        raise Unclear(f"{text!r} is no number: its thousands are not grouped by three")
    if fraction and not fraction.isdigit():
        raise Unclear(f"{text!r} is no number")
    try:
        return Decimal(f"{found[1] or found[2]}{re.sub('[^0-9]', '', whole)}.{fraction or '0'}").normalize() + 0
    except InvalidOperation:
        raise Unclear(f"{text!r} is no number") from None


def _mark(figures: str, text: str) -> str:
    """Say which mark stands before the fraction; "" for none."""
    marks = [char for char in figures if char in ".,"]
    if not marks:
        return ""
    if len(set(marks)) == 2:  # noqa: PLR2004 -- the last of the two
        return marks[-1]
    tail = figures.rpartition(marks[0])[2]
    if len(marks) > 1:
        return ""
    if len(tail) == 3 and len(figures.partition(marks[0])[0]) <= 3 and not figures.startswith("0"):  # noqa: PLR2004
        raise Unclear(f"{text!r} may be a thousand or a fraction")
    return marks[0]


def _digit(char: str) -> str:
    value = unicodedata.decimal(char, None)
    return char if value is None else str(value)


def _plain(text: str) -> str:
    folded = "".join(_digit(char) for char in unicodedata.normalize("NFKC", text))
    return re.sub(r"\s+", " ", folded).strip(" .!\u200b").casefold()


def _singular(unit: str) -> str:
    return unit if unit in UNITS else unit.removesuffix("s")


def _unit(unit: str, text: str) -> str:
    found = UNITS.get(_singular(unit))
    if found is None:
        raise Unclear(f"{text!r}: no unit of time is called {unit!r}")
    return found


def _count(word: str, text: str) -> float:
    count = float(word) if word[0].isdigit() else float(NUMBERS[word])
    if count > MOST:
        raise Unclear(f"{text!r} is longer than anybody means")
    return count


def _duration(count: float, unit: str, text: str) -> str:
    if unit == "B":
        raise Unclear(f"{text!r}: a working day has no one length")
    shown = f"{count:g}"
    if "." in shown and unit != "S":
        raise Unclear(f"{text!r}: write it in a smaller unit")
    return f"PT{shown}{unit}" if unit in "SMH" else f"P{shown}{unit[0]}"


def _later(now: datetime, count: float, unit: str, text: str) -> str:
    try:
        if unit in "SMHDW":
            seconds = {"S": 1, "M": 60, "H": 3600, "D": 86400, "W": 604800}[unit]
            return (now + timedelta(seconds=count * seconds)).date().isoformat()
        if count != int(count):
            raise Unclear(f"{text!r}: write it in a smaller unit")
        if unit == "B":
            return _working(now.date(), int(count)).isoformat()
        months = now.year * 12 + now.month - 1 + int(count) * (12 if unit == "Y" else 1)
        for last in (now.day, 30, 29, 28):
            try:
                return date(months // 12, months % 12 + 1, min(now.day, last)).isoformat()
            except ValueError:
                continue
    except OverflowError:
        pass
    raise Unclear(f"{text!r} is out of the calendar")


def _working(start: date, count: int) -> date:
    """Count days from Monday to Friday."""
    start -= timedelta(days=max(0, start.weekday() - 4))  # of a weekend: from the Friday before
    found = start + timedelta(days=count // 5 * 7)
    for _ in range(count % 5):
        found += timedelta(days=1)
        while found.weekday() > 4:  # noqa: PLR2004 -- Friday
            found += timedelta(days=1)
    return found


def _moment(text: str) -> str | None:
    """Read a date with a time and its zone, as ISO 8601 has it."""
    said = text.strip()
    if not re.match(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}", said):
        return None
    try:
        moment = datetime.fromisoformat(said)
    except ValueError:
        raise Unclear(f"{text!r} is no time that there is") from None
    if moment.tzinfo is None:
        raise Unclear(f"{text!r} has no time zone")
    return moment.isoformat()


def _day(said: str, text: str, now: datetime, order: Order) -> date:
    today = now.date()
    bare = re.sub(r"^(?:by|on|until|before) ", "", said)
    near = {"today": 0, "tonight": 0, "tomorrow": 1, "the day after tomorrow": 2, "yesterday": -1}
    if bare in near:
        return today + timedelta(days=near[bare])
    if found := ISO_DAY.fullmatch(said):
        return _date(*map(int, found[1].split("-")), text=text)
    if found := FIGURES.fullmatch(said):
        return _figured(int(found[1]), int(found[3]), int(found[4]), found[2], order, text)
    if found := WRITTEN.fullmatch(said):
        month = next((n for n, name in enumerate(MONTHS, 1) if (found["m1"] or found["m2"]).startswith(name)), None)
        if month is not None:
            return _written(month, int(found["d1"] or found["d2"]), found["y"], today, text)
    if found := NAMED.fullmatch(said):
        names = [n for n, name in enumerate(DAYS) if name.startswith(found["day"])]
        if len(names) == 1:
            if found["which"] == "next":
                raise Unclear(f"{text!r} may be of this week or of the next")
            return today + timedelta(days=(names[0] - today.weekday()) % 7)
    raise Unclear(f"{text!r} is no time that can be counted")


def _written(month: int, of_month: int, year: str | None, today: date, text: str) -> date:
    if year:
        return _date(int(year), month, of_month, text=text)
    this = _date(today.year, month, of_month, text=text)
    return this if this >= today else _date(today.year + 1, month, of_month, text=text)


def _figured(first: int, second: int, year: int, mark: str, order: Order, text: str) -> date:
    known = order or ("dmy" if mark == "." else "")
    if not known and first != second:
        if first <= 12 and second <= 12:  # noqa: PLR2004 -- months
            raise Unclear(f"{text!r} may be day or month first")
        known = "dmy" if first > 12 else "mdy"  # noqa: PLR2004
    return _date(year, first, second, text=text) if known == "mdy" else _date(year, second, first, text=text)


def _date(year: int, month: int, of_month: int, *, text: str) -> date:
    try:
        return date(year, month, of_month)
    except ValueError:
        raise Unclear(f"{text!r} is no day that there is") from None
