"""Objects of declared types come back with the fields they had, or the type is refused when it is declared."""

import enum
import socket
from collections import Counter, OrderedDict, defaultdict
from dataclasses import InitVar, dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Generic, TypedDict, TypeVar

import msgspec
import pydantic
import pytest

from tests.core.values import Cell, Color, Pair, Point, Row, round_trip
from windlass.core.codec import PLAIN, Codec
from windlass.core.errors import DecodeError, DefinitionError, ValueNotKept

T = TypeVar("T")


class Weekday(enum.IntEnum):
    MONDAY = 1
    FIRST = 1


class Mood(enum.StrEnum):
    GOOD = "good"


class Right(enum.Flag):
    READ = 1
    WRITE = 2
    RUN = 1 << 70


@dataclass(slots=True, weakref_slot=True)
class Slotted:
    a: int
    b: str = "b"


@dataclass(frozen=True, slots=True)
class FrozenSlotted:
    a: Any


@dataclass(kw_only=True)
class Parent:
    name: str
    count: int = field(default=0, init=False)
    total: ClassVar[int] = 0


@dataclass(kw_only=True)
class Child(Parent):
    tags: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tags.append("made")

    @cached_property
    def length(self) -> int:
        return len(self.tags)


@dataclass
class Box(Generic[T]):
    item: T


@dataclass
class Empty:
    pass


@dataclass
class Single:
    only: Any


class Renamed(msgspec.Struct, rename="camel", tag="r", kw_only=True):
    long_name: int
    other_name: list[int] = msgspec.field(default_factory=list)


class Compact(msgspec.Struct, array_like=True, frozen=True, gc=False):
    a: int
    b: int | msgspec.UnsetType = msgspec.UNSET


class Counted(msgspec.Struct):
    n: int

    def __post_init__(self) -> None:
        self.n += 1


class Loose(msgspec.Struct, dict=True):
    a: int


class Name(str):
    __slots__ = ()


class Ids(list[int]):
    pass


class Span(tuple[int, int]):
    __slots__ = ()


class User(pydantic.BaseModel):
    name: str = pydantic.Field(alias="userName")
    age: int = 3
    parts: tuple[int, ...] = ()


class Frozen(pydantic.BaseModel, frozen=True):
    a: Any
    b: int = 0


class Open(pydantic.BaseModel, extra="allow"):
    a: int
    _seen: dict[int, str] = pydantic.PrivateAttr(default_factory=dict)


class Wrapped(pydantic.RootModel[list[int]]):
    pass


class Holder(pydantic.BaseModel, Generic[T]):
    item: T


def codec(*kinds: type) -> Codec:
    return Codec({kind.__qualname__: kind for kind in kinds})


def grown() -> Child:
    child = Child(name="a")
    child.count = 5
    assert child.length == 1
    return child


def opened() -> Open:
    value = Open.model_validate({"a": 1, "$": 2})
    value._seen[7] = "seven"
    return value


OPENED = (
    '{"$":"Open","v":{"fields":{"a":1},"set":["$","a"],"extra":{"$":"dict","v":[["$",2]]},'
    '"private":{"_seen":{"$":"dict","v":[[7,"seven"]]}}}}'
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Color.GREEN, '{"$":"Color","v":"GREEN"}'),
        (Point(1, (2,)), '{"$":"Point","v":{"x":1,"y":{"$":"tuple","v":[2]}}}'),
        (Row(1), '{"$":"Row","v":{"a":1,"b":0}}'),
        (Pair(1, "r"), '{"$":"Pair","v":{"left":1,"right":"r"}}'),
        (Cell(1), '{"$":"Cell","v":{"content":1,"notes":[]}}'),
        (Weekday.FIRST, '{"$":"Weekday","v":"MONDAY"}'),
        (Mood.GOOD, '{"$":"Mood","v":"GOOD"}'),
        (Right.READ | Right.WRITE, '{"$":"Right","v":3}'),
        (Right(0), '{"$":"Right","v":0}'),
        (Right.RUN, '{"$":"Right","v":1180591620717411303424}'),
        (Slotted(1), '{"$":"Slotted","v":{"a":1,"b":"b"}}'),
        (FrozenSlotted([]), '{"$":"FrozenSlotted","v":{"a":[]}}'),
        (Parent(name="a"), '{"$":"Parent","v":{"name":"a","count":0}}'),
        (grown(), '{"$":"Child","v":{"name":"a","count":5,"tags":["made"]}}'),
        (Box[int](1), '{"$":"Box","v":{"item":1}}'),
        (Empty(), '{"$":"Empty","v":{}}'),
        (Single({1}), '{"$":"Single","v":{"only":{"$":"set","v":[1]}}}'),
        (Renamed(long_name=1), '{"$":"Renamed","v":{"long_name":1,"other_name":[]}}'),
        (Compact(1), '{"$":"Compact","v":{"a":1,"b":{"$":"unset","v":null}}}'),
        (Counted(1), '{"$":"Counted","v":{"n":2}}'),
        (Name("x"), '{"$":"Name","v":"x"}'),
        (Ids([1]), '{"$":"Ids","v":[1]}'),
        (Span((1, 2)), '{"$":"Span","v":{"$":"tuple","v":[1,2]}}'),
        (Counter("aab"), '{"$":"Counter","v":{"a":2,"b":1}}'),
        (
            User(userName="a"),
            '{"$":"User","v":{"fields":{"name":"a","age":3,"parts":{"$":"tuple","v":[]}},"set":["name"]}}',
        ),
        (Frozen(a=1), '{"$":"Frozen","v":{"fields":{"a":1,"b":0},"set":["a"]}}'),
        (opened(), OPENED),
        (Wrapped([1]), '{"$":"Wrapped","v":{"fields":{"root":[1]}}}'),
        (Holder[int](item=1), '{"$":"Holder[int]","v":{"fields":{"item":1}}}'),
    ],
)
def test_an_object_comes_back_as_it_was(value: Any, text: str) -> None:
    keeper = codec(type(value))
    encoded = keeper.encode(value)
    again = keeper.decode(encoded.data)
    assert encoded.data.decode() == text
    assert again == value
    assert type(again) is type(value)
    assert keeper.encode(again) == encoded
    assert keeper.encode([value] * 9).data == b"[" + b",".join([encoded.data] * 9) + b"]"


@pytest.mark.parametrize(
    ("value", "frozen"),
    [
        (Weekday.MONDAY, True),
        (Right.READ, True),
        (Point(1, (2,)), True),
        (Point(1, [2]), False),
        (FrozenSlotted("a"), True),
        (Slotted(1), False),
        (Row(1), True),
        (Row({}), False),
        (Counted(1), False),
        (Pair(1, 2), True),
        (Pair(1, {2}), False),
        (Name("x"), True),
        (Counter(), False),
        (User(userName="a"), False),
        (Frozen(a=1), True),
        (Frozen(a=[1]), False),
    ],
)
def test_only_what_nobody_can_change_is_frozen(value: Any, frozen: bool) -> None:
    assert codec(type(value)).encode(value).frozen is frozen


def test_construction_and_validation_do_not_run_again() -> None:
    child = Child(name="a")
    child.tags.clear()
    assert round_trip(codec(Child), child).tags == []
    assert round_trip(codec(Counted), Counted(1)).n == 2
    user = User.model_construct(name=b"not a name")
    assert round_trip(codec(User), user).name == b"not a name"


def test_which_fields_of_a_model_were_set_is_kept() -> None:
    user = round_trip(codec(User), User(userName="a"))
    assert user.model_fields_set == {"name"}
    assert user.model_dump(exclude_unset=True) == {"name": "a"}
    opened_again = round_trip(codec(Open), opened())
    assert opened_again._seen == {7: "seven"}
    assert opened_again.model_extra == {"$": 2}


class Subclass(Point):
    pass


class Aside(Pair):
    pass


@dataclass
class Bare:
    late: int = field(init=False)


def with_attribute(value: Any) -> Any:
    value.note = object()
    return value


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (with_attribute(Cell(1)), "Cell with an attribute 'note' that is no field"),
        (with_attribute(Loose(1)), "Loose with an attribute 'note' that is no field"),
        (with_attribute(Aside(1, 2)), "Aside with an attribute that is no field"),
        (with_attribute(Ids()), "Ids with an attribute of its own"),
        (Bare(), "Bare without its field 'late'"),
        (Slotted.__new__(Slotted), "Slotted without its field 'a'"),
    ],
)
def test_more_or_less_than_the_fields_is_refused(value: Any, said: str) -> None:
    with pytest.raises(ValueNotKept, match=said):
        codec(type(value)).encode(value)


def test_a_subclass_of_a_declared_type_is_not_declared() -> None:
    with pytest.raises(ValueNotKept, match="Subclass is not"):
        codec(Point).encode(Subclass(1))
    with pytest.raises(ValueNotKept, match="Aside is not"):
        codec(Pair).encode(Aside(1, 2))
    with pytest.raises(ValueNotKept, match="Weekday is not"):
        PLAIN.encode([Weekday.MONDAY])
    assert type(round_trip(codec(Subclass), Subclass(1))) is Subclass
    assert not codec(Subclass).encode(Subclass(1)).frozen


@dataclass
class WithInitVar:
    a: int
    seed: InitVar[int] = 0


@dataclass
class Failure(Exception):
    a: int


@dataclass
class Mapped(dict[str, int]):
    a: int


class Slot:
    __slots__ = ("hidden",)


@dataclass
class Hiding(Slot):
    a: int


class Record(TypedDict):
    a: int


@pytest.mark.parametrize(
    "kind",
    [WithInitVar, Failure, Hiding, Record, OrderedDict, defaultdict, socket.socket, object, int, list, Exception],
)
def test_a_type_that_cannot_be_kept_is_refused_when_it_is_declared(kind: type) -> None:
    with pytest.raises(DefinitionError) as caught:
        Codec({"X": kind})
    assert caught.value.code == "types.kind"


@pytest.mark.parametrize("kind", [Child, Renamed, User])
def test_a_field_declared_since_gets_its_default(kind: Any) -> None:
    wanted = {Child: ("tags", []), Renamed: ("other_name", []), User: ("age", 3)}[kind]
    old = {
        Child: b'{"$":"X","v":{"name":"a","count":1}}',
        Renamed: b'{"$":"X","v":{"long_name":1}}',
        User: b'{"$":"X","v":{"fields":{"name":"a","parts":[]}}}',
    }[kind]
    assert getattr(Codec({"X": kind}).decode(old), wanted[0]) == wanted[1]


@pytest.mark.parametrize(
    ("kind", "content", "said"),
    [
        (Slotted, {"b": "x"}, "stored without the field 'a'"),
        (Slotted, {"a": 1, "b": "x", "c": 1}, "no field 'c' any more"),
        (Renamed, {"long_name": 1, "longName": 2}, "no field 'longName' any more"),
        (User, {"fields": {"name": "a", "gone": 1}}, "no field 'gone' any more"),
        (Open, {"fields": {"a": 1}, "private": {"_gone": 1}}, "no private attribute '_gone' any more"),
        (Weekday, "TUESDAY", "no member 'TUESDAY'"),
        (Name, 5, "a str is expected"),
    ],
)
def test_what_the_declaration_no_longer_has_is_an_error(kind: type, content: object, said: str) -> None:
    with pytest.raises(DecodeError, match=said):
        Codec({"X": kind}).decode(msgspec.json.encode({"$": "X", "v": content}))
