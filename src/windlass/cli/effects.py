"""`windlass effects list|show`: what a run did outside, what is in doubt, and what stands."""

import asyncio
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from windlass.cli.opening import opened
from windlass.cli.options import COMMON, Common
from windlass.cli.output import Out, clock_time, iso, short, table
from windlass.core.errors import InputError
from windlass.core.owner import is_alive
from windlass.core.queries import EVER, Effects, Questions
from windlass.core.records import Effect, Question, RunRecord
from windlass.engine.approvals import BEGIN

EffectStatus = Literal["intended", "done", "not_done", "undoing", "undone", "standing"]
Statuses = Annotated[tuple[EffectStatus, ...], Parameter(name="--status", negative=())]
LIVE = {"intended": "in flight", "undoing": "being undone"}


def list_effects(run: str, /, *, status: Statuses = (), common: Common = COMMON) -> int:
    """List what a run did outside: what is done, undone, standing from a branch that was left, or in doubt.

    Args:
        run: the run's id.
        status: only effects that are intended, done, not_done, undoing, undone or standing; as often as needed.
    """
    out = Out(as_json=common.json)
    record, effects, approvals = asyncio.run(_found(common, run))
    found = [effect for effect in effects if effect.status in status or not status]
    for effect in found:
        out.give(_as_json(effect, record, approvals))
    rows = [
        (
            effect.address, effect.name, _key(effect), _state(effect, record), str(effect.branch), effect.effect_key,
            clock_time(effect.at), short(effect.arguments, 32),
            "" if effect.status in ("intended", "not_done") else short(effect.value, 32),
        )
        for effect in found
    ]  # fmt: skip
    heads = ("ACTIVATION", "EFFECT", "PART", "STATE", "BRANCH", "KEY", "WHEN", "ARGUMENTS", "OUTCOME")
    out.lines(table(heads, rows) if rows else ("no effects",))
    return 0


def show(run: str, effect: str = "", /, *, common: Common = COMMON) -> int:
    """Show all that is known of a run's effects, or of one.

    Args:
        run: the run's id.
        effect: the beginning of an effect's key, an activation (`NODE#n`), or a name; else all are shown.
    """
    out = Out(as_json=common.json)
    record, effects, approvals = asyncio.run(_found(common, run))
    found = [each for each in effects if each.effect_key.startswith(effect) or effect in (each.address, each.name)]
    if effect and not found:
        raise InputError("effect", f"run {run} has no effect {effect!r}", hint=common.paste("effects", "list", run))
    for each in found:
        out.give(_as_json(each, record, approvals))
        out.lines((f"{each.address} {each.name} {_key(each)}".rstrip(), *_told(each, record, approvals), ""))
    if not found:
        out.line("no effects")
    return 0


async def _found(common: Common, run: str) -> tuple[RunRecord, list[Effect], list[Question]]:
    async with opened(common) as runtime:
        record, effects = await runtime.get(run), await runtime.store.find(Effects(run=run))
        asked = await runtime.store.find(Questions(run=run, statuses=("answered", "taken"), limit=EVER))
        return record, effects, [one for one in asked if one.key.startswith(BEGIN) and bytes(one.answer) == b'"allow"']


def _approval(effect: Effect, approvals: list[Question]) -> Question | None:
    """Find the last approval of an effect that was given before this line of it was written."""
    key = f"{effect.name}|{effect.key}|"
    found = [
        one for one in approvals
        if one.address == effect.address and one.key.removeprefix(BEGIN).partition("|")[2].startswith(key)
        and (one.answered_at or 0.0) <= effect.at
    ]  # fmt: skip
    return max(found, key=lambda one: one.answered_at or 0.0, default=None)


def _key(effect: Effect) -> str:
    return effect.key.partition("\x1f")[0]


def _is_open(effect: Effect, record: RunRecord) -> bool:
    """Say whether nobody who runs it can tell how it ended."""
    is_driven = record.owner is not None and is_alive(record.owner) is not False
    return effect.status in LIVE and not is_driven


def _state(effect: Effect, record: RunRecord) -> str:
    if effect.status in LIVE:
        doubt = "in doubt" if effect.status == "intended" else "undo in doubt"
        return doubt if _is_open(effect, record) else LIVE[effect.status]
    if effect.status == "done" and effect.how not in ("", "completed"):
        return f"done ({effect.how})"
    return effect.status.replace("_", " ")


def _as_json(effect: Effect, record: RunRecord, approvals: list[Question]) -> dict[str, Any]:
    approval = _approval(effect, approvals)
    return {
        "run": effect.run, "branch": effect.branch, "address": effect.address, "name": effect.name,
        "key": _key(effect), "effect_key": effect.effect_key, "generation": effect.generation,
        "status": effect.status, "in_doubt": _is_open(effect, record), "how": effect.how, "by": effect.by,
        "approved_by": None if approval is None else approval.by, "approval": None if approval is None else approval.id,
        "why": effect.why, "arguments": effect.arguments, "value": effect.value, "on_doubt": effect.on_doubt,
        "undo": effect.undo, "undo_key": effect.undo_key, "undo_how": effect.undo_how, "at": iso(effect.at),
    }  # fmt: skip


def _told(effect: Effect, record: RunRecord, approvals: list[Question]) -> list[str]:
    approval = _approval(effect, approvals)
    shown = {
        "state": _state(effect, record),
        "why": effect.why,
        "approved by": "" if approval is None else f"{approval.by or 'nobody named'}, question {approval.id}",
        "answered by": effect.by,
        "key": effect.effect_key,
        "generation": str(effect.generation),
        "branch": str(effect.branch),
        "when": iso(effect.at),
        "arguments": short(effect.arguments, 1_000),
        "outcome": short(effect.value, 1_000) if effect.status not in ("intended", "not_done") else "",
        "on doubt": effect.on_doubt,
        "undo": effect.undo,
        "undo's key": effect.undo_key,
        "undo came to": effect.undo_how,
    }
    return [f"  {name:<13} {value}" for name, value in shown.items() if value]
