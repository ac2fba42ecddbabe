"""`windlass store migrate|check|backup`: looking after a store."""

import asyncio
from pathlib import Path
from typing import Any

from windlass.cli.opening import require
from windlass.cli.options import COMMON, Common
from windlass.cli.output import Out
from windlass.stores.base import open_store

DAMAGED = 5


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


def check(*, common: Common = COMMON) -> int:
    """Read everything in the store and compare it with its digests and sequences; runs may go on meanwhile."""
    out = Out(as_json=common.json)
    found = _chore(common, "check")
    out.give({"store": common.url, **found})
    counts = ", ".join(f"{number:,} {name}" for name, number in found.items() if isinstance(number, int))
    problems = found["problems"]
    out.line(f"{common.url}: {counts}; " + (f"{len(problems)} problems" if problems else "all is well"))
    out.lines(f"  {problem}" for problem in problems)
    return DAMAGED if problems else 0


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


def _chore(common: Common, chore: str, **options: str) -> dict[str, Any]:
    require(common.url)

    async def go() -> dict[str, Any]:
        store = open_store(common.url)
        try:
            return await store.maintain(chore, **options)
        finally:
            await store.close()

    return asyncio.run(go())
