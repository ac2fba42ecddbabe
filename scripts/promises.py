"""Write docs/promises.md from scripts/promises.toml, or with --check say whether it is as it should be.

Each promise names what shows it: a test (`tests/x.py::test_y`, or with a class between), or a row of the benchmarks
(`figure:loop`); and the change to the product that turns it red. A promise that waits for a later issue says why.
"""

import argparse
import ast
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

TREE = Path(__file__).parents[1]
DATA = TREE / "scripts" / "promises.toml"
PAGE = TREE / "docs" / "promises.md"
HEAD = """\
# Promises

What the runtime promises, each with what shows it and the change to the product that turns that red. Each change was
made once, in a copy of the tree: at least one of the tests beside it failed. Written by `make docs` from
[scripts/promises.toml](../scripts/promises.toml); a test holds this page to it, and each named test to its file.

A *figure* is a row of the benchmarks, measured by `make bench` and kept in [performance.md](performance.md): no test
judges times. *Open* is what waits for a later version, with the reason. The numbers are those of the list that the
runtime was built from; what is not here (context, triggers, traces, scale, migration, sub-graphs, threads) has not
been begun, or is not shown yet. [boundaries.md](boundaries.md) has every limit with the test in which it fires.
"""


def sections() -> list[dict[str, Any]]:
    """Read the data: sections with a title and their promises, in order."""
    found: list[dict[str, Any]] = tomllib.loads(DATA.read_text(encoding="utf-8"))["section"]
    return found


def promises() -> list[dict[str, Any]]:
    """Read all promises, in order."""
    return [promise for section in sections() for promise in section["promise"]]


def page() -> str:
    """Spell the page."""
    parts = [HEAD]
    for section in sections():
        parts += [f"\n## {section['title']}\n\n", "| promise | shown by | turned red by |\n|---|---|---|\n"]
        parts += [line(promise) for promise in section["promise"]]
    return "".join(parts)


def line(promise: dict[str, Any]) -> str:
    """Spell a promise as a line of its table."""
    shown = [spelled(place) for place in promise.get("shown", ())]
    shown += [f"*open:* {promise['open']}"] if "open" in promise else []
    return f"| **{promise['id']}** {promise['text']} | {'<br>'.join(shown)} | {promise.get('red', '')} |\n"


def spelled(place: str) -> str:
    """Link a place: a test by its name, a figure by its row."""
    kind, _, row = place.partition(":")
    if kind == "figure":
        return f"[figure *{row}*](../benchmarks/rows/{row}.py)"
    path, _, name = place.partition("::")
    return f"[{name.rpartition('::')[2]}](../{path})"


def missing() -> Iterator[str]:
    """Name every place that is not there, and every promise that says too little."""
    for promise in promises():
        if "open" not in promise and not (promise.get("shown") and promise.get("red")):
            yield f"{promise['id']}: neither open nor shown"
        for place in promise.get("shown", ()):
            if not exists(place):
                yield f"{promise['id']}: there is no {place}"


def exists(place: str) -> bool:
    """Say whether a test, or a row of the benchmarks, is there."""
    kind, _, row = place.partition(":")
    if kind == "figure":
        return (TREE / "benchmarks" / "rows" / f"{row}.py").is_file()
    path, _, name = place.partition("::")
    return (TREE / path).is_file() and name in names(TREE / path)


@cache
def names(path: Path) -> frozenset[str]:
    """Name the functions of a file, those of a class as `Class::function`."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    body = ast.parse(path.read_text(encoding="utf-8")).body
    of_file = {node.name for node in body if isinstance(node, functions)}
    classes = [node for node in body if isinstance(node, ast.ClassDef)]
    return frozenset(
        of_file | {f"{one.name}::{n.name}" for one in classes for n in one.body if isinstance(n, functions)}
    )


def main() -> int:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if the page is old")
    check = parser.parse_args().check
    wrong = list(missing())
    if check and PAGE.read_text(encoding="utf-8") != page():
        wrong.append(f"{PAGE.name} is old: make docs")
    for line in wrong:
        print(line, file=sys.stderr)
    if not check:
        PAGE.write_text(page(), encoding="utf-8")
        print(f"written: {PAGE.relative_to(TREE)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
