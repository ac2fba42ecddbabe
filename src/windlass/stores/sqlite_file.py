"""One connection to a SQLite store: its settings, its schema, and what its errors mean."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import apsw

from windlass.core.clock import random_id
from windlass.core.errors import (
    StoreCorrupt,
    StoreError,
    StoreUnavailable,
    StoreUnknown,
    StoreVersion,
    WindlassError,
)
from windlass.stores import sqlite_sums
from windlass.stores.queries import migrations

APPLICATION = 0x57494E44  # "WIND", in the file's header
OPEN_FILE = apsw.SQLITE_OPEN_READWRITE  # never CREATE: sqlite_place makes the file, with its mode
OPEN_MEMORY = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
SETTINGS = (
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA mmap_size = 0",  # an I/O error in a mapped page would be a signal, not an error
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    "PRAGMA journal_size_limit = 67108864",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA secure_delete = FAST",  # what an owner masks was posted as it was; it costs about 1 % of a step
)
APPLE_SETTINGS = ("PRAGMA fullfsync = ON", "PRAGMA checkpoint_fullfsync = ON")  # fsync alone does not reach the disk

PIECE = 1 << 20  # bytes that are copied at a time
LONGEST_LOG = 1_000  # pages, as SQLite has it
WAL_BYTES = 4_300_000  # what a WAL grows to before SQLite begins it anew: 1,000 pages, and what the last commit adds


class Link:
    """A connection with a cursor that is used again and again, so that a statement costs a lookup in apsw's cache.

    Attributes:
        longest: pages of the write-ahead log from which on a commit here copies it into the file.
        is_torn: a sync of the file has failed on such a copy, which SQLite itself would not have told (`mend`).
    """

    __slots__ = ("connection", "execute", "is_torn", "longest")

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection
        self.execute: Callable[..., Any] = connection.cursor().execute
        self.longest: float = LONGEST_LOG
        self.is_torn = False

    def copy_log(self, _: apsw.Connection, __: str, pages: int) -> int:
        """Copy the log into the file where it has become long: what SQLite does by itself, and keeps its failure to."""
        if pages >= self.longest:
            try:
                self.connection.wal_checkpoint()
            except apsw.IOError:
                self.is_torn = True
            except apsw.Error:  # somebody else is at it, or the disk is full: another commit tries again
                return apsw.SQLITE_OK
        return apsw.SQLITE_OK

    def mend(self) -> None:
        """Write all pages of the file once more, through the log.

        SQLite syncs the file only once all of the log is copied. A copy that a reader cut short left pages there that
        were never synced, and that count as copied; when the sync of the next one fails the kernel may drop them, and
        SQLite copies only what came after them. The log still holds them, until it begins anew.

        Raises:
            BusyError: somebody else writes.
            IOError: the disk still fails.
        """
        try:
            self.execute("VACUUM")
        except apsw.BusyError:
            raise
        except apsw.Error as error:  # of a disk that is gone SQLite may also say that the file is malformed
            raise apsw.IOError(f"the file cannot be written once more after its sync failed: {error}") from error
        self.is_torn = False

    def value(self, sql: str, bindings: tuple[Any, ...] = ()) -> Any:
        """Run a statement that gives one row of one column; None when it gives none."""
        rows = self.execute(sql, bindings).fetchall()
        return rows[0][0] if rows else None

    def close(self) -> None:
        """Let go of the file, also on a disk that fails: what was acknowledged stands in the log already."""
        with suppress(apsw.Error):
            if self.is_torn:  # whoever opens the file next copies all of the log, not what is left of it
                self.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            self.connection.close(True)  # noqa: FBT003 -- apsw takes `force` by position only


def connect(name: str, vfs: str | None = None) -> Link:
    """Connect to an existing file, or to a database in memory when the name is a URI; the schema is not looked at."""
    flags = OPEN_MEMORY if name.startswith("file:") else OPEN_FILE
    if not name.startswith("file:"):
        vfs = sqlite_sums.layer(vfs)
    link = Link(apsw.Connection(name, flags=flags, vfs=vfs))
    # Plans do not depend on bound values; else SQLite compiles a join anew at each call (it is built with STAT4).
    link.connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    link.connection.set_wal_hook(link.copy_log)
    try:
        for setting in SETTINGS + (APPLE_SETTINGS if sys.platform == "darwin" else ()):
            link.execute(setting)
    except apsw.Error:
        link.close()
        raise
    return link


def latest() -> int:
    """Return the number of the newest schema that this version of Windlass knows."""
    return migrations("sqlite")[-1][0]


def schema_of(link: Link, url: str) -> int:
    """Return the number of the schema in the file; 0 when the file is empty.

    Raises:
        StoreUnknown: it is another program's database.
        StoreVersion: it was written by a newer version.
    """
    if not link.value("SELECT count(*) FROM sqlite_schema"):
        return 0
    if link.value("PRAGMA application_id") != APPLICATION:
        raise StoreUnknown(f"{url} is a SQLite database, but not one of Windlass", hint="choose another file")
    version: int = link.value("PRAGMA user_version")
    if version > latest():
        raise StoreVersion(
            f"{url} has schema {version}; this version of Windlass knows {latest()}", hint="upgrade windlass"
        )
    return version


def migrate(link: Link, url: str) -> list[int]:
    """Bring the schema forward, one transaction for each migration, and return the numbers of those applied.

    A crash leaves the schema at a whole number; the next migration goes on from there.

    Raises:
        StoreUnknown, StoreVersion: as schema_of.
    """
    applied = []
    for number, sql in migrations("sqlite"):
        link.execute("BEGIN IMMEDIATE")
        try:
            if schema_of(link, url) < number:
                link.execute(sql)
                if number == 1:
                    link.execute(f"PRAGMA application_id = {APPLICATION}")
                    link.execute("INSERT INTO meta (name, value) VALUES ('store', ?)", (random_id(),))
                link.execute(f"PRAGMA user_version = {number}")
                applied.append(number)
            link.execute("COMMIT")
        except BaseException:
            if link.connection.in_transaction:
                link.execute("ROLLBACK")
            raise
    return applied


def lengthen(wal: str) -> None:
    """Give a WAL the length it will have anyway; only while holding the write lock, so that nobody else appends.

    Syncing a write inside a file costs about half of syncing one that makes it longer (measured on ext4: 260 and
    470 µs a commit), and the first four hundred commits would all make it longer. SQLite reads the zeros as the end of
    the log, as it does with what is left of an earlier round.
    """
    try:
        file = os.open(wal, os.O_WRONLY)
    except OSError:
        return
    try:
        size = os.fstat(file).st_size
        if size < WAL_BYTES:
            try:
                os.pwrite(file, bytes(WAL_BYTES - size), size)
            except OSError:  # no room for it: the commits must do without
                os.ftruncate(file, size)
    finally:
        os.close(file)


def is_damage(error: BaseException) -> bool:
    """Say whether an error of SQLite tells of bytes that are not those that were written."""
    if isinstance(error, apsw.IOError):
        return bool(getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_DATA)
    return isinstance(error, apsw.CorruptError | apsw.NotADBError)


def rewrite(link: Link, wal: str) -> None:
    """Write what a WAL holds once more, and sync it, while nobody else can add to it.

    A sync that failed must not just be tried again: the kernel may have dropped what it could not write, and says yes
    the next time (PostgreSQL's fsyncgate, 2018). What is appended behind such a gap would be lost with it, and a file
    into which such a log is copied may be left half changed.

    Raises:
        BusyError: somebody else writes.
        StoreUnavailable: the disk still fails.
    """
    link.execute("BEGIN IMMEDIATE")
    try:
        _write_again(wal)
    finally:
        link.execute("ROLLBACK")


def _write_again(wal: str) -> None:
    try:
        file = os.open(wal, os.O_RDWR)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreUnavailable(f"cannot open {wal}: {error.strerror}") from error
    try:
        for place in range(0, os.fstat(file).st_size, PIECE):
            os.pwrite(file, os.pread(file, PIECE, place), place)
        os.fsync(file)
    except OSError as error:
        raise StoreUnavailable(f"cannot write {wal}: {error.strerror}") from error
    finally:
        os.close(file)


def refusal(error: BaseException, url: str) -> WindlassError:
    """Translate what SQLite says into what it means for the user."""
    match error:
        case WindlassError():
            return error
        case apsw.BusyError() | apsw.LockedError():
            return StoreUnavailable(f"{url} is locked by another process", hint="wait, or stop it, and try again")
        case apsw.IOError() if is_damage(error):
            return StoreCorrupt(f"{url} is damaged: a page does not match its checksum")
        case apsw.CorruptError() | apsw.NotADBError():
            return StoreCorrupt(f"{url} is damaged or no database: {error}")
        case apsw.FullError():
            return StoreUnavailable(f"the disk of {url} is full: {error}", hint="free space, then resume the run")
        case apsw.IOError() | apsw.ReadOnlyError() | apsw.CantOpenError() | apsw.PermissionsError() | apsw.NoMemError():
            return StoreUnavailable(f"{url} cannot be read or written: {error}")
        case _:
            return StoreError(f"{url}: {type(error).__name__}: {error}")
