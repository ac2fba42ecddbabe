"""A fault at every call of the disk: the process is killed before, after or in the middle of it, or the disk fails.

The script of `disk_scenes` is run once to count its calls to the disk, then once for each call and each way to fail.
Syncs are counted and may fail, but are not done: a process that dies takes nothing with it that the kernel has.
"""

import asyncio
import logging
import os
import shutil
import signal
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import zip_longest
from pathlib import Path
from random import Random
from typing import Literal

import apsw
from msgspec import Struct

from trials.disk_scenes import PATIENCE, Scene, Tell, Told, judge_apart
from trials.figures import Figures, Trial
from windlass import Runtime
from windlass.core.errors import StoreError, StoreUnavailable
from windlass.testing.crash_forks import fork, lanes
from windlass.testing.disk import Call, Disk, What, beside_sqlite

Mode = Literal["kill", "killed after", "torn", "eio", "dead", "full"]
SWEPT: dict[Mode, tuple[What, ...]] = {
    "kill": ("write", "sync", "truncate", "delete", "store"),
    "killed after": ("write", "sync", "truncate", "delete", "store", "open"),
    "torn": ("write", "store"),
    "eio": ("write", "sync", "truncate", "delete", "open"),  # once
    "dead": ("write", "sync"),  # until it is mended
    "full": ("write",),  # until there is room
}
KILLS = ("kill", "killed after", "torn")
PACES = {"loop": 1_000.0, "thread": 0.0}  # where commits are done
MOST_REFUSALS = 5  # of one fault: a disk that was mended must not go on refusing
LANES = 2

Strike = Callable[[], dict[str, list[str]]]  # strikes once, and returns what was reached and what is bad


class Point(Struct, frozen=True):
    """Where a fault strikes.

    Args:
        nth: of the calls of this kind, from 1.
    """

    pace: str
    mode: Mode
    what: What
    nth: int


class Faulty(Disk):
    """Strikes at one call, and says what became of it; without a point it says every call."""

    def __init__(self, point: Point | None, tell: Tell) -> None:
        super().__init__("faulty", is_default=True)
        self.point = point
        self.tell = tell
        self.calls: Counter[str] = Counter()
        self.is_failing = False
        self.failed: set[int] = set()  # files of which a sync has failed, and to which nothing was written since

    def mend(self) -> None:
        """Be well from now on."""
        self.is_failing = False

    def meet(self, call: Call, do: Callable[..., object]) -> None:
        """Count, and strike when it is time.

        Raises:
            apsw.Error: as the point says.
        """
        if call.what == "read" or not call.name:
            do()
            return
        self.calls[call.what] += 1
        if self.point is None:
            self.tell(f"call {call.what}")
        elif call.what == self.point.what and self.calls[call.what] == self.point.nth:
            self.tell(f"struck {call.what} {call.name}")
            self._strike(self.point.mode, call, do)
        elif self.is_failing and self.point.mode in ("dead", "full") and call.what in SWEPT[self.point.mode]:
            self._fail(self.point.mode, call)
        if call.what == "open":
            self.tell(f"opened {call.name}")
        if call.what == "write" or (call.what == "truncate" and call.place == 0):
            self.failed.discard(call.file)
        if call.what != "sync":
            do()
            return
        if call.file in self.failed:
            self.tell(f"wrong synced-again {call.name}")

    def _strike(self, mode: Mode, call: Call, do: Callable[..., object]) -> None:
        if mode in KILLS:
            if mode == "torn":
                do(call.content[: len(call.content) // 2])
            elif mode == "killed after":
                do()
            os.kill(os.getpid(), signal.SIGKILL)
        self.is_failing = True
        self._fail(mode, call)

    def _fail(self, mode: Mode, call: Call) -> None:
        if call.what == "sync":
            self.failed.add(call.file)
            self.tell(f"unsynced {call.name}")
        error = apsw.FullError if mode == "full" else apsw.CantOpenError if call.what == "open" else apsw.IOError
        raise error(f"the disk fails to {call.what}")


async def live(url: str, pace: str, disk: Faulty) -> None:
    """Play the script; when the disk fails, read, have it mended and go on."""
    scene = Scene(disk.tell)
    for _ in range(MOST_REFUSALS):
        store = Told(url, disk.tell, slow=PACES[pace])
        try:
            await store.open()
            async with Runtime(store, scene.definitions) as runtime:
                await play(scene, runtime, disk)
            await store.close()
        except StoreUnavailable:
            disk.tell("refused")
            disk.mend()
            with suppress(StoreUnavailable):
                await store.close()
        else:
            disk.tell("done")
            return


async def play(scene: Scene, runtime: Runtime, disk: Faulty) -> None:
    """Play; a first refusal must leave reads working, and the runtime must go on when the disk is mended."""
    try:
        await scene.play(runtime)
    except StoreUnavailable:
        disk.tell("refused")
        try:
            for record in await runtime.runs():
                await runtime.history(record.id)
        except StoreError as error:
            disk.tell(f"wrong unreadable {error}")
        disk.mend()
        await scene.play(runtime)
        disk.tell("went-on")


def lived(folder: Path, pace: str, point: Point | None) -> Callable[[Tell], None]:
    """Return what a child process does."""

    def child(tell: Tell) -> None:
        logging.disable()
        with Faulty(point, tell) as disk, beside_sqlite(disk):
            try:
                asyncio.run(live(f"sqlite:///{folder}/r.db", pace, disk))
            except Exception as error:  # noqa: BLE001 -- whatever else reaches a user is what is looked for
                tell(f"wrong untyped {type(error).__name__}: {error}")

    return child


def tried(folder: Path, point: Point) -> dict[str, list[str]]:
    """Strike once and judge what is left: `reached`, and `bad` as `word: where`."""
    folder.mkdir()
    child = fork(lived(folder, point.pace, point))
    code = child.end(PATIENCE)
    lines = child.rest()
    words = [line.split(" ", 1)[0] for line in lines]
    reached = [f"{point.mode} {point.what}"] if "struck" in words else ["not reached"]
    reached += [word for word in ("refused", "went-on") if word in words]
    wrong = []
    if "struck" in words and code != (-signal.SIGKILL if point.mode in KILLS else 0):
        wrong.append(("ended", f"with {code}"))
    if point.mode not in KILLS and "done" not in words:
        wrong.append(("stuck", "the disk was mended"))
    wrong += judge_apart(f"sqlite:///{folder}/r.db", lines)
    shutil.rmtree(folder)
    return {"reached": reached, "bad": [f"{what}: {point}: {where}" for what, where in wrong]}


def counted(folder: Path, pace: str) -> Counter[str]:
    """Run the script unharmed and count its calls of each kind."""
    place = folder / f"counted-{pace}"
    place.mkdir()
    child = fork(lived(place, pace, None))
    child.end(PATIENCE)
    return Counter(line.split(" ")[1] for line in child.rest() if line.startswith("call "))


def spread(points: Sequence[Point], dice: Random, *, by_call: bool = True) -> Iterator[Point]:
    """Return all points in an order in which every mode comes early at each pace, and with each kind of call."""
    kinds = defaultdict(list)
    for point in points:
        kinds[point.mode, point.what if by_call else "", point.pace].append(point)
    for kind in kinds.values():
        dice.shuffle(kind)
    yield from (point for turn in zip_longest(*kinds.values()) for point in turn if point is not None)


def collect(figures: Figures, jobs: Sequence[Strike], calls: Mapping[str, Counter[str]], points: int) -> Figures:
    """Strike with each of these jobs, and put into the figures what came of it.

    Args:
        calls: of the disk, that were counted.
        points: how many there are in all.
    """
    for given in lanes(jobs, LANES):
        figures.trials += 1
        for word in given["reached"]:
            figures.reach(word)
        for line in given["bad"]:
            what, _, where = line.partition(": ")
            figures.blame(what, where)
    figures.shown["calls"] = {name: dict(found) for name, found in calls.items()}
    figures.shown["points in all"] = points
    figures.shown["not reached"] = figures.reached.pop("not reached", 0)
    return figures


def run(folder: Path, *, points: int = 0, seed: int = 3) -> Figures:
    """Strike at so many points, or at every one."""
    figures = Figures()
    calls = {pace: counted(folder, pace) for pace in PACES}
    every = [
        Point(pace, mode, what, nth)
        for pace in PACES
        for mode, kinds in SWEPT.items()
        for what in kinds
        for nth in range(1, calls[pace][what] + 1)
    ]
    chosen = list(spread(every, Random(seed)))[: points or None]
    for mode, kinds in SWEPT.items():
        figures.reached |= {f"{mode} {kind}": 0 for kind in kinds}
    figures.reached |= {"refused": 0, "went-on": 0}
    jobs = [partial(tried, folder / str(place), point) for place, point in enumerate(chosen)]
    return collect(figures, jobs, calls, len(every))


TRIALS = (
    Trial(
        "sweep",
        "F3, F8, F9, F10",
        "A kill, an I/O error or a full disk at each write and sync: nothing acknowledged is lost, the run goes on.",
        run,
        {"points": 150},
        {"points": 3_000},
    ),
)
