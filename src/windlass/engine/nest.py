"""Starting child runs, and letting runs of this process hear of each other: what one Runtime does for nesting."""

from collections.abc import Sequence

from windlass.core import queries
from windlass.core import records as r
from windlass.core.blueprint import Blueprint, Definition
from windlass.core.codec import Codec
from windlass.core.errors import DefinitionUnknown, RunUnknown
from windlass.core.origin import child_id
from windlass.engine.births import Birth
from windlass.engine.control import Control
from windlass.engine.ledger import Ledger
from windlass.engine.loop import RunLoop
from windlass.engine.redacting import LENIENT

MOST_FORKS = 64  # runs that one was forked from, in a row, that are looked through for effects to adopt


class Nest:
    """What child runs need of the Runtime that drives their parents."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self.drives = control.drives
        self.services = control.services

    def find(self, definition: Definition | str) -> Blueprint:
        """Return the blueprint of a child.

        Raises:
            DefinitionUnknown: this Runtime does not know it, so nobody might go on with it after a crash.
            DefinitionError: another definition of that name is known.
        """
        name = definition if isinstance(definition, str) else definition.name
        known = self.drives.blueprints.get(name)
        if known is None:
            hint = "declare it with the parent: children=[...], or pass it to Runtime(definitions=[...])"
            raise DefinitionUnknown(f"a child run of {name!r}, which is not known here", hint=hint)
        return known if isinstance(definition, str) else self.drives.learn(definition)

    def codec_of(self, definition: str, parent: Blueprint) -> Codec:
        """Return the codec of a child's values, with what its parent does not keep; one that knows no types here."""
        known = self.drives.blueprints.get(definition)
        codec, rules = known.codec if known is not None else LENIENT, parent.codec.redact
        return codec.redacting(rules) if rules else codec

    @property
    def has_room(self) -> bool:
        """Whether a child may be driven here at once; others wait for a slot, here or in any worker."""
        return self.drives.slots.has_room and not self.drives.closing

    def are_near(self, children: Sequence[str]) -> bool:
        """Whether one of these is driven here, and nobody waits for the slot of a run that waits for it."""
        drives = self.drives
        return drives.slots.has_room and not drives.closing and any(child in drives.tasks for child in children)

    def begin(self, birth: Birth, blueprint: Blueprint) -> None:
        """Drive a child that was just made: here if it was made owned, else as soon as there is a slot."""
        run = birth.record.id
        if birth.first.head.seq and birth.record.owner is not None and not self.drives.closing:
            ledger = Ledger(run, [], "adopt")
            self.drives.begin(RunLoop(self.services, blueprint, birth.owned, birth.position, ledger, birth.blobs))
        else:
            self.drives.slots.enqueue(run)

    def let_go(self, birth: Birth) -> None:
        """Release a child that was perhaps made: the store has failed."""
        self.drives.let_go(birth.record.id)

    def deliver(self, record: r.RunRecord, posted: Sequence[tuple[str, str]]) -> None:
        """Let the runs that a run has posted to take it, in the background, as far as this process may."""
        if not self.drives.closing:
            for run, verb in posted:
                if self.drives.is_driving(run):
                    self.services.notifier.wake("!" + run)
                    continue
                self.drives.near.telling.append(record)
                self.services.seams.background(self._deliver(record, run, verb), f"{verb} for {run}")

    async def _deliver(self, record: r.RunRecord, run: str, verb: str) -> None:
        try:
            await self.control.pass_on(run, verb)
        except RunUnknown:  # it fell away meanwhile
            return
        finally:
            self.drives.near.telling.remove(record)
            self.drives.near.tell_above(record)

    async def adopted(self, record: r.RunRecord, branch: int, place: tuple[str, str], number: int) -> r.Parent | None:
        """Find the run whose effects a child adopts: the same child of an earlier attempt, branch or fork.

        Args:
            branch: of the parent, on which the child is started.
            place: address and key in there.
            number: how often it was started on this branch before.
        """
        if not (branch or number or record.parent):
            return None
        ids = [name_child(record, number=0, branch=b, place=place) for b in range(branch + bool(number))]
        one = record
        for _ in range(MOST_FORKS):
            if one.parent is None or one.parent.effects != "adopt":
                break
            found = await self.services.store.find(queries.Runs(ids=(one.parent.run,)))
            if not found:
                break
            ids += [name_child(found[0], number=0, branch=b, place=place) for b in range(one.parent.branch + 1)]
            one = found[0]
        earlier = await self.services.store.find(queries.Runs(ids=tuple(ids))) if ids else []
        if not earlier:
            return None
        first = earlier[0]
        return r.Parent(first.id, 0, 1, first.parent.tree if first.parent is not None else first.id, "adopt")


def name_child(record: r.RunRecord, *, branch: int, place: tuple[str, str], number: int) -> str:
    """Name a child run after its place."""
    root = record.origin.line[0] if record.origin is not None else record.id
    address, key = place
    return child_id(root, f"{record.id}|{branch}|{address}|{key}|{number}")
