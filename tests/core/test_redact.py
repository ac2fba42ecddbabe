"""What a value looks like once nothing in it may not be kept, and which rules cannot be."""

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass import DefinitionError, Redact
from windlass.core.codec import PLAIN, Codec, Encoded
from windlass.core.errors import ValueNotKept
from windlass.core.redact import marks_in
from windlass.core.secret import MASKS
from windlass.core.types import collect

VALUE = "sk_live_51Habc"
MASK = "[secret:stripe]"
DIGITS = "4929123412341234"
RULES = Redact(names=["password", "*_token", "x-api-key"], values={"card": r"\b\d{16}\b"})


@dataclass
class Login:
    user: str
    password: str | None = None
    more: list[Any] = field(default_factory=list)


class Point(msgspec.Struct):
    user: str
    access_token: str = ""


class Model(pydantic.BaseModel):
    user: str
    password: str = "none"
    model_config = pydantic.ConfigDict(extra="allow")


class Pair(NamedTuple):
    user: str
    password: str


class Strict(msgspec.Struct):
    number: str

    def __post_init__(self) -> None:
        if not self.number.isdigit():
            raise ValueError("no number")


class Text(str):
    __slots__ = ()


Colour = enum.Enum("Colour", {"sk_live_51Habc": 1})


TYPES = collect([Login, Point, Model, Pair, Strict, Text, Colour])


@pytest.fixture(autouse=True)
def _knowing() -> Iterator[None]:
    MASKS.learn("stripe", VALUE)
    MASKS.learn("number", DIGITS)
    yield
    MASKS.forget()


def kept(value: Any, rules: Redact | None = None) -> Any:
    """Encode and decode, and look that encoding again changes nothing."""
    codec = Codec(TYPES, redact=rules or Redact())
    encoded = codec.encode(value)
    contents = {blob.digest: blob.content for blob in encoded.blobs}
    for data in (encoded.data, *contents.values()):
        assert VALUE.encode() not in data
    decoded = codec.decode(encoded.data, contents.__getitem__)
    again = codec.encode(decoded)
    assert again.data == encoded.data
    return decoded


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (VALUE, "[secret:stripe]"),
        ({"a": [VALUE, 1]}, {"a": ["[secret:stripe]", 1]}),
        ({VALUE: 1, "[secret:stripe]": 2}, {"[secret:stripe]": 1, "[secret:stripe]#2": 2}),
        ((VALUE, None), ("[secret:stripe]", None)),
        ({VALUE, VALUE + "."}, {"[secret:stripe]", "[secret:stripe]."}),
        (frozenset({"[secret:stripe]", VALUE}), frozenset({"[secret:stripe]"})),
        ({1: VALUE, (VALUE,): 2}, {1: "[secret:stripe]", ("[secret:stripe]",): 2}),
        (VALUE.encode(), b"[secret:stripe]"),
        (bytearray(VALUE.encode()), bytearray(b"[secret:stripe]")),
        ("\ud800" + VALUE, "\ud800[secret:stripe]"),
        ("x" * 70_000 + VALUE, "x" * 70_000 + "[secret:stripe]"),
        (VALUE * 5_000, "[secret:stripe]" * 5_000),
        (b"x" * 70_000 + VALUE.encode(), b"x" * 70_000 + b"[secret:stripe]"),
        (Login(VALUE), Login("[secret:stripe]")),
        (Point(VALUE), Point("[secret:stripe]")),
        (Model.model_validate({"user": VALUE, "more": VALUE}), Model.model_validate({"user": MASK, "more": MASK})),
        (Pair(VALUE, "b"), Pair("[secret:stripe]", "b")),
        (Text(VALUE), Text("[secret:stripe]")),
        (int(DIGITS), "[secret:number]"),
        (Decimal(DIGITS), "[secret:*]"),
        ([Colour[VALUE]], ["[secret:*]"]),
    ],
)
def test_secrets_are_masked_in_every_kind_of_value(value: Any, expected: Any) -> None:
    found = kept(value)
    assert found == expected
    assert type(found) is type(expected)


def test_an_array_has_no_room_for_a_mark() -> None:
    assert kept({"a": np.frombuffer(VALUE.encode() + b"..", "u1")}) == {"a": "[secret:*]"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"Password": "x", "user": "y"}, {"Password": "[redacted:Password]", "user": "y"}),
        ({"deep": [{"my-token": {"a": 1}}]}, {"deep": [{"my-token": "[redacted:my-token]"}]}),
        ({"X-API-Key": 5}, {"X-API-Key": "[redacted:X-API-Key]"}),
        ({"password": None, "passwords": "x"}, {"password": None, "passwords": "x"}),
        ({1: 2, "password": "x"}, {1: 2, "password": "[redacted:password]"}),
        ('{"password": "x"}', '{"password": "x"}'),  # a text is a text: names are those of fields
        (Login("u", "x"), Login("u", "[redacted:password]")),
        (Point("u", "x"), Point("u", "[redacted:access_token]")),
        (Pair("u", "x"), Pair("u", "[redacted:password]")),
        (f"pay {DIGITS[::-1]}, {DIGITS[::-1]}0", "pay [redacted:card], " + DIGITS[::-1] + "0"),
        ("x" * 70_000 + " " + DIGITS[::-1], "x" * 70_000 + " [redacted:card]"),
        (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)),
    ],
)
def test_rules_mask_by_name_and_by_value(value: Any, expected: Any) -> None:
    assert kept(value, RULES) == expected


def test_a_model_keeps_which_fields_were_set() -> None:
    found = kept(Model(user="u", password="x", access_token="y"), RULES)  # type: ignore[call-arg]
    assert found.model_dump() == {
        "user": "u", "password": "[redacted:password]", "access_token": "[redacted:access_token]"
    }  # fmt: skip
    assert found.model_fields_set == {"user", "password", "access_token"}


def test_a_field_of_the_state_has_its_name_too() -> None:
    codec = Codec(redact=RULES)
    assert codec.encode("x", "password").data == b'"[redacted:password]"'
    assert codec.encode("x", "access_token[3]").data == b'"[redacted:access_token]"'
    assert codec.encode("x", "edits.password").data == b'"[redacted:edits.password]"'.replace(b"edits.", b"")
    assert codec.encode("x", "task#1.get_token").data == b'"x"'  # the result of a call, whatever it is called


def test_what_was_masked_is_shared_with_nobody() -> None:
    assert PLAIN.encode("plain").frozen
    assert not PLAIN.encode(VALUE).frozen
    assert not Codec(redact=RULES).encode(("a", f"{DIGITS[::-1]}")).frozen


def test_what_cannot_be_masked_is_refused() -> None:
    with pytest.raises(ValueNotKept, match="order: what cannot be masked") as refused:
        Codec(TYPES, redact=RULES).encode(Strict(DIGITS[::-1]), "order")
    assert DIGITS not in str(refused.value)


def test_a_digest_of_arguments_is_of_what_was_given() -> None:
    assert VALUE.encode() in PLAIN.key([VALUE])
    assert PLAIN.rewrite(VALUE, "channel") == Encoded(f'"{VALUE}"'.encode(), frozen=True, blobs=())


def test_rules_of_two_are_both_in_force_and_survive_more_types() -> None:
    codec = Codec(redact=Redact(names=["pin"])).redacting(RULES).widen({"Login": Login})
    assert codec.encode({"pin": 1, "password": 2}).data == b'{"pin":"[redacted:pin]","password":"[redacted:password]"}'
    both = Redact(values={"card": "a"}).also(Redact(values={"card": "b"}))
    assert both.text("a b c") == "[redacted:card] [redacted:card'] c"


def test_marks_are_counted_and_not_masked_again() -> None:
    rules = Redact(values=[r"\w*red\w*", "secret"])
    once = rules.text("red [secret:stripe] secret")
    assert once == "[redacted:value 1] [secret:stripe] [redacted:value 2]"
    assert rules.text(once) == once
    data = msgspec.json.encode([once, once, "[secret]"])
    assert marks_in(data) == {"redacted:value 1": 2, "secret:stripe": 2, "redacted:value 2": 2}


@pytest.mark.parametrize(
    ("declared", "code"),
    [
        ({"names": [""]}, "redact.name"),
        ({"names": ["*"]}, "redact.name"),
        ({"names": [3]}, "redact.name"),
        ({"names": "password"}, "redact.kind"),
        ({"values": "a"}, "redact.kind"),
        ({"values": ["("]}, "redact.value"),
        ({"values": ["x*"]}, "redact.value"),
        ({"values": [3]}, "redact.value"),
        ({"values": {"a]b": "x"}}, "redact.value"),
        ({"values": ["(a+)+b"]}, "redact.slow"),
        ({"values": ["(?:a|ab)+c"]}, "redact.slow"),
        ({"values": [r"(?:(?:\w+\s?){2,})+!"]}, "redact.slow"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(declared: dict[str, Any], code: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        Redact(**declared)
    assert refused.value.code == code


def test_common_patterns_may_be() -> None:
    mail, card = r"[\w.+-]+@[\w-]+\.[\w.]+", r"(?:\d{4}[- ]?){4}"
    rules = Redact(values={"mail": mail, "card": card, "key": "sk-[A-Za-z0-9]{20,}", "own": "(?:ab++)+c"})
    assert rules.text("to jo@example.org") == "to [redacted:mail]"
    assert rules.text("4929 1234 1234 1234") == "[redacted:card]"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.decimals(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
    )
)
def test_what_no_rule_hits_is_kept_as_it_is(value: Any) -> None:
    plain = Codec().encode(value)
    assert Codec(redact=Redact(names=["nothing-is-called-so"], values=["no text has this"])).encode(value) == plain
