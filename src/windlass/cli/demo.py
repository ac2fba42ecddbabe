"""`windlass demo`: a real job is killed in the middle of an effect, goes on, and everything is counted afterwards.

A worker process runs examples/code_review.py. This process watches the job's ledger, a file outside of any database,
sends SIGKILL while a line is on its way, starts a second worker with the same command, and compares what happened
outside with what the run's log says.
"""

import asyncio
import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Annotated

import msgspec
from cyclopts import Parameter
from msgspec import Struct

from windlass.cli.demo_figures import Figures, Kill, Ledger, count, judge, show
from windlass.cli.options import COMMON, Common
from windlass.cli.output import Out
from windlass.core.errors import InputError, RunFailed

PACKAGE = Path(__file__).parents[1]
PROGRAM = Path("examples", "code_review.py")
LOOK_SECONDS, GLANCE_SECONDS = 0.001, 0.02  # between two looks: for the right moment, and at how far it is
WAIT_SECONDS = 600.0  # for a worker that neither ends nor moves
LONGEST_PAUSE, ALL_PAUSES, SHORTEST_PAUSE = 0.04, 2.5, 0.004  # seconds by which an append is drawn out


class Place(Struct, frozen=True):
    """Where one demo happens, and the command of its workers."""

    src: Path
    out: Path
    store: str
    run: str
    command: list[str]
    files: int

    @property
    def window(self) -> range:
        """The numbers of ledger lines at which the kill may come: 40 to 60 % of them, or the nearest there is."""
        middle = max(1, self.files // 2)
        return range(-(-4 * self.files // 10), 6 * self.files // 10 + 1) or range(middle, middle + 1)

    @property
    def has_middle(self) -> bool:
        """Whether any whole number of lines lies within 40 to 60 %; not with 1 and 3 files."""
        return 4 * self.files <= 10 * self.window[0] <= 6 * self.files

    @property
    def pause(self) -> float:
        """Seconds by which the first worker draws an append out, so that the kill can hit it in a small tree, too."""
        return max(SHORTEST_PAUSE, min(LONGEST_PAUSE, ALL_PAUSES / self.files))


def demo(
    *,
    src: Annotated[str, Parameter(help="The source tree to review; else this project's own.")] = "",
    model: Annotated[str, Parameter(help="Let a model write the summary (OPENAI_BASE_URL, OPENAI_API_KEY).")] = "",
    out: Annotated[str, Parameter(help="A new folder for ledger, store and report; else .windlass/demo/TIME.")] = "",
    common: Common = COMMON,
) -> int:
    """Review a source tree, be killed in the middle of an effect, go on, and count: nothing was done twice.

    Without --store the run has a store of its own in the new folder. Exit code 1 if a figure is not what it should be.
    """
    say = Out(as_json=common.json)
    program = find_program()
    place = prepare(program, src, model, out, common)
    say.say(f"run {place.run} in {place.store}")
    size = "1 file" if place.files == 1 else f"{place.files} files"
    say.say(f"reviews {size} of {near(place.src)}; ledger and report: {near(place.out)}")
    if model:
        said = "names and figures of the first files of the ranking, no line of source"
        say.say(f"at the end {said}, is sent to {model} at {load(program).endpoint()}")
    if not place.has_middle:
        say.say(f"of {size} there is no 40 to 60 %: the kill comes at ledger line {place.window[0]}")
    began = time.monotonic()
    kill = first_half(place, say)
    spawned = time.time()
    second_half(place, say)
    seconds = time.monotonic() - began
    counted = asyncio.run(count(place.store, place.run, place.out, spawned))
    figures = Figures(files=place.files, killed=kill, seconds=round(seconds, 2), **counted)
    wrong = list(judge(figures))
    commands = paste(place)
    found = {"run": place.run, "store": place.store, "out": str(place.out), "report": str(place.out / "report.html")}
    say.give({**msgspec.to_builtins(figures), **found, "commands": commands, "wrong": wrong})
    show(say, figures, wrong)
    say.lines(["", "to look at it:", *(f"  {command}" for command in commands)])
    return 1 if wrong else 0


# Before


def find_program() -> Path:
    """Find the program that the demo runs: in the checkout that this package belongs to, or installed beside it.

    Raises:
        InputError: it is not there.
    """
    folders = [PACKAGE.parents[1], Path(sysconfig.get_path("data"), "share", "windlass")]
    here = Path.cwd()
    if (here / "src" / "windlass").is_dir():  # a checkout, too: another folder's program is not ours to run
        folders.append(here)
    for folder in folders:
        if (folder / PROGRAM).is_file():
            return folder / PROGRAM
    looked = ", ".join(str(folder / PROGRAM) for folder in folders)
    raise InputError("demo", f"it runs {PROGRAM}, which is not there: {looked}", hint="run it in a checkout")


def load(program: Path) -> ModuleType:
    """Import the program, to look at a tree as it does."""
    spec = spec_from_file_location("windlass_demo_program", program)
    if spec is None or spec.loader is None:
        raise InputError("demo", f"{program} cannot be imported")
    module = sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def prepare(program: Path, src: str, model: str, out: str, common: Common) -> Place:
    """Choose the tree, make the folder, and work out the workers' command.

    Raises:
        InputError: there is nothing to review, or the folder holds something already.
    """
    own = program.parents[1] / "src"
    tree = Path(src).resolve() if src else own if own.is_dir() else PACKAGE
    if not tree.is_dir():
        raise InputError("--src", f"{src or tree} is no folder")
    files = len(load(program).python_files(tree))
    if not files:
        raise InputError("--src", f"there are no Python files in {src or tree}", hint="name another tree: --src DIR")
    started = time.strftime("%Y%m%d-%H%M%S")
    folder = make_folder(out, started)
    url = common.store or f"sqlite:///{near(folder / 'review.db')}"
    if url.startswith("memory:"):
        raise InputError("--store", "a store in memory would go with the killed process", hint="leave --store out")
    run = f"demo-{started}"
    command = [sys.executable, str(program), "--src", str(tree), "--out", str(folder), "--store", url, "--id", run]
    return Place(tree, folder, url, run, [*command, *(["--model", model] if model else [])], files)


def make_folder(out: str, started: str) -> Path:
    """Make the demo's folder.

    Raises:
        InputError: it is there and not empty.
    """
    if not out:
        home = Path.cwd() / ".windlass"
        if not home.exists():
            home.mkdir(mode=0o700)
            (home / ".gitignore").write_text("*\n", encoding="ascii")
        out = str(home / "demo" / started)
    folder = Path(out).resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise InputError("--out", f"{near(folder)} is not empty", hint="name a new folder: --out DIR")
    except OSError as error:
        raise InputError("--out", f"{out} cannot be made: {error.strerror}") from error
    return folder


def near(path: Path) -> str:
    """Spell a path as short as it can be from here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


# Two workers


@contextmanager
def worker(place: Place, number: int, pause: float) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a worker with the demo's command; it does not outlive this process's interest in it."""
    environment = {**os.environ, "CODE_REVIEW_PAUSE": str(pause)}
    with (place.out / f"worker-{number}.log").open("wb") as log:
        process = subprocess.Popen(place.command, stdout=log, stderr=log, env=environment)  # noqa: S603 -- our program
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def first_half(place: Place, say: Out) -> Kill | None:
    """Run a worker and kill it inside an effect; None if it ended before that.

    Raises:
        RunFailed: it failed by itself.
    """
    ledger = Ledger(place.out / "ledger.jsonl")
    with worker(place, 1, place.pause) as process, progress(place, say) as tell:
        tell(f"worker {process.pid} at work", 0)
        until = time.monotonic() + WAIT_SECONDS
        while process.poll() is None and time.monotonic() < until:
            tell("", ledger.look())
            if is_inside(place, ledger) and hold(process) and (file := is_inside(place, ledger)):
                process.kill()
                process.wait()
                lines = ledger.lines
                tell(f"SIGKILL at {lines} of {place.files} ledger lines, inside the append for {file}", lines)
                return Kill(lines, file)
            go_on(process)
            time.sleep(LOOK_SECONDS)
    if process.returncode:
        raise failed(place, 1)
    return None


def is_inside(place: Place, ledger: Ledger) -> str:
    """Return the file whose line has just been written while its effect goes on; "" if the moment is not right."""
    if ledger.look() not in place.window:
        return ""
    try:
        return ledger.file_of((place.out / "inside").read_text() or "-")
    except FileNotFoundError:
        return ""


def hold(process: "subprocess.Popen[bytes]") -> bool:
    """Stop a process so that its state can be looked at without haste; False if it ended instead."""
    process.send_signal(signal.SIGSTOP)
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    if os.WIFSTOPPED(status):
        return True
    process.returncode = os.waitstatus_to_exitcode(status)
    return False


def go_on(process: "subprocess.Popen[bytes]") -> None:
    """Let a process go on that `hold` stopped."""
    if process.returncode is None:
        process.send_signal(signal.SIGCONT)


def second_half(place: Place, say: Out) -> None:
    """Run a second worker with the same command to its end.

    Raises:
        RunFailed: it failed, or did not end.
    """
    ledger = Ledger(place.out / "ledger.jsonl")
    with worker(place, 2, 0.0) as process, progress(place, say) as tell:
        tell(f"worker {process.pid} goes on with the same run", ledger.look())
        until = time.monotonic() + WAIT_SECONDS
        while process.poll() is None and time.monotonic() < until:
            tell("", ledger.look())
            time.sleep(GLANCE_SECONDS)
        tell("", ledger.look())
    if process.returncode:
        raise failed(place, 2)


def failed(place: Place, number: int) -> RunFailed:
    """Make the error for a worker that failed by itself."""
    log = place.out / f"worker-{number}.log"
    last = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
    return RunFailed(f"worker {number} of {place.run} failed:\n{last}", failure={}, hint=f"see {near(log)}")


@contextmanager
def progress(place: Place, say: Out) -> Iterator[Callable[[str, int], None]]:
    """Show how far the ledger is: a bar on a terminal, else a line now and then. Both on standard error."""
    told = -1

    def line(said: str, lines: int) -> None:
        nonlocal told
        if said:
            say.say(said)
        if (quarter := 4 * lines // place.files) > told >= 0:
            say.say(f"ledger: {lines} of {place.files} lines")
        told = max(told, quarter)

    if not sys.stderr.isatty() or say.as_json:
        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("  ledger"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("ledger", total=place.files)

        def draw(said: str, lines: int) -> None:
            if said:
                bar.console.print(said, highlight=False)
            bar.update(task, completed=lines)

        yield draw


def paste(place: Place) -> list[str]:
    """Spell three commands that work here as they are printed."""
    called = Path(sys.argv[0])
    found = shutil.which("windlass")
    is_found = found is not None and called.name == "windlass" and Path(found).samefile(called)
    program = "windlass" if is_found or called.name != "windlass" else near(called.absolute())
    viewer = "open" if sys.platform == "darwin" else "xdg-open" if has_screen() else ""
    report = [viewer, near(place.out / "report.html")] if viewer else ["cat", near(place.out / "report.md")]
    looks = [[program, "runs", verb, place.run, "--store", place.store] for verb in ("show", "events")]
    return [shlex.join(words) for words in (*looks, report)]


def has_screen() -> bool:
    """Say whether a browser can be opened from here."""
    screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(screen) and shutil.which("xdg-open") is not None
