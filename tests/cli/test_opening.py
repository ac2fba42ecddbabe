"""The platform that runs are driven on: by option, by variable, by every command that drives."""

from pathlib import Path

import pytest

from tests.cli.conftest import Windlass

SHOP = """
from pathlib import Path

from windlass import Context, Limit, Pipeline, Platform, task


@task(limits=["till"])
async def buy(item: str, ctx: Context) -> str:
    if not Path("mended").exists():
        raise ConnectionError("down")
    return item if await ctx.ask("Buy it?", bool) else "nothing"


shop = Pipeline("shop", [buy])
platform = Platform(limits=[Limit("till", concurrency=2)])
"""
PLATFORM = ("--platform", "shop.py:platform")


@pytest.fixture(autouse=True)
def shop(folder: Path) -> None:
    (folder / "shop.py").write_text(SHOP)


def test_every_command_that_drives_takes_a_platform(windlass: Windlass, folder: Path) -> None:
    begin = ("run", "shop.py:shop", "--input", "tea", "--id", "s")
    assert windlass(*begin, "--json").object["error"] == "limit.unknown"
    assert windlass(*begin, *PLATFORM).code == 1
    (folder / "mended").touch()
    resume = ("runs", "resume", "s")
    assert windlass(*resume).code == 4
    done = windlass(*resume, *PLATFORM, "--json")
    assert done.code == 3
    assert windlass("runs", "fork", "s", "shop.py:shop", "--id", "f").code == 4
    assert windlass("runs", "fork", "s", "shop.py:shop", "--id", "g", *PLATFORM).code == 3
    assert windlass("inbox", "answer", done.object["questions"][0]["id"], "true", "shop.py:shop", *PLATFORM).code == 0
    assert windlass("runs", "rollback", "s", "buy", "shop.py:shop", *PLATFORM).code == 0
    assert windlass("runs", "show", "s", "shop.py:shop").code == 0  # it drives nothing
    assert windlass("runs", "show", "s", *PLATFORM).code == 2


def test_a_variable_names_it_too(windlass: Windlass, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINDLASS_PLATFORM", "shop.py:platform")
    assert windlass("run", "shop.py:shop", "--input", "tea", "--id", "s").code == 1
    assert "till" in windlass("explain", "shop.py:shop").out
    (folder / "mended").touch()
    assert windlass("dlq", "retry", "--all").code == 3
    monkeypatch.setenv("WINDLASS_PLATFORM", "shop.py:nothing")
    assert windlass("runs", "list").code == 0
    assert windlass("runs", "cancel", "s").code == 0
    assert windlass("explain", "shop.py:shop").code == 4
