"""`windlass effects list`: what a run did outside, and what is in doubt."""

import asyncio

from windlass.cli.opening import opened
from windlass.cli.options import COMMON, Common
from windlass.cli.output import Out, iso, short, table
from windlass.core.queries import Effects
from windlass.core.records import Effect


def list_effects(run: str, /, *, common: Common = COMMON) -> int:
    """List what a run did outside: what is done, undone, standing from a branch that was left, or in doubt.

    Args:
        run: the run's id.
    """
    out = Out(as_json=common.json)

    async def go() -> list[Effect]:
        async with opened(common) as runtime:
            await runtime.get(run)
            return await runtime.store.find(Effects(run=run))

    found = asyncio.run(go())
    for effect in found:
        out.give({
            "run": effect.run, "branch": effect.branch, "address": effect.address, "name": effect.name,
            "key": effect.key, "effect_key": effect.effect_key, "generation": effect.generation,
            "status": effect.status, "arguments": effect.arguments, "value": effect.value, "undo": effect.undo,
            "on_doubt": effect.on_doubt, "at": iso(effect.at),
        })  # fmt: skip
    rows = [
        (
            effect.address, effect.name, effect.status, str(effect.branch), effect.effect_key,
            short(effect.arguments, 40), "" if effect.status == "intended" else short(effect.value, 40),
        )
        for effect in found
    ]  # fmt: skip
    heads = ("ACTIVATION", "EFFECT", "STATE", "BRANCH", "KEY", "ARGUMENTS", "OUTCOME")
    out.lines(table(heads, rows) if rows else ("no effects",))
    return 0
