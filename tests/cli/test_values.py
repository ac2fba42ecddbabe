"""Values on the command line."""

import io
from pathlib import Path

import pytest

from windlass.cli.values import read_answer, read_input, read_pairs, read_tags
from windlass.core.errors import InputError


@pytest.mark.parametrize(
    ("text", "value"),
    [("null", None), ("3", 3), ("-3", -3), ('{"a": [1]}', {"a": [1]}), ('"x"', "x"), ("src/", "src/"), ("a b", "a b")],
)
def test_an_input_is_json_else_text(text: str, value: object) -> None:
    assert read_input(text) == value


def test_an_input_from_a_file_and_from_standard_input(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "in.json").write_text('{"a": 1}')
    assert read_input("@in.json") == {"a": 1}
    monkeypatch.setattr("sys.stdin", io.StringIO("[1, 2]"))
    assert read_input("-") == [1, 2]


@pytest.mark.parametrize("text", ["{a: 1}", "[1,", '"x', "@none.json"])
def test_what_should_be_json_and_is_not(text: str) -> None:
    with pytest.raises(InputError):
        read_input(text)


def test_a_file_must_be_json(folder: Path) -> None:
    (folder / "in.txt").write_text("words")
    with pytest.raises(InputError, match="this is not JSON"):
        read_input("@in.txt")


def test_pairs() -> None:
    assert read_pairs(["a=1", "b=x=y", "c="], "--with") == {"a": 1, "b": "x=y", "c": ""}
    assert read_tags(["team=7", "who="]) == {"team": "7", "who": ""}
    with pytest.raises(InputError, match="name=value"):
        read_pairs(["a"], "--with")
    with pytest.raises(InputError, match="name=value"):
        read_tags(["=a"])


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ("true", {"type": "boolean"}, True),
        ("true", {"type": "string"}, "true"),
        ('"true"', {"type": "string"}, "true"),
        ("yes", {"enum": ["yes", "no"]}, "yes"),
        ("3", {"type": "number"}, 3),
        ('{"a": 1}', {"type": "object", "required": ["a"]}, {"a": 1}),
        ("anything", {}, "anything"),
    ],
)
def test_an_answer_as_its_question_wants_it(text: str, schema: dict[str, object], value: object) -> None:
    assert read_answer(text, schema) == value
