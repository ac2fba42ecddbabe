"""Secrets: handles that are resolved at the moment of a call, and the one list of values that nothing may show.

A `Secret` is a name and a way to get a value. The codec refuses it as a value; as an argument of a call, a tool or an
effect it is kept as its name. Once its value was revealed in this process, `MASKS` knows it, in every spelling that
programs commonly give it, and whatever is written or shown has `[secret:name]` in its place.

The search is built for the common case that nothing is found. An occurrence of a text of 15 bytes holds a whole aligned
word of eight, wherever it stands: so the words of the data are compared with a set, at the speed of C, and only a
hit is looked at closely. (The stride is that of S. Wu and U. Manber, "A fast algorithm for multi-pattern searching",
1994.)
"""

import os
import re
import sys
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any, Final, NoReturn, Self
from urllib.parse import quote_plus, unquote_to_bytes

from windlass.core.errors import DefinitionError, SecretUnknown

LEAST: Final = 8  # characters: anything shorter stands in ordinary text by chance
NAME: Final = re.compile(r"[A-Za-z0-9_.\-]{1,64}")
MARK: Final = "[secret:{}]"
NARROW, WIDE = 4, 8  # bytes of a word that is compared
LONG_ENOUGH: Final = 2 * WIDE - 1  # a text of so many bytes holds an aligned word of `WIDE`, wherever it stands
COMMON: Final = frozenset(b"abcdefghijklmnopqrstuvwxyz ")
DECLARED: Final[dict[str, "Secret"]] = {}  # the handle of each name that this process made last


class Secret:
    """A value that is never kept and never shown: a handle, resolved inside the call that needs it.

    Args:
        name: what is kept and shown in its place: letters, digits, `_`, `.` and `-`, at most 64.
        value: the value itself, where the program has it anyway.
        resolve: gives the value, each time that it is needed: reads a vault, a file, a variable. Sync.

    Raises:
        DefinitionError: the name is none, not exactly one of `value` and `resolve` is given, or the value is too short
            to be told from ordinary text.
    """

    __slots__ = ("_resolve", "name")
    name: str

    def __init__(self, name: str, *, value: str | None = None, resolve: Callable[[], str] | None = None) -> None:
        given: Any = name
        if not isinstance(given, str) or NAME.fullmatch(given) is None:
            raise DefinitionError("secret.name", "a Secret has no fitting name", hint="letters, digits, '_', '.', '-'")
        if (value is None) == (resolve is None):
            raise DefinitionError("secret.value", f"Secret {name!r}: give either value= or resolve=")
        fetch: Any = resolve
        if resolve is not None and (not callable(fetch) or iscoroutinefunction(fetch)):
            raise DefinitionError(
                "secret.value", f"Secret {name!r}: resolve= is no sync function", hint="give a def that returns a str"
            )
        self._name(name)
        own: Any = value
        if value is not None:
            if not isinstance(own, str) or len(own.strip()) < LEAST:
                raise DefinitionError("secret.short", f"Secret {name!r}: its value is {TOO_SHORT}", hint=BY_NAME)
            MASKS.learn(name, value)
        object.__setattr__(self, "_resolve", resolve if resolve is not None else lambda: value)
        DECLARED[name] = self

    def _name(self, name: str) -> None:
        object.__setattr__(self, "name", name)

    @classmethod
    def env(cls, variable: str, name: str = "") -> Self:
        """Make the handle of an environment variable, which is read when it is needed; named as the variable is."""
        return cls(name or variable, resolve=lambda: os.environ[variable])

    def reveal(self) -> str:
        """Give the value, for this call only; from now on nothing that this process writes or shows holds it.

        Raises:
            SecretUnknown: nothing here can resolve it, or what came of it is no text of eight characters and more.
        """
        try:
            value: Any = self._resolve()  # type: ignore[attr-defined]
        except KeyError as error:
            raise SecretUnknown(f"secret {self.name!r} is not there: {error}") from None
        except Exception as error:
            raise SecretUnknown(f"secret {self.name!r} could not be resolved: {type(error).__name__}") from error
        if not isinstance(value, str):
            raise SecretUnknown(f"secret {self.name!r} resolved to a {type(value).__name__}, not to a text")
        if len(value.strip()) < LEAST:
            raise SecretUnknown(f"secret {self.name!r} is {TOO_SHORT}", hint=BY_NAME)
        MASKS.learn(self.name, value)
        return value

    def __setattr__(self, name: str, value: object) -> NoReturn:
        """Refuse a change: what was checked stays."""
        raise AttributeError(f"{self!r} cannot be changed")

    def __repr__(self) -> str:
        """Show the name."""
        return f"Secret({self.name!r})"

    def __str__(self) -> str:
        """Show the name."""
        return f"secret:{self.name}"

    def __format__(self, spec: str) -> str:
        """Show the name."""
        return format(str(self), spec)

    def __copy__(self) -> Self:
        """Give the same handle."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Give the same handle: `dataclasses.asdict` copies so."""
        return self

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        """Refuse to be pickled."""
        raise TypeError(f"{self!r} is not pickled: make it where it is needed")


def declared(name: str) -> Secret:
    """Find the handle of a name that was read back; one that this process never made cannot be resolved."""
    found = DECLARED.get(name)
    if found is None:
        found = object.__new__(Secret)
        found._name(name)  # made bare: there is nothing to check
        object.__setattr__(found, "_resolve", _unknown)
    return found


def _unknown() -> str:
    raise KeyError("no Secret of this name was made in this process")


class Masks:
    """The values that nothing may show, and the search for them.

    Only ever grows, and every change is one that another thread may see half of: a search never misses what was known
    before.
    """

    def __init__(self) -> None:
        self.narrow: set[int] = set()
        self.wide: set[int] = set()
        self.needles: dict[bytes, None] = {}  # as they stand in JSON
        self.forms: dict[str, str] = {}  # as they stand in a text, with what stands for them
        self.quoted: dict[re.Pattern[str], str] = {}  # with any of their characters as %XX
        self.known: dict[str, str] = {}  # value → name
        self._sorted: list[tuple[str, str]] = []
        self.hits = 0  # grows with each value or text in which something was masked

    def __bool__(self) -> bool:
        """Say whether there is anything to look for."""
        return bool(self.known)

    def learn(self, name: str, value: str) -> None:
        """Know a value from now on."""
        value = value.strip()
        if value in self.known:
            return
        mark = MARK.format(name)
        texts = spellings(value)
        if any(text in mark for text in texts):
            mark = MARK.format("*")
        found = {form.encode("utf-8", "surrogatepass") for text in texts for form in (text, in_json(text))}
        self.needles.update(dict.fromkeys(found))
        self.forms.update(dict.fromkeys(texts, mark))
        self.quoted[re.compile("".join(map(quotable, value)))] = mark
        for needle in found:
            size, words = (WIDE, self.wide) if len(needle) >= LONG_ENOUGH else (NARROW, self.narrow)
            words.update(aligned(needle, size))
        self.known[value] = name

    def forget(self) -> None:
        """Know nothing any more: for tests, which learn values that are none."""
        for part in (self.known, self.narrow, self.wide, self.needles, self.forms, self.quoted):
            part.clear()
        self._sorted = []

    def find(self, data: bytes | bytearray | memoryview) -> bool:
        """Say whether one of the values stands in these bytes, as JSON or as text has it."""
        size = len(data)
        if size < LEAST:
            return False
        view = memoryview(data)
        if (
            self.wide.isdisjoint(view[: size & ~7].cast("Q"))
            and (not self.narrow or self.narrow.isdisjoint(view[: size & ~3].cast("I")))
            and (b"%" not in data if type(data) is bytes else 37 not in data)  # noqa: PLR2004 -- a percent sign
        ):
            return False
        return self._holds(bytes(data))

    def _holds(self, data: bytes) -> bool:
        if any(needle in data for needle in tuple(self.needles)):
            return True
        if b"%" not in data:
            return False
        plain = unquote_to_bytes(data)
        return any(needle in plain for needle in tuple(self.needles))

    def text(self, text: str) -> str:
        """Put marks into a text where values stand; the same text if there is none."""
        if not self.known or not self.find(text.encode("utf-8", "surrogatepass")):
            return text
        self.hits += 1
        for form, mark in self._longest_first():
            text = text.replace(form, mark)
        if "%" in text:
            for pattern, mark in tuple(self.quoted.items()):
                text = pattern.sub(mark, text)
        return text

    def content(self, content: bytes) -> bytes:
        """Put marks into bytes where values stand; the same bytes if there is none."""
        if not self.known or not self.find(content):
            return content
        for form, mark in self._longest_first():
            content = content.replace(form.encode("utf-8", "surrogatepass"), mark.encode())
        text = content.decode("latin-1")
        for pattern, mark in tuple(self.quoted.items()) if "%" in text else ():
            text = pattern.sub(mark, text)
        return text.encode("latin-1")

    def _longest_first(self) -> list[tuple[str, str]]:
        """List what to look for: of two values of which one holds the other, the longer goes first."""
        if len(self._sorted) != len(self.forms):
            self._sorted = sorted(self.forms.copy().items(), key=lambda form: -len(form[0]))
        return self._sorted


def spellings(value: str) -> list[str]:
    """Spell a value in every way that is promised, but for characters spelled as %XX."""
    once = [value, *(escape(value) for escape in ESCAPES)]
    texts = [*once, *(escape(text) for text in once for escape in ESCAPES), quote_plus(value, errors="replace")]
    for content in {text.encode("utf-8", "surrogatepass"): None for text in once}:
        texts += [content.hex(), content.hex().upper()]
        for shift, first in enumerate((0, 2, 3)):  # characters in which something before the value has a part
            last = (shift + len(content)) * 8 // 6
            for encode in (b64encode, urlsafe_b64encode):
                texts.append(encode(bytes(shift) + content)[first:last].decode("ascii"))
    return list(dict.fromkeys(texts))


def in_json(text: str) -> str:
    """Spell a text as it stands between the quotes of JSON, with nothing escaped that need not be."""
    from json import dumps  # not before there is a secret

    return dumps(text, ensure_ascii=False)[1:-1]


def in_ascii(text: str) -> str:
    """Spell a text as it stands between the quotes of JSON that is all ASCII."""
    from json import dumps

    return dumps(text)[1:-1]


def in_python(text: str) -> str:
    """Spell a text as it stands between the quotes of its repr."""
    return repr(text)[1:-1]


def quotable(letter: str) -> str:
    """Make the pattern of a character that may stand as %XX."""
    coded = "".join(f"%{byte:02x}" for byte in letter.encode("utf-8", "surrogatepass"))
    either = re.sub("[a-f]", lambda found: f"[{found[0]}{found[0].upper()}]", coded)
    return f"(?:{re.escape(letter)}|{either})"


def aligned(needle: bytes, size: int) -> set[int]:
    """Choose words of a text such that wherever it stands in some data, one of them stands aligned.

    For each alignment the word with the fewest small letters, which are what ordinary data is made of.
    """
    chosen = set()
    for start in range(size):
        words = [needle[at : at + size] for at in range(start, len(needle) - size + 1, size)]
        chosen.add(int.from_bytes(min(words, key=lambda word: sum(map(COMMON.__contains__, word))), sys.byteorder))
    return chosen


ESCAPES: Final = (in_json, in_ascii, in_python)
TOO_SHORT: Final = f"shorter than {LEAST} characters, and so stands in ordinary text by chance"
BY_NAME: Final = 'name the fields that hold it: Redact(names=["pin"])'
MASKS: Final = Masks()
