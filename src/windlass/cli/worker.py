"""`windlass worker`: one process that drives the runs of some definitions, and logs one line for what happens."""

import asyncio
import os
import signal
import time
from typing import Any

from windlass.cli.loader import load
from windlass.cli.opening import opened
from windlass.cli.options import DRIVING, Driving
from windlass.cli.output import Out, clock_time, iso, plain, short
from windlass.cli.store import seconds
from windlass.cli.telling import details
from windlass.core.errors import InputError, StoreError, WindlassError
from windlass.core.events import Event
from windlass.engine.runtime import Runtime
from windlass.worker.pruner import Pruner
from windlass.worker.worker import Worker

ROUND_SECONDS = 0.25
QUIET = frozenset({  # told with --verbose only: they are many, and all is well
    "activation.started", "activation.completed", "step.committed", "call.recorded", "effect.intended",
    "effect.completed", "item", "timer.set", "timer.fired",
})  # fmt: skip
LEVELS = {
    "run.failed": "error", "activation.failed": "error", "run.refused": "error", "store.failed": "error",
    "attempt.failed": "warning", "attempt.abandoned": "warning", "effect.in_doubt": "warning",
    "effect.diverged": "warning", "lease.taken_over": "warning", "activation.stalled": "warning",
    "activation.blocking": "warning", "dead_letter.made": "warning", "breaker.opened": "warning",
    "budget.exceeded": "warning",
    "policy.clamped": "warning", "definition.code_changed": "warning", "run.interrupted": "warning",
}  # fmt: skip
TROUBLE = ("activation.stalled", "activation.blocking")  # items that are logged, too


class Log:
    """Writes one line for what happened; with `--json` an object with time, level, event, run, node, attempt."""

    def __init__(self, out: Out, *, verbose: bool) -> None:
        self.out = out
        self.verbose = verbose

    def event(self, event: Event) -> None:
        """Log an event of a run."""
        if event.type in QUIET and not self.verbose:
            return
        data = dict(event.data)
        attempt = data.pop("attempt", None)
        self._write(
            event.at, event.type, event.run, event.address, attempt, data, details(event), seq=event.seq
        )  # fmt: skip

    def line(self, what: str, run: str = "", **data: Any) -> None:
        """Log what the worker did."""
        error = data.get("error")
        if isinstance(error, WindlassError):
            data |= {"error": error.code, "message": str(error.args[0]), "hint": error.hint}
        said = "  ".join(f"{name}={value if isinstance(value, str) else short(value)}" for name, value in data.items())
        self._write(time.time(), what, run, "", None, data, said)

    def _write(
        self, at: float, what: str, run: str, address: str, attempt: int | None, data: dict[str, Any], said: str,
        seq: int = 0,
    ) -> None:  # fmt: skip
        level = LEVELS.get(what, "info")
        if self.out.as_json:
            node = address.rpartition("/")[2].partition("#")[0]
            known = {"seq": seq, "run": run, "node": node, "address": address, "attempt": attempt}
            kept = {name: value for name, value in known.items() if value}
            self.out.give({"at": iso(at), "level": level, "event": what, **kept, "data": plain(data)})
            return
        parts = (clock_time(at), f"{level:<7}", run, f"{what:<20}", address, said)
        self.out.line("  ".join(part for part in parts if part).rstrip())


def worker(
    definition: str, /, *more: str,
    concurrency: int = 100, grace: float = 10.0, retain: str | None = None, verbose: bool = False,
    common: Driving = DRIVING,
) -> int:  # fmt: skip
    """Drive the runs of some definitions that have work: started elsewhere, due, answered, or without their owner.

    SIGTERM and Ctrl-C stop it: it claims nothing more, what runs may go on for a while, and what is left then is free
    for the next worker.

    Args:
        definition: FILE.py:NAME or package.module:NAME.
        more: the same, as many as needed.
        concurrency: most runs at once.
        grace: seconds that runs may go on for after a signal.
        retain: drop runs that completed or were cancelled longer ago than this, once an hour: 30d, 12h; else none.
        verbose: log every step, too.
    """
    age = None if retain is None else seconds(retain, "--retain")
    if concurrency < 1:
        raise InputError("--concurrency", f"{concurrency} runs at once: at least 1 is needed")
    loaded = load([definition, *more])
    log = Log(Out(as_json=common.json), verbose=verbose)

    async def go() -> None:
        async with opened(common, loaded, make=True, timers=False) as runtime:
            log.out.say(f"store {common.url}")
            following = Following(runtime, log)
            work = Worker(runtime, loaded, concurrency=concurrency, told=following.told)
            log.line("worker.started", pid=os.getpid(), definitions=list(work.names), concurrency=concurrency)
            stopped = listen(work)
            pruner = None if age is None else Pruner(runtime.store, age, told=log.line)
            pruning = None if pruner is None else asyncio.create_task(pruner.run())
            await work.run()
            if pruning is not None:
                pruning.cancel()
            log.line("worker.draining", driving=len(runtime.driving), grace=grace)
            draining = asyncio.create_task(work.drain(0.0 if stopped.is_set() else grace))
            leaving = asyncio.create_task(stopped.wait())
            await asyncio.wait({draining, leaving}, return_when=asyncio.FIRST_COMPLETED)
            for task in (draining, leaving):
                task.cancel()
            await following.close()
            for run in runtime.driving:
                log.line("run.interrupted", run)
        log.line("worker.stopped")

    asyncio.run(go())
    return 0


def listen(work: Worker) -> asyncio.Event:
    """Stop the worker at the first signal; set the event that is returned at the second."""
    again = asyncio.Event()

    def signalled() -> None:
        if work.stopping:
            again.set()
        work.stop()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signalled)
    return again


class Following:
    """Logs the events of the runs that the worker drives: all of them in one round, a few times a second."""

    def __init__(self, runtime: Runtime, log: Log) -> None:
        self.runtime = runtime
        self.log = log
        self.seen: dict[str, int] = {}  # run → its last event that was logged
        self.stalled_at: dict[str, float] = {}
        self.task = asyncio.create_task(self._rounds())

    def told(self, what: str, run: str = "", **data: Any) -> None:
        """Take what the worker tells; a run that it picked up is followed from there."""
        self.log.line(what, run, **data)
        if what == "run.picked_up":
            self.seen.setdefault(run, data["after"])

    async def _rounds(self) -> None:
        while True:
            await asyncio.sleep(ROUND_SECONDS)
            try:
                await self.round()
            except StoreError as error:  # the worker meets it, too, and goes on
                self.log.line("store.failed", error=error)

    async def round(self) -> None:
        """Log what is new, and forget the runs that are not driven any more."""
        driving = set(self.runtime.driving)
        for run in tuple(self.seen):
            async for event in self.runtime.events(run, after=self.seen[run]):
                if event.seq:
                    self.seen[run] = event.seq
                elif event.type not in TROUBLE or event.at <= self.stalled_at.get(run, 0.0):
                    continue
                else:
                    self.stalled_at[run] = event.at
                self.log.event(event)
            if run not in driving:
                del self.seen[run]
                self.stalled_at.pop(run, None)

    async def close(self) -> None:
        """Log what is left and stop."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.round()
