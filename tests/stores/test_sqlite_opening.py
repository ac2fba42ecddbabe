"""Several processes open a new file at once: each finds it whole, whoever makes it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from windlass import Pipeline, Runtime, task
from windlass.stores import sqlite
from windlass.stores.queries import migrations
from windlass.stores.sqlite_file import Link, connect, latest, schema_of


@task
async def one(n: int) -> int:
    return n


async def test_a_file_that_another_has_just_made_is_no_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The version is read while another process makes the schema, and the rest when that one has a run already."""
    url = f"sqlite:///{tmp_path}/w.db"
    async with Runtime(url) as first:
        await first.run(Pipeline("p", [one]), 1, "r")
    seen: list[int] = []

    def stale(link: Link, name: str) -> int:
        seen.append(1 if not seen else schema_of(link, name))
        return seen[-1]

    monkeypatch.setattr("windlass.stores.sqlite.schema_of", stale)
    async with Runtime(url) as second:
        assert (await second.get("r")).id == "r"
    assert seen == [1, latest()]


async def test_the_log_of_a_half_made_store_is_written_again_before_anything_follows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever began to make it may have met a sync that failed: what is appended would be lost with that."""
    path = tmp_path / "w.db"
    path.touch()
    link = connect(str(path))
    link.execute("PRAGMA journal_mode = WAL").fetchall()
    link.execute(f"BEGIN; {migrations('sqlite')[0][1]}; COMMIT")
    link.execute("INSERT INTO meta (name, value) VALUES ('store', 'half')")
    link.execute("PRAGMA application_id = 0x57494E44; PRAGMA user_version = 1")
    done: list[str] = []

    def watched(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def watch(*given: object) -> object:
            done.append(name)
            return real(*given)

        return watch

    for name in ("rewrite", "migrate"):
        monkeypatch.setattr(sqlite, name, watched(name, getattr(sqlite, name)))
    async with Runtime(f"sqlite:///{path}") as runtime:
        assert (await runtime.run(Pipeline("p", [one]), 1)).output == 1
    link.close()
    assert done[:2] == ["rewrite", "migrate"]
