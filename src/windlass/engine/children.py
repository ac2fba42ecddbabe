"""Child runs, as a task starts them: `ctx.run`, `ctx.start`, `ctx.run_all`.

A child is a run of its own. It is made by the write that tells of it in its parent's log, and its end reaches the
parent in the child's own last write. Until then the parent's activation is given up, as for any wait, and its run
parks. The activation runs again from its start when the end has come, and gets what was recorded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal, TypeAlias

import msgspec

from windlass.core import ops
from windlass.core.blueprint import Blueprint, Definition
from windlass.core.changes import RunPut
from windlass.core.child_errors import ChildFailed, ChildNameTaken
from windlass.core.crashpoint import crashpoint
from windlass.core.errors import BudgetExceeded, ContextClosed, InputError, StoreError
from windlass.core.origin import Child, Origin
from windlass.core.states import COMPLETED
from windlass.core.words import Failed
from windlass.engine import inherit
from windlass.engine.activation import Activation
from windlass.engine.allowance import open_to
from windlass.engine.births import Birth, Given, Options, conceive, read_input
from windlass.engine.journal import shielded
from windlass.engine.kin import failed, is_decided, stop
from windlass.engine.nest import Nest, name_child
from windlass.engine.redacting import masked

What: TypeAlias = Definition | str


@dataclass(frozen=True, slots=True)
class Quorum:
    """Enough of a fan-out: so many children have to complete; the rest is cancelled then."""

    need: int


Join: TypeAlias = Literal["all", "collect"] | Quorum


@dataclass(slots=True)
class Wanted:
    """A child that a task asks for: what runs, under which key, and together with which others."""

    blueprint: Blueprint
    given: Given
    key: str
    label: str
    detached: bool = False
    group: str = ""
    need: int = 0
    spare: int = 0
    tags: dict[str, str] | None = None

    @property
    def digest(self) -> str:
        """What tells it from another child under the same name."""
        return sha256(f"{self.blueprint.name}|{self.given.digest}".encode()).hexdigest()[:16]


class Children:
    """The part of a task's context that starts runs."""

    def _open(self) -> Activation:
        raise NotImplementedError

    async def run(
        self, definition: What, input: Any = None, *, name: str = "", tags: dict[str, str] | None = None
    ) -> Any:  # fmt: skip
        """Run a definition as a child, and return its output. Nothing is kept alive while it runs elsewhere or waits.

        The child has the tenant and roles of this run, may do what both may, spends from both budgets, and is
        paused, resumed and cancelled with this run. A retry of this attempt takes the outputs of children that
        completed, and starts those that failed once more; what these did outside is adopted, not done again.

        Args:
            definition: one of the definition's `children=`, or known to the Runtime; or its name.
            name: tells children apart, in ids and paths; without one they are told apart by definition and input.

        Raises:
            ChildFailed: it failed, or was cancelled; `failure` is what failed it.
            DefinitionUnknown, InputError, ValueNotKept: it cannot be started; nothing was.
            ChildNameTaken: another child of this activation has the name.
            BudgetExceeded: runs are nested as deep as they may be.
        """
        activation = self._open()
        wanted = _want(activation, definition, input, name, tags)
        await _start(activation, [wanted])
        child = activation.pending.children[wanted.key]
        while child.is_open:
            await activation.wait(f"child|{wanted.key}")
            child = activation.pending.children[wanted.key]
        if child.status == COMPLETED:
            return _value(activation, wanted)
        raise _failure(activation, wanted.key)

    async def start(
        self, definition: What, input: Any = None, *, name: str = "", tags: dict[str, str] | None = None
    ) -> str:  # fmt: skip
        """Start a child that nobody waits for, and return its id; it goes on whatever becomes of this run.

        It inherits as any child does, but is neither paused nor cancelled with this run.

        Raises:
            DefinitionUnknown, InputError, ValueNotKept, ChildNameTaken, BudgetExceeded: as `run`.
        """
        activation = self._open()
        wanted = _want(activation, definition, input, name, tags)
        wanted.detached = True
        await _start(activation, [wanted])
        return activation.pending.children[wanted.key].id

    async def run_all(
        self, runs: Sequence[tuple[What, Any]], join: Join = "all", *, name: str = "",
        tags: dict[str, str] | None = None,
    ) -> list[Any]:  # fmt: skip
        """Run several children at once, and return their outputs in this order.

        Args:
            runs: definition and input of each.
            join: `all`: the first that fails cancels the others, and is raised. `collect`: a Failed stands in for each
                that failed. Quorum(n): n have to complete; the others are cancelled, and a Failed stands in for them.

        Raises:
            ChildFailed: a child failed (`all`), or too many did for the quorum.
            InputError: the quorum is more than there are.
            BudgetExceeded: more than the budget's `fan_out`, or nested too deep.
            DefinitionUnknown, ValueNotKept, ChildNameTaken: as `run`; nothing was started.
        """
        activation = self._open()
        wanted = _want_all(activation, runs, join, name, tags)
        if not wanted:
            return []
        await _start(activation, wanted)
        first = wanted[0]
        while not is_decided(activation.pending, first.key):
            await activation.wait(f"group|{first.group}")
        children = activation.pending.children
        completed = sum(children[one.key].status == COMPLETED for one in wanted)
        lost = [one for one in wanted if children[one.key].status not in ("", COMPLETED)]
        is_lost = join == "all" and bool(lost)
        is_lost |= isinstance(join, Quorum) and completed < join.need
        await _stop_rest(
            activation, first.group, "its siblings failed" if is_lost else "enough of its siblings completed"
        )
        if is_lost:
            raise _failure(activation, _first_lost(activation, lost))
        return [_value_or_failed(activation, one) for one in wanted]


def _want(
    activation: Activation, definition: What, given: Any, name: str, tags: dict[str, str] | None
) -> Wanted:  # fmt: skip
    nest: Nest = activation.services.nest
    blueprint = nest.find(definition)
    wanted = Wanted(blueprint, read_input(blueprint, given), name, name, tags=tags)
    if name:
        if activation.nth(f"child {name}"):
            raise ChildNameTaken(f"{activation.address}: two child runs are named {name!r}")
    else:
        identity = f"{blueprint.name}|{wanted.given.digest[:16]}"
        wanted.key = f"{identity}|{activation.nth(f'child {identity}')}"
        number = activation.nth(f"label {blueprint.name}")
        wanted.label = f"{blueprint.name}~{number + 1}" if number else blueprint.name
    return wanted


def _want_all(
    activation: Activation, runs: Sequence[tuple[What, Any]], join: Join, name: str, tags: dict[str, str] | None
) -> list[Wanted]:  # fmt: skip
    if not (join in ("all", "collect") or isinstance(join, Quorum)):
        raise InputError("join", f"{join!r} is neither 'all', 'collect' nor a Quorum")
    if isinstance(join, Quorum) and not 1 <= join.need <= len(runs):
        raise InputError("join", f"a quorum of {join.need!r} of {len(runs)} children")
    most = activation.guard.rules.fan_out
    if most is not None and len(runs) > most:
        raise BudgetExceeded(f"{len(runs):,} child runs are started at once, and {most:,} are the most", unit="fan_out")
    number = activation.nth(f"group {name}")
    if name and number:
        raise ChildNameTaken(f"{activation.address}: two fan-outs are named {name!r}")
    group = name or f"all|{number}"
    need = {"all": len(runs), "collect": len(runs) + 1}.get(join) if isinstance(join, str) else join.need
    found = []
    for place, (definition, given) in enumerate(runs):
        wanted = _want(activation, definition, given, f"{name}[{place}]" if name else "", tags)
        wanted.group, wanted.need = group, need or 0
        wanted.spare = 0 if join == "all" else len(runs) if join == "collect" else len(runs) - wanted.need
        found.append(wanted)
    return found


async def _start(activation: Activation, wanted: Sequence[Wanted]) -> None:
    """Start those that were not started yet, or whose end belongs to an attempt that failed, in one write.

    Returns once it is durable; a crash before leaves none of them, and after it all.
    """
    children = activation.pending.children
    for one in wanted:
        known = children.get(one.key)
        if known is not None and known.digest != one.digest and not known.is_stale:
            raise ChildNameTaken(f"{activation.address}: {one.key!r} was started with another definition or input")
    fresh = [one for one in wanted if one.key not in children or children[one.key].is_stale]
    if not fresh:
        return
    activation.begin_op()
    try:
        await activation.firm()
        made = [await _conceive(activation, one, children.get(one.key)) for one in fresh]
        crashpoint("child.start")
        await shielded(activation.services.seams.spawn(_bear(activation, made), f"children of {activation.address}"))
    finally:
        activation.end_op()


Made: TypeAlias = tuple[ops.ChildStarted, Birth, Blueprint]


async def _bear(activation: Activation, made: Sequence[Made]) -> None:
    """Write children down, and begin with them. Whoever asked may be gone meanwhile: they are there all the same."""
    nest: Nest = activation.services.nest
    if activation.closed:
        raise ContextClosed(f"{activation.address}: attempt {activation.attempt} is over")
    for _, birth, _ in made:
        owner = birth.record.owner
        activation.journal.change(RunPut(msgspec.structs.replace(birth.record, owner=None), birth.first, owner))
    try:
        await activation.record(*(op for op, _, _ in made))
    except StoreError:
        for _, birth, _ in made:
            if birth.record.owner is not None:
                nest.let_go(birth)
        raise
    for _, birth, blueprint in made:
        nest.begin(birth, blueprint)


async def _conceive(activation: Activation, wanted: Wanted, known: Child | None) -> Made:
    journal, guard = activation.journal, activation.guard
    record, branch = journal.record, journal.position.branch
    nest: Nest = activation.services.nest
    most = inherit.check_depth(record, guard.depth, wanted.blueprint.name)
    number = known.number + 1 if known is not None else 0
    place = (activation.address, wanted.key)
    id_ = name_child(record, branch=branch, place=place, number=number)
    above = record.origin
    origin = Origin(
        run=record.id, branch=branch, address=activation.address, key=wanted.key, line=inherit.line_of(record),
        names=(*(above.names if above is not None else ()), record.definition),
        path="/".join((*((above.path,) if above is not None else ()), activation.address, wanted.label)),
        base=id_ if wanted.detached else inherit.base_of(record), detached=wanted.detached, most=most,
        budgets=inherit.drawn(record, guard.escrow.levels, open_to),
        grants=inherit.spelled(activation.chain.layers),
    )  # fmt: skip
    options = masked(
        Options(
            tags=wanted.tags or {}, thread=record.thread, tenant=record.tenant, roles=record.roles, source=record.source
        )
    )
    parent = await nest.adopted(record, branch, place, number)
    birth = conceive(
        activation.services, wanted.blueprint, id_, wanted.given, options, origin=origin, parent=parent
    )  # fmt: skip
    if nest.has_room and parent is None:
        owned = msgspec.structs.replace(birth.record, owner=activation.services.owner)
        birth = msgspec.structs.replace(birth, record=owned)
    started = ops.ChildStarted(
        activation.address, wanted.key, id_, wanted.blueprint.name, wanted.digest, origin.path, wanted.detached,
        number, wanted.group, wanted.need, wanted.spare,
    )  # fmt: skip
    return started, birth, wanted.blueprint


async def _stop_rest(activation: Activation, group: str, why: str) -> None:
    """Cancel what is left of a group that is decided, in the write that says so."""
    keys = [key for key, child in activation.pending.children.items() if child.group == group]
    ended = stop(activation.journal, activation.address, why, keys)
    if ended:
        activation.begin_op()
        try:
            await activation.record(*ended)
        finally:
            activation.end_op()


def _value(activation: Activation, wanted: Wanted) -> Any:
    raw = activation.pending.ends[wanted.key].value
    return wanted.blueprint.codec.decode(bytes(raw), activation.journal.blob)


def _value_or_failed(activation: Activation, wanted: Wanted) -> Any:
    child = activation.pending.children[wanted.key]
    if child.status == COMPLETED:
        return _value(activation, wanted)
    said, failure = failed(child.id, child.definition, activation.pending.ends[wanted.key])
    return Failed(f"{activation.address}/{wanted.label}", failure["kind"], said)


def _failure(activation: Activation, key: str) -> ChildFailed:
    child = activation.pending.children[key]
    said, failure = failed(child.id, child.definition, activation.pending.ends[key])
    return ChildFailed(said, failure=failure, hint=f"mend it, then resume run {activation.journal.record.id}")


def _first_lost(activation: Activation, lost: Sequence[Wanted]) -> str:
    """Name the first that failed by itself, and was not cancelled for another's sake."""
    ends = activation.pending.ends
    return next((one.key for one in lost if ends[one.key].failure is not None), lost[0].key)


__all__ = ["Children", "Join", "Quorum"]
