"""The house has floors: a module may import only from its own folder or from a lower floor.

Every import counts, also those inside functions and under ``TYPE_CHECKING``; inside a room modules form no circle.
The sitting and the store contract stay within their budgets.
"""

import ast
import os
import pathlib
from collections.abc import Iterator

PACKAGE = os.environ.get("FLOORS_PACKAGE", "windlass")
ROOT = pathlib.Path(os.environ.get("FLOORS_SRC", pathlib.Path(__file__).parents[1] / "src"))
MAX_FILE, MAX_CLASS, MAX_FUNCTION, MAX_PARAMS = 500, 300, 60, 8

SITTING = [  # what a newcomer reads in one sitting, in this order
    *("core/states", "core/records", "core/channels", "core/events"),
    *("engine/plan", "engine/execute", "engine/reconcile", "engine/loop"),
    *("engine/context", "engine/control", "engine/runtime"),
]
MAX_SITTING, MAX_STORE_METHODS = 2400, 15

FLOORS = [  # ground first; the longest matching prefix decides a module's floor
    {"core"},
    {"policies", "stores.base"},
    {"engine"},
    {"graph"},
    {"stores", "streams", "worker", "context", "triggers", "telemetry", "integrations"},
    {"server", "dashboard"},
    {"cli"},
    {"testing", PACKAGE},  # the roof and the workshop: see everything, imported by nobody
]
HOMES = {home: floor for floor, homes in enumerate(FLOORS) for home in homes}


def modules() -> Iterator[tuple[str, pathlib.Path]]:
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        dotted = path.relative_to(ROOT / PACKAGE).with_suffix("").as_posix().replace("/", ".")
        yield (PACKAGE if dotted == "__init__" else dotted.removesuffix(".__init__")), path


def home(module: str) -> str | None:
    parts = module.split(".")
    names = (".".join(parts[:size]) for size in range(len(parts), 0, -1))
    return next((name for name in names if name in HOMES), None)


def imports(path: pathlib.Path) -> Iterator[str]:
    """Name every internal module that any import in the file names, at any depth."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] == PACKAGE)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide floors"
            if (node.module or "").split(".")[0] == PACKAGE:
                yield from (f"{node.module}.{a.name}" for a in node.names)


def test_imports_point_down() -> None:
    broken = []
    for module, path in modules():
        mine = home(module)
        if mine is None:
            broken.append(f"{module} has no floor")
            continue
        for target in imports(path):
            theirs = home(target.removeprefix(PACKAGE + "."))
            if theirs != mine and (theirs is None or HOMES[theirs] >= HOMES[mine]):
                broken.append(f"{module} -> {target}")
    assert not broken, broken


def lines_of(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def test_nothing_outgrows_its_room() -> None:
    broken = []
    for module, path in modules():
        text = path.read_text()
        if text.count("\n") > MAX_FILE:
            broken.append(f"{module}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef) and lines_of(node) > MAX_CLASS:
                broken.append(f"{module}.{node.name}: {lines_of(node)} lines")
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
                named = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
                arguments = [a for a in named if a.arg not in ("self", "cls")]
                if lines > MAX_FUNCTION or len(arguments) > MAX_PARAMS:
                    broken.append(f"{module}.{node.name}: {lines} lines, {len(arguments)} parameters")
    assert not broken, broken


def test_rooms_hold_no_circle() -> None:
    known = dict(modules())
    named = {m: {t.removeprefix(PACKAGE + ".") for t in imports(p)} for m, p in known.items()}
    edges = {m: {k for t in ts for k in (t, t.rpartition(".")[0]) if k in known and k != m} for m, ts in named.items()}
    while loose := [m for m in edges if not edges[m]]:
        for module in loose:
            del edges[module]
        edges = {m: ts - set(loose) for m, ts in edges.items()}
    assert not edges, f"circle among {sorted(edges)}"


def test_the_centre_stays_small() -> None:
    files = [ROOT / PACKAGE / f"{name}.py" for name in SITTING]
    lines = sum(len(path.read_text().splitlines()) for path in files if path.exists())
    assert lines <= MAX_SITTING, f"the sitting is {lines} lines"
    contract = ROOT / PACKAGE / "stores" / "base.py"
    for node in ast.walk(ast.parse(contract.read_text())):
        if isinstance(node, ast.ClassDef) and node.name == "Store":
            methods = [n.name for n in node.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
            assert len(methods) <= MAX_STORE_METHODS, methods
