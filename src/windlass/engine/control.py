"""Control: starting runs, and steering them from any process.

A verb posts a command, which the run's owner takes at its next turn; on a run without an owner the caller claims it and
takes the command itself. A drive belongs to one Runtime; what parks for a timer is woken again while it is open.
"""

import asyncio
from contextlib import suppress
from typing import Any

from windlass.core import queries
from windlass.core import records as r
from windlass.core.blueprint import EVERY_STEP, Blueprint, Definition
from windlass.core.crashpoint import crashpoint
from windlass.core.errors import RunExists, RunOwned, StoreError
from windlass.core.states import COMPLETED, UNFINISHED, move
from windlass.engine import reads, threads, tree
from windlass.engine.births import Options, conceive, read_input
from windlass.engine.continued import next_of
from windlass.engine.drives import Drives
from windlass.engine.idle import settle
from windlass.engine.inputs import check_text, packed, sendable
from windlass.engine.ledger import Ledger
from windlass.engine.loop import RunLoop
from windlass.engine.notifier import Ear
from windlass.engine.redacting import masked
from windlass.engine.services import Services
from windlass.engine.stops import check_stops

NUDGE_SECONDS = 2.0  # a verb looks so often whether the run's owner is still there


class Control:
    """The verbs of one Runtime."""

    def __init__(self, services: Services, drives: Drives) -> None:
        self.services = services
        self.store = services.store
        self.drives = drives

    async def start(self, definition: Definition, input: Any, id: str | None, options: Options) -> str:
        """Make a run and drive it in the background; with an id that exists, attach to it (D4).

        Raises:
            InputError: the input has not the declared type, or there is no such node to stop at.
            RunExists: the id belongs to another definition or input.
            ThreadBusy: a turn of the thread has not ended, and the second input is refused.
            ValueNotKept, ValueTooLarge: the input cannot be kept; nothing was written.
        """
        blueprint = self.drives.learn(definition)
        self.services.rules(blueprint, options.tenant, options.roles)
        run = check_text(id, "id") if id else f"{blueprint.name}-{self.services.seams.ids()[:8]}"
        check_stops(blueprint, options.before, options.after)
        given = read_input(blueprint, input)
        if id is not None and (found := await self.store.find(queries.Runs(ids=(run,)))):
            return await self._attach(found[0], blueprint, given.digest)
        birth = None if options.thread else conceive(self.services, blueprint, run, given, options)
        crashpoint("run.create.before")
        try:
            if birth is None:
                birth = await threads.create(self.services, blueprint, run, given, options)
            else:
                await self.store.create(birth.record, birth.first, self.services.owner)
        except RunExists:
            found = await self.store.find(queries.Runs(ids=(run,)))
            return await self._attach(found[0], blueprint, given.digest)
        except StoreError:
            self.drives.let_go(run)  # it may have been made
            raise
        crashpoint("run.create.after")
        if birth.is_owned:
            ledger = Ledger(run, [], "adopt")
            self.drives.begin(RunLoop(self.services, blueprint, birth.owned, birth.position, ledger, birth.blobs))
        else:
            self.drives.queue.add(run)
        self.services.nest.deliver(birth.record, birth.posted)
        return run

    async def _attach(self, record: r.RunRecord, blueprint: Blueprint, digest: str) -> str:
        if record.definition != blueprint.name or record.input_digest != digest:
            what = "another input" if record.definition == blueprint.name else f"definition {record.definition!r}"
            raise RunExists(f"run {record.id} was started with {what}")
        last = record
        if record.head.status is COMPLETED and (later := await next_of(self.store, record)):
            last = await reads.get(self.store, later)
        if not self.drives.is_driving(last.id) and last.head.status in UNFINISHED:
            self.drives.blueprint(last)
            with suppress(RunOwned):  # somebody drives it: follow
                await self.drives.drive(last.id)
        return record.id

    async def post(self, run: str, verb: str, by: str = "", *, id: str = "", **arguments: Any) -> bool:
        """Post a command, let the owner know, and take it here if there is no owner; False if its id was posted."""
        command = r.Command(
            id=id or self.services.seams.ids(), run=run, verb=verb, arguments=arguments, by=by,
            at=self.services.seams.clock.now(),
        )  # fmt: skip
        crashpoint("command.post")
        is_new = await self.store.post(masked(sendable(command)))
        self.services.notifier.wake("!" + run)
        await self._take_up(run, verb)
        return is_new

    async def _take_up(self, run: str, verb: str) -> None:
        """Let a run without an owner take its commands here."""
        if self.drives.is_driving(run):
            return
        record = await reads.get(self.store, run)
        if verb in ("pause", "cancel"):
            posted: list[tuple[str, str]] = []
            try:
                async with self.drives.lock(run):
                    if await self.drives.is_free(run) and not await self._is_taken(run, verb):
                        posted = await self._settle_idle(run, verb)
            except RunOwned:
                return
            for other, said in posted:
                await self.pass_on(other, said)
        elif record.definition in self.drives.blueprints:
            await self.drives.again(run)
        elif record.owner is None and verb == "rollback":
            self.drives.blueprint(record)

    async def pass_on(self, run: str, verb: str) -> None:
        """Let a run know that another has posted something to it, and take it here if it has no owner."""
        self.services.notifier.wake("!" + run)
        await self._take_up(run, verb)

    async def _settle_idle(self, run: str, verb: str) -> list[tuple[str, str]]:
        try:
            record = await self.store.claim(run, self.services.owner)
            return await settle(self.services, record, verb)
        except BaseException:
            self.drives.let_go(run)
            raise

    async def steer(self, run: str, verb: str, by: str = "", **arguments: Any) -> None:
        """Check that a verb applies, post it, and return once it is part of the run's log.

        Raises:
            RunUnknown, RunState: there is no such run, or its state does not allow the verb.
            DefinitionUnknown: it needs the definition, and no live owner has it.
        """
        record = await reads.get(self.store, run)
        move(run, record.head.status, verb)
        if verb == "rollback":
            known = self.drives.blueprints.get(record.definition)
            checkpoints = known.checkpoints if known is not None else EVERY_STEP
            await tree.target_position(self.store, record, known, _target(arguments["to"]), checkpoints)
        if verb in ("rollback", "resume") and record.owner is None:
            self.drives.blueprint(record)
        with Ear(self.services.notifier, run) as ear:
            await self.post(run, verb, by, **arguments)
            await self._wait(ear, run, verb)

    async def _wait(self, ear: Ear, run: str, verb: str) -> None:
        """Wait until a verb that was posted is part of the run's log."""
        while not await self._is_taken(run, verb):
            self.drives.check(run)
            try:
                async with asyncio.timeout(NUDGE_SECONDS):
                    await ear.changed()
            except TimeoutError:  # the owner may have died since
                await self._take_up(run, verb)

    async def _is_taken(self, run: str, verb: str) -> bool:
        waiting = {command.verb for command in await self.store.find(queries.Commands(run=run))}
        return verb not in waiting

    async def resume(self, run: str, edits: dict[str, Any] | None, by: str) -> None:
        """Let a paused, failed or interrupted run go on here (D12).

        Raises:
            RunOwned: another live process drives it.
            RunState: it is completed or cancelled.
            DefinitionUnknown, DefinitionChanged: the definition is not known, or its structure is another.
            InputError: an edit names no channel, or has not its type.
        """
        record = await reads.get(self.store, run)
        move(run, record.head.status, "resume")
        blueprint = self.drives.blueprint(record)
        arguments = packed(blueprint, edits)
        if edits:
            threads.check_begun(record)
        if record.head.status in UNFINISHED and not edits:  # or a drive here may not know yet that it was fenced off
            await self.drives.drive(run)
        else:
            await self.post_and_drive(run, arguments, by)

    async def post_and_drive(self, run: str, arguments: dict[str, Any], by: str) -> None:
        """Post a resume and drive the run here; returns once it was taken."""
        seams = self.services.seams
        command = r.Command(id=seams.ids(), run=run, verb="resume", arguments=arguments, by=by, at=seams.clock.now())
        with Ear(self.services.notifier, run) as ear:
            await self.store.post(masked(sendable(command)))
            self.services.notifier.wake("!" + run)
            await self.drives.drive(run)
            await self._wait(ear, run, "resume")  # a drive that fails before it has taken it is told to the caller


def _target(to: Any) -> tree.Target:
    target: tree.Target = tuple(to) if isinstance(to, list) else to  # JSON has no tuples
    return target
