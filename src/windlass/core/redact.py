"""Redaction: what a value looks like once nothing in it may not be shown (D41).

Rules by name look at the keys of mappings and the fields of records, at any depth; rules by value at strings. What
they hit, and what `MASKS` knows, is replaced by a mark before the value is kept, and whoever asked for the value gets
the one with the marks: so the first pass, a resume and a replay see the same bytes.
"""

import re
from binascii import a2b_base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from re import _parser  # type: ignore[attr-defined]  # the parse tree: what a pattern repeats is seen nowhere else
from typing import Any, Final

from windlass.core.envelope import LONG, Raw, Writing, to_json, wrap
from windlass.core.errors import DefinitionError
from windlass.core.secret import MASKS

MARK: Final = "[redacted:{}]"
WHOLE: Final = "[secret:*]"  # in place of a number, a date, an array in which a secret stands
MARKED: Final = re.compile(r"\[(secret|redacted):([^\[\]\"\\]{1,64})\]")
IN_BYTES: Final = re.compile(MARKED.pattern.encode())
LABEL: Final = r"[^\[\]\"\\]{1,64}"
BAGS: Final = frozenset({"set", "frozenset"})
FOLDED: Final = bytes(range(256)).lower().replace(b"-", b"_")  # any case, and "-" as "_"
MANY: Final = 32  # repetitions from which a repeat counts as one without an end
REPEATS: Final = ("MAX_REPEAT", "MIN_REPEAT")


@dataclass(frozen=True, slots=True)
class Redact:
    """What is not kept, or not shown, beside the secrets that are known.

    Args:
        names: of fields, keys and arguments whose values are replaced: `password`, `*_token`; any case, `-` as `_`.
        values: regular expressions: what they find in a string is replaced. A mapping names them: label → pattern.

    Raises:
        DefinitionError: a name is empty or fits everything, a pattern does not compile, finds the empty text or a
            mark, or repeats a repetition (its time grows without bounds).
    """

    names: Sequence[str] = ()
    values: Sequence[str] | Mapping[str, str] = ()
    _named: "re.Pattern[str] | None" = field(init=False, repr=False, compare=False)
    _quick: tuple[bytes, ...] = field(init=False, repr=False, compare=False)
    _patterns: tuple[tuple[str, "re.Pattern[str]"], ...] = field(init=False, repr=False, compare=False)
    _asked: dict[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names, values = _listed(self.names, "names"), self.values
        if not isinstance(values, Mapping):
            values = {f"value {place}": pattern for place, pattern in enumerate(_listed(values, "values"), 1)}
        object.__setattr__(self, "names", tuple(_checked_name(name) for name in names))
        object.__setattr__(self, "values", dict(values))
        fits = [f"(?:{translate(name.casefold().replace('-', '_'))})" for name in self.names]
        object.__setattr__(self, "_named", re.compile("|".join(fits)) if fits else None)
        object.__setattr__(self, "_quick", _quick(self.names))
        object.__setattr__(self, "_patterns", tuple((label, _compiled(label, one)) for label, one in values.items()))
        object.__setattr__(self, "_asked", {})

    def __hash__(self) -> int:
        """Hash what was declared."""
        return hash((self.names, tuple(dict(self.values).items())))  # type: ignore[arg-type]

    def __bool__(self) -> bool:
        """Say whether there is any rule."""
        return bool(self.names or self.values)

    def also(self, other: "Redact") -> "Redact":
        """Return the rules of both."""
        mine, others = dict(self.values), dict(other.values)  # type: ignore[arg-type]
        fresh = {label if mine.get(label, one) == one else f"{label}'": one for label, one in others.items()}
        return Redact(tuple(dict.fromkeys((*self.names, *other.names))), {**mine, **fresh})

    def label(self, name: str) -> str:
        """Name the rule that says that what stands under this name is not kept; empty if none does."""
        if self._named is None:
            return ""
        known = self._asked.get(name)
        if known is None:
            if len(self._asked) >= LONG:
                self._asked.clear()
            fits = self._named.fullmatch(name.casefold().replace("-", "_"))
            known = self._asked[name] = _label(name) if fits else ""
        return known

    def text(self, text: str) -> str:
        """Put marks into a text where a pattern finds something; marks that stand there stay as they are."""
        for label, pattern in self._patterns:
            if pattern.search(text):
                mark, done, parts = MARK.format(label), 0, []
                for found in MARKED.finditer(text):
                    parts += [pattern.sub(mark, text[done : found.start()]), found[0]]
                    done = found.end()
                text = "".join((*parts, pattern.sub(mark, text[done:])))
        return text

    def suspects(self, data: bytes) -> bool:
        """Say whether a name that a rule fits may stand in some JSON, or a string has to be looked at."""
        if b'"' not in data:
            return False
        if self._patterns:
            return True
        folded = data.translate(FOLDED)
        return any(part in folded for part in self._quick)


def _label(name: str) -> str:
    """Spell a name as a mark can have it."""
    return name if re.fullmatch(LABEL, name) else "name"


def _quick(names: Sequence[str]) -> tuple[bytes, ...]:
    """Choose for each name a part that stands in JSON wherever the name does, folded; empty if there is none."""
    parts = []
    for name in names:
        plain = re.split(r"\[[^\]]*\]|[*?\"\\\[\]]", name) if name.isascii() else []
        parts.append(max(plain, key=len, default="").encode().translate(FOLDED))
    return tuple(part for part in dict.fromkeys(parts) if not any(less != part and less in part for less in parts))


def _listed(given: Any, what: str) -> tuple[Any, ...]:
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise DefinitionError("redact.kind", f"Redact: {what} is {given!r}", hint=f'{what}=["…", "…"]')
    return tuple(given)


def _checked_name(name: Any) -> str:
    if not isinstance(name, str) or not name.strip("*?[]! "):
        raise DefinitionError(
            "redact.name", f"Redact: {name!r} names no field", hint="a name, with * for any part of it"
        )
    return name


def _compiled(label: Any, pattern: Any) -> re.Pattern[str]:
    if not isinstance(label, str) or re.fullmatch(LABEL, label) is None or not isinstance(pattern, str):
        raise DefinitionError(
            "redact.value", f"Redact: {label!r}: {pattern!r} is no pattern", hint='values={"card": r"\\b\\d{16}\\b"}'
        )
    try:
        compiled, tree = re.compile(pattern), _parser.parse(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise DefinitionError("redact.value", f"Redact: {pattern!r} does not compile: {error}") from None
    if compiled.search(""):
        raise DefinitionError("redact.value", f"Redact: {pattern!r} finds the empty text", hint="let it find less")
    if any(map(_repeats_without_end, _repeats(tree))):
        raise DefinitionError(
            "redact.slow", f"Redact: {pattern!r} repeats what may repeat or begin in two ways: it could take for ever",
            hint="bound the inner repetition, or write it possessively (`++`)",
        )  # fmt: skip
    return compiled


def _repeats(tree: Any) -> Iterator[Any]:
    """Find the bodies of all repetitions without an end that may be tried in more than one way."""
    for operator, argument in tree:
        if str(operator) in REPEATS and int(argument[1]) >= MANY:
            yield argument[2]
        for inside in _inside(argument):
            yield from _repeats(inside)


def _repeats_without_end(tree: Any) -> bool:
    """Say whether a body holds a repetition of many, or a choice: what a repetition of it could split in many ways."""
    for operator, argument in tree:
        if str(operator) in REPEATS and argument[0] != argument[1]:
            return True
        if str(operator) == "BRANCH" or any(map(_repeats_without_end, _inside(argument))):
            return True
    return False


def _inside(argument: Any) -> Iterator[Any]:
    """Find the parse trees inside the argument of an operator."""
    if isinstance(argument, _parser.SubPattern):
        yield argument
    elif isinstance(argument, tuple | list):
        for part in argument:
            yield from _inside(part)


NOTHING: Final = Redact()


def read_redact(given: Any, where: str) -> Redact:
    """Read `redact=`: rules, or None for no rule.

    Raises:
        DefinitionError: it is something else.
    """
    if given is not None and not isinstance(given, Redact):
        raise DefinitionError(
            "redact.kind", f"{where}: redact is {given!r}", hint='write Redact(names=["password", "*_token"])'
        )
    return given or NOTHING


class Masking:
    """One walk over the JSON of a value: puts marks where something may not be kept, and leaves the rest as it is."""

    def __init__(
        self, rules: Redact, family: Callable[[str], str], contents: Mapping[str, bytes], writing: Writing
    ) -> None:
        self.rules = rules
        self.family = family  # of a declared type, by its tag; empty for a builtin kind
        self.contents = contents  # what stands out of line, by its digest
        self.writing = writing

    def value(self, raw: Raw) -> Raw:
        """Mask a value."""
        kind = type(raw)
        if kind is str:
            return self.text(raw)
        if kind is dict:
            return self.envelope(raw) if "$" in raw else self.fields(raw)
        if kind is list:
            return [self.value(part) for part in raw]
        if kind is int or kind is float:
            spelled = str(raw)
            masked = MASKS.text(spelled)
            return raw if masked is spelled or masked == spelled else masked
        return raw

    def text(self, text: str) -> str:
        """Mask a text."""
        return self.rules.text(MASKS.text(text))

    def named(self, name: str, raw: Raw) -> Raw:
        """Mask what stands under a name."""
        label = self.rules.label(name)
        if not label or raw is None:
            return self.value(raw)
        return raw if type(raw) is str and MARKED.fullmatch(raw) else MARK.format(label)

    def fields(self, raw: dict[str, Raw]) -> Raw:
        """Mask the values of an object, and its keys; two that become one are told apart by a number."""
        masked: dict[str, Raw] = {}
        for name, value in raw.items():
            key = said = self.text(name)
            number = 1
            while key in masked:
                number += 1
                key = f"{said}#{number}"
            masked[key] = self.named(name, value)
        return masked

    def envelope(self, raw: dict[str, Raw]) -> Raw:
        """Mask what is in an envelope; a kind that has no room for a mark is replaced as a whole."""
        tag, content = raw["$"], raw["v"]
        family = self.family(tag)
        if tag == "str":
            text = self.bytes_of(content).decode("utf-8", "surrogatepass")
            masked: Raw = self.text(text)
            return raw if masked == text else self.long(masked)
        if tag in ("bytes", "bytearray"):
            before = self.bytes_of(content)
            after = MASKS.content(before)
            return raw if after == before else wrap(tag, self.writing.content(after))
        if tag == "dict":
            return wrap(tag, self.pairs(content))
        if tag == "tuple":
            return wrap(tag, self.value(content))
        if tag in BAGS:
            masked = self.value(content)
            different = {to_json(one): one for one in masked}
            return raw if masked == content else wrap(tag, [different[data] for data in sorted(different)])
        if family == "model":
            return wrap(tag, {part: inner if part == "set" else self.value(inner) for part, inner in content.items()})
        if family == "builtin":
            return wrap(tag, self.value(content))
        if family and type(content) is dict:
            return wrap(tag, self.fields(content))
        return WHOLE if self.holds(content) else raw

    def pairs(self, raw: list[Raw]) -> Raw:
        """Mask a dict whose keys are more than strings."""
        masked: dict[bytes, Raw] = {}
        for key, value in raw:
            new = self.value(key)
            fresh = self.named(key, value) if type(key) is str else self.value(value)
            number = 1
            while to_json(new) in masked:
                number += 1
                new = f"{new}#{number}"
            masked[to_json(new)] = [new, fresh]
        return list(masked.values())

    def long(self, text: str) -> Raw:
        """Write a text as the codec does."""
        try:
            content = text.encode()
        except UnicodeEncodeError:
            return wrap("str", self.writing.content(text.encode("utf-8", "surrogatepass")))
        return text if len(content) < LONG else wrap("str", self.writing.content(content))

    def bytes_of(self, content: Raw) -> bytes:
        """Read the bytes of a text or of bytes, wherever they stand."""
        if type(content) is str:
            return a2b_base64(content)
        return bytes(self.contents.get(content["blob"], b""))

    def holds(self, content: Raw) -> bool:
        """Say whether a secret stands in what has no room for a mark: a number, a date, an array."""
        if not MASKS:
            return False
        if type(content) is dict and "data" in content:  # an array
            inner = content["data"]
            if type(inner) is str or (type(inner) is dict and "blob" in inner):
                return MASKS.find(self.bytes_of(inner))
        return MASKS.find(to_json(content))


def marks_in(data: bytes) -> dict[str, int]:
    """Count the marks in some JSON, by what they are of."""
    found: dict[str, int] = {}
    if b"[secret:" in data or b"[redacted:" in data:
        for kind, label in IN_BYTES.findall(data):
            name = f"{kind.decode()}:{label.decode()}"
            found[name] = found.get(name, 0) + 1
    return found
