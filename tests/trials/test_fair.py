"""The trials of the fair queue pass at small sizes, and have teeth."""

from pathlib import Path
from typing import Any

import pytest

from trials import fair
from windlass.stores import sqlite_read

SMALL: dict[str, Any] = {"backlog": 150, "few": 3, "slots": 2}


def test_a_backlog_does_not_keep_the_other_tenant_waiting(tmp_path: Path) -> None:
    figures = fair.fair(tmp_path, **SMALL, whole=True)
    assert figures.trouble == []
    assert figures.passes


def test_an_order_that_knows_no_tenants_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = sqlite_read.SQL["list_work"].replace("PARTITION BY runs.tenant", "")
    monkeypatch.setitem(sqlite_read.SQL, "list_work", plain)
    figures = fair.fair(tmp_path, **SMALL)
    assert figures.bad["late"] > 0


def test_an_order_that_begins_with_the_newest_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    newest = sqlite_read.SQL["list_work"].replace("one.updated_at, one.no", "one.updated_at DESC")
    newest = newest.replace("runs.updated_at), runs.no", "runs.updated_at) DESC")
    monkeypatch.setitem(sqlite_read.SQL, "list_work", newest)
    figures = fair.fair(tmp_path, **SMALL)
    assert figures.bad["out of order"] > 0


def test_the_few_take_about_as_long_as_alone(tmp_path: Path) -> None:
    figures = fair.neighbour(tmp_path, backlog=60, few=2, rounds=1, slots=4, seconds=0.1)
    assert not figures.bad["unfinished"] + figures.bad["stuck"]  # its times are for the trial to judge
    assert {"p95 alone s", "p95 beside s"} <= figures.shown.keys()
