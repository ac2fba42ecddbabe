"""Business rules: functions that judge a value of a type, or one field of it, registered apart from the agent.

A rule returns None or True for a value that may pass, a message (or raises ValueError) for one that may not, or
`Normal(value)` for one that has to be written otherwise. It is called with the value, and with a `Case` if it takes
two.
"""

import inspect
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from windlass.core.annotations import field_types
from windlass.core.errors import DefinitionError, InputError
from windlass.core.judged import Problem
from windlass.core.shapes import family_of
from windlass.core.types import convert
from windlass.policies.schemas import Schema, got

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Normal:
    """What a rule returns for a value that is right and has to be written otherwise: `Normal("2026-11-26")`."""

    value: Any


@dataclass(frozen=True, slots=True)
class Case:
    """What a rule may want to know beside the value.

    Args:
        now: when the answer came, in UTC; the same on a re-run.
        whole: the value around the field.
        path: of the value in the output.
    """

    now: datetime
    whole: Any = None
    path: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; made by `rule` or `Rules.add`.

    Args:
        of: the type that it is for, or the title of a JSON Schema or name of a protobuf message; None is any output.
        field: of that type; empty for the whole.
        takes_case: it is called with the case, too.
        slow: it is called on a thread.
    """

    fn: Callable[..., Any]
    of: Any = None
    field: str = ""
    name: str = ""
    takes_case: bool = False
    slow: bool = False

    def __call__(self, value: Any, case: Case) -> Any:
        """Call the function."""
        return self.fn(value, case) if self.takes_case else self.fn(value)


class Rules:
    """Rules for one definition, or for a whole platform. Adding one touches no task."""

    def __init__(self, rules: "Iterable[Rule | Callable[..., Any]]" = ()) -> None:
        self._rules: list[Rule] = [as_rule(one, "rules") for one in rules]

    def __iter__(self) -> Iterator[Rule]:
        return iter(self._rules)

    def rule(self, of: Any = None, *, field: str = "", slow: bool = False) -> Callable[[F], F]:
        """Register the function below, as in `@rules.rule(Quote, field="price")`; it stays a function."""

        def register(fn: F) -> F:
            self.add(fn, of, field=field, slow=slow)
            return fn

        return register

    def add(self, fn: Callable[..., Any], of: Any = None, *, field: str = "", slow: bool = False) -> None:
        """Register a function.

        Raises:
            DefinitionError: it is async or no rule, or the type has no such field.
        """
        self._rules.append(make(fn, of, field=field, slow=slow))


def rule(of: Any = None, *, field: str = "", slow: bool = False) -> Callable[[Callable[..., Any]], Rule]:
    """Make a rule of the function below, for `Expect(rules=[...])` or `Rules([...])`.

    Args:
        of: a type, the title of a JSON Schema, the name of a protobuf message; None is any output.
        field: of that type; empty for the whole.
        slow: call it on a thread: it takes long, or waits for something.
    """
    return lambda fn: make(fn, of, field=field, slow=slow)


def make(fn: Any, of: Any, *, field: str, slow: bool) -> Rule:
    """Check a rule, and make its record.

    Raises:
        DefinitionError: see `Rules.add`.
    """
    name = getattr(fn, "__name__", type(fn).__name__)
    where = f"rule {name!r}"
    if not callable(fn) or inspect.iscoroutinefunction(fn):
        raise DefinitionError("output.rule", f"{where} is async, or no function", hint="it must be a plain def")
    if not (of is None or isinstance(of, type | str)):
        raise DefinitionError("output.rule", f"{where} is for {of!r:.80}", hint="a type, or the name of a schema")
    fields = _fields(of)
    if field and fields is not None and field not in fields:
        known = ", ".join(sorted(fields)) or "none"
        raise DefinitionError(
            "output.rule", f"{where}: {getattr(of, '__name__', of)} has no field {field!r}", hint=f"fields: {known}"
        )
    return Rule(fn, of, field, name, _takes_case(fn, where), slow)


def _fields(of: Any) -> frozenset[str] | None:
    if not isinstance(of, type):
        return None
    if hasattr(of, "DESCRIPTOR"):
        return frozenset(field.name for field in of.DESCRIPTOR.fields)
    return frozenset(field_types(of))


def _takes_case(fn: Callable[..., Any], where: str) -> bool:
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):  # a builtin
        return False
    placed = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    needed = [one for one in parameters if one.default is one.empty and one.kind is not one.VAR_POSITIONAL
              and one.kind is not one.VAR_KEYWORD]  # fmt: skip
    if not parameters or len(needed) > 2 or any(one.kind is one.KEYWORD_ONLY for one in needed):  # noqa: PLR2004
        raise DefinitionError("output.rule", f"{where} takes the value, and the case if it likes")
    return len(needed) == 2 or (len(placed) > 1 and placed[1].name == "case")  # noqa: PLR2004


def as_rule(given: Any, where: str) -> Rule:
    """Return a rule as it is; a bare function is one for the whole output.

    Raises:
        DefinitionError: it is neither.
    """
    if isinstance(given, Rule):
        return given
    if not callable(given):
        raise DefinitionError("output.rule", f"{where}: {given!r:.80} is no rule", hint="write @rule(Quote) above it")
    return make(given, None, field="", slow=False)


def read_rules(given: Any, where: str) -> Rules:
    """Read `rules=`: Rules, which may get more later, or a list of rules and functions.

    Raises:
        DefinitionError: it is something else.
    """
    if isinstance(given, Rules):
        return given
    if not isinstance(given, Sequence) or isinstance(given, str | bytes):
        raise DefinitionError("output.rule", f"{where}: rules is {given!r:.80}", hint="Rules(...), or a list of rules")
    return Rules(given)


def obey(value: Any, rules: Sequence[Rule], schema: Schema, now: datetime) -> tuple[Any, list[Problem]]:
    """Judge a value by all the rules that concern it; return it as they want it written, and what is wrong.

    Inner parts come before the outer, fields before the whole, and of two rules the one that was registered first.
    """
    whole = [one for one in rules if one.of is None or one.of is schema.type or _is_for(one.of, schema)]
    inner = [one for one in rules if isinstance(one.of, type) and family_of(one.of) is not None]
    walk = _Walk(inner, now)
    value = walk.part(value, "", schema.type)
    rest = [one for one in whole if one not in inner]
    return walk.apply(value, rest, "", schema.type), walk.problems


def _is_for(of: Any, schema: Schema) -> bool:
    names = {of} if isinstance(of, str) else {getattr(getattr(of, "DESCRIPTOR", None), "full_name", None)}
    return bool(names & schema.names)


class _Walk:
    """One way through a value: each part is given to the rules for its type."""

    def __init__(self, rules: Sequence[Rule], now: datetime) -> None:
        self.rules = rules
        self.types = tuple({one.of for one in rules})
        self.now = now
        self.problems: list[Problem] = []

    def part(self, value: Any, path: str, hint: Any) -> Any:
        """Judge what is inside a part, then the part itself."""
        if not self.types:
            return value
        if type(value) in (list, tuple):
            inner = [self.part(one, f"{path}[{n}]", Any) for n, one in enumerate(value)]
            return value if all(a is b for a, b in zip(inner, value, strict=True)) else type(value)(inner)
        if type(value) is dict:
            members = {key: self.part(one, f"{path}.{key}" if path else str(key), Any) for key, one in value.items()}
            return value if all(members[key] is one for key, one in value.items()) else members
        if not _is_record(value):
            return value
        before = {name: getattr(value, name) for name in field_types(type(value)) if hasattr(value, name)}
        after = {name: self.part(one, f"{path}.{name}" if path else name, Any) for name, one in before.items()}
        changed = {name: one for name, one in after.items() if one is not before[name]}
        value = with_fields(value, changed) if changed else value
        mine = [one for one in self.rules if isinstance(value, one.of)]
        return self.apply(value, mine, path, hint)

    def apply(self, value: Any, rules: Sequence[Rule], path: str, hint: Any) -> Any:
        """Give a part to its rules, those for its fields first."""
        for one in sorted(rules, key=lambda one: not one.field):
            if not one.field:
                value = self._ask(one, value, Case(self.now, value, path), hint)
                continue
            present, field = _field(value, one.field)
            if not present:
                continue
            where = f"{path}.{one.field}" if path else one.field
            known = field_types(type(value)) or (field_types(hint) if isinstance(hint, type) else {})
            now = self._ask(one, field, Case(self.now, value, where), known.get(one.field, Any))
            if now is not field:
                value = with_fields(value, {one.field: now})
        return value

    def _ask(self, one: Rule, value: Any, case: Case, hint: Any) -> Any:
        try:
            said = one(value, case)
        except ValueError as error:
            self._refuse(case.path, str(error) or f"rule {one.name} refuses it", value)
        except Exception as error:  # noqa: BLE001 -- the user's function: what it raises is no verdict that lets it pass
            self._refuse(case.path, f"rule {one.name} raised {type(error).__name__}: {error}", value)
        else:
            if isinstance(said, Normal):
                return self._normal(said.value, hint, case.path, value)
            if isinstance(said, str) or (said is not None and said is not True):
                other = f"rule {one.name} refuses it" if said is False else f"rule {one.name} returned {got(said)}"
                self._refuse(case.path, said if isinstance(said, str) else other, value)
        return value

    def _normal(self, value: Any, hint: Any, path: str, before: Any) -> Any:
        try:
            return convert(value, hint, path)
        except InputError as error:
            self._refuse(path, f"its normal form does not fit: {error}", before)
            return before

    def _refuse(self, path: str, message: str, value: Any) -> None:
        self.problems.append(Problem("rules", path, message, got(value)))


def _is_record(value: Any) -> bool:
    return family_of(type(value)) in ("dataclass", "struct", "model", "namedtuple")


def _field(value: Any, name: str) -> tuple[bool, Any]:
    if isinstance(value, Mapping):
        return name in value, value.get(name)
    return hasattr(value, name), getattr(value, name, None)


def with_fields(value: Any, changed: Mapping[str, Any]) -> Any:
    """Copy a record with other values in some of its fields."""
    if isinstance(value, Mapping):
        return {**value, **changed}
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.replace(value, **changed)
    if is_dataclass(value):
        return replace(typing.cast("Any", value), **changed)
    if isinstance(value, tuple):
        return value._replace(**changed)  # type: ignore[attr-defined]
    return value.model_copy(update=dict(changed))
