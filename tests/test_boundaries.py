"""The page of limits names every limit that there is, and for each a test that exists."""

import ast
import inspect
import re
from pathlib import Path

import pytest

from windlass import Budget, Ceilings
from windlass.graph.options import DefinitionOptions, Policies

TREE = Path(__file__).parents[1]
PAGE = (TREE / "docs" / "boundaries.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.partition("## Every limit")[2].splitlines()
    if line.startswith("| `")
]
NAMED = re.findall(r"\[(test_\w+)\]\(\.\./([\w/]+\.py)\)", PAGE)
NO_LIMITS = {"undo", "validate", "expect", "before", "after"}  # compensations, judges of outputs, people who look
NOT_OF_RUNS = {
    "checkpoints", "durability", "types", "aliases", "version", "max_value", "tools", "models", "dead_letters",
    "defaults", "rules", "redact", "children", "on_busy",
}  # fmt: skip


def limits() -> set[str]:
    """Every option that limits something, as the product declares them."""
    fields = {*inspect.signature(Budget).parameters, *inspect.signature(Ceilings).parameters}
    return (fields | Policies.__optional_keys__ | DefinitionOptions.__optional_keys__) - NO_LIMITS - NOT_OF_RUNS


def test_every_limit_is_in_the_table_and_the_table_has_no_other() -> None:
    named = {re.findall(r"`(\w+)`", cells[0])[0] for cells in ROWS}
    assert named == limits() | {"step_limit", "approvals", "approvals_each"}  # a graph's, and the platform's


@pytest.mark.parametrize("cells", ROWS, ids=lambda cells: cells[0])
def test_every_row_says_default_ceiling_edge_and_test(cells: list[str]) -> None:
    assert [bool(cell) for cell in cells] == [True] * 5
    assert re.fullmatch(r"\[test_\w+\]\(\.\./tests/engine/test_\w+\.py\)", cells[4])


@pytest.mark.parametrize(("name", "path"), sorted(set(NAMED)))
def test_each_test_that_is_named_exists(name: str, path: str) -> None:
    tree = ast.parse((TREE / path).read_text(encoding="utf-8"))
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
