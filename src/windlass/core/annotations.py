"""What an annotation is made of: its parts, the fields of a record, and what they resolve to."""

import enum
import inspect
import sys
import typing
from collections.abc import Iterator
from dataclasses import fields
from types import SimpleNamespace
from typing import Annotated, Any, Literal, NotRequired, Required, TypeVar

from windlass.core.shapes import family_of


def tag_of(kind: type) -> str:
    """Give the name under which values of a type are stored: its own `__windlass_tag__`, or its qualified name."""
    declared = vars(kind).get("__windlass_tag__")
    return declared if isinstance(declared, str) else kind.__qualname__


def parts_of(annotation: object) -> Iterator[object]:
    """Give the annotations that an annotation is made of."""
    if isinstance(annotation, list | tuple):  # the parameters of a Callable
        yield from annotation
    elif isinstance(annotation, TypeVar):
        yield annotation.__bound__
        yield from annotation.__constraints__
    elif typing.get_origin(annotation) is Literal:
        yield from (type(value) for value in typing.get_args(annotation) if isinstance(value, enum.Enum))
    elif typing.get_origin(annotation) is not None:
        yield typing.get_origin(annotation)
        yield from typing.get_args(annotation)[: 1 if typing.get_origin(annotation) is Annotated else None]
    elif isinstance(annotation, type):
        yield from field_types(annotation).values()
    else:
        yield named(annotation)


def named(annotation: object) -> object:
    """Give what a `NewType` or a `type` statement stands for; None for anything else."""
    if isinstance(annotation, typing.NewType):
        return annotation.__supertype__
    return getattr(annotation, "__value__", None) if type(annotation).__name__ == "TypeAliasType" else None


def field_types(kind: type) -> dict[str, object]:
    """Give the names and annotations of a record's fields, in their order; nothing for any other type."""
    if typing.is_typeddict(kind):
        return hints_of(kind)
    family = family_of(kind)
    if family == "model":
        return {name: field.annotation for name, field in kind.model_fields.items()}  # type: ignore[attr-defined]
    if family == "dataclass":
        names = [field.name for field in fields(kind)]
    elif family in {"struct", "namedtuple"}:
        names = list(kind.__struct_fields__ if family == "struct" else kind._fields)  # type: ignore[attr-defined]
    else:
        return {}
    hints = hints_of(kind)
    return {name: hints.get(name, Any) for name in names}


def hints_of(kind: type) -> dict[str, object]:
    """Resolve the annotations of a class; one that names something unknown stays as its text."""
    local = {kind.__name__: kind}
    try:
        return typing.get_type_hints(kind, localns=local, include_extras=True)
    except Exception:  # noqa: BLE001 - evaluating a stranger's text may raise anything; each is tried by itself below
        resolved: dict[str, object] = {}
    for base in reversed(kind.__mro__):
        space = vars(sys.modules[base.__module__]) if base.__module__ in sys.modules else {}
        for name, hint in own_annotations(base).items():
            holder = SimpleNamespace(__annotations__={name: hint})
            try:
                resolved |= typing.get_type_hints(holder, globalns=space, localns=local, include_extras=True)
            except Exception:  # noqa: BLE001 - as above
                resolved[name] = hint
    return resolved


def own_annotations(kind: type) -> dict[str, object]:
    """Give a class's own annotations without resolving them."""
    if sys.version_info >= (3, 14):
        import annotationlib

        return dict(annotationlib.get_annotations(kind, format=annotationlib.Format.FORWARDREF))
    return dict(inspect.get_annotations(kind))


def optional_keys(kind: Any) -> frozenset[str]:
    """Find the keys that a typed dict need not have; the class itself errs where its annotations are text."""
    hints = hints_of(kind)
    given = {name for name, hint in hints.items() if typing.get_origin(hint) is NotRequired}
    needed = {name for name, hint in hints.items() if typing.get_origin(hint) is Required}
    return frozenset((kind.__optional_keys__ | given) - needed)
