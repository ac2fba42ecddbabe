"""The edge of a budget, met between attempts: the run stops, asks a person, wraps up, or hands over."""

import msgspec

from windlass.core.errors import BudgetExceeded, WindlassError
from windlass.core.position import parse
from windlass.core.records import Planned
from windlass.engine import failures
from windlass.engine.boundary import MORE
from windlass.engine.dead import fail
from windlass.engine.drive import Drive
from windlass.engine.kin import leave
from windlass.engine.questions import question
from windlass.engine.reconcile import reconcile
from windlass.policies.budget import WrapUp, handed_to, in_units
from windlass.policies.chain import reason

WRAP = "wrap"  # the index of an activation that wraps up: after it nothing is planned


def check_begin(drive: Drive) -> None:
    """Fail a run whose input leads to more activations at once than it may have."""
    if drive.position.n == 1 and not drive.over:
        try:
            drive.guard.check(tuple(drive.position.waiting.values()))
        except BudgetExceeded as error:
            fail(drive, "", failures.describe(error), reason(error))


async def exceed(drive: Drive, error: BudgetExceeded) -> None:
    """Do what the budget's declaration says."""
    edge = error.edge
    if drive.leaving in ("wrap_up", "fail", "cancel", "rollback"):
        return
    if edge == "ask":
        if drive.ready:
            await _ask(drive, error)
        else:
            drive.stop_all("budget")  # its time is up: what runs is ready again then, and a person is asked
        return
    wraps = isinstance(edge, WrapUp) and not any(map(is_wrapped, drive.position.waiting))
    drive.journal.say("budget.exceeded", unit=error.unit, budget=error.key, edge=_spelled(edge))
    if isinstance(edge, WrapUp) and wraps:
        drive.leaving, drive.wrapping = "wrap_up", edge.node
    else:
        fail(drive, "", failures.describe(error), reason(error), handler=handed_to(edge))
    drive.stop_all("budget")


def _spelled(edge: object) -> str:
    if isinstance(edge, WrapUp):
        return f"wrap up at {edge.node}"
    return f"hand to {handed_to(edge)}" if handed_to(edge) else str(edge)


async def _ask(drive: Drive, error: BudgetExceeded) -> None:
    """Ask on behalf of the first activation that may not begin; all of them rest until the answer."""
    begins = f"budget|{error.key}|{error.unit}|run"
    asked, answers = {}, {}
    for pending in drive.position.pending.values():
        asked.update({key: id_ for key, id_ in pending.asked.items() if key.startswith(begins)})
        answers.update({key: raw for key, raw in pending.answers.items() if key in asked})
    if answers and await drive.guard.escrow.provide("") is None:
        return
    if len(answers) == len(asked):
        said = f"{error.args[0]}. How much more may it be?"
        identity = f"{begins}{len(asked)}"
        drive.journal.note(question(drive.journal, drive.ready[0], identity, said, MORE, {"budget": error.key}))
    drive.unfunded.extend(drive.ready)
    drive.resting.update(dict.fromkeys(drive.ready, "waits"))
    drive.ready.clear()


async def raised(drive: Drive, key: str, id: str, answer: bytes) -> None:
    """Take a person's answer to a question of `_ask`: what rests for it goes on, or the run stops.

    The write that takes the answer raises the budget, too.
    """
    _, *parts, unit, _ = key.split("|")
    tally, more = "|".join(parts), in_units(unit, msgspec.json.decode(answer))
    if more > 0:
        more, raising = await drive.guard.escrow.raising(tally, unit, more, id)
        if raising is not None:
            drive.journal.change(raising)
            drive.journal.say("budget.raised", budget=tally, unit=unit, by=more)
    if more <= 0:
        error = BudgetExceeded("a budget is used up, and a person gave no more", unit=unit)
        fail(drive, "", failures.describe(error), "budget")
    drive.ready.extend(address for address in drive.unfunded if address not in drive.ready)
    drive.unfunded.clear()


async def wrap_up(drive: Drive) -> None:
    """Settle what has finished, take back all that was planned, and plan the node that wraps up instead."""
    position, node = drive.position, drive.wrapping
    drive.leaving = ""
    try:
        step = reconcile(drive.blueprint, position, [], drive.known, drive.journal.blob)
    except WindlassError as error:
        fail(drive, "", failures.describe(error), reason(error))
        return
    await failures.withdraw(drive)
    planned = Planned(f"{node}#{position.visits.get(node, 0) + 1}[{WRAP}]")
    dropped = tuple(address for address in position.waiting if address not in position.settled)
    for address in position.open():
        leave(drive.journal, address, "its parent wraps up")
    drive.known = {}
    for rest in (drive.ready, drive.resting, drive.held, drive.unfunded):
        rest.clear()
    await drive.journal.write("step", step=step._replace(planned=(planned,)), dropped=dropped)
    drive.ready.append(planned.address)


def is_wrapped(address: str) -> bool:
    """Say whether an activation wraps its run up."""
    return parse(address)[2] == WRAP
