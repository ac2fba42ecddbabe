"""A secret is shown by nobody, and its value is found in every spelling that is promised."""

import asyncio
import copy
import json
import pickle
import random
import sys
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote, quote_plus

import msgspec
import pytest

from windlass import DefinitionError, Secret
from windlass.core.codec import PLAIN
from windlass.core.errors import SecretUnknown, ValueNotKept
from windlass.core.secret import MASKS, Masks, declared

VALUE = "sk_live_51Habc"
HARD = 'p"a\\ß&/ +%41\nüx'

SPELLINGS: dict[str, Callable[[str], str]] = {
    "raw": lambda value: value,
    "json": json.dumps,
    "json without escapes": lambda value: json.dumps({"a": [value]}, ensure_ascii=False),
    "json in json": lambda value: json.dumps(json.dumps({"a": value})),
    "repr": lambda value: repr([value]),
    "base64": lambda value: b64encode(value.encode()).decode(),
    "base64 after one byte": lambda value: b64encode(b":" + value.encode()).decode(),
    "base64 after two, more behind": lambda value: b64encode(b"u:" + value.encode() + b"zz").decode(),
    "base64 for links": lambda value: urlsafe_b64encode(value.encode() + b"z").decode(),
    "base64 of json": lambda value: b64encode(json.dumps({"a": value}).encode()).decode(),
    "hex": lambda value: value.encode().hex(),
    "HEX": lambda value: value.encode().hex().upper(),
    "link": quote,
    "link, all that can be": lambda value: quote(value, safe=""),
    "link, small": lambda value: "".join(f"%{byte:02x}" for byte in value.encode()),
    "link, large": lambda value: "".join(f"%{byte:02X}" for byte in value.encode()),
    "link, every other": lambda value: "".join(
        f"%{ord(one):02x}" if place % 2 and one.isascii() else quote(one, safe="") for place, one in enumerate(value)
    ),
    "form": quote_plus,
}


@pytest.fixture(autouse=True)
def _forgetting() -> Iterator[None]:
    yield
    MASKS.forget()


@pytest.mark.parametrize("value", [VALUE, HARD])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_is_masked(spelling: str, value: str) -> None:
    masks = Masks()
    masks.learn("stripe", value)
    text = f"before {SPELLINGS[spelling](value)} after"
    masked = masks.text(text)
    assert "[secret:stripe]" in masked
    assert value not in masked
    assert masked.startswith("before ")
    assert masked.endswith(" after")
    assert not masks.find(masked.encode())
    assert masks.find(msgspec.json.encode(text))
    assert b"[secret:stripe]" in masks.content(text.encode())


def test_it_is_found_wherever_it_stands() -> None:
    dice = random.Random(5)
    masks = Masks()
    values = ["".join(dice.choices("abcXYZ019_-", k=length)) for length in (8, 9, 14, 15, 16, 23, 40)]
    for place, value in enumerate(values):
        masks.learn(f"s{place}", value)
    for value in values:
        for shift in range(17):
            for behind in range(9):
                assert masks.find(b"." * shift + value.encode() + b"." * behind), (value, shift, behind)
    assert not masks.find(b"nothing of the kind" * 20)
    assert not masks.find(b"")
    assert masks.find(memoryview(bytearray(values[0].encode())))


def test_of_two_secrets_the_longer_is_named() -> None:
    masks = Masks()
    masks.learn("short", "hunter2hunter")
    masks.learn("long", "hunter2hunter2000")
    assert masks.text("hunter2hunter2000 hunter2hunter") == "[secret:long] [secret:short]"


def test_a_secret_named_as_its_value_is_not_shown_by_its_name() -> None:
    masks = Masks()
    masks.learn("hunter2hunter", "hunter2hunter")
    assert masks.text("it is hunter2hunter") == "it is [secret:*]"


def test_what_is_no_secret_stays_the_same_object() -> None:
    masks = Masks()
    masks.learn("stripe", VALUE)
    text, content = "100 % of nothing", b"100 % of nothing"
    assert masks.text(text) is text
    assert masks.content(content) is content


def test_a_handle_shows_its_name_and_nothing_else() -> None:
    @dataclass
    class Config:
        key: Secret

    secret = Secret("stripe", value=VALUE)
    shown: list[Any] = [
        secret,
        repr(secret),
        f"{secret}",
        f"{secret:>30}",
        [secret],
        vars(Config(secret)),
    ]
    shown += [asdict(Config(secret)), copy.deepcopy(secret), copy.copy(secret), str(Config(secret))]
    assert not any(VALUE in repr(one) + str(one) for one in shown)
    assert copy.deepcopy([secret]) == [secret]
    assert secret.reveal() == VALUE
    for dump in (pickle.dumps, json.dumps, msgspec.json.encode, msgspec.msgpack.encode):
        with pytest.raises(TypeError) as refused:
            dump({"key": secret})
        assert VALUE not in str(refused.value)
    with pytest.raises(AttributeError):
        secret.name = "other"
    with pytest.raises(ValueNotKept, match=r"value\.key.*Secret"):
        PLAIN.encode({"key": secret})


def test_as_an_argument_it_is_its_name() -> None:
    secret = Secret("stripe", value=VALUE)
    encoded = PLAIN.encode([[secret], {"more": {"key": secret}}], "arguments", handles=True)
    assert encoded.data == b'[[{"$":"secret","v":"stripe"}],{"more":{"key":{"$":"secret","v":"stripe"}}}]'
    assert PLAIN.decode(encoded.data)[0][0] is secret
    assert PLAIN.key([secret]) == b'[{"$":"secret","v":"stripe"}]'


def test_a_name_that_was_read_back_and_is_not_known_cannot_be_resolved() -> None:
    with pytest.raises(SecretUnknown, match="nobody"):
        declared("nobody").reveal()
    assert str(declared("nobody")) == "secret:nobody"


def test_it_is_resolved_when_it_is_needed_and_known_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = Secret.env("WINDLASS_TEST_KEY")
    with pytest.raises(SecretUnknown, match="WINDLASS_TEST_KEY"):
        secret.reveal()
    monkeypatch.setenv("WINDLASS_TEST_KEY", VALUE + "\n")
    assert MASKS.text(VALUE) == VALUE
    assert secret.reveal() == VALUE + "\n"
    assert MASKS.text(VALUE) == "[secret:WINDLASS_TEST_KEY]"
    monkeypatch.setenv("WINDLASS_TEST_KEY", "rotated-" + VALUE)
    assert secret.reveal() == "rotated-" + VALUE
    assert MASKS.text("rotated-" + VALUE) == "[secret:WINDLASS_TEST_KEY]"


@pytest.mark.parametrize(
    ("resolve", "says"),
    [
        (lambda: "short", "shorter than 8"),
        (lambda: 12345678, "int"),
        (lambda: SPELLINGS["x"], "not there"),
        (lambda: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_what_cannot_be_a_secret_is_refused_when_it_is_resolved(resolve: Any, says: str) -> None:
    with pytest.raises(SecretUnknown, match=says):
        Secret("stripe", resolve=resolve).reveal()


@pytest.mark.parametrize(
    ("name", "more", "code"),
    [
        ("", {"value": VALUE}, "secret.name"),
        ("a b", {"value": VALUE}, "secret.name"),
        ("n", {}, "secret.value"),
        ("n", {"value": VALUE, "resolve": str}, "secret.value"),
        ("n", {"resolve": asyncio.sleep}, "secret.value"),
        ("n", {"resolve": 3}, "secret.value"),
        ("n", {"value": "1234567"}, "secret.short"),
        ("n", {"value": b"12345678"}, "secret.short"),
    ],
)
def test_what_cannot_be_a_secret_is_refused(name: str, more: dict[str, Any], code: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        Secret(name, **more)
    assert refused.value.code == code


def test_the_words_that_are_compared_are_those_of_this_machine() -> None:
    assert sys.byteorder in ("little", "big")
    masks = Masks()
    masks.learn("n", VALUE)
    assert masks.narrow or masks.wide
