"""Checksums of pages: SQLite's own extension `cksumvfs`, which comes with apsw.

It keeps eight bytes at the end of each page and compares them whenever the page is read, from the file or from the
write-ahead log: a flipped bit anywhere, in an index or in a column that no digest covers, is an error and never
another value. A file has them from its first page on or not at all (its header says so), and a connection without the
extension must not write to a file that has them.

The extension makes itself the layer that every later connection of this process takes. That is left so: a file
without the eight bytes is not touched by it, and one with them is not broken by another part of the program.
"""

from functools import cache
from pathlib import Path

import apsw

from windlass.core.errors import StoreUnavailable

RESERVED = 8  # bytes at the end of each page
NAME = "cksmvfs"
FILE = "sqlite_extra_binaries/cksumvfs"  # as apsw.sqlite_extra would find it, after 25 ms of imports


@cache
def is_loaded() -> bool:
    """Load the extension, once for the process; False where this apsw has none."""
    try:
        connection = apsw.Connection(":memory:")
        try:
            connection.enable_load_extension(True)  # noqa: FBT003 -- by position only
            connection.load_extension(str(Path(apsw.__file__).parent / FILE))  # SQLite adds the suffix
        finally:
            connection.close()
    except apsw.Error:
        return False
    return NAME in apsw.vfs_names()


def layer(vfs: str | None) -> str | None:
    """Choose the layer for a file on a disk: the one asked for, else the one with checksums."""
    return vfs or (NAME if is_loaded() else None)


def ask_for(connection: apsw.Connection) -> None:
    """Let a file that is still empty have checksums."""
    if is_loaded():
        connection.reserve_bytes("main", RESERVED)


def has(connection: apsw.Connection) -> bool:
    """Say whether a file has checksums."""
    return connection.reserve_bytes("main") == RESERVED


def refuse_without(connection: apsw.Connection, url: str) -> None:
    """Refuse to write to a file with checksums where they cannot be kept.

    Raises:
        StoreUnavailable: this apsw lacks the extension.
    """
    if has(connection) and not is_loaded():
        raise StoreUnavailable(
            f"{url} has checksums of its pages, which this apsw cannot write",
            hint="install apsw from its wheel, which brings the extension cksumvfs",
        )
