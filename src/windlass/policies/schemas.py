"""What an output has to be: one face for Python types, Pydantic models, JSON Schemas and protobuf classes.

Whatever the kind, a value that fits comes back as what downstream gets, and one that does not with every problem there
is, each with its path.
"""

import sys
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import UnionType
from typing import Any, Final

import msgspec

from windlass.core.annotations import field_types, named, optional_keys
from windlass.core.asked import asked_schema
from windlass.core.errors import DefinitionError, InputError
from windlass.core.judged import Problem
from windlass.core.secret import MASKS
from windlass.core.shapes import family_of
from windlass.core.types import convert
from windlass.policies.parsers import Wanted

MOST_PROBLEMS: Final = 20
MOST_GOT: Final = 120  # characters of a value in a problem
PLAIN: Final = (str, int, float, bool, bytes, type(None))
ARRAYS: Final = (list, tuple, set, frozenset)
INSTALL: Final = "install windlass[output]"


class Unfit(Exception):
    """A value is not what the schema says; it has the problems."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(problems)
        self.problems = problems[:MOST_PROBLEMS]


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema, read.

    Args:
        type: of what downstream gets, as an annotation.
        wanted: what is looked for in a text.
        check: makes a parsed value what downstream gets, or raises Unfit.
        json: as JSON Schema, for forms and models.
        names: under which rules find it, beside its type.
        fields: that a rule may name; None where any may be there.
    """

    type: Any
    wanted: Wanted
    check: Callable[[Any], Any]
    json: Callable[[], Any]
    names: frozenset[str] = frozenset()
    fields: frozenset[str] | None = None


def read_schema(given: Any, where: str = "expect") -> Schema:
    """Read a schema of any kind.

    Raises:
        DefinitionError: it is of no known kind, no valid JSON Schema, or what reads it is not installed.
    """
    if isinstance(given, Mapping):
        return _of_json(dict(given), where)
    if isinstance(given, type) and hasattr(given, "DESCRIPTOR"):
        return _of_protobuf(given, where)
    if is_annotation(given):
        return _of_type(given)
    raise DefinitionError(
        "output.schema", f"{where}: {given!r:.80} is no schema",
        hint="a type, dataclass, struct, TypedDict, Pydantic model, JSON Schema dict or protobuf class",
    )  # fmt: skip


def is_annotation(given: Any) -> bool:
    """Say whether it is a type that a value can be checked against."""
    if given is Any or typing.get_origin(given) is not None or named(given) is not None:
        return True
    if not isinstance(given, type):
        return False
    known = given in PLAIN or given in ARRAYS or given is dict or typing.is_typeddict(given)
    return known or family_of(given) is not None or given.__module__ in ("datetime", "decimal", "uuid")


def got(value: Any) -> str:
    """Show a value as a problem has it: short."""
    shown = MASKS.text(repr(value))  # before it is cut: half a secret would not be found
    return shown if len(shown) <= MOST_GOT else shown[: MOST_GOT - 1] + "…"


def _of_type(given: Any) -> Schema:
    names = frozenset({given.__name__}) if isinstance(given, type) else frozenset()
    known = frozenset(field_types(given)) if isinstance(given, type) else frozenset()
    check = _validated if _is_model(given) else _converted
    return Schema(
        given, _wanted(given), lambda value: check(value, given), lambda: asked_schema(given), names, known or None
    )


def _is_model(given: Any) -> bool:
    return isinstance(given, type) and family_of(given) == "model"


def _wanted(given: Any) -> Wanted:
    meaning = named(given)
    if meaning is not None:
        return _wanted(meaning)
    origin = typing.get_origin(given)
    if origin is typing.Annotated:
        return _wanted(typing.get_args(given)[0])
    if origin in (typing.Union, UnionType):
        found = {_wanted(part) for part in typing.get_args(given) if part is not type(None)}
        return found.pop() if len(found) == 1 else "both"
    kind = origin or given
    if kind is typing.Literal:
        return "plain"
    if kind in ARRAYS:
        return "array"
    if kind in (dict, Mapping) or typing.is_typeddict(kind):
        return "object"
    if isinstance(kind, type):
        return {"namedtuple": "array", "dataclass": "object", "struct": "object", "model": "object"}.get(
            family_of(kind) or "", "plain"
        )  # type: ignore[return-value]
    return "both"


def _converted(value: Any, kind: Any) -> Any:
    try:
        return convert(value, kind, "")
    except InputError as error:
        raise Unfit(_each(value, kind) or [_problem(error, value)]) from None


def _each(value: Any, kind: Any) -> list[Problem]:
    """Check field by field: the whole names only the first fault that it meets."""
    if not isinstance(value, Mapping) or not isinstance(kind, type):
        return []
    found: list[Problem] = []
    for name, hint, is_needed in _members(kind):
        if name in value:
            try:
                convert(value[name], hint, name)
            except InputError as error:
                found.append(_problem(error, value))
        elif is_needed:
            found.append(Problem("schema", name, "is missing"))
    return found


def _members(kind: Any) -> list[tuple[str, Any, bool]]:
    """Give the fields of a record as JSON names them, their types, and whether they must be there."""
    if issubclass(kind, msgspec.Struct):
        return [(one.encode_name, one.type, one.required) for one in msgspec.structs.fields(kind)]
    hints = field_types(kind)
    if typing.is_typeddict(kind):
        free = optional_keys(kind)
    elif is_dataclass(kind):
        free = frozenset(one.name for one in fields(kind) if not one.init or not _is_bare(one))
    else:
        return []
    return [(name, hint, name not in free) for name, hint in hints.items()]


def _is_bare(field: Any) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _problem(error: InputError, value: Any) -> Problem:
    path = error.path.lstrip(".")
    said = str(error.args[0]).removeprefix(f"{error.path}: ")
    return Problem("schema", path, said, got(at(value, path)))


def at(value: Any, path: str) -> Any:
    """Find what stands at a path; the whole where nothing does."""
    found = value
    for step in path.replace("[", ".[").split("."):
        try:
            if step:
                found = found[int(step[1:-1])] if step[0] == "[" else found[step]
        except (LookupError, TypeError, ValueError):
            return found
    return found


def joined(steps: typing.Iterable[Any]) -> str:
    """Spell a path: `items[2].price`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")


def _validated(value: Any, model: Any) -> Any:
    if isinstance(value, model):
        return value
    pydantic: Any = sys.modules["pydantic"]
    try:
        return model.model_validate(value)
    except pydantic.ValidationError as error:
        raise Unfit([
            Problem("schema", joined(one["loc"]), one["msg"][:1].lower() + one["msg"][1:], got(one["input"]))
            for one in error.errors(include_url=False)
        ]) from None  # fmt: skip
    except RecursionError:
        raise Unfit([Problem("schema", "", "too deep, or contains itself")]) from None


def _of_json(given: dict[str, Any], where: str) -> Schema:
    """Read a JSON Schema. References are looked up inside it alone: nothing is fetched."""
    try:
        import jsonschema_rs
    except ImportError:
        raise DefinitionError("output.extra", f"{where}: a JSON Schema needs jsonschema-rs", hint=INSTALL) from None
    try:
        validator = jsonschema_rs.validator_for(given, offline=True, pattern_options=jsonschema_rs.RegexOptions())
    except (ValueError, TypeError, jsonschema_rs.ReferencingError) as error:
        said = str(error).partition("\n")[0]
        raise DefinitionError("output.schema", f"{where}: no valid JSON Schema: {said}") from None

    def check(value: Any) -> Any:
        try:
            if validator.is_valid(value):
                return value
            errors = [error for error, _ in zip(validator.iter_errors(value), range(MOST_PROBLEMS), strict=False)]
            paths = [joined(error.instance_path) for error in errors]
            found = [
                Problem("schema", path, error.message, got(at(value, path)))
                for error, path in zip(errors, paths, strict=True)
            ]
        except (ValueError, RecursionError) as error:  # a value that JSON does not have
            found = [Problem("schema", "", str(error), got(value))]
        raise Unfit(found)

    kind = given.get("type")
    wanted = {"object": "object", "array": "array", "string": "plain", "number": "plain", "integer": "plain",
              "boolean": "plain"}.get(kind if isinstance(kind, str) else "", "both")  # fmt: skip
    types = {"object": dict, "array": list, "string": str}
    title = given.get("title")
    return Schema(
        types.get(kind, Any) if isinstance(kind, str) else Any, wanted, check, lambda: given,  # type: ignore[arg-type]
        frozenset({title} if isinstance(title, str) else ()), None,
    )  # fmt: skip


def _of_protobuf(given: Any, where: str) -> Schema:
    """Read a protobuf class: what downstream gets is the message as a dict, in protobuf's own JSON form."""
    try:
        from google.protobuf import json_format  # the user's class came from there
    except ImportError:
        raise DefinitionError("output.extra", f"{where}: protobuf is not there", hint="install protobuf") from None
    descriptor = given.DESCRIPTOR

    def check(value: Any) -> Any:
        try:
            message = value if isinstance(value, given) else json_format.ParseDict(value, given())
            return json_format.MessageToDict(message, preserving_proto_field_name=True)
        except json_format.Error as error:
            raise Unfit([Problem("schema", "", str(error), got(value))]) from None
        except (TypeError, AttributeError, ValueError, RecursionError) as error:
            raise Unfit([Problem("schema", "", f"no message of this kind: {error}", got(value))]) from None

    known = frozenset(field.name for field in descriptor.fields)
    return Schema(
        dict[str, Any], "object", check, lambda: {"type": "object", "title": descriptor.name},
        frozenset({descriptor.name, descriptor.full_name}), known,
    )  # fmt: skip
