"""Strict runtimes: what a task does outside past its ports is refused, where Python can see it.

Python tells audit hooks (PEP 578) of sockets and processes. A hook cannot be taken out again, so it is put in when
the first strict runtime opens, and looks only where an attempt of a strict runtime is under way.
"""

import sys
from types import FrameType
from typing import Any, Final

from windlass.core.errors import PortBypassed
from windlass.engine.current import CURRENT, IN_PORT

WATCHED: Final = frozenset({
    "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "pty.spawn", "socket.connect",
    "socket.getaddrinfo", "socket.gethostbyname", "socket.sendmsg", "socket.sendto", "subprocess.Popen",
})  # fmt: skip
OWN: Final = ("windlass.core.", "windlass.engine.", "windlass.stores.")  # the runtime at its own work
CALLERS: Final = frozenset({"windlass.engine.execute", "windlass.engine.pool"})  # they call the task's code
BOTTOM: Final = frozenset({"asyncio.events", "threading"})  # whatever stands below has only started the loop or thread
_installed: list[bool] = []


def install() -> None:
    """Put the hook in, once for this process."""
    if not _installed:
        _installed.append(True)
        sys.addaudithook(_look)


def _look(event: str, _: tuple[Any, ...]) -> None:
    if event not in WATCHED or IN_PORT.get():
        return
    activation = CURRENT.get()
    if activation is not None and activation.services.strict and _is_of_the_task():
        raise PortBypassed(f"{activation.address}: {event} past the ports of a strict runtime")


def _is_of_the_task() -> bool:
    """Say whether the task's code is behind it, and not the runtime's own work in the task's context."""
    frame: FrameType | None = sys._getframe(2)  # noqa: SLF001 -- there is no public way that costs as little
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name in CALLERS or name in BOTTOM:
            return True
        if name.startswith(OWN):
            return False
        frame = frame.f_back
    return True
