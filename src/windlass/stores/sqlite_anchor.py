"""The anchor: a small file beside a SQLite file that knows of its last writes (D29).

SQLite takes whatever whole prefix of its write-ahead log it finds as the truth: a log that was cut, or a file that was
put back from an older copy, opens without a word. So once a COMMIT has returned, a run that it wrote to and that run's
last event are written here, or the count of its other writes (`runs.tick`): both only ever grow. A file in which that
run stands at less lost what was acknowledged.

One run of a transaction is enough, for a transaction is lost whole; and the last transaction of each process is enough,
for what is lost is always a tail. So every open store writes to a place of its own, drawn by lot, two cells in turn. No
process waits for another, one that is stopped in between hinders nobody, and a cell that a crash tore leaves the one
before it. What stands here is never ahead of the file by itself, whatever the order in which processes write. When two
stores draw the same place (1 in 126), one of the two last writes may be the one that is not known.

The file is mapped: writing is a copy in memory, which a killed process leaves behind. It is synced about once per
checkpoint of the log and on closing. A power cut may lose some of it: the anchor then knows less, which says nothing.
A power cut and a cut log together are not noticed.
"""

import mmap
import os
import random
import struct
import time
import zlib
from contextlib import suppress
from pathlib import Path

import apsw

from windlass.core.errors import StoreBehind, StoreReplaced, StoreUnavailable
from windlass.core.logs import logger

LOG = logger("windlass.store")
MAGIC = b"WNDLANC1"
HEADER = struct.Struct("<8s24sI")  # magic, id of the store, checksum of both
CELL = struct.Struct("<QII")  # event or count, number of the run, checksum
TICKS = 1 << 31  # in a run's number: not its last event but its other writes are counted
STATE_AT = 48  # b"open" while a process has the store open, b"done" after the last has closed it
FIRST, SLOT, SLOTS = 64, 2 * CELL.size, 126
SIZE = FIRST + SLOT * SLOTS
SYNC_EVERY = 500  # transactions: about as often as SQLite copies its log into the file
LOOK_SECONDS = 0.02  # between two looks at the file's identity: `stat` makes the next write to the file slower


def name_of(path: str) -> str:
    """Name the anchor of a file."""
    return f"{path}.anchor"


def repaired_name(path: str) -> str:
    """Name the file that a repair has made, until it takes the place of the damaged one."""
    return f"{path}.repaired"


def seed_of(store: str) -> int:
    """Begin the checksums of a store's cells: those of another store do not match."""
    return zlib.crc32(store.encode())


def cell(key: int, value: int, seed: int) -> bytes:
    """Write a run's number and event or count so that no torn cell and none of another store is taken for it."""
    return CELL.pack(value, key, zlib.crc32(b"%d %d" % (key, value), seed))


def blank(store: str, state: bytes) -> bytes:
    """Make an anchor that knows the store and no write."""
    name = store.encode().ljust(24, b"\0")
    content = bytearray(HEADER.pack(MAGIC, name, zlib.crc32(MAGIC + name)).ljust(SIZE, b"\0"))
    content[STATE_AT : STATE_AT + 4] = state
    return bytes(content)


class Known:
    """What an anchor says: which store, the writes it knows of, and whether the store was closed.

    `store` is empty when there is no anchor; `is_torn` says that there is one which cannot be read.
    """

    def __init__(self, content: bytes) -> None:
        self.store = ""
        self.writes: dict[int, int] = {}  # number of a run, perhaps with TICKS → its highest event or count
        self.is_torn = bool(content)
        self.is_closed = content[STATE_AT : STATE_AT + 4] == b"done"
        if len(content) < SIZE:
            return
        magic, name, check = HEADER.unpack_from(content)
        if magic != MAGIC or check != zlib.crc32(magic + name):
            return
        self.store, self.is_torn = name.rstrip(b"\0").decode(errors="replace"), False
        seed = seed_of(self.store)
        for place in range(FIRST, SIZE, CELL.size):
            value, key, _ = CELL.unpack_from(content, place)
            if value > self.writes.get(key, 0) and content[place : place + CELL.size] == cell(key, value, seed):
                self.writes[key] = value


def read(path: str) -> Known:
    """Read the anchor of a file.

    Raises:
        StoreUnavailable: it is there and cannot be read.
    """
    try:
        with Path(name_of(path)).open("rb") as file:
            return Known(file.read(SIZE))
    except (FileNotFoundError, NotADirectoryError):
        return Known(b"")
    except OSError as error:
        raise StoreUnavailable(f"cannot read {name_of(path)}: {error.strerror}") from error


def refuse_missing(path: str, url: str) -> None:
    """Refuse to make a new file where an anchor says that there was one.

    Raises:
        StoreBehind: the file is gone or empty, or a repair was stopped while it put another in its place.
    """
    if not Path(path).exists() and Path(repaired_name(path)).exists():
        raise StoreBehind(
            f"{url} is gone: a repair was stopped before {repaired_name(path)} took its place",
            hint="let it go on: `windlass store check --repair`",
        )
    if not Path(path).exists() or not Path(path).stat().st_size:
        refuse_empty(read(path), path, url)


def refuse_empty(known: Known, path: str, url: str) -> None:
    """Refuse to make a new store where an anchor says that there was one.

    Raises:
        StoreBehind: the anchor knows of writes.
    """
    if known.writes:
        runs = len({key & ~TICKS for key in known.writes})
        raise StoreBehind(
            f"{url} is gone or empty, and its anchor knows of writes to {runs} runs; nothing was changed",
            hint=f"restore the newest back-up; to begin anew, remove {name_of(path)}",
        )


class Anchor:
    """The anchor of a file, held by an open store, and the file's identity while it is open.

    One that is not held does nothing: that of a database in memory never is.

    Args:
        path: of the database.
        url: for messages.
    """

    def __init__(self, path: str, url: str) -> None:
        self.path = path
        self.url = url
        self.is_first = False  # no other process had the store open
        self.was_closed = True  # the last to have it open closed it
        self._seed = 0
        self._file = -1
        self._map: mmap.mmap | None = None
        self._at = 0
        self._turn = 0
        self._told = 0
        self._looked = 0.0
        self._same: tuple[int, int] | None = None  # device and inode of the database
        self._log: tuple[int, int] | None = None  # and of its write-ahead log, once this process wrote to it

    def hold(self, known: Known, store: str, *, is_new: bool) -> None:
        """Take the anchor up, made anew where there is none: what stands in the file is the truth then.

        One that cannot be written is left as it is: it knows less than it might, which says nothing.

        Raises:
            BusyError: the store is being repaired, or opened by another process at this moment.
        """
        self._let_go()
        self._same, self._seed, self._log = _identity(self.path), seed_of(store), None
        if not known.store and (known.is_torn or not is_new):
            what = "cannot be read" if known.is_torn else "is missing"
            LOG.warning("%s: its anchor %s; the file is taken as it is", self.url, what)
        self._at = FIRST + SLOT * random.randrange(SLOTS)  # noqa: S311 -- a lot, no secret
        try:
            self._file = os.open(name_of(self.path), os.O_RDWR | os.O_CREAT, 0o600)
            self.is_first = self._lock(alone=True)
            self.was_closed = known.is_closed or not known.store
            if not known.store and self.is_first:
                os.pwrite(self._file, blank(store, b"open"), 0)
            if not self._lock(alone=False):
                self._let_go()
                raise apsw.BusyError(f"{name_of(self.path)} is held")
            os.pwrite(self._file, b"open", STATE_AT)
            if os.fstat(self._file).st_size >= SIZE:  # else whoever has the store open could not write it
                self._map = mmap.mmap(self._file, SIZE)
        except (OSError, ValueError) as error:
            LOG.warning("%s: going on without its anchor, which cannot be written: %s", self.url, error)
            self._let_go()

    def _lock(self, *, alone: bool) -> bool:
        """Show that the store is open here, and whether it is nowhere else; the lock ends with the process."""
        import fcntl  # not on Windows, where this module must import

        try:
            fcntl.flock(self._file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def reconnected(self) -> None:
        """Take note that a connection was opened: the write-ahead log may be another file by right."""
        self._log = None

    def check(self) -> None:
        """Look now and then whether the file is still the one that was opened.

        Raises:
            StoreReplaced: it is not, or its log is not: what is written there would be lost.
        """
        now = time.monotonic()
        if self._same is None or now - self._looked < LOOK_SECONDS:
            return
        if _identity(self.path) != self._same:
            raise StoreReplaced(f"{self.url} was deleted or replaced since it was opened")
        log = _identity(f"{self.path}-wal")
        if self._log is not None and log != self._log:
            raise StoreReplaced(f"the write-ahead log of {self.url} was deleted or replaced since it was opened")
        if self._told:
            self._log = log
        self._looked = now

    def tell(self, written: tuple[int, int] | None) -> None:
        """Note that a write to a run is durable: its number, perhaps with TICKS, and its event or count."""
        if self._map is None or written is None:
            return
        self._turn ^= CELL.size
        place = self._at + self._turn
        self._map[place : place + CELL.size] = cell(*written, self._seed)
        self._told += 1
        if self._told % SYNC_EVERY == 0:
            with suppress(OSError):  # a disk that refuses costs the note, not the write
                self._map.flush()

    def close(self) -> None:
        """Make it durable, and say that the store was closed if nobody else has it open."""
        if self._file < 0:
            return
        with suppress(OSError):
            if self._lock(alone=True):
                os.pwrite(self._file, b"done", STATE_AT)
            os.fsync(self._file)
        self._let_go()

    def _let_go(self) -> None:
        if self._map is not None:
            self._map.close()
        if self._file >= 0:
            os.close(self._file)
        self._file, self._map, self._told = -1, None, 0


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def adopt(path: str, store: str) -> None:
    """Write the anchor anew, so that the file is taken as it stands; nobody may have the store open.

    Raises:
        StoreUnavailable: it cannot be written.
    """
    try:
        file = os.open(name_of(path), os.O_WRONLY | os.O_CREAT, 0o600)  # the same file: its lock keeps others out
        try:
            os.pwrite(file, blank(store, b"done"), 0)
            os.fsync(file)
        finally:
            os.close(file)
    except OSError as error:
        raise StoreUnavailable(f"cannot write {name_of(path)}: {error.strerror}") from error


def doubt(path: str) -> None:
    """Say that the store was not closed: whoever opens it next writes its log once more before it trusts it."""
    with suppress(OSError):  # no anchor, or a disk that refuses that, too
        file = os.open(name_of(path), os.O_WRONLY)
        try:
            os.pwrite(file, b"open", STATE_AT)
        finally:
            os.close(file)
