"""The heartbeat renews in time, and at once when the time of day has jumped."""

from typing import Any

import pytest

from windlass.core.clock import Seams
from windlass.core.owner import this_process
from windlass.engine import lease
from windlass.engine.lease import JUMP_SECONDS, TICK_SECONDS, Heartbeat
from windlass.stores.base import RENEW_SECONDS
from windlass.stores.memory import MemoryStore
from windlass.testing.clock import ManualClock


class Counting(MemoryStore):
    renewed = 0

    async def renew(self, owner: Any) -> None:
        self.renewed += 1


class Script:
    """A stop signal that lets time pass as a script says, and then is set."""

    def __init__(self, clock: ManualClock, ticks: list[tuple[float, float]]) -> None:
        self.clock, self.ticks = clock, ticks

    def wait(self, seconds: float) -> bool:
        assert seconds == TICK_SECONDS
        if not self.ticks:
            return True
        passed, jumped = self.ticks.pop(0)
        self.clock.advance(passed)
        self.clock.jump(jumped)
        return False


@pytest.mark.parametrize(
    ("ticks", "renewed"),
    [
        ([(TICK_SECONDS, 0)] * 20, 0),
        ([(RENEW_SECONDS, 0)] * 3, 3),
        ([(TICK_SECONDS, 86_400), (TICK_SECONDS, 0)], 1),
        ([(TICK_SECONDS, -3_600), (TICK_SECONDS, 3_600)], 2),
        ([(TICK_SECONDS, JUMP_SECONDS / 2)] * 4, 0),
    ],
)
def test_a_lease_is_renewed_in_time_and_after_a_jump(
    monkeypatch: pytest.MonkeyPatch, ticks: list[tuple[float, float]], renewed: int
) -> None:
    clock, store, looks = ManualClock(), Counting(), list[int]()
    monkeypatch.setattr(lease, "Signal", lambda: Script(clock, list(ticks)))
    Heartbeat(store, Seams(clock=clock), this_process(), lambda: looks.append(1))._beat()
    assert store.renewed == renewed
    assert len(looks) == len(ticks)


def test_a_failure_is_counted_and_the_beat_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock()
    monkeypatch.setattr(lease, "Signal", lambda: Script(clock, [(RENEW_SECONDS, 0.0)] * 3))
    heartbeat = Heartbeat(MemoryStore(), Seams(clock=clock), this_process(), lambda: None)  # the store is not open
    heartbeat._beat()
    assert heartbeat.failures == 3
