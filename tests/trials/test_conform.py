"""The conformance trial does what pytest does, and sees a product that was broken."""

from pathlib import Path

import pytest

from trials.conform import conform, model
from windlass.stores import checks
from windlass.stores.memory import MemoryStore
from windlass.testing.conformance import checks as names


def test_a_whole_store_passes(tmp_path: Path) -> None:
    figures = conform(tmp_path, stores=["memory"])
    assert figures.passes, figures.trouble
    assert figures.trials > len(names())


@pytest.mark.parametrize("name", ["verify_rows", "check_write"])
def test_a_broken_store_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(checks, name, lambda *_: None)
    assert not conform(tmp_path, stores=["memory"]).passes


def test_the_model_sees_a_claim_that_does_not_fence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def release(*_: object) -> None:
        return None

    monkeypatch.setattr(MemoryStore, "release", release)
    assert not model(tmp_path, examples=20, steps=20, stores=("memory",)).passes
