"""`windlass run`: start a run and show it until it ends or waits."""

import asyncio
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from cyclopts import Parameter

from windlass.cli.foreground import show_until_settled
from windlass.cli.loader import load
from windlass.cli.opening import opened
from windlass.cli.options import DRIVING, Driving
from windlass.cli.output import Out
from windlass.cli.values import read_input, read_tags
from windlass.core.queries import Runs
from windlass.core.thread import OnBusy


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Special:
    """What is so of one run, whatever its definition says."""

    thread: Annotated[
        str, Parameter(help="The run is the next turn of this thread: it begins as the turn before has ended.")
    ] = ""
    on_busy: Annotated[
        OnBusy | None, Parameter(help="What to do while that has not ended; else as the definition says.")
    ] = None
    before: Annotated[
        tuple[str, ...], Parameter(help="A node before which it asks a person, who sees what the node is given.")
    ] = ()
    after: Annotated[
        tuple[str, ...], Parameter(help="A node after which it asks a person, who sees what the node wrote.")
    ] = ()


NOTHING: Final = Special()


def run(
    definition: str, /, *,
    input: Annotated[str, Parameter(allow_leading_hyphen=True)] = "null",
    id: str = "",
    tag: tuple[str, ...] = (),
    special: Special = NOTHING,
    durability: Literal["sync", "async", "exit"] | None = None,
    wait: bool = False,
    common: Driving = DRIVING,
) -> int:  # fmt: skip
    """Start a run of a definition, or go on with it, and show it until it ends or waits.

    The same --id with the same input attaches to the run that is there, and goes on with it if its process died.

    Args:
        definition: FILE.py:NAME or package.module:NAME.
        input: JSON, @file, or - for standard input; a bare word is text.
        id: the run's id; made up if there is none.
        tag: NAME=VALUE, to find the run by; as often as needed.
        durability: when a step is acknowledged; else as the definition says.
        wait: stay while the run waits for a due time or an answer.
    """
    (loaded,) = load([definition])
    given, tags = read_input(input), read_tags(tag)
    out = Out(as_json=common.json)

    async def go() -> int:
        async with opened(common, [loaded], make=True) as runtime:
            known = await runtime.store.find(Runs(ids=(id,))) if id else []
            name = await runtime.start(
                loaded, given, id or None, tags=tags, source=definition, durability=durability,
                before=special.before, after=special.after, thread=special.thread, on_busy=special.on_busy,
            )  # fmt: skip
            out.say(f"store {common.url}\nrun   {name}")
            seen = known[0].head.seq if known else 0
            return await show_until_settled(
                runtime, name, common, after=seen, wait=wait, blueprint=loaded.compile()
            )  # fmt: skip

    return asyncio.run(go())
