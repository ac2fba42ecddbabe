"""Reading a SQLite file page by page, past what is damaged: https://www.sqlite.org/fileformat2.html.

SQLite reads a table from its root, so one damaged page in the middle costs all that lies behind it. Here each page is
read for itself. To which table it belongs is told by the pages above it, or, where one of those is damaged, by the map
that a file with auto-vacuum keeps: for each page its parent. Pages on the free list are never taken for live ones.
"""

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import apsw

from windlass.stores.sqlite_sums import layer

LEAF_TABLE, INNER_TABLE, LEAF_INDEX, INNER_INDEX = 13, 5, 10, 2
MAP_OVERFLOW, MAP_TREE = (3, 4), 5  # kinds of pages in the map: the rest of a long row, a page of a tree
LOCK_BYTE = 1 << 30  # the page around it is never used
INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}  # serial type → bytes


class Torn(Exception):
    """A page, or what a page refers to, cannot be read."""


class Row(NamedTuple):
    """A row as it stands: its number, and its values in the order in which they are kept."""

    number: int | None
    values: list[Any]


class Pages:
    """The pages of a database that nobody has open and that has no write-ahead log.

    Args:
        path: of the file.
    """

    def __init__(self, path: str) -> None:
        flags = [apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_MAIN_DB, 0]
        self._file = apsw.VFSFile(layer(None) or "", path, flags)
        first = self._file.xRead(100, 0)
        size = int.from_bytes(first[16:18], "big")
        self.size = 65_536 if size == 1 else size
        self.usable = self.size - first[20]
        self.count = self._file.xFileSize() // self.size
        self.torn: set[int] = set()  # pages that could not be read
        self._above: dict[int, int] = {}  # page of a tree → the one above it
        self._rest: dict[int, int] = {}  # page with the rest of a long row → the one before it
        self._roots: set[int] = set()
        self._trees: dict[int, list[int]] = {}  # first page → all pages of the tree

    def close(self) -> None:
        """Let go of the file."""
        self._file.xClose()

    def page(self, number: int) -> bytes:
        """Read a page.

        Raises:
            Torn: it cannot be read, or does not match its checksum.
        """
        if not 1 <= number <= self.count:
            raise Torn(f"there is no page {number}")
        try:
            return self._file.xRead(self.size, (number - 1) * self.size)
        except apsw.Error as error:
            self.torn.add(number)
            raise Torn(f"page {number}: {error}") from error

    def map_out(self, roots: set[int]) -> None:
        """Find out which pages belong to which tree.

        Args:
            roots: the first pages of all trees.
        """
        self._roots = roots | {1}
        for root in self._roots:
            self._walk(root)
        for number in range(2, self.count + 1):
            if number not in self._above and number not in self._roots:
                kind, above = self._mapped(number)
                if kind == MAP_TREE:
                    self._above[number] = above
                elif kind in MAP_OVERFLOW:
                    self._rest[number] = above
        for number in (*self._roots, *self._above):  # none with the rest of a long row: those are read with it
            self._trees.setdefault(self.root_of(number), []).append(number)

    def _walk(self, root: int) -> None:
        left = [root]
        while left:
            number = left.pop()
            for child in self._children(number):
                if child not in self._above and child not in self._roots:
                    self._above[child] = number
                    left.append(child)

    def _children(self, number: int) -> list[int]:
        try:
            page = self.page(number)
            start = 100 if number == 1 else 0
            if page[start] not in (INNER_TABLE, INNER_INDEX):
                return []
            cells = [struct.unpack_from(">I", page, place)[0] for place in self._cells(page, start)]
            return [*cells, struct.unpack_from(">I", page, start + 8)[0]]
        except (Torn, struct.error, IndexError):
            return []

    def _mapped(self, number: int) -> tuple[int, int]:
        """Say by the map what a page is, and which page it belongs to."""
        each = self.usable // 5 + 1
        place = (number - 2) // each * each + 2
        place += place == LOCK_BYTE // self.size + 1
        if number <= place:
            return 0, 0
        try:
            kind, above = struct.unpack_from(">BI", self.page(place), 5 * (number - place - 1))
        except (Torn, struct.error):
            return 0, 0
        return kind, above

    def root_of(self, number: int) -> int:
        """Return the first page of the tree that a page belongs to; 0 if none is known."""
        seen = {number}
        while number in self._rest and self._rest[number] not in seen:
            number = self._rest[number]
            seen.add(number)
        for _ in range(64):  # no tree is so deep: the map may go round in a circle
            if number in self._roots:
                return number
            number = self._above.get(number, 0)
        return 0

    def rows(self, root: int) -> Iterator[Row]:
        """Read every row of a tree that can be read, in no order."""
        for number in self._trees.get(root, ()):
            yield from self._rows_of(number)

    def _rows_of(self, number: int) -> Iterator[Row]:
        try:
            page = self.page(number)
            start = 100 if number == 1 else 0
            kind, cells = page[start], self._cells(page, start)
        except (Torn, IndexError, struct.error):
            self.torn.add(number)
            return
        for place in cells if kind in (LEAF_TABLE, LEAF_INDEX, INNER_INDEX) else ():
            try:
                yield self._row(page, kind, place)
            except (Torn, IndexError, struct.error, UnicodeDecodeError):
                self.torn.add(number)

    def _cells(self, page: bytes, start: int) -> tuple[int, ...]:
        (number,) = struct.unpack_from(">H", page, start + 3)
        head = 12 if page[start] in (INNER_TABLE, INNER_INDEX) else 8
        return struct.unpack_from(f">{number}H", page, start + head)

    def _row(self, page: bytes, kind: int, place: int) -> Row:
        number = None
        place += 4 if kind == INNER_INDEX else 0
        size, place = varint(page, place)
        if kind == LEAF_TABLE:
            number, place = varint(page, place)
        return Row(number, record(self._payload(page, kind, place, size)))

    def _payload(self, page: bytes, kind: int, place: int, size: int) -> bytes:
        """Put together what a cell holds, and what of it stands on other pages."""
        most = self.usable - 35 if kind == LEAF_TABLE else (self.usable - 12) * 64 // 255 - 23
        if size <= most:
            return page[place : place + size]
        least = (self.usable - 12) * 32 // 255 - 23
        here = least + (size - least) % (self.usable - 4)
        here = here if here <= most else least
        parts, left = [page[place : place + here]], size - here
        (following,) = struct.unpack_from(">I", page, place + here)
        while left > 0:
            more = self.page(following)
            parts.append(more[4 : 4 + min(left, self.usable - 4)])
            left -= self.usable - 4
            (following,) = struct.unpack_from(">I", more)
        return b"".join(parts)


def varint(page: bytes, place: int) -> tuple[int, int]:
    """Read a number of one to nine bytes; return it, and where it ends."""
    value = 0
    for step in range(8):
        byte = page[place + step]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:  # noqa: PLR2004 -- the last byte has no high bit
            return value, place + step + 1
    value = value << 8 | page[place + 8]
    return value - (1 << 64) if value >> 63 else value, place + 9


def record(payload: bytes) -> list[Any]:
    """Read the values of a row.

    Raises:
        Torn: it is none.
    """
    end, place = varint(payload, 0)
    kinds = []
    while place < end:
        kind, place = varint(payload, place)
        kinds.append(kind)
    values: list[Any] = []
    for kind in kinds:
        value, place = _value(payload, kind, place)
        values.append(value)
    if place != len(payload):
        raise Torn("a row is not as long as it says")
    return values


def _value(payload: bytes, kind: int, place: int) -> tuple[Any, int]:
    if kind in INTEGERS:
        end = place + INTEGERS[kind]
        return int.from_bytes(payload[place:end], "big", signed=True), end
    if kind >= 12:  # noqa: PLR2004 -- text and bytes, as the format says
        end = place + (kind - 12) // 2
        content = payload[place:end]
        return (content.decode() if kind % 2 else content), end
    match kind:
        case 0:
            return None, place
        case 7:
            return struct.unpack_from(">d", payload, place)[0], place + 8
        case 8 | 9:
            return kind - 8, place
        case _:
            raise Torn("a value is of no known kind")
