"""Ways to break the product, each of which the figures of the kill trials must show: the harness has teeth."""

from collections.abc import Callable
from typing import Any

from windlass.core.position import Position
from windlass.engine import commands, effects, entry
from windlass.stores.sqlite import SQLiteStore


def put(place: Any, name: str, replacement: Callable[..., Any]) -> Callable[..., Any]:
    """Replace a function of the product, and return what it was; it must be there."""
    real: Callable[..., Any] = getattr(place, name)
    setattr(place, name, replacement)
    return real


def acknowledge_early() -> None:
    """Say that a commit is durable when only the one before it is."""
    kept: list[Any] = []

    async def commit(store: SQLiteStore, write: Any) -> None:
        late, kept[:] = list(kept), [write]
        if write.release:
            late, kept[:] = [*late, write], []
        for one in late:
            await real(store, one)

    real = put(SQLiteStore, "commit", commit)


def forget_calls() -> None:
    """Fold a log as if no call were in it."""

    def note(position: Position, op: Any) -> None:
        if type(op).__name__ != "CallRecorded":
            real(position, op)

    real = put(Position, "_note", note)


def call_again() -> None:
    """Take an effect in doubt for one that did not happen."""

    async def settled(*_: Any) -> None:
        return None

    put(effects, "_settled", settled)
    put(entry, "_doubts", lambda *_: [])


def believe() -> None:
    """Take every answer about a doubt for a yes."""

    def answered(address: str, identity: str, name: str, _: bytes) -> Any:
        return real(address, identity, name, b'{"happened": true, "value": 0}')

    real = put(commands, "answered", answered)


SABOTAGES: dict[str, Callable[[], None]] = {
    sabotage.__name__: sabotage for sabotage in (acknowledge_early, forget_calls, call_again, believe)
}
