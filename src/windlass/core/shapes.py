"""The types that a user declares: how an object of each is written into its envelope and read back, exactly.

One class here for each family: enum, dataclass, msgspec struct, Pydantic model, named tuple, subclass of a builtin.
What can be looked up about a type is looked up once, when the codec is built.

An object is read back with the fields it had. Only a struct's own construction is called on the way: the others are
made bare and filled, so that no `__post_init__` and no validator runs again with its side effects.
"""

import enum
import sys
from collections.abc import Callable, Iterable
from dataclasses import MISSING, fields, is_dataclass
from functools import cached_property
from operator import attrgetter
from types import MemberDescriptorType
from typing import Any, Final, Literal, Protocol, TypeAlias, is_typeddict

import msgspec
from msgspec import NODEFAULT
from msgspec.structs import force_setattr

from windlass.core.envelope import Raw, Reading, Writing, expect, wrap
from windlass.core.errors import DecodeError, DefinitionError
from windlass.core.refusal import Refused, name_of

Family: TypeAlias = Literal["enum", "dataclass", "struct", "model", "namedtuple", "builtin"]
Default: TypeAlias = Callable[[], object]

HEAP_TYPE: Final = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement, not in C
UNCOUNTED: Final = frozenset({"__orig_class__"})  # what `Box[int](…)` leaves on its instance
UNDEFINED: Final = "PydanticUndefinedType"
put: Final = object.__setattr__
new: Final = object.__new__


class Shape(Protocol):
    """How values of one declared type are written and read."""

    def write(self, value: Any, walk: Writing) -> Raw:
        """Write a value of exactly this type."""

    def read(self, raw: Raw, walk: Reading) -> object:
        """Read a value of this type."""


def family_of(kind: type) -> Family | None:
    """Say how values of this type are kept; None if they cannot be."""
    if issubclass(kind, enum.Enum):
        return "enum"
    if is_typeddict(kind):
        return None
    native = native_base(kind)
    if native is not object:
        if native is tuple and isinstance(getattr(kind, "_fields", None), tuple):
            return "namedtuple"
        if native is msgspec.Struct:
            return "struct"
        return "builtin" if native in COPIES and native is not kind else None
    if is_dataclass(kind):
        return "dataclass"
    pydantic: Any = sys.modules.get("pydantic")
    return "model" if pydantic is not None and issubclass(kind, pydantic.BaseModel) else None


def native_base(kind: type) -> type:
    """Find the class made in C, or the struct, whose layout the type has."""
    for base in kind.__mro__:
        if base is msgspec.Struct or not base.__flags__ & HEAP_TYPE:
            return base
    return object


def shape_of(kind: type, tag: str) -> Shape:
    """Look up once how values of a declared type are written and read.

    Raises:
        DefinitionError: values of this type cannot be kept exactly.
    """
    family = family_of(kind)
    if family is None:
        raise unkeepable(kind, "it is no enum, dataclass, struct, model, named tuple or subclass of a builtin")
    return SHAPES[family](kind, tag)


def unkeepable(kind: type, why: str) -> DefinitionError:
    """Say why a declared type cannot be one."""
    return DefinitionError("types.kind", f"{kind.__module__}.{kind.__qualname__} cannot be kept: {why}")


class EnumShape:
    """An enum's member by its name, a flag by its number."""

    def __init__(self, kind: type[enum.Enum], tag: str) -> None:
        self.kind = kind
        self.tag = tag
        self.members = dict(kind.__members__)

    def write(self, value: enum.Enum, _walk: Writing) -> Raw:
        """Write a member."""
        if value._name_ not in self.members:
            raise Refused(f"{name_of(self.kind)} without a name", hint="keep its value instead")
        return wrap(self.tag, value._name_)

    def read(self, raw: Raw, _walk: Reading) -> enum.Enum:
        """Read a member."""
        member = self.members.get(raw)
        if member is None:
            raise DecodeError(f"{self.tag} has no member {raw!r:.60}")
        return member


class FlagShape:
    """A flag, which may be a combination without a name, by its number."""

    def __init__(self, kind: type[enum.Flag], tag: str) -> None:
        self.kind = kind
        self.tag = tag

    def write(self, value: enum.Flag, walk: Writing) -> Raw:
        """Write a flag."""
        return wrap(self.tag, walk.write(value._value_))

    def read(self, raw: Raw, walk: Reading) -> enum.Flag:
        """Read a flag."""
        return self.kind(expect(walk.read(raw), int))


def cached_names(kind: type) -> set[str]:
    """Find the cached properties: what they left on an object can be found out again."""
    return {name for base in kind.__mro__ for name, value in vars(base).items() if isinstance(value, cached_property)}


def slots_of(kind: type) -> set[str]:
    """Find the slots that classes written in Python reserved."""
    own = (vars(base) for base in kind.__mro__ if base.__flags__ & HEAP_TYPE)
    return {name for names in own for name, value in names.items() if isinstance(value, MemberDescriptorType)}


def getter_of(names: tuple[str, ...]) -> Callable[[object], tuple[object, ...]]:
    """Make a function that gives all these attributes."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda value: tuple(getattr(value, name) for name in names)


def constant(value: object) -> Default:
    """Make a default that is always this object."""
    return lambda: value


class Record:
    """What all types with named fields have in common; a family says how fields are taken and a value is made."""

    def __init__(
        self, kind: type, tag: str, names: Iterable[str], defaults: dict[str, Default], *, frozen: bool
    ) -> None:
        self.kind = kind
        self.tag = tag
        self.names = tuple(names)
        self.known = frozenset(self.names) | UNCOUNTED | cached_names(kind)
        self.defaults = defaults
        self.open = bool(kind.__dictoffset__)
        self.frozen = frozen
        self.getter = getter_of(self.names)
        extra = {name for name in slots_of(kind) - self.known if not name.startswith("__pydantic_")}
        if extra:
            raise unkeepable(kind, f"it has the slot {min(extra)!r}, which is no field")

    def write(self, value: object, walk: Writing) -> Raw:
        """Write a value as its fields."""
        if not self.frozen:
            walk.frozen = False
        if not self.open:
            return {"$": self.tag, "v": walk.fields(self.take(value), value)}
        own = value.__dict__
        return {"$": self.tag, "v": walk.fields(own if tuple(own) == self.names else self.take(value), value)}

    def take(self, value: Any) -> dict[str, Any]:
        """Give the fields in the order of their declaration.

        Raises:
            Refused: the value has more than its fields, or less.
        """
        extra = value.__dict__.keys() - self.known if self.open else None
        if extra:
            kind = f"{name_of(self.kind)} with an attribute {min(extra)!r} that is no field"
            raise Refused(kind, hint="declare the field")
        try:
            return dict(zip(self.names, self.getter(value), strict=True))
        except AttributeError:
            missing = next(name for name in self.names if not hasattr(value, name))
            raise Refused(f"{name_of(self.kind)} without its field {missing!r}", hint="set the field") from None

    def fits(self, raw: Raw) -> bool:
        """Say whether exactly the declared fields are stored."""
        return type(raw) is dict and tuple(raw) == self.names

    def complete(self, raw: Raw, walk: Reading) -> dict[str, Any]:
        """Read the fields; one that was declared since the value was written gets its default.

        Raises:
            DecodeError: a stored field is declared no more, or a declared one has neither value nor default.
        """
        stored = walk.fields(raw)
        gone = stored.keys() - frozenset(self.names)
        if gone:
            raise DecodeError(f"{self.tag} has no field {min(gone)!r} any more", hint="declare it again")
        lost = [name for name in self.names if name not in stored and name not in self.defaults]
        if lost:
            raise DecodeError(f"{self.tag} was stored without the field {lost[0]!r}", hint="give it a default")
        return {name: stored[name] if name in stored else self.defaults[name]() for name in self.names}


class DataclassShape(Record):
    """A dataclass; made bare, its fields set without running `__init__` or `__post_init__`."""

    def __init__(self, kind: type[Any], tag: str) -> None:
        kinds = {field._field_type.name for field in kind.__dataclass_fields__.values()}  # noqa: SLF001 - no public name
        if "_FIELD_INITVAR" in kinds:
            raise unkeepable(kind, "it has an InitVar, which nothing remembers; make it a field")
        defaults: dict[str, Default] = {}
        for field in fields(kind):
            if field.default_factory is not MISSING:
                defaults[field.name] = field.default_factory
            elif field.default is not MISSING:
                defaults[field.name] = constant(field.default)
        params = kind.__dict__.get("__dataclass_params__")
        names = [field.name for field in fields(kind)]
        super().__init__(kind, tag, names, defaults, frozen=params is not None and params.frozen)
        self.bulk = self.open and not slots_of(kind)

    def read(self, raw: Raw, walk: Reading) -> object:
        """Read a dataclass."""
        values = walk.fields(raw) if self.fits(raw) else self.complete(raw, walk)
        made: object = new(self.kind)
        if self.bulk:
            put(made, "__dict__", values)
        else:
            for name, value in values.items():
                put(made, name, value)
        return made


class StructShape(Record):
    """A msgspec struct; its own construction runs, and then what `__post_init__` may have changed is set right."""

    def __init__(self, kind: type[msgspec.Struct], tag: str) -> None:
        defaults: dict[str, Default] = {}
        for field in msgspec.structs.fields(kind):
            if field.default_factory is not NODEFAULT:
                defaults[field.name] = field.default_factory
            elif field.default is not NODEFAULT:
                defaults[field.name] = constant(field.default)
        super().__init__(kind, tag, kind.__struct_fields__, defaults, frozen=kind.__struct_config__.frozen)
        self.changes = hasattr(kind, "__post_init__")

    def read(self, raw: Raw, walk: Reading) -> object:
        """Read a struct."""
        values = walk.fields(raw) if self.fits(raw) else self.complete(raw, walk)
        made = self.kind(**values)
        if self.changes:
            for name, value in values.items():
                force_setattr(made, name, value)
        return made


class NamedTupleShape(Record):
    """A named tuple."""

    def __init__(self, kind: type[Any], tag: str) -> None:
        defaults = {name: constant(value) for name, value in kind._field_defaults.items()}
        super().__init__(kind, tag, kind._fields, defaults, frozen=not kind.__dictoffset__)

    def take(self, value: Any) -> dict[str, Any]:
        """Give the fields by place: a subclass may have put something else under a name."""
        if self.open and value.__dict__.keys() - UNCOUNTED:
            raise Refused(f"{name_of(self.kind)} with an attribute that is no field", hint="declare the field")
        return dict(zip(self.names, tuple.__iter__(value), strict=True))

    def read(self, raw: Raw, walk: Reading) -> object:
        """Read a named tuple."""
        values = walk.fields(raw) if self.fits(raw) else self.complete(raw, walk)
        return tuple.__new__(self.kind, values.values())


class ModelShape(Record):
    """A Pydantic model: its fields, which of them were set, extra ones and private ones; no validator runs again."""

    def __init__(self, kind: Any, tag: str) -> None:
        declared = kind.model_fields.items()
        defaults = {name: model_default(field) for name, field in declared if not field.is_required()}
        super().__init__(kind, tag, kind.model_fields, defaults, frozen=bool(kind.model_config.get("frozen")))

    def write(self, value: Any, walk: Writing) -> Raw:
        """Write a model."""
        parts = {"fields": walk.fields(self.take(value), value)}
        given = value.__pydantic_fields_set__
        if given != set(self.names):
            parts["set"] = walk.items(sorted(given))
        if value.__pydantic_extra__:
            parts["extra"] = walk.write(value.__pydantic_extra__)
        if value.__pydantic_private__ is not None:
            parts["private"] = walk.fields(value.__pydantic_private__, value.__pydantic_private__)
        if not self.frozen or value.__pydantic_extra__ is not None or value.__pydantic_private__ is not None:
            walk.frozen = False
        return wrap(self.tag, parts)

    def read(self, raw: Raw, walk: Reading) -> object:
        """Read a model."""
        parts = expect(raw, dict)
        kind: Any = self.kind
        made = kind.__new__(kind)
        extra = expect(walk.read(parts["extra"]), dict) if "extra" in parts else {}
        stored = parts["fields"]
        put(made, "__dict__", walk.fields(stored) if self.fits(stored) else self.complete(stored, walk))
        put(made, "__pydantic_fields_set__", set(walk.items(parts["set"])) if "set" in parts else set(self.names))
        if not kind.__pydantic_root_model__:
            put(made, "__pydantic_extra__", extra if kind.model_config.get("extra") == "allow" else None)
            put(made, "__pydantic_private__", self.private(parts, walk))
        return made

    def private(self, parts: dict[str, Raw], walk: Reading) -> dict[str, Any] | None:
        """Read the private attributes; one that was declared since gets its default."""
        declared: dict[str, Any] = self.kind.__private_attributes__  # type: ignore[attr-defined]
        if "private" not in parts and not declared:
            return None
        stored = walk.fields(parts.get("private", {}))
        gone = stored.keys() - declared.keys()
        if gone:
            raise DecodeError(f"{self.tag} has no private attribute {min(gone)!r} any more", hint="declare it again")
        defaults = {name: attribute.get_default() for name, attribute in declared.items() if name not in stored}
        return stored | {name: value for name, value in defaults.items() if type(value).__name__ != UNDEFINED}


def model_default(field: Any) -> Default:
    """Make the default of a model's field."""
    return lambda: field.get_default(call_default_factory=True, validated_data={})


class BuiltinShape:
    """A subclass of a builtin type: the builtin value in it, under the tag of the subclass."""

    def __init__(self, kind: type, tag: str) -> None:
        self.kind = kind
        self.tag = tag
        self.native: Any = native_base(kind)
        self.copy = COPIES[self.native]
        self.open = bool(kind.__dictoffset__)
        if slots_of(kind):
            raise unkeepable(kind, f"it has the slot {min(slots_of(kind))!r}")

    def write(self, value: Any, walk: Writing) -> Raw:
        """Write a value of the subclass; its owner could still set attributes on it, so it may not be shared."""
        if self.open:
            walk.frozen = False
            if value.__dict__.keys() - UNCOUNTED:
                raise Refused(f"{name_of(self.kind)} with an attribute of its own", hint="make it a dataclass")
        walk.depth += 1  # so that reading, which takes twice the frames for a level of these, is never short of stack
        raw = walk.write(self.copy(value))
        walk.depth -= 1
        return wrap(self.tag, raw)

    def read(self, raw: Raw, walk: Reading) -> object:
        """Read a value of the subclass."""
        native = expect(walk.read(raw), self.native)
        made = self.native.__new__(self.kind, native)
        if self.native.__hash__ is None:
            self.native.__init__(made, native)
        return made


def flag_or_enum(kind: type[enum.Enum], tag: str) -> Shape:
    """Choose between the two kinds of enum."""
    return FlagShape(kind, tag) if issubclass(kind, enum.Flag) else EnumShape(kind, tag)


SHAPES: Final[dict[Family, Callable[[Any, str], Shape]]] = {
    "enum": flag_or_enum,
    "dataclass": DataclassShape,
    "struct": StructShape,
    "model": ModelShape,
    "namedtuple": NamedTupleShape,
    "builtin": BuiltinShape,
}

COPIES: Final[dict[type, Callable[[Any], Any]]] = {  # the builtin value in a subclass, none of whose methods is called
    int: int.__int__,
    float: float.__float__,
    str: str.__str__,
    bytes: lambda value: bytes.__getitem__(value, slice(None)),
    bytearray: lambda value: bytearray.__getitem__(value, slice(None)),
    tuple: lambda value: tuple.__getitem__(value, slice(None)),
    list: lambda value: list.__getitem__(value, slice(None)),
    dict: lambda value: dict(dict.items(value)),
    set: lambda value: set(set.__iter__(value)),
    frozenset: lambda value: frozenset(frozenset.__iter__(value)),
}
