"""Processes by fork: a warm parent imports everything once, and each child begins with neither loop nor connection.

A forked child inherits only the thread that forked, so the parent must have no other, and no open store either.
"""

import asyncio
import gc
import json
import os
import random
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

from windlass.testing.errors import ProofRefused

Say: TypeAlias = Callable[[str], None]
CHUNK = 65_536


class Child:
    """A process that was forked, and the pipe on which it says what it has to say."""

    def __init__(self, pid: int, pipe: int) -> None:
        self.pid = pid
        self.pipe = pipe
        self._said = b""
        self.is_silent = False

    def _listen(self, seconds: float) -> bool:
        """Take in what the child says next; False if it said nothing for so long."""
        if not select.select([self.pipe], [], [], None if seconds == float("inf") else max(0.0, seconds))[0]:
            return False
        more = os.read(self.pipe, CHUNK)
        self._said += more
        if not more:
            self.is_silent = True
            os.close(self.pipe)
        return True

    def hear(self, seconds: float = 30.0) -> str:
        """Return one line that the child says; empty when it has ended, or says nothing for so long."""
        while b"\n" not in self._said and not self.is_silent:
            if not self._listen(seconds):
                return ""
        line, _, self._said = self._said.partition(b"\n")
        return line.decode()

    def take(self) -> list[str]:
        """Wait for what the child says next, or its end; return the lines that are whole."""
        self._listen(float("inf"))
        whole, _, self._said = self._said.rpartition(b"\n")
        return whole.decode().splitlines()

    def send(self, number: signal.Signals) -> None:
        """Send a signal; to a child that has just ended it is nothing."""
        os.kill(self.pid, number)

    def is_stopped(self) -> bool:
        """Wait until the child has stopped (True) or ended (False)."""
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        return os.WIFSTOPPED(status)

    def rest(self) -> list[str]:
        """Return what the child said after the last `hear`, until it ended."""
        while not self.is_silent:
            self._listen(1.0)
        said, self._said = self._said, b""
        return said.decode().splitlines()

    def end(self, seconds: float = 30.0) -> int | None:
        """Wait for the child's end: its exit code, minus the signal that ended it, or None if it had to be killed."""
        give_up = time.monotonic() + seconds
        is_late = False
        while not self.is_silent and not is_late:  # its end closes the pipe
            is_late = not self._listen(give_up - time.monotonic())
        if is_late:
            os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        if is_late:
            return None
        return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def say(pipe: int, line: str) -> None:
    """Write a line to the parent."""
    left = memoryview(line.encode() + b"\n")
    while left:
        left = left[os.write(pipe, left) :]


def fork(work: Callable[[Say], None]) -> Child:
    """Run `work` in a child; what it is given says a line to the parent."""
    ours, theirs = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        os.close(theirs)
        return Child(pid, ours)
    code = 1
    try:
        os.close(ours)
        random.seed(os.getpid())  # or every child would throw the same
        work(partial(say, theirs))
        code = 0
    except BaseException:  # noqa: BLE001 -- the child's last words
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(code)


def lanes(
    jobs: Sequence[Callable[[], object]], number: int = 3, told: Callable[[int, Any], None] = lambda *_: None
) -> list[Any]:
    """Do jobs in a few processes at once, which wait for the disk and for each other; return what each gave, as JSON.

    Args:
        told: called for each job that ends: its place, and what it gave.

    Raises:
        ProofRefused: a lane died.
    """
    refuse_company()
    gc.collect()
    gc.freeze()  # the children share the pages of what is there: their collectors leave it alone

    def lane(start: int) -> Callable[[Say], None]:
        def work(tell: Say) -> None:
            for place in range(start, len(jobs), number):
                tell(json.dumps([place, jobs[place]()]))

        return work

    children = [fork(lane(start)) for start in range(min(number, len(jobs)))]
    given: dict[int, Any] = {}
    while heard := [child for child in children if not child.is_silent]:
        ready, _, _ = select.select([child.pipe for child in heard], [], [])
        for line in [line for child in heard if child.pipe in ready for line in child.take()]:
            place, found = json.loads(line)
            given[place] = found
            told(place, found)
    codes = [child.end() for child in children]
    gc.unfreeze()
    if any(codes) or len(given) < len(jobs):
        raise ProofRefused(f"the processes that make the trials ended {codes}", hint="see what they wrote on stderr")
    return [given[place] for place in range(len(jobs))]


def refuse_company() -> None:
    """Refuse to fork beside a running loop or other threads.

    Raises:
        ProofRefused: there are some.
    """
    threads = [thread.name for thread in threading.enumerate() if thread is not threading.current_thread()]
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise ProofRefused("an event loop runs here, and a process that is forked inside of it would share it")
    if threads:
        raise ProofRefused(f"other threads run here ({', '.join(threads[:3])}), and a fork would lose them")
