"""The ledger outlives whoever writes to it; a Target does what its kind says."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from windlass.core import crashpoint
from windlass.core.words import Happened
from windlass.testing.crash_world import HERE, Kill, Target, World, enter, read


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    yield enter(World(tmp_path / "ledger"))
    HERE.clear()
    crashpoint.on_reach = None


def test_a_torn_line_is_no_line_and_stays_apart(here: World) -> None:
    here.note("body", address="a#1")
    with here.path.open("a") as ledger:
        ledger.write('{"at": 1, "turn": 0, "ki')
    World(here.path, turn=1).note("done", address="a#1", value=[1])
    assert [(line.turn, line.kind, line.address, line.value) for line in read(here.path)] == [
        (0, "body", "a#1", None), (1, "done", "a#1", [1]),
    ]  # fmt: skip
    assert read(here.path.with_name("nothing")) == []


def test_labels_are_counted_and_told(here: World) -> None:
    crashpoint.crashpoint("effect.call.before")
    crashpoint.crashpoint("commit.after")
    crashpoint.crashpoint("commit.after")
    assert here.reached == {"effect.call.before": 1, "commit.after": 2}
    assert [line.kind for line in read(here.path)] == ["intended"]
    assert [str(kill) for kill in (Kill("commit.after", 2), Kill(seconds=0.25))] == ["commit.after 2", "after 0.2500 s"]


async def test_three_kinds_of_outside_systems(here: World) -> None:
    for kind, times in (("dedupes", 1), ("tells", 2), ("neither", 2)):
        target = Target(kind, kind)  # type: ignore[arg-type]
        assert [target.do(7, "key"), target.do(7, "key")] == [7, 7]
        lines = [line for line in read(here.path) if line.name == kind]
        assert [line.kind for line in lines] == ["did"] * times
        assert await target.verify(7, "key") == Happened(7)
        assert await target.verify(7, "other") is None
    assert [Target("t", kind).on_doubt for kind in ("dedupes", "neither")] == ["retry", "ask"]
    assert callable(Target("t", "tells").on_doubt)
