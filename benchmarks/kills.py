"""`python -m benchmarks.kills`: the same work on several systems, killed at a random time and resumed once.

What is counted stands in a ledger outside: an effect that is there twice was made twice. The kill comes at a uniform
time between the first effect and the last; then one resume, as each system's documentation says. Whoever parks the run
to ask a person is answered with what the ledger shows.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.stage import ROOT
from benchmarks.victims import EFFECTS, STEPS, SYSTEMS

PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- kills: begin -->", "<!-- kills: end -->"
FULL = 200  # trials from which on the page is written
HEAD = [
    "system", "kills", "resume failed", "asked a person", "effects missing", "effects made twice", "made twice per kill"
]  # fmt: skip
NEEDS = {"langgraph-node": "langgraph", "langgraph-task": "langgraph", "dbos": "dbos"}


def arguments(given: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=__doc__)
    parser.add_argument("--trials", type=int, default=FULL, metavar="N", help=f"of each system; default {FULL}")
    parser.add_argument("--seed", type=int, default=1, help="of the times of the kills")
    parser.add_argument("--only", action="append", choices=list(SYSTEMS), metavar="NAME", help=", ".join(SYSTEMS))
    parser.add_argument("--json", nargs="?", const="-", metavar="FILE", help="write all values there, or print them")
    parser.add_argument("--folder", type=Path, default=Path(".windlass"), help="for databases, on a disk")
    return parser.parse_args(given)


def killed(system: str, trials: int, seed: int, folder: Path) -> dict[str, Any]:
    """Let one system be killed, in a process and a folder of its own.

    Raises:
        RuntimeError: it cannot do the work at all.
    """
    paths = [
        str(ROOT),
        *(str(Path(one).resolve()) for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one),
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "LANGSMITH_TRACING": "false"}
    with tempfile.TemporaryDirectory(dir=folder.resolve()) as place:
        command = [sys.executable, "-m", "benchmarks.victims", system, str(trials), str(seed)]
        ended = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"{system}: {ended.stderr}")
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


def table(found: dict[str, dict[str, Any]]) -> str:
    """Return the table, as Markdown."""
    rows = [HEAD, ["---"] * len(HEAD)]
    for system, one in found.items():
        columns = ("killed", "resume failed", "parked", "missing", "duplicated")
        per_kill = f"{one['duplicated per kill']:.2f}"
        rows.append([SYSTEMS[system][0], *(str(one[name]) for name in columns), per_kill])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def generated(found: dict[str, dict[str, Any]], facts: dict[str, str]) -> str:
    """Return what stands between the markers: what it was made on, and the table."""
    made_on = [f"- {name}: {fact}" for name, fact in facts.items()]
    work = (
        f"{STEPS} steps of {EFFECTS} effects of 5 ms, each a line in a ledger outside that refuses nothing, unless the "
        "row says so; SIGKILL at a uniform time between the first effect and the last; one resume."
    )
    return "\n".join([BEGIN, "", *made_on, "", work, "", table(found), "", END])


def write(page: Path, found: dict[str, dict[str, Any]], facts: dict[str, str]) -> bool:
    """Write the part of a page between the markers anew; False if the page is not there or has no markers."""
    text = page.read_text() if page.exists() else ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        return False
    page.write_text(before + generated(found, facts) + after)
    return True


def main(given: list[str] | None = None) -> int:
    """Kill every system that is here, print the table, and keep it if it is whole."""
    asked = arguments(given)
    if not hasattr(os, "fork"):
        print("the kills fork and end processes by SIGKILL: there is neither here", file=sys.stderr)
        return 2
    asked.folder.mkdir(parents=True, exist_ok=True)
    facts = {**machine.describe(), "command": f"python -m benchmarks.kills --trials {asked.trials} --seed {asked.seed}"}
    found: dict[str, dict[str, Any]] = {}
    for system in asked.only or SYSTEMS:
        if system in NEEDS and find_spec(NEEDS[system]) is None:
            print(f"{system}: {NEEDS[system]} is not installed (`make bench` installs it)", file=sys.stderr)
            continue
        print(f"{system} ...", file=sys.stderr, flush=True)
        found[system] = killed(system, asked.trials, asked.seed, asked.folder)
    told = json.dumps({"machine": facts, "systems": found}, indent=1)
    if asked.json == "-":
        print(told)
    else:
        print(table(found))
    if asked.json not in (None, "-"):
        Path(asked.json).write_text(told + "\n")
    if found.keys() == SYSTEMS.keys() and asked.trials >= FULL and write(PAGE, found, facts):
        print(f"written: {PAGE.relative_to(ROOT)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
