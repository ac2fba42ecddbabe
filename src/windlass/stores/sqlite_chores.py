"""Chores on a SQLite store, each on a connection of its own: migrate, check, back-up. Runs may go on meanwhile."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw

from windlass.core.errors import StoreError, StoreUnavailable
from windlass.stores import sqlite_sums
from windlass.stores.sqlite_anchor import adopt, name_of, read, refuse_empty
from windlass.stores.sqlite_file import Link, is_damage, latest, migrate, refusal, rewrite, schema_of
from windlass.stores.sqlite_place import MEMORY, path_of
from windlass.stores.sqlite_prune import prune
from windlass.stores.sqlite_repair import check_and_repair, set_apart
from windlass.stores.sqlite_salvage import sync
from windlass.stores.sqlite_start import chore, compare, facts, identity


def migrate_store(connect: Callable[[], Link], url: str) -> dict[str, Any]:
    """Bring the schema forward; says what it was, what it is, and which migrations were applied."""
    path = path_of(url)
    known = read(path)
    with chore(connect, url) as link:
        link.connection.set_busy_timeout(10_000)
        before = schema_of(link, url)
        if not before:
            refuse_empty(known, path, url)
        elif path != MEMORY:
            rewrite(link, f"{path}-wal")  # whoever wrote last may have met a sync that failed
        applied = migrate(link, url)
        if applied and not known.store and path != MEMORY:
            adopt(path, identity(link, url))
        lacks_sums = sqlite_sums.is_loaded() and not sqlite_sums.has(link.connection)
        if lacks_sums or not link.value("PRAGMA auto_vacuum"):  # of a file made before `prune` and checksums of pages
            link.execute("PRAGMA auto_vacuum = INCREMENTAL")
            sqlite_sums.ask_for(link.connection)
            link.execute("VACUUM")
    return {"from": before, "to": latest(), "applied": applied}


def back_up(connect: Callable[[], Link], url: str, *, to: str) -> dict[str, Any]:
    """Copy the store to a new file that opens by itself, while runs go on.

    The file appears under its name only when it is whole.

    Raises:
        StoreError: the file exists.
        StoreUnavailable: it could not be written.
    """
    target = Path(to).absolute()
    part = target.with_name(target.name + ".part")
    if target.exists():
        raise StoreError(f"{target} exists", hint="a back-up never writes over a file: choose another name")
    try:
        os.close(os.open(str(part), os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600))
        store = _copy(connect, url, part)
        sync(str(part))
        size = part.stat().st_size
        adopt(str(target), store)
        os.rename(part, target)  # noqa: PTH104 -- a test lets another `os` stand here, which fails
        sync(str(target.parent))
    except (OSError, StoreUnavailable, apsw.Error) as error:
        for left in (part, part.with_name(f"{part.name}-journal")):
            left.unlink(missing_ok=True)
        if not target.exists():
            Path(name_of(str(target))).unlink(missing_ok=True)
        if is_damage(error):
            raise refusal(error, url) from error
        raise StoreUnavailable(f"cannot back up {url} to {target}: {error}", hint="choose another path") from error
    return {"to": str(target), "bytes": size}


def _copy(connect: Callable[[], Link], url: str, part: Path) -> str:
    """Copy page by page, unless the store lost writes; returns the store's id."""
    known = None if path_of(url) == MEMORY else read(path_of(url))
    source = connect()
    try:
        source.connection.set_busy_timeout(10_000)
        schema_of(source, url)
        if known is not None:
            compare(source, known, url)
        copy = apsw.Connection(str(part), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            backup = copy.backup("main", source.connection, "main")
            try:
                while not backup.done:
                    try:
                        backup.step()  # all at once: beside a WAL it hinders no writer, in parts it may begin again
                    except apsw.BusyError:
                        time.sleep(0.005)
                backup.finish()
            finally:
                with suppress(apsw.Error, SystemError):  # what went wrong is being told; apsw would tell it once more
                    backup.close(True)  # noqa: FBT003 -- by position only
            copy.pragma("journal_mode", "delete")  # a single file, whole without a WAL beside it
        finally:
            copy.close()
        return identity(source, url)
    finally:
        source.close()


CHORES: dict[str, Callable[..., dict[str, Any]]] = {
    "migrate": migrate_store, "check": check_and_repair, "backup": back_up, "prune": prune, "quarantine": set_apart,
    "facts": facts,
}  # fmt: skip
