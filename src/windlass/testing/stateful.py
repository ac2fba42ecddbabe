"""A store against a model: hypothesis calls both in any order, and any difference is shrunk to a few calls.

    TestMyStore = machine(lambda clock, folder: MyStore(folder / "runs", clock=clock)).TestCase

The model is dictionaries and the sentences of `windlass.stores.base.Store`; it was written without a look at any store.
A durable store is closed and opened again now and then.
"""
# ruff: noqa: S101 -- to assert is what it is for

import asyncio
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec import Raw
from msgspec.structs import replace

from windlass.core.changes import (
    Adjust,
    BlobPut,
    Change,
    CommandTaken,
    ItemsDropped,
    ItemsPut,
    LetterPut,
    ManifestPut,
    QuestionPut,
)
from windlass.core.errors import WindlassError
from windlass.core.queries import Blobs, Commands, Items, Letters, Questions, Rows, Runs, Tallies, Work
from windlass.core.records import Item, Row, RunRecord
from windlass.core.states import CREATED, ENDED, RUNNING, WAITING, Status
from windlass.core.tallies import BudgetAnswer, held_key
from windlass.stores.base import LEASE_SECONDS, Store
from windlass.testing.specimens import (
    NOON,
    HandClock,
    a_blob,
    a_budget_op,
    a_command,
    a_letter,
    a_manifest,
    a_question,
    a_record,
    a_row,
    a_write,
    an_item,
    an_owner,
)

Make = Callable[[HandClock, Path], Store]
RUN = st.sampled_from(["a", "b", "c"])
WHO = st.sampled_from(["one", "two"])
SMALL = st.integers(0, 3)
OFF = st.sampled_from([0, 0, 0, 0, 0, 1, -1])  # most writes hold the fence
OWNERS = {name: an_owner(name) for name in ("one", "two")}
CHANGE = st.one_of(
    st.tuples(st.just("question"), SMALL, st.sampled_from(["open", "taken", "withdrawn"])),
    st.tuples(st.just("taken"), SMALL),
    st.tuples(st.just("items"), SMALL),
    st.tuples(st.just("dropped"), st.none() | SMALL),
    st.tuples(st.just("blob"), SMALL),
    st.tuples(st.just("snapshot"), SMALL),
    st.tuples(st.just("letter"), SMALL, st.sampled_from(["open", "retried", "dropped"])),
    st.tuples(st.just("adjust"), SMALL),
)
POT, MOST = "budget|tenant|acme", 7


class Modelled:
    """What the model knows of one run."""

    def __init__(self, made: int, owner: str | None) -> None:
        self.made = made
        self.owner = owner
        self.epoch = 1 if owner else 0
        self.head: dict[str, Any] = {}
        self.rows: list[Row] = []
        self.snapshots: dict[int, int] = {}  # event → branch
        self.items: dict[int, Item] = {}
        self.commands: list[str] = []


class Model:
    """What a store is said to do, as dictionaries. Each method returns the value that is due, or the error's name."""

    def __init__(self) -> None:
        self.runs: dict[str, Modelled] = {}
        self.leases: dict[str, float] = {}
        self.questions: dict[str, tuple[str, str]] = {}  # id → run, status
        self.posted: set[str] = set()
        self.blobs: dict[str, bytes] = {}
        self.letters: dict[str, tuple[str, str]] = {}  # id → run, status
        self.spent = 0  # of the one budget
        self.held: dict[str, tuple[int, int]] = {}  # run → epoch, amount

    @property
    def left(self) -> int:
        """What nobody has spent or holds."""
        return MOST - self.spent - sum(amount for _, amount in self.held.values())

    def settle(self, run: str, epoch: int, want: int, *, need: int = 0, used: int = 0, spent: int = 0) -> BudgetAnswer:
        """Settle, then reserve: as much as there is, and at least `need` or nothing."""
        holds = self.held.pop(run, (epoch, 0))
        if epoch < holds[0]:
            self.held[run] = holds
            return BudgetAnswer({}, is_granted=False, left={"steps": self.left})
        mine = 0
        if epoch == holds[0]:
            mine = max(0, holds[1] - used)
        else:
            self.spent += holds[1]  # of an owner that is gone
        self.spent += spent
        room = self.left - mine
        granted = max(0, min(want, room))
        is_granted = granted >= need
        mine += granted if is_granted else 0
        if mine:
            self.held[run] = (epoch, mine)
        return BudgetAnswer({"steps": granted} if is_granted else {}, is_granted, {"steps": self.left})

    def is_free(self, run: Modelled, now: float) -> bool:
        """Say whether anybody may claim a run."""
        return run.owner is None or self.leases[run.owner] <= now

    def has_work(self, run: Modelled, now: float) -> bool:
        """Say whether a worker would look for a run."""
        status, due_at = run.head["status"], run.head["due_at"]
        is_due = status == WAITING and due_at is not None and due_at <= now
        is_asked = bool(run.commands) and status not in ENDED
        return self.is_free(run, now) and (status in (CREATED, RUNNING) or is_due or is_asked)

    def write(self, run: Modelled, rows: list[Row], status: Status, due_at: float | None, branch: int) -> None:
        """Append rows and move the head."""
        run.rows += rows
        run.head = {"status": status, "due_at": due_at, "seq": run.rows[-1].last, "branch": branch}

    def change(self, name: str, change: tuple[Any, ...], seq: int) -> None:
        """Apply a change of a write that ends at event `seq`."""
        run = self.runs[name]
        match change:
            case ("question", n, status):
                self.questions[f"{name} {n}"] = (name, status)
            case ("taken", n):
                self.posted.add(f"{name} {n}")
                run.commands = [id_ for id_ in run.commands if id_ != f"{name} {n}"]
            case ("items", n):
                run.items[n] = an_item(name, n)
            case ("dropped", before):
                run.items = {n: item for n, item in run.items.items() if before is not None and n >= before}
            case ("blob", n):
                blob = a_blob(b"%d" % n)
                self.blobs[blob.digest] = blob.content
            case ("snapshot", branch):
                run.snapshots[seq] = branch
            case ("letter", n, status):
                self.letters[f"{name} {n}"] = (name, status)


def real(name: str, change: tuple[Any, ...], seq: int, epoch: int) -> Change:
    """Make the change that the store is given."""
    match change:
        case ("letter", n, status):
            return LetterPut(a_letter(name, f"{name} {n}", status=status))
        case ("adjust", n):
            return Adjust(POT, a_budget_op(name, epoch=epoch, want={"steps": n}, limit={"steps": MOST}))
        case ("question", n, status):
            return QuestionPut(a_question(name, f"{name} {n}", status=status))
        case ("taken", n):
            return CommandTaken(f"{name} {n}")
        case ("items", n):
            return ItemsPut((an_item(name, n),))
        case ("dropped", before):
            return ItemsDropped("read#1", 1, before=before)
        case ("blob", n):
            return BlobPut(a_blob(b"%d" % n))
        case _:
            return ManifestPut(a_manifest(name, seq, branch=change[1]))


class StoreMachine(RuleBasedStateMachine):
    """Calls on a store and on the model, in any order; `machine` makes one for a store."""

    store_of: Make

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = HandClock()
        self.model = Model()
        self.loop = asyncio.new_event_loop()

    def made(self) -> Store:
        """Make a store of the machine's folder."""
        return type(self).store_of(self.clock, Path(self.folder.name))

    @initialize()
    def begin(self) -> None:
        """Open the store, and make a run with open questions: without them few answers would have one."""
        self.store = self.made()
        self.call(self.store.open())
        self.create("a", "one", 1)
        for asked in (0, 1):
            question = ("question", asked, "open")
            self.commit(
                name="a", off=(0, 0), sizes=[1], branch=0, status=RUNNING, due=None, changes=[question], release=False
            )

    def call(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Do a call, and return what it returned or the name of its error."""
        try:
            return self.loop.run_until_complete(coroutine)
        except WindlassError as error:
            return type(error).__name__

    @rule(name=RUN, owner=st.none() | WHO, size=st.integers(1, 3))
    def create(self, name: str, owner: str | None, size: int) -> None:
        """Make a run."""
        status = RUNNING if owner else CREATED
        first = a_write(name, 1 if owner else 0, rows=[a_row(name, 1, size)], status=status)
        told = self.call(self.store.create(a_record(name), first, OWNERS[owner] if owner else None))
        if name in self.model.runs:
            assert told == "RunExists"
            return
        assert told == ()
        self.model.runs[name] = Modelled(len(self.model.runs), owner)
        self.model.write(self.model.runs[name], list(first.rows), status, None, 0)
        if owner:
            self.model.leases[owner] = self.clock.time + LEASE_SECONDS

    @rule(
        name=RUN, off=st.tuples(OFF, OFF), sizes=st.lists(st.integers(1, 2), min_size=1, max_size=2), branch=SMALL,
        status=st.sampled_from(list(Status)), due=st.none() | SMALL, changes=st.lists(CHANGE, max_size=3),
        release=st.booleans(),
    )  # fmt: skip
    def commit(
        self, *, name: str, off: tuple[int, int], sizes: list[int], branch: int, status: Status, due: int | None,
        changes: list[tuple[Any, ...]], release: bool,
    ) -> None:  # fmt: skip
        """Write to a run, now and then by a wrong epoch or after a wrong event."""
        run = self.model.runs.get(name)
        epoch, after = (run.epoch + off[0], run.head["seq"] + off[1]) if run else (1, 0)
        rows, last = [], after
        for size in sizes:
            rows.append(a_row(name, last + 1, size, branch=branch))
            last += size
        due_at = None if due is None else NOON + due * 10
        kept = tuple(real(name, change, last, epoch) for change in changes)
        write = a_write(name, epoch, after, rows=rows, status=status, due_at=due_at, changes=kept, release=release)
        told = self.call(self.store.commit(write))
        if run is None or off != (0, 0):
            assert told == "StaleLease"
            return
        adjusts = [change[1] for change in changes if change[0] == "adjust"]
        assert told == tuple(self.model.settle(name, epoch, want) for want in adjusts)
        self.model.write(run, rows, status, due_at, branch)
        for change in changes:
            self.model.change(name, change, last)
        run.owner = None if release else run.owner

    @rule(name=RUN, epoch=st.integers(0, 3), want=SMALL, need=SMALL, used=SMALL, spent=st.sampled_from([0, 0, 1]))
    def adjust(self, *, name: str, epoch: int, want: int, need: int, used: int, spent: int) -> None:
        """Settle and reserve without a write."""
        amounts = {"want": want, "need": need, "used": used, "spent": spent, "limit": MOST}
        op = a_budget_op(name, epoch=epoch, **{part: {"steps": amount} for part, amount in amounts.items()})
        told = self.call(self.store.adjust([Adjust(POT, op)]))
        run = self.model.runs.get(name)
        if run is None or (run.owner is not None and run.epoch == epoch):
            assert told == (self.model.settle(name, epoch, want, need=need, used=used, spent=spent),)
        else:
            (answer,) = told
            settled = self.model.settle(name, epoch, 0, used=used, spent=spent)
            assert answer == replace(settled, granted={}, is_granted=False)

    @rule(statuses=st.none() | st.just(("open",)) | st.just(("retried", "dropped")))
    def letters(self, statuses: tuple[str, ...] | None) -> None:
        """List dead letters."""
        told = self.call(self.store.find(Letters(statuses=statuses)))
        due = [id_ for id_, (_, status) in self.model.letters.items() if statuses is None or status in statuses]
        assert [letter.id for letter in told] == due[::-1]

    @rule()
    def tallies(self) -> None:
        """List shared numbers: the one budget, and what each run holds of it."""
        told = self.call(self.store.find(Tallies()))
        held = [held_key(POT, run) for run in sorted(self.model.held)]
        assert [tally.key for tally in told] == ([POT] if self.model.spent or held else []) + held

    @rule(name=RUN, who=WHO)
    def claim(self, name: str, who: str) -> None:
        """Take a run, if it is free."""
        told, run = self.call(self.store.claim(name, OWNERS[who])), self.model.runs.get(name)
        if run is None:
            assert told == "RunUnknown"
        elif run.owner != who and not self.model.is_free(run, self.clock.time):
            assert told == "RunOwned"
        else:
            assert isinstance(told, RunRecord)
            before = OWNERS[run.owner] if run.owner not in (None, who) else None
            assert (told.epoch, told.owner, told.head.seq) == (run.epoch + 1, before, run.head["seq"])
            run.epoch, run.owner = run.epoch + 1, who
            self.model.leases[who] = self.clock.time + LEASE_SECONDS

    @rule(who=WHO)
    def renew(self, who: str) -> None:
        """Keep a lease."""
        assert self.call(self.store.renew(OWNERS[who])) is None
        self.model.leases[who] = self.clock.time + LEASE_SECONDS

    @rule(name=RUN, off=OFF)
    def release(self, name: str, off: int) -> None:
        """Give a run up, now and then by a wrong epoch."""
        run = self.model.runs.get(name)
        assert self.call(self.store.release(name, run.epoch + off if run else 1)) is None
        if run and not off:
            run.owner = None

    @rule(who=WHO)
    def retire(self, who: str) -> None:
        """Give all runs of an owner up."""
        assert self.call(self.store.retire(OWNERS[who])) is None
        for run in self.model.runs.values():
            run.owner = None if run.owner == who else run.owner
        self.model.leases.pop(who, None)

    @rule(name=RUN, of=RUN, n=SMALL, is_answer=st.booleans(), about=SMALL)
    def post(self, *, name: str, of: str, n: int, is_answer: bool, about: int) -> None:
        """Ask for something, or answer a question."""
        id_, asked = f"{of} {n}", f"{name} {about}"
        arguments = {"question": asked, "value": n} if is_answer else {}
        told = self.call(self.store.post(a_command(name, id_, "answer" if is_answer else "pause", **arguments)))
        run, question = self.model.runs.get(name), self.model.questions.get(asked)
        if run is None:
            assert told == "RunUnknown"
        elif id_ in self.model.posted:
            assert told is False
        elif is_answer and question is None:
            assert told == "QuestionUnknown"
        elif is_answer and question != (name, "open"):
            assert told == "AlreadyAnswered"
        else:
            assert told is True
            self.model.posted.add(id_)
            run.commands.append(id_)
            if is_answer:
                self.model.questions[asked] = (name, "answered")
                (found,) = self.call(self.store.find(Questions(ids=(asked,), statuses=("answered",))))
                assert found.answer == Raw(b"%d" % n)

    @rule(name=RUN, off=OFF, arrivals=st.lists(SMALL, max_size=3))
    def append_items(self, name: str, off: int, arrivals: list[int]) -> None:
        """Keep items."""
        run = self.model.runs.get(name)
        items = [an_item(name, n) for n in arrivals]
        told = self.call(self.store.append_items(name, run.epoch + off if run else 1, items))
        assert told == (None if run and not off else "StaleLease")
        if run and not off:
            run.items |= {item.arrival: item for item in items}

    @rule(n=SMALL)
    def blobs(self, n: int) -> None:
        """Fetch a blob."""
        blob = a_blob(b"%d" % n)
        known = self.model.blobs.get(blob.digest)
        told = self.call(self.store.find(Blobs(digests=(blob.digest,))))
        assert told == ("StoreCorrupt" if known is None else [blob])

    @rule(seconds=st.sampled_from([1.0, LEASE_SECONDS - 1, LEASE_SECONDS]))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.time += seconds

    @rule()
    def reopen(self) -> None:
        """Close a durable store and open another of its place."""
        if self.store.capabilities.durable:
            self.loop.run_until_complete(self.store.close())
            self.store = self.made()
            self.loop.run_until_complete(self.store.open())

    @rule(name=RUN, after=st.integers(0, 9), limit=st.integers(0, 4))
    def page(self, name: str, after: int, limit: int) -> None:
        """Read a page of rows."""
        run = self.model.runs.get(name)
        due = [row for row in run.rows if row.last > after][:limit] if run else []
        assert self.call(self.store.find(Rows(run=name, after=after, limit=limit))) == due

    @invariant()
    def runs_are_alike(self) -> None:
        """Load and list every run."""
        if not hasattr(self, "store"):
            return
        now = self.clock.time
        for name in ("a", "b", "c"):
            loaded, run = self.call(self.store.load(name)), self.model.runs.get(name)
            if run is None:
                assert loaded == "RunUnknown"
                continue
            record, head = loaded.record, loaded.record.head
            assert (record.epoch, record.owner) == (run.epoch, OWNERS[run.owner] if run.owner else None)
            assert record.owner_until == (self.model.leases[run.owner] if run.owner else None)
            assert {name: getattr(head, name) for name in run.head} == run.head
            begin = max((seq for seq, branch in run.snapshots.items() if branch == head.branch), default=0)
            assert (loaded.manifest.seq if loaded.manifest else 0) == begin
            assert list(loaded.rows) == [row for row in run.rows if row.last > begin]
            assert self.call(self.store.find(Items(run=name))) == [run.items[n] for n in sorted(run.items)]
            assert [command.id for command in self.call(self.store.find(Commands(run=name)))] == run.commands
        newest = sorted(self.model.runs, key=lambda name: -self.model.runs[name].made)
        assert [record.id for record in self.call(self.store.find(Runs()))] == newest
        work = [name for name in newest if self.model.has_work(self.model.runs[name], now)]
        assert [record.id for record in self.call(self.store.find(Runs(claimable=True, due_before=now)))] == work
        found = self.call(self.store.find(Work(definitions=(a_record().definition,), due_before=now)))
        assert sorted(record.id for record in found) == sorted(work)
        found = self.call(self.store.find(Questions(statuses=None)))
        assert [(question.id, question.run, question.status) for question in found] == [
            (id_, *told) for id_, told in self.model.questions.items()
        ]

    def teardown(self) -> None:
        """Close the store, and take its folder away."""
        if hasattr(self, "store"):
            self.loop.run_until_complete(self.store.close())
        self.loop.close()
        self.folder.cleanup()


def machine(make: Make) -> type[StoreMachine]:
    """Make the machine of a store.

    Args:
        make: makes a store of a folder, not yet open; called again for a folder whose store was closed.
    """
    return type("Machine", (StoreMachine,), {"store_of": staticmethod(make)})
