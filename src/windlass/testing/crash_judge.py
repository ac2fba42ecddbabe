"""The judge: from what the file, the ledger and the run's end say, what was lost, repeated, asked wrongly or is stuck.

Pure. What a run has to come to is what it came to when nobody killed it: the model.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct, field

from windlass.testing.crash_world import Line

KINDS = ("lost", "duplicated", "rerun", "asked_wrongly", "stuck")  # of what may be wrong with a trial


class Kept(Struct, frozen=True):
    """A line of the run's effect ledger. `part` is the effect's `key=`, `digest` that of its arguments."""

    address: str
    name: str
    part: str
    key: str
    status: str
    on_doubt: str
    digest: str

    @property
    def identity(self) -> tuple[str, str, str]:
        """What makes it the same effect, whoever calls it."""
        return self.address, self.name, self.part


class Look(Struct, frozen=True):
    """What a process finds in the file before it claims the run: what was acknowledged when the last one died.

    Args:
        seq: the number of the last event; 0 when there is no run.
        mark: the digest of all events so far.
        completed: activations, since the last rollback.
        called: activation and name of each recorded call.
        paid: keys of effects with an outcome.
        doubtful: keys of effects with an intent and no outcome, about which a person is to be asked and was not yet.
        in_doubt: how many effects have an intent and no outcome, whoever is to settle that.
        rollbacks: that have happened.
    """

    seq: int = 0
    mark: str = ""
    completed: Sequence[str] = ()
    called: Sequence[tuple[str, str]] = ()
    paid: Sequence[str] = ()
    doubtful: Sequence[str] = ()
    in_doubt: int = 0
    rollbacks: int = 0


class End(Struct, frozen=True):
    """How the run stands at the end.

    Args:
        output: as JSON.
        digest: of the whole state.
        marks: for each event, the digest of all until then.
        is_gapless: the events are numbered from 1 without a gap.
        completed: activations, each with the JSON of its writes.
        permits: activation and name of each effect that was found in doubt and may be called again.
        undos: activation and name of each effect that an undo was intended for.
        asked: questions about effects: number of the event, key of the effect.
        poisoned: how often a person had to resume the run, because owners had died in a row.
        differing: checkpoints that a replay finds different.
    """

    status: str = ""
    output: str = ""
    digest: str = ""
    marks: Sequence[str] = ()
    is_gapless: bool = True
    completed: Sequence[tuple[str, str]] = ()
    effects: Sequence[Kept] = ()
    permits: Sequence[tuple[str, str]] = ()
    undos: Sequence[tuple[str, str]] = ()
    asked: Sequence[tuple[int, str]] = ()
    rollbacks: int = 0
    poisoned: int = 0
    differing: Sequence[int] = ()


class Evidence(Struct, frozen=True):
    """All that is left of a trial.

    Args:
        looks: one for each process that got so far, but for the first.
        was_told: the first process was told that the run exists.
    """

    looks: Sequence[Look]
    end: End
    ledger: Sequence[Line]
    was_told: bool = False


class Verdict(Struct, frozen=True):
    """What a trial came to; each of the five lists is to be empty.

    Args:
        is_between: the first kill fell between an intent and its outcome, by the ledger's times.
        parked: questions about effects.
        doubts: effects that the first kill left with an intent and without outcome.
    """

    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    rerun: list[str] = field(default_factory=list)
    asked_wrongly: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    parked: int = 0
    doubts: int = 0
    poisoned: int = 0
    is_between: bool = False

    def trouble(self) -> list[tuple[str, str]]:
        """List all that is wrong, each with its kind."""
        return [(kind, what) for kind in KINDS for what in getattr(self, kind)]


def judge(evidence: Evidence, model: Evidence) -> Verdict:
    """Judge a trial against what the run comes to when nobody kills it."""
    end, between = evidence.end, is_between(evidence.ledger)
    if end.status != model.end.status:
        return Verdict(stuck=[f"the run ended {end.status or 'never'}"], is_between=between)
    return Verdict(
        [*_lost(evidence), *_different(end, model.end)],
        [*_happened_twice(evidence), *_run_again(evidence, model)], [*_called_again(evidence)],
        _asked_wrongly(evidence, model.end), [],
        parked=len(end.asked), doubts=sum(look.in_doubt for look in evidence.looks[:1]), poisoned=end.poisoned,
        is_between=between,
    )  # fmt: skip


def of_run(ledger: Sequence[Line], run: str) -> list[Line]:
    """Return the lines of one run, and those that are no run's."""
    return [line for line in ledger if line.run in ("", run)]


def together(verdicts: Sequence[Verdict]) -> Verdict:
    """Make one verdict of those about a run and its child runs."""
    found: dict[str, Any] = {kind: [what for one in verdicts for what in getattr(one, kind)] for kind in KINDS}
    return Verdict(
        **found, parked=sum(verdict.parked for verdict in verdicts), doubts=sum(verdict.doubts for verdict in verdicts),
        poisoned=sum(verdict.poisoned for verdict in verdicts),
        is_between=any(verdict.is_between for verdict in verdicts),
    )  # fmt: skip


def _lost(evidence: Evidence) -> Iterable[str]:
    """What was acknowledged, and is not there."""
    end, before = evidence.end, Look(seq=int(evidence.was_told))
    if not end.is_gapless:
        yield "the events are not numbered without a gap"
    if end.differing:
        yield f"a replay differs at {list(end.differing)}"
    for place, look in enumerate(evidence.looks, start=1):
        if look.seq < before.seq or look.seq > len(end.marks):
            yield f"events up to {before.seq} were there, process {place} finds {look.seq}"
        elif look.seq and end.marks[look.seq - 1] != look.mark:
            yield f"events up to {look.seq}, which process {place} found, are others at the end"
        before = look
    happened = {line.key for line in evidence.ledger if line.kind in ("did", "done")}
    for effect in end.effects:
        # What a user's `verify` found outside was perhaps killed before it could say that it was done.
        if effect.status == "done" and effect.key not in happened and effect.on_doubt != "verify":
            yield f"{effect.address}: its effect {effect.name} is recorded as done, and did not happen"


def _different(end: End, model: End) -> Iterable[str]:
    """In what the run differs from one that nobody killed."""
    writes, wanted = Counter(map(tuple, end.completed)), Counter(map(tuple, model.completed))
    for (address, written), number in (wanted - writes).items():
        there = [other for at, other in writes if at == address]
        said = f", and wrote {there[0]}" if there else ""
        yield f"{address}: completed {number} times too few with {written}{said}"
    effects, known = ({(*effect.identity, effect.digest) for effect in one.effects} for one in (end, model))
    yield from (f"{address}: no effect {name} {part}" for address, name, part, _ in sorted(known - effects))
    yield from (f"{address}: an effect {name} {part} too many" for address, name, part, _ in sorted(effects - known))
    if end.output != model.output:
        yield f"the output is {end.output}, not {model.output}"
    elif end.digest != model.digest:
        yield f"the state's digest is {end.digest}, not {model.digest}"


def _happened_twice(evidence: Evidence) -> Iterable[str]:
    """What happened outside, or was told as completed, more often than it may."""
    end, ledger = evidence.end, evidence.ledger
    completed = Counter(address for address, _ in end.completed)
    for address, number in completed.items():
        if number > 1 + end.rollbacks:
            yield f"{address}: completed {number} times"
    policies = {effect.key: effect.on_doubt for effect in end.effects}
    for kind in ("did", "undid", "done"):
        for key, lines in _by(ledger, kind, lambda line: line.key).items():
            if len(lines) > 1 and not (kind == "done" and policies.get(key) == "retry"):
                yield f"{lines[0].address}: {lines[0].name} {kind} {len(lines)} times with one key"


def _called_again(evidence: Evidence) -> Iterable[str]:
    """What was called without an intent, again without leave, or with another key."""
    end, ledger = evidence.end, evidence.ledger
    known = {effect.key for effect in end.effects}
    for key, lines in _by(ledger, "begun", lambda line: line.key).items():
        if key not in known:
            yield f"{lines[0].address}: its effect {lines[0].name} was called without an intent"
    for identity, lines in _by(ledger, "begun", lambda line: (line.address, line.name, line.part)).items():
        keys = {line.key for line in lines}
        if len(keys) > 1 + end.rollbacks:
            yield f"{identity[0]}: its effect {identity[1]} was called with {len(keys)} keys"
    for turn, look in enumerate(evidence.looks, start=1):
        begun = {line.key for line in ledger if line.turn >= turn and line.kind == "begun"}
        yield from (f"an effect with the key {key} was done, and called again" for key in look.paid if key in begun)
    permits = Counter(map(tuple, end.permits))
    for called, lines in _by(ledger, "begun", lambda line: (line.address, line.name)).items():
        again = len(lines) - len({line.key for line in lines})
        if again > permits[called]:
            yield f"{called[0]}: its effect {called[1]} was called {again} times more, with leave for {permits[called]}"
    intents = Counter(map(tuple, end.undos))
    for called, lines in _by(ledger, "undoing", lambda line: (line.address, line.name)).items():
        if len(lines) > intents[called]:
            yield f"{called[0]}: the undo of {called[1]} was called {len(lines)} times, meant {intents[called]} times"


def _run_again(evidence: Evidence, model: Evidence) -> Iterable[str]:
    """What was acknowledged as finished when a process died, and ran again; before a rollback it has to."""
    made = _calls(model.ledger)
    for turn, look in enumerate(evidence.looks, start=1):
        later = [line for line in evidence.ledger if line.turn >= turn]
        if look.rollbacks < evidence.end.rollbacks:
            continue  # it has to run again
        bodies = {line.address for line in later if line.kind == "body"}
        yield from (f"{address}: completed, and ran again" for address in look.completed if address in bodies)
        recorded = Counter(map(tuple, look.called))
        for call, number in _calls(line for line in later if line.turn == turn).items():
            if recorded[call] and number > made[call] - recorded[call]:
                yield f"{call[0]}: {call[1]} was recorded, and called again"


def _asked_wrongly(evidence: Evidence, model: End) -> list[str]:
    """Compare what each process asked about with what it found in doubt; one that is killed may not have come to it."""
    wrongly = []
    by_itself = {key for _, key in model.asked}
    for place, look in enumerate(evidence.looks):
        after = evidence.looks[place + 1] if place + 1 < len(evidence.looks) else Look(len(evidence.end.marks))
        asked = {key for number, key in evidence.end.asked if look.seq < number <= after.seq} - by_itself
        found = {*look.doubtful} - by_itself
        if asked | found & {*after.doubtful} != found:
            wrongly.append(f"process {place + 1} asked for {sorted(asked)}, in doubt were {sorted(found)}")
    return wrongly


def _calls(ledger: Iterable[Line]) -> "Counter[tuple[str, str]]":
    return Counter((line.address, line.name) for line in ledger if line.kind == "call")


def _by(ledger: Sequence[Line], kind: str, name: Any) -> dict[Any, list[Line]]:
    found: dict[Any, list[Line]] = {}
    for line in ledger:
        if line.kind == kind:
            found.setdefault(name(line), []).append(line)
    return found


def is_between(ledger: Sequence[Line]) -> bool:
    """Say whether the first kill fell between an intent and its outcome, by the ledger's own times."""
    killed = min((line.at for line in ledger if line.kind == "killed"), default=None)
    if killed is None:
        return False
    before = [line for line in ledger if line.at <= killed and line.turn == 0]
    ended = {(line.address, line.name, line.part) for line in before if line.kind == "outcome"}
    return any(line.kind == "intended" and (line.address, line.name, line.part) not in ended for line in before)


def settle(ledger: Sequence[Line], kind: str, key: str) -> dict[str, Any]:
    """Answer for the world what became of the effect with a key.

    Args:
        kind: of the question: `doubt`, did it happen; `undo`, was it undone; `stand`, may it stay.
    """
    lines = {line.kind: line for line in ledger if line.key == key}
    if kind == "stand":
        return {"stand": True}
    if kind == "undo":
        return {"undone": "undone" in lines or "undid" in lines}
    line = lines.get("done") or lines.get("did")
    return {"happened": True, "value": line.value} if line is not None else {"happened": False}
