"""What a run's log says of the tables beside it: questions, lines of the effect ledger, and where the run stands.

Pure. `Tables.take` reads the rows in order; then `questions`, `effects` and `stand` say what has to stand in a store,
and `differences` compares. What the log cannot tell is not guessed: the exact second in which a question was asked, who
took an answer after its branch was gone, an outcome whose row was pruned. There more than one status is allowed.
"""

from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from windlass.core import ops
from windlass.core.pending import onward
from windlass.core.records import BODY, Body, Command, Effect, Head, Question, Row, Said
from windlass.core.states import CANCELLED, COMPLETED, CREATED, FAILED, PAUSED, RUNNING, WAITING, Status
from windlass.engine.doubts import AGAIN
from windlass.engine.ledger import ANEW, REPLACED
from windlass.stores.checks import OF_QUESTIONS, answer, encoded

Place: TypeAlias = tuple[int, str, str, str]  # of an effect's line in its run: branch, address, name, key
ENDS: dict[str, tuple[Status, ...]] = {
    "run.created": (RUNNING,), "run.forked": (CREATED, COMPLETED), "run.resumed": (RUNNING,), "run.parked": (WAITING,),
    "run.paused": (PAUSED,), "run.completed": (COMPLETED,), "run.failed": (FAILED,), "run.cancelled": (CANCELLED,),
    "run.rolled_back": (PAUSED, RUNNING),
}  # fmt: skip
ANY_EFFECT = frozenset({"intended", "done", "not_done", "undoing", "undone", "standing"})
ANY_ANSWER = frozenset({"open", "answered", "taken", "expired"})
LEFT = frozenset({"taken", "answered", "expired"})


class Asked(Struct):
    """A question as the log tells it, and the statuses that its row may have."""

    question: Question
    may: frozenset[str] = ANY_ANSWER


class Line(Struct):
    """A line of the ledger as the log tells it, and the statuses that its row may have."""

    effect: Effect
    may: frozenset[str]


class Difference(Struct, frozen=True):
    """A row that is not what the log says.

    Args:
        said: what differs, in a few words.
        fresh: the row as it has to be; None if the log does not bear it, or does not tell it.
        stale: the row as it stands; None if it is missing.
    """

    table: str
    row: str
    said: str
    fresh: Question | Effect | None = None
    stale: Question | Effect | None = None


class Tables:
    """The tables beside a log, as its rows tell them.

    Args:
        tree: the first run of the run's family.
    """

    def __init__(self, run: str, tree: str, tenant: str = "", definition: str = "") -> None:
        self.run = run
        self.tree = tree
        self.tenant = tenant
        self.definition = definition
        self.questions: dict[str, Asked] = {}
        self.effects: dict[Place, Line] = {}
        self.is_told = False  # it begins as the runtime begins a log: another one says nothing of the tables
        self.is_pruned = False
        self.head = Head()
        self.at = 0.0
        self.statuses: tuple[Status, ...] = ()

    def take(self, row: Row) -> None:
        """Read the next row.

        Raises:
            msgspec.DecodeError: it is none of the runtime's, and those before it are.
        """
        if row.kind == "pruned":
            self.is_told = True
            self._forget()
            self._stand(row, None)
            return
        try:
            body = BODY.decode(row.body)
        except msgspec.DecodeError:
            if self.is_told:
                raise
            self._stand(row, None)
            return
        for op in body.ops:
            self._note(row, op)
        for said in body.said:
            self.is_told |= said.type in ("run.created", "run.forked") and not self.at
            self._say(row, said)
        self._stand(row, body)

    def _forget(self) -> None:
        """What follows was dropped: nothing before it is known to be the last word."""
        self.is_pruned = True
        for asked in self.questions.values():
            asked.may = ANY_ANSWER | {"withdrawn"}
        for line in self.effects.values():
            line.may = ANY_EFFECT

    # Where the run stands

    def _stand(self, row: Row, body: Body | None) -> None:
        self.at = row.at
        due_at, crashes = None, 0 if row.kind == "step" else self.head.crashes
        statuses: tuple[Status, ...] = ()
        for said in body.said if body is not None else ():
            statuses = ENDS.get(said.type, statuses)
            if said.type == "run.parked":
                due_at = said.details.get("due_at")
            elif said.type == "lease.taken_over" and row.kind != "step":
                crashes = int(said.details.get("crashes", crashes))
        if body is None:
            statuses = tuple(Status)
        elif not statuses:
            statuses = (RUNNING,) if body.finished or row.kind == "step" else tuple({RUNNING, *self.statuses})
        if not row.n and RUNNING in statuses:  # a turn that has not begun
            statuses = tuple(dict.fromkeys((CREATED, *statuses)))
        self.statuses = statuses
        self.head = Head(statuses[0], row.branch, row.n, row.last, due_at, crashes)

    # Questions

    def _say(self, row: Row, said: Said) -> None:
        if said.type == "question.withdrawn":
            asked = self.questions.get(str(said.details.get("id")))
            if asked is not None:
                asked.question, asked.may = replace(asked.question, status="withdrawn"), frozenset({"withdrawn"})
        elif said.type == "question.escalated":
            asked = self.questions.get(str(said.details.get("id")))
            if asked is not None:
                terms = onward(asked.question.terms, said.details["to"], is_due=bool(said.details.get("expired")))
                asked.question = replace(asked.question, terms=terms)
        elif said.type == "effect.diverged" and said.details.get("standing"):
            self._supersede(row.branch, said)
        elif said.type == "run.rolled_back":
            self._leave(row, said)

    def _leave(self, row: Row, said: Said) -> None:
        """A branch was left: whoever answered on it is not heard any more, and what could not be undone stands."""
        for asked in self.questions.values():
            if asked.question.status == "open" and asked.question.asked_at < row.at and "open" in asked.may:
                asked.question, asked.may = replace(asked.question, status="withdrawn"), LEFT
        doubted = said.details.get("in_doubt", ())
        for line in self.effects.values():
            name = f"{line.effect.address} {line.effect.name}"
            if len(line.may) > 1 and line.may <= {"undoing", "standing"} and name not in doubted:
                line.effect, line.may = replace(line.effect, status="standing"), frozenset({"standing"})

    def _note(self, row: Row, op: ops.Op) -> None:
        match op:
            case ops.QuestionAsked():
                asked = Question(
                    id=op.id, run=self.run, address=op.address, key=op.key, prompt=op.prompt, schema=op.schema,
                    asked_at=row.at, about=op.about,
                    terms=op.terms, tenant=self.tenant, definition=self.definition,
                )  # fmt: skip
                self.questions[op.id] = Asked(asked)
            case ops.QuestionAnswered():
                known = self.questions.get(op.id)
                if known is not None:
                    status = "expired" if op.expired else "taken"
                    taken = {"status": status, "answer": op.value, "by": op.by, "answered_at": row.at}
                    known.question, known.may = replace(known.question, **taken), frozenset({status})
            case ops.EffectIntended():
                self._intend(row, op)
            case ops.EffectCompleted():
                known_by = {"value": op.value, "how": op.how, "by": op.by}
                self._settle(row.branch, op, "done", is_shared=op.how != "adopted", **known_by)
            case ops.EffectInDoubt():
                self._doubt(row.branch, op)
            case ops.UndoIntended() | ops.EffectUndone() | ops.EffectLeft():
                self._undo(op)
            case _:
                pass

    # The effect ledger

    def _place(self, branch: int, address: str, name: str, key: str) -> Place:
        return branch, address, name, key[len(name) + 1 :]

    def _intend(self, row: Row, op: ops.EffectIntended) -> None:
        place = self._place(row.branch, op.address, op.name, op.key)
        line = Effect(
            tree=self.tree, run=self.run, branch=row.branch, address=op.address, name=op.name, key=place[3],
            effect_key=op.effect_key, generation=op.generation, status="intended", arguments=op.arguments,
            arguments_digest=op.arguments_digest, on_doubt=op.on_doubt, undo=op.undo, seq=row.first, at=row.at,
        )  # fmt: skip
        self.effects[place] = Line(line, frozenset({"intended"}))

    def _settle(
        self, branch: int, op: ops.EffectCompleted | ops.EffectInDoubt, status: Any, *, is_shared: bool, **known: Any
    ) -> None:
        """An outcome is known: of the line here, and of those of other branches that are of the same happening."""
        own = self.effects.get(self._place(branch, op.address, op.name, op.key))
        if own is None:
            return
        key = own.effect.effect_key
        same = self._of(op.address, key) if is_shared else [own]
        for line in same:
            line.effect, line.may = replace(line.effect, status=status, **known), frozenset({status})

    def _of(self, address: str, effect_key: str) -> list[Line]:
        lines = self.effects.values()
        return [line for line in lines if (line.effect.address, line.effect.effect_key) == (address, effect_key)]

    def _doubt(self, branch: int, op: ops.EffectInDoubt) -> None:
        if op.settled == ANEW:
            place = self._place(branch, op.address, op.name, op.key)
            if place in self.effects:
                line = self.effects[place].effect
                key = f"{line.key}{REPLACED}{line.generation}"
                beside = replace(line, key=key, status="standing", why=ANEW, by=op.by)
                self.effects[*place[:3], key] = Line(beside, frozenset({"standing"}))
        elif op.settled not in ("", AGAIN):
            self._settle(branch, op, "not_done", is_shared=True, why=op.settled, by=op.by)

    def _supersede(self, branch: int, said: Said) -> None:
        lines = [line for line in self._of(said.address, str(said.details.get("key"))) if line.effect.branch != branch]
        if lines and lines[-1].effect.status == "done":
            lines[-1].effect = replace(lines[-1].effect, status="standing", why="superseded by another branch")
            lines[-1].may = frozenset({"standing"})

    def _undo(self, op: ops.UndoIntended | ops.EffectUndone | ops.EffectLeft) -> None:
        """A rollback has come to an effect: all lines of that happening say so."""
        named = [
            line for line in self.effects.values()
            if line.effect.address == op.address and f"{line.effect.name}|{line.effect.key}" == op.key
        ]  # fmt: skip
        if isinstance(op, ops.UndoIntended):
            named = [line for line in named if undo_key(line.effect.effect_key) == op.undo_key]
        elif any(line.effect.status == "undoing" for line in named):
            named = [line for line in named if line.effect.status == "undoing"]
        keys = {line.effect.effect_key for line in named[-1:]}
        for line in self.effects.values():
            if line.effect.effect_key in keys and line.effect.status != "not_done":
                _mark(line, op)


def _mark(line: Line, op: ops.UndoIntended | ops.EffectUndone | ops.EffectLeft) -> None:
    match op:
        case ops.UndoIntended():
            line.effect = replace(line.effect, status="undoing", undo_key=op.undo_key, undo_how="")
            line.may = frozenset({"undoing"})
        case ops.EffectUndone():
            line.effect = replace(line.effect, status="undone", undo_how=op.how, by=op.by)
            line.may = frozenset({"undone"})
        case ops.EffectLeft():
            before = line.effect.status
            if before == "undoing":  # it is still in doubt, or is known not to have been undone: the rollback tells
                line.may = frozenset({"undoing", "standing"})
            elif before == "intended":
                line.may = frozenset({"intended", "standing"})
            else:
                line.effect = replace(line.effect, status="standing", why=op.why, by=op.by)
                line.may = frozenset({"standing"})
            if op.by or op.why.startswith("answered"):
                line.effect = replace(line.effect, status="standing", undo_how=op.why, why=op.why, by=op.by)
                line.may = frozenset({"standing"})


def undo_key(effect_key: str) -> str:
    """Return the key of an effect's undo."""
    return sha256(f"{effect_key}|undo".encode()).hexdigest()[:32]


def differences(
    tables: Tables, questions: Iterable[Question], effects: Iterable[Effect], waiting: Iterable[Command],
    *, born: float = 0.0, cut_below: int = 0,
) -> Iterator[Difference]:  # fmt: skip
    """Compare the rows of one run with what its log says.

    Args:
        waiting: the run's commands that nobody has taken.
        born: when the run was made: an older line of the ledger is of a pruned run of the same name.
        cut_below: lines and questions of branches below are not borne by a log that a repair has cut, and stay.
    """
    yield from _of_questions(tables, {row.id: row for row in questions}, list(waiting), cut_below=cut_below)
    rows = {
        (row.branch, row.address, row.name, row.key): row
        for row in effects if row.run == tables.run and row.tree == tables.tree
    }  # fmt: skip
    for place, line in tables.effects.items():
        named = f"{line.effect.name!r} of {line.effect.address}, branch {line.effect.branch}"
        row = rows.pop(place, None)
        if row is None:
            yield Difference("effects", named, "is missing", line.effect)
            continue
        what = _unlike(row, line.effect, ("effect_key", "generation", "arguments_digest", "on_doubt", "undo"))
        if not what and line.effect.branch >= cut_below:
            what = "" if row.status in line.may else "status"
            if not what and row.status == "done" and line.may == {"done"} and row.value != line.effect.value:
                what = "value"
        if what:
            yield Difference("effects", named, _differs(what, row, line.effect), line.effect, row)
    for row in rows.values():
        if not (tables.is_pruned or row.branch < cut_below or row.at < born):
            named = f"{row.name!r} of {row.address}, branch {row.branch}"
            yield Difference("effects", named, "is not in the log", None, row)


def _of_questions(
    tables: Tables, rows: dict[str, Question], waiting: list[Command], *, cut_below: int
) -> Iterator[Difference]:
    posted: dict[str, list[Command]] = {}
    for command in waiting:
        if command.verb in OF_QUESTIONS:
            posted.setdefault(str(command.arguments.get("question")), []).append(command)
    for id_, asked in tables.questions.items():
        row = rows.pop(id_, None)
        fresh, may = _as_posted(asked, posted.get(id_, ()))
        if row is None:
            yield Difference("questions", id_, "is missing", fresh)
            continue
        what = _unlike(row, fresh, ("run", "address", "key", "prompt", "schema", "about"))
        if not what and row.status == fresh.status == "open" and row.terms != fresh.terms:
            what = "addressee or deadline"
        if not what and not cut_below:
            what = "" if row.status in may else "status"
            if not what and row.status == "taken" == fresh.status and row.answer != fresh.answer:
                what = "answer"
        if what:
            yield Difference("questions", id_, _differs(what, row, fresh), fresh, row)
    for id_, row in rows.items():
        if not tables.is_pruned:
            yield Difference("questions", id_, "is not in the log", None, row)


def _as_posted(asked: Asked, commands: Iterable[Command]) -> tuple[Question, frozenset[str]]:
    """Return a question as commands have left it that nobody has taken, and the statuses that its row may have."""
    fresh, may = asked.question, asked.may
    for command in commands:
        if fresh.status == "open":
            fresh = answer(command, fresh, msgspec.Raw(encoded(command.arguments.get("value"))))
            may = may if fresh.status == "open" else frozenset({"answered"})
    return fresh, may


def _unlike(row: Question | Effect, fresh: Question | Effect, names: tuple[str, ...]) -> str:
    return next((name for name in names if getattr(row, name) != getattr(fresh, name)), "")


def _differs(what: str, row: Question | Effect, fresh: Question | Effect) -> str:
    if what != "status":
        return f"has another {what} than the log says"
    return f"is {row.status}, and {fresh.status} by the log"
