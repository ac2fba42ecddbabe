"""Handing dead letters on: the definition that is bound to a letter is started on it, once.

The id of the run that it becomes follows from the letter's, so it is one run, whoever starts it, and wherever a process
dies on the way. The Runtime that wrote the letter starts it as soon as it is durable; what a death left behind is found
by any worker that knows the definition.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from windlass.core import queries
from windlass.core.blueprint import Blueprint
from windlass.core.changes import LetterPut
from windlass.core.errors import RunExists, StoreError, WindlassError
from windlass.core.letters import DeadLetter
from windlass.engine.births import Options
from windlass.engine.control import Control
from windlass.engine.dead import TAG, run_of
from windlass.engine.redacting import cleaned
from windlass.policies.budget import handed_to

PAGE = 100
TOLD = (  # what a letter says about what happened; not what became of it since
    "id", "run", "tenant", "definition", "fingerprint", "address", "node", "reason", "attempts", "failure", "pattern",
    "input", "branch", "n", "trail", "at", "tags",
)  # fmt: skip


class Known(msgspec.Struct, frozen=True):
    """A definition that was compiled already."""

    blueprint: Blueprint

    @property
    def name(self) -> str:
        """The definition's name."""
        return self.blueprint.name

    def compile(self) -> Blueprint:
        """Return what it was compiled to."""
        return self.blueprint


def spelled(letter: DeadLetter) -> dict[str, Any]:
    """Spell a letter out as plain JSON: what its handler is given. `n` is told as `checkpoint`."""
    told: dict[str, Any] = msgspec.json.decode(
        msgspec.json.encode({name: getattr(letter, name) for name in TOLD})
    )  # fmt: skip
    told["checkpoint"] = told.pop("n")
    return told


def bound(control: Control) -> frozenset[str]:
    """Name the definitions known here that are bound to dead letters of those known here."""
    drives = control.drives
    names = set(control.services.platform.handlers.values())
    for blueprint in drives.blueprints.values():
        found = control.services.bounds(blueprint)
        names |= {found.handler, *(handed_to(one.budget.edge) for one in found.budgets)}
    return frozenset(names & drives.blueprints.keys())


async def look(control: Control, since: float | None, limit: int) -> list[str]:
    """Start handlers of letters that nobody has handed on; returns the runs that were started.

    Args:
        since: only letters from then on.
        limit: most runs to start.
    """
    names = bound(control)
    started: list[str] = []
    after = None
    while names and len(started) < limit:
        page = await control.store.find(queries.Letters(since=since, after=after, limit=PAGE))
        for letter in page:
            if letter.handler in names and not letter.handled_by and len(started) < limit:
                started += await _start(control, letter)
        if len(page) < PAGE:
            break
        after = page[-1].id
    return started


async def hand_on(control: Control, ids: Iterable[str]) -> None:
    """Start the handlers of letters that were just written, as far as they are known here."""
    with suppress(StoreError):  # a worker will find them
        for letter in await _found(control, tuple(ids)):
            if not letter.handled_by:
                await _start(control, letter)


async def _found(control: Control, ids: Sequence[str]) -> list[DeadLetter]:
    return await control.store.find(queries.Letters(ids=tuple(ids), limit=max(1, len(ids))))


async def _start(control: Control, letter: DeadLetter) -> list[str]:
    """Start the handler of a letter if it was not, and note its run; returns the run if it was started here."""
    blueprint = control.drives.blueprints.get(letter.handler)
    if blueprint is None:
        return []
    run = run_of(letter.id)
    started: list[str] = []
    if not await control.store.find(queries.Runs(ids=(run,))):
        told = spelled(letter)
        given = told if blueprint.kind == "pipeline" else {"letter": told}
        options = Options(tenant=letter.tenant, tags={**letter.tags, TAG: letter.id})
        try:
            started = [await control.start(Known(blueprint), given, run, options)]
        except RunExists:  # somebody was faster
            pass
        except StoreError:
            raise
        except WindlassError as error:  # it cannot take the letter: a person has to know, and mend it
            await _put(control, letter.id, note=f"its handler {blueprint.name} could not be started: {error.args[0]}")
            return []
    await _put(control, letter.id, handled_by=run)
    return started


async def _put(control: Control, id_: str, **fields: str) -> None:
    """Note something on a letter as it stands now."""
    for letter in await _found(control, (id_,)):
        changed = msgspec.structs.replace(letter, **fields)
        if changed != letter:
            await control.store.adjust(cleaned((LetterPut(changed),)))
