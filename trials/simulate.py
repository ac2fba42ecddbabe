"""Simulation: schedules of the real engine under simulated faults, searched by seed and enumerated in a small scope."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

import msgspec
from msgspec.structs import replace

from trials.figures import Figures, Trial
from windlass.testing.sim import Report, enumerate_schedules, scene_named, search, smallest
from windlass.testing.sim_scenes import SCENES

ENOUGH = 6  # violations after which a search ends
CHUNK = 250  # schedules that a process goes through at a time
SHARE = 4  # of the schedules that a scene has
SHARES = {"effects": 12, "fan": 8, "rollback": 8, "bounds": 1, "limits": 1, "edges": 1}  # the last ones take longer
ONE_RUN = (  # and nothing around it: a schedule of the other scenes has several runs, sub-graphs, budgets or people
    "effects", "fan", "loop", "reducer", "question", "timer", "cancel", "pause", "rollback", "nested", "stream",
    "brief",
)  # fmt: skip
REACHED = (
    "crash between intent and call", "crash between call and record", "crash in a call", "effect called by a zombie",
    "commit ambiguous, applied", "commit refused", "create ambiguous, applied", "claim ambiguous, applied",
    "zombie refused", "takeover from the living", "takeover from the dead", "double answer lost the race",
    "cancel beat completion", "completion beat cancel", "late timer", "timer in time", "retry after crash", "stall",
    "clock jumped", "drain", "doubt answered: it happened", "doubt answered: it did not happen", "effect verified",
    "rolled back", "paused", "undo in doubt", "client asked again",
    "budget refused", "budget granted: trip", "budget granted: rides", "budget written off at takeover",
    "budget raised", "breaker opened", "breaker half-open", "breaker closed by its probe", "probe died", "limit held",
    "permit passed on", "wrapped up", "the deadline was first", "the answer was first", "escalated in time",
    "signals taken back", "thread: interrupt", "thread: rollback", "thread: one queued behind one that waits",
    "thread: resume met nothing", "thread: resume met TurnOver", "thread: rollback met TurnOver",
    "letter: attempts", "letter: budget", "letter: run timeout",
)  # fmt: skip


def simulate(folder: Path, *, schedules: int, processes: int = 2, seed: int = 0) -> Figures:
    """Search all scenes; what is broken is shrunk and kept as a tape in the folder."""
    report, plain = Report(), Report()
    chunks = list(_chunks(schedules, seed))
    with ProcessPoolExecutor(processes, mp_context=get_context("fork")) as pool:  # a mutant stays applied
        for (name, *_), found in zip(chunks, pool.map(_chunk, *zip(*chunks, strict=True)), strict=True):
            report.merge(found)
            if name in ONE_RUN:
                plain.merge(found)
            if len(report.violations) >= ENOUGH:
                pool.shutdown(wait=False, cancel_futures=True)
                break
    figures = Figures(report.schedules, {"violations": 0}, dict.fromkeys(REACHED, 0))
    _judge(figures, report, folder)
    figures.shown |= {
        "schedules a second of one core": round(report.schedules / report.seconds),
        "where there is one run": round(plain.schedules / plain.seconds) if plain.seconds else 0,
        "faults": report.faults,
        "callbacks": report.turns,
        "scenes": len(SCENES),
    }
    return figures


def _chunks(schedules: int, seed: int) -> Iterator[tuple[str, int, int]]:
    whole = sum(SHARES.get(name, SHARE) for name in SCENES)
    ends = {name: seed + -(-schedules * SHARES.get(name, SHARE) // whole) for name in SCENES}
    for first in range(seed, max(ends.values()), CHUNK):  # every scene has its turn soon
        for name, last in ends.items():
            if first < last:
                yield name, first, min(first + CHUNK, last)


def _chunk(name: str, first: int, last: int) -> Report:
    return search(scene_named(name), range(first, last))


def _judge(figures: Figures, report: Report, folder: Path) -> None:
    for what in REACHED:
        figures.reach(what, report.reached.get(what, 0))
    shrunk: set[str] = set()
    for violation in report.violations:
        figures.blame("violations", f"{violation.scene}: {violation.what[0]}")
        if violation.scene not in shrunk and violation.scene in SCENES:
            shrunk.add(violation.scene)
            least = smallest(SCENES[violation.scene], violation)
            least = replace(least, found=datetime.now(UTC).date().isoformat())
            (folder / f"{violation.scene}.json").write_bytes(msgspec.json.format(msgspec.json.encode(least)))
            figures.trouble.append(f"{violation.scene}: tape {least.tape}")


def enumerated(folder: Path, *, faults: int = 1, disorder: int = 0, most: int | None = None) -> Figures:
    """Go through every schedule of two workers, one run, two steps."""
    report = enumerate_schedules(SCENES["brief"], faults=faults, disorder=disorder, most=most)
    figures = Figures(report.schedules, {"violations": 0})
    for violation in report.violations:
        figures.blame("violations", f"{violation.what[0]}: tape {violation.tape}")
    for what in ("crash between call and record", "crash between intent and call", "takeover from the dead"):
        figures.reach(what, report.reached.get(what, 0))
    figures.shown |= {"faults": faults, "disorder": disorder, "whole": most is None or report.schedules < most}
    return figures


TRIALS = (
    Trial(
        "simulate",
        "F14 F17 F18 F26 F27 F28 F41 F42 F43 F44",
        "The real engine on simulated time, workers, store and world: nothing lost, repeated, stuck or forged; no "
        "budget, limit or breaker overrun, nothing paid and not counted.",
        simulate,
        short={"schedules": 20_000},
        long={"schedules": 1_000_000},
    ),
    Trial(
        "schedules",
        "F17 F18 F42",
        "Every schedule of two workers, one run, two steps with one fault: nothing lost, repeated or stuck.",
        enumerated,
        short={"disorder": 0},
        long={"disorder": 1},
    ),
)
