"""Pieces: the encoded writes that a channel is kept as, and what each kind of channel makes of them."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from windlass.core.codec import Blob, digest

LONG = 64 * 1024  # bytes from which a piece stands out of line, shared by log and snapshots (D28)
PREFIX, SUFFIX = b'{"$":"@","v":"', b'"}'  # around the digest of a piece out of line; no value is encoded like it
DIGITS = 64  # of a digest
REFERENCE = re.compile(rb'"(?:blob|v)":"([0-9a-f]{64})"')  # out of line: of the codec, of a channel
Blobs = Callable[[str], bytes]


def outside(piece: bytes) -> tuple[bytes, Blob]:
    """Put a long piece out of line; return what stands in for it, and its content.

    The stand-in names the contents that the piece itself refers to: who holds it holds them, too.
    """
    name = digest(piece)
    within = [b'{"blob":"%s"}' % inner for inner in sorted(set(REFERENCE.findall(piece)))]
    end = b'","in":[%s]}' % b",".join(within) if within else SUFFIX
    return PREFIX + name.encode() + end, Blob(name, piece)


def inside(piece: bytes, blobs: Blobs) -> bytes:
    """Fetch a piece that stands out of line."""
    if not piece.startswith(PREFIX):
        return piece
    return bytes(blobs(piece[len(PREFIX) : len(PREFIX) + DIGITS].decode()))


def joined(pieces: list[bytes]) -> list[bytes]:
    """Join neighbouring JSON arrays into one; a piece that stands out of line (an envelope) stays by itself."""
    result: list[bytes] = []
    open_run: list[bytes] = []
    for piece in pieces:
        if piece[:1] == b"[":
            if len(piece) > 2:  # noqa: PLR2004 -- not an empty array
                open_run.append(piece[1:-1])
            continue
        if open_run:
            result.append(b"[%s]" % b",".join(open_run))
            open_run = []
        result.append(piece)
    if open_run or not result:
        result.append(b"[%s]" % b",".join(open_run))
    return result


def _append(parts: list[Any]) -> list[Any]:
    return [item for part in parts for item in part]


def _merge(parts: list[Any]) -> dict[Any, Any]:
    merged: dict[Any, Any] = {}
    for part in parts:
        merged |= part
    return merged


def _unique(parts: list[Any]) -> list[Any]:
    items: list[Any] = []
    for part in parts:
        for place, item in part:
            if place is None:
                items.append(item)
            else:
                items[place] = item
    return items


def _gather(parts: list[Any]) -> list[Any]:
    by_index = {index: item for part in parts for index, item in part}
    return [by_index[index] for index in sorted(by_index)]


FOLDS: Mapping[str, Callable[[list[Any]], Any]] = {
    "append": _append,
    "merge": _merge,
    "unique": _unique,
    "gather": _gather,
    "barrier": _append,
}
