"""Events as objects for programs and as lines for people."""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from windlass.cli.output import clock_time, cut, iso, short
from windlass.core.events import Event

Data: TypeAlias = dict[str, Any]


def as_object(event: Event) -> dict[str, Any]:
    """Spell an event out for programs."""
    return {
        "run": event.run, "seq": event.seq, "at": iso(event.at), "type": event.type, "address": event.address,
        "node": event.node, "data": event.data, **({"path": event.path} if event.path else {}),
    }  # fmt: skip


def as_line(event: Event) -> str:
    """Spell an event out for a person."""
    parts = (clock_time(event.at), f"{event.type:<20}", event.address, details(event))
    return "  ".join(part for part in parts if part).rstrip()


def details(event: Event) -> str:
    """Say the one thing about an event that its type does not."""
    spell_out = DETAILS.get(event.type, _anything)
    return spell_out(event.data)


def _anything(data: Data) -> str:
    return short(data) if data else ""


def _step(data: Data) -> str:
    planned = data.get("planned")
    return f"checkpoint {data['n']}" + (f", next {cut(', '.join(planned))}" if planned else "")


def _written(data: Data) -> str:
    return _anything(data.get("writes", {}))


def _attempt_failed(data: Data) -> str:
    said = failure(data.get("failure", {}))
    return f"attempt {data['attempt']}: {said}" if "attempt" in data else said


def _effect(data: Data) -> str:
    return f"{data['name']} ({data['how']}) -> {short(data['value'])}"


def _waits(data: Data) -> str:
    asked, due_at = data.get("questions") or (), data.get("due_at")
    parts = [f"{len(asked)} question{'s' * (len(asked) != 1)}"] if asked else []
    parts += [f"signal {name}" for name in dict.fromkeys(data.get("signals") or ())]
    below = data.get("children") or ()
    parts += [f"{len(below)} child run{'s' * (len(below) != 1)}"] if below else []
    return ", ".join(parts + ([f"until {clock_time(due_at)}"] if due_at else []))


def failure(kept: Data) -> str:
    """Say in a line what failed."""
    return cut(f"{kept.get('kind', 'Failure')}: {kept.get('message', '')}", 160)


DETAILS: Final[dict[str, Callable[[Data], str]]] = {
    "run.created": lambda data: f"{data['definition']} {data['fingerprint']}",
    "run.parked": _waits,
    "run.failed": lambda data: failure(data.get("failure", {})),
    "run.rolled_back": lambda data: f"to {data.get('to')}, branch {data.get('branch')}",
    "run.begun": lambda data: f"turn {data.get('turn')}, after {data.get('after') or 'nothing'}",
    "run.continued": lambda data: f"as {data.get('run')}",
    "run.forked": lambda data: f"from {data.get('parent')} at checkpoint {data.get('n')}",
    "step.committed": _step,
    "activation.completed": _written,
    "activation.skipped": _written,
    "attempt.failed": _attempt_failed,
    "attempt.abandoned": _attempt_failed,
    "activation.failed": _attempt_failed,
    "attempt.retrying": lambda data: f"attempt {data['attempt']} at {clock_time(data['due_at'])}",
    "activation.started": lambda data: f"attempt {data['attempt']}" if data.get("attempt", 1) > 1 else "",
    "timer.set": lambda data: clock_time(data["due_at"]),
    "timer.fired": lambda data: clock_time(data["due_at"]),
    "question.asked": lambda data: f"{data['id']}: {cut(data['prompt'])}",
    "signal.received": lambda data: f"{data['name']} {short(data['value'])}",
    "signal.awaited": lambda data: str(data["name"]),
    "signal.taken": lambda data: str(data["name"]),
    "signal.refused": lambda data: f"{data['name']}: {cut(data['why'])}",
    "call.recorded": lambda data: f"{data['name']} -> {short(data['value'])}",
    "effect.intended": lambda data: str(data["name"]),
    "effect.completed": _effect,
    "effect.adopted": _effect,
    "item": lambda data: short(data.get("value")),
}
