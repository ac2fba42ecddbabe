"""`python -m trials`: try to break the product, count, and say whether it holds."""

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from trials import page
from trials.mutants import MUTANTS, hunt, infect
from trials.rooms import NameUnknown, a_trial, every_trial, run_apart, run_here

LANES = 2  # trials at once


def arguments(given: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m trials", description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    prove = kinds.add_parser("prove", help="run the trials; exit code 1 if something does not hold")
    prove.add_argument("names", nargs="*", metavar="TRIAL", help="these only")
    prove.add_argument("--long", action="store_true", help="an hour instead of four minutes")
    prove.add_argument("--json", action="store_true", help="one object a line")
    prove.add_argument("--page", action="store_true", help="write these rows of docs/reliability.md anew")
    prove.add_argument("--lanes", type=int, default=LANES, help="trials at once")
    kinds.add_parser("list", help="name the trials")
    mutants = kinds.add_parser("mutants", help="break the product in every known way: each must be noticed")
    mutants.add_argument("names", nargs="*", metavar="MUTANT", help=f"of {', '.join(MUTANTS)}")
    mutants.add_argument("--json", action="store_true")
    mutants.add_argument("--page", action="store_true", help="write the table of docs/reliability.md anew")
    one = kinds.add_parser("one", help="run a trial in this process, and print its figures as JSON")
    one.add_argument("name", metavar="TRIAL")
    one.add_argument("--module", default="")
    one.add_argument("--options", type=json.loads, default=None, help="instead of the short ones, as JSON")
    one.add_argument("--mutant", default="", help="break the product first")
    return parser.parse_args(given)


def prove(asked: argparse.Namespace) -> int:
    """Run trials, print each as it ends, and say whether all of them hold."""
    known = every_trial()
    for name in asked.names:
        a_trial(name)
    chosen = [known[name] for name in asked.names or known]
    begun = time.monotonic()
    with ThreadPoolExecutor(asked.lanes) as pool:
        runs = [
            (trial, pool.submit(run_apart, module, trial, trial.long if asked.long else trial.short))
            for module, trial in chosen
        ]
        for _, running in runs:
            run = running.result()
            print(json.dumps(msgspec.to_builtins(run)) if asked.json else page.line(run), flush=True)
            page.complain(run)
    ended = [(trial, running.result()) for trial, running in runs]
    for place, (trial, run) in enumerate(ended):
        if trial.timed and page.verdict(run.figures) == "**no**":
            again = run_apart(chosen[place][0], trial, trial.long if asked.long else trial.short)
            print(json.dumps(msgspec.to_builtins(again)) if asked.json else f"alone: {page.line(again)}", flush=True)
            page.complain(again)
            ended[place] = (trial, again)
    seconds = time.monotonic() - begun
    if asked.page:
        part, command = ("long", "make prove-long") if asked.long else ("short", "make prove")
        rows = page.standing(part) if asked.names else {}
        rows |= {trial.name: page.row(trial, run) for trial, run in ended}
        page.write(part, command, [page.HEAD, *(rows[name] for name in known if name in rows)], seconds)
    broken = [run.trial for _, run in ended if page.verdict(run.figures) == "**no**"]
    skipped = [run.trial for _, run in ended if page.verdict(run.figures) == "skipped"]
    said = f"{len(ended)} trials in {seconds:,.0f} s; skipped: {', '.join(skipped) or 'none'}; "
    print(said + (f"DO NOT HOLD: {', '.join(broken)}" if broken else "all hold"), file=sys.stderr)
    return int(bool(broken))


def one(asked: argparse.Namespace) -> int:
    """Run a trial here."""
    trial = a_trial(asked.name, asked.module)
    if asked.mutant:
        infect(asked.mutant)
    options: dict[str, Any] = trial.short if asked.options is None else asked.options
    figures = run_here(trial, options)
    print(json.dumps(msgspec.to_builtins(figures)), flush=True)
    return int(not figures.passes)


def main(given: list[str] | None = None) -> int:
    """Do what the command line says."""
    asked = arguments(given)
    try:
        if asked.kind == "prove":
            return prove(asked)
        if asked.kind == "mutants":
            return hunt(asked.names, as_json=asked.json, to_page=asked.page)
        if asked.kind == "one":
            return one(asked)
        for name, (_, trial) in every_trial().items():
            print(f"{name}: {trial.faults}: {trial.says}")
    except NameUnknown as unknown:
        print(unknown, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
