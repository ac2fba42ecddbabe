"""Every engine test runs on the memory store and on SQLite."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from windlass import Runtime


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store of its own for each test; reopening it finds what was kept."""
    name: str = request.param
    return f"memory:{tmp_path}" if name == "memory" else f"sqlite:///{tmp_path}/w.db"


@pytest.fixture
async def runtime(url: str) -> AsyncIterator[Runtime]:
    """An open runtime."""
    async with Runtime(url) as opened:
        yield opened
