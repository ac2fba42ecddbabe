"""Processes by fork: a warm parent imports everything once, and each child begins with neither loop nor connection."""

import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

POLL_SECONDS = 0.001


@dataclass(frozen=True)
class Child:
    """A process that was forked, and the pipe on which it says what it has to say."""

    pid: int
    pipe: int

    def hear(self) -> str:
        """Return one line that the child says; empty when it has ended."""
        said = b""
        while not said.endswith(b"\n") and (byte := os.read(self.pipe, 1)):
            said += byte
        return said.decode().rstrip("\n")

    def send(self, number: signal.Signals) -> None:
        """Send a signal; to a child that has just ended it is nothing."""
        os.kill(self.pid, number)

    def is_stopped(self) -> bool:
        """Wait until the child has stopped (True) or ended (False)."""
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        return os.WIFSTOPPED(status)

    def rest(self) -> list[str]:
        """Return what the child said after the last `hear`, once it has ended."""
        with os.fdopen(self.pipe) as pipe:
            return pipe.read().splitlines()

    def end(self, seconds: float = 30.0) -> int | None:
        """Wait for the child's end: its exit code, minus the signal that ended it, or None if it had to be killed."""
        give_up = time.monotonic() + seconds
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > give_up:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                break
            time.sleep(POLL_SECONDS)
        if not pid:
            return None
        return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def say(pipe: int, line: str) -> None:
    """Write a line to the parent."""
    os.write(pipe, line.encode() + b"\n")


def fork(work: Callable[[Callable[[str], None]], None]) -> Child:
    """Run `work` in a child; what it is given says a line to the parent."""
    ours, theirs = os.pipe()
    sys.stdout.flush()
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


def lanes(jobs: Sequence[Callable[[], object]], number: int = 3) -> list[Any]:
    """Do jobs in a few processes at once, which mostly wait for the disk; return what each gave, as plain JSON."""

    def lane(start: int) -> Callable[[Callable[[str], None]], None]:
        def work(tell: Callable[[str], None]) -> None:
            for job in jobs[start::number]:
                tell(json.dumps(job()))

        return work

    children = [fork(lane(start)) for start in range(number)]
    given: list[Any] = [None] * len(jobs)
    for start, child in enumerate(children):
        given[start::number] = map(json.loads, child.rest())
        code = child.end()
        assert code == 0, f"a lane ended {code}"
    return given
