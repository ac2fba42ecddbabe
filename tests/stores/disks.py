"""A disk that fails on demand: a layer of SQLite between the store and the file system."""

from collections.abc import Iterator
from contextlib import contextmanager

import apsw


class FailingFile(apsw.VFSFile):
    """A file of a FailingDisk."""

    def __init__(self, disk: "FailingDisk", name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self.disk = disk
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self.disk.meet("write")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self.disk.meet("sync")
        super().xSync(flags)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        self.disk.meet("read")
        return super().xRead(amount, offset)


class FailingDisk(apsw.VFS):
    """Raise `error` at each operation that `fails` names, as long as it names it."""

    def __init__(self, name: str) -> None:
        self.fails = ""
        self.error: type[apsw.Error] = apsw.IOError
        super().__init__(name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return FailingFile(self, name, flags)

    def meet(self, operation: str) -> None:
        if operation == self.fails:
            raise self.error(f"the disk fails to {operation}")


@contextmanager
def failing_disk(name: str) -> Iterator[FailingDisk]:
    """Register a disk under a name, for as long as a test runs."""
    disk = FailingDisk(name)
    yield disk
    disk.unregister()
