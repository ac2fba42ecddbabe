"""The effect ledger: one line for each effect on each branch, and the idempotency keys that follow from it (D15).

A line stands beside the log and is written with the row that tells of it. It is looked up in the whole tree of
branches and forks: what happened on another branch is known here.
"""

import re
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import Raw

from windlass.core import changes, ops, queries
from windlass.core import records as r
from windlass.core.position import Position
from windlass.engine.activation import Activation
from windlass.engine.journal import Journal
from windlass.stores.base import Store

REPLACED = "\x1f"  # in a line's key: what follows is the generation of one that its own branch has replaced
ANEW = "it was asked for with other arguments, and made anew"
HAPPENED = ("done", "standing")
UNSETTLED = ("intended", "undoing")
REFERENCE = re.compile(rb'"blob":"([0-9a-f]{64})","size":')  # to a content out of line, as the codec writes it


class Ledger:
    """The effects of a run's family, as far as other branches made them; loaded only where there are other branches.

    Args:
        adopt: `run` if effects of other runs do not count; those of the run's own branches always do.
    """

    def __init__(self, tree: str, effects: list[r.Effect], adopt: str) -> None:
        self.tree = tree
        self.adopt = adopt
        self._at: dict[str, dict[tuple[str, int, str, str], r.Effect]] = {}  # by address
        for effect in effects:
            self._keep(effect)

    def _keep(self, line: r.Effect) -> None:
        self._at.setdefault(line.address, {})[line.run, line.branch, line.name, line.key] = line

    def before(self, activation: Activation, name: str, key: str) -> list[r.Effect]:
        """Return the lines of the same effect on other branches and runs of the tree, oldest first."""
        lines = self._at.get(activation.address)
        if lines is None:
            return []
        run, branch = activation.journal.record.id, activation.journal.position.branch
        return [
            line for line in lines.values()
            if (line.name, plain_key(line)) == (name, key)
            and (line.run, line.branch) != (run, branch) and (self.adopt == "adopt" or line.run == run)
        ]  # fmt: skip

    def same(self, run: str, intent: ops.EffectIntended) -> list[r.Effect]:
        """Return the lines of one happening on other branches of a run."""
        lines = self._at.get(intent.address, {}).values()
        return [line for line in lines if (line.run, line.effect_key) == (run, intent.effect_key)]

    def put(self, journal: Journal, *lines: r.Effect) -> None:
        """Put lines into the next write."""
        for line in lines:
            journal.change(changes.EffectPut(line))
            if (line.run, line.branch) != (journal.record.id, journal.position.branch):
                self._keep(line)

    async def refresh(self, journal: Journal, address: str) -> None:
        """Look again what other runs of the tree did: they may go on at the same time."""
        for line in await journal.store.find(queries.Effects(tree=self.tree, address=address)):
            self._keep(line)


def plain_key(line: r.Effect) -> str:
    """Return the `key=` that the effect was asked for with."""
    return line.key.partition(REPLACED)[0]


def effect_key(activation: Activation, name: str, key: str) -> str:
    """Return the idempotency key: neither attempt nor epoch is in it; the generation is."""
    return next_key(activation, name, key)[0]


def next_key(activation: Activation, name: str, key: str) -> tuple[str, int]:
    """Return the key that an effect has, or would be given now, and its generation.

    The generation counts the times that the effect was undone, or superseded by a branch or by other arguments. What
    is in doubt on another branch keeps its key: the target may know it.
    """
    identity = f"{name}|{key}"
    pending = activation.pending
    intent, outcome = pending.intents.get(identity), pending.outcomes.get(identity)
    if intent is not None and (outcome is None or outcome.how != "adopted"):
        if outcome is None or identity not in pending.cleared:
            return intent.effect_key, intent.generation
        generation = intent.generation + 1
    else:
        before = activation.ledger.before(activation, name, key)
        if before and before[-1].status == "intended":
            return before[-1].effect_key, before[-1].generation
        generation = max((line.generation + 1 for line in before), default=0)
    said = f"{activation.journal.record.id}|{activation.address}|{name}|{key}|{generation}"
    return sha256(said.encode()).hexdigest()[:32], generation


def line_of(journal: Journal, tree: str, intent: ops.EffectIntended, status: Any, **known: Any) -> r.Effect:
    """Make the ledger's line of an effect on this branch."""
    return r.Effect(
        tree=tree, run=journal.record.id, branch=journal.position.branch, address=intent.address, name=intent.name,
        key=intent.key[len(intent.name) + 1 :], effect_key=intent.effect_key, generation=intent.generation,
        status=status, arguments=intent.arguments, arguments_digest=intent.arguments_digest, on_doubt=intent.on_doubt,
        undo=intent.undo, seq=journal.position.seq, at=journal.seams.clock.now(), **known,
    )  # fmt: skip


def completed(
    journal: Journal, ledger: Ledger, intent: ops.EffectIntended, value: Raw, how: str, *, by: str = "", why: str = ""
) -> ops.EffectCompleted:
    """Put an outcome into the ledger; return what the log keeps of it, for the same write."""
    known = {"how": how, "by": by, "why": why}
    elsewhere = ledger.same(journal.record.id, intent)
    ledger.put(journal, *(msgspec.structs.replace(e, status="done", value=value, **known) for e in elsewhere))
    ledger.put(journal, line_of(journal, ledger.tree, intent, "done", value=value, **known))
    return ops.EffectCompleted(intent.address, intent.name, intent.key, value, how, by)


def absent(
    journal: Journal, ledger: Ledger, intent: ops.EffectIntended, settled: str, *, by: str = ""
) -> ops.EffectInDoubt:
    """Put into the ledger that an effect did not happen; return what the log keeps of it, for the same write."""
    known = {"by": by, "why": settled}
    elsewhere = ledger.same(journal.record.id, intent)
    ledger.put(journal, *(msgspec.structs.replace(e, status="not_done", **known) for e in elsewhere))
    ledger.put(journal, line_of(journal, ledger.tree, intent, "not_done", **known))
    return ops.EffectInDoubt(intent.address, intent.name, intent.key, settled, by=by)


def replaced(
    journal: Journal, ledger: Ledger, intent: ops.EffectIntended, value: Raw, *, by: str = ""
) -> ops.EffectInDoubt:
    """Let an effect stand beside the one that its own branch makes in its place, with other arguments."""
    line = line_of(journal, ledger.tree, intent, "standing", value=value, by=by, why=ANEW)
    ledger.put(journal, msgspec.structs.replace(line, key=f"{line.key}{REPLACED}{line.generation}"))
    return ops.EffectInDoubt(intent.address, intent.name, intent.key, ANEW, by=by)


def in_doubt(position: Position) -> list[str]:
    """Name the effects of a position that have an intent and no outcome."""
    return [
        f"{address} {intent.name}"
        for address, pending in position.pending.items()
        for key, intent in pending.intents.items()
        if key not in pending.outcomes and key not in pending.cleared
    ]


async def bring(journal: Journal, *kept: Raw) -> list[r.Blob]:
    """Load what values of other branches keep out of line; return what was not known here."""
    found = {match.decode() for raw in kept for match in REFERENCE.findall(bytes(raw))}
    new = sorted(found - journal.blobs.keys())
    blobs = await journal.store.find(queries.Blobs(digests=tuple(new))) if new else []
    journal.blobs.update((blob.digest, blob.content) for blob in blobs)
    return blobs


def ordered(lines: Iterable[r.Effect]) -> list[list[r.Effect]]:
    """Group lines by happening, the latest happening first."""
    groups: dict[str, list[r.Effect]] = {}
    for line in lines:
        groups.setdefault(line.effect_key, []).append(line)
    found = list(reversed(groups.values()))
    found.sort(key=lambda group: min(line.seq for line in group), reverse=True)  # stable: of two at once the later line
    return found


async def ledger_of(store: Store, record: r.RunRecord) -> Ledger:
    """Load the effects of a run's other branches and of its family, where there can be any."""
    tree_id = record.parent.tree if record.parent else record.id
    if not record.head.branch and record.parent is None:
        return Ledger(tree_id, [], "adopt")
    adopt = record.parent.effects if record.parent else "adopt"
    return Ledger(tree_id, await store.find(queries.Effects(tree=tree_id)), adopt)
