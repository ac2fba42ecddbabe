"""Files of other versions: every older one is opened and goes on, a newer or foreign one is refused and left alone.

`trials/versions/N.sql` is a file of schema N as that version wrote it: a run that ended, one that waits for a person, a
paused fork, and one whose effect is in doubt. A new one is made by `python -m trials.versions_work FILE` and `.dump`.
"""

import asyncio
import sqlite3
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

from trials import versions_work
from trials.figures import Figures, Trial
from windlass import Runtime
from windlass.core.errors import StoreError, StoreUnknown, StoreVersion, WindlassError
from windlass.stores.base import open_store
from windlass.stores.sqlite_file import APPLICATION, latest

CORPUS = Path(__file__).parent / "versions"
NEWER = (1, 2, 1_000)  # versions ahead


def versions(folder: Path, rounds: int) -> Figures:
    """Open a file of every version, and files that are none of ours."""
    figures = Figures()
    for number in range(rounds):
        for dump in sorted(CORPUS.glob("*.sql")):
            figures.trials += 1
            path = folder / f"{number}-{dump.stem}.db"
            build(dump, path)
            if int(dump.stem) < latest():
                _refused(path, StoreVersion, figures)  # it says `windlass store migrate`
            asyncio.run(open_store(f"sqlite:///{path}").maintain("migrate"))
            asyncio.run(_goes_on(path, f"schema {dump.stem}", figures))
            figures.reach(f"files of schema {dump.stem}")
        for ahead in NEWER:
            path = folder / f"{number}-ahead-{ahead}.db"
            build(CORPUS / "1.sql", path, version=latest() + ahead)
            _refused(path, StoreVersion, figures)
        foreign = folder / f"{number}-foreign.db"
        with closing(sqlite3.connect(foreign)) as connection:
            connection.execute("CREATE TABLE runs (id TEXT)")
            connection.commit()
        _refused(foreign, StoreUnknown, figures)
        (folder / f"{number}-text.db").write_text("this is no database\n" * 1_000)
        _refused(folder / f"{number}-text.db", StoreError, figures)
        (folder / f"{number}-half.db").write_bytes(foreign.read_bytes()[:700])
        _refused(folder / f"{number}-half.db", WindlassError, figures)
    return figures


def build(dump: Path, path: Path, version: int = 0) -> None:
    """Make a file of a dump; with `version`, one that says that it is of another schema."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        connection.executescript(dump.read_text())
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {version or int(dump.stem)}")
        connection.commit()


async def _never(n: int) -> int:
    raise AssertionError("it was called again")


async def _goes_on(path: Path, name: str, figures: Figures) -> None:
    vars(versions_work)["_sent"] = vars(versions_work)["_deadly"] = _never
    try:
        async with Runtime(f"sqlite:///{path}", list(versions_work.DEFINITIONS)) as runtime:
            for run in ("ended", "asks", "forked", "doubts"):
                replayed = await runtime.replay(run)
                if replayed.differing:
                    figures.blame("another state", f"{name}: {run} at {replayed.differing}")
            state = await runtime.state("ended")
            if state["n"] != 10 or state["notes"][2:5] != ["wörd 2", "large" * 20_000, "wörd 4"]:
                figures.blame("another value", f"{name}: {str(state)[:100]}")
            (asked,) = await runtime.questions("asks")
            await runtime.answer(asked.id, "yes")
            await runtime.resume("forked")
            await runtime.resume("doubts")
            ends: dict[str, Any] = {run: await runtime.wait(run) for run in ("asks", "forked", "doubts")}
            if (ends["asks"].output, ends["forked"].output["n"], ends["doubts"].status) != ("YES", 10, "waiting"):
                figures.blame("does not go on", f"{name}: {str(ends)[:300]}")
            (doubt,) = await runtime.questions("doubts")
            await runtime.answer(doubt.id, {"happened": True, "value": 5})
            if (await runtime.wait("doubts")).output != 5:
                figures.blame("does not go on", f"{name}: the doubt was answered")
            checked = await runtime.store.maintain("check")
            if checked["problems"]:
                figures.blame("damaged", f"{name}: {checked['problems']}")
    except (WindlassError, AssertionError, ValueError) as error:
        figures.blame("does not open", f"{name}: {error!r}")


def _refused(path: Path, expected: type[WindlassError], figures: Figures) -> None:
    figures.trials += 1
    before = _contents(path)
    try:
        asyncio.run(_open(path))
        figures.blame("opened", f"{path.stem}: {expected.__name__} was expected")
    except expected:
        figures.reach(f"refused by {expected.__name__}")
    except Exception as error:  # noqa: BLE001 -- that it is another is what is told
        figures.blame("raw error", f"{path.stem}: {error!r} instead of {expected.__name__}")
    if _contents(path) != before:
        figures.blame("changed", path.stem)


async def _open(path: Path) -> None:
    async with Runtime(f"sqlite:///{path}"):
        pass


def _contents(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


TRIALS = (
    Trial(
        name="versions",
        faults="F13 F38",
        says="A file of every older schema is refused until it is migrated; then it opens, replays to the same "
        "digests, and its runs go on with no call made again. A file of a newer one, of another program, or of no "
        "database is refused, typed, and left as it is.",
        run=versions,
        short={"rounds": 1},
        long={"rounds": 20},
    ),
)
