"""Where a SQLite store lies: the path in its URL, the folder, and the kind of file system below it."""

import os
import re
import sys
from pathlib import Path

from windlass.core.errors import StoreUnavailable, StoreUnknown
from windlass.core.owner import answer_of

MEMORY = ":memory:"
OWN_FOLDER = ".windlass"
SHARED = ("nfs", "cifs", "smb", "ncpfs", "afs", "ceph", "lustre", "glusterfs", "webdav", "fuse.", "osxfuse", "macfuse")
LOCAL = ("fuse.fuse-overlayfs",)  # the root of a rootless container, on a disk of its own


def path_of(url: str) -> str:
    """Return the absolute path that a URL names, or `:memory:`.

    Raises:
        StoreUnknown: it is not of the form sqlite:///relative.db, sqlite:////absolute.db or sqlite:///:memory:.
    """
    scheme, _, path = url.partition(":///")
    if scheme != "sqlite" or not path or path.endswith("/") or "\0" in path:
        raise StoreUnknown(f"{url!r} names no SQLite file", hint="use sqlite:///relative.db or sqlite:////absolute.db")
    return path if path == MEMORY else str(Path(path).absolute())


def prepare(path: str) -> None:
    """Make the file, readable by its owner alone, and the folder `.windlass` around it where that is asked for.

    Raises:
        StoreUnknown: the file would lie on a network file system, whose locks and shared memory SQLite cannot trust.
        StoreUnavailable: the folder is not there, or the file cannot be made.
    """
    folder = Path(path).parent
    try:
        if not folder.exists() and folder.name == OWN_FOLDER:
            folder.mkdir(mode=0o700)
            (folder / ".gitignore").write_text("*\n", encoding="ascii")
        kind = file_system_of(folder)
        if kind.startswith(SHARED) and kind not in LOCAL:
            raise StoreUnknown(
                f"{path} lies on a network file system ({kind})", hint="choose a path on a disk of this machine"
            )
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        raise StoreUnavailable(
            f"cannot make {path}: {error.strerror}", hint="make the folder, or choose another with --store"
        ) from error


def file_system_of(folder: Path) -> str:
    """Name the kind of file system that a folder lies on, as the system names it; empty where it does not say."""
    real = os.path.realpath(folder)
    found, kind = "", ""
    for point, name in mounts():
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(found):  # the same place mounted twice: the later one covers the earlier
            found, kind = point, name
    return kind


def mounts() -> list[tuple[str, str]]:
    """List what is mounted: where, and which kind of file system."""
    if sys.platform == "darwin":
        return re.findall(r" on (.+) \(([^,)]+)", answer_of("mount"))
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        before, _, after = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), before.split()[4])
        found.append((point, after.split()[0]))
    return found
