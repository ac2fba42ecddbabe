"""The documentation describes the product as it is: every word of it that can be compared is compared."""

import ast
import inspect
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from msgspec import Raw

import windlass
import windlass.testing.errors  # of proofs: nothing else here imports them
from scripts import promises
from windlass import AgentSpec, Context, Edge, Retry, Runtime
from windlass.cli import main
from windlass.cli.app import build
from windlass.cli.table import COMMANDS
from windlass.core import ops
from windlass.core.errors import WindlassError
from windlass.core.events import EVENTS, ITEMS, count, told
from windlass.core.records import BODY, Body, Finished, Question, Row, RowKind, Said
from windlass.core.states import MOVES, Status
from windlass.engine.births import Options
from windlass.graph.graph import NodeOptions
from windlass.graph.options import DefinitionOptions
from windlass.graph.task import TaskOptions
from windlass.testing import errors as _proof  # noqa: F401 -- its classes are among those that are described

TREE = Path(__file__).parents[1]
DOCS = TREE / "docs"
SOURCE = TREE / "src" / "windlass"
PAGES = [TREE / "README.md", TREE / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
LINK = re.compile(r"(?<!!)\[[^]\n]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
MACHINE = re.compile(r"(?<![\w.~<}-])/(?:work|tmp|root|home|Users)/|\b[A-Z]:\\")


def text(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def prose(path: Path) -> str:
    return FENCE.sub("", path.read_text(encoding="utf-8"))


def rows(page: str) -> Iterator[list[str]]:
    """The rows of a page's tables, cell by cell, without the heads' rules."""
    for line in page.splitlines():
        if line.startswith("|") and not line.startswith("|-"):
            yield [cell.strip() for cell in line.strip().strip("|").split("|")]


def table(page: str) -> dict[str, list[str]]:
    """The rows that begin with one word in backticks, by that word."""
    found = [(match[1], cells) for cells in rows(page) if (match := re.fullmatch(r"`([^`]+)`", cells[0]))]
    doubled = [word for word, number in Counter(word for word, _ in found).items() if number > 1]
    assert not doubled
    return dict(found)


def words(page: str) -> set[str]:
    """The words of code in a page, with what a call takes cut off: `ctx.call(name, …)` gives ctx.call, call, name."""
    found = re.findall(r"`([^`\n]+)`", FENCE.sub("", page))
    return {word for code in found for part in re.findall(r"[\w.]+", code) for word in (part, *part.split("."))}


# Events


def said_in_the_engine() -> dict[str, set[str]]:
    """The details with which the engine says each event that is not read from another part of a row."""
    found: dict[str, set[str]] = {}
    for path in (SOURCE / "engine").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if node.func.attr not in ("say", "end", "tell"):
                continue
            inside = [n for argument in node.args for n in ast.walk(argument) if isinstance(n, ast.Constant)]
            for kind in {str(n.value) for n in inside} & {*EVENTS, *ITEMS}:
                found.setdefault(kind, set()).update(key.arg for key in node.keywords if key.arg)
    return found


def row_of(kind: RowKind, body: Body) -> Row:
    raw = msgspec.json.encode(body)
    return Row("r", 1, count(kind, body), 0, 1, kind, 0.0, raw, "")


MASKED = Said("value.redacted", "a#1", {"where": "call", "rules": {"secret:stripe": 1}})


def specimen_rows() -> Iterator[Row]:
    """A row with each part that tells an event."""
    failure = ops.Failure("ValueError", "no")
    happened: tuple[ops.Op, ...] = (
        ops.CallRecorded("a#1", "k", "call", Raw(b"1")),
        ops.EffectIntended("a#1", "effect", "k", "e", Raw(b"[]"), "d", "ask"),
        ops.EffectCompleted("a#1", "effect", "k", Raw(b"1")),
        ops.EffectCompleted("a#1", "effect", "k", Raw(b"1"), "adopted"),
        ops.EffectInDoubt("a#1", "effect", "k", "asked"),
        ops.UndoIntended("a#1", "effect", "k", "undo", "u"),
        ops.EffectUndone("a#1", "effect", "k"),
        ops.EffectLeft("a#1", "effect", "k", "none"),
        ops.TimerSet("a#1", "k", 1.0),
        ops.QuestionAsked("a#1", "k", "q", "well?", Raw(b"{}")),
        ops.QuestionAnswered("a#1", "k", "q", Raw(b"1")),
        ops.QuestionAnswered("a#1", "k", "q", Raw(b"1"), "deadline", "value"),
        ops.ChildStarted("a#1", "k", "r.c", "work", "d", "a#1/work"),
        ops.SignalReceived("s", "go", Raw(b"1"), "ann"),
        ops.SignalAwaited("a#1", "k", "go"),
        ops.SignalTaken("a#1", "k", "s", "go"),
        ops.SignalTaken("a#1", "k", "", "go", expired="reject"),
        ops.SignalLeft("a#1", "k", "s", "go"),
        ops.SignalLeft("a#1", "k", "s", "go", "no"),
        ops.ChildEnded("a#1", "k", "r.c", "failed", failure=failure),
        ops.AttemptFailed("a#1", 1, failure, due_at=1.0),
        ops.AttemptFailed("a#1", 1, failure, abandoned=True),
        ops.AttemptsReset("a#1"),
    )
    yield row_of("record", Body(0.0, happened, said=(Said("run.resumed"), Said("run.paused"), MASKED)))
    finished = (Finished("a#1", {"a": Raw(b"1")}), Finished("b#1", skipped=True))
    yield row_of("step", Body(0.0, finished=finished, digest="d"))
    yield row_of("step", Body(0.0, frame="team#1", given=("log",), results={"log": Raw(b"[]")}, digest="d"))
    yield row_of("writes", Body(0.0, finished=finished))
    yield Row("r", 1, 1, 0, 1, "pruned", 0.0, b"{}", "")


def test_every_event_is_described_with_its_data() -> None:
    described = {
        name: set(re.findall(r"`(\w+)`", cells[2]))
        for name, cells in table(text("events.md")).items()
        if len(cells) > 2
    }
    assert described.keys() == EVENTS.keys() | ITEMS.keys()
    expected: dict[str, set[str]] = {name: set() for name in described} | said_in_the_engine()
    for row in specimen_rows():
        for event in told(row):
            expected[event.type] |= event.data.keys()
    expected["item"] = {"value", "attempt", "ordinal"}
    assert {name: keys ^ described[name] for name, keys in expected.items() if keys != described[name]} == {}


def test_a_row_tells_as_many_events_as_it_counts() -> None:
    for row in specimen_rows():
        events = told(row)
        assert [event.seq for event in events] == list(range(row.first, row.last + 1))
        assert row.kind == "pruned" or count(row.kind, BODY.decode(row.body)) == len(events)


# Errors


def codes() -> set[str]:
    """The code of every class of errors, and of every DefinitionError that is made."""
    found, classes = {"usage", "run.poison"}, [WindlassError]
    for kind in classes:  # grows while it is read
        found.add(kind.code)
        classes += kind.__subclasses__()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "DefinitionError":
                assert isinstance(node.args[0], ast.Constant), f"{path}:{node.lineno}: its code cannot be read"
                found.add(str(node.args[0].value))
    return found


def test_every_error_code_is_described() -> None:
    described = {name for name in table(text("errors.md")) if not name.startswith(("--", "error"))}
    assert described == codes()


# The command line


def test_every_command_and_option_is_described() -> None:
    page = text("cli.md")
    parts = {part.partition("\n")[0]: part for part in re.split(r"^## ", page, flags=re.MULTILINE)}
    assert {command.words for command in COMMANDS} <= parts.keys()
    app = build()
    common = {"--store", "--json"}
    assert common <= {option.split()[0] for option in table(parts["Every command"])}
    for command in COMMANDS:
        here = app
        for word in command.words.split():
            here = here[word]
        taken = {
            name for argument in here.assemble_argument_collection() if argument.show for name in argument.names
            if not name.startswith(("--no-", "--empty-"))
        }  # fmt: skip
        cells = [cells[0] for cells in rows(parts[command.words])]
        told_of = {word.split()[0] for cell in cells for word in re.findall(r"`([^`]+)`", cell)} - {"FILE:NAME"}
        assert told_of == taken - common, command.words


def test_every_group_is_a_list_of_its_commands() -> None:
    shown = [part.partition("\n")[0] for part in re.split(r"^## ", text("cli.md"), flags=re.MULTILINE)[1:]]
    assert [words for words in shown if words in {c.words for c in COMMANDS}] == [c.words for c in COMMANDS]


# States


def moves() -> str:
    """The table and the picture of docs/states.md."""
    lines = [f"| verb | {' | '.join(Status)} |", "|---" * (len(Status) + 1) + "|"]
    lines += [f"| {verb} | {' | '.join(after.get(state, '') for state in Status)} |" for verb, after in MOVES.items()]
    lines += ["", "```mermaid", "stateDiagram-v2", "    [*] --> created", "    [*] --> running"]
    for before in Status:
        for after in Status:
            verbs = [verb for verb, to in MOVES.items() if to.get(before) == after != before]
            lines += [f"    {before} --> {after}: {', '.join(verbs)}"] if verbs else []
    return "\n".join([*lines, "```"])


def test_the_page_of_states_is_the_table_of_moves() -> None:
    page = text("states.md")
    assert page.partition("<!-- moves: begin -->\n")[2].partition("\n<!-- moves: end -->")[0] == moves()
    firsts = [cells[0] for cells in rows(page)]
    assert set(Status) <= set(firsts)
    assert [firsts.count(verb) for verb in MOVES] == [2] * len(MOVES)


# Names and settings


def test_every_public_name_and_setting_is_described() -> None:
    known = words(text("reference.md")) | words(text("errors.md"))
    settings = {name for kind in (TaskOptions, NodeOptions, DefinitionOptions) for name in kind.__optional_keys__}
    settings |= {name for kind in (Edge, Retry, AgentSpec) for name in kind.__dataclass_fields__ if name[0] != "_"}
    methods = {n for kind in (Runtime, Context) for n, value in inspect.getmembers(kind) if n[0] != "_" and value}
    settings |= {name for name in dir(Question) if name[0] != "_"}
    wanted = {*windlass.__all__, *settings, *methods, *Options.__struct_fields__}
    assert sorted(wanted - known) == []


def test_every_module_of_the_house_is_on_the_page_of_its_architecture() -> None:
    linked = {(DOCS / link).resolve() for link in LINK.findall(text("architecture.md"))}
    rooms = ("core", "policies", "engine", "graph", "stores", "worker")
    modules = {path for room in rooms for path in (SOURCE / room).glob("*.py") if path.name != "__init__.py"}
    assert sorted(str(path.relative_to(SOURCE)) for path in modules - linked) == []


# Links, numbers, places


def anchors(path: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head).strip().lower().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(TREE)))
def test_links_lead_somewhere(path: Path) -> None:
    for link in LINK.findall(prose(path)):
        place, _, anchor = link.partition("#")
        target = (path.parent / place).resolve() if place else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(TREE)))
def test_no_page_names_a_place_of_one_machine(path: Path) -> None:
    assert MACHINE.findall(path.read_text(encoding="utf-8")) == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, queue = set(), [TREE / "README.md"]
    for path in queue:  # grows while it is read
        if path in reached or path.suffix != ".md":
            continue
        reached.add(path)
        queue += [(path.parent / link.partition("#")[0]).resolve() for link in LINK.findall(prose(path))]
    assert set(PAGES) - reached == set()


def test_decisions_are_numbered_without_a_gap() -> None:
    records = sorted(path for path in (DOCS / "decisions").glob("*.md") if path.name != "README.md")
    for number, path in enumerate(records, start=1):
        assert path.name.startswith(f"{number:04d}-")
        assert path.read_text(encoding="utf-8").startswith(f"# {number}. ")


# Promises


def test_promises_point_at_what_exists() -> None:
    assert list(promises.missing()) == []


def test_the_page_of_promises_is_written_anew() -> None:
    assert promises.PAGE.read_text(encoding="utf-8") == promises.page(), "make docs"


def test_no_promise_is_left_out() -> None:
    numbers = [promise["id"] for promise in promises.promises()]
    spans = [
        (1, 107), (113, 123), (133, 134), (139, 146), (154, 154), (163, 176), (183, 191), (193, 193),
        (195, 195), (199, 199),
    ]  # fmt: skip
    assert numbers == [f"R{number:03d}" for first, last in spans for number in range(first, last + 1)]


# The README, and what it says to do


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_readme_is_short_and_has_two_commands_to_set_up() -> None:
    readme = (TREE / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) <= 150
    set_up = readme.partition("## Set-up\n")[2].partition("\n## ")[0]
    assert re.findall(r"^```console\n(.*?)^```$", set_up, re.MULTILINE | re.DOTALL) == ["$ make demo\n$ make test\n"]


def test_the_first_program_is_short_and_goes_on_after_a_kill(tmp_path: Path) -> None:
    (program,) = blocks(TREE / "README.md", "python")
    assert len([line for line in program.splitlines() if line]) <= 12
    (tmp_path / "first.py").write_text(program)
    paths = os.pathsep.join([str(SOURCE.parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "first.py"]
    options = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": paths}, "text": True}
    with subprocess.Popen(command, stdout=subprocess.PIPE, **options) as first:  # type: ignore[call-overload]
        before = [first.stdout.readline().strip() for _ in range(3)]
        first.send_signal(signal.SIGKILL)
    second = subprocess.run(command, capture_output=True, check=True, timeout=30, **options)  # type: ignore[call-overload]
    after = second.stdout.splitlines()
    assert before == ["part 0", "part 1", "part 2"]
    assert after[0] in ("part 2", "part 3")  # a call that was killed before its record is made once more
    assert after[-2:] == ["part 9", f"completed {[number * number for number in range(10)]}"]


def test_the_page_that_fails_and_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (program,) = [block for block in blocks(DOCS / "quickstart.md", "python") if "class Step" in block]
    run, resume = [
        next(line[11:].split() for line in block.splitlines() if line.startswith("$ windlass"))
        for block in blocks(DOCS / "quickstart.md", "console")[:2]
    ]
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WINDLASS_STORE", raising=False)
    Path("twelve.py").write_text(program)
    assert main(run) == 1
    assert [line for line in capsys.readouterr().out.splitlines() if line.endswith("begins")][-1] == "step7 begins"
    mended = re.sub(r"^ +if self.number == 7:\n.*\n", "", program, flags=re.MULTILINE)
    assert mended != program
    Path("twelve.py").write_text(mended)
    assert main(resume) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line for line in said if line.endswith("begins")] == [f"step{number} begins" for number in range(7, 13)]
    assert said[-2:] == ["t1 completed", "78"]
