"""`windlass store migrate|check|backup|prune`: looking after a store."""

import asyncio
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from windlass.cli.opening import file_of, require
from windlass.cli.options import COMMON, Common
from windlass.cli.output import Out
from windlass.core.errors import InputError
from windlass.stores.base import open_store
from windlass.stores.sqlite_salvage import is_begun

DAMAGED = 5
QUIET_SECONDS = 2.0  # between two words of a long check
KEPT = {
    "active": "they went on meanwhile",
    "asked": "a question is open or a command waits",
    "damaged": "they are damaged, see `windlass store check`",
    "forked": "other runs began from them",
    "in doubt": "nobody knows whether an effect of theirs happened",
    "owned": "a process has them",
}
SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def migrate(*, common: Common = COMMON) -> int:
    """Bring the store's schema forward to what this version of Windlass needs; a store that is up to date stays."""
    out = Out(as_json=common.json)
    done = _chore(common, "migrate")
    out.give({"store": common.url, **done})
    applied = done.get("applied") or ()
    out.line(
        f"{common.url}: schema {done['from']} -> {done['to']}, {len(applied)} migrations" if applied
        else f"{common.url} is up to date"
    )  # fmt: skip
    return 0


def check(*, repair: bool = False, common: Common = COMMON) -> int:
    """Read everything in the store and compare it with its digests, logs and anchor; runs may go on meanwhile.

    Args:
        repair: mend what can be mended without inventing anything, and list what was done. Nobody may have the store
            open. A file with damaged pages is kept as it is, under another name, and what can be read of it takes its
            place. One that lost writes is taken as it stands, and the runs that would go on by themselves are
            quarantined; a second repair releases those that are whole.
    """
    out = Out(as_json=common.json)
    found = _chore(common, "check", repair=repair, tell=_progress(out))
    out.give({"store": common.url, **found})
    out.lines(f"  {done}" for done in found.get("repaired", ()))
    counts = ", ".join(f"{number:,} {name}" for name, number in found.items() if isinstance(number, int))
    problems = found["problems"]
    out.line(f"{common.url}: {counts}; " + (f"{len(problems)} problems" if problems else "all is well"))
    out.lines(f"  {problem}" for problem in problems)
    return DAMAGED if problems else 0


def _progress(out: Out) -> Callable[[str], None]:
    """Tell how far a long check is, on standard error: nothing in the first seconds, then a line now and then."""
    last = time.monotonic()

    def tell(said: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= QUIET_SECONDS:
            last = now
            out.say(f"{said} ...")

    return tell


def backup(file: Path, /, *, common: Common = COMMON) -> int:
    """Copy the store to a new file that opens by itself, while runs go on.

    Args:
        file: the file to make; one that exists is never written over.
    """
    out = Out(as_json=common.json)
    done = _chore(common, "backup", to=str(file))
    out.give({"store": common.url, **done})
    out.line(f"{common.url} -> {done['to']}, {done['bytes']:,} bytes")
    return 0


def prune(
    *, older_than: str, status: tuple[str, ...] = (), tenant: str | None = None, history: bool = False,
    dry_run: bool = False, common: Common = COMMON,
) -> int:  # fmt: skip
    """Drop runs that ended long ago, or the history of runs that stay, and give the space back; runs go on meanwhile.

    Args:
        older_than: an age: 90s, 15m, 12h, 30d, 8w. Of a run, since its last write.
        status: of the runs; by default completed and cancelled. May be given again.
        tenant: of the runs; by default every one.
        history: keep the runs, and drop what came before: savepoints, fork points and where a run stands are kept.
        dry_run: count only.
    """
    age = seconds(older_than)
    out = Out(as_json=common.json)
    done = _chore(
        common, "prune", older_than=age, status=status or None, tenant=tenant, keep="heads" if history else "nothing",
        dry_run=dry_run,
    )  # fmt: skip
    out.give({"store": common.url, **done})
    would = "would drop" if dry_run else "dropped"
    counts = ", ".join(f"{done[name]:,} {name}" for name in ("runs", "rows", "snapshots", "blobs"))
    given = max(0, done["bytes_before"] - done["bytes"])
    out.line(f"{common.url}: {would} {counts}" + ("" if dry_run else f"; {given:,} bytes given back"))
    out.lines(f"  kept {number:,} runs: {KEPT.get(why, why)}" for why, number in sorted(done["kept"].items()))
    if done["marked"]:
        out.line(f"  {done['marked']:,} large values are unused: a prune an hour from now deletes them")
    if done["free"]:
        out.line(f"  {done['free']:,} bytes are free inside the file; `windlass store migrate` lets it shrink")
    return 0


def seconds(age: str, option: str = "--older-than") -> float:
    """Read an age.

    Raises:
        InputError: it is none.
    """
    match = re.fullmatch(r"(\d{1,9})([smhdw])", age)
    if match is None:
        raise InputError(option, f"{age!r} is no age", hint="a whole number and s, m, h, d or w: 30d")
    return float(int(match[1]) * SECONDS[match[2]])


def _chore(common: Common, chore: str, **options: Any) -> dict[str, Any]:
    path = file_of(common.url)
    if not (options.get("repair") and path is not None and is_begun(str(path))):
        require(common.url)

    async def go() -> dict[str, Any]:
        store = open_store(common.url)
        try:
            return await store.maintain(chore, **options)
        finally:
            await store.close()

    return asyncio.run(go())
