"""A fault at every call of the disk while a store is looked after: pruned, backed up, repaired.

Each chore is done once unharmed, which says what it comes to and how often it calls the disk. Then it is done again and
again in processes that are killed, or whose disk fails, at one of these calls. What is left must be whole, or refuse by
a typed error; the chore done again must come to the same; and a half back-up or repair must not pass for a whole one.
"""

import asyncio
import json
import logging
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import apsw
from msgspec import Struct

from trials.disk_scenes import PATIENCE, Quiet, Tell
from trials.figures import Figures, Trial
from trials.retention import build, seen
from trials.sweep import KILLS, SWEPT, Faulty, Point, collect, spread
from windlass.core import crashpoint
from windlass.core.errors import StoreBehind, StoreError, StoreUnavailable
from windlass.core.queries import Runs
from windlass.stores.sqlite import SQLiteStore
from windlass.testing.crash_forks import fork
from windlass.testing.disk import beside_sqlite
from windlass.testing.specimens import an_owner

PAGE = 4096
ENDS = ("", "-wal", ".anchor")
VICTIM = "asks"
TABLES = {
    "runs": "SELECT id, status, branch, n, seq FROM runs ORDER BY id",
    "log": "SELECT id, digest FROM log ORDER BY id",
    "manifests": "SELECT id, branch, n, digest FROM manifests ORDER BY id",
    "blobs": "SELECT digest FROM blobs ORDER BY digest",
    "questions": "SELECT id, status FROM questions ORDER BY id",
    "effects": "SELECT run, branch, address, key FROM effects ORDER BY run, branch, address, key",
    "commands": "SELECT id, body FROM commands ORDER BY id",
    "quarantine": "SELECT run_no FROM quarantine ORDER BY run_no",
    "lost_and_found": "SELECT id, kind FROM lost_and_found ORDER BY id, kind",
    "meta": "SELECT name FROM meta WHERE name LIKE 'prune.%'",
}


class Chore(Struct, frozen=True):
    """What is done to a store.

    Args:
        options: of the chore.
        harm: is done to the store before, in place.
    """

    chore: str
    options: dict[str, Any]
    harm: Callable[[Path], None] | None = None


def cut(path: Path) -> None:
    """Damage a row in the middle of a log, below the checksums of pages."""
    _change(path, "UPDATE log SET body = x'00' WHERE id = (SELECT id FROM log WHERE id >> 32 = 3 LIMIT 1 OFFSET 9)")


def differ(path: Path) -> None:
    """Take rows away that follow from the logs, and change where a run stands."""
    _change(path, "DELETE FROM questions", "DELETE FROM effects", "UPDATE runs SET status = 'running' WHERE no = 1")


def tear(path: Path) -> None:
    """Damage pages of the log and of the effects."""
    connection = apsw.Connection(str(path))
    found = list(connection.execute("SELECT name, pageno FROM dbstat WHERE pagetype = 'leaf' ORDER BY pageno"))
    connection.close()
    content = bytearray(path.read_bytes())
    logs = [page for name, page in found if name == "log"]
    for page in (logs[len(logs) // 2], *(page for name, page in found if name in ("effects", "runs"))):
        content[page * PAGE - 90] ^= 4
    path.write_bytes(content)


CHORES = {
    "prune": Chore("prune", {"before": 1e11, "grace": 0}),
    "history": Chore("prune", {"before": 1e11, "keep": "heads", "grace": 0}),
    "backup": Chore("backup", {}),
    "cut": Chore("check", {"repair": True}, cut),
    "derived": Chore("check", {"repair": True}, differ),
    "salvage": Chore("check", {"repair": True}, tear),
}


def _change(path: Path, *statements: str) -> None:
    connection = apsw.Connection(str(path))
    for statement in statements:
        connection.execute(statement)
    connection.close()


def dump(path: Path) -> str:
    """Digest the tables as they stand."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        told = {table: connection.execute(sql).fetchall() for table, sql in TABLES.items()}
    finally:
        connection.close()
    return json.dumps({table: sha256(repr(rows).encode()).hexdigest()[:12] for table, rows in told.items()})


def copied(source: Path, place: Path) -> Path:
    """Copy a store."""
    place.mkdir()
    for end in ENDS:
        with suppress(FileNotFoundError):
            shutil.copyfile(f"{source}{end}", f"{place}/{source.name}{end}")
    return place / source.name


def do(name: str, path: Path) -> None:
    """Do a chore."""
    chore = CHORES[name]
    options = {**chore.options, "to": f"{path.parent}/copy.db"} if chore.chore == "backup" else chore.options
    asyncio.run(SQLiteStore(f"sqlite:///{path}").maintain(chore.chore, **options))


def outcome(name: str, path: Path) -> str:
    """Say what a chore has come to."""
    return dump(path.parent / "copy.db" if name == "backup" else path)


def apart(work: Callable[[Tell], None]) -> list[str]:
    """Do something in a process of its own, which waits for no disk; it says what it found."""

    def child(tell: Tell) -> None:
        logging.disable()
        with Quiet("quiet", is_default=True):
            work(tell)

    process = fork(child)
    ended = process.end(PATIENCE)
    return process.rest() + ([] if ended == 0 else [f"stuck {ended}"])


def made(folder: Path) -> Path:
    """Make the store, and what each chore is done to."""

    def work(tell: Tell) -> None:
        path = folder / "whole.db"
        asyncio.run(build(f"sqlite:///{path}"))
        for name, chore in CHORES.items():
            place = copied(path, folder / name)
            if chore.harm is not None:
                chore.harm(place)
            known = copied(place, folder / f"{name}-done")
            do(name, known)
            tell(f"{name} {outcome(name, known)}")
            if chore.chore == "check":
                do(name, known)
                tell(f"{name}-twice {outcome(name, known)}")
        tell("seen " + repr(asyncio.run(seen(f"sqlite:///{path}"))))

    return Path(_kept(folder / "known.json", apart(work)))


def _kept(file: Path, lines: list[str]) -> Path:
    file.write_text(json.dumps(dict(line.split(" ", 1) for line in lines)), encoding="utf-8")
    return file


def lived(path: Path, point: Point | None, name: str) -> Callable[[Tell], None]:
    """Return what a process does whose disk fails: the chore, and once more when the disk is mended."""

    def child(tell: Tell) -> None:
        logging.disable()
        crashpoint.on_reach = lambda label: tell("told") if label == "repair.told" else None
        with Faulty(point, tell) as disk, beside_sqlite(disk):
            try:
                do(name, path)
                tell("done")
            except StoreUnavailable:
                tell("refused")
                disk.mend()
            except Exception as error:  # noqa: BLE001 -- whatever else reaches a user is what is looked for
                tell(f"wrong untyped {type(error).__name__}: {error}")

    return child


def judged(name: str, path: Path, known: dict[str, str], original: str, ends: set[str]) -> Callable[[Tell], None]:
    """Return what looks at what is left, does the chore again, and looks once more.

    Args:
        ends: what it may come to then.
    """

    def look(tell: Tell) -> None:
        if CHORES[name].chore == "check":
            _look_at_repair(name, path, original, tell)
        elif known["seen"] != repr(asyncio.run(seen(f"sqlite:///{path}"))):
            tell("changed: what has to stay is another")
        if name == "backup" and (path.parent / "copy.db").exists():
            if outcome(name, path) != known[name]:
                tell("half: the back-up is not whole")
            shutil.copytree(path.parent, path.parent / "first")
            for end in ENDS:
                (path.parent / f"copy.db{end}").unlink(missing_ok=True)
        do(name, path)
        if outcome(name, path) not in ends:
            tell(f"another end: {outcome(name, path)} and not {known[name]}")
        _check(name, path, tell)

    def child(tell: Tell) -> None:
        try:
            look(tell)
        except Exception as error:  # noqa: BLE001 -- told, and counted
            tell(f"stuck: {type(error).__name__}: {error}".replace("\n", " "))

    return child


def _check(name: str, path: Path, tell: Tell) -> None:
    """Read everything; after a repair, whatever is told must be about runs that are set apart."""
    where = path.parent / "copy.db" if name == "backup" else path
    found = asyncio.run(SQLiteStore(f"sqlite:///{where}").maintain("check"))["problems"]
    for problem in found:
        if CHORES[name].chore != "check" or "is quarantined" not in problem:
            tell(f"damaged: {problem}".replace("\n", " "))


def _look_at_repair(name: str, path: Path, original: str, tell: Tell) -> None:
    """Look at what a repair left: the file as it was must be there, and nobody may go on with a damaged run."""
    if name == "salvage":
        files = [path, *path.parent.glob("*.damaged-*")]
        if original not in {sha256(file.read_bytes()).hexdigest() for file in files if file.exists()}:
            tell("lost: the damaged file is not there as it was")
    if name == "derived":
        return
    beside = copied(path, path.parent / "beside")
    for file in path.parent.glob("*.repaired"):
        shutil.copyfile(file, beside.parent / file.name)
    wrong = asyncio.run(_claimed(f"sqlite:///{beside}"))
    if wrong:
        tell(wrong)


async def _claimed(url: str) -> str:
    store = SQLiteStore(url)
    try:
        await store.open()
    except StoreBehind:
        return ""
    except StoreError as error:
        return f"does not open: {error}"
    try:
        for record in await store.find(Runs()):
            try:
                await store.load(record.id)
                await store.claim(record.id, an_owner())
            except StoreError:
                continue
            problems = (await store.maintain("check"))["problems"]
            if any(f"run {record.id}:" in problem and ": event " in problem for problem in problems):
                return f"went on: {record.id} is damaged and can be claimed"
    except StoreError:
        pass
    finally:
        await store.close()
    return ""


def tried(folder: Path, number: int, name: str, point: Point) -> dict[str, list[str]]:
    """Strike once and judge what is left."""
    known = json.loads((folder / "known.json").read_text(encoding="utf-8"))
    path = copied(folder / name / "whole.db", folder / f"trial-{number}")
    original = sha256(path.read_bytes()).hexdigest()
    child = fork(lived(path, point, name))
    code = child.end(PATIENCE)
    lines = child.rest()
    words = [line.split(" ", 1)[0] for line in lines]
    reached = [f"{name}: {point.mode}"] if "struck" in words else ["not reached"]
    reached += ["refused"] if "refused" in words else []
    bad = [line.split(" ", 1)[1] for line in lines if line.startswith("wrong ")]
    if "refused" in words:  # what was not finished is thrown away, however often it was synced
        bad = [line for line in bad if not (line.startswith("synced-again") and line.endswith((".part", ".salvage")))]
    if "struck" in words and code != (-signal.SIGKILL if point.mode in KILLS else 0):
        bad.append(f"ended: with {code}")
    ends = {known[name], *([known[f"{name}-twice"]] if "told" in words else [])}
    bad += apart(judged(name, path, known, original, ends))
    shutil.rmtree(path.parent)
    return {"reached": reached, "bad": [f"{line.partition(':')[0]}: {name}: {point}: {line}" for line in bad]}


def counted(folder: Path, name: str) -> Counter[str]:
    """Count the calls of a chore that is not harmed."""
    path = copied(folder / name / "whole.db", folder / f"counted-{name}")
    child = fork(lived(path, None, name))
    child.end(PATIENCE)
    return Counter(line.split(" ")[1] for line in child.rest() if line.startswith("call "))


def run(folder: Path, *, points: int = 0, seed: int = 5) -> Figures:
    """Strike at so many points, or at every one."""
    figures = Figures()
    made(folder)
    calls = {name: counted(folder, name) for name in CHORES}
    every = [
        Point(name, mode, what, nth)
        for name in CHORES
        for mode, kinds in SWEPT.items()
        for what in kinds
        if what != "store"
        for nth in range(1, calls[name][what] + 1)
    ]
    chosen = list(spread(every, Random(seed), by_call=False))[: points or None]
    figures.reached |= {f"{name}: {mode}": 0 for name in CHORES for mode in SWEPT}
    figures.reached["refused"] = 0
    jobs = [partial(tried, folder, place, point.pace, point) for place, point in enumerate(chosen)]
    return collect(figures, jobs, calls, len(every))


TRIALS = (
    Trial(
        "upkeep",
        "F8, F9, F10, F11",
        "A kill, an I/O error or a full disk at each write and sync of a prune, a back-up or a repair: the store is "
        "whole or refuses, nothing that has to stay is changed, and the chore done again comes to the same.",
        run,
        {"points": 48},
        {"points": 2_500},
    ),
)
