"""Calls of models: recorded as any call is, settled by what the answer says it used, and checked like any input.

    permit → reserve → ask → settle → check → record

Only a checked answer is recorded. A call that fails, or a stream that breaks off, is told as a fact and made again by
the next attempt; a crash in the middle leaves nothing but what had been shown.
"""

from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import GenericAlias
from typing import Any, Final

from msgspec import Raw

from windlass.core import ops
from windlass.core.codec import Codec, Encoded
from windlass.core.crashpoint import crashpoint
from windlass.core.errors import (
    DefinitionError,
    ModelAnswerInvalid,
    ModelError,
    ModelInterrupted,
    ModelUnknown,
    PolicyError,
    ToolUnknown,
    ValueNotKept,
    ValueTooLarge,
)
from windlass.core.secret import MASKS
from windlass.core.talk import TALK, Answers, Chunk, Model, ModelAnswer, ModelRequest, ToolCall
from windlass.core.tallies import Amounts
from windlass.core.usage import Usage
from windlass.core.words import Tool
from windlass.engine.accounts import continued, kept_partial, note_model, tell_failed
from windlass.engine.activation import Activation
from windlass.engine.boundary import digest_of, enter, within
from windlass.engine.current import IN_PORT
from windlass.engine.functions import run_function, widened

TALKED: Final = GenericAlias(tuple, TALK)


@dataclass(slots=True)
class Asking:
    """A request on its way to a model.

    Args:
        sent: what the model's function gets: the request with the schemas of its tools.
        heard: what a streaming model has yielded so far.
        spent: what the last model that was asked came to.
    """

    activation: Activation
    codec: Codec
    request: ModelRequest
    sent: ModelRequest
    digest: str
    identity: str
    stream: bool
    heard: list[Chunk] = field(default_factory=list)
    spent: Amounts = field(default_factory=dict)


async def ask(activation: Activation, request: ModelRequest, name: str, *, stream: bool) -> ModelAnswer:
    """Ask a model, or return what it answered when it was asked. See `Ports.model`."""
    model = _found(activation, name or request.model)
    codec = widened(activation.blueprint.codec, TALKED)
    given = codec.encode(request, f"{activation.address}.request")
    digest = digest_of(given.data)
    counted = f"model|{model.name}|{digest}"
    number = activation.nth(counted)
    identity = f"{counted}|{number}"
    kept = activation.pending.calls.get(identity)
    if kept is not None:
        answer: ModelAnswer = codec.decode(bytes(kept), activation.journal.blob)
        note_model(activation, model, request, answer, key=identity)
        continued(activation, request, identity)
        return answer
    try:
        sent = replace(request, schemas=_schemas(activation, request)) if request.tools else request
        asking = Asking(activation, codec, request, sent, digest, identity, stream)
        answer, encoded = await _first_answer(asking, model)
        usage = asking.spent
        note_model(activation, model, request, answer, key=identity, usage=usage)
        rest, earlier = continued(activation, request, identity)
        if earlier:
            given = codec.encode(rest, f"{activation.address}.request")
        activation.journal.keep((*given.blobs, *encoded.blobs))
        crashpoint("record.before")
        await activation.record(
            ops.CallRecorded(
                activation.address, identity, model.name, Raw(encoded.data), activation.attempt, "model", usage,
                Raw(given.data), answer.version, earlier,
            )
        )  # fmt: skip
        crashpoint("record.after")
    except BaseException:
        activation.give_back(counted, number)
        raise
    return answer if encoded.frozen else codec.decode(encoded.data, activation.journal.blob)


def _found(activation: Activation, name: str) -> Model:
    """Find a model by its name: the runtime's before the definition's; the first one where no name is given.

    Raises:
        ModelUnknown: there is none.
    """
    own, given = activation.blueprint.models, activation.services.models
    name = name or next(iter((*own, *given)), "")
    model: Model | None = given.get(name) or own.get(name)
    if model is None:
        said = f"{activation.address}: there is no model {name!a}"
        raise ModelUnknown(said, hint=f"models: {', '.join({**own, **given}) or 'none'}")
    return model


def _schemas(activation: Activation, request: ModelRequest) -> tuple[dict[str, Any], ...]:
    """Describe the tools that a model may ask for.

    Raises:
        ToolUnknown: the request names one that there is not.
    """
    tools = activation.blueprint.tools
    for name in request.tools:
        if name not in tools:
            said = f"{activation.address}: the request names a tool {name!a}, and there is none"
            raise ToolUnknown(said, hint=f"tools: {', '.join(sorted(tools)) or 'none'}")
    named: list[Tool[..., Any]] = [tools[name] for name in request.tools]
    return tuple({"name": one.name, "description": one.description, "parameters": dict(one.schema)} for one in named)


async def _first_answer(asking: Asking, model: Model) -> tuple[ModelAnswer, Encoded]:
    """Ask a model, or those of a fallback until one answers."""
    activation = asking.activation
    given = activation.services.models
    choices = [given.get(choice.name, choice) for choice in model.choices] or [model]
    for place, choice in enumerate(choices):
        try:
            return await _ask_one(asking, choice)
        except BaseException as error:
            if not isinstance(error, Exception) and not asking.spent:
                raise  # nobody was asked: a person has to be waited for first
            code = _tell(asking, choice, error)
            if place + 1 == len(choices) or not isinstance(error, model.on) or isinstance(error, PolicyError):
                raise
            activation.journal.say(
                "model.fell_back", activation.address, name=model.name, model=choice.name,
                to=choices[place + 1].name, why=code,
            )  # fmt: skip
    raise ModelUnknown(f"{activation.address}: {model.name} has no models")  # a Runtime's may be anything


async def _ask_one(asking: Asking, model: Model) -> tuple[ModelAnswer, Encoded]:
    activation, request = asking.activation, asking.request
    amounts = {**model.cost, "model_calls": 1}
    asking.heard.clear()
    asking.spent = {}
    fn = model.fn
    if fn is None:
        raise ModelUnknown(f"{activation.address}: model {model.name!r} has no function")
    named = {
        "messages": request.messages, "tools": request.tools, "parameters": request.parameters,
        "output": request.output, "version": model.version,
    }  # fmt: skip
    now = lambda: digest_of(asking.codec.encode(request).data)  # noqa: E731 -- the request as it is then
    place = f"{asking.identity}|{model.name}"
    await enter(activation, "model", model.name, (fn, (), named), amounts, now, place, asking.digest)
    activation.begin_op()
    try:
        crashpoint("call.before")
        asking.spent = amounts  # unless the answer says it better
        answer = await within(activation, _talk(asking, model, fn), amounts)
        asking.spent = _settle(activation, model, amounts, answer)
        return _checked(activation, model, answer, asking.codec)
    finally:
        activation.end_op()


async def _talk(asking: Asking, model: Model, fn: Answers) -> Any:
    if not model.streams:
        return await run_function(asking.activation.services.pool, fn, (asking.sent,), {})
    before = IN_PORT.get()
    IN_PORT.set(True)
    try:
        return await _joined(asking, model, fn(asking.sent))
    except ModelError:
        raise
    except Exception as error:
        if not asking.heard:
            raise
        why = MASKS.text(repr(error))[:500]
        said = f"{asking.activation.address}: the stream of model {model.name} broke off: {why}"
        raise ModelInterrupted(said, partial=_so_far(asking, model)) from error
    finally:
        IN_PORT.set(before)


async def _joined(asking: Asking, model: Model, chunks: Any) -> ModelAnswer:
    """Join what a model yields to one answer, each piece of text shown at once."""
    activation, size = asking.activation, 0
    try:
        async for chunk in chunks:
            text: Any = getattr(chunk, "text", None)
            if not isinstance(chunk, Chunk) or not isinstance(text, str):
                said = f"{activation.address}: model {model.name} yielded a {type(chunk).__name__}, not a Chunk of text"
                raise ModelAnswerInvalid(said)
            size += len(text)
            if size > asking.codec.max_value:
                raise ModelAnswerInvalid(f"{activation.address}: model {model.name} yielded {size:,} characters")
            asking.heard.append(chunk)
            activation.signs = activation.services.seams.clock.monotonic()
            if asking.stream and text:
                _show(asking, model, text)
    finally:
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()
    return replace(_so_far(asking, model), partial=False)


def _show(asking: Asking, model: Model, text: str) -> None:
    activation = asking.activation
    try:
        activation.streams.show(activation, text)
    except ValueNotKept as error:
        raise ModelAnswerInvalid(f"{activation.address}: model {model.name}: {error.args[0]}") from None


def _so_far(asking: Asking, model: Model) -> ModelAnswer:
    heard = asking.heard
    try:
        calls = tuple(call for chunk in heard for call in chunk.calls)
    except TypeError:
        raise ModelAnswerInvalid(f"model {model.name} yielded a Chunk whose calls are no ToolCalls") from None
    usage = next((chunk.usage for chunk in reversed(heard) if chunk.usage is not None), None)
    stop = next((chunk.stop for chunk in reversed(heard) if chunk.stop), "")
    text = "".join(chunk.text for chunk in heard)
    return ModelAnswer(text, calls, usage, model.name, model.version, stop, partial=True)


def _settle(activation: Activation, model: Model, amounts: Amounts, answer: Any) -> Amounts:
    """Settle what a model's answer says it used; the estimate where it says nothing."""
    used, said = getattr(answer, "usage", None), ""
    spent = amounts
    if not isinstance(used, Usage):
        said = f"the answer of model {model.name} says no usage"
    else:
        try:
            spent = {"model_calls": 1, **used.amounts()}
        except DefinitionError as error:
            said = f"model {model.name}: {error.args[0]}"
        else:
            if model.price is not None and "money" not in spent and (money := model.price.of(spent)):
                spent["money"] = money
    if said:
        activation.journal.say("budget.estimated", activation.address, why=said)
    activation.guard.escrow.settle(amounts, spent)
    return spent


def _checked(activation: Activation, model: Model, answer: Any, codec: Codec) -> tuple[ModelAnswer, Encoded]:
    """Look whether it is an answer, and return it with its bytes.

    Raises:
        ModelAnswerInvalid: it is of another type, empty, or has parts that cannot be.
    """
    where = f"{activation.address}: the answer of model {model.name}"
    if not isinstance(answer, ModelAnswer):
        raise ModelAnswerInvalid(f"{where} is a {type(answer).__name__}, not a ModelAnswer")
    wrong = _wrong(answer)
    if wrong:
        raise ModelAnswerInvalid(f"{where}: {wrong}")
    if not (answer.model and answer.version) or not isinstance(answer.usage, Usage) or type(answer.calls) is not tuple:
        answer = replace(
            answer, model=answer.model or model.name, version=answer.version or model.version,
            usage=answer.usage if isinstance(answer.usage, Usage) else None, calls=tuple(answer.calls),
        )  # fmt: skip
    try:
        return answer, codec.encode(answer, "answer")
    except (ValueNotKept, ValueTooLarge) as error:
        raise ModelAnswerInvalid(f"{where} cannot be kept: {error.args[0]}") from None


def _wrong(answer: Any) -> str:
    """Say what is wrong with the parts of an answer, whatever they are; empty if nothing is."""
    for name in ("text", "model", "version", "stop"):
        if not isinstance(getattr(answer, name), str):
            return f"its {name} is a {type(getattr(answer, name)).__name__}"
    if not isinstance(answer.calls, list | tuple) or not all(map(_is_call, answer.calls)):
        return "its calls are no ToolCalls"
    number = answer.confidence
    if number is not None and (isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number <= 1):
        return f"its confidence is {number!r:.40}, not 0 to 1"
    if not isinstance(answer.partial, bool):
        return f"its partial is a {type(answer.partial).__name__}"
    return "" if answer.calls or answer.text.strip() else "it is empty"


def _is_call(call: Any) -> bool:
    if not isinstance(call, ToolCall):
        return False
    parts: tuple[Any, ...] = (call.name, call.id)
    return all(isinstance(part, str) for part in parts) and type(call.arguments) in (dict, str)


def _tell(asking: Asking, model: Model, error: BaseException) -> str:
    """Tell of a model that did not answer, with what was heard of it; return the error's code."""
    activation, partial, blank = asking.activation, None, ModelAnswer(model=model.name, version=model.version)
    if asking.heard:
        with suppress(ModelAnswerInvalid):
            blank = _so_far(asking, model)
        partial = kept_partial(activation, asking.codec, blank)
    code = tell_failed(activation, "model", model.name, error, usage=asking.spent, partial=partial)
    note_model(activation, model, asking.request, blank, usage=asking.spent, failed=code)
    return code
