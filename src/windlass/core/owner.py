"""Which process this is, and whether the process that held a lease is still there.

A lease names its holder so exactly that nobody else can be taken for it: host, boot, process id and the process's
start time. On the holder's own host its death is then known at once; from elsewhere only its lease running out tells.
"""

import os
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path

from windlass.core.clock import random_id
from windlass.core.records import Owner

LINUX = sys.platform.startswith("linux")
ENDED = ("Z", "X")  # a zombie has ended: only its parent has yet to ask how


def this_process() -> Owner:
    """Describe the calling process as an owner; every call makes another id."""
    pid, host = os.getpid(), socket.gethostname()
    _, started = look_up(pid) or ("", "")
    return Owner(f"{host}-{pid}-{random_id()}", host, boot(), pid, started)


def is_alive(owner: Owner) -> bool | None:
    """Say whether the owner's process is there; None where this host cannot tell."""
    if owner.host != socket.gethostname() or owner.boot != boot():
        return None
    found = look_up(owner.pid)
    if found is not None:
        state, started = found
        return not state.startswith(ENDED) and started == owner.started
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return None
    return None  # it is there, but the system does not show it to us


@cache
def boot() -> str:
    """Name this start of the system, and the space in which its process ids count.

    The space is part of it because two containers may share host name and boot, and then the pid of one says nothing
    about the other.
    """
    if not LINUX:
        return answer_of("sysctl", "-n", "kern.bootsessionuuid") or answer_of("sysctl", "-n", "kern.boottime")
    try:
        space = Path("/proc/self/ns/pid").readlink()
    except OSError:
        space = Path()
    return f"{_read('/proc/sys/kernel/random/boot_id')} {space}"


def look_up(pid: int) -> tuple[str, str] | None:
    """Return the state and start time of a process, as the system tells them; None when it shows no such process."""
    if not LINUX:
        state, _, started = answer_of("ps", "-o", "stat=", "-o", "lstart=", "-p", str(pid)).partition(" ")
        return (state, started.strip()) if state else None
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()  # from the third on: the second may hold brackets
    return (fields[0], fields[19]) if fields else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def answer_of(*command: str) -> str:
    """Ask a program of the system, in a language and time zone that no caller's settings change."""
    plain = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, env=plain).stdout.strip()  # noqa: S603
    except OSError:
        return ""
