"""Channels as a state class declares them: `Annotated[type, reducer, Initial(value)]`.

A reducer is a plain function `(current, incoming) -> new`. The ones here are kept in cheaper forms than "run it and
store the result" (an append stores what came, never the whole list); any other named function works as well.
"""

import dataclasses
import operator
from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping, MutableSequence, Sequence
from inspect import isbuiltin, iscoroutinefunction, isfunction, ismethod
from typing import (
    Annotated,
    Any,
    Final,
    NotRequired,
    Required,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import msgspec

from windlass.core.blueprint import ChannelKind, ChannelSpec
from windlass.core.errors import DefinitionError
from windlass.graph.validate import check_channel_name

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")
Reduce = Callable[[Any, Any], Any]


def append(current: list[T], incoming: Iterable[T]) -> list[T]:
    """Add the incoming items at the end. A write is a list of items."""
    return [*current, *incoming]


def merge(current: Mapping[K, V], incoming: Mapping[K, V]) -> dict[K, V]:
    """Take over the incoming entries; of two writes to one key the later in path order wins."""
    return {**current, **incoming}


def overwrite(current: T, incoming: T) -> T:  # noqa: ARG001 -- the shape of a reducer
    """Take the incoming value; of several writers in one step the last in path order wins."""
    return incoming


def add(current: Any, incoming: Any) -> Any:
    """Add with `+`."""
    return current + incoming


def maximum(current: Any, incoming: Any) -> Any:
    """Keep the larger of the two."""
    return max(current, incoming)


@dataclasses.dataclass(frozen=True, slots=True)
class UniqueBy:
    """A reducer over lists in which each key stands once. Made by `unique_by`."""

    key: Callable[[Any], Any]
    name: str

    def __call__(self, current: Iterable[T], incoming: Iterable[T]) -> list[T]:
        """Replace items of a known key in place, and add the others at the end."""
        return list({self.key(item): item for item in (*current, *incoming)}.values())


@dataclasses.dataclass(frozen=True, slots=True)
class _Named:
    reduce: Reduce
    name: str

    def __call__(self, current: Any, incoming: Any) -> Any:
        return self.reduce(current, incoming)


@dataclasses.dataclass(frozen=True, slots=True)
class Initial:
    """The value of a channel before any write."""

    value: Any


class Ephemeral:
    """Marks a channel that is unset again after the step that follows its write: `Annotated[str, ephemeral]`."""

    __slots__ = ()


ephemeral: Final = Ephemeral()
KINDS: Final[dict[Reduce, ChannelKind]] = {append: "append", merge: "merge"}
LISTS: Final = frozenset({list, Sequence, MutableSequence, Collection, Iterable})
DICTS: Final = frozenset({dict, Mapping, MutableMapping})


def unique_by(key: Callable[[Any], Any] | str, *, name: str = "") -> UniqueBy:
    """Make a reducer over lists that keeps one item per key.

    Args:
        key: a named function of an item, or the name of an attribute (of a dict's entry, where the items are dicts).
        name: what to call a key that has no name of its own; the fingerprint covers it, not the code.

    Raises:
        DefinitionError: the key is a lambda and no name is given.
    """
    if isinstance(key, str):
        return UniqueBy(_field(key), f"unique_by({name or key})")
    return UniqueBy(key, f"unique_by({name or name_of(key, 'the key of unique_by')})")


def reducer(reduce: Reduce, *, name: str) -> Reduce:
    """Give a reducer without a name of its own (a lambda, a partial) the name by which the fingerprint knows it."""
    return _Named(reduce, name)


def name_of(function: Callable[..., Any], what: str) -> str:
    """Return the name by which the fingerprint knows a function.

    Raises:
        DefinitionError: it has none (D11: a structure must not change because a line moved).
    """
    name: str = getattr(function, "__name__", "")
    if not name or name == "<lambda>":
        raise DefinitionError(
            "definition.unnamed",
            f"{what} is a {'lambda' if name else type(function).__name__}: no later process would know it by name",
            hint="write it as a def, or give name=",
        )
    return name


def _field(name: str) -> Callable[[Any], Any]:
    of_object, of_dict = operator.attrgetter(name), operator.itemgetter(name)
    return lambda item: of_dict(item) if isinstance(item, Mapping) else of_object(item)


def channels(state: Any, where: str) -> dict[str, ChannelSpec]:
    """Read the channels off a TypedDict, dataclass, Pydantic model or msgspec struct.

    Raises:
        DefinitionError: it is none of these, a name is reserved, or a reducer does not fit its type.
    """
    try:
        hints = get_type_hints(state, include_extras=True) if isinstance(state, type) else {}
    except NameError as error:
        raise DefinitionError(
            "definition.annotation",
            f"{where}: {state.__name__} cannot be read: {error}",
            hint="define the name at module level, and not under TYPE_CHECKING",
        ) from error
    initials = _defaults(state, hints)
    if initials is None:
        raise DefinitionError(
            "graph.state",
            f"{where}: {state!r} declares no channels",
            hint="use a TypedDict, dataclass or Pydantic model",
        )
    return {name: channel(name, hints[name], initial, where) for name, initial in initials.items()}


def _defaults(state: Any, hints: Mapping[str, Any]) -> dict[str, Any] | None:
    """Name the fields with their defaults (UNSET for none); None: not a class of fields."""
    if is_typeddict(state):
        return dict.fromkeys(hints, msgspec.UNSET)
    if not isinstance(state, type):
        return None
    if dataclasses.is_dataclass(state):
        return {f.name: _default(f.default, f.default_factory, dataclasses.MISSING) for f in dataclasses.fields(state)}
    if issubclass(state, msgspec.Struct):
        fields = msgspec.structs.fields(state)
        return {f.name: _default(f.default, f.default_factory, msgspec.NODEFAULT) for f in fields}
    models = getattr(state, "model_fields", None)  # Pydantic, without importing it
    if not isinstance(models, dict):
        return None
    return {
        name: msgspec.UNSET if field.is_required() else field.get_default(call_default_factory=True)
        for name, field in models.items()
    }


def _default(value: Any, factory: Any, missing: Any) -> Any:
    if value is not missing:
        return value
    return msgspec.UNSET if factory is missing else factory()


def channel(name: str, annotation: Any, initial: Any, where: str) -> ChannelSpec:
    """Read one channel: its type, its reducer and its initial value.

    Args:
        initial: the field's default, which an `Initial` in the annotation replaces; UNSET for none.

    Raises:
        DefinitionError: see `channels`.
    """
    check_channel_name(name, where)
    kept, rest, marks = _unpacked(annotation)
    reducers = [mark for mark in marks if _is_reducer(mark)]
    if len(reducers) > 1:
        names = " and ".join(getattr(one, "__name__", repr(one)) for one in reducers)
        raise DefinitionError("channel.reducer", f"{where}: channel {name!r} has two reducers, {names}")
    for mark in marks:
        initial = mark.value if isinstance(mark, Initial) else initial
    kind, reduce, reducer_name = _reducer(name, reducers[0] if reducers else None, where)
    if iscoroutinefunction(reduce):
        said = f"{where}: the reducer of channel {name!r} is async"
        raise DefinitionError("channel.reducer", said, hint="it must be a plain def: only execute awaits")
    _check_type(name, kind, kept, where)
    if any(_is_ephemeral(mark) for mark in marks):
        kind, reduce = "ephemeral", reducers[0] if reducers else None
    elif initial is msgspec.UNSET and kind != "last":
        initial = {} if kind == "merge" else []  # a reader sees an empty one, never none at all
    return ChannelSpec(
        name=name,
        kind=kind,
        type=Annotated[kept, *rest] if rest else kept,
        reduce=reduce,
        reducer_name=reducer_name,
        initial=initial,
    )


def _check_type(name: str, kind: ChannelKind, kept: Any, where: str) -> None:
    shape, wanted = ("dict", DICTS) if kind == "merge" else ("list", LISTS)
    if kind != "last" and (get_origin(kept) or kept) not in {*wanted, Any, object}:
        raise DefinitionError(
            "channel.type", f"{where}: channel {name!r} is kept as a {shape} and declared as {kept!r}"
        )


def _unpacked(annotation: Any) -> tuple[Any, tuple[Any, ...], tuple[Any, ...]]:
    """Take an annotation apart: the type, other people's metadata, and our marks."""
    while get_origin(annotation) in (Required, NotRequired):
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is not Annotated:
        return annotation, (), ()
    kept, *metadata = get_args(annotation)
    ours = tuple(m for m in metadata if isinstance(m, Initial) or _is_ephemeral(m) or _is_reducer(m))
    return kept, tuple(m for m in metadata if not any(m is one for one in ours)), ours


def _is_ephemeral(mark: Any) -> bool:
    return isinstance(mark, Ephemeral) or mark is Ephemeral


def _is_reducer(mark: Any) -> bool:
    return isinstance(mark, UniqueBy | _Named) or isfunction(mark) or isbuiltin(mark) or ismethod(mark)


def _reducer(name: str, mark: Any, where: str) -> tuple[ChannelKind, Callable[..., Any] | None, str]:
    if mark is None:
        return "last", None, ""
    if isinstance(mark, UniqueBy):
        return "unique", mark.key, mark.name
    if isinstance(mark, _Named):
        return "last", mark.reduce, mark.name
    known = KINDS.get(mark)
    reducer_name = name_of(mark, f"{where}: the reducer of channel {name!r}")
    return (known, None, reducer_name) if known else ("last", mark, reducer_name)
