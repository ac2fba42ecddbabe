"""What a demo is judged by: the ledger and the notes outside, compared with the run's own log."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from windlass.cli.output import Out, plain
from windlass.core.events import Event
from windlass.engine.runtime import Runtime

BUILDING = "measure"  # the task that runs once per file
OTHERS = 4  # the program's tasks that run once
OUTCOMES = {"appended": "its line was missing: appended now", "stood there already": "its line stood there: left alone"}


class Kill(Struct, frozen=True):
    """The kill: how many lines the ledger had, and the file whose line stood there without the store knowing."""

    lines: int
    inside: str


class Doubt(Struct, frozen=True):
    """An effect that had begun and whose outcome was not recorded when the kill came, and what became of it."""

    file: str
    settled: str
    outcome: str


class Figures(Struct, frozen=True, kw_only=True):
    """What a demo is judged by.

    Attributes:
        cut_off: activations that were running at the kill, and so begun a second time.
        repeated: activations that had been acknowledged and ran again all the same.
        doubled: keys that stand in the ledger more than once.
        ms_to_next_step: from the start of the second process to the first activation that runs in it.
    """

    files: int
    activations_before: int
    activations_after: int
    cut_off: int
    repeated: int
    ledger_lines: int
    keys_doubled: int
    killed: Kill | None
    in_doubt: list[Doubt]
    ms_to_next_step: int
    seconds: float
    status: str
    ruff: str
    summary_by: str


class Ledger:
    """The ledger while it grows: every look reads only what is new."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines = 0
        self.text = ""
        self._read = 0

    def look(self) -> int:
        """Return the number of whole lines."""
        try:
            with self.path.open("rb") as ledger:
                ledger.seek(self._read)
                new = ledger.read()
        except FileNotFoundError:
            return 0
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        self.lines += whole.count(b"\n")
        self.text += whole.decode()
        return self.lines

    def entries(self) -> list[dict[str, Any]]:
        """Return the lines so far."""
        return [msgspec.json.decode(line) for line in self.text.splitlines()]

    def file_of(self, key: str) -> str:
        """Return the file that a key stands for; "" while it does not stand here."""
        return next((entry["file"] for entry in self.entries() if entry["key"] == key), "") if key in self.text else ""


async def count(store: str, run: str, out: Path, spawned: float) -> dict[str, Any]:
    """Compare what stands outside, in the ledger and in the notes of what began, with the run's own log.

    Args:
        spawned: when the second worker was started, in seconds since the epoch.
    """
    async with Runtime(store) as runtime:
        events = [event async for event in runtime.events(run)]
        state = await runtime.state(run)
        status = (await runtime.get(run)).head.status
    ledger = Ledger(out / "ledger.jsonl")
    ledger.look()
    keys = [entry["key"] for entry in ledger.entries()]
    starts = [msgspec.json.decode(line) for line in (out / "starts.jsonl").read_text().splitlines()]
    taken = next((event.seq for event in events if event.type == "lease.taken_over"), 0)
    ended = [event for event in events if event.type == "activation.completed"]
    before = [event.address for event in ended if event.seq < taken]
    names = {f"{BUILDING}#1[{index}]": name for index, name in enumerate(state.get("scan", []))}
    acknowledged = {names[address] for address in before if address in names}
    second = [start for start in starts if start["at"] >= spawned]
    again = {start["file"] for start in second} & {start["file"] for start in starts if start["at"] < spawned}
    lint = [finding["lint"] for finding in plain(state.get("rank", []))]
    notes = {one["note"] for one in lint} - {""}
    return {
        "activations_before": len(before),
        "activations_after": len(ended) - len(before),
        "cut_off": len(again - acknowledged),
        "repeated": len(again & acknowledged) + len(ended) - len({event.address for event in ended}),
        "ledger_lines": len(keys),
        "keys_doubled": len(keys) - len(set(keys)),
        "in_doubt": doubts(events, taken, names),
        "ms_to_next_step": round(1000 * (min((start["at"] for start in second), default=spawned) - spawned)),
        "status": status,
        "ruff": min(notes) if notes else f"{sum(one['found'] for one in lint)} findings",
        "summary_by": plain(state.get("summarize", {})).get("by", ""),
    }


def doubts(events: list[Event], taken: int, names: dict[str, str]) -> list[Doubt]:
    """Find the effects that were in doubt when the second worker took the run, and how each was settled."""
    intended = [event.address for event in events if event.type == "effect.intended" and event.seq < taken]
    done = {event.address for event in events if event.type == "effect.completed" and event.seq < taken}
    later = [event for event in events if event.seq > taken]
    settled = {event.address: event.data["settled"] for event in later if event.type == "effect.in_doubt"}
    outcome = {event.address: event.data["value"] for event in later if event.type == "effect.completed"}
    return [
        Doubt(names.get(address, address), settled.get(address, ""), str(outcome.get(address, "")))
        for address in intended
        if address not in done
    ]


def judge(figures: Figures) -> Iterator[str]:
    """Name every figure that is not what it should be."""
    if figures.status != "completed":
        yield f"the run is {figures.status}, not completed"
    if figures.killed is None:
        yield "the first worker ended before it was killed inside an effect"
    elif not any(doubt.file == figures.killed.inside for doubt in figures.in_doubt):
        yield f"the append for {figures.killed.inside} was not in doubt after the kill"
    if figures.ledger_lines != figures.files:
        yield f"{figures.ledger_lines} ledger lines for {figures.files} files"
    if figures.keys_doubled:
        yield f"{figures.keys_doubled} keys stand twice in the ledger"
    if figures.repeated:
        yield f"{figures.repeated} activations ran again after they had been acknowledged"
    if figures.activations_before + figures.activations_after != figures.files + OTHERS:
        yield f"{figures.activations_before} + {figures.activations_after} activations, not {figures.files + OTHERS}"
    yield from (f"the effect for {doubt.file} was not settled" for doubt in figures.in_doubt if not doubt.outcome)
    if figures.ms_to_next_step <= 0:
        yield "nothing ran in the second worker"


def rows(figures: Figures) -> Iterator[tuple[str, str]]:
    """Put the figures into words, one line each."""
    yield "files", f"{figures.files}"
    yield "activations before the kill", f"{figures.activations_before}"
    yield "activations after it", f"{figures.activations_after} ({figures.cut_off} of them had been cut off)"
    yield "acknowledged, and run again", f"{figures.repeated}"
    if figures.killed is not None:
        share = round(100 * figures.killed.lines / figures.files)
        yield (
            "killed",
            f"at ledger line {figures.killed.lines} ({share} %), inside the append for {figures.killed.inside}",
        )
    yield "ledger lines", f"{figures.ledger_lines}"
    yield "keys doubled", f"{figures.keys_doubled}"
    settled = " and ".join(sorted({doubt.settled or "not settled" for doubt in figures.in_doubt}))
    yield "effects in doubt", f"{len(figures.in_doubt)}: {settled}" if settled else "0"
    for doubt in figures.in_doubt:
        yield f"  {doubt.file}", OUTCOMES.get(doubt.outcome, doubt.outcome)
    yield "from spawn to the next step", f"{figures.ms_to_next_step} ms"
    yield "in all", f"{figures.seconds:.1f} s"
    yield "ruff", figures.ruff
    yield "summary by", figures.summary_by


def show(say: Out, figures: Figures, wrong: list[str]) -> None:
    """Print the table, and what is wrong, if anything is."""
    if say.as_json:
        for line in wrong:
            say.say(f"wrong: {line}")
        return
    verdict = "killed, gone on, nothing done twice" if not wrong else "WRONG: " + "; ".join(wrong)
    lines = list(rows(figures))
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        grid = Table(title=verdict, title_style="bold red" if wrong else "bold green", show_header=False, min_width=60)
        grid.add_column(style="dim")
        grid.add_column()
        for name, figure in lines:
            grid.add_row(name, figure)
        Console().print(grid, highlight=False)
        return
    width = max(len(name) for name, _ in lines)
    say.lines([*(f"{name:<{width}}  {figure}" for name, figure in lines), "", verdict])
