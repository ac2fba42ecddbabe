"""The process in which one contestant is measured once: `python -m benchmarks.play ours.loop '{"steps": 10}'`.

It imports nobody but who plays, and prints what was found as one line of JSON.
"""

import json
import sys
from importlib import import_module
from typing import Any


def play(contestant: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Call `module.function` of the contestants."""
    module, _, function = contestant.partition(".")
    found: dict[str, Any] = getattr(import_module(f"benchmarks.{module}"), function)(**arguments)
    return found


if __name__ == "__main__":
    print(json.dumps(play(sys.argv[1], json.loads(sys.argv[2]))))
