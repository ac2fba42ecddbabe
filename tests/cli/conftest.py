"""The command line in process: `windlass("run", …)` in a folder of its own that holds flows.py."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from windlass import Runtime
from windlass.cli import main
from windlass.core.changes import Adjust


@dataclass(frozen=True)
class Done:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """Standard output as JSON, an object a line."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def object(self) -> dict[str, Any]:
        """The last object on standard output."""
        return self.objects[-1]


Windlass = Callable[..., Done]
Start = Callable[..., "subprocess.Popen[str]"]
COMMAND = "import sys; from windlass.cli import main; sys.exit(main())"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current directory with flows.py in it; what a command imports from there is forgotten afterwards."""
    shutil.copy(Path(__file__).with_name("flows.py"), tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WINDLASS_STORE", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def windlass(capsys: pytest.CaptureFixture[str]) -> Windlass:
    """Run a command line."""

    def run(*words: str) -> Done:
        capsys.readouterr()
        code = main(words)
        said = capsys.readouterr()
        return Done(code, said.out, said.err)

    return run


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a command line in a process of its own."""
    started: list[subprocess.Popen[str]] = []
    found = str(Path(sys.modules["windlass"].__file__ or "").parents[1])
    environment = {**os.environ, "PYTHONPATH": found}

    def begin(*words: str) -> "subprocess.Popen[str]":
        program = [sys.executable, "-c", COMMAND, *words]
        pipe = subprocess.PIPE
        process = subprocess.Popen(program, stdout=pipe, stderr=pipe, text=True, env=environment)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def wait_for(path: Path) -> None:
    """Wait until another process has made a file."""
    pause = threading.Event()
    for _ in range(2000):
        if path.exists():
            return
        pause.wait(0.005)
    raise AssertionError(f"{path} did not appear")


def adjust(*changes: Adjust, claims: str = "") -> None:
    """Change shared numbers of the store in the current directory, as the owner of a run where one is named."""

    async def go() -> None:
        async with Runtime("sqlite:///.windlass/windlass.db") as runtime:
            if claims:
                await runtime.store.claim(claims, runtime.services.owner)
            await runtime.store.adjust(changes)

    asyncio.run(go())
