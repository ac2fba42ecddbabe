"""Values on the command line: JSON where it is JSON, else text."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from windlass.core.errors import InputError

OPENING = ("{", "[", '"')  # what begins so is meant as JSON


def read_input(text: str) -> Any:
    """Read a run's input: JSON, `@file` with JSON in it, or `-` for JSON from standard input; a bare word is text.

    Raises:
        InputError: the file cannot be read, or what looks like JSON is none.
    """
    if text == "-":
        return parse(sys.stdin.read(), "input", strict=True)
    if text.startswith("@"):
        try:
            return parse(Path(text[1:]).read_text(encoding="utf-8"), "input", strict=True)
        except (OSError, UnicodeDecodeError) as error:
            raise InputError("input", f"cannot read {text[1:]}: {error}") from error
    return parse(text, "input")


def parse(text: str, where: str, *, strict: bool = False) -> Any:
    """Read JSON; what does not look like it is text, unless `strict`.

    Raises:
        InputError: it should be JSON and is not.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        if strict or text.lstrip().startswith(OPENING):
            raise InputError(where, f"this is not JSON: {error}", hint="in a shell, put it in single quotes") from error
        return text


def read_pairs(pairs: Sequence[str], option: str) -> dict[str, Any]:
    """Read `name=value` several times; a value is JSON, else text.

    Raises:
        InputError: there is no `=`, or what looks like JSON is none.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        name, mark, value = pair.partition("=")
        if not mark or not name:
            raise InputError(option, f"{pair!r} is not of the form name=value")
        found[name] = parse(value, f"{option} {name}")
    return found


def read_tags(pairs: Sequence[str]) -> dict[str, str]:
    """Read `name=value` several times, as text.

    Raises:
        InputError: there is no `=`.
    """
    for pair in pairs:
        if not pair.partition("=")[0] or "=" not in pair:
            raise InputError("--tag", f"{pair!r} is not of the form name=value")
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


def read_answer(text: str, schema: Any) -> Any:
    """Read an answer as its question's schema wants it: where text is wanted, `5` and `true` stay text.

    Raises:
        InputError: what looks like JSON is none.
    """
    shape = schema if isinstance(schema, dict) else {}
    wants_text = shape.get("type") == "string" or any(isinstance(one, str) for one in shape.get("enum", ()))
    return text if wants_text and not text.startswith('"') else parse(text, "answer")
