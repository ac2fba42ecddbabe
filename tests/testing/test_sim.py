"""The simulation as users have it: it explores, finds, shrinks, keeps, replays, enumerates, and says what is wrong."""

from pathlib import Path
from random import Random

import msgspec
import pytest
from msgspec import Raw
from msgspec.structs import replace

from windlass import Context, Pipeline, task
from windlass.core.errors import DefinitionError, DefinitionUnknown, InputError
from windlass.core.records import Command, Question
from windlass.stores import checks
from windlass.testing import sim
from windlass.testing.sim_scenes import SCENES
from windlass.testing.sim_tape import Tape

CALLS: list[int] = []


async def send(n: int) -> int:
    return n + 1


@task
async def first(n: int, ctx: Context) -> int:
    return int(await ctx.effect("send", send, n))


@task
async def second(first: int, ctx: Context) -> str:
    return str(await ctx.ask(f"{first}?", str))


mine = Pipeline("mine", [first, second])


def test_a_definition_of_ones_own_is_explored() -> None:
    report = sim.explore(mine, 1, schedules=40, answers=lambda question: question.prompt + "!")
    assert (report.schedules, report.violations) == (40, [])
    assert report.faults > 20
    assert report.reached["crash"]
    assert report.reached["effect completed"] >= 30


def test_a_definition_that_does_not_end_the_same_way_is_refused() -> None:
    @task
    async def counts(n: int) -> int:
        CALLS.append(n)
        return len(CALLS)

    with pytest.raises(DefinitionError, match="ended") as raised:
        sim.explore(Pipeline("counting", [counts]), 1, schedules=1)
    assert raised.value.code == "sim.differs"
    assert sim.explore(Pipeline("counting", [counts]), 1, schedules=3, same_output=False).violations == []


def test_a_seed_gives_the_same_schedule_each_time() -> None:
    def played(seed: int) -> bytes:
        return msgspec.json.encode(SCENES["effects"].play(Tape(dice=Random(f"effects{seed}"))))

    for seed in (57, 97, 109):  # in which several followers hear of one write
        assert len({played(seed) for _ in range(8)}) == 1


def test_what_is_broken_is_found_shrunk_kept_and_replayed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answer = checks.answer

    # It is open once more: no compare-and-set.
    def always(command: Command, asked: Question | None, value: Raw, now: float) -> Question | None:
        return answer(command, asked and replace(asked, status="open"), value, now)

    with monkeypatch.context() as patched:
        patched.setattr(checks, "answer", always)
        report = sim.search(SCENES["question"], range(5))
        assert report.violations
        least = sim.smallest(SCENES["question"], report.violations[0])
        assert len(least.tape) <= len(report.violations[0].tape)
        assert sim.replay(least).trouble == least.what
        path = tmp_path / "least.json"
        path.write_bytes(msgspec.json.encode(least))
        assert sim.main(["replay", str(path)]) == 1
    assert sim.main(["replay", str(path)]) == 0
    assert sim.replay(sim.load(path)).trouble == []


def test_tapes_and_scenes_that_do_not_exist_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        sim.load(tmp_path / "none.json")
    path = tmp_path / "torn.json"
    path.write_text('{"scene": "effects", "tape": ["a"]')
    with pytest.raises(InputError, match="no tape"):
        sim.load(path)
    with pytest.raises(DefinitionUnknown, match="no scene 'nothing'"):
        sim.replay(sim.Violation("nothing", [], []))
    assert sim.main(["replay", str(path)]) == 2
    assert sim.main(["search", "nothing"]) == 2
    assert "no scene" in capsys.readouterr().err


def test_a_small_scope_is_gone_through_whole() -> None:
    report = sim.enumerate_schedules(SCENES["brief"], faults=1, disorder=0)
    assert report.violations == []
    assert report.schedules > 200
    assert report.reached["crash between call and record"]
    assert sim.enumerate_schedules(SCENES["brief"], faults=1, disorder=0, most=7).schedules == 7


def test_the_command_line_searches(capsys: pytest.CaptureFixture[str]) -> None:
    assert sim.main(["search", "timer", "--schedules", "3"]) == 0
    assert msgspec.json.decode(capsys.readouterr().out)["schedules"] == 3
