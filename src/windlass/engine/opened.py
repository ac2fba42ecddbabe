"""Opened calls: recorded calls whose result comes piece by piece, or is judged before it is kept.

As a call (`calls.make`), cut where the user's code goes on in between: `open_call` lets it through or finds what was
kept, `keep` records its result, `drop` ends it without one. Only what `keep` has recorded is durable; a crash before
that leaves nothing, and the call is made again.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from msgspec import Raw

from windlass.core import ops
from windlass.core.crashpoint import crashpoint
from windlass.core.errors import ContextClosed
from windlass.core.tallies import Amounts
from windlass.engine.accounts import MOST_SAID, visible
from windlass.engine.activation import Activation
from windlass.engine.boundary import enter, is_free, leave
from windlass.engine.called import Call
from windlass.policies.budget import Cost
from windlass.policies.permission import Kind


@dataclass(slots=True)
class OpenCall:
    """A recorded call that was let through, or found.

    Args:
        counted: what identical calls of the attempt have in common; `number` tells them apart.
        kept: what it gave when it was made; None: it is to be made now.
        usage: what it came to, once it has ended.
    """

    activation: Activation
    kind: Kind
    name: str
    counted: str
    number: int
    amounts: Amounts
    kept: Any = None
    is_over: bool = False
    usage: Amounts = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """What a re-run finds it by."""
        name, _, digest = self.counted.rpartition("|")
        return f"{name}|{digest}|{self.number}"

    async def keep(self, value: Any, cost: Cost | None, request: Any) -> Any:
        """Record what it gave, durable when it returns; returns the value as a re-run will see it.

        Args:
            cost: reads from the value what was used; None: as much as was set aside.
            request: what was asked, for whoever looks at the record.

        Raises:
            ValueNotKept, ValueTooLarge: the value or the request cannot be kept; what it used is counted.
            ContextClosed: the attempt was given up; nothing is written.
        """
        self.is_over = True
        activation = self.activation
        self.usage = leave(activation, self.amounts, cost, value)
        try:
            codec = activation.blueprint.codec
            encoded = codec.encode(value, f"{activation.address}.{self.name}")
            asked = codec.encode(request, f"{activation.address}.request")
            activation.journal.keep((*asked.blobs, *encoded.blobs))
            given = (Raw(encoded.data), activation.attempt, self.kind, self.usage, Raw(asked.data))
            crashpoint("record.before")
            await activation.record(ops.CallRecorded(activation.address, self.identity, self.name, *given))
        except BaseException:
            activation.give_back(self.counted, self.number)
            raise
        crashpoint("record.after")
        return codec.decode(encoded.data, activation.journal.blob)

    def drop(self, spent: Amounts, why: str = "", **details: Any) -> None:
        """End it without a result: count what it used, and give its number to the next one that is identical.

        Args:
            why: what `call.failed` says of it; empty: nothing is told.
        """
        if self.is_over:
            return
        self.is_over = True
        activation = self.activation
        self.usage = spent
        if self.amounts:
            activation.guard.escrow.settle(self.amounts, spent)
        activation.give_back(self.counted, self.number)
        if why and not activation.closed:
            told = {"name": self.name, "kind": self.kind, "attempt": activation.attempt, "why": visible(why, MOST_SAID)}
            activation.journal.say("call.failed", activation.address, **told, **details, usage=spent)


async def open_call(
    activation: Activation, kind: Kind, name: str, call: Call, digest: str, amounts: Callable[[], Amounts]
) -> OpenCall:
    """Let a call through that is told apart by this digest, or find what it gave when it was made.

    Args:
        call: what the permission's rules see: a function that has the names of the arguments, and the arguments.
        amounts: says what it is expected to use, by unit; asked only if it is to be made.

    Raises:
        ContextClosed: the attempt has ended or is being stopped.
        PermissionDenied, BudgetExceeded: it may not be; nothing was called.
    """
    if activation.closed or activation.stopping:
        raise ContextClosed(f"{activation.address}: attempt {activation.attempt} is over")
    counted = f"{name}|{digest}"
    opened = OpenCall(activation, kind, name, counted, activation.nth(counted), {})
    kept = activation.pending.calls.get(opened.identity)
    if kept is not None:
        opened.kept = activation.blueprint.codec.decode(bytes(kept), activation.journal.blob)
        opened.is_over = True
        return opened
    expected = amounts()
    try:
        if not is_free(activation, kind, expected):
            await enter(activation, kind, name, call, expected, lambda: digest, opened.identity, digest)
    except BaseException:
        activation.give_back(counted, opened.number)
        raise
    opened.amounts = expected
    crashpoint("call.before")
    return opened
