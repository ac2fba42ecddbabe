"""The world outside, as the crash tester keeps it: a ledger in a file of its own that outlives whoever is killed.

A line is one write to a file opened for appending: it is there whole once the write returns, and a SIGKILL leaves it.
`listen` lets a process note its effects, calls and attempts without a change to the user's code; a `Target` is an
outside system with a memory, for effects of tests.
"""

import fcntl
import functools
import inspect
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from windlass.core import crashpoint
from windlass.core.errors import ValueNotKept
from windlass.core.words import Happened
from windlass.engine import execute
from windlass.engine.activation import Activation
from windlass.engine.context import Context
from windlass.engine.functions import result_codec
from windlass.engine.undo import Undoing

Subject: TypeAlias = tuple[str, str, str, str]  # run, address, name and key of what an effect's function is called for
CALLED: ContextVar[Subject] = ContextVar("called", default=("", "", "", ""))
TOLD = {"effect.call.before": "intended", "effect.result.after": "outcome"}  # label → what the ledger notes


@dataclass(frozen=True)
class Line:
    """One thing that happened.

    Args:
        at: when, in nanoseconds of the machine's monotonic clock: the same in all processes.
        turn: in which process of the trial; 0 is the first.
        kind: body (an attempt began), call, intended, begun, did (a Target), done, outcome, undoing, undid (a Target),
            undone, killed.
        key: the idempotency key of the effect; of a `did`, what the Target was given.
        part: the `key=` of the effect in its activation.
        value: of `did` and `done`, what it gave, as it is kept.
        run: the run or child run; empty for what is no run's.
    """

    at: int
    turn: int
    kind: str
    address: str = ""
    name: str = ""
    key: str = ""
    part: str = ""
    value: Any = None
    run: str = ""


@dataclass(frozen=True)
class Kill:
    """When a process dies: at the n-th time that it reaches a label, or `seconds` after it has begun."""

    label: str = ""
    number: int = 1
    seconds: float | None = None

    def __str__(self) -> str:
        return f"{self.label} {self.number}" if self.seconds is None else f"after {self.seconds:.4f} s"


class World:
    """The ledger of a trial as one of its processes sees it, and the hook that kills.

    Args:
        turn: how many processes of the trial went before.
        number: the signal that stands for `kill`.
    """

    def __init__(
        self, path: Path, turn: int = 0, kill: Kill | None = None, number: signal.Signals = signal.SIGKILL
    ) -> None:
        self.path = path
        self.turn = turn
        self.kill = kill
        self.number = number
        self.reached: Counter[str] = Counter()
        self._file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    def note(self, kind: str, **details: Any) -> None:
        """Append a line; see `Line` for the details."""
        line = asdict(Line(time.monotonic_ns(), self.turn, kind, **details))
        os.write(self._file, b"\n" + json.dumps(line).encode() + b"\n")  # a torn line before it stays apart

    def reach(self, label: str) -> None:
        """Note what a label means to the ledger, and die if it is time."""
        self.reached[label] += 1
        if label in TOLD:
            run, address, name, part = CALLED.get()
            self.note(TOLD[label], run=run, address=address, name=name, part=part)
        if self.kill is not None and (label, self.reached[label]) == (self.kill.label, self.kill.number):
            self.note("killed")
            os.kill(os.getpid(), self.number)

    def lock(self, is_held: bool) -> None:
        """Hold the ledger against the other processes of the trial, or let it go."""
        fcntl.flock(self._file, fcntl.LOCK_EX if is_held else fcntl.LOCK_UN)


HERE: list[World] = []  # the world of this process: definitions are made before there is one


def enter(entered: World) -> World:
    """Make a world this process's own, and hear every label that the product reaches."""
    HERE[:] = [entered]
    crashpoint.on_reach = entered.reach
    return entered


def world() -> World:
    """Return this process's world."""
    return HERE[0]


def read(path: Path) -> list[Line]:
    """Read a ledger; a line that a kill has torn is no line: what it tells of had not happened yet."""
    if not path.exists():
        return []
    return [Line(**json.loads(line)) for line in path.read_text().split("\n") if line.endswith("}")]


class Target:
    """An outside system that remembers what happened to it.

    Args:
        kind: `dedupes`: one that is asked twice with one key does it once. `tells`: it can be asked whether something
            happened. `neither`: it does what it is asked as often as it is asked.
    """

    def __init__(self, name: str, kind: Literal["dedupes", "tells", "neither"]) -> None:
        self.name = name
        self.kind = kind

    @property
    def on_doubt(self) -> Any:
        """What `ctx.effect(on_doubt=...)` says about such a system; the function's last argument is then the key."""
        return {"dedupes": "retry", "tells": self.verify, "neither": "ask"}[self.kind]

    def do(self, value: Any, key: str) -> Any:
        """Let something happen, and return its receipt: the value."""
        here = world()
        here.lock(is_held=True)
        try:
            if self.kind != "dedupes" or self.find(key) is None:
                run, address, _, _ = CALLED.get()
                here.note("did", name=self.name, key=key, value=value, run=run, address=address)
        finally:
            here.lock(is_held=False)
        return value

    def undo(self, key: str) -> None:
        """Let something be undone."""
        world().note("undid", name=self.name, key=key)

    def find(self, key: str) -> Line | None:
        """Return what happened with a key; None if nothing did."""
        lines = read(world().path)
        return next((line for line in lines if (line.kind, line.name, line.key) == ("did", self.name, key)), None)

    async def verify(self, *arguments: Any) -> Happened | None:
        """Say whether an effect happened, as `on_doubt`: the key is the last of the effect's arguments."""
        found = self.find(arguments[-1])
        return None if found is None else Happened(found.value)


def listen() -> None:
    """Let this process note in its world each attempt, call and effect; for a process of a trial: it stays so."""
    inputs, call, effect = execute.gather_inputs, Context.call, Context.effect
    undo = Undoing._run  # noqa: SLF001 -- as below

    def gather_inputs(activation: Activation) -> list[Any]:
        world().note("body", run=activation.journal.record.id, address=activation.address)
        return inputs(activation)

    async def noted_call(ctx: Context, name: str, fn: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        about = {"run": ctx.run_id, "address": ctx.address, "name": name}
        return await call(ctx, name, _around(fn, lambda: world().note("call", **about)), *arguments, **named)

    async def noted_effect(
        ctx: Context, name: str, fn: Callable[..., Any], *arguments: Any, key: str = "", **named: Any
    ) -> Any:
        token = CALLED.set((ctx.run_id, ctx.address, name, key))
        try:
            heard = _around(fn, *_effect_notes(ctx, name, fn, key, named.get("returns")))
            return await effect(ctx, name, heard, *arguments, key=key, **named)
        finally:
            CALLED.reset(token)

    async def noted_undo(undoing: Undoing, fn: Callable[..., Any], arguments: Any, named: Any) -> Any:
        line = undoing.line
        declared = undoing.node.undo.get(line.undo) if undoing.node is not None else None
        if declared is None or fn is not declared.fn:  # its verify function
            return await undo(undoing, fn, arguments, named)
        about = {
            "run": line.run, "address": line.address, "name": line.name, "part": line.key, "key": line.effect_key
        }  # fmt: skip
        world().note("undoing", **about)
        given = await undo(undoing, fn, arguments, named)
        world().note("undone", **about)
        return given

    execute.gather_inputs = gather_inputs
    Undoing._run = noted_undo  # type: ignore[method-assign, assignment]  # noqa: SLF001 -- the one door to an undo
    Context.call = noted_call  # type: ignore[method-assign, assignment]
    Context.effect = noted_effect  # type: ignore[method-assign, assignment]


def _effect_notes(
    ctx: Context, name: str, fn: Callable[..., Any], part: str, returns: Any
) -> tuple[Callable[[], None], Callable[[Any], None]]:
    def about() -> dict[str, Any]:
        return {"run": ctx.run_id, "address": ctx.address, "name": name, "part": part, "key": ctx.key(name, part)}

    def before() -> None:
        world().note("begun", **about())
        world().reach("world.begun")

    def after(value: Any) -> None:
        try:
            codec = result_codec(ctx._activation.blueprint.codec, fn, returns)  # noqa: SLF001 -- as `effect` does it
            kept = msgspec.json.decode(codec.encode(value, name).data)
        except ValueNotKept:  # the product will say so
            kept = None
        world().note("done", **about(), value=kept)
        world().reach("world.done")

    return before, after


def _around(
    fn: Callable[..., Any], before: Callable[[], None], after: Callable[[Any], None] = lambda _: None
) -> Callable[..., Any]:
    """Wrap a function so that it is told when it begins and what it gave; one that is async stays so."""
    if inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None)):  # noqa: B004

        @functools.wraps(fn)
        async def heard(*arguments: Any, **named: Any) -> Any:
            before()
            value = await fn(*arguments, **named)
            after(value)
            return value

        return heard

    @functools.wraps(fn)
    def heard_here(*arguments: Any, **named: Any) -> Any:
        before()
        value = fn(*arguments, **named)
        if not inspect.isawaitable(value):
            after(value)
            return value
        return _awaited(value, after)

    return heard_here


async def _awaited(value: Any, after: Callable[[Any], None]) -> Any:
    given = await value
    after(given)
    return given
