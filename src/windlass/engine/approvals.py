"""Approvals: what a person is shown is what runs, once, and nothing else (D39; S7, S8 and S9 of the fault list).

A question about an approval is bound to run, branch, address, the activation's input, the action, its canonical
arguments, the definition's and the function's code, and the rules in force. All of that is digested into its key, and
computed anew when the answer is used: whatever differs asks again, and an event says what. No clock says yes: who does
not answer in time denies. A run that asks for too many is denied without a question, and so is what is put to an
approver of whom all runs together ask too many: a flood wears people out.
"""

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from windlass.core import changes, ops, queries
from windlass.core.blueprint import Blueprint
from windlass.core.errors import PermissionDenied, QuestionExpired, WindlassError
from windlass.core.position import parse
from windlass.core.shown import MOST_BYTES, capped, escaped
from windlass.core.tallies import LimitAnswer, LimitOp
from windlass.core.words import Approve
from windlass.engine.activation import Activation
from windlass.engine.called import called_digest, digested
from windlass.engine.questions import ask
from windlass.engine.showing import readable
from windlass.engine.terms import approval_terms
from windlass.policies.keys import tally_key
from windlass.policies.permission import Kind, Layer

VERDICT = {"type": "string", "enum": ["allow", "deny"]}
WINDOW_SECONDS = 3600.0
BEGIN = "permit|"
MOST_IN_PROMPT = 200  # characters of the arguments


class Wish(NamedTuple):
    """What a person is to approve.

    Args:
        place: which of the activation's actions it is: the same on a re-run.
        fn: what is called; a tool's is that of the definition.
        about: what else is shown.
    """

    kind: Kind
    name: str
    arguments: Mapping[str, Any]
    place: str
    fn: Callable[..., Any] | None = None
    about: Mapping[str, str] = {}


async def approve(activation: Activation, wish: Wish, digest: Callable[[], str], by: str | Approve = "") -> str:
    """Return once a person has approved exactly this, with the digest of the arguments that it holds for.

    Args:
        digest: of the arguments as they are now.
        by: who is to approve; until when is read as it is asked, for the moment may be past as the answer is taken.

    Raises:
        PermissionDenied: a person refused it, nobody answered in time, the arguments cannot be shown exactly, or too
            many were asked for, by the run or of the approver.
        InputError: it is asked of nobody, or until a moment that is past.
    """
    to, terms = by.to if isinstance(by, Approve) else by, ops.NO_TERMS
    try:
        arguments, shown = digest(), _shown(activation, wish)
    except WindlassError as error:
        why = f"nobody can be shown what it would be given: {error.args[0]}"
        raise _deny(activation, wish, why, "give it what can be kept, or declare its type with types=[...]") from error
    bound = bound_to(activation, wish, arguments, to)
    whole = sha256(msgspec.json.encode(bound, order="sorted")).hexdigest()[:32]
    where, identity = _where(activation, wish), f"{BEGIN}{wish.kind}|{wish.place}|{whole}|{activation.pending.resets}"
    activation.nth(identity)
    about = {**shown, "bound": bound}
    if identity not in activation.pending.asked:
        about |= await _void(activation, wish, bound)
        terms = approval_terms(by, activation.services.seams.clock.now())
        why = await _too_many(activation, to)
        if why:
            raise _deny(activation, wish, why, "raise Platform(approvals=..., approvals_each=...), or ask for less")
    try:
        raw = await ask(activation, identity, _prompt(activation.node.id, wish, about), VERDICT, about, terms)
    except QuestionExpired as error:
        raise PermissionDenied(f"{where}: nobody approved it in time") from error
    if msgspec.json.decode(raw) != "allow":
        raise PermissionDenied(f"{where}: a person refused it")
    return arguments


def bound_to(activation: Activation, wish: Wish, digest: str, to: str) -> dict[str, str]:
    """Name all that an approval holds for."""
    record, blueprint = activation.journal.record, activation.blueprint
    tool = blueprint.tools.get(wish.name) if wish.kind == "tool" else None
    fn = tool.fn if tool is not None else wish.fn
    return {
        "run": record.id,
        "branch": str(activation.journal.position.branch),
        "address": activation.address,
        "input": input_digest(activation),
        "action": f"{wish.kind}:{wish.name}",
        "arguments": digest,
        "definition": definition_digest(
            blueprint, activation.node.source_digest, fn, "" if tool is None else tool.digest
        ),
        "policy": policy_digest(activation.chain.layers, to),
    }


def input_digest(activation: Activation) -> str:
    """Digest what the activation is given: its channels' writes, its element of a list, what a Send carried."""
    channels = activation.frame.channels
    names = [name for param in activation.node.params for name in (param.source, *param.sources)]
    marks = [f"{name}={channels[name].mark:x}" for name in sorted(set(names)) if name in channels]
    index, payload = parse(activation.address)[2], bytes(activation.planned.payload).decode()
    return digested([marks, index, payload])


def definition_digest(blueprint: Blueprint, source: str, fn: Callable[..., Any] | None, tool: str) -> str:
    """Digest the definition's structure, the node's source text, and what is called, a tool's description."""
    return digested([blueprint.name, blueprint.fingerprint, source, called_digest(blueprint.codec, fn), tool])


def policy_digest(layers: tuple[Layer, ...], to: str) -> str:
    """Digest the rules in force, and who was to approve."""
    return digested([[[one.name, list(map(str, one.rules)), sorted(one.kinds)] for one in layers], to])


async def _void(activation: Activation, wish: Wish, bound: Mapping[str, str]) -> dict[str, Any]:
    """Tell that what was asked about before is not what is asked now, and withdraw that question if it is open.

    Returns:
        What is shown of that beside the question: the last one's id, which fields differ, and what it showed.
    """
    journal, pending = activation.journal, activation.pending
    ids, begin, done = {}, f"{BEGIN}{wish.kind}|", pending.calls.keys() | pending.outcomes.keys()
    for key, id_ in pending.asked.items():
        if key.startswith(begin) and not activation.counts.get(key):
            place, _, resets = key.removeprefix(begin).rsplit("|", 2)
            asking = place.rpartition("|")[0] if wish.kind == "model" else place  # which of its models may be behind it
            if place not in done and asking not in done and resets == str(pending.resets):
                ids[id_] = key
    again: dict[str, Any] = {}
    if not ids:
        return again
    for asked in await journal.store.find(queries.Questions(ids=tuple(ids), statuses=None)):
        if asked.about.get("name") != wish.name:
            continue
        was = asked.about.get("bound", {})
        fields = [name for name, value in bound.items() if was.get(name) != value]
        journal.say("approval.void", activation.address, id=asked.id, name=wish.name, fields=fields)
        activation.nth(ids[asked.id])
        if asked.status == "open":
            journal.change(changes.QuestionPut(msgspec.structs.replace(asked, status="withdrawn")))
            journal.say("question.withdrawn", activation.address, id=asked.id)
        again = {"again": {"id": asked.id, "differs": fields, "shown": asked.about.get("shown", "")}}
    return again


def _prompt(node: str, wish: Wish, about: Mapping[str, Any]) -> str:
    """Ask in one line: what is about to be done, the beginning of the arguments, and whether it is asked again."""
    again = about.get("again")
    before = f"Asked again, as it differs in {', '.join(again['differs'])}: " if again else ""
    shown = str(about["shown"])
    head = shown if len(shown) <= MOST_IN_PROMPT else f"{shown[:MOST_IN_PROMPT]}… (more is shown beside)"
    return f"{before}{escaped(f'May {node} do {wish.kind} {wish.name!r} with {head}?')}"


async def _too_many(activation: Activation, to: str) -> str:
    """Count an approval with its run's and with its approver's; say why there are too many, if there are."""
    services, journal, guard = activation.services, activation.journal, activation.guard
    now, most = services.seams.clock.now(), services.platform.approvals
    if guard.approvals is None:
        query = queries.Questions(run=journal.record.id, statuses=None, limit=queries.EVER)
        found = await journal.store.find(query)
        guard.approvals = [asked.asked_at for asked in found if asked.key.startswith(BEGIN)]
    guard.approvals = [at for at in guard.approvals if at > now - WINDOW_SECONDS]
    if len(guard.approvals) >= most:
        return f"the run has asked for {len(guard.approvals)} approvals within an hour, and may ask for {most}"
    guard.approvals.append(now)  # before anything is awaited: others of this run are counting, too
    if not await _is_let(activation, to):
        guard.approvals.remove(now)
        each = services.platform.approvals_each
        return f"{to or 'anybody'} was asked for {each} approvals within an hour by all runs"
    return ""


async def _is_let(activation: Activation, to: str) -> bool:
    """Take a permit of the approver's tally, which all processes share; a crash before the question leaves it used."""
    record, services = activation.journal.record, activation.services
    each = services.platform.approvals_each
    if not each:
        return False
    op = LimitOp(
        record.id, record.epoch, services.seams.clock.now(), take=1, rate=each / WINDOW_SECONDS, burst=each
    )  # fmt: skip
    (answer,) = await services.store.adjust((changes.Adjust(tally_key("limit", "approver", record.tenant, to), op),))
    return isinstance(answer, LimitAnswer) and answer.granted > 0


def _shown(activation: Activation, wish: Wish) -> dict[str, Any]:
    """Show what is to be approved: the arguments as they will be given, escaped, and how much of them is not shown."""
    text = readable(activation.blueprint.codec, wish.arguments)
    shown: dict[str, Any] = {"kind": wish.kind, "name": wish.name, "shown": capped(text)}
    if len(text.encode()) <= MOST_BYTES:
        shown["arguments"] = msgspec.json.decode(text)
    return {**shown, **wish.about}


def _deny(activation: Activation, wish: Wish, why: str, hint: str) -> PermissionDenied:
    """Tell that a person is not asked; returns what to raise."""
    activation.journal.say("approval.denied", activation.address, name=wish.name, why=why)
    return PermissionDenied(f"{_where(activation, wish)}: {why}", hint=hint)


def _where(activation: Activation, wish: Wish) -> str:
    return f"{activation.address}: {wish.kind} {wish.name!r}"
