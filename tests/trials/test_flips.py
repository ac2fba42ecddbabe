"""The trial of flipped bits is not blind: it finds a product that does not look."""

from pathlib import Path

import pytest

from trials import flips
from windlass.stores import sqlite_read, sqlite_start, sqlite_sums


def test_nothing_but_what_was_written_is_read(tmp_path: Path) -> None:
    figures = flips.run(tmp_path, flips=15)
    assert (figures.trials, sum(figures.bad.values()), figures.trouble) == (15 + len(flips.CASES), 0, [])


def test_without_checksums_of_pages_other_values_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_sums, "ask_for", lambda _: None)
    monkeypatch.setattr(flips, "AIMS", {"live rows": 1, "index pages": 2})
    assert flips.run(tmp_path, flips=60).bad["another value read"] > 0


def test_without_digests_other_values_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_read, "opened", lambda _, body: body)
    monkeypatch.setattr(flips, "AIMS", {"records": 1})
    assert flips.run(tmp_path, flips=20).bad["another value read"] > 0


def test_without_the_anchor_writes_are_lost_silently(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_start, "compare", lambda link, _, url: sqlite_start.identity(link, url))
    monkeypatch.setattr(flips, "AIMS", {"cut logs": 1})
    assert flips.run(tmp_path, flips=5).bad["silent rollback"] > 0
