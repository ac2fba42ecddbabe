"""JSON as models write it: what is JSON reads as JSON, of what is cut only what was whole, and what is not refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.policies.tolerant import Flawed, Garbled, Reader

PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20
)
WHOLE = st.lists(VALUES, max_size=4) | st.dictionaries(st.text(), VALUES, max_size=4)


def is_part(part: Any, whole: Any) -> bool:
    """Say whether a cut value has nothing that the whole has not, in its place."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(key in whole and is_part(part[key], whole[key]) for key in part)
    if isinstance(part, list):
        return isinstance(whole, list) and all(is_part(*pair) for pair in zip(part, whole, strict=False))
    return repr(part) == repr(whole)


@given(WHOLE, st.booleans(), st.sampled_from([None, 1]))
def test_json_reads_as_json(value: Any, is_ascii: bool, indent: int | None) -> None:
    reader = Reader(json.dumps(value, ensure_ascii=is_ascii, indent=indent) + " and more")
    assert repr(reader.read()) == repr(value)
    assert (dict(reader.notes), reader.is_cut) == ({}, False)


@given(WHOLE, st.data())
def test_a_part_of_json_gives_a_part_of_the_value(value: Any, data: st.DataObject) -> None:
    text = json.dumps(value)
    place = data.draw(st.integers(1, len(text) - 1))
    reader = Reader(text[:place])
    try:
        part = reader.read()
    except Garbled as error:  # too little to tell it from prose
        part = type(value)() if str(error) == "the text ends" and not error.begun else str(error)
    assert is_part(part, value)
    assert reader.is_cut


@given(st.text(alphabet="{}[]\",:'/*#\\ntrueNaN0123456789.-+eE \u201c\u201d\n", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = Reader("{" + text).read()
    except (Flawed, Garbled) as error:
        found = str(error)
    assert isinstance(found, dict | str)


@pytest.mark.parametrize(
    ("text", "value", "notes"),
    [
        ("{'a': \"it's\",}", {"a": "it's"}, ["strings in other quotes", "trailing commas left out"]),
        ('{a: True, /* b */ "c": None}', {"a": True, "c": None}, [
            "keys without quotes", "True, False and None read as JSON's", "comments left out"]),
        ('["a\nb", // c\n]', ["a\nb"], [
            "line breaks and tabs in strings", "comments left out", "trailing commas left out"]),
        ("{'a': '\\u00e9\\n\\''}", {"a": "é\n'"}, ["strings in other quotes"]),
    ],
)  # fmt: skip
def test_what_was_mended_is_noted(text: str, value: Any, notes: list[str]) -> None:
    reader = Reader(text)
    assert reader.read() == value
    assert sorted(reader.notes) == sorted(notes)


@pytest.mark.parametrize("text", ['{"a": 1 "b": 2}', "{'a': \"\\q\"}", "{'a': '\\uZZZZ'}", '{"a": [1 2]}'])
def test_what_begins_as_json_and_is_none(text: str) -> None:
    with pytest.raises(Garbled) as refused:
        Reader(text).read()
    assert refused.value.begun


@pytest.mark.parametrize("text", ["{name}", "{a, b}", "{ }}"[2:], "[see below]", "{item: price}"])
def test_prose_in_brackets_has_not_begun(text: str) -> None:
    with pytest.raises(Garbled) as refused:
        Reader(text).read()
    assert not refused.value.begun
