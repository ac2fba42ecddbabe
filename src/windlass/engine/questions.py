"""Questions in their least form: asked once, from one stable address; answered from anywhere, at any time."""

from hashlib import sha256
from typing import Any

import msgspec
from msgspec import Raw

from windlass.core import changes, ops
from windlass.core import records as r
from windlass.core.crashpoint import crashpoint
from windlass.engine.activation import Activation
from windlass.engine.journal import Journal


async def ask(
    activation: Activation, identity: str, prompt: str, shape: Any, about: dict[str, Any] | None = None
) -> bytes:
    """Return the answer of a question as JSON; ask it if it was not asked, wait if it is open."""
    if identity not in activation.pending.asked:
        activation.begin_op()
        try:
            await activation.firm()
            asked = question(activation.journal, activation.address, identity, prompt, shape, about)
            crashpoint("interrupt.create")
            await activation.record(asked)
        finally:
            activation.end_op()
    if identity not in activation.pending.answers:
        await activation.wait(identity)
    return bytes(activation.pending.answers[identity])


def question(
    journal: Journal, address: str, identity: str, prompt: str, shape: Any, about: dict[str, Any] | None = None
) -> ops.QuestionAsked:
    """Make a question with its one stable id, and put its line into the next write."""
    run, schema = journal.record.id, Raw(msgspec.json.encode(shape))
    id_ = sha256(f"{run}|{journal.position.branch}|{address}|{identity}".encode()).hexdigest()[:16]
    asked_at = journal.seams.clock.now()
    line = r.Question(
        id=id_, run=run, address=address, key=identity, prompt=prompt, schema=schema, asked_at=asked_at,
        about=about or {},
    )  # fmt: skip
    journal.change(changes.QuestionPut(line))
    return ops.QuestionAsked(address, identity, id_, prompt, schema, about or {})
