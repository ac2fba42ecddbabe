"""The programs that the documentation shows run as they stand, and so do the snippets of the design."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import windlass
from tests.typing import design
from windlass import Runtime

ROOT = Path(__file__).parents[1]
SOURCE = Path(windlass.__file__).parents[1]
PAGES = [path for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if path.exists()]
BLOCK = re.compile(r"(?P<before>^[^\n]*\n)?^```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
NO_RUN = "<!-- no-run -->"
SECONDS = 60  # until a program is taken for one that hangs
PARTS = 10


def programs() -> list[tuple[str, str]]:
    """Every block of Python in the documentation, with the page and line at which it stands."""
    found = []
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        for match in BLOCK.finditer(text):
            if (match["before"] or "").strip() != NO_RUN:
                line = text.count("\n", 0, match.start("code")) + 1
                found.append((f"{path.relative_to(ROOT)}:{line}", match["code"]))
    return found


FIRST, *PROGRAMS = programs()  # the README's first program is tried harder than the others
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONWARNINGS": "error"}


@pytest.mark.parametrize("code", [code for _, code in PROGRAMS], ids=[where for where, _ in PROGRAMS])
def test_a_program_of_the_documentation_runs(code: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(code, encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False,
        timeout=SECONDS,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_first_program_goes_on_after_kill_9(tmp_path: Path) -> None:
    assert FIRST[0].startswith("README.md")
    (tmp_path / "first.py").write_text(FIRST[1], encoding="utf-8")
    command = [sys.executable, "first.py"]
    with subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        before = [first.stdout.readline() for _ in range(3)]
        first.send_signal(signal.SIGKILL)
        before += first.stdout.readlines()
    assert first.returncode == -signal.SIGKILL
    again = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    *after, last = again.stdout.splitlines(keepends=True)
    assert last == f"completed {[number * number for number in range(PARTS)]}\n"
    assert {*before, *after} == {f"part {number}\n" for number in range(PARTS)}
    assert len({*before} & {*after}) <= 1  # one may have been said, and not yet recorded
    third = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert third.stdout == last


async def test_the_design_s_first_program_asks_is_answered_and_comes_to_its_end(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/review.db"
    design.branches.clear()
    seen = await design.first_program(url)
    assert [event.type for event in seen][-1] == "run.parked"
    result = await design.answered(url)
    assert result.output == design.Patch("do src/a.py", "branch-1")
    again = await design.first_program(url)
    assert again[-1].type == "run.completed"
    assert [event.data["value"]["ship"] for event in again if event.type == "question.answered"] == [True]
    async with Runtime(url, [design.review]) as runtime:
        assert design.branches == ["do src/a.py"]
        await runtime.rollback("review-1", ("refactor", 1))
        assert design.branches == []


async def test_the_design_s_class_form_recovers(tmp_path: Path) -> None:
    async with Runtime(f"sqlite:///{tmp_path}/c.db") as runtime:
        assert (await runtime.run(design.classes, "src/")).output == design.Patch("src/b.py", "")


async def test_the_design_s_loop_and_fan_out(tmp_path: Path) -> None:
    async with Runtime(f"sqlite:///{tmp_path}/g.db") as runtime:
        written = (await runtime.run(design.graph, {"messages": [design.Message("begin")]})).output
        assert written["draft"] == "draft 3"
        assert written["votes"] == {"draft 1": 7, "draft 2": 7, "draft 3": 7}
        fanned = (await runtime.run(design.fan, {"draft": "a bb ccc"})).output
        assert fanned["votes"] == {"a": 1, "bb": 2, "ccc": 3}
        assert fanned["messages"] == [design.Message("6 in all")]
