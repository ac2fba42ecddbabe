"""The demo: a worker is killed inside an effect, another goes on, and every figure is looked at again here."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from windlass.cli import demo, main
from windlass.cli.demo import Place
from windlass.cli.demo_figures import Doubt, Figures, Kill, judge
from windlass.core.errors import InputError

GOOD = Figures(
    files=10, activations_before=5, activations_after=9, cut_off=1, repeated=0, ledger_lines=10, keys_doubled=0,
    killed=Kill(5, "a.py"), in_doubt=[Doubt("a.py", "called again with the same key", "stood there already")],
    ms_to_next_step=200, seconds=4.0, status="completed", ruff="0 findings", summary_by="plain code",
)  # fmt: skip


def test_the_demo_ends_with_true_figures(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    code = main(["demo", "--src", str(tree), "--out", str(out), "--json"])
    printed = capsys.readouterr()
    figures: dict[str, Any] = json.loads(printed.out)
    assert (code, figures["wrong"]) == (0, []), printed.err
    assert figures["files"] == figures["ledger_lines"] == 9
    assert figures["keys_doubled"] == figures["repeated"] == 0
    assert figures["activations_before"] + figures["activations_after"] == 13
    assert 0.4 <= figures["killed"]["lines"] / 9 <= 0.6
    assert figures["status"] == "completed"
    assert figures["ms_to_next_step"] > 0

    ledger = [json.loads(line) for line in (out / "ledger.jsonl").read_text().splitlines()]
    starts = [json.loads(line) for line in (out / "starts.jsonl").read_text().splitlines()]
    assert len({line["key"] for line in ledger}) == len({line["file"] for line in ledger}) == 9
    first, second = sorted({start["pid"] for start in starts}, key=[start["pid"] for start in starts].index)
    begun = {pid: {start["file"] for start in starts if start["pid"] == pid} for pid in (first, second)}
    assert len(begun[first] & begun[second]) == figures["cut_off"]
    assert len(begun[first] | begun[second]) == 9
    inside = figures["killed"]["inside"]
    assert {"file": inside, "settled": "called again with the same key", "outcome": "stood there already"} in figures[
        "in_doubt"
    ]
    assert {doubt["file"] for doubt in figures["in_doubt"]} <= begun[first] & begun[second]
    assert Path(figures["report"]).read_text().startswith("<!doctype html>")
    assert not (out / "inside").exists()


def test_it_reads_well_and_ends_with_three_commands(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--src", str(tree)]) == 0
    printed = capsys.readouterr()
    assert "killed, gone on, nothing done twice" in printed.out
    assert "SIGKILL at 4 of 9 ledger lines" in printed.err or "SIGKILL at 5 of 9 ledger lines" in printed.err
    assert (tmp_path / ".windlass" / ".gitignore").read_text() == "*\n"
    commands = [line.strip() for line in printed.out.splitlines()[-3:]]
    program = f"{sys.executable} -c 'import sys; from windlass.cli import main; sys.exit(main(sys.argv[1:]))'"
    for command in commands:
        pasted = command.replace("windlass", program, 1) if command.startswith("windlass ") else command
        ended = subprocess.run(pasted, shell=True, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, (command, ended.stderr)
        assert ended.stdout


def test_one_file_is_killed_inside_its_one_effect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "one"
    source.mkdir()
    (source / "a.py").write_text("x = 1\n")
    assert main(["demo", "--src", str(source), "--out", str(tmp_path / "out"), "--json"]) == 0
    printed = capsys.readouterr()
    assert "of 1 file there is no 40 to 60 %" in printed.err
    assert json.loads(printed.out)["killed"] == {"lines": 1, "inside": "a.py"}


def test_what_cannot_be_reviewed_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--src", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    assert main(["demo", "--src", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "is no folder" in said
    assert "there are no Python files in" in said
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_in_it_is_left_alone(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--src", str(tree), "--out", str(tree)]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_without_the_program_it_says_where_it_looked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo, "PROGRAM", Path("examples", "no_such.py"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"examples/no_such\.py"):
        demo.find_program()


def test_a_worker_that_fails_by_itself_is_told_of(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "examples" / "code_review.py"
    broken.parent.mkdir()
    broken.write_text(
        "def python_files(src):\n    return [src]\n\nif __name__ == '__main__':\n    raise OSError('full')\n"
    )
    monkeypatch.setattr(demo, "find_program", lambda: broken)
    assert main(["demo", "--src", str(tree), "--out", str(tmp_path / "out")]) == 1
    assert "OSError: full" in capsys.readouterr().err


def test_the_kill_comes_in_the_middle() -> None:
    for files in range(1, 500):
        place = Place(Path(), Path(), "", "", [], files)
        assert len(place.window) >= 1
        assert place.has_middle == (files not in {1, 3})
        assert all(0.4 <= lines / files <= 0.6 for lines in place.window) or not place.has_middle


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"status": "failed"}, "the run is failed"),
        ({"killed": None}, "before it was killed"),
        ({"killed": Kill(5, "b.py")}, "was not in doubt"),
        ({"ledger_lines": 9}, "9 ledger lines for 10 files"),
        ({"keys_doubled": 1}, "1 keys stand twice"),
        ({"repeated": 2}, "2 activations ran again"),
        ({"activations_after": 8}, "5 + 8 activations, not 14"),
        ({"in_doubt": [Doubt("a.py", "", "")]}, "was not settled"),
        ({"ms_to_next_step": 0}, "nothing ran in the second worker"),
    ],
)
def test_each_wrong_figure_is_seen(change: dict[str, Any], said: str) -> None:
    assert list(judge(GOOD)) == []
    wrong = list(judge(msgspec.structs.replace(GOOD, **change)))
    assert len(wrong) == 1
    assert said in wrong[0]
