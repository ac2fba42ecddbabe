"""`python -m benchmarks`: measure, print, and keep; and `kills`, `output`, `policies`, `ports`, `redact`: see them."""

import argparse
import json
import platform
import sys
import tempfile
from pathlib import Path

from benchmarks import kills, machine, output, page, policies, ports, redact
from benchmarks.figure import Figure
from benchmarks.rows import ROWS
from benchmarks.sizes import FULL, QUICK
from benchmarks.stage import ROOT, Stage, peer_is_here

PAGE = ROOT / "docs" / "performance.md"
APART = {
    "kills": kills.main,
    "output": output.main,
    "policies": policies.main,
    "ports": ports.main,
    "redact": redact.main,
}


def arguments(given: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep all values there")
    parser.add_argument("--quick", action="store_true", help="small sizes: a try, no figures")
    parser.add_argument("--only", action="append", choices=list(ROWS), metavar="NAME", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--folder", type=Path, default=Path(".windlass"), help="for databases, on a disk")
    return parser.parse_args(given)


def command(asked: argparse.Namespace) -> str:
    """Return what to type to measure the same; where things are put is left out."""
    rows = [word for row in asked.only or [] for word in ("--only", row)]
    return " ".join(["python -m benchmarks", *rows, *(["--quick"] if asked.quick else [])])


def measured(stage: Stage, asked: argparse.Namespace) -> list[Figure]:
    """Measure the rows that are asked for, and print each."""
    figures: list[Figure] = []
    for name in asked.only or ROWS:
        print(f"{name} ...", file=sys.stderr, flush=True)
        found = ROWS[name](stage, QUICK if asked.quick else FULL)
        for figure in found:
            print(page.line(figure), flush=True)
        figures += found
    return figures


def main(given: list[str] | None = None) -> int:
    """Measure, print, and keep what was found.

    The page is written anew only by a whole run at full size with the peer in it.
    """
    words = sys.argv[1:] if given is None else given
    if words and words[0] in APART:
        return APART[words[0]](words[1:])
    asked = arguments(words)
    if platform.system() == "Windows":
        print("the benchmarks end processes by SIGKILL: there is none here", file=sys.stderr)
        return 2
    asked.folder.mkdir(parents=True, exist_ok=True)
    with_peer = peer_is_here()
    if not with_peer:
        print("LangGraph is not installed: its column stays empty (`make bench` installs it)", file=sys.stderr)
    before = machine.load()
    facts = {**machine.describe(), "command": command(asked)}
    for name, fact in facts.items():
        print(f"{name}: {fact}")
    with tempfile.TemporaryDirectory(prefix="bench-", dir=asked.folder) as folder:
        figures = measured(Stage(Path(folder), with_peer=with_peer), asked)
    facts["load average"] = f"{before} before, {machine.load()} after"
    print(f"load average: {facts['load average']}")
    if asked.json is not None:
        found = {"machine": facts, "figures": [figure.plain() for figure in figures]}
        asked.json.write_text(json.dumps(found, indent=1) + "\n")
    if with_peer and not asked.quick and not asked.only:
        page.write(PAGE, figures, facts)
        print(f"written: {PAGE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
