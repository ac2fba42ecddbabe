"""What the memory store keeps, and how a query finds it: a dictionary per kind, walked from end to end."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from operator import attrgetter
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from windlass.core import queries
from windlass.core import records as r
from windlass.core.errors import StoreCorrupt, StoreError
from windlass.core.letters import DeadLetter
from windlass.core.records import Owner, RunRecord
from windlass.core.states import CREATED, ENDED, RUNNING, WAITING
from windlass.core.thread import OVER, is_queued, is_reopening, place_of
from windlass.policies.tally import kind_of
from windlass.stores import checks
from windlass.stores.tallies import Stand
from windlass.stores.turns import in_turn, ready_since

T = TypeVar("T")
Limited = (
    queries.Runs
    | queries.Turns
    | queries.Threads
    | queries.Work
    | queries.Questions
    | queries.Rows
    | queries.Items
    | queries.Letters
    | queries.Tallies
)
LAST = attrgetter("last")
PLACE = attrgetter("place")
QUESTION = msgspec.json.Decoder(r.Question)
EFFECT = msgspec.json.Decoder(r.Effect)
COMMAND = msgspec.json.Decoder(r.Command)
ITEM = msgspec.json.Decoder(r.Item)
LETTER = msgspec.json.Decoder(DeadLetter)


class Kept:
    """A run as it is kept."""

    __slots__ = (
        "commands", "epoch", "head", "items", "manifests", "no", "owner", "place", "record", "rows", "updated_at",
        "waiting",
    )  # fmt: skip

    def __init__(self, no: int, record: RunRecord, owner: str | None) -> None:
        self.no = no
        self.record = record
        self.place = place_of(record) or 0
        self.owner = owner
        self.epoch = 0 if owner is None else 1
        self.head = r.Head()
        self.updated_at = record.created_at
        self.rows: list[r.Row] = []
        self.manifests: dict[int, r.Manifest] = {}  # by the event they stand after
        self.items: dict[tuple[int, str, str, int, int], bytes] = {}
        self.waiting: dict[str, bytes] = {}  # commands that nobody has taken
        self.commands: set[str] = set()  # ids of all that were posted to it


class World:
    """What the stores of one name share."""

    def __init__(self) -> None:
        self.runs: dict[str, Kept] = {}
        self.threads: dict[tuple[str, str, str], list[Kept]] = {}  # turns in order, by thread, tenant and definition
        self.leases: dict[str, tuple[Owner, float]] = {}
        self.commands: set[str] = set()  # every id that was ever posted or taken
        self.questions: dict[str, bytes] = {}
        self.effects: dict[tuple[str, str, str, int, str, str], bytes] = {}
        self.tallies: dict[str, Stand] = {}
        self.letters: dict[str, bytes] = {}
        self.blobs: dict[str, bytes] = {}
        self.marked: dict[str, float] = {}  # blobs that a prune found nothing to refer to, and since when
        self.made = 0  # runs, so that a number is never given twice
        self.writes = 0

    def keep(self, blob: r.Blob) -> None:
        """Keep bytes under their digest; a prune that found them unused must not delete them now."""
        self.blobs.setdefault(blob.digest, blob.content)
        self.marked.pop(blob.digest, None)

    def post(self, command: r.Command, body: bytes) -> None:
        """Keep a command that another run posts, unless it was posted before, or nobody would take it."""
        kept = self.runs.get(command.run)
        if kept is None or command.id in self.commands or checks.is_in_vain(command, kept.head.status):
            return
        self.commands.add(command.id)
        kept.commands.add(command.id)
        kept.waiting[command.id] = body

    def turns(self, record: RunRecord) -> list[Kept]:
        """Return the turns of a run's thread, in order; not to be changed."""
        return self.threads.get((record.thread, record.tenant, record.definition), []) if record.turn else []

    def is_behind(self, record: RunRecord) -> bool:
        """Say whether a turn before this one is live."""
        turns = self.turns(record)
        return any(kept.head.status not in OVER for kept in turns[: _below(turns, place_of(record))])

    def waits(self, record: RunRecord, after: str, seq: int) -> bool:
        """Say whether a turn has to wait, or to be begun otherwise; see `changes.TurnBegun`."""
        turns, base = self.turns(record), self.runs.get(after)
        first = 0 if base is None else _above(turns, base.place)
        between = turns[first : _below(turns, place_of(record))]
        asked = between if base is None else [*between, base]
        return (
            self.is_behind(record)
            or any(is_reopening(COMMAND.decode(body)) for kept in asked for body in kept.waiting.values())
            or any(kept.head.n or kept.head.branch for kept in between)
            or (base is not None and seq not in (0, base.head.seq))
        )

    def follower(self, record: RunRecord) -> str:
        """Name a run that has begun with what a turn left, or that continues it; empty if there is none."""
        turns = self.turns(record)
        for kept in turns[_above(turns, place_of(record)) :]:
            if kept.head.n or kept.head.branch or kept.record.turn == record.turn:
                return kept.record.id
        others = self.threads.get((record.id, record.tenant, record.definition), ())
        return next((kept.record.id for kept in others if kept.record.continues == record.id), "")

    def stand(self, key: str, stand: Stand | None) -> None:
        """Let a tally stand at something else, or fall away."""
        if stand is None:
            self.tallies.pop(key, None)
        else:
            self.tallies[key] = stand

    def may(self, run: str, epoch: int) -> bool:
        """Say whether a run that is known is owned by this epoch."""
        kept = self.runs.get(run)
        return kept is None or (kept.epoch == epoch and kept.owner is not None)

    def lease(self, kept: Kept) -> tuple[Owner | None, float | None]:
        """Return who owns a run, and until when."""
        return (None, None) if kept.owner is None else self.leases[kept.owner]

    def record(self, kept: Kept) -> RunRecord:
        """Put a run's record together."""
        owner, until = self.lease(kept)
        record = kept.record
        return replace(
            record, tags=dict(record.tags), channels=dict(record.channels), sources=dict(record.sources),
            head=kept.head, epoch=kept.epoch, owner=owner, owner_until=until, updated_at=kept.updated_at,
        )  # fmt: skip

    def find(self, query: queries.Query[Any], now: float) -> list[Any]:
        """Answer a query."""
        match query:
            case queries.Rows() | queries.Commands() | queries.Items() | queries.Manifests():
                kept = self.runs.get(query.run)
                return [] if kept is None else _of_run(kept, query)
            case queries.Runs():
                wanted = [kept for kept in self._candidates(query) if self._is_wanted(kept, query, now)]
                return [self.record(kept) for kept in _first(wanted, query)]
            case queries.Turns():
                return [self.record(kept) for kept in _first(self._turns(query), query)]
            case queries.Threads():
                return [self.record(kept) for kept in _first(self._threads(query), query)]
            case queries.Work():
                return [self.record(kept) for kept in _first(self._work(query, now), query)]
            case queries.Questions() if not self.questions:
                return []
            case queries.Questions():
                questions = [QUESTION.decode(body) for body in self.questions.values()]
                return _first([question for question in questions if _is_asked(question, query)], query)
            case queries.Effects():
                effects = [EFFECT.decode(body) for body in self.effects.values()]
                return [effect for effect in effects if _is_entered(effect, query)]
            case queries.Letters():
                letters = [LETTER.decode(body) for body in reversed(self.letters.values())]
                return _first([letter for letter in self._since(letters, query) if _is_filed(letter, query)], query)
            case queries.Tallies():
                keys = sorted(key for key in self.tallies if _is_counted(key, query))
                return [self.tallies[key].shown(key) for key in _first(keys, query)]
            case queries.Blobs():
                return [self._blob(digest) for digest in dict.fromkeys(query.digests)]
            case _:
                raise StoreError(f"{type(query).__name__} is no query that this store knows")

    def _candidates(self, query: queries.Runs) -> Iterable[Kept]:
        """Walk the runs that a query may be about, newest first."""
        if query.ids is None:
            return reversed(self.runs.values())
        if len(query.ids) == 1:
            return [self.runs[run] for run in query.ids if run in self.runs]
        named = (self.runs.get(run) for run in dict.fromkeys(query.ids))
        return sorted((kept for kept in named if kept is not None), key=attrgetter("no"), reverse=True)

    def _turns(self, query: queries.Turns) -> list[Kept]:
        turns = self.threads.get((query.thread, query.tenant, query.definition), [])
        first = 0 if query.above is None else _above(turns, query.above)
        beyond = len(turns) if query.below is None else _below(turns, query.below)
        found = turns[first:beyond]
        return [kept for kept in found if kept.head.status not in OVER] if query.live else found[::-1]

    def _threads(self, query: queries.Threads) -> list[Kept]:
        last = [turns[-1] for turns in self.threads.values() if turns]
        wanted = queries.Runs(definitions=query.definitions, tenant=query.tenant, after=query.after)
        found = [kept for kept in last if self._is_wanted(kept, wanted, 0.0)]
        return sorted(found, key=attrgetter("no"), reverse=True)

    def _blob(self, digest: str) -> r.Blob:
        if digest not in self.blobs:
            raise StoreCorrupt(f"blob {digest} is missing")
        return r.Blob(digest, checks.verify_blob(digest, self.blobs[digest]))

    def _since(self, letters: list[DeadLetter], query: queries.Letters) -> list[DeadLetter]:
        if query.after is None:
            return letters
        places = [place for place, letter in enumerate(letters) if letter.id == query.after]
        return letters[places[0] + 1 :] if places else []

    def _is_wanted(self, kept: Kept, query: queries.Runs, now: float) -> bool:
        record = kept.record
        return (
            (query.statuses is None or kept.head.status in query.statuses)
            and (query.definitions is None or record.definition in query.definitions)
            and query.tenant in (None, record.tenant)
            and ((query.parent is None and query.under is None) or _is_below(record, query))
            and (query.thread is None or (record.turn > 0 and record.thread == query.thread))
            and (not query.tags or query.tags.items() <= record.tags.items())
            and (query.after is None or (query.after in self.runs and kept.no < self.runs[query.after].no))
            and (not query.claimable or self._may_be_claimed(kept, query.due_before, now))
        )

    def _may_be_claimed(self, kept: Kept, due_before: float | None, now: float) -> bool:
        return self._has_work(kept, due_before) and (kept.owner is None or self.leases[kept.owner][1] <= now)

    def _has_work(self, kept: Kept, due_before: float | None) -> bool:
        if kept.record.turn and is_queued(self.record(kept)):
            return bool(kept.waiting) or not self.is_behind(kept.record)
        return _has_work(kept, due_before)

    def _work(self, query: queries.Work, now: float) -> list[Kept]:
        names, due_before = query.definitions, query.due_before
        ready = [
            (kept.record.tenant, ready_since(kept.head, kept.updated_at, due_before), kept)
            for kept in self.runs.values()
            if kept.record.definition in names and kept.record.id not in query.besides
            and self._may_be_claimed(kept, due_before, now)
        ]  # fmt: skip
        return in_turn(ready, query.behind) if len(ready) > 1 else [kept for _, _, kept in ready]


def _below(turns: list[Kept], place: int | None) -> int:
    """Count the turns before a place."""
    return bisect_left(turns, place or 0, key=PLACE)


def _above(turns: list[Kept], place: int | None) -> int:
    """Say where the turns after a place begin."""
    return bisect_right(turns, place or 0, key=PLACE)


def _is_below(record: RunRecord, query: queries.Runs) -> bool:
    origin = record.origin
    above = origin.line if origin is not None else ()
    return (query.parent is None or above[-1:] == (query.parent,)) and (query.under is None or query.under in above)


def _has_work(kept: Kept, due_before: float | None) -> bool:
    status, due_at = kept.head.status, kept.head.due_at
    if status is WAITING and due_at is not None and due_before is not None and due_at <= due_before:
        return True
    return status in (CREATED, RUNNING) or (bool(kept.waiting) and status not in ENDED)


def _is_asked(question: r.Question, query: queries.Questions) -> bool:
    return (
        query.run in (None, question.run)
        and (query.ids is None or question.id in query.ids)
        and (not query.statuses or question.status in query.statuses)
    )


def _is_entered(effect: r.Effect, query: queries.Effects) -> bool:
    return (
        (query.tree is not None or query.run is not None)
        and query.tree in (None, effect.tree)
        and query.run in (None, effect.run)
        and query.address in (None, effect.address)
    )


def _is_filed(letter: DeadLetter, query: queries.Letters) -> bool:
    single = ("run", "node", "pattern", "reason", "tenant")
    return (
        all(getattr(query, name) in (None, getattr(letter, name)) for name in single)
        and (query.ids is None or letter.id in query.ids)
        and (query.definitions is None or letter.definition in query.definitions)
        and (not query.statuses or letter.status in query.statuses)
        and (query.since is None or letter.at >= query.since)
        and (query.until is None or letter.at < query.until)
    )


def _is_counted(key: str, query: queries.Tallies) -> bool:
    return (
        key.startswith(query.prefix)
        and (query.keys is None or key in query.keys)
        and query.kind in (None, kind_of(key))
    )


def _of_run(kept: Kept, query: queries.Rows | queries.Manifests | queries.Commands | queries.Items) -> list[Any]:
    match query:
        case queries.Rows():
            return _rows(kept, query)
        case queries.Manifests():
            found = [kept.manifests[seq] for seq in sorted(kept.manifests) if seq <= query.until][-1:]
            for manifest in found:
                checks.verify_manifest(manifest)
            return found
        case queries.Commands():
            return [COMMAND.decode(body) for body in kept.waiting.values()]
        case queries.Items():
            places = [place for place in sorted(kept.items) if place[0] > query.after]
            places = [place for place in places if query.lane in (None, place[1])]
            return [ITEM.decode(kept.items[place]) for place in _first(places, query)]


def _rows(kept: Kept, query: queries.Rows) -> list[r.Row]:
    begin = bisect_right(kept.rows, query.after, key=LAST)
    end = len(kept.rows) if query.until is None else bisect_right(kept.rows, query.until, key=LAST)
    rows = [row for row in kept.rows[begin:end] if query.kind in (None, row.kind)]
    rows = _first(rows[::-1] if query.newest_first else rows, query)
    checks.verify_rows(query.run, rows)
    return rows


def _first(found: list[T], query: Limited) -> list[T]:
    return found[: max(query.limit, 0)]
