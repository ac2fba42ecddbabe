"""A power cut at any moment: what was acknowledged is in the file, and the file opens without help.

A layer below SQLite records every write and sync. For a cut, what a file held at its last sync stands; of what came
after it the disk may have any part, in any order, torn at sectors. A name that was made or removed since the folder's
last sync may be there or not. After a sync that failed, the pages that it was for may be on the disk or not, whatever a
later sync says, until they are written again. Each such image is opened by the store and judged.
"""

import asyncio
import logging
import pickle
import shutil
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import apsw
from msgspec import Struct, field

from trials.disk_scenes import Heard, Quiet, Scene, Tell, Told, finish, judge
from trials.figures import Figures, Trial
from windlass import Runtime
from windlass.core.errors import StoreError, StoreUnavailable
from windlass.core.queries import Runs
from windlass.stores import sqlite_file, sqlite_writer
from windlass.stores.sqlite_start import keep_log
from windlass.testing.crash_forks import fork, lanes
from windlass.testing.disk import Call, Disk, beside_sqlite
from windlass.testing.specimens import a_command, a_record, a_row, a_write, an_item, an_owner

PAGE = 4096  # what the kernel writes back, or drops after a failed sync
SECTORS = (512, PAGE)
STYLES = ("all", "none", "first", "some", "torn")
SHORT_WAL = 90_000  # bytes that a WAL is lengthened to here: images stay small
ROUNDS = 45
LANES = 2
RESUMED = 20  # one image of so many is also played to its end
BATCH = 50  # images that one process makes at a time
NAME = "r.db"


class Recorder(Disk):
    """Writes down what is asked; syncs are not done, and some of them fail.

    A sync that failed is told once to each who had the file open then, as Linux does since 4.13: whoever opens it later
    hears nothing of it.

    Args:
        failing: every so-manieth sync fails; 0 for none.
    """

    def __init__(self, log: "list[Call | str]", failing: int = 0) -> None:
        super().__init__("recorder", is_default=True)
        self.log = log
        self.failing = failing
        self.syncs = 0
        self.untold: dict[str, set[int]] = {}  # file's name → those who have not heard yet of a sync that failed
        self.open: dict[str, set[int]] = {}

    def meet(self, call: Call, do: Callable[..., object]) -> None:
        """Write it down, and do it unless it is a sync.

        Raises:
            apsw.IOError: this sync is to fail.
        """
        if call.what == "read" or not call.name:
            do()
            return
        if call.what == "open":
            self.open.setdefault(call.name, set()).add(call.file)
        elif call.what == "delete":
            self.open.pop(call.name, None)
            self.untold.pop(call.name, None)
        if call.what != "sync":
            self.log.append(call)
            do()
            return
        self.syncs += 1
        fails = bool(self.failing) and self.syncs > self.failing and self.syncs % self.failing == 0
        if fails:
            self.untold[call.name] = set(self.open[call.name])
        untold = self.untold.get(call.name, set())
        self.log.append(call._replace(place=int(fails)))
        if call.file not in untold:
            return
        untold.discard(call.file)
        self.log.append(f"failed {call.name}")
        raise apsw.IOError("the disk fails to sync")


class Inode(Struct):
    """A file as the kernel and the disk have it.

    Args:
        disk: what a sync has made durable.
        view: what the process sees.
        dirty: writes and truncates since the last sync.
        dropped: pages of a sync that failed: number → what should be there.
    """

    disk: bytearray = field(default_factory=bytearray)
    view: bytearray = field(default_factory=bytearray)
    dirty: list[Call] = field(default_factory=list)
    dropped: dict[int, bytes] = field(default_factory=dict)
    is_named: bool = False

    def change(self, call: Call) -> None:
        """Write or truncate, in memory."""
        apply(self.view, call)
        self.dirty.append(call)

    def sync(self, *, fails: bool) -> None:
        """Bring what is dirty to the disk, page by page, or lose sight of it."""
        touched = {page for call in self.dirty for page in pages(call)}
        for call in self.dirty:
            if call.what == "truncate" and not fails:
                apply(self.disk, call)
        for page in touched:
            content = bytes(self.view[page * PAGE : (page + 1) * PAGE])
            if fails:
                self.dropped[page] = content
            else:
                self.dropped.pop(page, None)
                put(self.disk, page * PAGE, content)
        if not fails:
            self.dropped = {page: content for page, content in self.dropped.items() if page * PAGE < len(self.view)}
        self.dirty.clear()

    def left(self, dice: Random) -> bytearray:
        """Return what the disk may have after a cut."""
        content = bytearray(self.disk)
        for page, dropped in self.dropped.items():
            if dice.random() < 0.5:
                put(content, page * PAGE, dropped)
        style, sector = dice.choice(STYLES), dice.choice(SECTORS)
        first = dice.randrange(len(self.dirty) + 1)
        for place, call in enumerate(self.dirty):
            whole = style == "all" or (style == "first" and place < first) or (style == "some" and dice.random() < 0.5)
            if whole:
                apply(content, call)
            elif style == "torn" or (style == "first" and place == first):
                for part in sectors(call, sector):
                    if dice.random() < 0.5:
                        apply(content, part)
        return content


def put(content: bytearray, place: int, data: bytes) -> None:
    """Write, with zeros before it where the file was shorter."""
    content.extend(bytes(max(0, place - len(content))))
    content[place : place + len(data)] = data


def apply(content: bytearray, call: Call) -> None:
    """Do a write or a truncate."""
    if call.what == "truncate":
        del content[call.place :]
    else:
        put(content, call.place, call.content)


def pages(call: Call) -> range:
    """Return the numbers of the pages that a write touches."""
    return range(call.place // PAGE, (call.place + len(call.content) - 1) // PAGE + 1) if call.content else range(0)


def sectors(call: Call, size: int) -> Iterator[Call]:
    """Cut a write at the sectors of the disk."""
    at, end = call.place, call.place + len(call.content)
    while at < end:
        stop = min(end, (at // size + 1) * size)
        yield call._replace(place=at, content=call.content[at - call.place : stop - call.place])
        at = stop
    if call.what == "truncate":
        yield call


class Folder(Struct):
    """Names, each with what it has stood for since the folder was last synced; the last is what it stands for now."""

    names: dict[str, list[Inode | None]] = field(default_factory=dict)

    def take(self, call: Call) -> None:
        """Do what was recorded."""
        states = self.names.setdefault(call.name, [None])
        if call.what == "delete":
            states.append(None)
            if call.place:
                self.sync()
            return
        if states[-1] is None:
            states.append(Inode())
        inode = states[-1]
        assert inode is not None
        if call.what == "sync":
            inode.sync(fails=bool(call.place))
            # SQLite syncs the folder when it has made a log or a journal.
            if not inode.is_named and call.name.endswith(("-wal", "-journal")):
                inode.is_named = True
                self.sync()
        elif call.what != "open":
            inode.change(call)

    def sync(self) -> None:
        """Make names durable."""
        for states in self.names.values():
            del states[:-1]

    def left(self, dice: Random) -> dict[str, bytearray]:
        """Return what a cut may leave."""
        chosen = {name: states[-1 if dice.random() < 0.5 else dice.randrange(len(states))]
                  for name, states in self.names.items()}  # fmt: skip
        return {name: inode.left(dice) for name, inode in chosen.items() if inode is not None}


async def script(url: str, tell: Tell, pace: float) -> None:
    """Play the script of the sweep."""
    scene = Scene(tell)
    store = Told(url, tell, slow=pace)
    await store.open()
    async with Runtime(store, scene.definitions) as runtime:
        await scene.play(runtime)
    await store.close()


async def crowd(url: str, tell: Tell) -> None:
    """Let two stores write to one file by turns, with leases, commands and items, while somebody reads for long.

    A write that is refused is made anew, as an engine would.
    """
    stores = [Told(url, tell, pages=25) for _ in range(2)]
    owner, reader = an_owner(), None
    for turn in range(ROUNDS):
        for place, store in enumerate(stores):
            with suppress(StoreUnavailable):
                await store.open()
                await store.renew(owner)
                await one_more(store, f"run-{place}", turn)
            if turn % 11 == 10:
                with suppress(StoreUnavailable):
                    await store.close()
                stores[place] = Told(url, tell, pages=25)
        if turn % 20 == 12:
            reader = apsw.Connection(url.removeprefix("sqlite:///"))
            reader.execute("BEGIN; SELECT count(*) FROM runs").fetchall()
        if reader is not None and turn % 20 == 17:
            reader.close()
    for store in stores:
        with suppress(StoreUnavailable):
            await store.close()


async def mortal(url: str, tell: Tell) -> None:
    """Let one process after the other write to a file; each dies of its first refusal, with the log as it is."""
    store = Told(url, tell, pages=25)
    for turn in range(2 * ROUNDS):
        try:
            await store.open()
            await store.renew(an_owner())
            await one_more(store, "run-0", turn)
        except StoreUnavailable:
            die(store)
            store = Told(url, tell, pages=25)
    with suppress(StoreUnavailable):
        await store.close()


def die(store: Told) -> None:
    """Let go of a store as a process does that is killed."""
    links = (store._writer.link, store._beside, store._heartbeat)
    for link in (link for link in links if link is not None):
        keep_log(link)
        link.close()
    if store._anchor is not None:
        store._anchor._let_go()


async def one_more(store: Told, run: str, turn: int) -> None:
    """Add a row to a run, and something beside it now and then."""
    owner = an_owner()
    found = await store.find(Runs(ids=(run,)))
    if not found:
        await store.create(a_record(run), a_write(run), owner)
        return
    head = found[0].head.seq
    body = b'{"at":1,"said":"%s"}' % (b"%d" % turn * (2_000 if turn % 5 == 0 else 40))
    await store.commit(a_write(run, after=head, rows=[a_row(run, head + 1, body=body)]))
    if turn % 3 == 0:
        await store.append_items(run, 1, [an_item(run, turn)])
    if turn % 4 == 0:
        await store.post(a_command(run, f"{run}-{turn}"))


RECORDINGS: dict[str, tuple[Callable[[str, Tell], Coroutine[Any, Any, None]], int]] = {
    "script": (partial(script, pace=1_000.0), 0),
    "script on a thread": (partial(script, pace=0.0), 0),
    "crowd": (crowd, 0),
    "crowd, every 5th sync fails": (crowd, 5),
    "crowd, every 13th sync fails": (crowd, 13),
    "one after the other, every 7th sync fails": (mortal, 7),
    "one after the other, every 12th sync fails": (mortal, 12),
}


def recorded(folder: Path, name: str, synchronous: str = "FULL") -> "list[Call | str]":
    """Do it once and return all that was asked of the disk, and all that was said."""
    settings = tuple(setting.replace("= FULL", f"= {synchronous}") for setting in sqlite_file.SETTINGS)
    work, failing = RECORDINGS[name]
    log: list[Call | str] = []
    kept = folder / "log"

    def child(_: Tell) -> None:
        logging.disable()
        with (
            Recorder(log, failing) as disk,
            beside_sqlite(disk),
            patch.object(sqlite_file, "SETTINGS", settings),
            patch.object(sqlite_file, "WAL_BYTES", SHORT_WAL),
            patch.object(sqlite_writer, "BUSY_SECONDS", 0.02),  # who reads for long reads on this thread
        ):
            asyncio.run(work(f"sqlite:///{folder}/{NAME}", log.append))
        kept.write_bytes(pickle.dumps(log))

    folder.mkdir()
    code = fork(child).end()
    assert code == 0, f"{name}: the process ended with {code}"
    log = pickle.loads(kept.read_bytes())
    shutil.rmtree(folder)
    return log


def images(log: "list[Call | str]", cuts: list[int], dice: Random) -> Iterator[tuple[int, dict[str, bytearray], Heard]]:
    """Return for each cut, in their order, what the disk may have and what was said until then."""
    folder, lines, at = Folder(), list[str](), 0
    for cut in sorted(cuts):
        for one in log[at:cut]:
            if isinstance(one, str):
                lines.append(one)
            else:
                folder.take(one)
        at = cut
        said = Heard()
        for line in lines:
            said.take(line)
        said.wrong.clear()  # what was said wrongly is told once for the recording
        yield cut, folder.left(dice), said


async def opened(place: Path, said: Heard, *, to_the_end: bool) -> list[tuple[str, str]]:
    """Open an image and compare; a store from before its first acknowledged write may be no store yet."""
    store = Told(f"sqlite:///{place}/{NAME}", said.take)
    try:
        await store.open()
        wrong = await judge(store, said)
        if to_the_end:
            wrong += await finish(store, said)
        await store.close()
    except StoreError as error:
        return [("does not open", f"{type(error).__name__}: {error}")]
    return wrong


@cache
def quiet() -> Disk:
    """Let this process wait for no disk from now on."""
    logging.disable()
    return Quiet("quiet", is_default=True)


def batch(folder: Path, name: str, log: "list[Call | str]", seed: str, number: int) -> dict[str, Any]:
    """Make and judge some images of one recording."""
    with beside_sqlite(quiet()):
        folder.mkdir(parents=True)
        found = asyncio.run(judged(folder, name, log, seed, number))
        shutil.rmtree(folder)
        return found


def lay(folder: Path, files: dict[str, bytearray]) -> None:
    """Put an image in the place of the one before."""
    for path in folder.iterdir():
        if path.name not in files:
            path.unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content)


async def judged(folder: Path, name: str, log: "list[Call | str]", seed: str, number: int) -> dict[str, Any]:
    """Make each image in the place of the one before, and judge it."""
    dice = Random(seed)
    cuts = [dice.randrange(1, len(log) + 1) for _ in range(number)]
    bad, kept = [], 0
    for count, (cut, files, said) in enumerate(images(log, cuts, dice)):
        lay(folder, files)
        kept += bool(said.kept)
        wrong = await opened(folder, said, to_the_end=count % RESUMED == 0 and name.startswith("script"))
        bad += [f"{what}: {name}, seed {seed}, cut {cut}: {where}" for what, where in wrong]
    return {"images": number, "kept": kept, "bad": bad}


def run(folder: Path, *, images: int = 2_000, seed: int = 6, synchronous: str = "FULL") -> Figures:
    """Cut the power so many times; with a `synchronous` that is too weak, something must be lost."""
    figures = Figures(reached={"an image with acknowledged writes": 0, "a sync failed": 0})
    logs = {name: recorded(folder / "recorded", name, synchronous) for name in RECORDINGS}
    for name, log in logs.items():
        said = Heard()
        for one in log:
            if isinstance(one, str):
                said.take(one)
                figures.reach("a sync failed", one.startswith("failed"))
        for what, where in said.wrong:
            figures.blame(what, f"{name}: {where}")
    figures.shown["calls"] = {name: len(log) for name, log in logs.items()}
    jobs = []
    for place, start in enumerate(range(0, images, BATCH)):
        name = list(logs)[place % len(logs)]
        size = min(BATCH, images - start)
        jobs.append(partial(batch, folder / str(place), name, logs[name], f"{seed}.{place}", size))
    for given in lanes(jobs, LANES):
        figures.trials += given["images"]
        figures.reach("an image with acknowledged writes", given["kept"])
        for line in given["bad"]:
            what, _, where = line.partition(": ")
            figures.blame(what, where)
    return figures


TRIALS = (
    Trial(
        "power",
        "F6, F10",
        "A power cut after any call of the disk, in any way that leaves unsynced writes: nothing acknowledged is lost.",
        run,
        {"images": 2_000},
        {"images": 100_000},
    ),
)
