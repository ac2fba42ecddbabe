"""Wake-ups: who waits for news of a run is told at once by this process, and within milliseconds by others.

A wake-up is a hint and may be false or doubled; whoever is woken reads the store. News from other processes is
noticed by polling the store's version while anyone listens (D40).
"""

import asyncio
from collections.abc import Callable
from typing import Self

from windlass.core.clock import Seams
from windlass.stores.base import Store

POLL_SECONDS, IDLE_POLL_SECONDS = 0.010, 0.050  # while a follower waits, and while only owners listen (D40)


class Notifier:
    """One process's ear for changes in a store."""

    def __init__(self, store: Store, seams: Seams) -> None:
        self.store = store
        self.seams = seams
        self._ears: dict[str, dict[Callable[[], None], None]] = {}  # called in the order in which they came
        self._version = 0
        self._waiting = 0
        self._watch: asyncio.Task[None] | None = None

    def listen(self, run: str, ear: Callable[[], None]) -> None:
        """Call `ear` after each change of the run; `!run` is for commands to its owner."""
        self._ears.setdefault(run, {})[ear] = None
        if self._watch is None or self._watch.done():
            self._version = self.store.version()
            self._watch = self.seams.spawn(self._poll(), "watch the store")

    def forget(self, run: str, ear: Callable[[], None]) -> None:
        """Stop calling `ear`."""
        ears = self._ears.get(run, {})
        ears.pop(ear, None)
        if not ears:
            self._ears.pop(run, None)

    def wake(self, run: str) -> None:
        """Tell whoever listens to the run, in this process."""
        for ear in tuple(self._ears.get(run, ())):
            ear()

    async def _poll(self) -> None:
        while self._ears:
            await self.seams.clock.sleep(POLL_SECONDS if self._waiting else IDLE_POLL_SECONDS)
            version = self.store.version()
            if version != self._version:
                self._version = version
                for run in tuple(self._ears):
                    for ear in tuple(self._ears.get(run, ())):
                        ear()

    def close(self) -> None:
        """Stop watching."""
        self._ears.clear()
        if self._watch is not None:
            self._watch.cancel()


class Ear:
    """Wait for the next change of a run, without missing one between two waits."""

    def __init__(self, notifier: Notifier, run: str) -> None:
        self.notifier = notifier
        self.run = run
        self._news = asyncio.Event()

    def __enter__(self) -> Self:
        """Begin to listen."""
        self.notifier.listen(self.run, self._news.set)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening."""
        self.notifier.forget(self.run, self._news.set)

    async def changed(self) -> None:
        """Return when something changed since the last call."""
        self.notifier._waiting += 1  # noqa: SLF001 -- the two are one mechanism
        try:
            await self._news.wait()
        finally:
            self.notifier._waiting -= 1  # noqa: SLF001
        self._news.clear()
