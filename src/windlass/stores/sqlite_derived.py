"""The tables of a SQLite store that follow from its logs: compared with them, and made anew from them.

Questions, lines of the effect ledger and the line of a run say nothing that its log does not say. So a row that is
missing, damaged or different is made anew; the one that stood there is kept in `lost_and_found`. A line of the ledger
that no log bears stays: it may tell of something that happened outside. The run then goes on from where it stands on a
new branch, so that the line counts as one of a branch that was left: what it did is adopted, not done again.
"""

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from windlass.core.errors import StoreCorrupt
from windlass.core.position import load
from windlass.core.records import ENCODER, Effect, Head, Loaded, Manifest, Question, RunRecord
from windlass.core.states import CREATED, PAUSED, Status
from windlass.core.thread import place_of
from windlass.engine.tree import begin_anew
from windlass.stores.base import row_digest
from windlass.stores.checks import verify_manifest, verify_tail
from windlass.stores.derived import ANY_EFFECT, Difference, Tables, differences
from windlass.stores.queries import queries
from windlass.stores.sqlite_file import Link
from windlass.stores.sqlite_read import COMMAND, EFFECT, LAST, QUESTION, RECORD, opened, sealed, to_manifest, to_row

SQL = queries("sqlite")
PAGE = 500
DECODERS: dict[str, msgspec.json.Decoder[Any]] = {"questions": QUESTION, "effects": EFFECT}
COLUMNS = {"questions": ("id", "status"), "effects": ("tree", "address", "run", "branch", "name", "key")}


class Stand(Struct):
    """The line of a run as it stands.

    Args:
        lacks: what its record says otherwise than the line, or that there is none.
        cut_below: see `derived.differences`.
    """

    no: int
    run: str
    head: Head
    record: RunRecord | None
    lacks: str = ""
    cut_below: int = 0


def _walk(link: Link) -> str:
    """Return the statement that reads runs; of a file that is not migrated yet none is a turn of a thread."""
    has_threads = link.value("SELECT 1 FROM pragma_table_info('runs') WHERE name = 'thread'")
    return SQL["runs_after"] if has_threads else SQL["runs_after"].replace("runs.thread, runs.place", "NULL, NULL")


def stands(link: Link) -> Iterator[Stand]:
    """Walk the lines of all runs."""
    after = 0
    while rows := link.execute(_walk(link), (after, PAGE)).fetchall():
        for row in rows:
            yield _stand(link, row)
        after = rows[-1][0]


def stand_of(link: Link, no: int) -> Stand | None:
    """Read the line of one run."""
    rows = link.execute(_walk(link), (no - 1, 1)).fetchall()
    return _stand(link, rows[0]) if rows and rows[0][0] == no else None


def _stand(link: Link, row: tuple[Any, ...]) -> Stand:
    no, run, status, branch, n, seq, due_at, crashes, *named, digest, body = row
    cut_below = branch if link.value(SQL["was_cut"], (no,)) else 0
    if status not in tuple(Status):
        raise StoreCorrupt(f"run {run}: it is in no known state: {status!r}")
    stand = Stand(no, run, Head(Status(status), branch, n, seq, due_at, crashes), None, "", cut_below)
    try:
        stand.record = None if body is None else RECORD.decode(opened(digest, body))
    except (StoreCorrupt, msgspec.DecodeError):
        return stand  # the walk of the records tells it
    if stand.record is None:
        stand.lacks = "what never changes about it is gone"
    elif named_by(stand.record) != tuple(named):
        stand.lacks = "its line does not name it as its record does"
    return stand


def named_by(record: RunRecord) -> tuple[Any, ...]:
    """Return the columns of a run's line that its record tells."""
    tags = ENCODER.encode(record.tags).decode() if record.tags else None
    place = place_of(record)
    return record.tenant, record.definition, tags, record.thread if place else None, place, record.created_at


def told(link: Link, stand: Stand) -> Tables:
    """Read a run's log from its beginning."""
    parent = stand.record.parent if stand.record is not None else None
    known = (stand.record.tenant, stand.record.definition) if stand.record is not None else ("", "")
    tables = Tables(stand.run, parent.tree if parent is not None else stand.run, *known)
    after = 0
    while rows := link.execute(SQL["rows"], (stand.no, after, LAST, None, PAGE)).fetchall():
        for row in rows:
            tables.take(to_row(stand.run, row))
        after = rows[-1][0] & LAST
    return tables


def unlike(link: Link, stand: Stand, tables: Tables) -> Iterator[Difference]:
    """Say where a run's tables differ from its log."""
    head, log = stand.head, tables.head
    if stand.lacks:
        yield Difference("runs", stand.run, stand.lacks)
    if head.seq == log.seq:
        is_branch = link.value(SQL["branch_of_manifest"], (stand.no << 32 | head.seq,)) == head.branch
        if head.n != log.n or not (head.branch == log.branch or is_branch):
            said = f"stands at step {head.n} of branch {head.branch}, its log at {log.n} of {log.branch}"
            yield Difference("runs", stand.run, said)
        elif tables.is_told and head.status not in tables.statuses:
            yield Difference("runs", stand.run, f"is {head.status}, and {log.status} by its log")
        elif tables.is_told and head.status == "waiting" and head.due_at != log.due_at:
            yield Difference("runs", stand.run, f"is due at {head.due_at}, and at {log.due_at} by its log")
    parent = stand.record.parent if stand.record is not None else None
    needs = parent is not None or tables.is_pruned or head.branch > 0
    if needs and not link.value(SQL["branch_begins"], (stand.no, head.branch)):
        yield Difference("manifests", stand.run, f"has no snapshot for branch {head.branch} to begin with")
    if stand.record is not None and tables.is_told:
        yield from _of_rows(link, stand, tables)


def _of_rows(link: Link, stand: Stand, tables: Tables) -> Iterator[Difference]:
    questions = [row for _, row in kept(link, "questions", stand) if isinstance(row, Question)]
    effects = [row for _, row in kept(link, "effects", stand) if isinstance(row, Effect)]
    posted = link.execute(SQL["waiting_commands"], (stand.no,)).fetchall()
    waiting = [COMMAND.decode(body) for digest, body in posted if sha256(body).digest() == digest]
    born = stand.record.created_at if stand.record is not None else 0.0
    yield from differences(tables, questions, effects, waiting, born=born, cut_below=stand.cut_below)


def kept(link: Link, table: str, stand: Stand) -> list[tuple[int, Question | Effect | bytes]]:
    """Read a run's rows of a table with their places; of one that is damaged, the bytes."""
    found: list[tuple[int, Question | Effect | bytes]] = []
    key = stand.no if table == "questions" else stand.run
    for no, digest, body, *columns in link.execute(SQL[f"{table}_beside"], (key,)).fetchall():
        try:
            record = DECODERS[table].decode(opened(digest, body))
        except (StoreCorrupt, msgspec.DecodeError):
            found.append((no, bytes(body)))
            continue
        is_itself = [getattr(record, name) for name in COLUMNS[table]] == columns
        found.append((no, record if is_itself else bytes(body)))
    return found


def mend(link: Link, stand: Stand, now: float) -> Iterator[str]:
    """Make a run's tables anew where they differ from its log; inside a transaction. Says what was done.

    Raises:
        StoreCorrupt, msgspec.DecodeError: its log or its snapshot cannot be read.
    """
    tables = told(link, stand)
    found = list(unlike(link, stand, tables))
    for table in ("questions", "effects"):
        missing = sum(one.table == table and one.stale is None for one in found)
        yield from _take_damaged(link, stand, table, missing, now)
    for one in found:
        if one.table == "questions":
            yield from _mend_question(link, stand, one, now)
    lines = [one for one in found if one.table == "effects" and one.fresh is not None]
    if lines:
        yield from _mend_effects(link, stand, tables, lines, now)
    unborne = [one for one in found if one.table == "effects" and one.fresh is None]
    if any(one.table == "runs" for one in found) and stand.record is not None:
        stand.head = _where(link, stand, tables)
        link.execute(SQL["stand"], (stand.no, *_columns(stand.head), *named_by(stand.record)))
        yield f"run {stand.run}: stands where its log and its record say: {stand.head.status}, event {stand.head.seq}"
    if unborne:
        yield from _leave(link, stand, unborne, now)


def _take_damaged(link: Link, stand: Stand, table: str, missing: int, now: float) -> Iterator[str]:
    """Take damaged rows away if the log tells at least as many that are missing: those will be made anew."""
    torn = [(no, row) for no, row in kept(link, table, stand) if isinstance(row, bytes)]
    for no, body in torn if len(torn) <= missing else ():
        link.execute(SQL["keep_row"], (now, stand.no, table[:-1], b"", body))
        link.execute(SQL[f"take_{table[:-1]}"], (no,))
        yield f"run {stand.run}: {table}: took a damaged row away"


def _columns(head: Head) -> tuple[Any, ...]:
    return head.status, head.branch, head.n, head.seq, head.due_at, head.crashes


def _where(link: Link, stand: Stand, tables: Tables) -> Head:
    """Say where a run stands by its log; where that leaves a choice, it stays or stands still."""
    head = tables.head
    begun = link.value(SQL["branch_of_manifest"], (stand.no << 32 | head.seq,))
    if stand.head.seq == head.seq and stand.head.branch == begun and begun > head.branch:
        head = replace(head, branch=begun)
    if stand.head.status in tables.statuses:
        return replace(head, status=stand.head.status)
    choice = next((status for status in (PAUSED, CREATED) if status in tables.statuses), head.status)
    return replace(head, status=choice)


def _mend_question(link: Link, stand: Stand, one: Difference, now: float) -> Iterator[str]:
    place = None
    if isinstance(one.stale, Question):
        place = next((no for no, row in kept(link, "questions", stand) if row == one.stale), None)
        link.execute(SQL["keep_row"], (now, stand.no, "question", *sealed(one.stale)))
        link.execute(SQL["take_question"], (place,))
    if isinstance(one.fresh, Question):
        link.execute(SQL["put_question"], (place, stand.no, one.fresh.id, one.fresh.status, *sealed(one.fresh)))
    done = "made anew from the log" if one.fresh is not None else "taken away"
    yield f"run {stand.run}: questions: {one.row} {one.said}: {done}"


def _mend_effects(link: Link, stand: Stand, tables: Tables, found: list[Difference], now: float) -> Iterator[str]:
    """Write a run's lines anew, in the order in which the log tells them: of several, the last one speaks."""
    fresh = {(e.branch, e.address, e.name, e.key): e for one in found if isinstance(e := one.fresh, Effect)}
    rows = {no: row for no, row in kept(link, "effects", stand) if isinstance(row, Effect)}
    order = {place: number for number, place in enumerate(tables.effects)}
    lines: dict[Any, Effect] = {}
    for no, row in rows.items():
        link.execute(SQL["take_effect"], (no,))
        lines[row.tree, row.branch, row.address, row.name, row.key] = row
    for one in found:
        if isinstance(one.stale, Effect):
            link.execute(SQL["keep_row"], (now, stand.no, "effect", *sealed(one.stale)))
        yield f"run {stand.run}: effects: {one.row} {one.said}: made anew from the log"
    for place, line in fresh.items():
        is_known = tables.effects[place].may != ANY_EFFECT
        lines[tables.tree, *place] = line if is_known else replace(line, status="intended")  # its outcome was pruned
    for line in sorted(lines.values(), key=lambda e: order.get((e.branch, e.address, e.name, e.key), -1)):
        key = (line.tree, line.address, line.run, line.branch, line.name, line.key)
        link.execute(SQL["save_effect"], (stand.no, *key, *sealed(line)))


def _leave(link: Link, stand: Stand, unborne: list[Difference], now: float) -> Iterator[str]:
    """Go on from where a run stands on a new branch; lines that its log does not bear are of one that was left."""
    names = ", ".join(one.row for one in unborne[:3])
    branch_off(link, stand)
    for one in unborne:
        if isinstance(one.stale, Effect):
            link.execute(SQL["keep_row"], (now, stand.no, "effect", *sealed(one.stale)))
    yield f"run {stand.run}: effects that its log does not bear count as those of a branch that was left: {names}"


def branch_off(link: Link, stand: Stand) -> None:
    """Give a run a new branch that begins where it stands.

    Raises:
        StoreCorrupt: what leads there cannot be read.
    """
    no, run, head, record = stand.no, stand.run, stand.head, stand.record
    if record is None:
        raise StoreCorrupt(f"run {run}: what never changes about it is gone")
    found = link.execute(SQL["latest_manifest_of_branch"], (no, head.branch)).fetchall()
    manifest = to_manifest(run, found[0]) if found else None
    after = manifest.seq if manifest else 0
    rows = tuple(to_row(run, row) for row in link.execute(SQL["rows"], (no, after, LAST, None, -1)).fetchall())
    if manifest is not None:
        verify_manifest(manifest)
    verify_tail(run, rows, after, head.seq)
    try:
        position = load(Loaded(record, manifest, rows))
    except (msgspec.DecodeError, KeyError, ValueError) as error:
        raise StoreCorrupt(f"run {run}: what leads to event {head.seq} cannot be read: {error}") from error
    begin_anew(position)
    body, branch = position.dump(), head.branch + 1
    made = Manifest(
        run, head.seq, branch, position.n, body, row_digest(run, head.seq, head.seq, body), tuple(sorted(position.held))
    )
    columns = (made.seq, made.branch, made.n, bytes.fromhex(made.digest))
    link.execute(SQL["add_manifest"], (no, *columns, ENCODER.encode(made.blobs).decode(), made.body))
    link.execute(SQL["branch_off"], (no, branch))
    stand.head, stand.cut_below = replace(head, branch=branch), branch


def lost_runs(link: Link) -> Iterator[str]:
    """Make the lines of runs anew of which only the records and the logs are left; inside a transaction."""
    for no, digest, body in link.execute(SQL["records_without_runs"]).fetchall():
        try:
            record = RECORD.decode(opened(digest, body))
        except (StoreCorrupt, msgspec.DecodeError):
            continue
        stand = Stand(no, record.id, Head(), record)
        tables = told(link, stand)
        if not tables.head.seq:
            continue
        head = replace(_where(link, stand, tables), crashes=tables.head.crashes)
        manifest = link.value(SQL["branch_of_manifest"], (no << 32 | head.seq,))
        head = head if manifest is None else replace(head, branch=max(manifest, head.branch))
        link.execute(SQL["make_run"], (no, *_columns(head), record.id, *named_by(record), tables.at))
        yield f"run {record.id}: made its line anew from its record and its log"
