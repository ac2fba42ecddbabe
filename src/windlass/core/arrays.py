"""Arrays and scalars of numpy: recognised once their user has imported it, and imported here only to read one."""

import re
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from windlass.core.envelope import Raw, Reader, Reading, Unknown, Writer, Writing, expect, wrap
from windlass.core.errors import DecodeError
from windlass.core.refusal import Refused, name_of

DTYPE: Final = re.compile(r"[<>|][biufcSUMm]\d+(\[\w{1,8}\])?")
WIDEST: Final = {"f": 8, "c": 16}  # above, numpy holds the machine's long double: padded, and another one elsewhere
LAST_CODE_POINT: Final = 0x10FFFF


def numpy_writer(kind: type) -> Writer | None:
    """Find the writer of a numpy type; None for any other type, and as long as nobody imported numpy."""
    numpy: Any = sys.modules.get("numpy")
    if numpy is None:
        return None
    if kind is numpy.ndarray:
        return write_array
    if kind in (numpy.str_, numpy.bytes_):
        return write_numpy_text
    return write_scalar if kind in numpy.sctypeDict.values() else None


def keepable_dtype(numpy: Any, dtype: Any) -> bool:
    """Say whether elements of this type have one size and one meaning on every machine."""
    return (
        DTYPE.fullmatch(dtype.str) is not None
        and 0 < dtype.itemsize <= WIDEST.get(dtype.kind, sys.maxsize)
        and numpy.dtype(dtype.str) == dtype
    )


def write_array(value: Any, walk: Writing) -> Raw:
    """Write an array from a copy in C order: its owner may change it before the store has it."""
    if not keepable_dtype(sys.modules["numpy"], value.dtype):
        raise Refused(f"ndarray of dtype {value.dtype!s:.60}", hint="use numbers, booleans, dates or fixed-size text")
    walk.frozen = False
    parts = {"dtype": value.dtype.str, "shape": list(value.shape), "data": walk.content(value.tobytes())}
    return wrap("ndarray", parts)


def write_scalar(value: Any, walk: Writing) -> Raw:
    """Write a single number of numpy's."""
    numpy: Any = sys.modules["numpy"]
    if not keepable_dtype(numpy, value.dtype) or numpy.dtype(value.dtype.str).type is not type(value):
        raise Refused(f"numpy.{name_of(type(value))}", hint="use the type that numpy names by its size")
    return wrap("numpy", {"dtype": value.dtype.str, "data": walk.content(value.tobytes())})


def write_numpy_text(value: Any, walk: Writing) -> Raw:
    """Write a string or bytes of numpy's by its text: as an array's element it would lose a NUL at its end."""
    text = str.__str__(value) if isinstance(value, str) else bytes.__getitem__(value, slice(None))
    return wrap("numpy", {"dtype": "str" if isinstance(text, str) else "bytes", "data": walk.write(text)})


def with_numpy(tag: str, read: Callable[[Any, Raw, Reading], Any]) -> Reader:
    """Make a reader that imports numpy when the first array is read."""

    def reader(raw: Raw, walk: Reading) -> object:
        try:
            numpy = import_module("numpy")
        except ImportError:
            if walk.lenient:
                return Unknown(tag, raw)
            raise DecodeError("a numpy array is stored here, and numpy is not installed") from None
        return read(numpy, raw, walk)

    return reader


def read_array(numpy: Any, raw: Raw, walk: Reading) -> Any:
    """Read an array, writable and in C order."""
    return flat(numpy, raw["dtype"], raw["shape"], walk.content(raw["data"])).copy()


def read_scalar(numpy: Any, raw: Raw, walk: Reading) -> Any:
    """Read a single number or text of numpy's."""
    if raw["dtype"] == "str":
        return numpy.str_(expect(walk.read(raw["data"]), str))
    if raw["dtype"] == "bytes":
        return numpy.bytes_(expect(walk.read(raw["data"]), bytes))
    return flat(numpy, raw["dtype"], [], walk.content(raw["data"]))[()]


def flat(numpy: Any, name: str, shape: list[int], content: bytes) -> Any:
    """View a content as an array; every way in which the two may not fit is refused here."""
    if DTYPE.fullmatch(name) is None or not keepable_dtype(numpy, dtype := numpy.dtype(name)):
        raise DecodeError(f"{name!r:.60} is not a dtype that is kept")
    array = numpy.ndarray([expect(size, int) for size in shape], dtype, buffer=content)
    if list(array.shape) != shape or array.nbytes != len(content):
        raise DecodeError(f"an array of {array.nbytes} bytes has {len(content)}")
    points = numpy.dtype("u4").newbyteorder(dtype.byteorder)
    if dtype.kind == "U" and content and numpy.frombuffer(content, points).max() > LAST_CODE_POINT:
        raise DecodeError("an array of text has something else in it")
    return array


ARRAY_READERS: Final[dict[str, Reader]] = {
    "ndarray": with_numpy("ndarray", read_array),
    "numpy": with_numpy("numpy", read_scalar),
}
