"""Read JSON as models write it: comments, trailing commas, single quotes, Python's words, an end that was cut off.

Each liberty is noted. Nothing is guessed: what could mean two things is no JSON, and of what was cut off only that
is kept whose end was seen.
"""

import re
from json.decoder import JSONDecodeError, scanstring  # type: ignore[attr-defined]
from math import isfinite
from typing import Any, Final

from windlass.core.secret import MASKS

MOST_DEPTH: Final = 100  # objects and lists in each other
SPACE: Final = re.compile(r"[\s\ufeff\u200b]*")
COMMENT: Final = re.compile(r"//[^\n]*|#[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)
NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![\w.+-])")
UNENDED: Final = re.compile(r"[-+.0-9eE]*\Z")  # nothing, or a number that goes on
WORD: Final = re.compile(r"[^\W\d][\w$-]*")
WORDS: Final = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}
PYTHON: Final = frozenset({"True", "False", "None"})
NO_NUMBERS: Final = frozenset({"NaN", "Infinity", "nan", "inf", "Inf"})
CONTROL: Final = re.compile(r"[\x00-\x1f]")
QUOTES: Final = {'"': '"', "'": "'", "\u201c": "\u201d"}
ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "'": "'", '"': '"', "\\": "\\", "/": "/"}
CUT: Final = object()  # stands for a value whose end was not seen


class Flawed(ValueError):
    """It is JSON, and must not be taken: a key stands twice, a number is none, it is nested too deep."""


class Garbled(ValueError):
    """It is no JSON. `begun`: a part of it was, so that what stands further inside is no answer of its own."""

    def __init__(self, message: str, *, begun: bool) -> None:
        super().__init__(message)
        self.begun = begun


def number(text: str) -> float:
    """Read a number with a fraction or an exponent.

    Raises:
        Flawed: no float can hold it.
    """
    value = float(text)
    if not isfinite(value):
        raise Flawed(f"the number {text[:40]} is too large")
    return value


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its members.

    Raises:
        Flawed: a key stands there twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise Flawed(f"the key {MASKS.text(twice)[:80]!r} stands twice in one object")
    return found


class Reader:
    """One value, read from a place in a text.

    Attributes:
        pos: where it ended.
        notes: what was mended, in words.
        is_cut: the text ended inside it.
    """

    def __init__(self, text: str, pos: int = 0) -> None:
        self.text = text
        self.pos = pos
        self.notes: dict[str, None] = {}
        self.is_cut = False
        self.begun = False

    def read(self) -> Any:
        """Read the value.

        Raises:
            Flawed, Garbled: it cannot be taken.
        """
        value = self._value(0)
        if value is CUT or (self.is_cut and not self.begun):
            raise Garbled("the text ends", begun=False)
        return value

    def _value(self, depth: int) -> Any:
        if depth > MOST_DEPTH:
            raise Flawed(f"nested deeper than {MOST_DEPTH}")
        char = self._next()
        if char == "{":
            return self._object(depth)
        if char == "[":
            return self._list(depth)
        if char in QUOTES:
            return self._string()
        if found := NUMBER.match(self.text, self.pos):
            return self._number(found)
        return self._word()

    def _number(self, found: re.Match[str]) -> Any:
        self.pos = found.end()
        if self.pos == len(self.text):  # more digits may have followed
            self.is_cut = True
            return CUT
        text = found.group()
        try:
            return number(text) if set(text) & set(".eE") else int(text)
        except ValueError as error:
            raise Flawed(f"the number {text[:20]}… has too many digits") from error

    def _next(self) -> str:
        """Skip space and comments; return the next character, "" at the end."""
        while True:
            found = SPACE.match(self.text, self.pos)
            self.pos = found.end() if found else self.pos
            comment = COMMENT.match(self.text, self.pos)
            if comment is None:
                return self.text[self.pos : self.pos + 1]
            self.notes["comments left out"] = None
            self.pos = comment.end()

    def _object(self, depth: int) -> Any:
        self.pos += 1
        pairs: list[tuple[str, Any]] = []
        while (char := self._next()) and char != "}":
            if pairs and not self._comma(char, "}"):
                break
            is_quoted = self.text[self.pos] in QUOTES
            key = self._key()
            if key is CUT or not (char := self._next()):
                return self._broken(once(pairs))
            if char != ":":
                raise self._garbled("a colon is missing")
            self.pos += 1
            self.begun |= is_quoted
            if not self._next():
                return self._broken(once(pairs))
            value = self._value(depth + 1)
            if value is not CUT:
                pairs.append((key, value))
                self.begun = True
            if self.is_cut:
                return once(pairs)
        return self._closed(once(pairs))

    def _list(self, depth: int) -> Any:
        self.pos += 1
        items: list[Any] = []
        while (char := self._next()) and char != "]":
            if items and not self._comma(char, "]"):
                break
            if not self._next():
                break
            self.begun |= self.text[self.pos] == '"'
            value = self._value(depth + 1)
            if value is not CUT:
                items.append(value)
                self.begun |= isinstance(value, dict | list) or len(items) > 1
            if self.is_cut:
                return items
        return self._closed(items)

    def _comma(self, char: str, closing: str) -> bool:
        """Skip the comma between two members; False where nothing follows it."""
        if char != ",":
            raise self._garbled("a comma is missing")
        self.pos += 1
        following = self._next()
        if following == closing:
            self.notes["trailing commas left out"] = None
        return following not in ("", closing)

    def _closed(self, value: Any) -> Any:
        if not self._next():
            return self._broken(value)
        self.pos += 1
        return value

    def _broken(self, value: Any) -> Any:
        self.is_cut = True
        return value

    def _key(self) -> Any:
        if self.text[self.pos] in QUOTES:
            return self._string()
        found = WORD.match(self.text, self.pos)
        if found is None:
            raise self._garbled("a key is missing")
        self.pos = found.end()
        self.notes["keys without quotes"] = None
        return found.group()

    def _word(self) -> Any:
        found = WORD.match(self.text, self.pos)
        if UNENDED.match(self.text, self.pos):
            self.is_cut = True
            return CUT
        word = found.group() if found else ""
        end = self.pos + len(word)
        if end == len(self.text) and any(known.startswith(word) for known in WORDS):
            self.pos, self.is_cut = end, True
            return CUT
        if word in NO_NUMBERS or self.text.startswith(("-Infinity", "-inf"), self.pos):
            raise Flawed(f"{word or '-Infinity'} is no number of JSON")
        if word not in WORDS:
            raise self._garbled("no value stands there")
        if word in PYTHON:
            self.notes["True, False and None read as JSON's"] = None
        self.pos = end
        return WORDS[word]

    def _string(self) -> Any:
        opening = self.text[self.pos]
        if opening == '"':
            try:
                value, self.pos = scanstring(self.text, self.pos + 1)
            except JSONDecodeError:
                pass
            else:
                return value
        else:
            self.notes["strings in other quotes"] = None
        return self._loose(QUOTES[opening])

    def _loose(self, closing: str) -> Any:
        """Read a string with line breaks in it, or in other quotes."""
        parts: list[str] = []
        pos = self.pos + 1
        plain = re.compile(rf"[^{closing}\\]*")
        while True:
            found = plain.match(self.text, pos)
            part = found.group() if found else ""
            parts.append(part)
            pos += len(part)
            if CONTROL.search(part):
                self.notes["line breaks and tabs in strings"] = None
            if pos >= len(self.text) - (self.text[pos : pos + 1] == "\\"):
                self.pos, self.is_cut = len(self.text), True
                return CUT
            if self.text[pos] == closing:
                self.pos = pos + 1
                return "".join(parts)
            char, pos = self._escape(pos + 1)
            if pos > len(self.text):
                self.pos, self.is_cut = len(self.text), True
                return CUT
            parts.append(char)

    def _escape(self, pos: int) -> tuple[str, int]:
        char = self.text[pos]
        if char == "u":
            if pos + 5 > len(self.text):  # cut inside
                return "", len(self.text) + 1
            try:
                return str(scanstring(f'"{self.text[pos - 1 : pos + 5]}"', 1)[0]), pos + 5
            except JSONDecodeError:
                raise self._garbled("an escape is broken") from None
        if char not in ESCAPES:
            raise self._garbled("an unknown escape")
        return ESCAPES[char], pos + 1

    def _garbled(self, why: str) -> Garbled:
        near = self.text[self.pos : self.pos + 20]
        return Garbled(f"{why} at character {self.pos + 1:,}, before {near!r}", begun=self.begun)
