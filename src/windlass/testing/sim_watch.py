"""The watch over a simulation: what was applied, told and called, and what of it must not have happened.

It stands beside the world's store and sees every write that is applied, in order, whether its writer hears of it or
not. What it is told it checks at once; `trouble` says what was broken. `reached` counts what a search has to come by,
or it is blind (the "sometimes" of TigerBeetle and Antithesis).
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from msgspec import Struct, field, json

from windlass.core import changes, ops
from windlass.core import records as r
from windlass.core.changes import Adjust, Write
from windlass.core.records import BODY
from windlass.core.states import CANCELLED, COMPLETED, PAUSED, Status
from windlass.core.tallies import Answer
from windlass.engine.activation import Activation
from windlass.policies.budget import Cost
from windlass.testing.sim_process import Process

LATE = 2.0  # seconds after its time that a timer counts as late
FINAL = frozenset({COMPLETED, CANCELLED})
CHILD = (ops.ChildStarted, ops.ChildEnded)
Adjusted = list[tuple[Adjust, Answer]]
Identity = tuple[str, int, str, str]  # run, branch, address, name|key


def numbers() -> dict[Any, int]:
    """Return what counts from zero, for little: a Counter costs more to make than all that is counted in most."""
    return defaultdict(int)


class Call(Struct):
    """One call of an effect's function: by whom, and whether it came to its end."""

    process: Process
    is_stale: bool
    has_happened: bool = False


class Effected(Struct):
    """What is known of an effect on one branch."""

    key: str = ""  # the idempotency key
    on_doubt: str = ""
    outcome: bool = False
    doubts: int = 0  # times that it was told to be in doubt
    calls: list[Call] = field(default_factory=list)
    value: Any = None

    @property
    def happened(self) -> bool:
        """Whether a call of it has come to its end."""
        return any(call.has_happened for call in self.calls)


class Story(Struct):
    """What the watch knows of one run."""

    epoch: int = 0
    owner: Process | None = None
    seq: int = 0
    branch: int = 0
    status: Status = Status.CREATED
    rows: list[tuple[int, int, str]] = field(default_factory=list)
    finished: dict[tuple[int, str], int] = field(default_factory=numbers)
    calls: dict[tuple[int, str, str], int] = field(default_factory=numbers)  # recorded
    dues: dict[tuple[int, str], float] = field(default_factory=dict)  # of retries, the last of each activation
    retrying: bool = False
    taken_over: bool = False


class Watch:
    """Checks every write of a simulation.

    Attributes:
        trouble: what was broken, a sentence each.
        reached: what was come by, and how often.
        heard: called after each write with the run's id.
        adjusted: called with changes of tallies and what the store said to them, and whether they rode on a write.
        called: called as the function of a call is.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.trouble: list[str] = []
        self.reached: dict[str, int] = numbers()
        self.heard: list[Callable[[str], None]] = []
        self.adjusted: Callable[[Adjusted, bool], None] = lambda *_: None
        self.called: Callable[[Activation, Cost | None], None] = lambda *_: None
        self.stories: dict[str, Story] = {}
        self.effects: dict[Identity, Effected] = {}
        self.answers: dict[str, Any] = {}  # question → the value that the log has
        self.posted_answers: dict[str, int] = numbers()
        self.taken: dict[str, int] = numbers()
        self.children: dict[str, list[str]] = {}  # child run → what its parent heard of its end

    def blame(self, what: str) -> None:
        """Note that something was broken."""
        if what not in self.trouble:
            self.trouble.append(what)

    def reach(self, what: str) -> None:
        """Count what has to be come by."""
        self.reached[what] += 1

    def created(self, process: Process, record: r.RunRecord, first: Write, *, owned: bool) -> None:
        """See a run made."""
        if record.id in self.stories:
            self.blame(f"{record.id} was made twice")
        story = self.stories[record.id] = Story()
        if owned:
            story.epoch, story.owner = 1, process
        self._apply(process, story, first)

    def claimed(self, process: Process, record: r.RunRecord) -> None:
        """See a run claimed."""
        story = self.stories[record.id]
        if record.epoch <= story.epoch:
            self.blame(f"{record.id}: epoch {record.epoch} was given out after {story.epoch}")
        if record.owner is not None and story.owner is not None:
            self.reach("takeover")
            self.reach("takeover from the living" if story.owner.state != "dead" else "takeover from the dead")
            story.taken_over = True
        story.epoch, story.owner = record.epoch, process

    def refused(self, process: Process, run: str, epoch: int) -> None:
        """See a write refused."""
        if epoch < self.stories[run].epoch and process is not self.stories[run].owner:
            self.reach("zombie refused")

    def posted(self, command: r.Command, *, fresh: bool) -> None:
        """See a command posted."""
        if fresh and command.verb == "answer":
            question = str(command.arguments["question"])
            self.posted_answers[question] += 1
            if self.posted_answers[question] > 1:
                self.blame(f"question {question} took {self.posted_answers[question]} answers")

    def appended(self, process: Process, run: str, epoch: int) -> None:
        """See stream items kept."""
        self._check_owner(self.stories[run], process, run, epoch)

    def committed(self, process: Process, write: Write) -> None:
        """See a write applied."""
        story = self.stories[write.run]
        self._check_owner(story, process, write.run, write.epoch)
        self._apply(process, story, write)

    def _check_owner(self, story: Story, process: Process, run: str, epoch: int) -> None:
        if epoch != story.epoch:
            self.blame(f"{run}: a write of epoch {epoch} was accepted in epoch {story.epoch}")
        elif process is not story.owner:
            self.blame(f"{run}: {process.name} wrote in an epoch that it does not own")
        if process.state == "dead":
            self.blame(f"{run}: {process.name} wrote after its death")

    def _born(self, process: Process, put: changes.RunPut) -> None:
        """See a run made within a write of another; one that is there already stays as it is."""
        if put.record.id not in self.stories:
            self.reach("child born")
            self.created(process, put.record, put.first, owned=put.owner is not None)

    def _apply(self, process: Process, story: Story, write: Write) -> None:
        for row in write.rows:
            if row.first != story.seq + 1:
                self.blame(f"{row.run}: event {row.first} was written after {story.seq}")
            story.seq, story.branch = row.last, row.branch
            story.rows.append((row.first, row.last, row.digest))
            self._read(story, row)
        if write.head.seq != story.seq:
            self.blame(f"{write.run}: the head says {write.head.seq}, the log ends at {story.seq}")
        self._move(story, write)
        for change in write.changes:
            if isinstance(change, changes.RunPut):
                self._born(process, change)
            if isinstance(change, changes.CommandTaken):
                self.taken[change.id] += 1
                if self.taken[change.id] > 1:
                    self.blame(f"{write.run}: a command was taken twice")
        if write.release:
            story.owner = None
        for hear in self.heard:
            hear(write.run)

    def _move(self, story: Story, write: Write) -> None:
        status = write.head.status
        if story.status in FINAL and status is not story.status and not self._rolls_back(write):
            self.blame(f"{write.run}: {story.status.value} became {status.value}")
        story.status = status

    def _rolls_back(self, write: Write) -> bool:
        marks = (b"run.rolled_back", b'"undo', b'"left"')
        return any(mark in row.body for row in write.rows for mark in marks) or (
            write.head.status in (PAUSED, Status.RUNNING) and not write.rows
        )

    def _read(self, story: Story, row: r.Row) -> None:
        body = BODY.decode(row.body)
        for op in body.ops:
            if isinstance(op, CHILD):
                self._child(op)
            else:
                self._op(story, row, op)
        for done in body.finished:
            place = (row.branch, done.address)
            story.finished[place] += 1
            if story.finished[place] > 1:
                self.blame(f"{row.run}: {done.address} finished {story.finished[place]} times on branch {row.branch}")
            if done.attempt > 1 and story.retrying and story.taken_over:
                self.reach("retry after crash")
        for said in body.said:
            if said.type == "timer.fired" and row.at - said.details["due_at"] > LATE:
                self.reach("late timer")
            elif said.type == "timer.fired":
                self.reach("timer in time")

    def _op(self, story: Story, row: r.Row, op: ops.Op) -> None:
        run = row.run
        match op:
            case ops.EffectIntended():
                effect = self.effect(run, row.branch, op.address, op.key)
                if effect.key and effect.key != op.effect_key:
                    self.blame(f"{op.address}: effect {op.name} has two idempotency keys")
                effect.key, effect.on_doubt = op.effect_key, op.on_doubt
            case ops.EffectCompleted():
                effect = self.effect(run, row.branch, op.address, op.key)
                if effect.outcome:
                    self.blame(f"{op.address}: effect {op.name} has two outcomes")
                if op.how == "completed" and not effect.happened:
                    self.blame(f"{op.address}: effect {op.name} was recorded, and has not happened")
                effect.outcome = True
                self.reach(f"effect {op.how}")
            case ops.EffectInDoubt():
                self.effect(run, row.branch, op.address, op.key).doubts += bool(op.settled)  # leave to call it again
                self.reach("effect in doubt")
            case ops.QuestionAnswered():
                if op.id in self.answers:
                    self.blame(f"question {op.id} was answered twice in the log")
                self.answers[op.id] = json.decode(op.value)
            case ops.CallRecorded():
                story.calls[row.branch, op.address, op.key] += 1
                if story.calls[row.branch, op.address, op.key] > 1:
                    self.blame(f"{op.address}: call {op.name} was recorded twice")
            case ops.AttemptFailed() if op.due_at is not None:
                story.retrying = True
                story.dues[row.branch, op.address] = op.due_at
            case _:
                pass

    def _child(self, op: ops.ChildStarted | ops.ChildEnded) -> None:
        """A child is started once, and its parent hears once that it completed: an end may only get better."""
        if isinstance(op, ops.ChildStarted):
            if op.id in self.children:
                self.blame(f"{op.address}: child {op.id} was started twice")
            self.children.setdefault(op.id, [])
            return
        heard = self.children.setdefault(op.id, [])
        if COMPLETED in heard or op.status in heard:
            self.blame(f"{op.address}: the end of child {op.id} was told {op.status} after {heard}")
        story = self.stories.get(op.id)
        if not op.why and (story is None or (story.status != op.status and story.status not in FINAL)):
            self.blame(f"{op.address}: child {op.id} was told {op.status}, and stands elsewhere")
        heard.append(op.status)
        self.reach(f"child {op.status}")

    def effect(self, run: str, branch: int, address: str, key: str) -> Effected:
        """Return what is known of an effect."""
        return self.effects.setdefault((run, branch, address, key), Effected())

    def calling(self, process: Process, activation: Activation, key: str) -> Call:
        """See an effect's function called."""
        journal = activation.journal
        run, branch = journal.record.id, journal.position.branch
        story = self.stories[run]
        effect = self.effect(run, branch, activation.address, key)
        call = Call(process, journal.record.epoch != story.epoch)
        if call.is_stale:
            self.reach("effect called by a zombie")
        else:
            self._check_call(f"{activation.address}: effect {key}", effect)
        effect.calls.append(call)
        return call

    def _check_call(self, where: str, effect: Effected) -> None:
        if not effect.key:
            self.blame(f"{where} was called before its intent was durable")
        if effect.outcome:
            self.blame(f"{where} was called after its outcome was recorded")
        before = [call for call in effect.calls if not call.is_stale]
        if len(before) > effect.doubts:
            self.blame(f"{where} was called again, and the log does not say that it was in doubt")
        if any(call.has_happened for call in before) and effect.on_doubt != "retry":
            self.blame(f"{where} happened, and was called again")

    def happened(self, call: Call, activation: Activation, key: str, value: Any) -> None:
        """See an effect's function come to its end."""
        journal = activation.journal
        call.has_happened = True
        call.is_stale = call.is_stale or journal.record.epoch != self.stories[journal.record.id].epoch
        self.effect(journal.record.id, journal.position.branch, activation.address, key).value = value

    def died(self, process: Process) -> None:
        """Count where a crash has hit the effects of a process."""
        for effect in self.effects.values():
            if effect.outcome or not effect.key:
                continue
            mine = [call for call in effect.calls if call.process is process]
            if any(call.has_happened for call in mine):
                self.reach("crash between call and record")
            elif mine:
                self.reach("crash in a call")
            elif not effect.calls:
                self.reach("crash between intent and call")

    def verdict(self, question: r.Question) -> dict[str, Any] | None:
        """Answer a question about a doubt by what has happened; None if it is another question."""
        kind, _, rest = question.key.partition("|")
        if kind != "doubt":
            return None
        key = rest.rpartition("|")[0]
        found = [
            effect for (run, _, address, name), effect in self.effects.items()
            if (run, address, name) == (question.run, question.address, key) and effect.key
        ]  # fmt: skip
        if found and found[-1].happened:
            self.reach("doubt answered: it happened")
            return {"happened": True, "value": found[-1].value}
        self.reach("doubt answered: it did not happen")
        return {"happened": False}

    def end(self, run: str) -> None:
        """Check what must be true when a run has come to its end."""
        story = self.stories.get(run)
        if story is None:
            self.blame(f"{run} was acknowledged, and is lost")
        elif story.status is COMPLETED:
            for (of, branch, address, key), effect in self.effects.items():
                if (of, branch) == (run, story.branch) and effect.key and not effect.outcome and effect.happened:
                    self.blame(f"{address}: effect {key} happened, and the completed run does not know")
