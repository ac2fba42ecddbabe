"""Every store against the shipped suite, and against the model: what fails is a promise that a store does not keep.

The checks are called here without pytest, in this process, so that a product that was broken on purpose is seen.
"""

import asyncio
import inspect
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from trials.figures import Figures, Trial
from windlass.core.clock import Clock
from windlass.stores.base import Store
from windlass.stores.memory import MemoryStore
from windlass.stores.sqlite import SQLiteStore
from windlass.testing.conformance import StoreConformance, checks
from windlass.testing.mirror import UNLIKE, MirrorStore
from windlass.testing.specimens import HandClock
from windlass.testing.stateful import Make, machine

MAKERS: dict[str, Make] = {
    "memory": lambda clock, _: MemoryStore(clock=clock),
    "sqlite": lambda clock, folder: SQLiteStore(f"sqlite:///{folder / 'runs.db'}", clock=clock),
    "sqlite on its thread": lambda clock, folder: SQLiteStore(f"sqlite:///{folder / 't.db'}", clock=clock, slow=0),
    "sqlite in memory": lambda clock, _: SQLiteStore("sqlite:///:memory:", clock=clock),
    "mirror": lambda clock, folder: MirrorStore(MAKERS["memory"](clock, folder), MAKERS["sqlite"](clock, folder)),
}
STUCK_SECONDS = 15.0  # a check takes a second at most


class Suite(StoreConformance):
    """The suite, for a store that is given."""

    def __init__(self, maker: Make) -> None:
        self.maker = maker

    def make(self, clock: Clock, folder: Path) -> Store:
        return self.maker(clock, folder)  # type: ignore[arg-type]  # every check has a HandClock


def cases(check: Callable[..., Any]) -> Iterator[dict[str, Any]]:
    """Give the arguments of each of a check's cases, as its marks say."""
    found: list[dict[str, Any]] = [{}]
    for mark in getattr(check, "pytestmark", []):
        if mark.name == "parametrize":
            names = mark.args[0].split(",") if isinstance(mark.args[0], str) else list(mark.args[0])
            rows = [row if len(names) > 1 else (row,) for row in mark.args[1]]
            given = [dict(zip((name.strip() for name in names), row, strict=True)) for row in rows]
            found = [{**one, **other} for one in found for other in given]
    yield from found


async def tried(suite: Suite, check: str, case: dict[str, Any], folder: Path) -> None:
    """Do a check on a new store."""
    folder.mkdir(parents=True)  # noqa: ASYNC240 -- nobody else runs on this loop
    clock = HandClock()
    store = suite.make(clock, folder)
    await store.open()
    try:
        given = {"store": store, "clock": clock, "tmp_path": folder, **case}
        bound = getattr(suite, check)
        async with asyncio.timeout(STUCK_SECONDS):
            await bound(**{name: given[name] for name in inspect.signature(bound).parameters})
    finally:
        await store.close()


def conform(folder: Path, stores: list[str] | None = None, rest: str = "") -> Figures:
    """Do every check on every store.

    Args:
        rest: a store that gets only what did not apply to another before it: its other checks are run by the tests.
    """
    figures = Figures(bad={"broken": 0}, shown={"checks": len(checks())})
    left: set[str] = set()
    for name in stores or MAKERS:
        suite, skipped = Suite(MAKERS[name]), 0
        for n, check in enumerate(checks()):
            if name == rest and check not in left:
                continue
            if name == "mirror" and check in UNLIKE:
                skipped += 1
                continue
            for m, case in enumerate(cases(getattr(Suite, check))):
                try:
                    asyncio.run(tried(suite, check, case, folder / name.replace(" ", "-") / f"{n}-{m}"))
                except pytest.skip.Exception:
                    skipped += 1
                    left.add(check)
                    continue
                except BaseException as error:  # noqa: BLE001 -- pytest's failures are no Exceptions
                    told = traceback.format_exception_only(error)[-1].strip().partition("\n")[0]
                    figures.blame("broken", f"{name}: {check} {case or ''}: {told:.200}")
                figures.trials += 1
        figures.shown[f"{name}: does not apply"] = skipped
    return figures


def model(folder: Path, examples: int, steps: int, stores: tuple[str, ...] = ("memory", "sqlite")) -> Figures:
    """Let hypothesis look for a series of calls in which a store and the model differ."""
    figures = Figures(bad={"differs": 0}, shown={"steps": examples * steps * len(stores)})
    for name in stores:
        chosen = settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, database=None, derandomize=True,
            suppress_health_check=list(HealthCheck), phases=[Phase.generate],
        )  # fmt: skip
        try:
            run_state_machine_as_test(machine(MAKERS[name]), settings=chosen)
        except BaseException as error:  # noqa: BLE001 -- whatever it is, it is a difference
            figures.blame("differs", f"{name}: {type(error).__name__}: {error!s:.300}")
        figures.trials += examples
    return figures


TRIALS = (
    Trial(
        "conform", "F10 F17 F33 F41 F53 F54",
        "Every check of the shipped suite on every store; a check that fails is a promise that the store does not keep",
        conform, short={"stores": ["memory", "sqlite in memory", "sqlite"], "rest": "sqlite"}, long={},
    ),
    Trial(
        "model", "F17 F41", "Calls in any order, with reopening in between, on a store and on a model: any difference",
        model, short={"examples": 20, "steps": 30}, long={"examples": 200, "steps": 50},
    ),
)  # fmt: skip
