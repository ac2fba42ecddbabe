"""What a person is shown hides nothing."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.core.shown import HIDDEN, capped, escaped


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, größer, 日本, 👍", "plain, größer, 日本, 👍"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u200bb\ufeff", "a\\u200bb\\ufeff"),
        ("\x1b[2J", "\\u001b[2J"),
        ("line\nline\ttab\r", "line\nline\ttab\\u000d"),
        ("\U000e0041", "\\udb40\\udc41"),
        ("\ud800", "\\ud800"),
        ("a\u3164b", "a\\u3164b"),
    ],
)
def test_no_character_hides(text: str, shown: str) -> None:
    assert escaped(text) == shown


@given(st.text())
def test_nothing_that_hides_is_left(text: str) -> None:
    assert not any(unicodedata.category(one) in HIDDEN for one in escaped(text, keep=""))


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_json_stays_the_same_json(text: str) -> None:
    assert json.loads(escaped(json.dumps({"a": text}, ensure_ascii=False))) == {"a": text}


def test_what_is_left_out_is_counted() -> None:
    assert capped("x" * 100, 10) == "x" * 10 + "… (90 bytes hidden)"
    assert capped("x" * 10, 10) == "x" * 10
    assert len(capped("\u202e" * 1_000_000).encode()) < 4_200
