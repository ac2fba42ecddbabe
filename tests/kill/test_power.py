"""A power cut at any moment: what was acknowledged is in the file, and the file is whole.

A layer below SQLite records every write and sync of a run. For a cut, what came before a file's last sync stands, and
of what came after it any part, torn at sectors: that is what a disk may leave. Each such image is opened and checked.
"""
# ruff: noqa: ASYNC240 -- nothing else runs on the loop of these tests

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypedDict

import apsw
import pytest

from windlass import END, Context, Graph, Runtime, append
from windlass.core.errors import StoreError
from windlass.stores.sqlite import SQLiteStore

SECTOR = 512
IMAGES = 120
STEPS = 12


class Happened(NamedTuple):
    """One operation on a file, or `acknowledged` with the number of the run's last event."""

    what: str
    name: str = ""
    place: int = 0
    content: bytes = b""


class RecordingFile(apsw.VFSFile):
    """A file of a RecordingDisk."""

    def __init__(self, disk: "RecordingDisk", name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self.disk = disk
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self.name = Path(path).name if path else ""
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self.disk.log.append(Happened("write", self.name, offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        self.disk.log.append(Happened("truncate", self.name, newsize))
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self.disk.log.append(Happened("sync", self.name))
        super().xSync(flags)


class RecordingDisk(apsw.VFS):
    """Writes down all that happens to its files."""

    def __init__(self) -> None:
        self.log: list[Happened] = []
        super().__init__("recording", "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return RecordingFile(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        self.log.append(Happened("delete", Path(filename).name))
        super().xDelete(filename, syncdir)


@contextmanager
def recording() -> Iterator[RecordingDisk]:
    """Register the disk for as long as a test runs."""
    disk = RecordingDisk()
    yield disk
    disk.unregister()


class Recorded(SQLiteStore):
    """Writes down what it has acknowledged."""

    def __init__(self, url: str, disk: RecordingDisk) -> None:
        super().__init__(url, vfs="recording")
        self.disk = disk

    async def create(self, record: Any, first: Any, owner: Any) -> None:
        await super().create(record, first, owner)
        self.disk.log.append(Happened("acknowledged", place=first.head.seq))

    async def commit(self, write: Any) -> None:
        await super().commit(write)
        self.disk.log.append(Happened("acknowledged", place=write.head.seq))


class State(TypedDict):
    """Channels of the loop."""

    n: int
    log: Annotated[list[str], append]


async def act(n: int) -> int:
    """Do something."""
    return n


def loop() -> Graph:
    """A run of twelve steps, some of them long."""
    graph = Graph("loop", State)

    @graph.node(writes=["n", "log"])
    async def step(n: int, ctx: Context) -> dict[str, object]:
        await ctx.call("act", act, n)
        await ctx.effect("act", act, n)
        return {"n": n + 1, "log": ["x" * (100 if n % 3 else 9_000)]}

    def more(n: int) -> str:
        return END if n > STEPS else "step"

    graph.start(step)
    graph.branch(step, more, [step, END])
    return graph


async def recorded(folder: Path, disk: RecordingDisk, synchronous: str) -> list[Happened]:
    """Run it, with the write-ahead log copied into the file now and then."""
    store = Recorded(f"sqlite:///{folder}/r.db", disk)
    await store.open()
    store._main().execute("PRAGMA wal_autocheckpoint = 12")
    store._main().execute(f"PRAGMA synchronous = {synchronous}")
    async with Runtime(store) as runtime:
        assert (await runtime.run(loop(), {"n": 1}, id="r")).status == "completed"
    await store.close()
    return disk.log


def apply(content: bytearray, one: Happened, length: int | None = None) -> None:
    """Do a write, or the beginning of it, or a truncation."""
    if one.what == "truncate":
        del content[one.place :]
        return
    data = one.content[:length]
    end = one.place + len(data)
    content.extend(bytes(max(0, end - len(content))))
    content[one.place : end] = data


def image(log: list[Happened], cut: int, dice: random.Random) -> tuple[dict[str, bytearray], int]:
    """Return files as a power cut may leave them, and the last event that was acknowledged before it."""
    durable: dict[str, bytearray] = {}
    pending: dict[str, list[Happened]] = {}
    acknowledged = 0
    for one in log[:cut]:
        if one.what == "acknowledged":
            acknowledged = one.place
        elif one.what == "sync":
            for late in pending.pop(one.name, []):
                apply(durable[one.name], late)
        elif one.what == "delete":
            durable.pop(one.name, None)
            pending.pop(one.name, None)
        else:
            durable.setdefault(one.name, bytearray())
            pending.setdefault(one.name, []).append(one)
    for name, left in pending.items():
        for late in left:
            chance = dice.random()
            if chance < 0.45:
                apply(durable[name], late)
            elif chance < 0.6 and len(late.content) > SECTOR:
                apply(durable[name], late, SECTOR * dice.randrange(1, len(late.content) // SECTOR))
    return durable, acknowledged


async def lost(files: dict[str, bytearray], acknowledged: int, folder: Path) -> int:
    """Open an image, check it, and return how many acknowledged events are not in it."""
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    store = SQLiteStore(f"sqlite:///{folder}/r.db")
    try:
        await store.open()
    except StoreError:
        assert not acknowledged, "what was acknowledged cannot be opened"
        return 0
    found = await store.maintain("check")
    assert found["problems"] == []
    async with Runtime(store) as runtime:
        runs = await runtime.runs()
        here = runs[0].head.seq if runs else 0
        if runs:
            assert (await runtime.replay("r")).differing == ()
    await store.close()
    return max(0, acknowledged - here)


async def images(folder: Path, synchronous: str, number: int) -> list[int]:
    """Cut the power at random moments of a run; return what each image has lost."""
    dice = random.Random(6)
    with recording() as disk:
        log = await recorded(folder, disk, synchronous)
    assert [one.what for one in log].count("acknowledged") > 4 * STEPS
    found = []
    for place in range(number):
        files, acknowledged = image(log, dice.randrange(1, len(log) + 1), dice)
        found.append(await lost(files, acknowledged, folder / str(place)))
    return found


async def test_what_is_acknowledged_outlives_a_power_cut(tmp_path: Path) -> None:
    assert sum(await images(tmp_path, "FULL", IMAGES)) == 0


@pytest.mark.parametrize("synchronous", ["NORMAL"])
async def test_without_its_syncs_it_would_not(tmp_path: Path, synchronous: str) -> None:
    assert sum(await images(tmp_path, synchronous, IMAGES // 4)) > 0
