"""A power cut of a real file system, and a real disk that is full: ext4 and tmpfs, mounted for the trial.

`FS_IOC_SHUTDOWN` takes a file system away in the middle of its work: what it has not written stays unwritten, its
journal as far as it has not been written, too. Then it is mounted again. Where nobody may mount, nothing is tried: the
figures say `skipped` and why, and count no trial.
"""

import asyncio
import fcntl
import logging
import os
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

from trials.disk_scenes import PATIENCE, Scene, Tell, Told, judge_apart
from trials.figures import Figures, Trial
from windlass import Runtime
from windlass.core.errors import StoreUnavailable
from windlass.testing.crash_forks import fork

SHUTDOWN = 0x8004587D  # FS_IOC_SHUTDOWN: _IOR('X', 125, __u32), linux/fs.h
WITH_LOG, WITHOUT_LOG = 1, 2  # whether the journal is written before
IMAGE_BYTES = 32 << 20
LARGE = "size=64m"
LINES = 55  # acknowledgements among which the cut falls


class CannotMount(Exception):
    """Nobody may mount here."""


def do(*words: str) -> None:
    """Run a command of the system.

    Raises:
        CannotMount: it is not there or refuses.
    """
    try:
        subprocess.run(words, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise CannotMount(f"there is no {words[0]}") from error
    except subprocess.CalledProcessError as error:
        raise CannotMount(f"{words[0]}: {error.stderr.strip()}") from error


@contextmanager
def mounted(place: Path, *words: str) -> Iterator[None]:
    """Mount something for a while."""
    do("mount", *words, str(place))
    try:
        yield
    finally:
        do("umount", str(place))


def refuse_elsewhere() -> None:
    """Refuse where nobody may mount.

    Raises:
        CannotMount: another system, or another user.
    """
    if sys.platform != "linux":
        raise CannotMount(f"{sys.platform} has neither loop mounts nor FS_IOC_SHUTDOWN")
    if os.geteuid() != 0:
        raise CannotMount("only root may mount")


def cut(place: Path, flag: int) -> None:
    """Take the file system away."""
    folder = os.open(place, os.O_RDONLY)
    try:
        fcntl.ioctl(folder, SHUTDOWN, struct.pack("I", flag))
    finally:
        os.close(folder)


def played(url: str) -> Callable[[Tell], None]:
    """Return what a process does whose disk goes away: it must end with a typed error."""

    async def play(tell: Tell) -> None:
        scene = Scene(tell)
        store = Told(url, tell)
        await store.open()
        async with Runtime(store, scene.definitions) as runtime:
            await scene.play(runtime)
        await store.close()

    def child(tell: Tell) -> None:
        logging.disable()
        try:
            asyncio.run(play(tell))
        except StoreUnavailable:
            tell("refused")
        except Exception as error:  # noqa: BLE001 -- whatever else reaches a user is what is looked for
            tell(f"wrong untyped {type(error).__name__}: {error}")

    return child


def one_cut(figures: Figures, image: Path, place: Path, number: int, dice: Random) -> None:
    """Play, cut after some acknowledgement, mount again and judge."""
    url, flag, after = f"sqlite:///{place}/{number}.db", dice.choice((WITH_LOG, WITHOUT_LOG)), dice.randrange(LINES)
    lines: list[str] = []
    with mounted(place, "-o", "loop", str(image)):
        child = fork(played(url))
        while sum(line.startswith("kept") for line in lines) < after and (line := child.hear()):
            lines.append(line)
        cut(place, flag)
        code = child.end(PATIENCE)
        lines += child.rest()
    figures.trials += 1
    if code == 0 and "refused" in lines:
        figures.reach("a typed error on the dead disk")
    elif code == -signal.SIGBUS:  # a page that is mapped cannot be written: there is nobody left to tell
        figures.shown["ended by SIGBUS"] = figures.shown.get("ended by SIGBUS", 0) + 1
    elif code != 0:
        figures.blame("ended", f"cut {number}: with {code}")
    figures.reach("a cut amid acknowledged writes", any(line.startswith("kept") for line in lines))
    with mounted(place, "-o", "loop", str(image)):
        for what, where in judge_apart(url, lines):
            figures.blame(what, f"cut {number} after {after}, flag {flag}: {where}")
        for path in place.glob(f"{number}.db*"):
            path.unlink()


def run_cuts(folder: Path, *, cuts: int = 3, seed: int = 8) -> Figures:
    """Cut so many times."""
    figures = Figures(reached={"a cut amid acknowledged writes": 0, "a typed error on the dead disk": 0})
    image, place = folder / "image", folder / "place"
    try:
        refuse_elsewhere()
        with image.open("wb") as file:
            file.truncate(IMAGE_BYTES)
        do("mkfs.ext4", "-q", "-F", str(image))
        place.mkdir()
        dice = Random(seed)
        for number in range(cuts):
            one_cut(figures, image, place, number, dice)
    except CannotMount as error:
        return Figures(shown={"skipped": str(error)})
    return figures


async def fill(url: str, place: Path, tell: Tell) -> None:
    """Play; whenever the disk is full, read, make room and go on."""
    scene = Scene(tell)
    store = Told(url, tell)
    for _ in range(2):
        try:
            await store.open()
            async with Runtime(store, scene.definitions) as runtime:
                try:
                    await scene.play(runtime)
                except StoreUnavailable:
                    tell("refused")
                    for record in await runtime.runs():
                        await runtime.history(record.id)
                    tell("read")
                    do("mount", "-o", f"remount,{LARGE}", str(place))
                    await scene.play(runtime)
                    tell("went-on")
        except StoreUnavailable:  # at opening or at closing
            tell("refused")
            do("mount", "-o", f"remount,{LARGE}", str(place))
        else:
            tell("done")
            break
    with suppress(StoreUnavailable):
        await store.close()


def filled(url: str, place: Path) -> Callable[[Tell], None]:
    """Return what a process does on a disk that gets full."""

    def child(tell: Tell) -> None:
        logging.disable()
        try:
            asyncio.run(fill(url, place, tell))
        except Exception as error:  # noqa: BLE001 -- whatever else reaches a user is what is looked for
            tell(f"wrong untyped {type(error).__name__}: {error}")

    return child


def run_full(folder: Path, *, disks: int = 6, seed: int = 9) -> Figures:
    """Fill so many disks, of each of which another part is free."""
    figures = Figures(reached={"refused": 0, "read": 0, "went-on": 0})
    place, dice = folder / "place", Random(seed)
    try:
        refuse_elsewhere()
        place.mkdir()
        for number in range(disks):
            pages = dice.choice((dice.randrange(1, 30), dice.randrange(30, 90), dice.randrange(40, 90)))
            with mounted(place, "-t", "tmpfs", "-o", f"size={4 * pages}k", "none"):
                url = f"sqlite:///{place}/r.db"
                child = fork(filled(url, place))
                code = child.end(PATIENCE)
                lines = child.rest()
                figures.trials += 1
                if code != 0 or "done" not in lines:
                    figures.blame("stuck", f"{pages} pages: ended with {code} after {lines[-2:]}")
                for word in ("refused", "read", "went-on"):
                    figures.reach(word, lines.count(word))
                do("mount", "-o", f"remount,{LARGE}", str(place))
                for what, where in judge_apart(url, lines):
                    figures.blame(what, f"disk {number} of {pages} pages: {where}")
    except CannotMount as error:
        return Figures(shown={"skipped": str(error)})
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return figures


TRIALS = (
    Trial(
        "shutdown",
        "F6",
        "ext4 is taken away amid writes and mounted again: nothing acknowledged is lost.",
        run_cuts,
        {"cuts": 3},
        {"cuts": 100},
    ),
    Trial(
        "full",
        "F8",
        "A tmpfs gets full: a typed error, reads go on, the run ends once there is room.",
        run_full,
        {"disks": 6},
        {"disks": 100},
    ),
)
