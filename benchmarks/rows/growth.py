"""2,000 steps that each append 1 KB: the bytes of the file, and whether the last step is as fast as the first."""

from itertools import pairwise
from statistics import median
from typing import Any

from benchmarks.figure import Figure, Goal
from benchmarks.sizes import Sizes
from benchmarks.stage import Found, Play, Stage, column, weight

FILE = "sqlite:///bench.db"
STORES = {FILE: "SQLite", "memory:": "memory store"}
READS = {"": "writes only", "frozen": "reads frozen items", "dicts": "reads dicts"}


def measure(stage: Stage, sizes: Sizes) -> list[Figure]:
    """Weigh the database after it was closed, and divide the median time of the last steps by that of the first.

    Three runs: the node reads nothing of the list; it reads all of it, items that cannot change; it reads all of it,
    dicts, which each reader gets for itself. The ratio is measured on the memory store, too, where no disk hides what
    grows. LangGraph stands beside the bytes twice: with `operator.add` (once, it takes long) and with its
    DeltaChannel; its node reads the list in both.
    """
    size: dict[str, Any] = {"appends": sizes.appends}
    plays: dict[str, Play] = {"delta": ("peer.grow", {**size, "delta": True}), "floor": ("journal.grow", size)}
    for url in STORES:
        plays |= {url + reads: ("ours.grow", {**size, "url": url, "reads": reads}) for reads in READS}
    found = weighed(stage, plays, sizes.rounds)
    found |= weighed(stage, {"added": ("peer.grow", {**size, "delta": False})}, 1)
    weights = column(found, "mb")
    growth = {who: [grown(one["starts"], sizes.edge) for one in rounds] for who, rounds in found.items()}
    name = f"{sizes.appends:,} steps that append 1 KB"
    figures = []
    for peer, what in (("added", "operator.add"), ("delta", "DeltaChannel")):
        values = {"ours": weights[FILE], "peer": weights[peer], "floor": weights["floor"]}
        figures.append(
            Figure(row="growth", name=f"{name}, file ({what})", unit="MB", values=values, goals=(Goal(5),), less=True)
        )
    for url, store in STORES.items():
        beside = {"peer": growth["added"], "floor": growth["floor"]} if url == FILE else {}
        for reads, what in READS.items():
            name = f"last {sizes.edge} to first {sizes.edge} of them, {what}, {store}"
            values = {"ours": growth[url + reads], **beside}
            figures.append(Figure(row="growth", name=name, unit="×", values=values, goals=(Goal(1.1),), less=True))
    return figures


def weighed(stage: Stage, plays: dict[str, Play], rounds: int) -> dict[str, list[Found]]:
    """Let all play in turns, and weigh the database of each."""
    found: dict[str, list[Found]] = {who: [] for who in plays}
    for _ in range(rounds):
        for who, play in plays.items():
            if stage.with_peer or not play[0].startswith("peer."):
                with stage.place() as place:
                    one = stage.play(play, place)
                    found[who].append({**one, "mb": weight(place / "bench.db") / 1e6})
    return found


def grown(starts: list[float], edge: int) -> float:
    """Divide the median time of the last steps by that of the first; the very first is left out."""
    took = [later - sooner for sooner, later in pairwise(starts[1:])]
    return median(took[-edge:]) / median(took[:edge])
