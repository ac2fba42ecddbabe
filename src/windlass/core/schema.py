"""Whether a value has the shape that a JSON Schema asks for: what msgspec and Pydantic write, and no more.

An answer is judged where it is given, by the schema that its question keeps: no definition is needed. What a schema
says in words that are not known here is not judged; the task that asked has the last word.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

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
MOST_DEEP = 100  # a schema that refers to itself ends somewhere


def is_number(value: Any) -> bool:
    """Say whether a value is a number; a truth value is none, nor is NaN."""
    if isinstance(value, float):
        return not math.isnan(value)
    return isinstance(value, int) and not isinstance(value, bool)


def misfit(value: Any, schema: Mapping[str, Any]) -> str:
    """Say where and how a plain value breaks a schema; empty if it does not."""
    return next(_misfits(value, schema, schema, "", 0), "")


def unfit(value: Any, schema: Any) -> str:
    """Say what a schema has against a value, nothing if it fits; of a type of the user's the task has the last word."""
    try:
        plain = msgspec.to_builtins(value, str_keys=True, enc_hook=_dumped)
    except (TypeError, ValueError, RecursionError):
        return ""
    return misfit(plain, schema) if isinstance(schema, dict) else ""


def _dumped(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)  # a Pydantic model
    if dump is None:
        raise TypeError
    return dump(mode="json")


def _misfits(value: Any, schema: Any, root: Mapping[str, Any], at: str, depth: int) -> Iterator[str]:
    if schema is True or depth > MOST_DEEP or not isinstance(schema, Mapping):
        if schema is False:
            yield f"{at or 'it'} may not be there"
        return
    if "$ref" in schema:
        yield from _misfits(value, _referred(root, str(schema["$ref"])), root, at, depth + 1)
    yield from _of_alternatives(value, schema, root, at, depth)
    where = at or "it"
    kinds = schema.get("type")
    names = [kinds] if isinstance(kinds, str) else kinds if isinstance(kinds, list) else []
    if names and not any(KINDS[name](value) for name in names if name in KINDS):
        yield f"{where} is {spelled(value)}, not of type {' or '.join(map(str, names))}"
        return
    if "enum" in schema and not any(_is_same(value, one) for one in schema["enum"]):
        yield f"{where} is {spelled(value)}, none of {', '.join(map(spelled, schema['enum']))}"
    if "const" in schema and not _is_same(value, schema["const"]):
        yield f"{where} is {spelled(value)}, not {spelled(schema['const'])}"
    if isinstance(value, str):
        yield from _of_text(value, schema, where)
    elif is_number(value):
        yield from _of_number(value, schema, where)
    elif isinstance(value, list):
        yield from _of_list(value, schema, root, at, depth)
    elif isinstance(value, dict):
        yield from _of_object(value, schema, root, at, depth)


def _referred(root: Mapping[str, Any], reference: str) -> Any:
    found: Any = root
    for step in reference.removeprefix("#").strip("/").split("/") if reference != "#" else ():
        name = step.replace("~1", "/").replace("~0", "~")
        found = found.get(name, True) if isinstance(found, Mapping) else True
    return found


def _of_alternatives(
    value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], at: str, depth: int
) -> Iterator[str]:
    for part in schema.get("allOf", ()):
        yield from _misfits(value, part, root, at, depth + 1)
    for word in ("anyOf", "oneOf"):
        parts = schema.get(word)
        if parts:
            found = [next(_misfits(value, part, root, at, depth + 1), "") for part in parts]
            if all(found):
                said = f"{at or 'it'} is {spelled(value)}, which fits nothing: {found[0]}"
                yield said if len(found) > 1 else found[0]


def _of_text(value: str, schema: Mapping[str, Any], where: str) -> Iterator[str]:
    if len(value) < schema.get("minLength", 0):
        yield f"{where} is shorter than {schema['minLength']} characters"
    if len(value) > schema.get("maxLength", math.inf):
        yield f"{where} is longer than {schema['maxLength']} characters"
    pattern = schema.get("pattern")
    try:
        if isinstance(pattern, str) and re.search(pattern, value) is None:
            yield f"{where} does not match {pattern!r}"
    except re.error:  # another dialect: the task has the last word
        return


def _of_number(value: float, schema: Mapping[str, Any], where: str) -> Iterator[str]:
    if value < schema.get("minimum", -math.inf) or value <= schema.get("exclusiveMinimum", -math.inf) != -math.inf:
        yield f"{where} is {spelled(value)}, and too small"
    if value > schema.get("maximum", math.inf) or value >= schema.get("exclusiveMaximum", math.inf) != math.inf:
        yield f"{where} is {spelled(value)}, and too large"
    step = schema.get("multipleOf")
    if isinstance(step, int | float) and step > 0 and not _is_multiple(value, step):
        yield f"{where} is {spelled(value)}, no multiple of {step}"


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
) -> Iterator[str]:
    first: Sequence[Any] = schema.get("prefixItems", ())
    rest = schema.get("items", True)
    if len(value) < schema.get("minItems", 0):
        yield f"{at or 'it'} has fewer than {schema['minItems']} elements"
    if len(value) > schema.get("maxItems", math.inf):
        yield f"{at or 'it'} has more than {schema['maxItems']} elements"
    if schema.get("uniqueItems") and len(value) > 1:
        keys = sorted(msgspec.json.encode(item, order="sorted") for item in value)
        if any(one == other for one, other in pairwise(keys)):
            yield f"{at or 'it'} has an element twice"
    for place, item in enumerate(value):
        part = first[place] if place < len(first) else rest
        yield from _misfits(item, part, root, f"{at}[{place}]", depth + 1)


def _of_object(
    value: dict[str, Any], schema: Mapping[str, Any], root: Mapping[str, Any], at: str, depth: int
) -> Iterator[str]:
    known = schema.get("properties", {})
    rest = schema.get("additionalProperties", True)
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{f'{at}.{name}' if at else name} is missing"
    for name, part in value.items():
        yield from _misfits(part, known.get(name, rest), root, f"{at}.{name}" if at else str(name), depth + 1)


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
