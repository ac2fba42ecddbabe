"""Values that are known to change on their way through JSON, SQL, pickles and back, or that cannot be kept at all."""

import asyncio
import collections
import datetime as dt
import decimal
import itertools
import os
import random
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pydantic

from tests.core.values import Cell, Color, Pair, Point, Row
from windlass.core.codec import Codec
from windlass.core.types import collect

SALT = itertools.count()  # a content that was kept before would be found wherever it is looked for
BLOB = 100_000  # bytes: more than what stands in the log itself


class Model(pydantic.BaseModel):
    """A model as users have them."""

    a: Any = None


class Undeclared:
    """A class that nobody declared."""


def cyclic() -> list[Any]:
    """Make a list that contains itself."""
    one: list[Any] = [1]
    one.append({"again": one})
    return one


def deep(levels: int) -> list[Any]:
    """Make brackets inside brackets."""
    whole: list[Any] = []
    for _ in range(levels):
        whole = [whole]
    return whole


def locked() -> Any:
    """Hide a lock deep inside."""
    return {"a": [0, {"b": threading.Lock()}]}


CASES: dict[str, Callable[[], Any]] = {
    "none": lambda: None, "true": lambda: True, "int": lambda: 7, "-0.0": lambda: -0.0, "nan": lambda: float("nan"),
    "inf": lambda: float("inf"), "-inf": lambda: float("-inf"), "denormal": lambda: 5e-324, "0.1": lambda: 0.1 + 0.2,
    "2**53+1": lambda: 2**53 + 1, "2**63": lambda: 2**63, "-2**63-1": lambda: -(2**63) - 1, "2**64": lambda: 2**64,
    "huge int": lambda: 10**4_000, "too huge int": lambda: 1 << 40_000, "complex": lambda: complex(-0.0, 1),
    "surrogate": lambda: "a\ud800b", "nul": lambda: "a\0b", "nfd": lambda: "e\u0301", "emoji": lambda: "\U0001f680",
    "controls": lambda: "".join(map(chr, range(32))), "bytes": lambda: bytes(range(256)), "empty": lambda: "",
    "bytearray": lambda: bytearray(b"\0a"), "memoryview": lambda: memoryview(b"ab"), "tuple": lambda: (1, (2,), ()),
    "list of tuples": lambda: [(1, 2), [1, 2]], "set": lambda: {3, 1, 2}, "frozenset": lambda: frozenset({("a", 1)}),
    "mixed set": lambda: {1, "1", None, 2.5}, "int keys": lambda: {1: "a", 2: "b"}, "tuple keys": lambda: {(1, 2): 3},
    "equal keys": lambda: {"1": "a", 1: "b", 1.5: "c"}, "none key": lambda: {None: 1}, "true key": lambda: {True: 1},
    "order": lambda: {"b": 1, "a": 2}, "tag": lambda: {"$": "set", "v": [1]}, "tag alone": lambda: {"$": 1},
    "surrogate key": lambda: {"\ud800": 1}, "range": lambda: range(1, 9, 2), "ellipsis": lambda: ...,
    "date": lambda: dt.date(2026, 3, 29), "naive": lambda: dt.datetime(2026, 3, 29, 2, 30),  # noqa: DTZ001 -- on purpose
    "time": lambda: dt.time(1, 2, 3, 4), "utc": lambda: dt.datetime(2026, 3, 29, 2, 30, 0, 123456, dt.UTC),
    "rome fold": lambda: dt.datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Rome"), fold=1),
    "offset": lambda: dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=-3, seconds=7), "odd")),
    "timedelta": lambda: dt.timedelta(days=-1, microseconds=1), "zone": lambda: ZoneInfo("Europe/Rome"),
    "decimal": lambda: decimal.Decimal("1.10"), "decimal nan": lambda: decimal.Decimal("sNaN"),
    "uuid": lambda: uuid.UUID(int=2**127), "enum": lambda: Color.RED, "enum of tuple": lambda: Color.GREEN,
    "dataclass": lambda: Cell(Point(1, (2,)), [{1}]), "struct": lambda: Row(b"x", {2: 3}),
    "named tuple": lambda: Pair(1, [2]), "model": lambda: Model(a=(1,)), "undeclared": Undeclared,
    "exception": lambda: ValueError("x"), "type": lambda: int, "float32": lambda: np.float32(0.1),
    "int64": lambda: np.int64(-1), "np bool": lambda: np.bool_(1), "np nan": lambda: np.float64("nan"),
    "array": lambda: np.arange(6, dtype=">i4").reshape(2, 3), "fortran": lambda: np.asfortranarray(np.eye(2)),
    "object array": lambda: np.array([1, "a"], dtype=object),
    "masked": lambda: np.ma.masked_array([1, 2], [False, True]), "list subclass": lambda: type("L", (list,), {})([1]),
    "int subclass": lambda: type("I", (int,), {})(3),
    "str subclass": lambda: type("S", (str,), {})("s"), "dict subclass": lambda: collections.OrderedDict(a=1),
    "deque": lambda: collections.deque([1]), "counter": lambda: collections.Counter("aab"), "path": lambda: Path("a/b"),
    "lock": threading.Lock, "generator": lambda: (n for n in (1, 2)), "lambda": lambda: lambda: 1,
    "coroutine function": lambda: asyncio.sleep, "file": lambda: os.devnull, "object": object,
    "map": lambda: map(str, [1]), "cyclic": cyclic, "deep 150": lambda: deep(150), "deep 250": lambda: deep(250),
    "deep 100 k": lambda: deep(100_000), "long text": lambda: "é" * BLOB + str(next(SALT)),
    "long bytes": lambda: random.Random(next(SALT)).randbytes(BLOB), "long list": lambda: list(range(BLOB // 4)),
    "long inside": lambda: {"a": [b"z" * BLOB + b"%d" % next(SALT), ("y" * BLOB,)]}, "lock inside": locked,
    "above the limit": lambda: "x" * 20_000_000,
    "above inside": lambda: {"a": [1, b"x" * 20_000_000]},
}  # fmt: skip
TYPES: list[type] = [Color, Cell, Point, Pair, Row, Model]
CODEC = Codec(collect(TYPES))
