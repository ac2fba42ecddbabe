"""Where the time goes: `python -m benchmarks.hot ours.loop '{"url": "memory:", "steps": 20000}'`.

Every millisecond a sample is taken of what runs, which slows little down, as a tracing profile would a lot. What a
function in C takes, or a wait for the disk, stands with the line that calls it. With --lines, lines instead of
functions. What starts the contestant and warms it up is in it, its imports are not: ask for many steps.
"""

import argparse
import json
import math
import signal
import sys
import time
from collections import Counter
from importlib import import_module
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from benchmarks.play import play

EVERY_SECONDS = 0.001
TOP = 15
Place = tuple[CodeType, int]


def sampled(contestant: str, given: dict[str, Any]) -> tuple[Counter[Place], float]:
    """Play; return what was running how often, and the seconds that it took."""
    seen: Counter[Place] = Counter()

    def look(_: int, frame: FrameType | None) -> None:
        if frame is not None:
            seen[frame.f_code, frame.f_lineno] += 1

    import_module(f"benchmarks.{contestant.partition('.')[0]}")
    signal.signal(signal.SIGALRM, look)
    begun = time.perf_counter()
    signal.setitimer(signal.ITIMER_REAL, EVERY_SECONDS, EVERY_SECONDS)
    play(contestant, given)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return seen, time.perf_counter() - begun


def name(place: Place, *, by_line: bool) -> str:
    """Name a function or a line, with the end of its path."""
    code, line = place
    where = "/".join(Path(code.co_filename).parts[-2:])
    return f"{where}:{line} {code.co_qualname}" if by_line else f"{where} {code.co_qualname}"


def main() -> int:
    """Print who has most of the samples."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hot", description=__doc__)
    parser.add_argument("contestant", help="module.function, such as ours.loop")
    parser.add_argument("arguments", type=json.loads, help="its arguments as JSON")
    parser.add_argument("--lines", action="store_true", help="by line instead of by function")
    parser.add_argument("--top", type=int, default=TOP)
    asked = parser.parse_args()
    seen, seconds = sampled(asked.contestant, asked.arguments)
    named: Counter[str] = Counter()
    for place, times in seen.items():
        named[name(place, by_line=asked.lines)] += times
    steps = math.prod(asked.arguments.get(size, 1) for size in ("runs", "steps", "width", "appends", "nodes"))
    print(f"{seen.total()} samples in {seconds:.2f} s; {seconds / steps * 1e6:.1f} µs for each of {steps:,}")
    for where, times in named.most_common(asked.top):
        share = times / seen.total()
        print(f"{share:6.1%} {share * seconds / steps * 1e6:8.2f} µs  {where}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
