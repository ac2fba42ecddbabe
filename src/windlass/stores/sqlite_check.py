"""Reading everything in a SQLite store and comparing it: what `windlass store check` does."""

from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

import apsw
import msgspec
from msgspec import Struct, field

from windlass.core.errors import StoreCorrupt
from windlass.stores import sqlite_start
from windlass.stores.base import row_digest
from windlass.stores.queries import queries
from windlass.stores.sqlite_anchor import read
from windlass.stores.sqlite_derived import stands, told, unlike
from windlass.stores.sqlite_file import Link, is_damage, schema_of
from windlass.stores.sqlite_place import MEMORY, path_of
from windlass.stores.sqlite_read import COMMAND, EFFECT, ITEM, LAST, NAMES, QUESTION, RECORD, unpack
from windlass.stores.sqlite_shared import letter_problems, tally_problems

SQL = queries("sqlite")
MOST_PROBLEMS = 1_000  # listed; a file that is damaged all over need not be told twice
OFTEN = 10_000  # rows between two words about how far it is
Tell = Callable[[str], None]


Said = tuple[str, int] | tuple[str, int, str, str, str]  # a sentence, a run's number; of a row also run, table, row


class Found(Struct, frozen=True):
    """A problem: a sentence, the part of the store, and the number of the run that it belongs to, if it is one's.

    Args:
        part: of the check that met it.
        run, table, row: what differs from its log, where it is a row beside one.
    """

    said: str
    part: str
    no: int = 0
    run: str = ""
    table: str = ""
    row: str = ""
    is_torn: bool = False  # SQLite could not read on: a page is damaged


class Seen(Struct):
    """What a check has read so far, and the runs whose logs are damaged: nothing is compared with those."""

    counts: dict[str, int] = field(default_factory=lambda: {"runs": 0, "rows": 0, "blobs": 0})
    damaged: set[int] = field(default_factory=set)
    has_log: bool = True


def check_store(connect: Callable[[], Link], url: str, *, tell: Tell | None = None) -> dict[str, Any]:
    """Read everything in one transaction and compare it with its digests, its sequences and its anchor.

    Args:
        tell: is told now and then how far it is.

    Returns:
        Counts of `runs`, `rows`, `blobs`; `problems`, a sentence each, none when all is well; and in `differing` each
        row that is not what its run's log says: `run`, `table`, `row`, `said`.
    """
    link = connect()
    try:
        link.connection.set_busy_timeout(10_000)
        sqlite_start.keep_log(link)
        schema_of(link, url)
        link.execute("BEGIN")
        seen, differing = Seen(), []
        problems = [found.said for found in _of_anchor(link, url)]
        for found in problems_of(link, seen, tell):
            problems.append(found.said)
            if found.table:
                differing.append({"run": found.run, "table": found.table, "row": found.row, "said": found.said})
            if len(problems) == MOST_PROBLEMS:
                problems.append("and more")
                break
    finally:
        link.close()
    return {**seen.counts, "problems": problems, "differing": differing}


def problems_of(link: Link, seen: Seen, tell: Tell | None = None) -> Iterator[Found]:
    """Name every problem; damage that SQLite itself meets ends a walk, not the check."""
    for part, walk in WALKS.items():
        if tell is not None:
            tell(f"checking {part}")
        try:
            for said, no, *of in walk(link, seen):
                run, table, row = of or ("", "", "")
                yield Found(said, part, no, run, table, row)
                if part == "log":
                    seen.damaged.add(no)
                if tell is not None and seen.counts["rows"] and seen.counts["rows"] % OFTEN == 0:
                    tell(f"{seen.counts['rows']:,} rows")
        except (apsw.Error, ValueError, TypeError, AttributeError, msgspec.DecodeError, StoreCorrupt) as error:
            # a damaged page holds values of any type
            seen.has_log = seen.has_log and part != "log"
            yield Found(f"{part}: {type(error).__name__}: {error}", part, is_torn=is_damage(error))


def _of_anchor(link: Link, url: str) -> Iterator[Found]:
    path = path_of(url)
    if path == MEMORY:
        return
    known = read(path)
    if known.is_torn:
        yield Found("the anchor beside the file cannot be read", "anchor")
    try:
        sqlite_start.compare(link, known, url)
    except StoreCorrupt as error:
        yield Found(str(error), "anchor")
    except apsw.Error as error:
        yield Found(f"anchor: {type(error).__name__}: {error}", "anchor")


def _of_structure(link: Link, _: Seen) -> Iterator[Said]:
    yield from ((said, 0) for (said,) in link.execute("PRAGMA integrity_check") if said != "ok")


def _of_log(link: Link, seen: Seen) -> Iterator[Said]:
    seen.counts["runs"] = link.value(SQL["count_runs"])
    begins = {id_ for (id_,) in link.execute(SQL["manifest_keys"])}
    heads: dict[str, tuple[int, int, int]] = {}  # run → number, last row, head
    removed = {no for no, _ in link.execute(SQL["pruned_run_marks"])}  # a prune that was killed: the next goes on
    for id_, span, digest, body, run, head in link.execute(SQL["all_rows"]):
        seen.counts["rows"] += 1
        no, last = id_ >> 32, id_ & LAST
        first = last - span
        if run is None:
            if no not in removed:
                yield f"the row {id_} belongs to no run", 0
            continue
        if bytes.fromhex(row_digest(run, first, last, body)) != digest:
            yield f"run {run}: the row of events {first}..{last} does not match its digest", no
        before = heads[run][1] if run in heads else 0
        if first != before + 1 and not (run not in heads and (id_ & ~LAST | first - 1) in begins):
            yield f"run {run}: event {before + 1} is missing before {first}..{last}", no
        heads[run] = no, last, head
    for run, (no, last, head) in heads.items():
        if last != head:
            yield f"run {run}: the log ends at event {last}, the run stands at {head}", no
    yield from ((f"run {run}: its log is gone", no) for no, run in link.execute(SQL["runs_without_rows"]))


def _of_manifests(link: Link, _: Seen) -> Iterator[Said]:
    wanted: dict[bytes, int] = {}
    removed = {no for no, _ in link.execute(SQL["pruned_run_marks"])}
    for id_, digest, names, body, run in link.execute(SQL["all_manifests"]):
        no, seq = id_ >> 32, id_ & LAST
        if run is None and no in removed:
            continue
        if run is None or bytes.fromhex(row_digest(run, seq, seq, body)) != digest:
            yield f"run {run}: the snapshot at event {seq} does not match its digest", no
        for name in NAMES.decode(names):
            wanted.setdefault(bytes.fromhex(name), no)
    had = {digest for (digest,) in link.execute(SQL["blob_digests"])}
    missing = sorted((digest, no) for digest, no in wanted.items() if digest not in had)
    yield from ((f"blob {digest.hex()} is missing", no) for digest, no in missing)


def _of_blobs(link: Link, seen: Seen) -> Iterator[Said]:
    for digest, size, packed, content in link.execute(SQL["all_blobs"]):
        seen.counts["blobs"] += 1
        try:
            value = unpack(digest.hex(), packed, content)
        except StoreCorrupt as error:
            yield str(error), 0
            continue
        if len(value) != size or sha256(value).digest() != digest:
            yield f"blob {digest.hex()} does not match its digest", 0


def _of_table(table: str) -> Callable[[Link, Seen], Iterator[Said]]:
    """Walk a table whose rows carry a digest of their JSON, and compare it with the columns beside it."""

    def walk(link: Link, _: Seen) -> Iterator[Said]:
        decode, names = BODIES[table]
        numbers = dict(link.execute(SQL["numbers_of_runs"])) if table == "effects" else {}
        for key, digest, body, *columns in link.execute(SQL[f"all_{table}"]):
            no = numbers.get(key, 0) if numbers else key or 0
            if sha256(body).digest() != digest:
                shown = body[:80].decode(errors="replace")
                yield f"{table}: a record does not match its digest: {shown}…", no
                continue
            record = decode(body)
            if [getattr(record, name) for name in names] != columns:
                yield f"{table}: a record is filed under another name: {columns}", no

    return walk


def _of_children(link: Link, seen: Seen) -> Iterator[Said]:
    """Compare children with their parents: whoever is waited for has somebody who waits."""
    if not seen.has_log:
        return
    for run, no, above in link.execute(SQL["children_without_parents"]).fetchall():
        yield f"run {run} is a child of run {above}, which is missing", no


def _of_derived(link: Link, seen: Seen) -> Iterator[Said]:
    """Compare the tables beside each log with it."""
    if not seen.has_log:
        return
    for stand in stands(link):
        if stand.no in seen.damaged:
            continue
        try:
            tables = told(link, stand)
        except (msgspec.DecodeError, StoreCorrupt) as error:
            yield f"run {stand.run}: its log is none that Windlass reads: {error}", stand.no
            continue
        for one in unlike(link, stand, tables):
            yield f"run {stand.run}: {one.table}: {one.row} {one.said}", stand.no, stand.run, one.table, one.row


def _of_quarantine(link: Link, _: Seen) -> Iterator[Said]:
    for no, run, reason, _at in link.execute(SQL["quarantined"]):
        yield f"run {run or no} is quarantined: {reason}", no


BODIES: dict[str, tuple[Callable[[bytes], Any], tuple[str, ...]]] = {
    "records": (RECORD.decode, ("id", "tenant", "definition")),
    "questions": (QUESTION.decode, ("id", "status", "run")),
    "effects": (EFFECT.decode, ("tree", "address", "run", "branch", "name", "key")),
    "commands": (COMMAND.decode, ("id", "run")),
    "items": (ITEM.decode, ("arrival", "lane", "address", "attempt", "ordinal", "run")),
}
WALKS: dict[str, Callable[[Link, Seen], Iterator[Said]]] = {
    "structure": _of_structure,
    "log": _of_log,
    "manifests": _of_manifests,
    "blobs": _of_blobs,
    **{table: _of_table(table) for table in BODIES},
    "tallies": tally_problems,
    "dead_letters": letter_problems,
    "children": _of_children,
    "derived": _of_derived,
    "quarantine": _of_quarantine,
}
