"""Opening the store for a command: a runtime to drive runs with, or one to look and steer."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from windlass.cli.loader import load_platform
from windlass.cli.options import Common, Driving
from windlass.cli.output import Out, show
from windlass.core.blueprint import Definition
from windlass.core.errors import DefinitionError, StoreUnavailable, StoreUnknown
from windlass.core.redact import NOTHING
from windlass.engine.runtime import Runtime
from windlass.policies.chain import NO_PLATFORM
from windlass.policies.platform import Platform
from windlass.stores.sqlite_place import MEMORY, path_of

CALM_SECONDS = 1.0  # that a command waits as it ends for what it has woken


@asynccontextmanager
async def opened(
    common: Common, definitions: Sequence[Definition] = (), *, make: bool = False, timers: bool = True
) -> AsyncIterator[Runtime]:
    """Open a runtime on the store; a store that is not there is made only by commands that begin runs.

    A worker claims what is due itself, so that its concurrency holds: it says no `timers`.

    Raises:
        StoreError: it is not there, or cannot be used.
        DefinitionError: the platform cannot be loaded.
    """
    if not make:
        require(common.url)
    rules = load_platform(common.platform) if isinstance(common, Driving) and definitions else None
    show_as_declared(Out(as_json=common.json), rules)
    async with Runtime(common.url, list(definitions), timers=timers, platform=rules or NO_PLATFORM) as runtime:
        yield runtime
        if timers:  # a parent hears of its child, a node that was edited asks anew
            await runtime.calm(CALM_SECONDS)


def show_as_declared(out: Out, platform: Platform | None) -> None:
    """Show only what the platform lets a command show: the one that it drives on, else that of WINDLASS_PLATFORM.

    What cannot be loaded hinders no command that does not drive: it does what it was asked, and shows nothing.
    """
    try:
        show((platform or load_platform("")).show)
    except DefinitionError as error:
        out.say(f"nothing is shown: the platform that says what may be is not there: {error.args[0]}")
        show(NOTHING, hidden=True)


def file_of(url: str) -> Path | None:
    """Return the file of a SQLite store; None for any other URL, and for a wrong one: to open it says what is wrong."""
    try:
        path = path_of(url) if url.startswith("sqlite:") else MEMORY
    except StoreUnknown:
        return None
    return None if path == MEMORY else Path(path)


def is_there(url: str) -> bool:
    """Say whether a store can be opened without making its file."""
    path = file_of(url)
    return path is None or path.exists()


def require(url: str) -> None:
    """Refuse a SQLite store that is not there: to look at it would make it.

    Raises:
        StoreUnavailable: there is no such file.
    """
    if not is_there(url):
        raise StoreUnavailable(
            f"there is no store at {url}", hint="`windlass run` makes it; or check --store and WINDLASS_STORE"
        )
