"""Several processes open a new file at once: each finds it whole, whoever makes it."""

from pathlib import Path

import pytest

from windlass import Pipeline, Runtime, task
from windlass.stores.sqlite_file import Link, latest, schema_of


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
