"""The judge: from what the file, the ledger and the run's end say, what was lost, repeated, parked and stuck. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.kill.world import Line


@dataclass(frozen=True)
class Look:
    """What a process finds in the file before it claims the run: what was acknowledged when the last one died."""

    seq: int = 0
    completed: Sequence[str] = ()  # activations
    called: Sequence[str] = ()  # activations whose call is recorded
    paid: Sequence[str] = ()  # activations whose effect has its outcome
    intended: Sequence[str] = ()  # activations whose effect has an intent, no outcome, and no question yet


@dataclass(frozen=True)
class End:
    """How the run stands at the end.

    Args:
        numbers: of all events.
        asked: questions about effects: number of the event, activation.
        differing: checkpoints that a replay finds different.
    """

    status: str = ""
    output: Any = None
    numbers: Sequence[int] = ()
    completed: Sequence[str] = ()
    asked: Sequence[tuple[int, str]] = ()
    differing: Sequence[int] = ()


@dataclass(frozen=True)
class Evidence:
    """All that is left of a trial. There is a look for each process that got so far, but not for the first."""

    looks: Sequence[Look]
    end: End
    ledger: Sequence[Line]


@dataclass(frozen=True)
class Verdict:
    """What a trial came to; each of the four is to be empty."""

    lost: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    parked_wrongly: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    parked: int = 0
    is_between: bool = False  # the first kill fell between an intent and its outcome, by the ledger's times


def judge(evidence: Evidence, steps: dict[str, int], output: Any) -> Verdict:
    """Judge a trial.

    Args:
        steps: the activations that the run consists of, each with the value of its one effect.
        output: what the run has to come to.
    """
    between = is_between(evidence.ledger)
    if evidence.end.status != "completed":
        return Verdict(stuck=[f"the run ended {evidence.end.status or 'never'}"], is_between=between)
    lost, repeated, wrongly = _lost(evidence, steps, output), _repeated(evidence), _parked_wrongly(evidence)
    return Verdict(lost, repeated, wrongly, [], len(evidence.end.asked), between)


def _parked_wrongly(evidence: Evidence) -> list[str]:
    """Compare what each process asked about with what it found in doubt; one that is killed may not have come to it."""
    wrongly = []
    for place, look in enumerate(evidence.looks):
        after = evidence.looks[place + 1] if place + 1 < len(evidence.looks) else Look(len(evidence.end.numbers))
        asked = {address for number, address in evidence.end.asked if look.seq < number <= after.seq}
        if asked | {*look.intended} & {*after.intended} != {*look.intended}:
            wrongly.append(f"process {place + 1} asked for {sorted(asked)}, in doubt {sorted(look.intended)}")
    return wrongly


def _lost(evidence: Evidence, steps: dict[str, int], output: Any) -> list[str]:
    end = evidence.end
    done = {line.address: line.value for line in evidence.ledger if line.kind == "done"}
    lost = [f"{address}: its effect did not happen" for address in steps if done.get(address) != steps[address]]
    lost += [f"{address}: not completed" for address in steps if address not in end.completed]
    if [*end.numbers] != [*range(1, len(end.numbers) + 1)]:
        lost.append("the events are not numbered without a gap")
    if any(look.seq > len(end.numbers) for look in evidence.looks):
        lost.append("events that were there before")
    if end.output != output:
        lost.append(f"the output is {end.output}, not {output}")
    if end.differing:
        lost.append(f"replay differs at {end.differing}")
    return lost


def _repeated(evidence: Evidence) -> list[str]:
    done = Counter(line.address for line in evidence.ledger if line.kind == "done")
    repeated = [f"{address}: its effect happened {number} times" for address, number in done.items() if number > 1]
    completed = Counter(evidence.end.completed)
    repeated += [f"{address}: completed {number} times" for address, number in completed.items() if number > 1]
    for turn, look in enumerate(evidence.looks, start=1):
        later = {(line.kind, line.address) for line in evidence.ledger if line.turn >= turn}
        repeated += [f"{address}: completed, and ran again" for address in look.completed if ("body", address) in later]
        repeated += [f"{address}: recorded, and called again" for address in look.called if ("call", address) in later]
        repeated += [f"{address}: paid, and called again" for address in look.paid if ("begun", address) in later]
    return repeated


def is_between(ledger: Sequence[Line]) -> bool:
    """Say whether the first kill fell between an intent and its outcome, by the ledger's own times."""
    killed = min((line.at for line in ledger if line.kind == "killed"), default=None)
    if killed is None:
        return False
    before = [line for line in ledger if line.at <= killed and line.turn == 0]
    ended = {line.address for line in before if line.kind == "outcome"}
    return any(line.kind == "intended" and line.address not in ended for line in before)


def settle(ledger: Sequence[Line], address: str) -> dict[str, Any]:
    """Answer for the world whether an effect happened."""
    done = [line.value for line in ledger if (line.kind, line.address) == ("done", address)]
    return {"happened": True, "value": done[0]} if done else {"happened": False}
