"""What is measured: one module for each row, in the order of the table."""

from collections.abc import Callable

from benchmarks.figure import Figure
from benchmarks.rows import (
    channels,
    compiling,
    concurrent,
    fan_out,
    growth,
    killed,
    loop,
    memory,
    pressure,
    resume,
    start,
)
from benchmarks.sizes import Sizes
from benchmarks.stage import Stage

Measure = Callable[[Stage, Sizes], list[Figure]]
MODULES = (loop, killed, memory, concurrent, fan_out, start, resume, growth, channels, compiling, pressure)
ROWS: dict[str, Measure] = {module.__name__.rpartition(".")[2]: module.measure for module in MODULES}


def said(name: str) -> str:
    """Return what a row says of itself: what it measures, and how."""
    module = next(module for module in MODULES if module.__name__.endswith(f".{name}"))
    texts = [module.__doc__ or "", module.measure.__doc__ or ""]
    return " ".join(" ".join(text.split()) for text in texts)
