"""Whether a value has the shape that a JSON Schema asks for: what msgspec and Pydantic write, and no more.

An answer is judged where it is given, by the schema that its question keeps: no definition is needed. What a schema
says in words that are not known here is not judged; the task that asked has the last word.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

KINDS: dict[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: is_number(value) and float(value).is_integer() if not isinstance(value, int) else
    not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and is_number(value),
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}  # fmt: skip
FORMATS: dict[str, tuple[type, str]] = {  # read as msgspec reads them, which makes the task's value
    "date-time": (datetime, "date and time as 2026-01-31T12:00:00Z"),
    "date": (date, "date as 2026-01-31"),
    "time": (time, "time as 12:00:00 or 12:00:00Z"),
    "partial-time": (time, "time as 12:00:00"),
    "duration": (timedelta, "duration as P1DT12H or PT5M"),
    "uuid": (UUID, "UUID"),
    "decimal": (Decimal, "decimal number"),
}
DURATION = re.compile(  # RFC 3339, appendix A: more than a timedelta knows
    r"P(?=[0-9]|T[0-9])([0-9]+Y)?([0-9]+M)?([0-9]+W)?([0-9]+D)?(T(?=[0-9])([0-9]+H)?([0-9]+M)?([0-9]+S)?)?"
)
SCHEMAS = {  # words that hold schemas
    "items": "one", "additionalProperties": "one", "propertyNames": "one", "allOf": "list", "anyOf": "list",
    "oneOf": "list", "prefixItems": "list", "properties": "dict", "$defs": "dict", "definitions": "dict",
}  # fmt: skip
NUMBERS = (
    "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "minimum", "maximum",
    "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
)  # fmt: skip
MOST_DEEP = 100  # a schema that refers to itself ends somewhere
MOST_NAMED = 12  # names or alternatives in a message


class Fault(NamedTuple):
    """What a value breaks.

    Args:
        at: where in the value; empty for all of it.
        said: what is wrong, to be read after the place.
        is_mark: it may only mean that another alternative was meant: a name is missing, or a mark is another.
    """

    at: str
    said: str
    is_mark: bool = False

    def __str__(self) -> str:
        return f"{self.at or 'it'} {self.said}"


def is_number(value: Any) -> bool:
    """Say whether a value is a number; a truth value is none, nor is NaN."""
    if isinstance(value, float):
        return not math.isnan(value)
    return isinstance(value, int) and not isinstance(value, bool)


def misfit(value: Any, schema: Mapping[str, Any]) -> str:
    """Say where and how a plain value breaks a schema; empty if it does not."""
    return str(next(_misfits(value, schema, schema, "", 0), ""))


def unfit(value: Any, schema: Any) -> str:
    """Say what a schema has against a value, nothing if it fits; of a type of the user's the task has the last word."""
    try:
        plain = msgspec.to_builtins(value, str_keys=True, enc_hook=dumped)
    except (TypeError, ValueError, RecursionError):
        return ""
    return misfit(plain, schema) if isinstance(schema, dict) else ""


def dumped(value: Any) -> Any:
    """Write a Pydantic model as the JSON that makes it again; for `to_builtins`."""
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise TypeError
    return dump(mode="json", by_alias=True, round_trip=True)


def flaw(schema: Any) -> str:
    """Say why no JSON Schema is meant, or one by which nothing could be judged; empty if it is one."""
    try:
        plain = msgspec.json.decode(msgspec.json.encode(schema))
    except (TypeError, ValueError, RecursionError) as error:
        return f"it is no JSON: {error}"
    return next(_flaws(plain, plain, "", 0), "")


def _flaws(schema: Any, root: Any, at: str, depth: int) -> Iterator[str]:
    where = at or "it"
    if isinstance(schema, bool) or depth > MOST_DEEP:
        return
    if not isinstance(schema, dict):
        yield f"{where} is {spelled(schema)}, and a schema is an object"
        return
    if "type" in schema:
        names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        if not names or not all(isinstance(name, str) and name in KINDS for name in names):
            yield f"{_below(at, 'type')} is {spelled(schema['type'])}, none of {', '.join(KINDS)}"
    for word in NUMBERS:
        if word in schema and not is_number(schema[word]):
            yield f"{_below(at, word)} is {spelled(schema[word])}, no number"
    for word in ("enum", "required"):
        if not isinstance(schema.get(word, []), list):
            yield f"{_below(at, word)} is {spelled(schema[word])}, no list"
    reference = str(schema.get("$ref", ""))
    if reference.startswith("#/") and "%" not in reference and _referred(root, reference, None) is None:
        yield f"{_below(at, '$ref')} is {spelled(reference)}, and there is nothing"
    for word, kind in SCHEMAS.items():
        if word in schema:
            yield from _flaws_inside(schema[word], kind, root, _below(at, word), depth + 1)


def _flaws_inside(inside: Any, kind: str, root: Any, at: str, depth: int) -> Iterator[str]:
    if kind == "one":
        parts = [(at, part) for part in (inside if isinstance(inside, list) else (inside,))]  # items were a list once
    elif not isinstance(inside, list if kind == "list" else dict):
        yield f"{at} is {spelled(inside)}, no {kind} of schemas"
        return
    else:
        named = inside.items() if isinstance(inside, dict) else enumerate(inside)
        parts = [(_below(at, str(name)), part) for name, part in named]
    for where, part in parts:
        yield from _flaws(part, root, where, depth)


def _below(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name


def _misfits(value: Any, schema: Any, root: Mapping[str, Any], at: str, depth: int) -> Iterator[Fault]:
    if schema is True or depth > MOST_DEEP or not isinstance(schema, Mapping):
        if schema is False:
            yield Fault(at, "may not be there")
        return
    if "$ref" in schema:
        yield from _misfits(value, _referred(root, str(schema["$ref"])), root, at, depth + 1)
    yield from _of_alternatives(value, schema, root, at, depth)
    kinds = schema.get("type")
    names = [kinds] if isinstance(kinds, str) else kinds if isinstance(kinds, list) else []
    if names and not any(KINDS[name](value) for name in names if name in KINDS):
        yield Fault(at, f"is {spelled(value)}, not of type {' or '.join(map(str, names))}")
        return
    if "enum" in schema and not any(_is_same(value, one) for one in schema["enum"]):
        one_of = schema["enum"]
        yield Fault(at, f"is {spelled(value)}, none of {', '.join(map(spelled, one_of))}", is_mark=len(one_of) == 1)
    if "const" in schema and not _is_same(value, schema["const"]):
        yield Fault(at, f"is {spelled(value)}, not {spelled(schema['const'])}", is_mark=True)
    if isinstance(value, str):
        yield from _of_text(value, schema, at)
    elif is_number(value):
        yield from _of_number(value, schema, at)
    elif isinstance(value, list):
        yield from _of_list(value, schema, root, at, depth)
    elif isinstance(value, dict):
        yield from _of_object(value, schema, root, at, depth)


def _referred(root: Any, reference: str, otherwise: Any = True) -> Any:
    found: Any = root
    for step in reference.removeprefix("#").strip("/").split("/") if reference != "#" else ():
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list):
            found = found[int(name)] if name.isdecimal() and int(name) < len(found) else otherwise
        else:
            found = found.get(name, otherwise) if isinstance(found, Mapping) else otherwise
    return found


def _of_alternatives(
    value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], at: str, depth: int
) -> Iterator[Fault]:
    for part in schema.get("allOf", ()):
        yield from _misfits(value, part, root, at, depth + 1)
    for word in ("anyOf", "oneOf"):
        found = []
        for part in schema.get(word, ()):
            fault = next(_misfits(value, part, root, at, depth + 1), None)
            if fault is None:
                break
            found.append(fault)
        else:
            if found:
                yield _closest(value, at, found)


def _closest(value: Any, at: str, found: list[Fault]) -> Fault:
    """Say what is wrong with the alternative that was meant: the one whose fault lies inside it; else with each."""
    inside = [one for one in found if len(one.at) > len(at)]
    meant = [one for one in inside if not one.is_mark] or inside
    if len(found) == 1 or len(meant) == 1 or not all(one.is_mark for one in meant):
        return max(meant or found, key=lambda one: len(one.at))
    own = f"is {spelled(value)}, "
    each = [one.said.removeprefix(own) if one.at == at else str(one) for one in found]
    return Fault(at, f"{own}which fits nothing: {'; '.join(dict.fromkeys(each[:MOST_NAMED]))}")


def _of_text(value: str, schema: Mapping[str, Any], at: str) -> Iterator[Fault]:
    if len(value) < schema.get("minLength", 0):
        yield Fault(at, f"is shorter than {schema['minLength']} characters")
    if len(value) > schema.get("maxLength", math.inf):
        yield Fault(at, f"is longer than {schema['maxLength']} characters")
    kind, meant = FORMATS.get(str(schema.get("format")), (str, ""))
    is_read = _is_read(value, kind) or (kind is timedelta and DURATION.fullmatch(value) is not None)
    if not is_read:
        yield Fault(at, f"is {spelled(value)}, no {meant}")
    if schema.get("contentEncoding") == "base64" and not _is_read(value, bytes):
        yield Fault(at, f"is {spelled(value)}, not in base64")
    pattern = schema.get("pattern")
    try:
        if isinstance(pattern, str) and re.search(pattern, value) is None:
            yield Fault(at, f"does not match {pattern!r}")
    except re.error:  # another dialect: the task has the last word
        return


def _is_read(text: str, kind: type) -> bool:
    try:
        msgspec.convert(text, kind)
    except (msgspec.ValidationError, ValueError):
        return False
    return True


def _of_number(value: float, schema: Mapping[str, Any], at: str) -> Iterator[Fault]:
    if value < schema.get("minimum", -math.inf) or value <= schema.get("exclusiveMinimum", -math.inf) != -math.inf:
        yield Fault(at, f"is {spelled(value)}, and too small")
    if value > schema.get("maximum", math.inf) or value >= schema.get("exclusiveMaximum", math.inf) != math.inf:
        yield Fault(at, f"is {spelled(value)}, and too large")
    step = schema.get("multipleOf")
    if isinstance(step, int | float) and step > 0 and not _is_multiple(value, step):
        yield Fault(at, f"is {spelled(value)}, no multiple of {step}")


def _is_multiple(value: float, step: float) -> bool:
    if isinstance(value, int) and isinstance(step, int):
        return value % step == 0
    try:
        ratio = value / step
        return abs(ratio - round(ratio)) <= 1e-9 * max(1.0, abs(ratio))  # tenths are no binary numbers
    except (OverflowError, ValueError):  # beyond what a float holds: the task has the last word
        return True


def _of_list(
    value: list[Any], schema: Mapping[str, Any], root: Mapping[str, Any], at: str, depth: int
) -> Iterator[Fault]:
    first: Sequence[Any] = schema.get("prefixItems", ())
    rest = schema.get("items", True)
    if len(value) < schema.get("minItems", 0):
        yield Fault(at, f"has fewer than {schema['minItems']} elements")
    if len(value) > schema.get("maxItems", math.inf):
        yield Fault(at, f"has more than {schema['maxItems']} elements")
    if schema.get("uniqueItems") and len(value) > 1:
        keys = sorted(msgspec.json.encode(item, order="sorted") for item in value)
        if any(one == other for one, other in pairwise(keys)):
            yield Fault(at, "has an element twice")
    for place, item in enumerate(value):
        part = first[place] if place < len(first) else rest
        yield from _misfits(item, part, root, f"{at}[{place}]", depth + 1)


def _of_object(
    value: dict[str, Any], schema: Mapping[str, Any], root: Mapping[str, Any], at: str, depth: int
) -> Iterator[Fault]:
    if len(value) < schema.get("minProperties", 0):
        yield Fault(at, f"has fewer than {schema['minProperties']} entries")
    if len(value) > schema.get("maxProperties", math.inf):
        yield Fault(at, f"has more than {schema['maxProperties']} entries")
    names = schema.get("propertyNames", True)
    for name in value if names is not True else ():
        if fault := next(_misfits(str(name), names, root, "", depth + 1), None):
            yield Fault(at, f"has a key that {fault.said}")
    known = schema.get("properties", {})
    rest = schema.get("additionalProperties", True) if "patternProperties" not in schema else True
    for name in schema.get("required", ()):
        if name not in value:
            yield Fault(_below(at, str(name)), "is missing", is_mark=True)
    for name, part in value.items():
        where = _below(at, str(name))
        if rest is False and name not in known:
            yield Fault(where, f"may not be there, only {', '.join(list(known)[:MOST_NAMED]) or 'nothing'}")
        else:
            yield from _misfits(part, known.get(name, rest), root, where, depth + 1)


def _is_same(value: Any, other: Any) -> bool:
    """Compare as JSON does: a truth value is no number."""
    return value == other and isinstance(value, bool) is isinstance(other, bool)


def spelled(value: Any) -> str:
    """Write a value as short JSON, for a message."""
    try:
        text = msgspec.json.encode(value).decode()
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"  # noqa: PLR2004
