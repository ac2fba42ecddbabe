"""The table, for the terminal and for docs/performance.md."""

from pathlib import Path

from benchmarks.figure import NAMES, Figure, reach, share, shown
from benchmarks.rows import ROWS, said

BEGIN, END = "<!-- figures: written by `make bench` -->", "<!-- end of the figures -->"
HEAD = ["figure", "reach", "Windlass", "LangGraph", "journal", "ratio", "reached?"]
REACHED = {True: "yes", False: "**no**", None: "–"}


def cells(figure: Figure) -> list[str]:
    """Return a figure's line of the table."""
    ratios = [f"{share(times, of)} {'of ' if of == 'floor' else ''}{NAMES[of]}" for of in ("peer", "floor")
              if (times := figure.times(of)) is not None]  # fmt: skip
    values = [shown(figure.value(of), figure.unit) for of in ("ours", "peer", "floor")]
    return [figure.name, reach(figure), *values, ", ".join(ratios) or "–", REACHED[figure.reached]]


def line(figure: Figure) -> str:
    """Return a figure as a line for the terminal."""
    name, wanted, value, peer, floor, ratio, reached = cells(figure)
    ours = figure.values["ours"]
    beside = ", ".join(f"{who} {value}" for who, value in (("LangGraph", peer), ("journal", floor)) if value != "–")
    spread = f" ({shown(min(ours))} to {shown(max(ours))})" if len(ours) > 1 else ""
    more = f"; {ratio}" if ratio != "–" else ""
    return f"{reached.strip('*'):>3}  {name}: {value}{spread} [{wanted}]{f'; {beside}' if beside else ''}{more}"


def generated(figures: list[Figure], facts: dict[str, str]) -> str:
    """Return what stands between the markers: what it was made on, the table, and how each row is measured."""
    rows = [HEAD, ["---"] * len(HEAD), *(cells(figure) for figure in figures)]
    table = ["| " + " | ".join(row) + " |" for row in rows]
    made_on = [f"- {name}: {fact}" for name, fact in facts.items()]
    how = [f"- `{row}`: {said(row)}" for row in ROWS]
    return "\n".join(
        [BEGIN, "", *made_on, "", *table, "", "How each is measured (`benchmarks/rows/`):", "", *how, "", END]
    )


def write(page: Path, figures: list[Figure], facts: dict[str, str]) -> None:
    """Write the part of a page between the markers anew.

    Raises:
        ValueError: the page has no markers.
    """
    text = page.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page} lacks the lines {BEGIN} and {END}")
    page.write_text(before + generated(figures, facts) + after)
