"""What every block of the conformance suite stands on: where a store is made, and which promises it gives."""

from pathlib import Path
from typing import Any, Self

import pytest
import pytest_asyncio

from windlass.core import crashpoint
from windlass.core.clock import Clock
from windlass.stores.base import Store
from windlass.testing.specimens import HandClock, a_record, a_write, an_owner

ME, TWO = an_owner(), an_owner("two")
WORDS = (  # names that mean something to SQL, JSON, globs, paths, shells or templates, and to careless comparisons
    *("it's", 'a"b', "a%", "a_", "A", "a", "aa", "a.b", "a b", "a\0b", "\0", "a\\", "\r\n", "\t", " ", "x" * 1_000),
    *("'; DROP TABLE runs; --", "' OR '1'='1", "1; DELETE FROM log", '") OR 1=1 --', "a||'b'", "$1", ":id", "?1", "%s"),
    *("$.a", "{}", "[]", "null", "true", "0", "00", "1e3", "NaN", "../x", "/", "*", "?", "[a]", "{{x}}"),
    *("é", "e\u0301", "ﬁ", "ß", "İ", "\u200b", "日本", "\U0001f680", "\uffff", "\U00010000"),
)
NO_TEXT = "a\ud800"  # a lone surrogate: a Python string that no text encoding holds


async def begun(store: Store, run: str = "run-1", **fields: Any) -> str:
    """Make a run that ME owns by epoch 1, with event 1."""
    await store.create(a_record(run, **fields), a_write(run), ME)
    return run


async def rows_of(store: Store, run: str = "run-1") -> list[tuple[int, int]]:
    """Return the events that a run's rows cover."""
    return [(row.first, row.last) for row in (await store.load(run)).rows]


def need(store: Store, flag: str) -> None:
    """Skip the check unless the store claims a capability."""
    if not getattr(store.capabilities, flag):
        pytest.skip(f"the store does not claim to be {flag}")


class Breakdown(Exception):
    """Something fails inside a store that is none of its own errors."""


class Fault:
    """Raise at the n-th time that the store reaches a label; a store without labels never gets there."""

    def __init__(self, label: str, nth: int = 1) -> None:
        self.label, self.left, self.was_met = label, nth, False

    def __enter__(self) -> Self:
        """Begin to wait for the label."""
        crashpoint.on_reach = self
        return self

    def __exit__(self, *_: object) -> None:
        """Stop waiting; skip the check if the store has no such label."""
        crashpoint.on_reach = None
        if not self.was_met:
            pytest.skip(f"the store has no crash point {self.label}")

    def __call__(self, label: str) -> None:
        """Raise if this is the place.

        Raises:
            Breakdown: it is.
        """
        if label == self.label:
            self.left -= 1
            if not self.left:
                self.was_met = True
                raise Breakdown(label)


class Place:
    """Where a check's store is made."""

    def make(self, clock: Clock, folder: Path) -> Store:
        """Make an empty store, not yet open."""
        raise NotImplementedError

    def again(self, clock: Clock, folder: Path) -> Store:
        """Make another store of what `make` made, not yet open; to be overridden where `make` empties the place."""
        return self.make(clock, folder)

    @pytest.fixture
    def clock(self) -> HandClock:
        """Give a clock that stands still until a check moves it."""
        return HandClock()

    @pytest_asyncio.fixture
    async def store(self, clock: HandClock, tmp_path: Path) -> Any:
        """Give an open store."""
        store = self.make(clock, tmp_path)
        await store.open()
        yield store
        await store.close()
