"""`windlass dlq list|show|retry|drop`: what ran out of attempts, budget or time, looked at, tried again, put aside."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec
from cyclopts import Parameter

from windlass.cli.app import CODES
from windlass.cli.loader import load
from windlass.cli.opening import opened
from windlass.cli.options import COMMON, DRIVING, Common, Driving, Limit
from windlass.cli.outcome import RUN_FAILED, look_up
from windlass.cli.output import Out, clock_time, cut, duration, iso, plain, short, table
from windlass.cli.steer import Edits, user
from windlass.cli.store import seconds
from windlass.cli.values import read_pairs
from windlass.core.errors import InputError, RunFailed, WindlassError
from windlass.core.letters import DeadLetter
from windlass.core.queries import Runs
from windlass.engine.failures import plain as failure_of
from windlass.engine.reads import LENIENT
from windlass.engine.redrive import known
from windlass.engine.runtime import Runtime

PAGE = 100
Standing = Literal["open", "retried", "resolved", "dropped"]
Reason = Literal["", "attempts", "budget", "timeout", "poison", "denied", "step_limit", "output", "error"]


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which letters are meant."""

    run: Annotated[str, Parameter(help="Only letters of this run.")] = ""
    definition: Annotated[
        tuple[str, ...], Parameter(help="Only of the definition of this name; as often as needed.")
    ] = ()
    node: Annotated[str, Parameter(help="Only of this node.")] = ""
    reason: Annotated[Reason, Parameter(help="Only for this reason.")] = ""
    pattern: Annotated[str, Parameter(help="Only of this error pattern.")] = ""
    tenant: Annotated[str, Parameter(help="Only of this tenant's runs.")] = ""
    since: Annotated[str, Parameter(help="Only of the last 30m, 12h, 7d.")] = ""
    status: Annotated[
        tuple[Standing, ...], Parameter(help="Open (the default), retried, resolved, dropped; as often as needed.")
    ] = ()

    def as_query(self) -> dict[str, Any]:
        """Return them as `Runtime.dead_letters` takes them."""
        given = {
            "run": self.run, "definitions": self.definition, "node": self.node, "reason": self.reason,
            "pattern": self.pattern, "tenant": self.tenant, "statuses": self.status,
            "since": time.time() - seconds(self.since, "--since") if self.since else None,
        }  # fmt: skip
        return {name: value for name, value in given.items() if value}


NONE: Final = Filters()
Ids = Annotated[tuple[str, ...], Parameter(help="The letters' ids.")]
All = Annotated[bool, Parameter(name="--all", negative=())]


def list_letters(
    *, filters: Filters = NONE, group: bool = False, limit: Limit = 50, after: str = "", common: Common = COMMON
) -> int:
    """List dead letters, newest first.

    Args:
        group: one line for each error pattern instead: how many, the first, the last, an example.
        limit: most letters, or patterns, to list.
        after: the last letter of the page before.
    """
    out = Out(as_json=common.json)

    async def go() -> None:
        async with opened(common) as runtime:
            if group:
                _tell_groups(out, await _groups(runtime, filters), limit)
                return
            if after:
                await known(runtime.store, [after])
            found = await runtime.dead_letters(**filters.as_query(), limit=limit, after=after or None)
        for letter in found:
            out.give(as_object(letter))
        heads = ("ID", "RUN", "NODE", "REASON", "TRIES", "AGE", "STATE", "ERROR")
        rows = [
            (
                letter.id, letter.run, letter.address or "-", letter.reason, str(letter.attempts),
                duration(time.time() - letter.at), letter.status, error_of(letter),
            )
            for letter in found
        ]  # fmt: skip
        out.lines(table(heads, rows) if rows else ("no dead letters",))

    asyncio.run(go())
    return 0


class Group(msgspec.Struct):
    """Letters of one error pattern."""

    pattern: str
    example: DeadLetter
    first: float
    last: float
    count: int = 0


async def _groups(runtime: Runtime, filters: Filters) -> list[Group]:
    found: dict[str, Group] = {}
    async for letter in _each(runtime, filters):
        group = found.setdefault(letter.pattern, Group(letter.pattern, letter, letter.at, letter.at))
        group.count += 1
        group.first, group.last = min(group.first, letter.at), max(group.last, letter.at)
    return sorted(found.values(), key=lambda group: (-group.count, -group.last))


async def _each(runtime: Runtime, filters: Filters) -> AsyncIterator[DeadLetter]:
    after = None
    while page := await runtime.dead_letters(**filters.as_query(), after=after, limit=PAGE):
        for letter in page:
            yield letter
        after = page[-1].id


def _tell_groups(out: Out, groups: Sequence[Group], limit: int) -> None:
    for group in groups[:limit]:
        out.give({
            "pattern": group.pattern, "count": group.count, "first": iso(group.first), "last": iso(group.last),
            "example": as_object(group.example),
        })  # fmt: skip
    rows = [
        (
            group.pattern, str(group.count), clock_time(group.first), clock_time(group.last), group.example.id,
            error_of(group.example),
        )
        for group in groups[:limit]
    ]  # fmt: skip
    heads = ("PATTERN", "LETTERS", "FIRST", "LAST", "EXAMPLE", "ITS ERROR")
    out.lines(table(heads, rows) if rows else ("no dead letters",))


def error_of(letter: DeadLetter) -> str:
    """Write a letter's failure on one line."""
    return cut(f"{letter.failure.kind}: {letter.failure.message}")


def input_of(letter: DeadLetter) -> Any:
    """Decode a letter's input for reading; values of types that are not known here are shown as they are kept."""
    try:
        return LENIENT.decode(bytes(letter.input))
    except WindlassError:
        return msgspec.json.decode(letter.input)


def as_object(letter: DeadLetter) -> dict[str, Any]:
    """Spell a letter out for programs."""
    return {
        "id": letter.id, "status": letter.status, "run": letter.run, "tenant": letter.tenant,
        "definition": letter.definition, "fingerprint": letter.fingerprint, "address": letter.address,
        "node": letter.node, "reason": letter.reason, "attempts": letter.attempts,
        "failure": failure_of(letter.failure), "pattern": letter.pattern, "input": plain(input_of(letter)),
        "branch": letter.branch, "checkpoint": letter.n, "trail": letter.trail, "at": iso(letter.at),
        "by": letter.by, "note": letter.note, "tags": letter.tags, "handler": letter.handler,
        "handled_by": letter.handled_by,
    }  # fmt: skip


def show(letter: str, /, *, common: Common = COMMON) -> int:
    """Show all that is known of a dead letter: its errors with their frames, its input, and what each policy decided.

    Args:
        letter: the letter's id.
    """
    out = Out(as_json=common.json)

    async def go() -> DeadLetter:
        async with opened(common) as runtime:
            return (await known(runtime.store, [letter]))[0]

    found = asyncio.run(go())
    out.give(as_object(found))
    out.lines(_told(found, common))
    return 0


def _told(letter: DeadLetter, common: Common) -> list[str]:
    handled = f"{letter.handler}, run {letter.handled_by}" if letter.handled_by else letter.handler
    shown = {
        "state": f"{letter.status} by {letter.by}" if letter.by else letter.status,
        "when": iso(letter.at),
        "run": f"{letter.run}, checkpoint {letter.n}" + (f" of branch {letter.branch}" if letter.branch else ""),
        "definition": f"{letter.definition} {letter.fingerprint}",
        "tenant": letter.tenant,
        "activation": letter.address,
        "reason": letter.reason + (f", after {letter.attempts} attempts" if letter.attempts else ""),
        "pattern": letter.pattern,
        "tags": " ".join(f"{name}={value}" for name, value in letter.tags.items()),
        "handler": handled,
        "note": letter.note,
    }
    lines = [f"dead letter {letter.id}", *(f"  {name:<10} {value}" for name, value in shown.items() if value)]
    given = input_of(letter)
    lines.append("input")
    lines += [f"  {name} = {short(value, 100)}" for name, value in given.items()] if isinstance(given, dict) else []
    lines.append("error")
    kept: dict[str, Any] | None = failure_of(letter.failure)
    begin = "  "
    while kept:
        lines.append(f"{begin}{kept.get('kind', 'Failure')}: {kept.get('message', '')}")
        lines += [f"    {frame}" for frame in kept.get("frames", ())]
        kept, begin = kept.get("cause"), "  caused by "
    lines += ["decided", *(f"  {said}" for said in letter.trail)]
    return [*lines, f"mended, it is tried again with:  {common.paste('dlq', 'retry', letter.id)}"]


def retry(
    *letter: str,
    filters: Filters = NONE,
    all_: All = False,
    with_: Edits = (),
    rate: float | None = None,
    file: tuple[str, ...] = (),
    common: Driving = DRIVING,
) -> int:
    """Let the runs of dead letters go on, here, and wait until each of them ends or waits.

    What cannot be retried is told with the reason, and the others go on.

    Args:
        letter: the letters' ids; else those that the filters find.
        all_: without ids and filters: every open letter.
        rate: most runs a second that are begun again.
        file: FILE.py:NAME, as often as needed; else what the runs were started with is imported.
    """
    out = Out(as_json=common.json)
    edits = read_pairs(with_, "--with")

    async def go() -> int:
        async with opened(common) as runtime:
            wanted = await _wanted(runtime, letter, filters, every=all_)
            sources = list(file) or await _sources(runtime, wanted)
        if sources and not file:
            out.say(f"importing {', '.join(sources)}: the runs were started with it")
        async with opened(common, load(sources)) as runtime:
            out.say(f"store {common.url}")
            return await _retry_all(runtime, out, common, wanted, edits=edits or None, rate=rate)

    return asyncio.run(go())


async def _wanted(runtime: Runtime, ids: Sequence[str], filters: Filters, *, every: bool) -> list[str]:
    """List the ids of the letters that are meant.

    Raises:
        InputError: nothing says which, or too much does.
        LetterUnknown: there is none of an id.
    """
    if sum(map(bool, (ids, filters != NONE, every))) != 1:
        raise InputError("letter", "say which letters: by their ids, by filters, or --all", hint="windlass dlq list")
    if ids:
        return [letter.id for letter in await known(runtime.store, ids)]
    return [letter.id async for letter in _each(runtime, filters)]


async def _sources(runtime: Runtime, ids: Sequence[str]) -> list[str]:
    """Name what the runs of letters were started with, as far as it is known."""
    found: dict[str, None] = {}
    for begin in range(0, len(ids), PAGE):
        letters = await known(runtime.store, ids[begin : begin + PAGE])
        runs = tuple({letter.run for letter in letters})
        for record in await runtime.store.find(Runs(ids=runs, limit=len(runs))):
            if record.source:
                found[record.source] = None
    return sorted(found)


async def _retry_all(
    runtime: Runtime, out: Out, common: Common, ids: Sequence[str], *, edits: dict[str, Any] | None, rate: float | None
) -> int:
    runs: dict[str, None] = {}
    refusals: list[WindlassError] = []
    done = 0
    if ids:
        async for redriven in runtime.redrive(*ids, edits=edits, rate=rate, by=user()):
            done += 1
            letter, refused = redriven.letter, redriven.refused
            if refused is None:
                runs[letter.run] = None
            else:
                refusals.append(refused)
            _tell(out, f"{done}/{len(ids)}", letter, refused)
    codes = [await _ended(runtime, out, run) for run in runs]
    counts = ((len(runs), "runs went on"), (codes.count(RUN_FAILED), "failed again"), (len(refusals), "refused"))
    out.end(f"{len(ids)} letters: " + ", ".join(f"{number} {what}" for number, what in counts))
    if refusals:
        out.say(f"what is left: {common.paste('dlq', 'list')}")
        return next(code for kind, code in CODES if isinstance(refusals[0], kind))
    return RUN_FAILED if RUN_FAILED in codes else max(codes, default=0)


def _tell(out: Out, place: str, letter: DeadLetter, refused: WindlassError | None) -> None:
    told: dict[str, Any] = {"type": "retried" if refused is None else "refused", "letter": letter.id, "run": letter.run}
    if refused is not None:
        told |= {"error": refused.code, "message": str(refused.args[0]), "hint": refused.hint}
    out.give(told)
    out.say(f"{place}  {letter.id}  {letter.run}  " + ("goes on" if refused is None else f"refused: {refused}"))


async def _ended(runtime: Runtime, out: Out, run: str) -> int:
    """Wait until a run has ended or waits, and tell how it stands; returns its exit code."""
    with suppress(RunFailed):
        await runtime.wait(run, timers=True)
    outcome = await look_up(runtime, run)
    out.give(outcome.as_object())
    why = "" if outcome.failing is None else f": {outcome.failing.failure.get('message', '')}"
    out.line(f"{run} {outcome.status}{cut(why)}")
    return outcome.code


def drop(*letter: str, filters: Filters = NONE, all_: All = False, note: str = "", common: Common = COMMON) -> int:
    """Put dead letters aside for good; their runs stay as they are.

    Args:
        letter: the letters' ids; else those that the filters find.
        all_: without ids and filters: every open letter.
        note: why, for whoever looks at them later.
    """
    out = Out(as_json=common.json)

    async def go() -> list[str]:
        async with opened(common) as runtime:
            wanted = await _wanted(runtime, letter, filters, every=all_)
            for begin in range(0, len(wanted), PAGE):
                await runtime.drop(*wanted[begin : begin + PAGE], by=user(), note=note)
            return wanted

    dropped = asyncio.run(go())
    for id_ in dropped:
        out.give({"type": "dropped", "letter": id_})
    out.line(f"dropped {len(dropped)} letters")
    return 0
