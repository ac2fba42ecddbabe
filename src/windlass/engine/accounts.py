"""The books of an attempt: what it used through its ports, until its end closes them into an account."""

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import Raw

from windlass.core.audit import Account, ModelUse, ToolUse
from windlass.core.codec import Codec
from windlass.core.errors import ContextClosed, WindlassError
from windlass.core.secret import MASKS
from windlass.core.shown import text_of
from windlass.core.talk import Message, Model, ModelAnswer, ModelRequest
from windlass.core.tallies import Amounts
from windlass.engine.activation import Activation

MOST_SAID = 2_000  # characters of a message that an event carries
MOST_NAME = 200
MOST_TALKS = 8  # conversations that an attempt may go back to without writing them again


class Books:
    """What an attempt used so far, in the order in which it ended.

    Attributes:
        judged, confidence: of its output, put in by the discipline that judges it.
    """

    def __init__(self) -> None:
        self.models: list[ModelUse] = []
        self.tools: list[ToolUse] = []
        self.talks: dict[str, tuple[Message, ...]] = {}  # the messages of the last calls of models, by their keys
        self.judged: dict[str, Any] = {}
        self.confidence: float | None = None

    def close(self, writes: Mapping[str, Raw]) -> Account:
        """Make the account of it.

        Args:
            writes: what the activation wrote, if it finished.
        """
        cost: dict[str, int] = {}
        for usage in (*(use.usage for use in self.models), *(use.usage for use in self.tools)):
            for unit, number in usage.items():
                cost[unit] = cost.get(unit, 0) + number
        output = sha256(msgspec.json.encode(writes)).hexdigest() if writes else ""
        return Account(tuple(self.models), tuple(self.tools), self.judged, output, self.confidence, cost)


def books_of(activation: Activation) -> Books:
    """Return the books of an attempt, opened when the first thing is noted in them."""
    books: Books | None = activation.books
    if books is None:
        books = activation.books = Books()
    return books


def note_model(
    activation: Activation, model: Model, request: ModelRequest, answer: ModelAnswer, *, key: str = "",
    usage: Amounts | None = None, failed: str = "",
) -> None:  # fmt: skip
    """Note a call of a model."""
    prompt = request.prompt
    use = ModelUse(
        model.name, key, answer.model, answer.version, prompt.template if prompt else "",
        prompt.version if prompt else "", prompt.digest if prompt else "", answer.stop, answer.confidence, usage or {},
        failed, answer.partial,
    )  # fmt: skip
    books_of(activation).models.append(use)


def continued(activation: Activation, request: ModelRequest, key: str) -> tuple[ModelRequest, str]:
    """Cut off what an earlier call of the attempt has of a conversation; return the rest, and that call's key."""
    talks, messages = books_of(activation).talks, request.messages
    earlier = next((k for k, talk in reversed(talks.items()) if messages[: len(talk)] == talk), "")
    rest = replace(request, messages=messages[len(talks[earlier]) :]) if earlier else request
    talks[key] = messages
    if len(talks) > MOST_TALKS:
        del talks[next(iter(talks))]
    return rest, earlier


def note_tool(activation: Activation, use: ToolUse) -> None:
    """Note a call of a tool."""
    books_of(activation).tools.append(use)


def tell_failed(
    activation: Activation, kind: str, name: Any, error: BaseException, *, usage: Amounts, partial: Any = None
) -> str:
    """Tell of a call that came to nothing, in the next write; return the error's code.

    Args:
        usage: what it counted at.
        partial: what there is of an answer, as it is kept.
    """
    code = error.code if isinstance(error, WindlassError) else type(error).__name__
    if not activation.closed and not isinstance(error, ContextClosed):
        activation.journal.say(
            "call.failed", activation.address, name=visible(str(name), MOST_NAME), kind=kind,
            attempt=activation.attempt, code=code, why=visible(text_of(error) or repr(error), MOST_SAID),
            partial=partial, usage=usage,
        )  # fmt: skip
    return code


def kept_partial(activation: Activation, codec: Codec, answer: ModelAnswer) -> Any:
    """Return what a cut stream left, as it is kept."""
    try:
        encoded = codec.encode(answer, f"{activation.address}.partial")
    except WindlassError as refused:
        return visible(str(refused), MOST_SAID)
    activation.journal.keep(encoded.blobs)
    return msgspec.json.decode(encoded.data)


def visible(text: str, most: int) -> str:
    """Spell what nobody could see, or what would turn the line around, and cut the rest."""
    text = MASKS.text(text)  # before it is cut: half a secret would not be found
    cut = text if len(text) <= most else text[: most - 1] + "…"
    if cut.isprintable():
        return cut
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in cut)
