"""The words of the model port, and prompt templates."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from windlass.core.codec import Codec
from windlass.core.errors import DefinitionError, PromptInvalid
from windlass.core.prompts import Prompt
from windlass.core.talk import (
    TALK,
    Chunk,
    Filled,
    Message,
    ModelAnswer,
    ModelRequest,
    Price,
    ToolCall,
)
from windlass.core.types import collect
from windlass.core.usage import Usage

CODEC = Codec(collect(TALK))


@pytest.mark.parametrize(
    "value",
    [
        ModelRequest((Message("user", "x"),)),
        ModelRequest(
            (Message("assistant", "x", (ToolCall("a", '{"half'), ToolCall("b", {"n": [1]}, "c1")), "c1", "b"),), "m",
            ("a",), {"temperature": 0.5}, {"type": "string"}, Filled("", "t", "1", "d", {"a": "b"}),
        ),
        ModelAnswer("x", (ToolCall("a"),), Usage(money=Decimal("0.5")), "m", "1", "end", 0.5, partial=True, raw=(1,)),
        Chunk("x", (ToolCall("a"),), Usage(tokens_in=1), "end"),
    ],
)  # fmt: skip
def test_every_word_is_kept_exactly(value: Any) -> None:
    assert CODEC.decode(CODEC.encode(value).data) == value


def test_a_request_is_made_of_what_is_at_hand() -> None:
    hello = Message("user", "hello")
    prompt = Prompt("hello", name="p")
    assert ModelRequest.of("hello") == ModelRequest.of(hello) == ModelRequest.of([hello]) == ModelRequest((hello,))
    assert ModelRequest.of(prompt.fill()) == ModelRequest((hello,), prompt=Filled("", "p", "", prompt.digest))
    assert ModelRequest.of(ModelRequest([hello], tools=["a"])) == ModelRequest((hello,), tools=("a",))  # type: ignore[arg-type]
    assert ModelRequest.of(ModelRequest((hello,), output=int)).output == {"type": "integer"}
    assert ModelRequest.of(ModelRequest((hello,), schemas=({"name": "a"},))).schemas == ()


def test_an_answer_goes_on_as_a_message() -> None:
    call = ToolCall("a", {"n": 1}, "c1")
    assert ModelAnswer("x", (call,)).message() == Message("assistant", "x", (call,))


@pytest.mark.parametrize(
    ("price", "amounts", "millionths"),
    [
        (Price(tokens_in=3, tokens_out=15), {"tokens_in": 1_000_000, "tokens_out": 1_000_000}, 18_000_000),
        (Price(tokens_in=3), {"tokens_in": 1, "tokens_out": 9}, 3),
        (Price(tokens_in="0.15"), {"tokens_in": 1}, 1),  # rounded up: a cost is never counted as less
        (Price(tokens_in="0.15"), {"tokens_in": 1_000}, 150),
        (Price(), {"tokens_in": 1_000}, 0),
        (Price(tokens_in=3), {}, 0),
    ],
)
def test_a_price_is_for_a_million_tokens(price: Price, amounts: dict[str, int], millionths: int) -> None:
    assert price.of(amounts) == millionths


def test_a_template_takes_its_variables_and_nothing_else() -> None:
    prompt = Prompt("{{ a }} and {{b}}, {{ a }}", name="both", version="2")
    filled = prompt.fill(a="{{ b }}", b=3)
    assert prompt.variables == ("a", "b")
    assert filled == Filled("{{ b }} and 3, {{ b }}", "both", "2", prompt.digest, {"a": "{{ b }}", "b": "3"})
    assert filled.reference() == Filled("", "both", "2", prompt.digest)
    assert Prompt("{{ a }} and {{b}}").digest != prompt.digest
    assert Prompt("{ a } }{ {}").fill().text == "{ a } }{ {}"
    assert Prompt("{{ x }}").fill(x="\\1 \\g<0>").text == "\\1 \\g<0>"
    assert Prompt("{{ x }}").fill(x=Decimal("0.10")).text == "0.10"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "'a' is missing"),
        ({"a": "x", "b": "y"}, "there is no 'b'"),
        ({"a": None}, "a NoneType is neither text nor number"),
        ({"a": True}, "a bool is neither"),
        ({"a": ["x"]}, "a list is neither"),
        ({"A": "x"}, "'a' is missing; there is no 'A'"),
    ],
)
def test_variables_that_do_not_fit_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(PromptInvalid, match="prompt short") as caught:
        Prompt("{{ a }}", name="short").fill(**given)
    assert said in str(caught.value)
    assert caught.value.code == "value.prompt"


@pytest.mark.parametrize("text", ["{{", "}}", "{{ a", "{{ a b }}", "{{ a.b }}", "{{ 1a }}", "{{}}", "{{ a|b }}", 3])
def test_what_is_no_template_is_refused(text: Any) -> None:
    with pytest.raises(DefinitionError) as caught:
        Prompt(text)
    assert caught.value.code.startswith("prompt.")


def test_a_template_may_stand_in_a_file(tmp_path: Path) -> None:
    place = tmp_path / "summary.md"
    place.write_text("Sum up: {{ text }}", encoding="utf-8")
    prompt = Prompt.file(place, version="4")
    assert (prompt.name, prompt.version, prompt.fill(text="x").text) == ("summary", "4", "Sum up: x")
    place.write_bytes(b"\xff")
    for wrong in (place, tmp_path / "none.md", tmp_path):
        with pytest.raises(DefinitionError) as caught:
            Prompt.file(wrong)
        assert caught.value.code == "prompt.file"
