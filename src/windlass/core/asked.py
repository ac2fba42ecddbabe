"""What a question says that its answer has to be: an annotation's JSON Schema, with what msgspec leaves out of it.

msgspec gives no format for a moment or a time of day that may do without a zone, no limit to the units of a duration,
and nothing for keys that are no text. The judge of an answer has nothing but the schema, so it is said here. What goes
to models, and what tells a question from another, stays as `json_schema` has it.
"""

import typing
from collections.abc import Iterable
from types import UnionType
from typing import Any, Final, Union

from msgspec import inspect as mi

from windlass.core.annotations import named
from windlass.core.errors import InputError
from windlass.core.schema import flaw
from windlass.core.types import json_schema

SPAN: Final = "^[^YMWymw]*([Tt].*)?$"  # of days, hours, minutes and seconds: a timedelta knows no months
SAYS: Final[dict[type[mi.Type], dict[str, str]]] = {
    mi.DateTimeType: {"format": "date-time"},
    mi.TimeType: {"format": "time"},
    mi.DateType: {"format": "date"},
    mi.TimeDeltaType: {"format": "duration", "pattern": SPAN},
    mi.UUIDType: {"format": "uuid"},
    mi.DecimalType: {"format": "decimal"},
}
WANTED: Final = "a builtin, dataclass, struct, TypedDict, Literal, Pydantic model, or a JSON Schema as a dict"
RECORDS: Final = (mi.StructType, mi.DataclassType, mi.TypedDictType, mi.NamedTupleType)


def check_wanted(wanted: object) -> None:
    """Refuse what says of no answer whether it fits.

    Raises:
        InputError: it is no type, and no JSON Schema either.
    """
    if isinstance(wanted, dict):
        if wrong := flaw(wanted):
            raise InputError("schema", f"{wrong}; no JSON Schema", hint=WANTED)
    elif not (
        wanted is None
        or wanted is Any
        or isinstance(wanted, type | typing.TypeVar)
        or typing.get_origin(wanted) is not None
        or named(wanted) is not None
    ):
        raise InputError("schema", f"{wanted!r:.80} is no type, nor a JSON Schema", hint=WANTED)


def asked_schema(annotation: object) -> dict[str, Any]:
    """Give the JSON Schema that an answer is judged by, for an annotation."""
    schema = json_schema(annotation)
    shared = schema.get("$defs", {})
    seen: set[str] = set()
    try:
        _say(schema, mi.type_info(annotation), shared, seen)
    except (TypeError, NameError):  # a union that msgspec does not know has its members' schemas, in their order
        if typing.get_origin(annotation) in (Union, UnionType):
            for part, member in zip(schema.get("anyOf", ()), typing.get_args(annotation), strict=False):
                try:
                    _say(part, mi.type_info(member), shared, seen)
                except (TypeError, NameError):
                    continue
    return schema


def _say(schema: Any, kind: mi.Type, shared: dict[str, Any], seen: set[str]) -> None:
    """Go through a schema and the type that it is of, and say what is left out; what is not as expected is left."""
    kind = _bare(kind)
    if not isinstance(schema, dict):
        return
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        if name in shared and name not in seen:
            seen.add(name)
            _say(shared[name], kind, shared, seen)
        return
    if schema.get("type") == "string":
        for word, said in SAYS.get(type(kind), {}).items():
            schema.setdefault(word, said)
    if isinstance(kind, mi.DictType) and (keys := _of_keys(_bare(kind.key_type))):
        schema.setdefault("propertyNames", keys)
    for part, inner in _parts(schema, kind):
        _say(part, inner, shared, seen)


def _bare(kind: mi.Type) -> mi.Type:
    while isinstance(kind, mi.Metadata):
        kind = kind.type
    return kind


def _parts(schema: dict[str, Any], kind: mi.Type) -> Iterable[tuple[Any, mi.Type]]:
    """Give what a schema is made of, each with the type that it is of."""
    if isinstance(kind, mi.CollectionType):
        return ((schema.get("items"), kind.item_type),)
    if isinstance(kind, mi.DictType):
        return ((schema.get("additionalProperties"), kind.value_type),)
    if isinstance(kind, mi.UnionType):
        parts, members = _flat(schema), _in_order(kind)
        return zip(parts, members, strict=True) if len(parts) == len(members) else ()
    if isinstance(kind, mi.TupleType):
        return zip(schema.get("prefixItems", ()), kind.item_types, strict=False)
    if isinstance(kind, RECORDS) and "prefixItems" in schema:
        tag = 1 if getattr(kind, "tag_field", None) is not None else 0
        return zip(schema["prefixItems"][tag:], (field.type for field in kind.fields), strict=False)
    if isinstance(kind, RECORDS):
        known = schema.get("properties", {})
        return ((known.get(field.encode_name), field.type) for field in kind.fields)
    return ()


def _of_keys(kind: mi.Type) -> dict[str, Any]:
    """Say what a dict's keys have to be, as text; nothing where they are text or cannot be said."""
    if isinstance(kind, mi.IntType):
        return {"pattern": "^-?[0-9]+$"}
    if isinstance(kind, mi.LiteralType):
        return {"enum": [str(value) for value in kind.values]}
    if isinstance(kind, mi.EnumType):
        return {"enum": [str(one.value) for one in kind.cls]}
    return dict(SAYS.get(type(kind), {}))


def _in_order(kind: mi.UnionType) -> list[mi.Type]:
    """Give the members of a union as msgspec lists them in a schema: tagged structs after the others, None at last."""

    def place(member: mi.Type) -> int:
        member = _bare(member)
        if isinstance(member, mi.NoneType):
            return 2
        return int(isinstance(member, mi.StructType) and not member.array_like)

    return sorted(kind.types, key=place)


def _flat(schema: dict[str, Any]) -> list[Any]:
    """Give the alternatives of a schema; several structs stand as one alternative of their own."""
    found: list[Any] = []
    for part in schema.get("anyOf", ()):
        found += _flat(part) if isinstance(part, dict) and "discriminator" in part else [part]
    return found
