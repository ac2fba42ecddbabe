"""From the text of an answer to the values that it may mean: JSON as a whole, in fences, in prose, or as it streams in.

What is plain JSON is read strictly; what is not quite is read by `tolerant`, which notes what it mended. More than one
value may be found: the schema says which of them is meant, and if it cannot, nobody guesses.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET

from windlass.policies.tolerant import Flawed, Garbled, Reader, number, once

Parser: TypeAlias = Literal["auto", "json", "fenced", "text"] | Callable[[str], Any]
"""How the text of an answer is read; a function of the user's gives the value, or raises ValueError."""

PARSERS: Final = ("auto", "json", "fenced", "text")
Wanted: TypeAlias = Literal["object", "array", "both", "plain"]
"""What a schema looks for in a text; `plain` is a number, a word, a text."""

STARTS: Final[dict[str, re.Pattern[str]]] = {
    "object": re.compile(r"\{"), "array": re.compile(r"\["), "both": re.compile(r"[{\[]"),
}  # fmt: skip
CLOSERS: Final = {"{": "}", "[": "]"}
SPACED: Final = re.compile(r'"\s+:')
MOST_STARTS: Final = 256  # places that look like JSON; a text with more of them is no answer
MOST_FOUND: Final = 64
SHORT: Final = 4096  # characters of an answer that streams in
FENCE: Final = re.compile(r"(?<!\S)```[ \t]*[A-Za-z0-9_+-]*[ \t]*\n?")
CLOSING: Final = re.compile(r"\n[ \t]*```|```[ \t]*(?:\n|\Z)")
AROUND: Final = "\ufeff\u200b\u200e\u200f \t\r\n"
SUSPECT: Final = re.compile(
    "[\u202a-\u202e\u2066-\u2069\ud800-\udfff]" + r"|\\u(?:[dD][89a-fA-F]|20(?:2[a-eA-E]|6[6-9]))"
)
TURNED: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")
HALF: Final = re.compile("[\ud800-\udfff]")


class Unread(ValueError):
    """No value was found in the text, or one that must not be taken."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A value that the text may mean.

    Args:
        notes: what was mended to read it.
        is_cut: the text ended inside it; what is there is what was complete.
    """

    value: Any
    notes: tuple[str, ...] = ()
    is_cut: bool = False


def candidates(text: str, parser: Parser, wanted: Wanted) -> list[Candidate]:
    """Find the values that a text may mean, each different one once.

    Raises:
        Unread: there is none.
    """
    if not isinstance(parser, str):
        return [Candidate(parser(text))]
    if parser == "text":
        return [Candidate(text)]
    body = text.strip(AROUND)
    if not body:
        raise Unread("the answer is empty")
    if parser == "json":
        return [Candidate(_strict(body))]
    whole = _whole(body, wanted) if parser == "auto" else None
    if whole is not None:
        return whole
    parts = [body.rstrip("`")]
    if parser == "fenced" or wanted == "plain":
        fences = [body[begin:end] for begin, end in _fences(body)]
        if parser == "fenced" and not fences:
            raise Unread("there is no fenced block in the answer")
        parts = fences or parts
    if wanted == "plain":
        return _different([Candidate(part.strip(AROUND)) for part in parts])
    found = _different([one for part in parts for one in _scan(part, wanted)])
    if not found:
        what = {"object": "JSON object", "array": "JSON list", "both": "JSON"}[wanted]
        raise Unread(f"there is no {what} in the answer")
    return found


def _whole(body: str, wanted: Wanted) -> list[Candidate] | None:
    """Read the text as one JSON value; None where it is none, or none that is wanted."""
    try:
        value = _strict(body)
    except Unread:
        return [Candidate(body)] if wanted == "plain" and "```" not in body else None
    if isinstance(value, str) and wanted != "plain":
        inner = candidates(value, "auto", wanted)
        return [Candidate(one.value, (*one.notes, "JSON in a JSON string"), one.is_cut) for one in inner]
    if wanted == "plain":
        return [Candidate(value), Candidate(body)]
    return [Candidate(value)]


def _fences(body: str) -> Iterator[tuple[int, int]]:
    """Give the places of what stands in fences; the last may have no end."""
    pos = 0
    while opened := FENCE.search(body, pos):
        closed = CLOSING.search(body, max(opened.end() - 1, opened.start() + 3))
        yield opened.end(), max(opened.end(), closed.start() if closed else len(body))
        if closed is None:
            return
        pos = closed.end()


def _strict(body: str) -> Any:
    value = _quick(body)
    if value is not UNSET:
        return value
    try:
        value, end = DECODER.raw_decode(body)
    except Flawed as error:
        raise Unread(str(error)) from None
    except RecursionError:
        raise Unread("it is nested too deep") from None
    except json.JSONDecodeError as error:
        raise Unread(f"it is no JSON: {error}") from None
    except ValueError as error:  # an integer of too many digits
        raise Unread(f"a number is too long: {error}") from None
    if end != len(body):
        raise Unread(f"it is no JSON: something follows at character {end + 1:,}")
    return value


def _quick(body: str) -> Any:
    """Read plain JSON, ten times as fast as the standard library; UNSET where that has to look for itself.

    A key that stands twice is seen by writing the value again: then there is one colon after a quote less. Texts that
    could hide it, with escapes of quotes or space before a colon, are not read here.
    """
    if "\\u" in body or SPACED.search(body):
        return UNSET
    try:
        value = msgspec.json.decode(body)
        return value if msgspec.json.encode(value).count(b'":') == body.count('":') else UNSET
    except (ValueError, RecursionError):
        return UNSET


def _scan(part: str, wanted: Wanted) -> Iterator[Candidate]:
    """Find the outermost JSON values in a text.

    Raises:
        Unread: what looks like the answer is broken, so that what stands inside it is no answer of its own.
    """
    pattern, pos, tries, found = STARTS[wanted], 0, 0, 0
    while start := pattern.search(part, pos):
        tries += 1
        if tries > MOST_STARTS or found > MOST_FOUND:
            raise Unread("too many places in the answer look like JSON")
        end = part.rfind(CLOSERS[start.group()]) + 1
        value = _quick(part[start.start() : end]) if tries == 1 else UNSET
        if value is not UNSET:
            found, pos = found + 1, end
            yield Candidate(value)
            continue
        try:
            candidate, pos = _at(part, start.start())
        except Flawed as error:
            raise Unread(str(error)) from None
        except Garbled as error:
            if error.begun:
                raise Unread(f"it is no JSON: {error}") from None
            pos = start.end()
            continue
        found += 1
        yield candidate


def _at(part: str, pos: int) -> tuple[Candidate, int]:
    try:
        value, end = DECODER.raw_decode(part, pos)
    except (json.JSONDecodeError, RecursionError):
        reader = Reader(part, pos)
        value = reader.read()
        return Candidate(value, tuple(reader.notes), reader.is_cut), reader.pos
    except Flawed:
        raise
    except ValueError as error:
        raise Flawed(f"a number is too long: {error}") from None
    return Candidate(value), end


def _different(found: list[Candidate]) -> list[Candidate]:
    """Leave out what was found twice; text and number are different though they be equal."""
    kept: dict[str, Candidate] = {}
    for one in found:
        kept.setdefault(json.dumps(one.value, sort_keys=True) if len(found) > 1 else "", one)
    return list(kept.values())


def _no_number(text: str) -> Any:
    raise Flawed(f"{text} is no number of JSON")


DECODER: Final = json.JSONDecoder(object_pairs_hook=once, parse_constant=_no_number, parse_float=number)


def turned(text: str, value: Any) -> Iterator[tuple[str, str]]:
    """Give path and message of each text in a value that shows otherwise than it reads, or is no text at all."""
    if (text.isascii() and "\\u" not in text) or not SUSPECT.search(text):
        return
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        path, part = waiting.pop()
        if isinstance(part, dict):
            waiting += [(f"{path}.{key}" if path else str(key), inner) for key, inner in part.items()]
            waiting += [(path, key) for key in part]
        elif isinstance(part, list):
            waiting += [(f"{path}[{n}]", inner) for n, inner in enumerate(part)]
        elif isinstance(part, str) and (found := TURNED.search(part)):
            yield path, f"an invisible character turns the text around: U+{ord(found.group()):04X}"
        elif isinstance(part, str) and HALF.search(part):
            yield path, "half of a surrogate pair is no character"


class PartialJson:
    """Reads JSON while it streams in.

    Reads again whenever a sixteenth more has come, of a long answer a quarter, so that it costs a few times its length
    and not its square.
    """

    def __init__(self) -> None:
        self.text = ""
        self._parts: list[str] = []
        self._size = 0
        self._next = 1
        self._last: Any = None

    def feed(self, text: str) -> Any:
        """Take a chunk; return the value so far if more of it is complete now, else None."""
        self._parts.append(text)
        self._size += len(text)
        if self._size < self._next:
            return None
        self.text = "".join(self._parts)
        self._parts = [self.text]
        self._next = self._size + max(1, self._size // (16 if self._size < SHORT else 4))
        return self._look()

    def close(self) -> str:
        """Return the whole text, for the discipline to judge."""
        self.text = "".join(self._parts)
        return self.text

    def _look(self) -> Any:
        start = STARTS["both"].search(self.text)
        if start is None:
            return None
        try:
            value = Reader(self.text, start.start()).read()
        except ValueError:  # what is wrong with it is said at its end
            return None
        if value == self._last:
            return None
        self._last = value
        return value
