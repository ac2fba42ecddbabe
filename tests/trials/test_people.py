"""The trials of what people approve and escalate hold in small, and are not blind."""

from pathlib import Path

import pytest

from trials import people
from windlass import Context, Pipeline, task


def test_what_is_approved_is_what_runs(tmp_path: Path) -> None:
    figures = people.approve_all(tmp_path, approved=80, kills=3)
    assert figures.passes, (figures.trouble, figures.reached)


def test_what_is_escalated_is_started_once(tmp_path: Path) -> None:
    figures = people.escalate_all(tmp_path, trials=2)
    assert figures.passes, (figures.trouble, figures.reached)


def test_where_nobody_is_killed_nothing_is_proved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people, "arm", lambda _: None)
    for figures in (people.escalate_all(tmp_path, trials=1), people.approve_all(tmp_path, approved=80, kills=1)):
        assert not any(figures.bad.values()), figures.trouble
        assert [what for what, times in figures.reached.items() if not times] == ["killed"]
        assert not figures.passes


def test_a_run_that_fails_after_what_was_approved_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was approved happens once, and the task fails behind it."""

    def filing(folder: Path) -> Pipeline:
        async def pay(note: str) -> int:
            with (folder / "paid").open("a") as file:
                file.write(f"{note}\n")
            return 1

        @task(id="files")
        async def files(note: str, ctx: Context) -> int:
            await ctx.effect("pay", pay, note, approve="role:cfo")
            raise ValueError("it never ends well")

        return Pipeline("filing", [files])

    monkeypatch.setattr(people, "filing", filing)
    monkeypatch.setattr(people, "arm", lambda _: None)
    figures = people.approve_all(tmp_path, approved=0, kills=1)
    assert figures.bad["stuck"] == 1
    assert figures.bad["twice or not"] == 0
    assert "failed" in figures.trouble[0]


def test_a_process_that_breaks_down_is_not_one_that_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(_: int) -> None:
        raise RuntimeError("it broke down")

    monkeypatch.setattr(people, "arm", breaks)
    figures = people.escalate_all(tmp_path, trials=1)
    assert figures.bad["stuck"] == 3
    assert figures.reached["killed"] == 0
