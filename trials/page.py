"""How the figures are told: a line each on the terminal, a table in docs/reliability.md."""

import platform
import sys
from datetime import UTC, datetime

from benchmarks import machine
from trials.figures import Figures, Trial
from trials.rooms import ROOT, Run

PAGE = ROOT / "docs" / "reliability.md"
HEAD = (
    "| trial | faults | what is tried | trials | bad | 95 % bound | reached, and shown | holds? | run |\n"
    + "| --- " * 9
    + "|"
)
MUTANTS_HEAD = "| mutant | how the product is broken | noticed by | what was seen |\n" + "| --- " * 4 + "|"


def counts(figures: Figures) -> str:
    """Say what was reached and what else is worth showing."""
    found = {**figures.reached, **figures.shown}
    return ", ".join(
        f"{name} {value:,}" if isinstance(value, int | float) else f"{name} {value}" for name, value in found.items()
    )


def bad(figures: Figures) -> str:
    """Say what must not happen, and how often it did."""
    return ", ".join(f"{name} {number:,}" for name, number in figures.bad.items()) or "nothing 0"


def verdict(figures: Figures) -> str:
    """Say whether the product holds."""
    if figures.passes:
        return "yes"
    if figures.trials == 0 and not figures.bad and figures.shown.get("skipped"):
        return "skipped"
    return "**no**"


def line(run: Run) -> str:
    """Tell one trial in a line."""
    figures = run.figures
    told = (verdict(figures), f"{figures.trials:,} trials", bad(figures), counts(figures), f"{run.seconds:.1f} s")
    return f"{run.trial}: {'; '.join(told)}"


def row(trial: Trial, run: Run) -> str:
    """Tell one trial in a row of the table."""
    figures = run.figures
    cells = [
        trial.name, trial.faults, trial.says, f"{figures.trials:,}", bad(figures), f"{figures.bound:.2g}",
        counts(figures), verdict(figures), f"{datetime.now(UTC):%Y-%m-%d}, {run.seconds:,.0f} s",
    ]  # fmt: skip
    return "| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |"


def write(part: str, command: str, rows: list[str], seconds: float) -> None:
    """Write a table of the page anew, between its marks: `short`, `long` or `mutants`."""
    text = PAGE.read_text()
    start, end = f"<!-- {part}: begin -->", f"<!-- {part}: end -->"
    before, _, rest = text.partition(start)
    _, _, after = rest.partition(end)
    told = [
        f"- date: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC", f"- machine: {machine.describe()['machine']}",
        f"- python: {platform.python_implementation()} {platform.python_version()}, {platform.system()}",
        f"- command: `{command}`, {seconds:,.0f} s", "", *rows,
    ]  # fmt: skip
    PAGE.write_text(f"{before}{start}\n" + "\n".join(told) + f"\n{end}{after}")


def standing(part: str) -> dict[str, str]:
    """Return the rows of a table as they stand, by what they begin with."""
    text = PAGE.read_text().partition(f"<!-- {part}: begin -->")[2].partition(f"<!-- {part}: end -->")[0]
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith(("| ---", "| trial "))]
    return {line.split(" | ")[0].removeprefix("| "): line for line in rows}


def mutant_row(name: str, says: str, detector: str, saw: str) -> str:
    """Tell one mutant in a row of their table."""
    cells = [name, says, detector, saw]
    return "| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in cells) + " |"


def complain(run: Run) -> None:
    """Tell the trouble of a trial on stderr."""
    for trouble in run.figures.trouble:
        print(f"  {run.trial}: {trouble}", file=sys.stderr)


__all__ = ["HEAD", "MUTANTS_HEAD", "PAGE", "complain", "line", "mutant_row", "row", "standing", "verdict", "write"]
