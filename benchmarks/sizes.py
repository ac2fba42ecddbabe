"""How much of everything a benchmark does."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The sizes of all rows; the defaults are those of the figures that docs/performance.md names.

    Args:
        rounds: times that everyone is measured, in turns; a figure is the median.
        kills: of the looping run.
        few, many: checkpoints of a run before it is resumed.
        edge: steps at the beginning and at the end of a growing run that are compared.
        slow: seconds that a commit of the slow store takes.
    """

    rounds: int = 5
    loop: int = 1_000
    memory: int = 10_000
    kills: int = 5
    runs: int = 1_000
    run_steps: int = 10
    fan_out: int = 1_000
    few: int = 10
    many: int = 10_000
    appends: int = 2_000
    edge: int = 100
    channels: int = 500
    channel_steps: int = 2_000
    nodes: int = 10_000
    slow: float = 0.05
    slow_steps: int = 300


FULL = Sizes()
QUICK = Sizes(
    rounds=2, loop=200, memory=2_000, kills=2, runs=50, fan_out=100, many=200, appends=200, edge=20,
    channels=50, channel_steps=200, nodes=300, slow=0.01, slow_steps=150,
)  # fmt: skip
