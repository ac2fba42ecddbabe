"""A layer between SQLite and the file system, where a test sees every call, and may refuse it, tear it or end there.

    with FailingDisk("flaky") as disk:
        store = SQLiteStore("sqlite:///runs.db", vfs="flaky")
        await store.open()
        disk.fails, disk.error = "sync", apsw.FullError

What SQLite maps into memory (the `-shm` file) does not pass here; what the store writes past SQLite does inside
`beside_sqlite(disk)`.
"""
# ruff: noqa: N802 -- the names are those of SQLite's VFS

import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EIO, ENOSPC
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self
from unittest.mock import patch

import apsw

from windlass.stores import sqlite_anchor, sqlite_chores, sqlite_file, sqlite_place, sqlite_salvage

BELOW = "win32" if os.name == "nt" else "unix"  # never a layer that another part of the program has made the default
What = Literal["open", "read", "write", "truncate", "sync", "delete", "store"]
Name = str | apsw.URIFilename | None


class Call(NamedTuple):
    """What SQLite asks of the disk.

    Args:
        what: `store` is a write into memory that is mapped from a file: it cannot fail. A rename is a `delete`, too.
        name: the file's, without its folder; empty for a temporary file.
        place: where a write or read begins; the new size of a truncate; 1 if a delete is to be durable by itself.
        content: what is written.
        file: tells files apart that were opened one after the other by the same name.
    """

    what: What
    name: str
    place: int = 0
    content: bytes = b""
    file: int = 0


class Disk(apsw.VFS):
    """A disk that does what it is asked; to be registered for as long as `with` lasts.

    Args:
        name: what a store calls it by, `vfs=name`.
        is_default: a store takes it without being asked, below the checksums of pages if those are first used later.
    """

    def __init__(self, name: str, *, is_default: bool = False) -> None:
        self.opened = 0
        super().__init__(name, BELOW, is_default)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unregister()

    def meet(self, call: Call, do: Callable[..., object]) -> None:  # noqa: ARG002 -- for a disk with faults
        """Do what is asked; a disk with faults does something else.

        Args:
            do: does it; for a write, `do(content)` writes something else instead.

        Raises:
            apsw.Error: what SQLite is to be told.
        """
        do()

    def xOpen(self, name: Name, flags: list[int]) -> apsw.VFSFile:
        """Open a file that passes its calls on to `meet`."""
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self.opened += 1
        self.meet(Call("open", Path(path or "").name, file=self.opened), lambda: None)
        return DiskFile(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        """Remove a file."""
        real = super().xDelete
        self.meet(Call("delete", Path(filename).name, int(syncdir)), lambda: real(filename, syncdir))


class DiskFile(apsw.VFSFile):
    """A file of a Disk."""

    def __init__(self, disk: Disk, name: Name, flags: list[int]) -> None:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self.disk = disk
        self.name = Path(path or "").name
        self.number = disk.opened
        super().__init__(BELOW, name, flags)

    def xRead(self, amount: int, offset: int) -> bytes:
        """Read."""
        self.disk.meet(Call("read", self.name, offset, file=self.number), lambda: None)
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:
        """Write, or a part of it."""
        real, content = super().xWrite, bytes(data)
        self.disk.meet(Call("write", self.name, offset, content, self.number), lambda part=content: real(part, offset))

    def xTruncate(self, newsize: int) -> None:
        """Cut the file off."""
        real = super().xTruncate
        self.disk.meet(Call("truncate", self.name, newsize, file=self.number), lambda: real(newsize))

    def xSync(self, flags: int) -> None:
        """Make durable what was written."""
        real = super().xSync
        self.disk.meet(Call("sync", self.name, file=self.number), lambda: real(flags))


class FailingDisk(Disk):
    """Refuses each call of the kind that `fails` names, with `error`, as long as it names one."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.fails: What | Literal[""] = ""
        self.error: type[apsw.Error] = apsw.IOError

    def meet(self, call: Call, do: Callable[..., object]) -> None:
        """Do what is asked, or fail.

        Raises:
            apsw.Error: as `error` says.
        """
        if call.what == self.fails:
            raise self.error(f"the disk fails to {call.what}")
        do()


class _System:
    """Stands for the module `os` where a store writes past SQLite."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._files: dict[int, Call] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def _meet(self, call: Call, do: Callable[..., object] = lambda: None) -> None:
        try:
            self._disk.meet(call, do)
        except apsw.Error as error:
            number = ENOSPC if isinstance(error, apsw.FullError) else EIO
            raise OSError(number, os.strerror(number)) from error

    def call(self, file: int, what: What, place: int = 0, content: bytes = b"") -> Call:
        """Describe what is asked of a file that is open."""
        return self._files[file]._replace(what=what, place=place, content=content)

    def open(self, path: str, flags: int, mode: int = 0o777) -> int:
        """Open a file; one that is made passes the disk."""
        self._disk.opened += 1
        call = Call("open", Path(path).name, file=self._disk.opened)
        if flags & os.O_CREAT and not (flags & os.O_EXCL and Path(path).exists()):
            self._meet(call)
        file = os.open(path, flags, mode)
        self._files[file] = call
        return file

    def pwrite(self, file: int, content: bytes, place: int) -> int:
        """Write."""
        whole = bytes(content)
        self._meet(self.call(file, "write", place, whole), lambda part=whole: os.pwrite(file, part, place))
        return len(whole)

    def ftruncate(self, file: int, size: int) -> None:
        """Cut off."""
        self._meet(self.call(file, "truncate", size), lambda: os.ftruncate(file, size))

    def fsync(self, file: int) -> None:
        """Make durable."""
        self._meet(self.call(file, "sync"), lambda: os.fsync(file))

    def unlink(self, path: Any) -> None:
        """Take a name away."""
        self._meet(Call("delete", Path(path).name), lambda: os.unlink(path))  # noqa: PTH108 -- it stands for it

    def rename(self, path: Any, to: Any) -> None:
        """Give a file another name."""
        self._meet(Call("delete", Path(path).name), lambda: os.rename(path, to))  # noqa: PTH104

    replace = rename

    def mapped(self, file: int, size: int) -> mmap.mmap:
        """Map a file; what is stored in it passes the disk."""
        system = self

        class Mapped(mmap.mmap):
            def __setitem__(self, place: Any, content: Any) -> None:
                real, start, whole = super().__setitem__, place.start, bytes(content)
                system._disk.meet(
                    system.call(file, "store", start, whole),
                    lambda part=whole: real(slice(start, start + len(part)), part),
                )

            def flush(self, *_: Any) -> None:
                system._meet(system.call(file, "sync"), super().flush)

        return Mapped(file, size)


class _Maps:
    """Stands for the module `mmap`."""

    def __init__(self, system: _System) -> None:
        self.mmap = system.mapped


@contextmanager
def beside_sqlite(disk: Disk) -> Iterator[None]:
    """Let a disk see what this process's stores write past SQLite, too: the file's making, its anchor, a longer log."""
    system = _System(disk)
    with (
        patch.object(sqlite_anchor, "os", system),
        patch.object(sqlite_anchor, "mmap", _Maps(system)),
        patch.object(sqlite_file, "os", system),
        patch.object(sqlite_place, "os", system),
        patch.object(sqlite_chores, "os", system),
        patch.object(sqlite_salvage, "os", system),
    ):
        yield
