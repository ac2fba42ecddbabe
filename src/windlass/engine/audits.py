"""Reading the accounts of a run: what each attempt says it used, put together with what stands in the log."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from windlass.core import ops, queries
from windlass.core.audit import Account, ModelUse, ToolUse
from windlass.core.codec import Codec
from windlass.core.errors import StoreError, WindlassError
from windlass.core.pieces import REFERENCE
from windlass.core.records import BODY, Body, Finished, Row
from windlass.core.talk import TALK, Message, ModelRequest
from windlass.core.types import collect
from windlass.core.words import Failed
from windlass.engine import reads
from windlass.stores.base import Store

PAGE: Final = 1_000
LENIENT: Final = Codec(collect([*TALK, Failed]), lenient=True)
LOST: Final = "(dropped by retention)"
Calls = dict[tuple[str, str], ops.CallRecorded]  # by activation and key
Effects = dict[tuple[str, str], tuple[Raw, Raw]]  # arguments and outcome


async def read(store: Store, run: str) -> list[Account]:
    """Return the accounts of a run's attempts, oldest first, with what they refer to.

    Recorded calls of attempts that have not ended, or that no account names, are put into one with no status.

    Raises:
        RunUnknown: no run has this id.
    """
    await reads.get(store, run)
    rows: list[Row] = []
    while True:
        found = await store.find(queries.Rows(run=run, after=rows[-1].last if rows else 0, limit=PAGE))
        rows += [row for row in found if row.kind != "pruned"]
        if len(found) < PAGE:
            break
    bodies = [BODY.decode(row.body) for row in rows]
    book = Book(await _blobs(store, bodies))
    for body in bodies:
        book.take(run, body)
    return book.accounts + book.loose(run)


async def _blobs(store: Store, bodies: list[Body]) -> dict[str, bytes]:
    """Fetch what stands out of line in calls and effects, as far as it is still there."""
    parts = [
        msgspec.json.encode((body.ops, [done.writes for done in body.finished if done.account])) for body in bodies
    ]
    digests = sorted({match.decode() for part in parts for match in REFERENCE.findall(part)})
    try:
        return {blob.digest: blob.content for blob in await store.find(queries.Blobs(digests=tuple(digests)))}
    except StoreError:  # some were dropped: what is left is found one by one
        found = {}
        for digest in digests:
            try:
                found.update({blob.digest: blob.content for blob in await store.find(queries.Blobs(digests=(digest,)))})
            except StoreError:
                continue
        return found


class Book:
    """What a log says so far, row by row."""

    def __init__(self, blobs: Mapping[str, bytes]) -> None:
        self.blobs = blobs
        self.accounts: list[Account] = []
        self.calls: Calls = {}
        self.effects: Effects = {}
        self.named: set[tuple[str, str]] = set()

    def take(self, run: str, body: Body) -> None:
        """Take a row."""
        for op in body.ops:
            match op:
                case ops.CallRecorded() if op.kind in ("model", "tool"):
                    self.calls[op.address, op.key] = op
                case ops.EffectIntended():
                    self.effects[op.address, op.key] = (op.arguments, ops.NULL)
                case ops.EffectCompleted():
                    given, _ = self.effects.get((op.address, op.key), (ops.NULL, ops.NULL))
                    self.effects[op.address, op.key] = (given, op.value)
                case ops.AttemptFailed() if op.account is not None:
                    self._close(op.account, op.address, run=run, attempt=op.attempt, at=body.at, status="failed")
        for done in body.finished:
            if done.account is not None:
                account = replace(done.account, output=self._writes(done))
                self._close(account, done.address, run=run, attempt=done.attempt, at=body.at, status="completed")

    def loose(self, run: str) -> list[Account]:
        """Make accounts of the recorded calls that none names: of attempts under way, or recorded by other ports."""
        found: dict[str, list[ops.CallRecorded]] = {}
        for (address, key), op in self.calls.items():
            if (address, key) not in self.named:
                found.setdefault(address, []).append(op)
        accounts = []
        for address, ops_ in found.items():
            models = tuple(ModelUse(op.name, op.key) for op in ops_ if op.kind == "model")
            tools = tuple(ToolUse(op.name, op.key, op.version) for op in ops_ if op.kind == "tool")
            accounts.append(self._filled(Account(models, tools), address, run=run))
        return accounts

    def _close(self, account: Account, address: str, **where: Any) -> None:
        self.accounts.append(self._filled(account, address, **where))

    def _filled(self, account: Account, address: str, **where: Any) -> Account:
        models = tuple(self._of_model(use, address) for use in account.models)
        tools = tuple(self._of_tool(use, address) for use in account.tools)
        cost: dict[str, int] = {}
        for usage in (*(use.usage for use in models), *(use.usage for use in tools)):
            for unit, number in usage.items():
                cost[unit] = cost.get(unit, 0) + number
        return replace(account, models=models, tools=tools, cost=cost, address=address, **where)

    def _of_model(self, use: ModelUse, address: str) -> ModelUse:
        self.named.add((address, use.key))
        op = self.calls.get((address, use.key))
        if op is None:
            return use
        return replace(use, request=self._request(op), answer=self.shown(op.value), usage=op.usage)

    def _request(self, op: ops.CallRecorded) -> Any:
        """Put a conversation together that was written piece by piece."""
        request = self.shown(op.request)
        parts: list[tuple[Message, ...]] = []
        while op.continues and isinstance(request, ModelRequest):
            earlier = self.calls.get((op.address, op.continues))
            shown = self.shown(earlier.request) if earlier is not None else None
            if earlier is None or not isinstance(shown, ModelRequest):
                parts.append((Message("system", LOST),))
                break
            parts.append(shown.messages)
            op = earlier
        if not parts:
            return request
        messages = tuple(message for part in reversed(parts) for message in part)
        return dataclasses.replace(request, messages=(*messages, *request.messages))

    def _of_tool(self, use: ToolUse, address: str) -> ToolUse:
        self.named.add((address, use.key))
        op = self.calls.get((address, use.key))
        if op is not None:
            return replace(use, arguments=self.shown(op.request), result=self.shown(op.value), usage=op.usage)
        effect = self.effects.get((address, use.key))
        if effect is None:
            return use
        given = self.shown(effect[0])  # positional and named arguments
        return replace(use, arguments=given[1] if isinstance(given, list) else given, result=self.shown(effect[1]))

    def _writes(self, done: Finished) -> dict[str, Any]:
        return {name: self.shown(raw) for name, raw in done.writes.items()}

    def shown(self, raw: Raw) -> Any:
        """Decode a value, also one whose type is not known here."""
        try:
            return LENIENT.decode(bytes(raw), self.blobs.__getitem__)
        except WindlassError:
            return LOST
