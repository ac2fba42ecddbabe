"""`python -m benchmarks output`: what it costs to read an answer of a megabyte and to hold it to a schema and a rule.

Measured in one process, in its own CPU time, the kinds in turns; a figure is the median. The goal: 50 ms for an answer
that is JSON, with prose and a fence around it or not. What is not quite JSON is read by plain Python, on a thread.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final, TypedDict

import msgspec
from pydantic import BaseModel

from windlass import Expect, judge, rule

GOAL_MILLISECONDS: Final = 50.0
FULL, QUICK = (1_000_000, 15), (20_000, 2)  # bytes of an answer, and how often it is measured


@dataclass(frozen=True)
class Line:
    """A line of an order, as a dataclass."""

    name: str
    price: float
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Order:
    """An order, as a dataclass."""

    items: tuple[Line, ...]


class LineStruct(msgspec.Struct, frozen=True):
    """A line of an order, as a struct."""

    name: str
    price: float
    tags: tuple[str, ...]


class OrderStruct(msgspec.Struct, frozen=True):
    """An order, as a struct."""

    items: tuple[LineStruct, ...]


class LineDict(TypedDict):
    """A line of an order, as a typed dict."""

    name: str
    price: float
    tags: list[str]


class OrderDict(TypedDict):
    """An order, as a typed dict."""

    items: list[LineDict]


class LineModel(BaseModel):
    """A line of an order, as a model."""

    name: str
    price: float
    tags: tuple[str, ...]


class OrderModel(BaseModel):
    """An order, as a model."""

    items: tuple[LineModel, ...]


LINE: Final = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "price": {"type": "number"},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["name", "price", "tags"],
}
ORDER: Final = {
    "title": "Order",
    "type": "object",
    "properties": {"items": {"type": "array", "items": LINE}},
    "required": ["items"],
}
SCHEMAS: Final[dict[str, Any]] = {
    "dataclass": Order, "struct": OrderStruct, "typed dict": OrderDict, "Pydantic": OrderModel, "JSON Schema": ORDER,
}  # fmt: skip


@rule()
def has_items(order: Any) -> bool:
    """Judge the whole; what a rule for each line costs is its author's affair."""
    return bool(order["items"] if isinstance(order, dict) else order.items)


def answer(size: int) -> str:
    """Make an answer of about so many bytes."""
    line = {"name": "a lamp, red", "price": 12.5, "tags": ["new", "sale"]}
    count = size // (len(json.dumps(line)) + 2)
    return json.dumps({"items": [{**line, "price": n + 0.5} for n in range(count)]})


def measure(size: int, times: int) -> dict[str, float]:
    """Return the median milliseconds by what was read."""
    plain = answer(size)
    texts = {"JSON": plain, "fenced in prose": f"Sure! Here it is:\n\n```json\n{plain}\n```\nAnything else?"}
    work: dict[str, Callable[[], Any]] = {}
    for shape, schema in SCHEMAS.items():
        expect = Expect(schema, rules=[has_items])
        for how, text in texts.items():
            work[f"{how}, {shape}"] = partial(judge, text, expect, 0.0)
    mended = f"{plain[:-2]},]}}"
    work["a comma too many, struct"] = partial(judge, mended, Expect(OrderStruct), 0.0)
    taken: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(times):
        for name, call in work.items():
            begun = time.process_time()
            call()
            taken[name].append((time.process_time() - begun) * 1000)
    return {name: median(found) for name, found in taken.items()}


def main(given: list[str] | None = None) -> int:
    """Measure and print; 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks output", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small sizes: a try, no figures")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures there")
    asked = parser.parse_args(given)
    figures = measure(*(QUICK if asked.quick else FULL))
    for name, milliseconds in figures.items():
        has_goal = not name.startswith("a comma")
        reached = "" if not has_goal else "yes" if milliseconds <= GOAL_MILLISECONDS else "no"
        print(f"{name:32} {milliseconds:8.1f} ms  {reached}")
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    missed = [name for name in figures if not name.startswith("a comma") and figures[name] > GOAL_MILLISECONDS]
    return int(bool(missed) and not asked.quick)


if __name__ == "__main__":
    sys.exit(main())
