"""Frames: where one definition stands within a run, and the addresses of what runs in it.

A run has a frame for its own definition, the root (`position.Position`), and one for every sub-graph that is under way.
The path of a frame is the address of the activation that the sub-graph is: the nodes of `team#1` have addresses like
`team#1/write#2[0]`. Inside a frame names are local: nodes, channels, visits are those of the sub-graph's definition.
"""

import re
from functools import lru_cache
from typing import Any

from msgspec import Raw, Struct

from windlass.core.channels import Channel
from windlass.core.channels import Kept as KeptChannel
from windlass.core.records import Finished, Planned


class Frame:
    """The state of one definition within a run: what `plan`, `reconcile` and the output of a sub-graph look at."""

    __slots__ = (
        "channels", "ephemeral", "given", "left", "n", "path", "prefix", "settled", "visits", "waiting",
    )  # fmt: skip

    def __init__(self, path: str, kinds: dict[str, str]) -> None:
        self.path = path
        self.prefix = f"{path}/" if path else ""  # of the addresses in it, and of its channels in the state digest
        self.n = 0
        self.channels = {name: Channel(f"{self.prefix}{name}", kind) for name, kind in kinds.items()}
        self.ephemeral = tuple(name for name, kind in kinds.items() if kind == "ephemeral")
        self.visits: dict[str, int] = {}
        self.waiting: dict[str, Planned] = {}
        self.left: dict[str, int] = {}  # how many of a node's activations wait
        self.settled: dict[str, Finished] = {}  # finished, of a step that is not complete
        self.given: dict[str, Raw] = {}  # what channels began with that came from outside, and go back there

    @property
    def steps(self) -> int:
        """How many steps it has taken."""
        return self.n

    @property
    def is_whole(self) -> bool:
        """Whether all that waits in it has finished: a step is due, or it is over."""
        return len(self.settled) == len(self.waiting)


class KeptFrame(Struct, omit_defaults=True):
    """A frame, as a snapshot has it."""

    n: int
    visits: dict[str, int] = {}
    waiting: list[Planned] = []
    settled: list[Finished] = []
    channels: dict[str, KeptChannel] = {}
    given: dict[str, Raw] = {}


def keep(frame: Frame) -> KeptFrame:
    """Make of a frame what a snapshot keeps."""
    channels = {name: channel.dump() for name, channel in frame.channels.items() if channel.version}
    waiting, settled = list(frame.waiting.values()), list(frame.settled.values())
    return KeptFrame(frame.n, frame.visits, waiting, settled, channels, frame.given)


def by_place(kinds: dict[str, str]) -> dict[str, dict[str, str]]:
    """Group the kinds of channels by the static path of the sub-graph that they are of; "" is the run's own."""
    found: dict[str, dict[str, str]] = {"": {}}
    for name, kind in kinds.items():
        where, _, channel = name.rpartition("/")
        found.setdefault(where, {})[channel] = kind
    return found


@lru_cache(maxsize=8192)
def parse(address: str) -> tuple[str, int, str]:
    """Take the last part of an address, `node#visit[index]`, apart; the index is "" where there is none."""
    node, _, rest = address.rpartition("/")[2].partition("#")
    visit, _, index = rest.partition("[")
    return node, int(visit or 0), index[:-1]


def place(address: str) -> str:
    """Name a node by its static path, whatever the visit: `team/write` for `team#1/write#2[0]`."""
    return _place(address) if "/" in address else parse(address)[0]


@lru_cache(maxsize=8192)
def _place(address: str) -> str:
    return "/".join([part.partition("#")[0] for part in address.split("/")])


@lru_cache(maxsize=8192)
def lane(address: str) -> str:
    """Name a node within its frame, `team#1/write` for `team#1/write#2[0]`: activations of one lane belong together."""
    path, slash, _ = address.rpartition("/")
    return f"{path}{slash}{parse(address)[0]}"


def visit_of(address: str) -> str:
    """Name a visit of a node, all activations of it: `team#1[2]/write#2` for `team#1[2]/write#2[0]`."""
    return f"{lane(address)}#{parse(address)[1]}"


def fits(address: str, target: str) -> bool:
    """Say whether an activation is what a target names: `team/write`, `team#1/write` or the like, part by part."""
    parts, named = address.split("/"), target.split("/")
    return len(parts) == len(named) and all(
        part == name or (part.startswith(name) and part[len(name)] in ("#" if "#" not in name else "["))
        for part, name in zip(parts, named, strict=True)
    )


@lru_cache(maxsize=8192)
def path_key(address: str) -> tuple[Any, ...]:
    """Sort addresses by path, numbers as numbers: `b#1[9]` before `b#1[10]`."""
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"[#\[\].:/]", address))


def in_order(done: list[Finished]) -> list[Finished]:
    """Sort finished activations by path, never by the time they ended."""
    return done if len(done) < 2 else sorted(done, key=lambda finished: path_key(finished.address))  # noqa: PLR2004
