"""What an annotation says: which types a codec must know (D27), how it is spelled, whether a value has it.

`collect` and `spell` walk annotations by themselves and never print a `typing` object: those print differently from one
Python to the next, and a fingerprint must not. `convert` and `json_schema` leave the work to msgspec and Pydantic, and
take over only the unions that msgspec does not know.
"""

import contextlib
import enum
import inspect
import re
import sys
import typing
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, ClassVar, Final, ForwardRef, Literal, NotRequired, Required, Union

import msgspec

from windlass.core.annotations import field_types, named, optional_keys, parts_of, tag_of
from windlass.core.errors import DefinitionError, InputError
from windlass.core.refusal import step_of
from windlass.core.shapes import family_of, native_base

NO_ALIASES: Final[Mapping[str, type]] = MappingProxyType({})
WRAPPERS: Final = (Annotated, Required, NotRequired, ClassVar, typing.Final)
UNTYPED: Final = (Any, inspect.Parameter.empty, object)
ELEMENTS: Final = (list, set, frozenset, tuple, dict)
TOO_DEEP: Final = "too deep, or contains itself"
BY_NAME: Final = (object,)
PLACE: Final = re.compile(r" - at `(?:key in )?\$?([^`]*)`")


# Which types there are


def collect(annotations: Iterable[object], *, aliases: Mapping[str, type] = NO_ALIASES) -> dict[str, type]:
    """Find every type that values of these annotations may have and a codec must be told of, by its tag.

    Goes through generics, unions and the fields of records, as deep as they refer to each other.

    Args:
        aliases: former tag → type, for values that were stored under another name.

    Raises:
        DefinitionError: two different types have one tag.
    """
    found: dict[str, type] = {}
    seen: set[int] = set()
    kept: list[object] = []  # keeps what is in `seen` alive, so that no id comes back
    waiting = [*annotations, *aliases.values()]
    while waiting:
        annotation = waiting.pop()
        if id(annotation) in seen:
            continue
        seen.add(id(annotation))
        kept.append(annotation)
        waiting.extend(parts_of(annotation))
        if isinstance(annotation, type) and family_of(annotation) is not None:
            register(found, tag_of(annotation), annotation)
    ordered = {tag: found[tag] for tag in sorted(found)}
    for tag, kind in aliases.items():
        register(ordered, tag, kind)
    return ordered


def register(found: dict[str, type], tag: str, kind: type) -> None:
    """Enter a type under its tag.

    Raises:
        DefinitionError: the tag is that of another type.
    """
    other = found.setdefault(tag, kind)
    if other is not kind:
        places = f"{other.__module__}.{other.__qualname__} and {kind.__module__}.{kind.__qualname__}"
        raise DefinitionError(
            "types.duplicate", f"{places} have one tag, {tag!r}", hint="set __windlass_tag__ on one of them"
        )


# How it is spelled


def spell(annotation: object) -> str:
    """Spell an annotation for a fingerprint: the same text on every Python, without modules.

    A record is spelled with its fields, and the records in these by name only.
    """
    return spelled(annotation, ())


def spelled(annotation: object, around: tuple[object, ...]) -> str:
    """Spell an annotation; `around` are the record and the `type` statements that are being spelled around it."""
    if annotation is None or annotation is NoneType:
        return "None"
    if annotation is Any or annotation is inspect.Parameter.empty:
        return "any"
    if isinstance(annotation, str | ForwardRef):
        return annotation if isinstance(annotation, str) else annotation.__forward_arg__
    if isinstance(annotation, list):
        return f"[{','.join(spelled(part, around) for part in annotation)}]"
    if typing.get_origin(annotation) is not None:
        return spelled_generic(annotation, around)
    if isinstance(annotation, type):
        return spelled_type(annotation, around)
    meaning = named(annotation)
    if meaning is not None and annotation not in around:
        return spelled(meaning, (*around, annotation))
    if annotation is Ellipsis:
        return "..."
    return str(getattr(annotation, "__name__", None) or repr(annotation).removeprefix("typing."))


def spelled_generic(annotation: object, around: tuple[object, ...]) -> str:
    """Spell a union, a literal, or a type with parameters."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in WRAPPERS or getattr(origin, "_name", "") == "ReadOnly":
        return spelled(arguments[0], around)
    if origin is Literal:
        return f"Literal[{','.join(sorted(spelled_literal(value) for value in arguments))}]"
    texts = [spelled(argument, around) for argument in arguments]
    if origin is Union or origin is UnionType:
        return "|".join(sorted(set(texts)))
    name, brace, opened = spelled(origin, around).partition("{")
    return name + (f"[{','.join(texts)}]" if texts else "") + brace + opened


def spelled_literal(value: object) -> str:
    """Spell a value of a literal."""
    return f"{tag_of(type(value))}.{value.name}" if isinstance(value, enum.Enum) else repr(value)


def spelled_type(kind: type, around: tuple[object, ...]) -> str:
    """Spell a class: by name, and a record with its fields if no other record is being spelled."""
    name = tag_of(kind).rpartition("<locals>.")[2]
    if any(isinstance(outer, type) for outer in around):
        return name
    optional = optional_keys(kind) if typing.is_typeddict(kind) else frozenset()
    inside = (*around, kind)
    texts = [f"{field}{'?' * (field in optional)}:{spelled(hint, inside)}" for field, hint in field_types(kind).items()]
    return f"{name}{{{','.join(texts)}}}" if texts else name


# Whether a value has it


def convert(value: object, annotation: object, where: str) -> Any:
    """Make a value from outside what the annotation says; one that already is comes back as it is.

    Nothing is guessed: text is no number. Of the members of a union the first that fits is taken. Pydantic models
    convert by their own rules.

    Args:
        where: what the value is called in an error's path.

    Raises:
        InputError: the value does not fit; the path says where, and the message what was expected.
    """
    if type(value) is annotation or any(annotation is untyped for untyped in UNTYPED):
        return value
    refusal: InputError | None = None
    try:
        return msgspec.convert(value, annotation, strict=True, str_keys=True, dec_hook=foreign)
    except msgspec.ValidationError as error:
        refusal = translated(error, where)
    except UnicodeError:  # half a surrogate pair, where msgspec looks for something else than text
        refusal = mismatch(value, annotation, where)
    except (TypeError, NameError):  # msgspec does not know such annotations
        pass
    except RecursionError:
        raise InputError(where, TOO_DEEP) from None
    known = refusal is not None
    try:
        return convert_parts(value, annotation, where, refusal or mismatch(value, annotation, where), known=known)
    except RecursionError:
        raise InputError(where, TOO_DEEP) from None


def foreign(kind: Any, value: Any) -> object:
    """Make a value of a type that msgspec does not know.

    Raises:
        ValueError: the value does not fit.
    """
    kind = typing.get_origin(kind) or kind
    if is_instance(value, kind):
        return value
    family = family_of(kind)
    if family == "builtin" and type(value) is native_base(kind):
        return kind(value)
    if family != "model":
        raise ValueError(f"expected `{kind.__qualname__}`, got `{type(value).__qualname__}`")
    try:
        return kind.model_validate(value)
    except sys.modules["pydantic"].ValidationError as error:
        first = error.errors()[0]
        path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"])
        raise ValueError(f"{first['msg']} - at `${path}`") from None


def is_instance(value: object, kind: type) -> bool:
    """Say whether the value has the type; a protocol that cannot be asked is taken to be met."""
    try:
        return isinstance(value, kind)
    except TypeError:
        return True


def convert_parts(value: Any, annotation: Any, where: str, refusal: InputError, *, known: bool) -> object:
    """Convert part by part what msgspec refused: it knows no union of two records, and no subclass of a record.

    Args:
        known: whether msgspec knows the annotation, so that the fault is the value's.
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    meaning = named(annotation)
    if meaning is not None:
        return convert(value, meaning, where)
    if origin is Annotated:
        inside = convert(value, arguments[0], where)
        if known and any(isinstance(part, msgspec.Meta) for part in arguments[1:]):
            raise refusal
        return inside
    if origin is Union or origin is UnionType:
        return convert_union(value, annotation, where)
    if origin in ELEMENTS and isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return convert_elements(value, annotation, where, refusal)
    kind = annotation if known or origin is None else origin
    if isinstance(kind, type):
        return convert_record(value, kind, where, refusal, known=known)
    if known:
        raise refusal
    return value


def convert_union(value: Any, union: Any, where: str) -> object:
    """Take the member whose type the value has, or else the first that it can be made."""
    members = typing.get_args(union)
    if any(type(value) is member for member in members):
        return value
    for member in members:
        try:
            return convert(value, member, where)
        except InputError:
            continue
    raise mismatch(value, union, where)


def convert_elements(value: Any, annotation: Any, where: str, refusal: InputError) -> object:
    """Convert the elements of a container one by one."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if isinstance(value, Mapping) is not (origin is dict):
        raise refusal
    if origin is dict:
        keys, hint = arguments
        return {convert_key(key, keys, where): convert(part, hint, where + step_of(key)) for key, part in value.items()}
    parts = list(value)
    hints = [arguments[0]] * len(parts)
    if origin is tuple and arguments[-1] is not Ellipsis:
        hints = list(arguments)
    if len(hints) != len(parts):
        raise refusal
    converted = [convert(part, hint, f"{where}[{n}]") for n, (part, hint) in enumerate(zip(parts, hints, strict=True))]
    try:
        return origin(converted)
    except TypeError as error:  # a set of what has no hash
        raise InputError(where, str(error)) from None


def convert_key(key: object, annotation: object, where: str) -> object:
    """Convert a key; JSON has only text there, so an integer may stand as its digits."""
    try:
        keyed: dict[object, None] = msgspec.convert({key: None}, dict[annotation, None], str_keys=True)  # type: ignore[valid-type]
    except (msgspec.ValidationError, TypeError, NameError, UnicodeError):
        return convert(key, annotation, where + step_of(key))
    return next(iter(keyed))


def convert_record(value: Any, kind: type, where: str, refusal: InputError, *, known: bool) -> object:
    """Take an instance as it is, and make one from a dict where msgspec does not know a field's type."""
    typed_dict = typing.is_typeddict(kind)
    if not typed_dict and (not known or family_of(kind) is not None) and is_instance(value, kind):
        return value
    if isinstance(value, Mapping) and (typed_dict or is_dataclass(kind)):
        return build(value, kind, where)
    raise refusal


def build(value: Mapping[str, Any], kind: Any, where: str) -> object:
    """Make a dataclass or a typed dict from a dict, field by field."""
    hints = field_types(kind)
    if typing.is_typeddict(kind):
        given = set(hints)
        needed = given - optional_keys(kind)
    else:
        settable = [field for field in fields(kind) if field.init]
        given = {field.name for field in settable}
        needed = {field.name for field in settable if field.default is field.default_factory is MISSING}
    missing = [name for name in hints if name in needed and name not in value]
    if missing:
        raise InputError(where, f"object missing required field `{missing[0]}`")
    names = [name for name in hints if name in given and name in value]
    parts = {name: convert(value[name], hints[name], f"{where}.{name}") for name in names}
    if typing.is_typeddict(kind):
        return parts
    try:
        return kind(**parts)
    except (TypeError, ValueError) as error:
        raise InputError(where, str(error)) from error


def mismatch(value: object, annotation: object, where: str) -> InputError:
    """Say what was expected where msgspec does not say it."""
    return InputError(where, f"expected `{spelled(annotation, BY_NAME)}`, got `{type(value).__qualname__}`")


def translated(error: msgspec.ValidationError, where: str) -> InputError:
    """Translate msgspec's message; the places that it names, the outermost last, become the path."""
    text = str(error)
    path = "".join(reversed(PLACE.findall(text)))
    message = PLACE.sub("", text)
    return InputError(where + path, message[:1].lower() + message[1:])


# Its JSON Schema


def json_schema(annotation: object) -> dict[str, Any]:
    """Give the JSON Schema of an annotation, for a form or a model; `{}` allows anything."""
    if any(annotation is untyped for untyped in UNTYPED):
        return {}
    pydantic: Any = sys.modules.get("pydantic")
    if pydantic is not None and any(issubclass(kind, pydantic.BaseModel) for kind in collect([annotation]).values()):
        with contextlib.suppress(pydantic.errors.PydanticUserError):  # there is a struct in it, too
            return dict(pydantic.TypeAdapter(annotation).json_schema())
    try:
        return msgspec.json.schema(annotation, schema_hook=anything)
    except (TypeError, NameError):  # a union of two records, which msgspec does not know, or a name nobody knows
        return union_schema(annotation)


def anything(_kind: type) -> dict[str, Any]:
    """Allow anything for a type that has no schema."""
    return {}


def union_schema(annotation: object) -> dict[str, Any]:
    """Give the schema of a union member by member."""
    origin = typing.get_origin(annotation)
    if origin is not Union and origin is not UnionType:
        return {}
    members = [json_schema(member) for member in typing.get_args(annotation)]
    definitions: dict[str, Any] = {}
    for member in members:
        definitions |= member.pop("$defs", {})
    return {"anyOf": members, "$defs": definitions} if definitions else {"anyOf": members}
