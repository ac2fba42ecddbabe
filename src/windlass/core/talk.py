"""The words of the model port: what is asked of a model, what it answers, and what a model is. No provider is known.

All but `Model` and `Price` are plain frozen values that every definition's codec keeps.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from math import isfinite
from typing import Any, ClassVar, Final, Literal, NoReturn, TypeAlias, get_args

from windlass.core.errors import DefinitionError, InputError, ToolArgumentsInvalid
from windlass.core.secret import MASKS
from windlass.core.types import json_schema
from windlass.core.usage import MILLION, Money, Usage, millionths

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]
ROLES: Final = get_args(Role)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call that a model asks for; `ctx.use` makes it, if it may be.

    Args:
        arguments: by name; the raw text where what the model wrote is no JSON object.
        id: the provider's own, which its `tool` message has to name.
    """

    __windlass_tag__: ClassVar[str] = "windlass.ToolCall"  # leaves the plain names to the user's own types

    name: str
    arguments: dict[str, Any] | str = field(default_factory=dict)
    id: str = ""

    def read(self) -> dict[str, Any]:
        """Return the arguments; text is read as JSON, and strictly: no key twice, no NaN.

        Raises:
            ToolArgumentsInvalid: they are no JSON object.
        """
        if isinstance(self.arguments, dict):
            return self.arguments
        from json import JSONDecodeError  # nothing else of an import of Windlass needs json

        where = f"arguments of {self.name!a}"
        if not isinstance(self.arguments, str):
            raise ToolArgumentsInvalid(where, f"{type(self.arguments).__name__} is no JSON object")
        try:
            found = _strict()(self.arguments)
        except RecursionError:
            raise ToolArgumentsInvalid(where, "no JSON object: too deep") from None
        except JSONDecodeError as error:
            raise ToolArgumentsInvalid(where, f"no JSON: {error.msg} at character {error.pos}") from None
        except ValueError as error:
            raise ToolArgumentsInvalid(where, f"no JSON: {error}") from None
        if not isinstance(found, dict):
            raise ToolArgumentsInvalid(where, f"a JSON {type(found).__name__}, no object")
        return found


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation.

    Args:
        calls: what an assistant's message asks for.
        call_id: of a tool's message: the call that it answers.
        name: of the tool, or of who speaks.
    """

    __windlass_tag__: ClassVar[str] = "windlass.Message"

    role: Role
    content: str = ""
    calls: tuple[ToolCall, ...] = ()
    call_id: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Filled:
    """A prompt template with its variables put in; made by `Prompt.fill`.

    Args:
        template: the name of the template; `version` its version; `digest` that of its text.
        variables: what was put in, as text.
    """

    __windlass_tag__: ClassVar[str] = "windlass.Filled"

    text: str
    template: str = ""
    version: str = ""
    digest: str = ""
    variables: dict[str, str] = field(default_factory=dict)

    def reference(self) -> "Filled":
        """Return which template it is without what it came to: that stands in the messages."""
        return replace(self, text="", variables={})


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """What is asked of a model.

    Args:
        model: which one; else the first of the definition's.
        tools: names of the definition's tools that the model may ask for.
        parameters: temperature and the like, as the model's function reads them.
        output: the JSON Schema of the answer, where one is wanted.
        prompt: the template behind the messages, for the audit.
        schemas: of the tools, each with name, description and parameters (a JSON Schema); put in for the model's
            function, not kept: a changed description makes no call new.
    """

    __windlass_tag__: ClassVar[str] = "windlass.ModelRequest"

    messages: tuple[Message, ...]
    model: str = ""
    tools: tuple[str, ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)
    output: Any = None
    prompt: Filled | None = None
    schemas: tuple[dict[str, Any], ...] = ()

    @classmethod
    def of(cls, given: "Asked") -> "ModelRequest":
        """Make a request of a text, a filled prompt, messages, or a request.

        Raises:
            InputError: it is none of these.
        """
        match given:
            case ModelRequest():
                return _tidied(given)
            case str():
                return cls((Message("user", given),))
            case Filled():
                return cls((Message("user", given.text),), prompt=given.reference())
            case Message():
                return cls((given,))
            case list() | tuple():
                return _tidied(cls(tuple(given)))
        raise InputError("request", f"a {type(given).__name__} asks a model nothing", hint=ASK)


Asked: TypeAlias = str | Filled | Message | Sequence[Message] | ModelRequest
ASK: Final = "give a text, prompt.fill(...), messages or a ModelRequest"


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """What a model answers.

    Args:
        usage: what the call used; None counts it at the model's estimate.
        model, version: who answered; filled in from the model where they are empty.
        stop: why it ended, in the provider's word.
        confidence: 0 to 1, if the model says it.
        partial: it is not whole.
        raw: the provider's own answer, as plain values, if it is to be kept.
    """

    __windlass_tag__: ClassVar[str] = "windlass.ModelAnswer"

    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    usage: Usage | None = None
    model: str = ""
    version: str = ""
    stop: str = ""
    confidence: float | None = None
    partial: bool = False
    raw: Any = None

    def message(self) -> Message:
        """Return it as a message of the conversation that goes on."""
        return Message("assistant", self.text, self.calls)


@dataclass(frozen=True, slots=True)
class Chunk:
    """What a streaming model yields: a piece of text, whole tool calls, and at its end usage and why it stopped."""

    __windlass_tag__: ClassVar[str] = "windlass.Chunk"

    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    usage: Usage | None = None
    stop: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What tokens cost: money for a million of each kind.

    Raises:
        DefinitionError: an amount is negative or no number.
    """

    tokens_in: Money = 0
    tokens_out: Money = 0

    def __post_init__(self) -> None:
        for given in (self.tokens_in, self.tokens_out):
            amount = millionths(given, up=True)
            if amount is None or amount < 0:
                raise DefinitionError("model.price", f"a price of {given!r}", hint="money for a million tokens")

    def of(self, amounts: Mapping[str, int]) -> int:
        """Return what so many tokens cost, in millionths, rounded up."""
        each = ((millionths(self.tokens_in, up=True) or 0), (millionths(self.tokens_out, up=True) or 0))
        whole = amounts.get("tokens_in", 0) * each[0] + amounts.get("tokens_out", 0) * each[1]
        return -(-whole // MILLION)


Answers: TypeAlias = Callable[[ModelRequest], Awaitable[ModelAnswer] | AsyncIterator[Chunk]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What `ctx.model` may ask, by name. Made by `@model`, or by `fallback` of others.

    Args:
        fn: async: takes a ModelRequest and returns a ModelAnswer, or yields Chunks.
        cost: what a call is expected to use beside one model call, by unit.
        choices: of a fallback: who is asked, one after the other, while `on` names what the one before raised.
    """

    name: str
    fn: Answers | None = None
    version: str = ""
    streams: bool = False
    cost: Mapping[str, int] = field(default_factory=dict)
    price: Price | None = None
    choices: "tuple[Model, ...]" = ()
    on: tuple[type[Exception], ...] = ()


TALK: Final = (ModelRequest, ModelAnswer, Chunk)
"""What a codec has to know to keep a conversation; the rest is part of these."""


def checked_name(name: Any, of: Any) -> str:
    """Return a name that grants can use.

    Raises:
        DefinitionError: it is none.
    """
    if not isinstance(name, str) or not name or name == "<lambda>":
        raise DefinitionError("model.name", f"{of!r:.80} has no name that a task could ask for", hint="give name=")
    if not name.isprintable() or any(letter in "*?[]|" or letter.isspace() for letter in name):
        raise DefinitionError(
            "model.name", f"{name!r} cannot be the name of a model", hint="a name has no space and none of *?[]|"
        )
    return name


def models_of(declared: Any, where: str) -> dict[str, Model]:
    """Name the models of a definition, in their order: the first is asked where no name is given.

    Raises:
        DefinitionError: something in it is no model, or two have one name.
    """
    if not isinstance(declared, Sequence) or isinstance(declared, str | bytes):
        raise DefinitionError("model.kind", f"{where}: models is {declared!r}", hint="write models=[writer, judge]")
    found: dict[str, Model] = {}
    for given in declared:
        if not isinstance(given, Model):
            name = getattr(given, "__name__", repr(given))
            raise DefinitionError("model.kind", f"{where}: {name} is not a model", hint=f"write @model above {name}")
        if given.name in found:
            raise DefinitionError("model.duplicate", f"{where}: two models are called {given.name!r}")
        found[given.name] = given
    return found


def _is_message(message: object) -> bool:
    return type(message) is Message and message.role in ROLES and type(message.content) is str


def _tidied(request: ModelRequest) -> ModelRequest:
    """Check a request, and bring it into the form that is kept.

    Raises:
        InputError: it has no messages, or something in it is none.
    """
    messages = tuple(request.messages)
    for place, message in enumerate(messages):
        if not _is_message(message):
            raise InputError(f"request.messages[{place}]", f"{MASKS.text(repr(message)):.80} is no message", hint=ASK)
    if not messages:
        raise InputError("request.messages", "there are none", hint=ASK)
    output, prompt = request.output, request.prompt
    if output is not None and not isinstance(output, dict):
        output = json_schema(output)
    parameters = request.parameters
    if len(parameters) > 1:
        parameters = {name: parameters[name] for name in sorted(parameters, key=str)}  # in any order the same request
    return ModelRequest(
        messages, request.model, tuple(request.tools), parameters, output, prompt.reference() if prompt else None
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        doubled = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {doubled!a} stands there twice")
    return found


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    return number if isfinite(number) else _refused(text)


@cache
def _strict() -> Callable[[str], Any]:
    from json import JSONDecoder

    return JSONDecoder(object_pairs_hook=_once, parse_constant=_refused, parse_float=_finite).decode
