"""`windlass doctor`: is this machine, and is this store, fit for use?"""

import asyncio
import os
import platform
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any, Literal

from msgspec import Struct, structs

from windlass.cli.opening import file_of, is_there
from windlass.cli.options import COMMON, Common
from windlass.cli.output import Out, duration, table
from windlass.core.errors import WindlassError
from windlass.core.owner import is_alive
from windlass.core.queries import Runs
from windlass.core.records import RunRecord
from windlass.core.states import RUNNING, UNFINISHED, WAITING
from windlass.stores.base import open_store
from windlass.stores.sqlite_place import LOCAL, SHARED, file_system_of

SAFE_SQLITE = (3, 51, 3)  # older ones can corrupt a database while they reset the WAL
TRIES = 7  # of fsync
TOO_FAST, TOO_SLOW = 0.00002, 0.05  # seconds: no disk is reached so soon; every step waits so long
LITTLE_SPACE = 200 * 1024 * 1024
LATE_SECONDS = 60.0
BAD = 5


class Finding(Struct, frozen=True):
    """One thing that was looked at."""

    name: str
    verdict: Literal["ok", "warn", "bad"]
    said: str


def doctor(*, common: Common = COMMON) -> int:
    """Look whether this machine and this store are fit for use; exit code 5 if they are not."""
    out = Out(as_json=common.json)
    found = [*_machine(), *_place(common.url)]
    if is_there(common.url):
        found += asyncio.run(_store(common.url))
    else:
        found.append(Finding("store", "ok", f"{common.url} is not there yet: `windlass run` makes it"))
    for finding in found:
        out.give(structs.asdict(finding))
    out.lines(table(("", "", ""), [(f.verdict, f.name, f.said) for f in found])[1:])
    return BAD if any(finding.verdict == "bad" for finding in found) else 0


def _machine() -> Iterator[Finding]:
    try:
        own = version("windlass")
    except PackageNotFoundError:
        own = "not installed: run from its source"
    yield Finding("windlass", "ok", own)
    yield Finding("python", "ok", f"{platform.python_version()} {platform.python_implementation()}, {sys.executable}")
    verdict: Literal["ok", "warn"] = "warn" if sys.platform == "win32" else "ok"
    yield Finding("platform", verdict, platform.platform() + ("; use WSL" if sys.platform == "win32" else ""))
    yield _sqlite()
    for package in ("msgspec", "cyclopts", "rich"):
        yield Finding(package, "ok", version(package))


def _sqlite() -> Finding:
    import apsw

    lib = apsw.sqlite_lib_version()
    said = f"SQLite {lib}, apsw {apsw.apsw_version()}"
    if tuple(int(part) for part in lib.split(".")[:3]) < SAFE_SQLITE:
        safe = ".".join(map(str, SAFE_SQLITE))
        return Finding("sqlite", "warn", f"{said}: before {safe} a WAL reset can corrupt a database; upgrade apsw")
    return Finding("sqlite", "ok", said)


def _place(url: str) -> Iterator[Finding]:
    """Look at the disk on which a SQLite store lies, or would."""
    path = file_of(url)
    if path is None:
        return
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    kind = file_system_of(folder)
    shared = kind.startswith(SHARED) and kind not in LOCAL
    said = f"{kind or 'unknown'}, at {folder}" + (": a network file system cannot hold a store" if shared else "")
    yield Finding("file system", "bad" if shared else "ok", said)
    free = shutil.disk_usage(folder).free
    yield Finding("free space", "warn" if free < LITTLE_SPACE else "ok", f"{free / 2**30:.1f} GiB")
    yield _fsync(folder)


def _fsync(folder: Path) -> Finding:
    """Measure how long a small write takes to reach the disk: what each durable step waits for."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            times = []
            for _ in range(TRIES):
                file.write(b"x" * 4096)
                file.flush()
                began = time.perf_counter()
                os.fsync(file.fileno())
                times.append(time.perf_counter() - began)
    except OSError as error:
        return Finding("fsync", "bad", f"cannot write in {folder}: {error.strerror}")
    took = median(times)
    said = f"{took * 1000:.2f} ms"
    if took < TOO_FAST:
        return Finding("fsync", "warn", f"{said}: so fast that it may not reach a disk; a power cut may lose steps")
    if took > TOO_SLOW:
        return Finding("fsync", "warn", f"{said}: slow; each durable step waits so long")
    return Finding("fsync", "ok", said)


async def _store(url: str) -> list[Finding]:
    """Open the store, and look at who holds runs and which have work that nobody does."""
    store = None
    try:
        store = open_store(url)
        noted = await store.maintain("facts") if url.startswith("sqlite:") else {}
        await store.open()
        found = await store.find(Runs(statuses=tuple(UNFINISHED), limit=1000))
        due = await store.find(Runs(claimable=True, due_before=time.time() - LATE_SECONDS, limit=1000))
    except WindlassError as error:
        return [Finding("store", "bad", str(error))]
    finally:
        if store is not None:
            await store.close()
    counts = Counter(record.head.status.value for record in found)
    said = ", ".join(f"{number} {status}" for status, number in sorted(counts.items())) or "no unfinished runs"
    return [Finding("store", "ok", f"{url}: {said}"), *_order(found, noted), *_leases(found), *_late(due)]


def _order(records: list[RunRecord], noted: dict[str, Any]) -> Iterator[Finding]:
    """Say what is damaged, and how the store was left the last time that nobody closed it."""
    apart = [record for record in records if record.quarantined]
    if apart:
        some = "; ".join(f"{record.id}: {record.quarantined}" for record in apart[:3])
        yield Finding(
            "quarantine", "bad", f"{len(apart)} damaged runs are quarantined, see `windlass store check`: {some}"
        )
    if "anchor" in noted:
        verdict: Literal["ok", "warn"] = "ok" if noted["anchor"] == "whole" else "warn"
        said = f"{noted['anchor']}: what is in the file is taken as it is" if verdict == "warn" else "whole"
        yield Finding("anchor", verdict, said)
    if noted.get("checksums") is False:
        yield Finding("checksums", "warn", "the pages of this file have none; `windlass store migrate` adds them")
    if noted.get("unclean"):
        stop = noted["unclean"]
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(stop["at"]))
        said = f"the store was left unclosed before {when}; then {stop['runs']} runs were looked at"
        problems = stop["problems"]
        yield Finding("last stop", "bad" if problems else "ok", "; ".join([said, *problems[:3]]))


def _leases(records: list[RunRecord]) -> Iterator[Finding]:
    """Say who holds runs, and whether they are still there."""
    held = Counter(record.owner for record in records if record.owner is not None)
    for owner, number in held.items():
        runs = f"{number} run{'s' * (number != 1)}"
        alive = is_alive(owner)
        if alive is False:
            yield Finding(
                "lease", "warn", f"{runs} held by pid {owner.pid} on {owner.host}, which is gone: free to claim"
            )
        else:
            where = "alive" if alive else "cannot be seen from here"
            yield Finding("lease", "ok", f"{runs} held by pid {owner.pid} on {owner.host}, {where}")


def _late(records: list[RunRecord]) -> Iterator[Finding]:
    """Say which runs have work that nobody does."""
    now = time.time()
    late = [record for record in records if now - _since(record) > LATE_SECONDS]
    if late:
        longest = duration(now - min(_since(record) for record in late))
        names = ", ".join(sorted({record.source or record.definition for record in late})[:5])
        said = f"{len(late)} run{'s' * (len(late) != 1)} could go on and nobody drives them, since {longest}"
        yield Finding("idle runs", "warn", f"{said}; start a worker: windlass worker {names}")


def _since(record: RunRecord) -> float:
    if record.head.status is WAITING and record.head.due_at is not None:
        return record.head.due_at
    return record.updated_at if record.head.status is RUNNING else record.created_at
