"""What a command says: results on standard output, prose on standard error, and values as text."""

import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import msgspec

from windlass.core.codec import Unknown
from windlass.core.redact import MARK, NOTHING, Redact
from windlass.core.secret import MASKS
from windlass.core.shown import escaped

NARROW = 72  # a value on a line of a listing
MINUTE, HOUR, DAY = 60, 3600, 86400


class Out:
    """Where a command writes: with `as_json`, standard output carries JSON only, one object a line."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def say(self, text: str) -> None:
        """Tell a person something that is no result: on standard error."""
        write_line(sys.stderr, Shown.rules.text(text))

    def line(self, text: str = "") -> None:
        """Write a line of the result for a person; nothing with `--json`."""
        if not self.as_json:
            write_line(sys.stdout, Shown.rules.text(text))

    def lines(self, texts: Iterable[str]) -> None:
        """Write lines of the result for a person; nothing with `--json`."""
        for text in texts:
            self.line(text)

    def give(self, result: Any) -> None:
        """Write one JSON object as a line; nothing without `--json`."""
        if self.as_json:
            write_line(sys.stdout, spell(result))

    def end(self, text: str) -> None:
        """Tell a person how a command ended: part of the result, or prose beside JSON."""
        (self.say if self.as_json else self.line)(text)


class Shown:
    """What this command does not show, beside known secrets: what the platform says, or all that it would print."""

    rules: Redact = NOTHING
    hidden = False


def show(rules: Redact, *, hidden: bool = False) -> None:
    """Show nothing from now on that these rules speak of; `hidden`: nothing at all, until an error is told."""
    Shown.rules, Shown.hidden = rules, hidden


def write_line(stream: Any, text: str) -> None:
    """Write a line at once, without known secrets, whatever the stream's encoding makes of it."""
    if Shown.hidden:
        return
    text = MASKS.text(text)
    encoding = getattr(stream, "encoding", None) or "utf-8"
    text = escaped(text)  # what a run says must not repaint the terminal
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    stream.flush()


def plain(value: Any) -> Any:
    """Turn a value into plain JSON: for reading, not to be read back exactly."""
    match value:
        case float():
            return value if math.isfinite(value) else repr(value)  # JSON knows neither NaN nor infinity
        case str():
            return Shown.rules.text(value)
        case None | bool() | int():
            return value
        case msgspec.Raw():
            return plain(msgspec.json.decode(value))
        case Unknown(tag=tag, value=inner):
            shown = plain(inner)
            return {"type": tag, **shown} if isinstance(shown, dict) else {"type": tag, "value": shown}
        case Mapping():
            texts = ((key if isinstance(key, str) else str(plain(key)), item) for key, item in value.items())
            return {key: _under(key, item) for key, item in texts}
        case list() | tuple() | set() | frozenset():
            return [plain(item) for item in value]
        case _ if is_dataclass(value) and not isinstance(value, type):
            return {field.name: _under(field.name, getattr(value, field.name)) for field in fields(value)}
        case _:
            return _other(value)


def _under(name: str, value: Any) -> Any:
    """Turn what stands under a name into plain JSON, if it is shown."""
    label = Shown.rules.label(name)
    return MARK.format(label) if label and value is not None else plain(value)


def _other(value: Any) -> Any:
    dump: Callable[..., Any] | None = getattr(value, "model_dump", None)  # a Pydantic model
    if dump is not None:
        return plain(dump())
    try:
        built = msgspec.to_builtins(value, enc_hook=repr)
        return plain(built) if Shown.rules and isinstance(built, dict | list) else built
    except (TypeError, ValueError):
        return repr(value)


def spell(value: Any) -> str:
    """Write a value as JSON on one line."""
    return json.dumps(plain(value), ensure_ascii=False)


def short(value: Any, width: int = NARROW) -> str:
    """Write a value on one line, cut to a width."""
    return cut(spell(value), width)


def cut(text: str, width: int = NARROW) -> str:
    """Cut a text to a width; line breaks become spaces."""
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1] + "…"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lay rows out in columns."""
    rows = [[escaped(cell) for cell in row] for row in rows]
    widths = [max(len(row[place]) for row in (heads, *rows)) for place in range(len(heads))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (heads, *rows)
    ]


def clock_time(at: float) -> str:
    """Write a moment as local time of day, with the date if it is not today."""
    then = time.localtime(at)
    same_day = then[:3] == time.localtime()[:3]
    return time.strftime("%H:%M:%S" if same_day else "%Y-%m-%d %H:%M:%S", then)


def duration(seconds: float) -> str:
    """Write a length of time with the one or two units that matter: `0.4 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 10:  # noqa: PLR2004 -- a tenth of a second matters below
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min {whole % MINUTE} s"
    if whole < DAY:
        return f"{whole // HOUR} h {whole % HOUR // MINUTE} min"
    return f"{whole // DAY} d {whole % DAY // HOUR} h"


def iso(at: float) -> str:
    """Write a moment as RFC 3339, in UTC, with milliseconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at * 1000) % 1000:03d}Z"
