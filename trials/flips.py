"""Flipped bits, cut files and files put in the place of others: nothing but what was written is ever read (F11–F13).

Two images of one store are damaged again and again: one that was closed, and one as a kill leaves it, with a log that
is not copied into the file yet. After each damage everything is read, question by question: each is answered as before,
or refused by a typed error. Digests are tried apart from the checksums of pages, which would hide them: by changing a
record through SQL, as a fault before the checksum would.
"""
# ruff: noqa: ASYNC240 -- nothing else runs on the loops of a trial

import asyncio
import logging
import os
import random
import shutil
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import apsw
from msgspec import Raw
from msgspec.structs import replace

from trials.figures import Figures, Trial
from windlass.core.changes import Adjust, BlobPut, EffectPut, ItemsPut, LetterPut, ManifestPut, QuestionPut
from windlass.core.errors import StoreCorrupt, StoreError, WindlassError
from windlass.core.queries import Blobs, Commands, Effects, Items, Letters, Manifests, Questions, Rows, Runs, Tallies
from windlass.core.records import Loaded
from windlass.stores import sqlite_anchor
from windlass.stores.base import Store
from windlass.stores.sqlite import SQLiteStore
from windlass.testing.specimens import (
    HandClock,
    a_blob,
    a_budget_op,
    a_command,
    a_letter,
    a_manifest,
    a_question,
    a_record,
    a_row,
    a_write,
    an_effect,
    an_item,
    an_owner,
)

RUNS, ROWS = 12, 12
PAGE, WAL_HEADER, FRAME_HEADER = 4096, 32, 24
BLOBS = [a_blob(b"a large value %d " % i * 6_000) for i in range(RUNS)]
SIGNED = ("log", "records", "manifests", "questions", "effects", "commands", "items", "tallies", "dead_letters")
KEYS = {"items": "arrival", "tallies": "key"}  # of tables without row numbers
AIMS = {
    "live rows": 30,
    "records": 15,
    "log frames": 25,
    "cut logs": 8,
    "index pages": 12,
    "cut files": 5,
    "anywhere": 5,
}
IMAGES = {"log frames": "killed", "cut logs": "killed"}
ENDS = ("", "-wal", ".anchor")


async def filled(path: Path, killed: Path) -> None:
    """Make the store, and keep what a kill would leave of it on the way."""
    store = SQLiteStore(f"sqlite:///{path}", clock=HandClock())
    await store.open()
    for i in range(RUNS):
        run, blob = f"run-{i}", BLOBS[i]
        changes = (
            QuestionPut(a_question(run, f"q-{i}", answer=Raw(b'"yes"'))), EffectPut(an_effect(run, f"e-{i}")),
            ItemsPut(tuple(an_item(run, n) for n in range(1, 6))), BlobPut(blob),
            ManifestPut(a_manifest(run, 4, blobs=(blob.digest,))), LetterPut(a_letter(run, f"l-{i}")),
            Adjust(f"budget|tenant|t-{i}", a_budget_op(run, want={"steps": 5}, spent={"steps": 7})),
        )  # fmt: skip
        rows = [a_row(run, seq, body=b'{"at":%d,"pad":"%s"}' % (seq, b"x" * 300)) for seq in range(1, ROWS + 1)]
        await store.create(a_record(run, tags={"k": str(i)}), a_write(run, rows=rows[:4], changes=changes), an_owner())
        for row in rows[4:-1]:
            await store.commit(a_write(run, after=row.first - 1, rows=[row]))
        await store.post(a_command(run, f"c-{i}", value="something"))
    for i in range(RUNS):
        await store.commit(a_write(f"run-{i}", after=ROWS - 1))
    copied(path, killed)
    await store.close()


def copied(path: Path, to: Path) -> None:
    """Copy a store: the file, its log and its anchor."""
    for end in ENDS:
        Path(f"{to}{end}").unlink(missing_ok=True)
        if Path(f"{path}{end}").exists():
            shutil.copyfile(f"{path}{end}", f"{to}{end}")
    Path(f"{to}-shm").unlink(missing_ok=True)


def questions() -> dict[str, Callable[[Store], Awaitable[Any]]]:
    """Name everything that can be asked."""
    asked: dict[str, Callable[[Store], Awaitable[Any]]] = {
        "runs": lambda store: store.find(Runs(limit=100)),
        "claimable": lambda store: store.find(Runs(claimable=True, due_before=1e12, limit=100)),
        "questions": lambda store: store.find(Questions(statuses=None, limit=100)),
        "tallies": lambda store: store.find(Tallies()),
        "letters": lambda store: store.find(Letters(statuses=None, limit=100)),
    }
    for i in range(RUNS):
        run, digest = f"run-{i}", BLOBS[i].digest
        asked |= {
            f"{run} load": lambda store, run=run: store.load(run),  # type: ignore[misc]
            f"{run} rows": lambda store, run=run: store.find(Rows(run=run)),  # type: ignore[misc]
            f"{run} one": lambda store, run=run: store.find(Runs(ids=(run,))),  # type: ignore[misc]
            f"{run} snapshot": lambda store, run=run: store.find(Manifests(run=run, until=99)),  # type: ignore[misc]
            f"{run} effects": lambda store, run=run: store.find(Effects(tree=run)),  # type: ignore[misc]
            f"{run} items": lambda store, run=run: store.find(Items(run=run)),  # type: ignore[misc]
            f"{run} commands": lambda store, run=run: store.find(Commands(run=run)),  # type: ignore[misc]
            f"{run} blob": lambda store, digest=digest: store.find(Blobs(digests=(digest,))),  # type: ignore[misc]
        }
    return asked


async def told(url: str, figures: Figures, where: str) -> dict[str, Any]:
    """Open a store and ask everything: each answer, or the code of the error that refused it."""
    store = SQLiteStore(url, clock=HandClock())
    answers: dict[str, Any] = {}
    try:
        await store.open()
        for name, ask in questions().items():
            try:
                answers[name] = await ask(store)
            except WindlassError as error:
                answers[name] = error
    except WindlassError as error:
        answers["open"] = error
    except Exception as error:  # noqa: BLE001 -- that is what must not happen
        figures.blame("raw error", f"{where}: {type(error).__name__}: {error}")
        answers["open"] = error
    finally:
        await store.close()
    return answers


def judge(figures: Figures, truth: dict[str, Any], answers: dict[str, Any], where: str) -> str:
    """Compare answers with the truth; a run that is shown as quarantined is a refusal, too."""
    refused = False
    for name, answer in answers.items():
        if isinstance(answer, Exception):
            refused = True
            continue
        wanted = truth[name]
        if isinstance(answer, list) and answer != wanted and (name in {"runs", "claimable"} or name.endswith("one")):
            apart = {record.id for record in answer if record.quarantined}
            refused = refused or bool(apart)
            # One whose own record is damaged has no fingerprint: what is shown then is its id and its head.
            answer = [replace(record, quarantined="") for record in answer if record.fingerprint]  # noqa: PLW2901
            whole = {record.id for record in answer}
            wanted = [record for record in wanted if record.id in whole or record.id not in apart]
            if name == "claimable" and all(record in wanted for record in answer):
                refused, wanted = True, answer  # who claims is given those that can be read
        if answer == wanted:
            continue
        rolled_back = isinstance(answer, Loaded) and answer.record.head.seq < wanted.record.head.seq
        what = "silent rollback" if rolled_back else "another value read"
        figures.blame(what, f"{where}: {name}: {str(answer)[:200]}")
    return "refused" if refused else "harmless"


class Targets:
    """Where the bytes of an image are that count."""

    def __init__(self, closed: Path, killed: Path) -> None:
        connection = apsw.Connection(str(closed))
        pages: list[Any] = connection.execute("SELECT name, pagetype, pageno, pgsize - unused FROM dbstat").fetchall()
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        self.records = [
            (table, rowid) for table in SIGNED
            for (rowid,) in connection.execute(
                f"SELECT {KEYS.get(table, 'rowid')} FROM {table} WHERE body IS NOT NULL"
            )
        ]  # fmt: skip
        connection.close()
        self.rows = [(no, used) for name, kind, no, used in pages if name in tables and kind != "internal" and no > 1]
        self.indexes = [(no, used) for name, _, no, used in pages if name not in tables or name in KEYS]
        self.size = closed.stat().st_size
        log = Path(f"{killed}-wal").read_bytes()
        salt = log[16:24]
        frames = range(WAL_HEADER, len(log) - PAGE, PAGE + FRAME_HEADER)
        self.frames = [place for place in frames if log[place + 8 : place + 16] == salt]

    def in_page(self, dice: random.Random, pages: list[tuple[int, int]]) -> int:
        """Choose a byte that is in use: cells lie at the end of a page."""
        no, used = dice.choice(pages)
        return no * PAGE - 8 - dice.randrange(1, max(used - 12, 2))


def damage(aim: str, path: Path, targets: Targets, dice: random.Random) -> str:
    """Damage a copy; says where."""
    if aim == "records":
        return _change_record(path, *dice.choice(targets.records), dice)
    file = Path(f"{path}-wal") if aim in IMAGES else path
    if aim in ("cut logs", "cut files"):
        size = targets.frames[-1] + PAGE if aim == "cut logs" else targets.size
        place = dice.randrange(size)
        os.truncate(file, place)
        return f"{aim} at {place}"
    if aim == "log frames":
        place = dice.choice(targets.frames) + dice.randrange(PAGE + FRAME_HEADER)
    elif aim == "live rows":
        place = targets.in_page(dice, targets.rows)
    elif aim == "index pages":
        place = targets.in_page(dice, targets.indexes)
    else:
        place = dice.randrange(targets.size)
    content = bytearray(file.read_bytes())
    bit = dice.randrange(8)
    content[place] ^= 1 << bit
    file.write_bytes(content)
    return f"{aim}: bit {bit} of byte {place}"


def _change_record(path: Path, table: str, rowid: int | str, dice: random.Random) -> str:
    """Change a byte of a record, or of its digest, under right checksums of pages."""
    column = dice.choice(("body", "body", "digest"))
    key = KEYS.get(table, "rowid")
    connection = apsw.Connection(str(path))
    try:
        where = f"FROM {table} WHERE {key} = ? LIMIT 1"
        found: Any = connection.execute(f"SELECT {column} {where}", (rowid,)).fetchall()[0][0]
        content = bytearray(found)
        place, bit = dice.randrange(len(content)), dice.randrange(8)
        content[place] ^= 1 << bit
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (bytes(content), rowid))
    finally:
        connection.close()
    return f"{column} {rowid} of {table}: bit {bit} of byte {place}"


def run(folder: Path, *, flips: int, seed: int = 1) -> Figures:
    """Damage and read, again and again; then the cases of whole files."""
    log = logging.getLogger("windlass.store")
    before, log.disabled = log.disabled, True  # what it tells is asked for here hundreds of times
    try:
        return _run(folder, flips, seed)
    finally:
        log.disabled = before


def _run(folder: Path, flips: int, seed: int) -> Figures:
    figures = Figures(bad=dict.fromkeys(("another value read", "silent rollback", "raw error", "changed"), 0))
    dice = random.Random(seed)
    closed, killed, copy = folder / "closed.db", folder / "killed.db", folder / "copy.db"
    asyncio.run(filled(closed, killed))
    targets = Targets(closed, killed)
    truths = {}
    for image in (closed, killed):
        copied(image, copy)
        truths[image.stem] = asyncio.run(told(f"sqlite:///{copy}", figures, "whole"))
    counts: dict[str, int] = {}
    for number in range(flips):
        aim = dice.choices(list(AIMS), list(AIMS.values()))[0]
        image = killed if aim in IMAGES else closed
        copied(image, copy)
        where = f"{number}: {damage(aim, copy, targets, dice)}"
        verdict = judge(figures, truths[image.stem], asyncio.run(told(f"sqlite:///{copy}", figures, where)), where)
        figures.trials += 1
        counts[verdict] = counts.get(verdict, 0) + 1
        figures.reach(f"{aim}, {verdict}" if verdict == "refused" else aim)
    for name, case in CASES.items():
        copied(closed, copy)
        figures.trials += 1
        asyncio.run(case(copy, folder, figures))
        figures.reach(name)
    figures.shown = {
        "flips and cuts": flips,
        "refused": counts.get("refused", 0),
        "harmless (counted apart)": counts.get("harmless", 0),
        "aimed at live rows, log frames, index pages": f"{_share():.0%}",
        "whole files": len(CASES),
    }
    return figures


def _share() -> float:
    aimed = sum(AIMS.get(aim, 0) for aim in ("live rows", "records", "log frames", "cut logs", "index pages"))
    return aimed / sum(AIMS.values())


def contents(path: Path) -> dict[str, bytes]:
    """Read a store's files; the index of the log, which SQLite makes anew, left out."""
    return {end: Path(f"{path}{end}").read_bytes() for end in ENDS if Path(f"{path}{end}").exists()}


async def refused(path: Path, figures: Figures, code: str, what: str) -> None:
    """Every way to use the file has to end in a typed error, and to change nothing; a check may also tell problems."""
    before = contents(path)
    url = f"sqlite:///{path}"
    for name in ("open", "check", "backup", "migrate"):
        store = SQLiteStore(url, clock=HandClock())
        try:
            if name == "open":
                await store.open()
                figures.blame("silent rollback", f"{what}: it opens")
            elif path.exists():
                options = {"to": f"{path}.backup"} if name == "backup" else {}
                done = await store.maintain(name, **options)
                if name == "check" and not done["problems"]:
                    figures.blame("silent rollback", f"{what}: the check finds nothing")
        except StoreError as error:
            if name == "open" and error.code not in code.split():
                figures.blame("raw error", f"{what}: {error.code} instead of {code}")
        except Exception as error:  # noqa: BLE001 -- that is what must not happen
            figures.blame("raw error", f"{what}: {name}: {type(error).__name__}: {error}")
        finally:
            await store.close()
        Path(f"{path}.backup").unlink(missing_ok=True)
    if contents(path) != before:
        figures.blame("changed", what)


async def gone(path: Path, folder: Path, figures: Figures) -> None:
    """Delete the file."""
    path.unlink()
    await refused(path, figures, "store.behind", "deleted")


async def emptied(path: Path, folder: Path, figures: Figures) -> None:
    """Leave an empty file."""
    path.write_bytes(b"")
    await refused(path, figures, "store.behind", "emptied")


async def old_backup(path: Path, folder: Path, figures: Figures) -> None:
    """Put an older copy back."""
    old = path.read_bytes()
    store = SQLiteStore(f"sqlite:///{path}", clock=HandClock())
    await store.open()
    await store.commit(a_write("run-3", after=ROWS))
    await store.close()
    path.write_bytes(old)
    await refused(path, figures, "store.behind", "old back-up")


async def another_store(path: Path, folder: Path, figures: Figures) -> None:
    """Put another store in its place."""
    other = SQLiteStore(f"sqlite:///{folder}/other.db")
    await other.open()
    await other.close()
    shutil.copyfile(folder / "other.db", path)
    await refused(path, figures, "store.behind", "another store")


async def newer_version(path: Path, folder: Path, figures: Figures) -> None:
    """Let a newer version have written it."""
    connection = apsw.Connection(str(path))
    connection.pragma("user_version", 1_000)
    connection.close()
    await refused(path, figures, "store.version", "newer version")


async def another_program(path: Path, folder: Path, figures: Figures) -> None:
    """Put another program's database in its place."""
    path.unlink()
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.close()
    await refused(path, figures, "store.unknown", "another program's database")


async def garbage(path: Path, folder: Path, figures: Figures) -> None:
    """Write over the file."""
    path.write_bytes(b"no database at all " * 5_000)
    await refused(path, figures, "store.corrupt", "garbage")


async def log_lost(path: Path, folder: Path, figures: Figures) -> None:
    """Delete the log that a kill left."""
    copied(folder / "killed.db", path)
    Path(f"{path}-wal").unlink()
    await refused(path, figures, "store.behind store.corrupt", "log deleted")


async def row_gone(path: Path, folder: Path, figures: Figures) -> None:
    """Take a row out of the middle of every log, with right checksums: no run may be read across the hole."""
    connection = apsw.Connection(str(path))
    connection.execute("DELETE FROM log WHERE id & 0xffffffff = ?", (ROWS - 1,))
    connection.close()
    store = SQLiteStore(f"sqlite:///{path}", clock=HandClock())
    await store.open()
    for i in range(RUNS):
        try:
            await store.load(f"run-{i}")
            figures.blame("another value read", f"run-{i} was loaded without its event {ROWS - 1}")
        except StoreCorrupt:
            figures.reach("holes refused")
    await store.close()


async def anchor_lost(path: Path, folder: Path, figures: Figures) -> None:
    """Delete the anchor: that is no damage."""
    Path(f"{path}.anchor").unlink()
    store = SQLiteStore(f"sqlite:///{path}", clock=HandClock())
    await store.open()
    await store.commit(a_write("run-3", after=ROWS))
    await store.close()
    if not sqlite_anchor.read(str(path)).writes:
        figures.blame("changed", "no anchor was made anew")


async def replaced_while_open(path: Path, folder: Path, figures: Figures, *, delete: bool = False) -> None:
    """Take the file away from an open store."""
    store = SQLiteStore(f"sqlite:///{path}", clock=HandClock())
    await store.open()
    await store.commit(a_write("run-3", after=ROWS))
    if delete:
        path.unlink()
    else:
        shutil.copyfile(folder / "closed.db", folder / "new.db")
        (folder / "new.db").rename(path)
    await asyncio.sleep(2 * sqlite_anchor.LOOK_SECONDS)
    try:
        await store.commit(a_write("run-3", after=ROWS + 1))
        figures.blame("silent rollback", "a write into a file that is gone was acknowledged")
    except StoreError as error:
        if error.code != "store.replaced":
            figures.blame("raw error", f"{error.code} instead of store.replaced")
    await store.close()


async def deleted_while_open(path: Path, folder: Path, figures: Figures) -> None:
    """Delete the file of an open store."""
    await replaced_while_open(path, folder, figures, delete=True)


async def forked(path: Path, folder: Path, figures: Figures) -> None:
    """Take an old copy as the truth: no run goes on by itself before a person has looked."""
    await old_backup(path, folder, figures)
    store = SQLiteStore(f"sqlite:///{path}", clock=HandClock())
    await store.maintain("check", repair=True)
    await store.open()
    if await store.find(Runs(claimable=True, due_before=1e12)):
        figures.blame("silent rollback", "a run goes on after a fork of the store as if nothing was lost")
    await store.close()


CASES: dict[str, Callable[[Path, Path, Figures], Coroutine[Any, Any, None]]] = {
    "deleted": gone, "emptied": emptied, "old back-up": old_backup, "another store": another_store,
    "row gone": row_gone, "newer version": newer_version, "another program": another_program, "garbage": garbage,
    "log lost": log_lost,
    "anchor lost": anchor_lost, "replaced while open": replaced_while_open, "deleted while open": deleted_while_open,
    "forked": forked,
}  # fmt: skip

TRIALS = (
    Trial(
        "flips", "F11 F12 F13",
        "a bit is flipped, a file is cut or put in the place of another: every answer is what was written, or a typed "
        "error",
        run, short={"flips": 120}, long={"flips": 2_000},
    ),
)  # fmt: skip
