"""From a text to what it may mean; the corpus has the many cases, this what is left."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.policies.test_tolerant import WHOLE
from windlass import PartialJson
from windlass.policies.parsers import Parser, Unread, Wanted, candidates

TEXTS = st.text(alphabet='{}[]`",:\n abt0', max_size=80)


def read(text: str, parser: Parser = "auto", wanted: Wanted = "both") -> list[Any]:
    return [one.value for one in candidates(text, parser, wanted)]


@given(WHOLE, st.sampled_from(["{}", "Sure: {}", "```json\n{}\n```", "a\n\n```\n{}\n```\nb", "\ufeff {} "]))
def test_json_is_found_wherever_it_stands(value: Any, around: str) -> None:
    found = read(around.replace("{}", json.dumps(value, ensure_ascii=False)))
    assert repr(found) == repr([value])


@given(
    TEXTS, st.sampled_from(["auto", "json", "fenced", "text"]), st.sampled_from(["object", "array", "both", "plain"])
)
def test_any_text_gives_something_or_says_why(text: str, parser: Parser, wanted: Wanted) -> None:
    try:
        found: Any = candidates(text, parser, wanted)
    except Unread as error:
        found = str(error)
    assert found


@given(WHOLE, WHOLE)
def test_what_is_found_twice_is_one_and_what_differs_is_two(first: Any, second: Any) -> None:
    text = f"{json.dumps(first)} or {json.dumps(second)}"
    same = json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)
    assert len(read(text)) == (1 if same else 2)


def test_a_function_of_the_text_reads_it() -> None:
    assert read("a;b", lambda text: text.split(";")) == [["a", "b"]]


def test_backticks_that_are_no_fence_are_text() -> None:
    assert read("x```y", wanted="plain") == ["x```y"]


def test_one_and_true_are_not_one_value() -> None:
    assert len(read("[1] [true]")) == 2


@given(WHOLE, st.integers(1, 9))
def test_partial_values_come_as_the_answer_streams_in(value: Any, size: int) -> None:
    text = f"Sure: {json.dumps(value)} Done."
    reader = PartialJson()
    seen = [reader.feed(text[n : n + size]) for n in range(0, len(text), size)]
    assert reader.close() == text
    assert all(isinstance(one, type(value)) for one in seen if one is not None)


def test_a_long_stream_is_not_read_again_for_each_chunk() -> None:
    reader, seen = PartialJson(), 0
    for n in range(20_000):
        seen += reader.feed("[" if not n else f"{n},") is not None
    assert seen < 300


def test_a_stream_that_is_no_json_gives_nothing() -> None:
    reader = PartialJson()
    assert [reader.feed(chunk) for chunk in ("no ", "JSON ", "{name}", " here")] == [None] * 4


@pytest.mark.parametrize("text", ["{" * 300 + "x", "[x] " * 300])
def test_too_many_places_are_no_answer(text: str) -> None:
    with pytest.raises(Unread, match="too many places"):
        read(text)
