"""Processes by fork, in a program of their own: a test's process may have threads."""

import subprocess
import sys
import threading

import pytest

from windlass.testing.crash_forks import refuse_company
from windlass.testing.errors import ProofRefused

PROGRAM = """
import os, signal, time
from windlass.testing.crash_forks import fork, lanes

child = fork(lambda say: (say("one"), say("two" * 100_000), say("three")))
print(child.hear(), child.end(), [len(line) for line in child.rest()])
print(fork(lambda say: os._exit(3)).end(), fork(lambda say: os.kill(os.getpid(), 9)).end())
print(fork(lambda say: time.sleep(60)).end(0.05))
child = fork(lambda say: os.kill(os.getpid(), signal.SIGSTOP))
print(child.is_stopped())
child.send(signal.SIGCONT)
print(child.end())
told = []
print(lanes([lambda n=n: n * n for n in range(7)], 3, lambda place, found: told.append((place, found))))
print(sorted(told) == [(n, n * n) for n in range(7)])
lanes([lambda: 1 / 0])
"""


def test_children_are_heard_killed_stopped_and_counted() -> None:
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert ended.stdout.splitlines() == [
        "one 0 [300000, 5]", "3 -9", "None", "True", "0", "[0, 1, 4, 9, 16, 25, 36]", "True",
    ]  # fmt: skip
    assert "ZeroDivisionError" in ended.stderr
    assert "ProofRefused: the processes that make the trials ended [1]" in ended.stderr


async def test_a_running_loop_is_no_place_to_fork() -> None:
    with pytest.raises(ProofRefused, match="an event loop runs here"):
        refuse_company()


def test_neither_is_a_process_with_threads() -> None:
    go_on = threading.Event()
    threading.Thread(target=go_on.wait, name="company").start()
    try:
        with pytest.raises(ProofRefused, match="company"):
            refuse_company()
    finally:
        go_on.set()
