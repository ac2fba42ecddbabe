"""What a SQLite store reads: rows into records, and the answer to each query. Digests are verified on the way."""

import sys
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, get_args

import apsw
import msgspec
from msgspec.structs import replace

from windlass.core.clock import Clock
from windlass.core.errors import RunUnknown, StoreCorrupt, StoreError
from windlass.core.letters import DeadLetter
from windlass.core.logs import logger
from windlass.core.origin import MARK
from windlass.core.owner import is_alive
from windlass.core.queries import (
    Blobs,
    Commands,
    Effects,
    Items,
    Letters,
    Manifests,
    Query,
    Questions,
    Rows,
    Runs,
    Tallies,
    Threads,
    Turns,
    Work,
)
from windlass.core.records import (
    ENCODER,
    Blob,
    Command,
    Effect,
    Head,
    Item,
    Loaded,
    Manifest,
    Owner,
    Question,
    Row,
    RowKind,
    RunRecord,
)
from windlass.core.states import CREATED, PAUSED, RUNNING, UNFINISHED, WAITING, Status
from windlass.core.tallies import Tally
from windlass.core.thread import is_queued
from windlass.policies.tally import kind_of
from windlass.stores.checks import encoded, verify_blob, verify_manifest, verify_rows, verify_sequence, verify_tail
from windlass.stores.queries import queries
from windlass.stores.sqlite_file import Link, is_damage
from windlass.stores.tallies import Stand
from windlass.stores.turns import in_turn, ready_since

SQL = queries("sqlite")
LOG = logger("windlass.store")
RECORD = msgspec.json.Decoder(RunRecord)
QUESTION = msgspec.json.Decoder(Question)
EFFECT = msgspec.json.Decoder(Effect)
COMMAND = msgspec.json.Decoder(Command)
ITEM = msgspec.json.Decoder(Item)
LETTER = msgspec.json.Decoder(DeadLetter)
NAMES = msgspec.json.Decoder(tuple[str, ...])
KINDS = get_args(RowKind)
STATUSES = ("open", "answered", "taken", "expired", "withdrawn")
LETTER_STATUSES = ("open", "retried", "resolved", "dropped")
BEYOND = "\U0010ffff"  # behind every character that a key has
MOST_RUNS = (1 << 31) - 1  # a run's number is the upper half of a log key
LAST = (1 << 32) - 1  # the low half of a log key
LAST_PLACE = (1 << 63) - 1
FEW = 8  # runs of one tenant and definition that a look for work reads at first, and how many times more the next time


def sealed(record: Any) -> tuple[bytes, bytes]:
    """Encode a record for a table beside the log: its digest and its JSON."""
    body = encoded(record)
    return sha256(body).digest(), body


def opened(digest: bytes, body: bytes) -> bytes:
    """Return the JSON of a record whose digest matches.

    Raises:
        StoreCorrupt: it does not.
    """
    if sha256(body).digest() != digest:
        raise StoreCorrupt(f"a record does not match its digest: {body[:80].decode(errors='replace')}…")
    return body


def to_record(row: Sequence[Any]) -> RunRecord:
    """Put a run's record together: its head, what never changes, and its owner."""
    _, status, branch, n, seq, due_at, crashes, epoch, updated_at, digest, body, *owner, until, quarantined = row
    return replace(
        RECORD.decode(opened(digest, body)),
        head=Head(Status(status), branch, n, seq, due_at, crashes),
        epoch=epoch,
        owner=None if until is None else Owner(*owner),
        owner_until=until,
        updated_at=updated_at,
        quarantined=quarantined or "",
    )


def to_row(run: str, row: Sequence[Any]) -> Row:
    """Make a row of a log."""
    id_, span, branch, n, kind, at, digest, body = row
    last = id_ & LAST
    if kind not in KINDS:
        raise StoreCorrupt(f"run {run}: the row that ends at event {last} is of no known kind: {kind!r}")
    return Row(run, last - span, last, branch, n, kind, at, body, digest.hex())


def to_manifest(run: str, row: Sequence[Any]) -> Manifest:
    """Make a snapshot."""
    id_, branch, n, digest, blobs, body = row
    return Manifest(run, id_ & LAST, branch, n, body, digest.hex(), NAMES.decode(blobs))


def unpack(digest: str, packed: int, content: bytes) -> bytes:
    """Return a blob as it was, whatever its form on disk.

    Raises:
        StoreCorrupt: it cannot be decompressed.
    """
    if not packed:
        return content
    zstd = compression()
    try:
        return bytes(zstd.decompress(content))
    except zstd.ZstdError as error:
        raise StoreCorrupt(f"blob {digest} cannot be decompressed: {error}") from error


def compression() -> Any:
    """Import Zstandard, which only stores with large values need: in the standard library from 3.14 on."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd


def to_stand(key: str, body: bytes, version: int, at: float, digest: bytes) -> Stand:
    """Return a tally as it stands, verified."""
    return Stand(body, version, at).opened(key, digest)


def load(link: Link, run: str, url: str) -> Loaded:
    """Read what resuming needs, in one transaction: a commit of another process cannot come in between."""
    link.execute("BEGIN")
    try:
        found = link.execute(SQL["one_run"], (run,)).fetchall()
        if not found:
            raise RunUnknown(run, url)
        no, record = found[0][0], to_record(found[0])
        head = record.head
        kept = link.execute(SQL["latest_manifest_of_branch"], (no, head.branch)).fetchall()
        manifest = to_manifest(run, kept[0]) if kept else None
        after = manifest.seq if manifest else 0
        rows = tuple(to_row(run, row) for row in link.execute(SQL["rows"], (no, after, LAST, None, -1)))
    finally:
        if link.connection.in_transaction:
            link.execute("COMMIT")
    if manifest is not None:
        verify_manifest(manifest)
    verify_tail(run, rows, after, head.seq)
    return Loaded(record, manifest, rows)


def find(link: Link, query: Query[Any], clock: Clock) -> list[Any]:
    """Answer a query."""
    answer = ANSWERS.get(type(query))
    if answer is None:
        raise StoreError(f"{type(query).__name__} is no query that this store knows")
    try:
        return answer(link, query, clock)
    except UnicodeEncodeError:
        return []  # a name that is no text names nothing


def _asked(query: Runs) -> dict[str, Any]:
    return {
        "after": query.after,
        "tenant": query.tenant,
        "definitions": _names(query.definitions),
        "statuses": _names(query.statuses),
        "tags": ENCODER.encode(query.tags).decode(),
        "limit": max(query.limit, 0),
    }


def _runs(link: Link, query: Runs, clock: Clock) -> list[RunRecord]:
    if query.thread is not None:
        return _of_threads(link, query, clock)
    asked = _asked(query)
    try:
        if query.parent is not None or query.under is not None:
            return _below(link, query, asked, clock)
        if query.ids is None and not query.claimable:
            everywhere = {"low": 0, "high": MOST_RUNS}
            return [to_record(row) for row in link.execute(SQL["list_runs"], asked | everywhere)]
        live = _live(link, clock) if query.claimable else ()
        statuses = query.statuses or UNFINISHED
        some = {
            "ids": _names(query.ids), "claimable": query.claimable, "due_before": query.due_before,
            "started": CREATED in statuses or RUNNING in statuses,
        }  # fmt: skip
        return [to_record(row) for row in link.execute(SQL["list_some_runs"], asked | some | {"live": _names(live)})]
    except UnicodeEncodeError:
        raise  # what was asked is no text; nothing is damaged
    except (apsw.Error, StoreCorrupt, msgspec.DecodeError, ValueError) as error:
        if isinstance(error, apsw.Error) and not (query.claimable and is_damage(error)):
            raise
        LOG.warning("some runs cannot be read; `windlass store check` says more: %s", error)
        return _whole_runs(link, query, asked, clock)


def _of_threads(link: Link, query: Runs, clock: Clock) -> list[RunRecord]:
    turns = {run for (run,) in link.execute(SQL["turn_ids"], (query.thread,))}
    ids = turns if query.ids is None else turns & {*query.ids}
    return _runs(link, replace(query, thread=None, ids=tuple(sorted(ids))), clock) if ids else []


def _turns(link: Link, query: Turns, _: Clock) -> list[RunRecord]:
    asked = {
        "thread": query.thread, "tenant": query.tenant, "definition": query.definition, "limit": max(query.limit, 0),
        "below": LAST_PLACE if query.below is None else query.below,
        "above": 0 if query.above is None else query.above,
    }  # fmt: skip
    sql = SQL["list_live_turns"] if query.live else SQL["list_turns"]
    return [to_record(row) for row in link.execute(sql, asked)]


def _threads(link: Link, query: Threads, _: Clock) -> list[RunRecord]:
    asked = {
        "definitions": _names(query.definitions), "tenant": query.tenant, "after": query.after,
        "limit": max(query.limit, 0),
    }  # fmt: skip
    return [to_record(row) for row in link.execute(SQL["list_threads"], asked)]


def _work(link: Link, query: Work, clock: Clock) -> list[RunRecord]:
    limit, each = max(query.limit, 0), FEW
    asked = {
        "definitions": _names(query.definitions),
        "due_before": query.due_before,
        "turn": query.behind,
        "besides": _names(query.besides),
        "limit": limit,
    }
    try:
        live = _names(_live(link, clock))
        while True:
            rows = link.execute(SQL["list_work"], asked | {"each": each, "live": live}).fetchall()
            if len(rows) >= limit or each >= limit or all(rank < each for rank, *_ in rows):
                return [to_record(row[1:]) for row in rows]
            each *= FEW  # a tenant has more than that, and there is room
    except UnicodeEncodeError:
        raise  # what was asked is no text; nothing is damaged
    except (apsw.Error, StoreCorrupt, msgspec.DecodeError, ValueError) as error:
        if isinstance(error, apsw.Error) and not is_damage(error):
            raise
        LOG.warning("some runs cannot be read; `windlass store check` says more: %s", error)
        return _whole_work(link, query, clock)


def _whole_work(link: Link, query: Work, clock: Clock) -> list[RunRecord]:
    """List work around what is damaged."""
    runs = Runs(claimable=True, definitions=query.definitions, due_before=query.due_before, limit=MOST_RUNS)
    besides = set(query.besides)
    ready = [
        (record.tenant, ready_since(record.head, record.updated_at, query.due_before), record)
        for record in reversed(_whole_runs(link, runs, _asked(runs), clock)) if record.id not in besides
    ]  # fmt: skip
    return in_turn(ready, query.behind)[: max(query.limit, 0)]


def _below(link: Link, query: Runs, asked: dict[str, Any], clock: Clock) -> list[RunRecord]:
    """List runs of one tree; those of them that have work are looked for among the waiting ones that these are."""
    above = query.parent if query.parent is not None else query.under
    root = link.value(SQL["root_of_run"], (above,)) or above
    tree = {"first": f"{root}{MARK}", "beyond": f"{root}{MARK}{BEYOND}", "above": above, "ids": _names(query.ids)}
    deep = {"deep": query.parent is None}
    is_sifted = query.claimable or (query.parent is not None and query.under is not None)
    whole = {"limit": MOST_RUNS} if is_sifted else {}  # of what is left of them
    found = [to_record(row) for row in link.execute(SQL["list_children"], asked | tree | deep | whole)]
    if query.parent is not None and query.under is not None:
        found = [one for one in found if one.origin is not None and query.under in one.origin.line]
    if not query.claimable or not found:
        return found[: max(query.limit, 0)]
    ids = tuple(one.id for one in found)
    return _runs(link, msgspec.structs.replace(query, parent=None, under=None, ids=ids), clock)


def _whole_runs(link: Link, query: Runs, asked: dict[str, Any], clock: Clock) -> list[RunRecord]:
    """List around what is damaged.

    A run whose own record is damaged is listed with what stands beside it, and as quarantined. Runs on a damaged page
    are left out of those that can be claimed, so that the others go on: halves of the range, down to single runs.
    """
    found: list[RunRecord] = []
    wanted = None if query.ids is None else set(query.ids)
    ranges = [(0, _last_run(link))]
    while ranges and len(found) < query.limit:
        low, high = ranges.pop()
        try:
            everything = {"low": low, "high": high, "limit": MOST_RUNS}  # what follows leaves some out
            rows = link.execute(SQL["list_runs"], asked | everything).fetchall()
        except apsw.Error as error:
            if not (query.claimable and is_damage(error)):
                raise
            if low < high:
                middle = (low + high) // 2
                ranges += [(low, middle), (middle + 1, high)]
            continue
        records = [(row[0], to_record(row) if wanted else _record_or_stub(link, row)) for row in rows]
        found += [
            record for no, record in records
            if (wanted is None or record.id in wanted)
            and (not query.claimable or _has_work(link, no, record, query, clock))
        ]  # fmt: skip
    return found[: query.limit]


def _last_run(link: Link) -> int:
    try:
        return int(link.value(SQL["last_run_number"]) or 0)
    except apsw.Error:
        return 1 << 20


def _record_or_stub(link: Link, row: Sequence[Any]) -> RunRecord:
    try:
        return to_record(row)
    except (StoreCorrupt, msgspec.DecodeError, ValueError) as error:
        no, status, branch, n, seq, due_at, crashes, epoch, updated_at, *_ = row
        run, definition, tenant = link.execute(SQL["names_of_run"], (no,)).fetchall()[0]
        return RunRecord(
            id=run, definition=definition, fingerprint="", tenant=tenant, epoch=epoch, updated_at=updated_at,
            head=Head(Status(status), branch, n, seq, due_at, crashes), quarantined=str(error),
        )  # fmt: skip


def _has_work(link: Link, no: int, record: RunRecord, query: Runs, clock: Clock) -> bool:
    """Say what `list_some_runs` says, of one run."""
    owner, until, head = record.owner, record.owner_until, record.head
    if record.quarantined:
        return False
    if owner is not None and until is not None and until > clock.now() and is_alive(owner) is not False:
        return False
    if head.status is RUNNING or (head.status is CREATED and not is_queued(record)):
        return True
    if head.status is WAITING and head.due_at is not None and head.due_at <= (query.due_before or 0.0):
        return True
    try:
        if head.status is CREATED and link.value(SQL["turn_is_behind"], (no,)) is None:
            return True
        asked = link.execute(SQL["waiting_commands"], (no,)).fetchall()
        return bool(asked) and head.status in (CREATED, WAITING, PAUSED)
    except apsw.Error:
        return False


def _live(link: Link, clock: Clock) -> tuple[str, ...]:
    """Name the owners whose lease runs and whose process is not known to be gone."""
    owners = [Owner(*row) for row in link.execute(SQL["leases"], (clock.now(),))]
    return tuple(owner.id for owner in owners if is_alive(owner) is not False)


def _rows(link: Link, query: Rows, _: Clock) -> list[Row]:
    no = link.value(SQL["run_number"], (query.run,))
    if no is None:
        return []
    until = LAST if query.until is None else max(query.until, 0)
    sql = SQL["rows_newest_first" if query.newest_first else "rows"]
    asked = (no, max(query.after, 0), min(until, LAST), query.kind, max(query.limit, 0))
    rows = [to_row(query.run, row) for row in link.execute(sql, asked)]
    verify_rows(query.run, rows)
    if rows and query.kind is None:
        in_order = rows[::-1] if query.newest_first else rows
        verify_sequence(query.run, in_order, in_order[0].first - 1)
    return rows


def _manifests(link: Link, query: Manifests, _: Clock) -> list[Manifest]:
    no = link.value(SQL["run_number"], (query.run,))
    if no is None:
        return []
    until = min(max(query.until, 0), LAST)
    found = [to_manifest(query.run, row) for row in link.execute(SQL["latest_manifest_until"], (no, until))]
    for manifest in found:
        verify_manifest(manifest)
    return found


def _questions(link: Link, query: Questions, _: Clock) -> list[Question]:
    asked: dict[str, Any] = {"statuses": _names(query.statuses or STATUSES), "limit": max(query.limit, 0)}
    sql = "list_questions"
    if query.run is not None:
        asked["run_no"] = link.value(SQL["run_number"], (query.run,))
        sql = "list_questions_of_run"
        if asked["run_no"] is None:
            return []
    if query.ids is not None:
        asked = {"run_no": None, **asked, "ids": _names(query.ids)}
        sql = "list_some_questions"
    return [QUESTION.decode(opened(*row)) for row in link.execute(SQL[sql], asked)]


def _commands(link: Link, query: Commands, _: Clock) -> list[Command]:
    no = link.value(SQL["run_number"], (query.run,))
    return [COMMAND.decode(opened(*row)) for row in link.execute(SQL["waiting_commands"], (no,))]


def _effects(link: Link, query: Effects, _: Clock) -> list[Effect]:
    if query.tree is None:
        rows = link.execute(SQL["effects_of_run"], (query.run, query.address))
    elif query.address is None:
        rows = link.execute(SQL["effects_of_tree"], (query.tree, query.run))
    else:
        rows = link.execute(SQL["effects_of_address"], (query.tree, query.address, query.run))
    return [EFFECT.decode(opened(*row)) for row in rows]


def _items(link: Link, query: Items, _: Clock) -> list[Item]:
    no = link.value(SQL["run_number"], (query.run,))
    rows = link.execute(SQL["list_items"], (no, query.after, query.lane, max(query.limit, 0)))
    return [ITEM.decode(opened(*row)) for row in rows]


def _blobs(link: Link, query: Blobs, _: Clock) -> list[Blob]:
    found = []
    for digest in dict.fromkeys(query.digests):
        rows = link.execute(SQL["blob"], (bytes.fromhex(digest),)).fetchall()
        if not rows:
            raise StoreCorrupt(f"blob {digest} is missing")
        found.append(Blob(digest, verify_blob(digest, unpack(digest, *rows[0]))))
    return found


def _tallies(link: Link, query: Tallies, _: Clock) -> list[Tally]:
    if query.kind is not None and kind_of(query.kind) != query.kind:
        return []
    asked = {"prefix": query.prefix, "beyond": query.prefix + BEYOND, "kind": query.kind, "limit": max(query.limit, 0)}
    sql = SQL["list_tallies"]
    if query.keys is not None:
        asked, sql = {**asked, "keys": _names(query.keys)}, SQL["list_some_tallies"]
    return [to_stand(key, *rest).shown(key) for *rest, key in link.execute(sql, asked)]


def _letters(link: Link, query: Letters, _: Clock) -> list[DeadLetter]:
    asked: dict[str, Any] = {
        **{name: getattr(query, name) for name in ("node", "pattern", "reason", "tenant", "since", "until", "after")},
        "definitions": _names(query.definitions),
        "statuses": _names(query.statuses or LETTER_STATUSES),
        "limit": max(query.limit, 0),
    }
    sql = SQL["list_letters"]
    if query.ids is not None or query.run is not None:
        asked, sql = {**asked, "ids": _names(query.ids), "run": query.run}, SQL["list_some_letters"]
    return [LETTER.decode(opened(*row)) for row in link.execute(sql, asked)]


def _names(names: Sequence[str] | None) -> str | None:
    return None if names is None else ENCODER.encode(names).decode()


ANSWERS: dict[type, Callable[..., list[Any]]] = {
    Runs: _runs,
    Work: _work,
    Turns: _turns,
    Threads: _threads,
    Rows: _rows,
    Manifests: _manifests,
    Questions: _questions,
    Commands: _commands,
    Effects: _effects,
    Items: _items,
    Blobs: _blobs,
    Tallies: _tallies,
    Letters: _letters,
}
