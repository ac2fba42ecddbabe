"""A figure: what was measured of whom, and whether it is what it should be."""

from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

NAMES = {"peer": "LangGraph", "floor": "the journal"}


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure should reach.

    Args:
        bound: of our own value in the figure's unit; or of how many times we are as good as someone else.
        of: whose value it is measured by.
    """

    bound: float
    of: Literal["ours", "peer", "floor"] = "ours"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table.

    Args:
        row: the module in rows/ that measured it.
        unit: of all values; "×" is a ratio of one's own values, which is not compared with anyone else's.
        less: whether less is better.
        values: of `ours`, `peer` and `floor`, one for each round; none where there is nobody to compare with.
    """

    row: str
    name: str
    unit: str
    values: dict[str, list[float]]
    goals: tuple[Goal, ...]
    less: bool = False

    def value(self, of: str) -> float | None:
        """Return someone's median."""
        values = self.values.get(of)
        return median(values) if values else None

    def times(self, of: str) -> float | None:
        """Say how many times we are as good as someone else; the ratio of the medians."""
        ours, theirs = self.value("ours"), self.value(of)
        if ours is None or theirs is None or self.unit == "×" or 0 in (ours, theirs):
            return None
        return theirs / ours if self.less else ours / theirs

    def reaches(self, goal: Goal) -> bool | None:
        """Say whether a goal is reached; None if that cannot be known without the peer."""
        if goal.of != "ours":
            times = self.times(goal.of)
            return None if times is None else times >= goal.bound
        ours = self.value("ours")
        return None if ours is None else ours <= goal.bound if self.less else ours >= goal.bound

    @property
    def reached(self) -> bool | None:
        """Whether all goals are reached; None if that cannot be known."""
        found = [self.reaches(goal) for goal in self.goals]
        return False if False in found else None if None in found else True

    def plain(self) -> dict[str, Any]:
        """Return the figure as plain values, for JSON."""
        sides = {
            of: {"median": self.value(of), "min": min(values), "max": max(values), "all": values}
            for of, values in self.values.items()
            if values
        }
        goals = [{"of": goal.of, "bound": goal.bound, "reached": self.reaches(goal)} for goal in self.goals]
        return {
            "row": self.row, "name": self.name, "unit": self.unit, "less": self.less, **sides,
            "times_peer": self.times("peer"), "times_floor": self.times("floor"),
            "goals": goals, "reached": self.reached,
        }  # fmt: skip


def shown(value: float | None, unit: str = "") -> str:
    """Write a number with three digits that count, or none as a dash."""
    if value is None:
        return "–"
    digits = f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
    return f"{digits} {unit}".rstrip()


def share(times: float | None, of: str) -> str:
    """Write how many times we are as good as someone: as a share, where that is a floor."""
    if times is None:
        return "–"
    return f"{times:.0%}" if of == "floor" and times < 10 else f"{shown(times)} ×"


def reach(figure: Figure) -> str:
    """Write what a figure should reach."""
    parts = []
    for goal in figure.goals:
        if goal.of == "ours":
            parts.append(f"{'≤' if figure.less else '≥'} {shown(goal.bound, figure.unit)}")
        else:
            parts.append(f"≥ {share(goal.bound, goal.of)} {'of ' if goal.of == 'floor' else ''}{NAMES[goal.of]}")
    return ", ".join(parts)
