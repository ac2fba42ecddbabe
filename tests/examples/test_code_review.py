"""The code review by itself: what it measures, what it tells a model, and what it leaves in the ledger."""

import ast
import json
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from examples import code_review
from examples.code_review import Finding, Lint, Review
from tests.examples.conftest import Program
from windlass import Runtime

FINDINGS = [
    Finding("a/knot.py", 120, 40, "tie", 17, ("hub.py",), Lint(2, ("E501 × 2",))),
    Finding("a/<b>.py", 10, 1, "", 0, (), Lint(note="skipped: it is not installed"), "cannot be read: x & y", 3),
]


@pytest.fixture
def ruffless(monkeypatch: pytest.MonkeyPatch) -> None:
    """No ruff on this machine."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    monkeypatch.setattr(shutil, "which", lambda _: None)


async def test_files_are_measured(tree: Path, tmp_path: Path, ruffless: None) -> None:
    async with Runtime("memory:") as runtime:
        asked = Review(str(tree), str(tmp_path))
        await runtime.run(code_review.review, asked, id="r")
        state = await runtime.state("r")
    found = {finding.path: finding for finding in state["rank"]}
    assert sorted(found) == sorted(state["scan"])
    assert len(found) == 9
    assert state["rank"][0].path == "pack/inner/knot.py"
    assert (found["pack/inner/knot.py"].worst, found["pack/inner/knot.py"].worst_branches) == ("tie", 17)
    assert found["pack/part1.py"].uses == ("pack/hub.py",)
    assert found["pack/inner/__init__.py"].uses == ("pack/hub.py",)
    assert found["pack/hub.py"].used_by == 6
    assert "cannot be read" in found["pack/broken.py"].note
    assert found["pack/hub.py"].lint.note == "skipped: it is not installed"
    assert "by plain code" in state["summarize"].text
    assert "ruff was skipped" in state["summarize"].text
    lines = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    assert sorted(line["file"] for line in lines) == sorted(found)
    assert not (tmp_path / "inside").exists()


async def test_a_rollback_takes_the_report_away_and_a_resume_writes_it_again(
    tree: Path, tmp_path: Path, ruffless: None
) -> None:
    async with Runtime("memory:") as runtime:
        await runtime.run(code_review.review, Review(str(tree), str(tmp_path)), id="r")
        assert reports(tmp_path) == ["report.html", "report.md"]
        await runtime.rollback("r", ("report", 1))
        assert reports(tmp_path) == []
        await runtime.resume("r")
        assert (await runtime.wait("r")).status == "completed"
    assert reports(tmp_path) == ["report.html", "report.md"]
    assert len((tmp_path / "ledger.jsonl").read_text().splitlines()) == 9


async def test_ruff_is_asked_with_the_settings_of_the_tree(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import os\nimport sys\n")
    assert await code_review.ruff(str(tmp_path / "a.py")) == Lint(2, ("F401 × 2",))
    (tmp_path / "ruff.toml").write_text('lint.ignore = ["F401"]\n')
    assert await code_review.ruff(str(tmp_path / "a.py")) == Lint(0)


def reports(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("report.*"))


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("x = 1", 1),
        ("if a: pass\nelif b: pass\nelse: pass", 3),
        ("while a and b or c: pass", 4),
        ("[x for x in y if x if not x]", 4),
        ("try: pass\nexcept A: pass\nexcept B: pass", 3),
        ("match a:\n case 1: pass\n case _: pass", 3),
        ("def f():\n assert a\n return b if c else d", 3),
    ],
)
def test_branches_are_counted(text: str, count: int) -> None:
    assert code_review.branches(ast.parse(text)) == count


def test_a_key_stands_once_in_the_ledger(tmp_path: Path) -> None:
    line = {"key": "k1", "file": "a.py", "points": 1.0}
    assert code_review.append_once(str(tmp_path), line) == "appended"
    assert code_review.append_once(str(tmp_path), line) == "stood there already"
    assert code_review.append_once(str(tmp_path), {**line, "key": "k2"}) == "appended"
    assert [json.loads(kept)["key"] for kept in (tmp_path / "ledger.jsonl").read_text().splitlines()] == ["k1", "k2"]


def test_half_a_line_is_cut_off(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").write_text('{"key": "k1"}\n{"key": "k')
    code_review.append_once(str(tmp_path), {"key": "k2"})
    assert (tmp_path / "ledger.jsonl").read_text() == '{"key": "k1"}\n{"key": "k2"}\n'


def test_the_report_is_one_page_that_shows_names_as_they_are() -> None:
    page = code_review.html(FINDINGS, code_review.Summary("<two> files", "me & you"))
    assert "&lt;two&gt; files" in page
    assert "a/&lt;b&gt;.py" in page
    assert "x &amp; y" in page
    assert not re.search(r"(src|href)=|@import|url\(|\$[a-z]", page)
    assert page.count("<circle") == 2
    assert "a/knot.py" in code_review.markdown(FINDINGS, code_review.Summary("", ""))


def test_an_axis_ends_at_a_number_with_four_good_parts() -> None:
    for number in range(1, 3000):
        end = code_review.nice(number)
        assert end >= number
        assert end % 4 == 0
        assert end <= max(4, 2 * number)


def test_a_model_gets_figures_and_no_source(tree: Path, tmp_path: Path, program: Program, model: list[str]) -> None:
    ended = program("code_review.py", "--src", str(tree), "--out", str(tmp_path / "out"), "--model", "tiny")
    assert ended.returncode == 0, ended.stderr
    announced, sending = ended.stdout.index("will get names and figures"), ended.stdout.index("sending")
    assert announced < ended.stdout.index("after 1 files") < sending
    assert len(model) == 1
    assert "pack/inner/knot.py" in model[0]
    assert "def tie" not in model[0]
    assert "Look at the knot." in (tmp_path / "out" / "report.md").read_text()


def test_without_an_answer_plain_code_writes_the_summary(
    tree: Path, tmp_path: Path, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "ftp://nowhere")
    ended = program("code_review.py", "--src", str(tree), "--out", str(tmp_path / "out"), "--model", "tiny")
    assert ended.returncode == 0, ended.stderr
    report = (tmp_path / "out" / "report.md").read_text()
    assert "by plain code" in report
    assert "tiny gave no answer: OPENAI_BASE_URL is 'ftp://nowhere'" in report


def test_an_empty_tree_is_refused(tmp_path: Path, program: Program) -> None:
    ended = program("code_review.py", "--src", str(tmp_path))
    assert (ended.returncode, ended.stderr) == (2, f"error: no Python files in {tmp_path}\n")


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Serve a model; what it is asked comes into the list."""
    asked: list[str] = []

    class Model(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(sent["messages"][0]["content"])
            assert self.path == "/v1/chat/completions"
            assert self.headers["Authorization"] == "Bearer secret"
            said = json.dumps({"choices": [{"message": {"content": "Look at the knot."}}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = HTTPServer(("127.0.0.1", 0), Model)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_port}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    yield asked
    server.shutdown()
    thread.join()
    server.server_close()
