"""Conditions of rules: CEL expressions over one action, compiled once, and never a reason to crash or to let through.

What cannot be judged is said in words, and `permission` denies it: an error in the expression, a field that is not
there, a result that is not true or false, or a value that CEL does not hold exactly. The library is the extra `cel`;
it is imported when the first condition is compiled.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final, Protocol

import msgspec

from windlass.core.errors import DefinitionError

VARIABLES: Final = ("args", "definition", "kind", "name", "roles", "run", "task", "tenant", "tool")
TYPES: Final = frozenset({"bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"})
TIMES: Final = (
    "FullYear", "Month", "Date", "DayOfMonth", "DayOfWeek", "DayOfYear", "Hours", "Minutes", "Seconds", "Milliseconds",
)  # fmt: skip
FUNCTIONS: Final = frozenset({  # what the library knows without its own extensions
    "bytes", "contains", "double", "duration", "dyn", "endsWith", "int", "matches", "size", "startsWith", "string",
    "timestamp", "type", "uint", *(f"get{part}" for part in TIMES),
})  # fmt: skip
MACROS: Final = frozenset({"all", "exists", "exists_one", "existsOne", "filter", "map"})  # they bind a name
MOST_TOKENS: Final = 400  # the library recurses: 950 nested operators end a process with a small stack
MOST_VALUES, MOST_CHARACTERS, DEEPEST = 10_000, 1_000_000, 32  # in one variable, such as args
MOST_BY_DEPTH: Final = (MOST_VALUES, MOST_VALUES, 1_000, 100)  # by nested macros: a million turns take 0.3 s
LONGEST_WHY: Final = 200
PASSED: Final = (KeyboardInterrupt, SystemExit)  # the library's own defects are BaseExceptions, too

TOKEN: Final = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
    |(?P<text>(?:[bB]?[rR][bB]?)(?:'''.*?'''|\"{3}.*?\"{3}|'[^'\n]*'|"[^"\n]*")
      |[bB]?(?:'''(?:\\.|.)*?'''|\"{3}(?:\\.|.)*?\"{3}|'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"))
    |(?P<number>\.?\d[\w.]*)
    |(?P<name>[A-Za-z_]\w*)
    |(?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)


class Program(Protocol):
    """A compiled expression of the library."""

    def execute(self, context: Any = None, /) -> Any:
        """Evaluate it."""
        ...

    def references(self) -> dict[str, list[str]]:
        """Name its variables and functions."""
        ...


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled condition.

    Args:
        variables: those of an action that it looks at.
        arguments: names `x` for which it looks at `args.x`.
        most: values that a variable may hold, so that macros inside macros end in good time.
    """

    source: str
    program: Program
    variables: tuple[str, ...]
    arguments: tuple[str, ...]
    most: int = MOST_VALUES


@lru_cache(maxsize=4096)
def condition(source: str) -> Condition:
    """Compile a condition, once for each text.

    Raises:
        DefinitionError: the extra `cel` is not installed, the text does not parse, or it names what there is not.
    """
    tokens = list(_tokens(source))
    if len(tokens) > MOST_TOKENS:
        raise _refusal(source, f"it has {len(tokens)} words and signs, and {MOST_TOKENS} is the most")
    try:
        program: Program = _library().compile(source)
        references = program.references()
    except (*PASSED, DefinitionError):
        raise
    except BaseException as error:
        raise _refusal(source, _first_line(error)) from error
    bound = {third for (_, first), (_, second), (_, third) in _threes(tokens) if first in MACROS and second == "("}
    hidden = sorted(bound & {*VARIABLES, *TYPES})
    if hidden:
        raise _refusal(source, f"{hidden[0]!r} would hide the variable of that name")
    unknown = [name for name in references["variables"] if name not in {*VARIABLES, *TYPES} | bound]
    if unknown:
        raise _refusal(source, f"there is no {unknown[0]!r}", f"variables: {', '.join(VARIABLES)}")
    strange = [name for name in references["functions"] if name.isidentifier() and name not in FUNCTIONS]
    if strange:
        raise _refusal(source, f"there is no function {strange[0]!r}", f"functions: {', '.join(sorted(FUNCTIONS))}")
    deep = _macros_inside(tokens)
    if deep >= len(MOST_BY_DEPTH):
        raise _refusal(source, f"its macros are nested {deep} deep, and {len(MOST_BY_DEPTH) - 1} is the most")
    seen = tuple(name for name in VARIABLES if name in references["variables"])
    return Condition(source, program, seen, tuple(dict.fromkeys(_fields_of_args(tokens))), MOST_BY_DEPTH[deep])


class Sight:
    """What conditions see of one action: each variable is copied when the first condition asks for it."""

    __slots__ = ("_context", "_seen", "_variables")

    def __init__(self, variables: Mapping[str, Any]) -> None:
        self._variables = variables
        self._seen: dict[str, int | ValueError] = {}  # how many values are in the context, or why they cannot be
        self._context: Any = None

    def judge(self, source: str) -> bool | str:
        """Say whether a condition holds, or why nobody can say."""
        try:
            asked = condition(source)
            if self._context is None:
                self._context = _library().Context()
            for name in asked.variables:
                self._see(name, asked.most)
            answer = asked.program.execute(self._context)
        except PASSED:
            raise
        except BaseException as error:  # noqa: BLE001 -- whatever it is, nobody can say, and so it is denied
            return _first_line(error)
        return answer if isinstance(answer, bool) else f"it gives {type(answer).__name__}, not true or false"

    def _see(self, name: str, most: int) -> None:
        if name not in self._seen:
            self._seen[name] = ValueError(f"{name}: it could not be copied")
            room = _Room()
            try:
                self._context.add_variable(name, room.copy(name, self._variables[name]))
                self._seen[name] = MOST_VALUES - room.values
            except ValueError as error:
                self._seen[name] = error
        found = self._seen[name]
        if isinstance(found, ValueError):
            raise found
        if found > most:
            raise ValueError(f"{name} holds {found:,} values, and its macros are nested: {most:,} is the most")


class _Room:
    """Copies what an action holds to what CEL holds exactly; there is only so much room for one variable."""

    __slots__ = ("characters", "values")

    def __init__(self) -> None:
        self.values = MOST_VALUES
        self.characters = MOST_CHARACTERS

    def copy(self, name: str, value: Any) -> Any:
        """Copy a variable; what cannot be seen is named, down to the argument."""
        if name == "args" and isinstance(value, Mapping):
            return {self.text(key): self.copy(f"args.{key}", item) for key, item in value.items()}
        try:
            return self.plain(value)
        except ValueError as error:
            raise ValueError(f"{ascii(name)[1:-1]}: {error}") from error

    def plain(self, value: Any, depth: int = 0) -> Any:
        """Copy a value, or say what it is that cannot be seen exactly."""
        self.values -= 1
        if self.values < 0:
            raise ValueError(f"more than {MOST_VALUES:,} values")
        if depth > DEEPEST:
            raise ValueError(f"values nested more than {DEEPEST} deep")
        kind = type(value)
        if kind is str:
            return self.text(value)
        if value is None or kind is bool:
            return value
        if kind is int or kind is float or kind is Decimal:
            return _number(value)
        if kind is list or kind is tuple:
            return [self.plain(item, depth + 1) for item in value]
        if kind is dict:
            return {self.text(key): self.plain(item, depth + 1) for key, item in value.items()}
        return self._other(value, depth)

    def text(self, value: Any) -> str:
        """Return a text; it is the only kind that a key may have."""
        if type(value) is not str:
            raise ValueError(f"a key that is a {type(value).__name__}, not a text")
        self._take(len(value))
        if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise ValueError("a text with half a surrogate pair")
        return value

    def _take(self, size: int) -> None:
        self.characters -= size
        if self.characters < 0:
            raise ValueError(f"more than {MOST_CHARACTERS:,} characters")

    def _other(self, value: Any, depth: int) -> Any:
        if type(value) is bytes:
            self._take(len(value))
            return value
        if isinstance(value, Enum):
            return self.plain(value.value, depth + 1)
        if isinstance(value, timedelta) or (isinstance(value, datetime) and value.utcoffset() is not None):
            return value
        if isinstance(value, msgspec.Struct):
            return {name: self.plain(getattr(value, name), depth + 1) for name in value.__struct_fields__}
        if is_dataclass(value) and not isinstance(value, type):
            return {field.name: self.plain(getattr(value, field.name), depth + 1) for field in fields(value)}
        raise ValueError(f"a {type(value).__name__}, which no condition can see")


def _number(value: float | Decimal) -> float:
    """Return a number as it is; a Decimal as the double that spells the same digits."""
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise ValueError("an integer that needs more than 64 bits")
        return value
    if not math.isfinite(value):
        raise ValueError("not a finite number")
    double = float(value)
    if isinstance(value, Decimal) and Decimal(repr(double)) != value:
        raise ValueError("a decimal with more digits than a double keeps")
    return double


def _tokens(source: str) -> Iterator[tuple[str, str]]:
    for match in TOKEN.finditer(source):
        if match.lastgroup != "space":
            yield match.lastgroup or "", match[0]


def _threes(tokens: list[tuple[str, str]]) -> Iterator[tuple[tuple[str, str], tuple[str, str], tuple[str, str]]]:
    for (first, second), (_, third) in pairwise(pairwise(tokens)):
        yield first, second, third


def _macros_inside(tokens: list[tuple[str, str]]) -> int:
    """Return how deep macros stand inside macros."""
    deepest, opened = 0, list[bool]()
    before = ""
    for _, here in tokens:
        if here == "(":
            opened.append(before in MACROS)
            deepest = max(deepest, sum(opened))
        elif here == ")" and opened:
            opened.pop()
        before = here
    return deepest


def _fields_of_args(tokens: list[tuple[str, str]]) -> Iterator[str]:
    """Name every `x` of `args.x` and `args["x"]`; a method of `args` itself is none."""
    padded = [("", ""), *tokens, ("", ""), ("", ""), ("", "")]
    for at in range(1, len(tokens) + 1):
        (_, before), (_, here), (_, mark), (kind, name), (_, after) = padded[at - 1 : at + 4]
        if here != "args" or before == ".":
            continue
        if mark == "." and kind == "name" and after != "(":
            yield name
        elif mark == "[" and kind == "text" and after == "]" and "\\" not in name and name[0] in "'\"":
            yield name.strip(name[0])


def _library() -> Any:
    try:
        import cel
    except ImportError as error:
        raise DefinitionError(
            "permission.extra", "conditions need the library common-expression-language, which is not installed",
            hint="pip install 'windlass[cel]'",
        ) from error  # fmt: skip
    return cel


def _first_line(error: BaseException) -> str:
    said = next((line for line in str(error).splitlines() if line.strip()), "")
    said = said.partition("ERROR: <input>:")[2] or said
    if isinstance(error, KeyError):
        said = f"there is no field {said}"
    elif not isinstance(error, ValueError | RuntimeError | TypeError | LookupError):
        said = f"{type(error).__name__}: {said}"
    return said if len(said) <= LONGEST_WHY else f"{said[: LONGEST_WHY - 1]}…"


def _refusal(source: str, said: str, hint: str = "") -> DefinitionError:
    shown = source if len(source) <= LONGEST_WHY else f"{source[: LONGEST_WHY - 1]}…"
    return DefinitionError(
        "permission.condition", f"the condition {shown!r} cannot be judged: {said}",
        hint=hint or "write CEL, as in: args.amount <= 10000",
    )  # fmt: skip
