"""The benchmarks run, at tiny sizes and without the peer, and their figures have the shape that the page needs."""

import json
from pathlib import Path

import pytest

from benchmarks import machine, page
from benchmarks.__main__ import PAGE, main
from benchmarks.figure import Figure, Goal, reach, shown
from benchmarks.play import play
from benchmarks.rows import ROWS, growth, said
from benchmarks.sizes import Sizes
from benchmarks.stage import Found, Play, Stage

TINY = Sizes(
    rounds=1, loop=60, memory=30, kills=1, runs=3, run_steps=2, fan_out=5, few=2, many=4, appends=12, edge=3,
    channels=3, channel_steps=25, nodes=4, slow=0.001, slow_steps=5,
)  # fmt: skip
WITH_PROCESSES = {"killed", "resume"}  # these end processes


class Here(Stage):
    """Lets contestants play in this process: the rows are under test, not the start of an interpreter."""

    def play(self, whom: Play, place: Path | None = None) -> Found:
        if place is None:
            with self.place() as made:
                return self.play(whom, made)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(place)
            return play(*whom)


@pytest.mark.parametrize("row", ROWS)
def test_every_row_gives_figures(row: str, tmp_path: Path) -> None:
    stage = (Stage if row in WITH_PROCESSES else Here)(tmp_path, with_peer=False)
    figures = ROWS[row](stage, TINY)
    assert figures
    for figure in figures:
        assert figure.row == row
        assert figure.values["ours"]
        assert all(isinstance(value, float | int) for values in figure.values.values() for value in values)
        assert not figure.values.get("peer")
        assert figure.goals
        assert json.loads(json.dumps(figure.plain()))["ours"]["median"] == figure.value("ours")
        assert len(page.cells(figure)) == len(page.HEAD)
        assert figure.name in page.line(figure)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_lost_when_the_loop_is_killed(tmp_path: Path) -> None:
    (figure,) = ROWS["killed"](Stage(tmp_path, with_peer=False), TINY)
    assert figure.values == {"ours": [0]}


def figure_of(ours: float, peer: float, floor: float, *goals: Goal, less: bool = False, unit: str = "ms") -> Figure:
    return Figure(
        row="loop", name="loop", unit=unit, values={"ours": [ours], "peer": [peer] if peer else [], "floor": [floor]},
        goals=goals, less=less,
    )  # fmt: skip


def test_a_ratio_says_how_many_times_as_good_we_are() -> None:
    assert figure_of(300, 100, 500).times("peer") == 3
    assert figure_of(50, 100, 5, less=True).times("peer") == 2
    assert figure_of(50, 100, 5, less=True).times("floor") == 0.1
    assert figure_of(2, 4, 1, unit="×").times("peer") is None


@pytest.mark.parametrize(
    ("figure", "reached"),
    [
        (figure_of(300, 100, 500, Goal(0.6, "floor"), Goal(3, "peer")), True),
        (figure_of(299, 100, 400, Goal(0.6, "floor"), Goal(3, "peer")), False),
        (figure_of(300, 0, 500, Goal(0.6, "floor"), Goal(3, "peer")), None),
        (figure_of(200, 0, 500, Goal(0.6, "floor"), Goal(3, "peer")), False),
        (figure_of(60, 0, 5, Goal(60), less=True), True),
        (figure_of(61, 0, 5, Goal(60), less=True), False),
        (figure_of(30_000, 0, 5, Goal(30_000)), True),
    ],
)
def test_a_goal_is_reached_or_not_or_unknown(figure: Figure, reached: bool | None) -> None:
    assert figure.reached is reached


def test_what_should_be_reached_is_written_from_the_goals() -> None:
    assert reach(figure_of(1, 1, 1, Goal(0.6, "floor"), Goal(3, "peer"))) == "≥ 60% of the journal, ≥ 3 × LangGraph"
    assert reach(figure_of(1, 1, 1, Goal(60), less=True)) == "≤ 60 ms"
    assert reach(figure_of(1, 1, 1, Goal(30_000), unit="steps/s")) == "≥ 30,000 steps/s"


def test_numbers_have_three_digits_that_count() -> None:
    assert [shown(value) for value in (None, 0, 0.1234, 12.34, 123.4, 12345.6, 5)] == [
        "–", "0", "0.123", "12.3", "123", "12,346", "5",
    ]  # fmt: skip


def test_growth_compares_the_ends_and_leaves_the_very_first_step_out() -> None:
    assert growth.grown([0, 9, 10, 11, 13, 15], edge=2) == 2


def test_the_page_is_written_between_its_markers(tmp_path: Path) -> None:
    there = tmp_path / "page.md"
    there.write_text(f"before\n{page.BEGIN}\nyesterday\n{page.END}\nafter\n")
    for _ in range(2):
        page.write(there, [figure_of(300, 100, 500, Goal(3, "peer"))], {"date": "today"})
        text = there.read_text()
        assert text.startswith("before\n")
        assert text.endswith("\nafter\n")
        assert "yesterday" not in text
        assert "| loop | ≥ 3 × LangGraph | 300 ms | 100 ms | 500 ms | 3 × LangGraph, 60% of the journal | yes |" in text
        assert "- date: today" in text
    there.write_text("no markers")
    with pytest.raises(ValueError, match="lacks"):
        page.write(there, [], {})


def test_the_projects_page_has_the_markers() -> None:
    text = PAGE.read_text()
    assert text.index(page.BEGIN) < text.index(page.END)


def test_every_row_says_what_it_measures() -> None:
    assert all(len(said(row)) > 50 for row in ROWS)


def test_a_machine_is_described() -> None:
    assert all(machine.describe().values())


def test_one_row_is_measured_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = PAGE.read_bytes()
    folder = tmp_path / "folder"
    assert main(["--only", "start", "--quick", "--folder", str(folder), "--json", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert {figure["row"] for figure in found["figures"]} == {"start"}
    assert found["machine"]["command"].startswith("python -m benchmarks --only start")
    assert "import, time" in capsys.readouterr().out
    assert PAGE.read_bytes() == before
    assert list(folder.iterdir()) == []
