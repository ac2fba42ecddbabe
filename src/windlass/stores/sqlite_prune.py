"""Pruning a SQLite store while runs go on: short transactions, each of which leaves a whole store.

The rules are those of `retention`. A prune that is killed is simply done again: a run that was removed but whose log is
not deleted yet stands in `meta` (`prune.run:`), and so do large values that nothing referred to (`prune.blob:`).
"""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import apsw

from windlass.core.clock import Clock
from windlass.core.crashpoint import crashpoint
from windlass.core.errors import StoreCorrupt, StoreUnavailable, StoreVersion
from windlass.core.owner import is_alive
from windlass.core.records import ENCODER, Manifest, RunRecord
from windlass.core.tallies import held_key
from windlass.policies.keys import tally_key
from windlass.stores import retention, sqlite_start
from windlass.stores.queries import queries
from windlass.stores.retention import Mark, Pruned, Rule, Stretch
from windlass.stores.sqlite_changes import pack
from windlass.stores.sqlite_file import Link, latest, schema_of
from windlass.stores.sqlite_kin import Kin
from windlass.stores.sqlite_read import BEYOND, EFFECT, LAST, NAMES, opened, to_manifest, to_record, to_row

SQL = queries("sqlite")
MOST_ROWS, MOST_BYTES, MOST_PAGES = 256, 1 << 20, 128  # in one transaction: a few milliseconds
BUSY_SECONDS = 10.0  # how long another process may keep the write lock
WAIT_SECONDS = 0.005
IN_DOUBT = frozenset({"intended", "undoing"})


def prune(
    connect: Callable[[], Link], url: str, *, clock: Clock, stop: threading.Event, **options: Any
) -> dict[str, Any]:
    """Drop what a rule allows, and give its space back; runs may go on meanwhile.

    Args:
        stop: once it is set, the prune ends before its next transaction.

    Returns:
        Counts of `runs`, `rows`, `snapshots` and `blobs` that were dropped, of values `marked` to be dropped later,
        of runs `kept` by reason; `bytes_before` and `bytes` of the file's pages, and those of them that are `free`.

    Raises:
        InputError: an option is not what it has to be; nothing was changed.
        StoreVersion: the schema is another.
        StoreUnavailable: another process kept the write lock too long, or it was stopped; what was done stays done.
    """
    rule = retention.to_rule(clock.now(), **options)
    with sqlite_start.chore(connect, url) as link:
        wait_in_turns(link)
        if schema_of(link, url) != latest():
            raise StoreVersion(f"{url} has another schema than this version of Windlass needs",
                               hint="run `windlass store migrate`")  # fmt: skip
        link.execute("PRAGMA foreign_keys = OFF")  # the rows of a run outlive it until they are deleted in pieces
        return Prune(link, url, rule, stop).run()


class Prune:
    """One prune, on a connection of its own."""

    def __init__(self, link: Link, url: str, rule: Rule, stop: threading.Event) -> None:
        self.link = link
        self.url = url
        self.rule = rule
        self.stop = stop
        self.done = Pruned()
        self.kin = Kin(link)
        self.late: list[tuple[int, str]] | None = []  # last turns of threads: they go after the others

    def run(self) -> dict[str, Any]:
        """Do all of it."""
        before = _bytes(self.link)
        if not self.rule.dry_run:
            for no, _ in self.link.execute(SQL["pruned_run_marks"]).fetchall():
                self._clear(no)
        self.kin.look()
        left: list[tuple[int, str]] = []
        for no, run, branch, seq in self._candidates():
            try:
                if self.rule.keep == "heads":
                    self._trim(no, run, branch, seq)
                elif self.kin.is_child(run):
                    left.append((no, run))
                else:
                    self._remove(no, run)
            except StoreCorrupt:  # what is damaged is left as it is: it may be all there is to repair it from
                self.done.keep("damaged")
        self._remove_children(left)
        late, self.late = self.late, None  # from now on what stays is counted
        for no, run in late or ():
            self._remove(no, run)
        if not self.rule.dry_run:
            self._sweep()
            self._shrink()
        free = _bytes(self.link, "freelist_count")
        return self.done.told(self.rule, bytes_before=before, bytes=_bytes(self.link), free=free)

    def _write(self, work: Callable[[], Any]) -> Any:
        """Do a little in one transaction, and leave the file to others for as long as it took."""
        self._may_go_on()
        self.link.execute("BEGIN IMMEDIATE")
        begun = time.monotonic()
        try:
            told = work()
            crashpoint("prune.inside")
            self.link.execute("COMMIT")
        except BaseException:
            if self.link.connection.in_transaction:
                self.link.execute("ROLLBACK")
            raise
        crashpoint("prune.after")
        time.sleep(time.monotonic() - begun)
        return told

    def _may_go_on(self) -> None:
        if self.stop.is_set():
            raise StoreUnavailable(f"the prune of {self.url} was stopped", hint="prune again: it goes on where it was")

    def _candidates(self) -> Iterator[tuple[int, str, int, int]]:
        rule, below = self.rule, 1 << 62
        statuses = ENCODER.encode(rule.statuses).decode() if rule.statuses else None
        asked = {"statuses": statuses, "tenant": rule.tenant, "before": rule.before, "whole": rule.keep == "nothing"}
        while rows := self.link.execute(SQL["prune_candidates"], {**asked, "below": below}).fetchall():
            yield from rows
            below = rows[-1][0]

    def _remove_children(self, left: list[tuple[int, str]]) -> None:
        """Remove the children of what went, and then theirs."""
        while left:
            ready, children = list[tuple[int, str]](), list[tuple[int, str]]()
            for one in left:
                (children if self.kin.is_child(one[1]) else ready).append(one)
            for no, run in ready:
                try:
                    self._remove(no, run)
                except StoreCorrupt:
                    self.done.keep("damaged")
            if len(children) == len(left):
                for _ in children:
                    self.done.keep("child")
                return
            left = children

    def _remove(self, no: int, run: str) -> None:
        """Remove a whole run; its log goes in pieces once the run itself is gone."""
        rows, snapshots = self.link.execute(SQL["count_rows"], (no,)).fetchall()[0]
        why = self._reason_to_keep(no, run) if self.rule.dry_run else self._write(lambda: self._unlist(no, run))
        if why == "gone":  # another prune was faster
            return
        if why == "turn" and self.late is not None:
            self.late.append((no, run))
        elif why:
            self.done.keep(why)
        if why:
            return
        self.done.runs += 1
        self.done.rows += rows
        self.done.snapshots += snapshots
        self.kin.remove(run)
        if not self.rule.dry_run:
            self._clear(no)

    def _reason_to_keep(self, no: int, run: str) -> str:
        """Say why a run has to stay; empty if nothing keeps it."""
        found = self.link.execute(SQL["prune_fence"], (no,)).fetchall()
        if not found:
            return "gone"
        if self.link.value(SQL["is_quarantined"], (no,)):
            return "damaged"
        status, updated_at, owner = found[0]
        if status not in self.rule.statuses or updated_at >= self.rule.before:
            return "active"
        if owner is not None and _is_alive(self.link, run, self.rule.now):
            return "owned"
        self.kin.look()
        if self.kin.forks(run):
            return "forked"
        if self.link.value(SQL["has_open_question"], (no,)) or self.link.value(SQL["has_command"], (no,)):
            return "asked"
        if self.link.value(SQL["turn_stays"], (no,)):
            return "turn"
        effects = self.link.execute(SQL["effects_of_run"], (run, None))
        if any(EFFECT.decode(opened(*row)).status in IN_DOUBT for row in effects):
            return "in doubt"
        return ""

    def _unlist(self, no: int, run: str) -> str:
        """Take a run out of every list: from here on it is unknown. The effects of a tree go with its first run."""
        why = self._reason_to_keep(no, run)
        if not why:
            for name in ("drop_questions", "drop_commands", "drop_record", "drop_run"):
                self.link.execute(SQL[name], (no,))
            self.link.execute(SQL["drop_letters"], (run,))
            budget = tally_key("budget", "run", run)
            held = held_key(budget)
            self.link.execute(SQL["drop_tally"], (budget,))
            self.link.execute(SQL["drop_held"], (held, held + BEYOND))
            if run not in self.kin.parent_of:
                self.link.execute(SQL["drop_ledger"], (run,))
            self.link.execute(SQL["mark_run"], (no, run))
        return why

    def _clear(self, no: int) -> None:
        """Delete what is left of a removed run, a piece at a time."""
        for some, drop in (("some_manifests_of", "drop_manifests"), ("some_rows_of", "drop_rows")):
            while self._write(lambda some=some, drop=drop: self._drop_some(no, some, drop)):  # type: ignore[misc]
                pass
        while self._write(lambda: self._drop_items(no)):
            pass
        self._write(lambda: self.link.execute(SQL["unmark_run"], (no,)))

    def _drop_some(self, no: int, some: str, drop: str) -> bool:
        ids = within(self.link.execute(SQL[some], (no, MOST_ROWS)).fetchall())
        if ids:
            self.link.execute(SQL[drop], (ids[0], ids[-1]))
        return bool(ids)

    def _drop_items(self, no: int) -> bool:
        self.link.execute(SQL["drop_items_until"], (no, MOST_ROWS))
        return bool(self.link.connection.changes())

    def _trim(self, no: int, run: str, branch: int, seq: int) -> None:
        """Drop a run's history from before the rule's time."""
        if self.link.value(SQL["is_quarantined"], (no,)):
            self.done.keep("damaged")
            return
        if self.link.value(SQL["is_waiting_turn"], (no,)) is not None:  # its input stands in its first row
            return
        last_step = (self.link.value(SQL["last_step"], (no, branch)) or 0) & LAST
        forks = self.kin.forks(run)
        found = retention.stretches(self._marks(no, seq), self.rule, last_step, forks)
        if self.rule.dry_run:
            self.done.rows += sum(stretch.rows for stretch in found)
            return
        record: RunRecord | None = None
        for stretch in found:
            if record is None:
                row = self.link.execute(SQL["one_run"], (run,)).fetchall()
                if not row:
                    return
                record = to_record(row[0])
            self._anchor(no, record, stretch)
            while dropped := self._write(lambda stretch=stretch: self._drop_last(no, run, stretch)):  # type: ignore[misc]
                self.done.rows += dropped

    def _marks(self, no: int, seq: int) -> Iterator[Mark]:
        at, until = no << 32, (no << 32 | seq) + 1
        while rows := self.link.execute(SQL["marks"], (at, until, retention.SAVEPOINT)).fetchall():
            for id_, branch, n, kind, when, savepoint in rows:
                yield Mark(id_ & LAST, branch, n, kind, when, kind == "step" and bool(savepoint))
            at = rows[-1][0]

    def _anchor(self, no: int, record: RunRecord, stretch: Stretch) -> None:
        """Write the snapshot that the row behind a stretch needs, unless it has one."""
        key = no << 32 | stretch.anchor
        if self.link.value(SQL["manifest_at"], (key,)):
            return
        found = self.link.execute(SQL["latest_manifest_until"], (no, stretch.anchor)).fetchall()
        manifest = to_manifest(record.id, found[0]) if found else None
        after = manifest.seq if manifest else 0
        rows = [to_row(record.id, row) for row in self.link.execute(SQL["rows"], (no, after, stretch.anchor, None, -1))]
        if not rows or rows[0].kind == "pruned":  # another prune has been here
            return
        made, blobs = retention.snapshot(record, manifest, rows)
        self._write(lambda: self._put(no, key, made, blobs))

    def _put(self, no: int, key: int, made: Manifest, blobs: list[Any]) -> None:
        if not self.link.value(SQL["row_exists"], (key,)):
            return
        for blob in blobs:
            digest = bytes.fromhex(blob.digest)
            self.link.execute(SQL["add_blob"], (no, digest, len(blob.content), *pack(blob.content)))
            self.link.execute(SQL["unmark_blob"], (no, digest))
        kept = (made.seq, made.branch, made.n, bytes.fromhex(made.digest))
        self.link.execute(SQL["add_manifest"], (no, *kept, ENCODER.encode(made.blobs).decode(), made.body))

    def _drop_last(self, no: int, run: str, stretch: Stretch) -> int:
        """Replace the last rows of a stretch by a stub; return how many rows that were no stub."""
        low, high = no << 32 | stretch.first, no << 32 | stretch.last
        key = no << 32 | stretch.anchor
        if not (self.link.value(SQL["manifest_at"], (key,)) and self.link.value(SQL["row_exists"], (key,))):
            return 0
        found = self.link.execute(SQL["last_of_stretch"], (low, high, MOST_ROWS)).fetchall()
        sizes = [(row[0], row[-1]) for row in found]
        found = found[: len(within(sizes, at_least=2))]
        rows = sum(kind != "pruned" for *_, kind, _ in found)
        if len(found) < 2 and not rows:  # noqa: PLR2004 -- a lone stub; neighbours become one
            return 0
        (newest, _, branch, n, at, *_), (oldest, span, *_) = found[0], found[-1]
        made = retention.stub(run, (oldest & LAST) - span, newest & LAST, branch, n, at)
        self.link.execute(SQL["drop_rows"], (oldest, newest))
        self.link.execute(SQL["drop_manifests"], (oldest, newest))
        self.done.snapshots += self.link.connection.changes()
        kept = (newest, made.last - made.first, branch, n, made.kind, at, bytes.fromhex(made.digest), made.body)
        self.link.execute(SQL["add_row"], kept)
        return int(rows)

    def _sweep(self) -> None:
        """Delete large values that nothing has referred to for the grace, and mark those that nothing refers to now."""
        unused = {digest.hex() for (digest,) in self.link.execute(SQL["blob_digests"])}
        if unused:
            for names in self._references():
                self._may_go_on()
                unused -= names
        marked = dict(self.link.execute(SQL["marked_blobs"]).fetchall())
        again = [digest for digest in marked if digest not in unused]
        fresh = [digest for digest in unused if digest not in marked]
        for some in batches(again):
            self._write(lambda some=some: self._unmark(some))  # type: ignore[misc]
        for some in batches(fresh):
            self._write(lambda some=some: self._mark(some))  # type: ignore[misc]
        self.done.marked = len(unused)
        marked |= dict.fromkeys(fresh, self.rule.now)
        for digest in sorted(unused):
            if marked[digest] <= self.rule.now - self.rule.grace and self._write(lambda d=digest: self._drop_blob(d)):  # type: ignore[misc]
                self.done.blobs += 1
                self.done.marked -= 1

    def _unmark(self, digests: list[str]) -> None:
        for digest in digests:
            self.link.execute(SQL["unmark_blob"], (0, bytes.fromhex(digest)))

    def _mark(self, digests: list[str]) -> None:
        for digest in digests:
            self.link.execute(SQL["mark_blob"], (digest, repr(self.rule.now)))

    def _drop_blob(self, digest: str) -> bool:
        """Delete a value unless somebody has written it again since it was marked, which takes the mark away."""
        self.link.execute(SQL["drop_blob"], (bytes.fromhex(digest),))
        is_gone = bool(self.link.connection.changes())
        self._unmark([digest])
        return is_gone

    def _references(self) -> Iterator[set[str]]:
        """Name the large values that anything refers to, a page at a time: no long read keeps the WAL from its end."""
        after = 0
        while rows := self.link.execute(SQL["names_of_manifests"], (after,)).fetchall():
            yield {name for _, names in rows for name in NAMES.decode(names)}
            after = rows[-1][0]
        for table in ("log", "questions", "effects", "commands", "dead_letters"):
            after = 0
            while rows := self.link.execute(SQL[f"bodies_of_{table}"], (after,)).fetchall():
                yield retention.references(body for _, body in rows)
                after = rows[-1][0]
        for (no,) in self.link.execute(SQL["runs_with_items"]).fetchall():
            after = -1
            while rows := self.link.execute(SQL["bodies_of_items"], (no, after)).fetchall():
                yield retention.references(body for _, body in rows)
                after = rows[-1][0]

    def _shrink(self) -> None:
        """Give free pages back to the file system, some at a time; a file made without that keeps them for reuse."""
        while self.link.value("PRAGMA auto_vacuum") and self.link.value("PRAGMA freelist_count"):
            self._write(lambda: self.link.execute(f"PRAGMA incremental_vacuum({MOST_PAGES})").fetchall())
        with suppress(apsw.BusyError):  # somebody else is at it
            self.link.connection.wal_checkpoint()


def wait_in_turns(link: Link) -> None:
    """Let a connection wait for other writers, a few jittered milliseconds at a time."""
    begun = [0.0]

    def wait(times: int) -> bool:
        if not times:
            begun[0] = time.monotonic()
        time.sleep(random.random() * WAIT_SECONDS)  # noqa: S311 -- turns, no secret
        return time.monotonic() - begun[0] < BUSY_SECONDS

    link.connection.set_busy_handler(wait)


def within(sizes: list[tuple[int, int]], at_least: int = 1) -> list[int]:
    """Take as many ids as fit into a transaction, and never fewer than a few."""
    taken: list[int] = []
    total = 0
    for id_, size in sizes:
        total += size
        if len(taken) >= at_least and total > MOST_BYTES:
            break
        taken.append(id_)
    return taken


def batches(digests: list[str]) -> Iterator[list[str]]:
    """Cut a list into what fits into a transaction."""
    for begin in range(0, len(digests), MOST_ROWS):
        yield digests[begin : begin + MOST_ROWS]


def _bytes(link: Link, pages: str = "page_count") -> int:
    return int(link.value(f"PRAGMA {pages}") * link.value("PRAGMA page_size"))


def _is_alive(link: Link, run: str, now: float) -> bool:
    record = to_record(link.execute(SQL["one_run"], (run,)).fetchall()[0])
    until = record.owner_until
    return record.owner is not None and until is not None and (until > now and is_alive(record.owner) is not False)
