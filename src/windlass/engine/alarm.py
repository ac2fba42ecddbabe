"""The clocks of a run's attempts: one timer for all of them, as most attempts end long before their time is up."""

import asyncio
from collections.abc import Mapping
from math import inf

from windlass.core.clock import Clock
from windlass.engine.activation import Activation


class Alarm:
    """Stops attempts whose time is up: their whole time, or that between two signs of life."""

    def __init__(self, clock: Clock, running: Mapping[str, Activation]) -> None:
        self.clock = clock
        self.running = running
        self.at = inf  # monotonic time of the next look
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, activation: Activation) -> float:
        """Begin the clocks of an attempt; return when they stop it."""
        activation.signs = now = self.clock.monotonic()
        if activation.chain.timeout is not None:
            activation.until = now + activation.chain.timeout
        due = activation.due()
        if due < self.at:
            self._set(due, now)
        return due

    def _set(self, at: float, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.at = at
        self._timer = asyncio.get_running_loop().call_later(max(0.0, at - now), self._look)

    def _look(self) -> None:
        self.at, self._timer = inf, None
        now = self.clock.monotonic()
        for activation in tuple(self.running.values()):
            if activation.due() <= now:
                activation.stop("timeout" if activation.until <= now else "idle")
        due = min((activation.due() for activation in self.running.values()), default=inf)
        if due < inf:
            self._set(due, now)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
        self.at, self._timer = inf, None
