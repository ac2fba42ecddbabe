"""The memory store: the specification of a store, for tests and for work that need not outlive its process.

Everything is kept as it would stand on a disk, encoded and with its digest, so what is read went through the codec as
it does in any other store, and the speed includes that. Leases live by time and owner id: one process has them all.
"""

from bisect import bisect_right, insort
from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, TypeVar

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from windlass.core import changes, queries
from windlass.core import records as r
from windlass.core.changes import Write
from windlass.core.clock import Clock, SystemClock
from windlass.core.crashpoint import crashpoint
from windlass.core.errors import RunExists, RunUnknown, StaleLease, StoreError, StoreUnknown
from windlass.core.records import Owner, RunRecord
from windlass.core.tallies import Answer
from windlass.core.thread import is_reopening, place_of
from windlass.stores import checks, tallies
from windlass.stores.base import LEASE_SECONDS, Capabilities
from windlass.stores.memory_prune import prune
from windlass.stores.memory_world import LAST, PLACE, QUESTION, Kept, World

T = TypeVar("T")
Prepared = tuple[list[Callable[[], object]], tuple[Answer, ...]]
RECORD = msgspec.json.Decoder(RunRecord)
WORLDS: dict[str, World] = {}


class MemoryStore:
    """Runs in this process's memory; several runtimes may share one.

    Args:
        clock: tells the time for leases.
        world: what is kept; a new one by default.
    """

    def __init__(self, url: str = "memory:", *, clock: Clock | None = None, world: World | None = None) -> None:
        self.url = url
        self.capabilities = Capabilities(queryable=True)
        self._clock = clock or SystemClock()
        self._world = world or World()
        self._state = "not open"

    def _open(self) -> World:
        if self._state != "open":
            raise StoreError(f"{self.url} is {self._state}")
        return self._world

    async def open(self) -> None:
        """Begin; there is nothing to connect to. Opening again does nothing."""
        if self._state == "closed":
            raise StoreError(f"{self.url} is closed")
        self._state = "open"

    async def close(self) -> None:
        """Refuse everything from now on; what has a name is still there for the next store of that name."""
        self._state = "closed"

    async def create(self, record: RunRecord, first: Write, owner: Owner | None) -> tuple[Answer, ...]:
        """Make a run with its first row; see `Store.create`."""
        world = self._open()
        crashpoint("create.before")
        checks.check_write(first)
        if first.run != record.id:
            raise StoreError(f"run {record.id} cannot begin with a row of {first.run}")
        if record.id in world.runs:
            raise RunExists(f"run {record.id!r} exists in {self.url}")
        self._check_place(record)
        kept = self._new(record, owner)
        apply, answers = self._prepare(record.id, kept, first.changes)
        crashpoint("create.inside")
        self._add(kept, first, apply, owner)
        crashpoint("create.after")
        return answers

    def _new(self, record: RunRecord, owner: Owner | None) -> Kept:
        plain = replace(record, head=r.Head(), epoch=0, owner=None, owner_until=None, updated_at=0.0)
        return Kept(self._world.made, RECORD.decode(checks.encoded(plain)), owner.id if owner else None)

    def _add(self, kept: Kept, first: Write, apply: Sequence[Callable[[], object]], owner: Owner | None) -> None:
        world = self._world
        if owner is not None:
            world.leases[owner.id] = (owner, self._clock.now() + LEASE_SECONDS)
        kept.no = world.made
        world.runs[kept.record.id] = kept
        if kept.record.turn:
            insort(world.threads.setdefault(checks.thread_of(kept.record), []), kept, key=PLACE)
        world.made += 1
        self._append(kept, first, apply)

    def _check_place(self, record: RunRecord) -> None:
        place = place_of(record)
        if any(kept.place == place for kept in reversed(self._world.turns(record))):
            raise checks.taken(record)

    def _born(self, put: changes.RunPut) -> list[Callable[[], object]]:
        """Prepare a run that a write of another makes; nothing, if there is one of its id."""
        checks.check_birth(put.record, put.first)
        if put.record.id in self._world.runs:
            return []
        self._check_place(put.record)
        kept = self._new(put.record, put.owner)
        apply, _ = self._prepare(put.record.id, kept, put.first.changes)
        return [partial(self._add, kept, put.first, apply, put.owner)]

    async def commit(self, write: Write) -> tuple[Answer, ...]:
        """Append rows and apply changes, fenced by epoch and head; see `Store.commit`."""
        world = self._open()
        crashpoint("commit.before")
        checks.check_write(write)
        kept = world.runs.get(write.run)
        if kept is None or kept.epoch != write.epoch or kept.head.seq != write.after:
            raise _stale(write.run, kept, f"epoch {write.epoch} after event {write.after}")
        apply, answers = self._prepare(write.run, kept, write.changes) if write.changes else ([], ())
        crashpoint("commit.inside")
        self._append(kept, write, apply)
        if write.release:
            kept.owner = None
        crashpoint("commit.after")
        return answers

    async def adjust(self, puts: Sequence[changes.Adjust | changes.LetterPut]) -> tuple[Answer, ...]:
        """Change tallies and dead letters without a fence; see `Store.adjust`."""
        world = self._open()
        crashpoint("adjust.before")
        tallies.check_unfenced(puts)
        apply, answers = self._prepare("", None, puts)  # without a run: nothing has fenced it
        crashpoint("adjust.inside")
        for change in apply:
            change()
        world.writes += 1
        crashpoint("adjust.after")
        return answers

    def _append(self, kept: Kept, write: Write, apply: Sequence[Callable[[], object]]) -> None:
        kept.rows += write.rows
        kept.head = write.head
        kept.updated_at = write.rows[-1].at if write.rows else self._clock.now()
        for change in apply:
            change()
        self._world.writes += 1

    def _prepare(self, run: str, kept: Kept | None, puts: Sequence[changes.Change]) -> Prepared:
        """Encode changes and work tallies out, so that applying them cannot fail any more."""
        world = self._world
        apply: list[Callable[[], object]] = []
        adjusts: list[changes.Adjust] = []
        for change in puts:
            match change:
                case changes.QuestionPut(question) if question.run == run:
                    apply.append(partial(world.questions.__setitem__, question.id, checks.encoded(question)))
                case changes.EffectPut(e):
                    key = (e.tree, e.address, e.run, e.branch, e.name, e.key)
                    apply.append(partial(world.effects.__setitem__, key, checks.encoded(e)))
                case changes.Adjust():
                    tallies.check_adjust(change)
                    adjusts.append(change)
                case changes.LetterPut(letter):
                    apply.append(partial(world.letters.__setitem__, letter.id, checks.encoded(letter)))
                case changes.BlobPut(blob):
                    apply.append(partial(world.keep, blob))
                case changes.RunPut() if kept is not None:
                    apply += self._born(change)
                case changes.TurnBegun(after, seq) if kept is not None:
                    if world.waits(kept.record, after, seq):
                        raise checks.waits(run)
                case changes.CommandPut(command) if kept is not None:
                    apply.append(partial(world.post, command, checks.encoded(command)))
                case _ if kept is not None:
                    apply += _of_run(world, kept, change)
                case _:
                    raise _unknown(run, change)
        may = world.may if kept is None else None
        changed, answers = tallies.settle(adjusts, world.tallies.get, may) if adjusts else ({}, ())
        return [*apply, *(partial(world.stand, key, stand) for key, stand in changed.items())], answers

    async def append_items(self, run: str, epoch: int, items: Sequence[r.Item]) -> None:
        """Keep stream items, fenced by the epoch only."""
        world = self._open()
        crashpoint("items.before")
        kept = world.runs.get(run)
        if kept is None or kept.epoch != epoch:
            raise _stale(run, kept, f"epoch {epoch}")
        apply = _of_run(world, kept, changes.ItemsPut(tuple(items)))
        crashpoint("items.inside")
        for change in apply:
            change()
        world.writes += 1
        crashpoint("items.after")

    async def post(self, command: r.Command) -> bool:
        """Keep a command; an answer closes its question too; see `Store.post`."""
        world = self._open()
        crashpoint("post.before")
        kept = world.runs.get(command.run)
        if kept is None:
            raise RunUnknown(command.run, self.url)
        if command.id in world.commands:
            return False
        body, answered = checks.encoded(command), None
        if is_reopening(command) and (later := world.follower(kept.record)):
            raise checks.over(command, later)
        if command.verb in checks.OF_QUESTIONS:
            found = world.questions.get(str(command.arguments.get("question")))
            value = Raw(checks.encoded(command.arguments.get("value")))
            question = QUESTION.decode(found) if found else None
            answered = checks.answer(command, question, value, self._clock.now())
        crashpoint("post.inside")
        if answered is not None:
            world.questions[answered.id] = checks.encoded(answered)
        world.commands.add(command.id)
        kept.commands.add(command.id)
        kept.waiting[command.id] = body
        world.writes += 1
        crashpoint("post.after")
        return True

    async def claim(self, run: str, owner: Owner) -> RunRecord:
        """Raise the epoch and set the owner, unless another has a lease; see `Store.claim`."""
        world, now = self._open(), self._clock.now()
        crashpoint("claim.before")
        kept = self._get(run)
        before, until = world.lease(kept)
        if before is None or until is None or before.id == owner.id:
            before = until = None
        elif until > now:
            raise checks.owned(run, before, until)
        crashpoint("claim.inside")
        kept.epoch += 1
        kept.owner = owner.id
        world.leases[owner.id] = (owner, now + LEASE_SECONDS)
        world.writes += 1
        crashpoint("claim.after")
        return replace(world.record(kept), owner=before, owner_until=until)

    async def renew(self, owner: Owner) -> None:
        """Keep the owner's lease for LEASE_SECONDS from now."""
        self._open().leases[owner.id] = (owner, self._clock.now() + LEASE_SECONDS)

    async def release(self, run: str, epoch: int) -> None:
        """Give the run up, if it still has this epoch."""
        world = self._open()
        crashpoint("release.before")
        kept = world.runs.get(run)
        if kept is not None and kept.epoch == epoch:
            kept.owner = None
            world.writes += 1
        crashpoint("release.after")

    async def retire(self, owner: Owner) -> None:
        """Forget the owner's lease and give up all its runs."""
        world = self._open()
        crashpoint("retire.before")
        for kept in world.runs.values():
            if kept.owner == owner.id:
                kept.owner = None
        world.leases.pop(owner.id, None)
        world.writes += 1
        crashpoint("retire.after")

    def _get(self, run: str) -> Kept:
        kept = self._open().runs.get(run)
        if kept is None:
            raise RunUnknown(run, self.url)
        return kept

    async def load(self, run: str) -> r.Loaded:
        """Return the record, the latest snapshot of the current branch and the rows after it, verified."""
        kept = self._get(run)
        snapshots = [manifest for manifest in kept.manifests.values() if manifest.branch == kept.head.branch]
        manifest = max(snapshots, key=attrgetter("seq"), default=None)
        after = manifest.seq if manifest else 0
        rows = tuple(kept.rows[bisect_right(kept.rows, after, key=LAST) :])
        if manifest is not None:
            checks.verify_manifest(manifest)
        checks.verify_tail(run, rows, after, kept.head.seq)
        return r.Loaded(self._world.record(kept), manifest, rows)

    def version(self) -> int:
        """Return the number of writes so far, by whomever."""
        return self._open().writes

    async def maintain(self, chore: str, **options: Any) -> dict[str, Any]:
        """Do a chore: `prune`; `migrate` finds nothing to do, and there is nothing on a disk to check or to back up.

        Raises:
            StoreError: there is no such chore here.
        """
        if chore == "prune" and self._state == "open":
            return prune(self._world, self._clock.now(), **options)
        if self._state == "closed" or chore != "migrate":
            raise StoreError(f"{self.url}: {chore!r} is no chore of a store in memory that is {self._state}")
        return {"from": 0, "to": 0, "applied": []}

    async def find(self, query: queries.Query[T]) -> list[T]:
        """Answer a query."""
        return self._open().find(query, self._clock.now())


def _of_run(world: World, kept: Kept, change: changes.Change) -> list[Callable[[], object]]:
    """Encode a change of what stands with its run."""
    run = kept.record.id
    match change:
        case changes.CommandTaken(id_):
            forget: list[Callable[[], object]] = [partial(ids.add, id_) for ids in (world.commands, kept.commands)]
            return [*forget, partial(kept.waiting.pop, id_, None)]
        case changes.ItemsPut(items) if all(item.run == run for item in items):
            return [partial(kept.items.__setitem__, _place(item), checks.encoded(item)) for item in items]
        case changes.ItemsDropped():
            return [partial(_drop, kept, change)]
        case changes.ManifestPut(manifest) if manifest.run == run:
            return [partial(kept.manifests.__setitem__, manifest.seq, manifest)]
        case _:
            raise _unknown(run, change)


def _unknown(run: str, change: changes.Change) -> StoreError:
    return StoreError(f"run {run}: a {type(change).__name__} that is unknown or of another run cannot be kept")


def _place(item: r.Item) -> tuple[int, str, str, int, int]:
    return (item.arrival, item.lane, item.address, item.attempt, item.ordinal)


def _drop(kept: Kept, dropped: changes.ItemsDropped) -> None:
    for place in list(kept.items):
        arrival, lane, address, attempt, _ = place
        is_due = dropped.before is None or arrival < dropped.before
        if (address, attempt) == (dropped.address, dropped.attempt) and dropped.lane in ("", lane) and is_due:
            del kept.items[place]


def _stale(run: str, kept: Kept | None, mine: str) -> StaleLease:
    now = "does not exist" if kept is None else f"is at epoch {kept.epoch}, event {kept.head.seq}"
    return StaleLease(f"run {run} {now}: a write of {mine} is refused")


def open_url(url: str) -> MemoryStore:
    """Make a store: `memory:` is a new one each time, `memory:name` shares what is kept under the name.

    Raises:
        StoreUnknown: it is another scheme's URL.
    """
    scheme, _, name = url.partition(":")
    if scheme != "memory":
        raise StoreUnknown(f"{url!r} names no store in memory")
    return MemoryStore(url, world=WORLDS.setdefault(name, World()) if name else None)
