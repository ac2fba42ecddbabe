"""Undoing what happened outside, as a rollback goes back behind it: each undo is an effect of its own (D17).

Its intent is durable before it is called and its outcome before the next one is, so whoever takes a rollback over goes
on where it stopped. An undo that was begun and has no outcome is in doubt, and settled as it declares itself: it is
called again only where that is safe, and a person is asked about it otherwise. What cannot be undone stands, and the
rollback says so and goes on.
"""

import asyncio
from hashlib import sha256
from typing import Any

import msgspec

from windlass.core import ops, queries
from windlass.core import records as r
from windlass.core.crashpoint import crashpoint
from windlass.core.position import Frame, Position, parse, place
from windlass.core.shown import text_of
from windlass.core.states import RUNNING
from windlass.core.words import EffectNotDone, Happened, Undo
from windlass.engine.doubts import AGAIN, UNDO_SCHEMA, about_undo, undo_key, undo_prompt
from windlass.engine.drive import Drive
from windlass.engine.functions import LeftBehind, check_call, keyword_only, parameter_codec, run_within
from windlass.engine.ledger import bring, ordered
from windlass.engine.questions import question

RANK = ("undone", "undoing", "done", "standing", "intended", "not_done")  # which line speaks for a happening

UNDO_SECONDS = 300.0  # that an undo gets whose task has no timeout; after that it is in doubt


class Report(msgspec.Struct):
    """What became of the effects that a rollback goes back behind.

    Args:
        undone, standing: address and name of each; of those that stand, `in_doubt` are perhaps undone.
        asked: lines of undos that a person is to be asked about.
    """

    undone: list[str] = []
    standing: list[str] = []
    in_doubt: list[str] = []
    asked: list[r.Effect] = []


async def undo_after(drive: Drive, target: Position) -> Report:
    """Undo what happened after the target, the latest first; what this rollback did before a crash counts.

    Raises:
        StoreError: a write failed; whoever takes the run over goes on.
    """
    report = Report()
    here = {
        pending.intents[key].effect_key
        for pending in target.pending.values() for key in pending.outcomes if key in pending.intents
    }  # fmt: skip
    for lines in ordered(await drive.services.store.find(queries.Effects(run=drive.run))):
        line = min(lines, key=lambda line: RANK.index(line.status))
        if line.status == "not_done" or line.effect_key in here or not is_after(line.address, target):
            continue
        undoing = Undoing(drive, lines, line)
        if line.status == "undone":
            if line.undo_for == drive.rollback["id"]:
                report.undone.append(undoing.name)
            continue
        why = await undoing.settle()
        if not why:
            report.undone.append(undoing.name)
            continue
        report.standing.append(undoing.name)
        if undoing.line.status in ("intended", "undoing"):
            report.in_doubt.append(undoing.name)
        if undoing.line.status == "undoing":
            report.asked.append(undoing.line)
        drive.journal.note(ops.EffectLeft(line.address, line.name, undoing.identity, why))
        await drive.journal.write("record", status=RUNNING)
    return report


def ask_about(drive: Drive, position: Position, asked: list[r.Effect]) -> None:
    """Let a person say, on the new branch, whether undos in doubt took place; their effects wait for the answers."""
    for line in asked:
        key = undo_key(position.pending.get(line.address), line)
        about = about_undo(line)
        drive.journal.note(question(drive.journal, line.address, key, undo_prompt(line), UNDO_SCHEMA, about))


def is_after(address: str, target: Position) -> bool:
    """Say whether what an activation did is after the target: it has yet to finish there."""
    frame: Frame | None = target
    path = ""
    for part in address.split("/"):
        path = f"{path}/{part}" if path else part
        node, visit, _ = parse(part)
        if frame is None or frame.visits.get(node, 0) < visit:
            return True
        if path not in frame.waiting or path in frame.settled:
            return False  # it has finished there, or the sub-graph that it was in
        frame = target.frames.get(path)
    return True


class Undoing:
    """One happening that a rollback goes back behind, and all its lines."""

    def __init__(self, drive: Drive, lines: list[r.Effect], line: r.Effect) -> None:
        self.drive = drive
        self.lines = lines
        self.line = line
        self.name = f"{line.address} {line.name}"
        self.identity = f"{line.name}|{line.key}"
        self.node = drive.blueprint.node(line.address)
        self.key = sha256(f"{line.effect_key}|undo".encode()).hexdigest()[:32]

    async def settle(self) -> str:
        """Undo it, if that can be; return why it stands, empty if it was undone."""
        line, rollback = self.line, self.drive.rollback["id"]
        declared = self.node.undo.get(line.undo) if self.node is not None else None
        if line.status == "intended":
            return "in doubt: nobody knows whether it happened"
        if all(each.how == "adopted" for each in self.lines):
            return self._stands("it is another run's, and was adopted")
        if declared is None:
            return self._stands(f"its undo {line.undo!r} is not known" if line.undo else "it has no undo")
        if line.status != "undoing":
            return await self._undo(declared, "")
        if line.undo_for == rollback and line.undo_how:
            return line.undo_how  # this rollback has tried, before its owner died
        if declared.on_doubt == "retry":
            return await self._undo(declared, AGAIN)
        return await self._look(declared, "its undo was begun, and has no outcome", again=True)

    def _stands(self, why: str) -> str:
        if self.line.status != "undoing":
            self._mark(status="standing", why=why)
        return why

    def _mark(self, **known: Any) -> None:
        """Put what is known now into every line of the happening, with the next write."""
        fresh = [msgspec.structs.replace(line, **known) for line in self.lines if line.status != "not_done"]
        self.drive.ledger.put(self.drive.journal, *fresh)
        self.lines = fresh
        self.line = next(line for line in fresh if (line.branch, line.key) == (self.line.branch, self.line.key))

    async def _undo(self, declared: Undo, why: str) -> str:
        """Run the undo: its intent before, its outcome after."""
        line, journal, rollback = self.line, self.drive.journal, self.drive.rollback["id"]
        try:
            call = await self._call(declared.fn)
        except Exception as error:  # noqa: BLE001 -- of types that are not known, or too many; nothing has begun
            return self._stands(f"its undo cannot be called with what it was called with: {error}")
        self._mark(status="undoing", undo_key=self.key, undo_for=rollback, undo_how="")
        journal.note(ops.UndoIntended(line.address, line.name, self.identity, line.undo, self.key, why))
        await journal.write("record", status=RUNNING)
        # Shielded: a process that leaves gives it a while to come to its outcome, as it does with effects in flight.
        task = self.drive.services.seams.spawn(self._happen(declared, call), f"undo {line.name}")
        self.drive.undos.add(task)
        task.add_done_callback(self.drive.undos.discard)
        outcome: str = await asyncio.shield(task)
        return outcome

    async def _happen(self, declared: Undo, call: tuple[list[Any], dict[str, Any]]) -> str:
        crashpoint("undo.before")
        try:
            await self._run(declared.fn, *call)
        except EffectNotDone as error:
            how = f"failed: it was not undone: {text_of(error)}"
            self._mark(status="standing", undo_how=how, why=how)
            return how
        except Exception as error:  # noqa: BLE001 -- the user's function; what it raised is told, and the rollback goes on
            self._mark(undo_how=_failed(error))
            return await self._look(declared, _failed(error), again=False)
        crashpoint("undo.after")
        return await self._undone("undone")

    async def _look(self, declared: Undo, why: str, *, again: bool) -> str:
        """Find out whether an undo took place: by its verify function, else a person is to be asked.

        Args:
            again: run it if it did not.
        """
        verify = declared.on_doubt
        if not callable(verify):
            self._mark(undo_how=why, undo_for=self.drive.rollback["id"])
            return why
        try:
            verdict = await self._run(verify, *await self._call(verify))
        except Exception as error:  # noqa: BLE001 -- the user's function; a person is asked instead
            why = f"{why}; its verify function {_failed(error)}"
            self._mark(undo_how=why, undo_for=self.drive.rollback["id"])
            return why
        if isinstance(verdict, Happened):
            return await self._undone("verified")
        if verdict is not None:
            why = f"{why}; its verify function returned {verdict!r}, which is neither Happened() nor None"
            self._mark(undo_how=why, undo_for=self.drive.rollback["id"])
            return why
        if again:
            return await self._undo(declared, "verified: it was not undone")
        self._mark(status="standing", why=why)
        return why

    async def _undone(self, how: str) -> str:
        self._mark(status="undone", undo_how=how, undo_for=self.drive.rollback["id"])
        self.drive.journal.note(ops.EffectUndone(self.line.address, self.line.name, self.identity, how))
        await self.drive.journal.write("record", status=RUNNING)
        crashpoint("undo.result.after")
        return ""

    async def _call(self, fn: Any) -> tuple[list[Any], dict[str, Any]]:
        """Make the arguments of an undo: those of its effect, and what it asks for by name."""
        line, journal = self.line, self.drive.journal
        await bring(journal, line.arguments, line.value)
        codec = parameter_codec(self.drive.blueprint.codec, fn)
        arguments, named = codec.decode(bytes(line.arguments), journal.blob)
        wanted = keyword_only(fn)
        extras: dict[str, Any] = {"undo_key": self.key} if "undo_key" in wanted else {}
        if "outcome" in wanted:
            extras["outcome"] = codec.decode(bytes(line.value), journal.blob)
        named = {**extras, **named}
        check_call(fn, arguments, named)
        return arguments, named

    async def _run(self, fn: Any, arguments: list[Any], named: dict[str, Any]) -> Any:
        chain = self.drive.guard.chains.get(place(self.line.address))
        seconds = (chain.timeout if chain is not None else None) or UNDO_SECONDS
        return await run_within(self.drive.services, fn, arguments, named, seconds=seconds)


def _failed(error: Exception) -> str:
    return "failed: it took too long" if isinstance(error, LeftBehind) else f"failed: {error!r}"
