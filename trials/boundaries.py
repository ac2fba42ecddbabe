"""Limits hold when many processes share them, and when their owners are killed (S22, R193).

In `budgets` four processes make 25 calls each, at once, under one tenant's budget; some are killed in it and others
take their runs over. In `half-open` four processes ask a breaker whose cooldown is over, fifty times each. In `kept` a
task that fails is killed anywhere between its attempts.
"""

import json
import random
import signal
from functools import partial
from pathlib import Path
from typing import Any

from trials.boundaries_work import (
    ONE,
    RETRY,
    SWITCH,
    TENANT,
    asks,
    fails,
    process,
    spends,
    standing,
    tells,
    watches,
)
from trials.claims import Steps
from trials.figures import Figures, Trial
from windlass.testing.crash_forks import Child, fork, lanes
from windlass.testing.crash_trial import workplace
from windlass.testing.crash_world import Kill, read

PROCESSES = 4
LIMIT = 60  # calls: fewer than the four want
TIMES = {"equal": 1, "thrice": 3, "missing": 1}  # what a call comes to, when it is expected to come to one
SECONDS = 60.0
LABELS = (
    "run.create.after", "claim.after", "node.before", "call.before", "record.before", "record.after", "adjust.before",
    "adjust.inside", "adjust.after", "commit.before", "commit.inside", "commit.after",
)  # fmt: skip
MOST_KILLS = 2  # of one run: a third death in a row, and the run is poison
EARLY = 0.05  # seconds that a row is written after the failure that it tells of, on a busy machine
Wrong = list[tuple[str, str]]


# Budgets


def budget_trial(folder: Path, used: str, seed: int, *, killed: bool) -> dict[str, Any]:
    """Let four processes spend, kill some, let others go on for them; say what is wrong."""
    folder.mkdir(parents=True)
    dice, ledger, times = random.Random(seed), folder / "ledger", TIMES[used]
    watcher = fork(watches(folder, LIMIT, times))
    kills = [Kill(dice.choice(LABELS), dice.randint(1, 8)) if killed else None for _ in range(PROCESSES)]
    wrong: Wrong = []
    kept: dict[int, Any] = {}
    places, turn, deaths = list(range(PROCESSES)), 0, 0
    while places:
        children = {
            place: fork(process(spends(folder, used, LIMIT, place), ledger, turn, kills[place])) for place in places
        }
        places = []
        for place, child in children.items():
            said, code = child.rest(), child.end(SECONDS)
            if code == 0:
                kept[place] = json.loads(said[-1])
            elif code == -signal.SIGKILL and kills[place] is not None:
                places.append(place)
            else:
                wrong.append(("stuck", f"process {place} ended {code}"))
        deaths, turn = deaths + len(places), turn + 1
        for place in places:
            kills[place] = None
    (folder / "stop").touch()
    watched, told = json.loads(heard(watcher)), json.loads(heard(fork(tells(folder))))
    wrong += [("over", line) for line in watched["over"]]
    lines = read(ledger)
    paid, refused = (sum(line.kind == kind for line in lines) for kind in ("paid", "refused"))
    recorded = sum(one["recorded"] for one in kept.values())
    spent = told[TENANT].get("spent", {}).get("money", 0) / ONE
    wrong += judged(told[TENANT], spent, paid, recorded, times, killed=deaths > 0)
    return {"wrong": wrong, "deaths": deaths, "paid": paid, "refused": refused, "looks": watched["looks"]}


def judged(state: Any, spent: float, paid: int, recorded: int, times: int, *, killed: bool) -> Wrong:
    """Hold what the tally says against what the world was paid.

    A call that nobody recorded counts at its estimate, which is one: nobody knows what it came to.
    """
    wrong: Wrong = []
    if state.get("held"):
        wrong.append(("held", f"{state['held']} is held by nobody"))
    least = paid + recorded * (times - 1)
    if spent < least:
        wrong.append(("forgotten", f"{spent} spent, and at least {least} was paid"))
    if not killed and spent != paid * times:
        wrong.append(("miscounted", f"{spent} spent, {paid} calls at {times}"))
    if spent > LIMIT + paid * (times - 1):
        wrong.append(("over", f"{spent} spent in all, of {LIMIT}, with {paid} calls at {times}"))
    return wrong


def heard(child: Child) -> str:
    """Return the last thing that a child says, and let it end."""
    said = child.rest()
    child.end(SECONDS)
    return said[-1]


def budgets(folder: Path, rounds: int, killed: int, seed: int = 1) -> Figures:
    """Make the trials: of each way to use `rounds` without a kill and `killed` with some."""
    figures = Figures(bad=dict.fromkeys(("over", "held", "forgotten", "miscounted", "stuck"), 0))
    for number in range(rounds + killed):
        for place, used in enumerate(TIMES):
            is_killed = number >= rounds
            with workplace() as quick:
                told = budget_trial(quick / "one", used, seed * 1_000 + number * 10 + place, killed=is_killed)
            figures.trials += 1
            figures.reach(f"{used} {'killed' if is_killed else 'whole'}")
            figures.reach("processes killed", told["deaths"])
            figures.reach("calls paid", told["paid"])
            figures.reach("calls refused", told["refused"])
            figures.reach("states seen", told["looks"])
            for kind, what in told["wrong"]:
                figures.blame(kind, f"{used}, {'killed' if is_killed else 'whole'}: {what}")
    del folder
    return figures


# Half-open


def half_open(folder: Path, rounds: int, probes: int = 50) -> Figures:
    """Let four processes ask; in each round exactly one may be let through."""
    figures = Figures(trials=rounds, bad={"many": 0, "none": 0, "stuck": 0, "left": 0})
    steps = Steps(PROCESSES)
    children = [fork(asks(folder, place, steps, rounds, probes)) for place in range(PROCESSES)]
    admitted = [json.loads(child.hear(SECONDS * 10) or "[]") for child in children]
    for place, child in enumerate(children):
        if (code := child.end(SECONDS)) != 0:
            figures.blame("stuck", f"process {place} ended {code}")
    for place, each in enumerate(zip(*admitted, strict=False)):
        if sum(each) != 1:
            figures.blame("many" if sum(each) else "none", f"round {place}: {each} were let through")
        figures.reach(f"process {each.index(max(each))} probed")
    say: Any = fork(lambda tell: tell(json.dumps(_standing(folder, rounds))))
    for place, status in enumerate(json.loads(heard(say))):
        if status != ("open" if place % 2 else "closed"):
            figures.blame("left", f"round {place}: {status}")
    figures.reach("asked", rounds * probes * PROCESSES)
    return figures


def _standing(folder: Path, rounds: int) -> list[str]:
    import asyncio

    return asyncio.run(standing(folder, rounds))


# Kept


def kept_trial(folder: Path, budget: int | None, kills: list[Kill]) -> dict[str, Any]:
    """Kill the owner of a run that fails again and again, and say what did not outlive it."""
    folder.mkdir(parents=True)
    ledger, deaths, said = folder / "ledger", 0, list[str]()
    for turn, kill in enumerate([*kills, None]):
        child = fork(process(fails(folder, budget), ledger, turn, kill))
        said, code = child.rest(), child.end(SECONDS)
        if code == 0:
            break
        if code != -signal.SIGKILL or kill is None:
            return {"wrong": [("stuck", f"turn {turn} ended {code}")], "deaths": deaths, "bodies": 0}
        deaths += 1
    kept = json.loads(said[-1])
    bodies = [line.value for line in read(ledger) if line.kind == "body"]
    paid = sum(line.kind == "paid" for line in read(ledger))
    return {"wrong": outlived(kept, bodies, paid, budget, deaths), "deaths": deaths, "bodies": len(bodies)}


def outlived(kept: Any, bodies: list[Any], paid: int, budget: int | None, deaths: int) -> Wrong:
    """Hold the log against what the world saw: attempts, due times, the breaker, the budget."""
    wrong: Wrong = []
    ended = [attempt for attempt, _ in kept["failed"]]
    most = RETRY.max_attempts
    if ended != [*range(1, len(ended) + 1)] or len(ended) > most or len(bodies) > most + deaths:
        wrong.append(("attempts", f"{ended} in the log, {len(bodies)} in the world, {deaths} deaths"))
    if [attempt for attempt, _ in bodies] != sorted(attempt for attempt, _ in bodies):
        wrong.append(("attempts", f"made as {[attempt for attempt, _ in bodies]}"))
    dues, ends = dict(kept["due"]), dict(kept["failed"])
    for attempt, at in bodies:
        if at < dues.get(attempt, 0.0):
            wrong.append(("early", f"attempt {attempt} was made {dues[attempt] - at:.3f} s before its time"))
        opened = ends.get(attempt - 1)
        if attempt > SWITCH.failures and opened is not None and at < opened + SWITCH.cooldown - EARLY:
            wrong.append(("breaker", f"attempt {attempt} was made {at - opened:.3f} s after it opened"))
    state = kept["tallies"]["budget|run|r"]
    spent = state.get("spent", {}).get("money", 0) // ONE
    if spent < paid or state.get("held") or spent > (budget or 1_000):
        wrong.append(("budget", f"{spent} spent, {state.get('held')} held, {paid} paid, of {budget}"))
    wanted = ["attempts", most] if budget is None else ["budget", len(ended)]
    if kept["letters"] != [wanted] and not (budget is not None and deaths):
        wrong.append(("letter", f"{kept['letters']}, and not {wanted}"))
    switch = kept["tallies"].get(SWITCH.key(), {})
    # The attempt at which a budget ended was perhaps a probe, and found out nothing.
    if len(ended) >= SWITCH.failures + (budget is not None) and switch.get("status") not in ("open", "half-open"):
        wrong.append(("breaker", f"{switch} after {len(ended)} failures"))
    if kept["status"] != "failed":
        wrong.append(("stuck", f"it is {kept['status']}"))
    return wrong


def kept(folder: Path, trials: int, seed: int = 1) -> Figures:
    """Make the trials, each killed once or twice."""
    figures = Figures(bad=dict.fromkeys(("attempts", "early", "breaker", "budget", "letter", "stuck"), 0))
    dice = random.Random(seed)
    with workplace() as quick:
        jobs, about = [], []
        for place in range(trials):
            label = LABELS[place % len(LABELS)]
            kills = [Kill(label, dice.randint(1, 6))]
            if dice.random() < 0.5:
                kills.append(Kill(dice.choice(LABELS), dice.randint(1, 6)))
            budget = dice.choice([None, 2, 4])
            about.append(f"budget {budget}, killed at {', '.join(map(str, kills[:MOST_KILLS]))}")
            jobs.append(partial(kept_trial, quick / str(place), budget, kills[:MOST_KILLS]))
        for where, told in zip(about, lanes(jobs, 3), strict=True):
            figures.trials += 1
            figures.reach("killed", told["deaths"])
            figures.reach("attempts", told["bodies"])
            for kind, what in told["wrong"]:
                figures.blame(kind, f"{where}: {what}")
    del folder
    return figures


TRIALS = (
    Trial(
        "budgets", "S22",
        "Four processes make 25 calls each at once under one tenant's budget, some are killed and their runs taken "
        "over; no more may be reserved than there is, and nothing that was paid may count as less.",
        budgets, short={"rounds": 1, "killed": 2}, long={"rounds": 40, "killed": 160},
    ),
    Trial(
        "half-open", "S22",
        "Four processes ask a breaker whose cooldown is over, fifty times each; exactly one may be let through.",
        half_open, short={"rounds": 40}, long={"rounds": 2_000},
    ),
    Trial(
        "kept", "S22",
        "The owner of a task that fails is killed anywhere; attempts, due times, breaker and budget have to go on as "
        "the log says.",
        kept, short={"trials": 20}, long={"trials": 1_200},
    ),
)  # fmt: skip
