"""What a function's signature says: where each argument may come from, what it returns, how it is to be called."""

import inspect
import linecache
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
)
from hashlib import sha256
from types import CodeType, FunctionType, MethodType, NoneType, UnionType
from typing import Annotated, Any, Final, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from msgspec import UNSET

from windlass.core.blueprint import Mode, Param
from windlass.core.errors import DefinitionError
from windlass.core.words import Output
from windlass.engine.context import Context, SyncContext

CONTEXTS: Final[dict[str, type]] = {"Context": Context, "SyncContext": SyncContext}
STREAMS: Final = (AsyncIterator, AsyncGenerator, AsyncIterable)
AWAITED: Final = (Awaitable, Coroutine)
VARIADIC: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
VARIADIC_FLAGS: Final = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS
ON_SYNC: Final = "write `async def`, or take a SyncContext: it has key, emit, now and cancelled"


class Argument(NamedTuple):
    """One positional parameter. Without an annotation its type is Any; without a default that is UNSET."""

    name: str
    type: Any
    default: Any = UNSET
    is_context: bool = False

    @property
    def is_required(self) -> bool:
        """Whether there is no default."""
        return self.default is UNSET


class Signature(NamedTuple):
    """A function as the builder sees it. `returns` is the output's type: Yields and Awaitable are taken off."""

    arguments: tuple[Argument, ...]
    returns: Any
    mode: Mode


def read(fn: Callable[..., Any], where: str, types: Iterable[type] = ()) -> Signature:
    """Read a function's signature.

    Args:
        where: what to call it in an error: `task 'refactor'`.
        types: names that its string annotations may use though its module does not know them.

    Raises:
        DefinitionError: it is no function, an annotation cannot be resolved, it takes what a runtime cannot give, or
            it is sync and takes a Context.
    """
    parameters = _parameters(fn, where)
    hints = _hints(fn, where, types)
    mode = mode_of(fn)
    arguments: list[Argument] = []
    for name, default in parameters:
        kind = hints.get(name, Any)
        arguments.append(Argument(name, kind, default, _is_context(name, kind, mode, where)))
    return Signature(tuple(arguments), _output(hints.get("return", Any)), mode)


def _parameters(fn: Callable[..., Any], where: str) -> list[tuple[str, Any]]:
    """List positional parameters with their defaults; a keyword with a default is a setting of the author's own."""
    inner = fn.__func__ if isinstance(fn, MethodType) else fn
    if isinstance(inner, FunctionType) and not inner.__dict__ and not inner.__code__.co_flags & VARIADIC_FLAGS:
        code = inner.__code__  # says it all; inspect.signature takes 10 µs, which is a third of compiling a node
        if not code.co_kwonlyargcount:
            names, defaults = code.co_varnames[: code.co_argcount], inner.__defaults__ or ()
            pairs = list(zip(names, (*(UNSET,) * (len(names) - len(defaults)), *defaults), strict=True))
            return pairs if inner is fn else pairs[1:]
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError, NameError) as error:
        raise DefinitionError("definition.function", f"{where}: {fn!r} cannot be read: {error}") from error
    pairs = []
    for parameter in parameters:
        default = UNSET if parameter.default is parameter.empty else parameter.default
        if parameter.kind in VARIADIC or (parameter.kind is parameter.KEYWORD_ONLY and default is UNSET):
            raise DefinitionError(
                "definition.parameter",
                f"{where}: parameter {str(parameter)!r} cannot be filled: a signature names exactly what it gets",
            )
        if parameter.kind is not parameter.KEYWORD_ONLY:
            pairs.append((parameter.name, default))
    return pairs


def bound(
    signature: Signature, params: Iterable[Param | None], unknown: Callable[[str], DefinitionError]
) -> tuple[Param, ...]:
    """Return the parameters that have a source; the author's own defaults at the end are left to Python.

    Args:
        params: what was found for each argument, None for nothing.
        unknown: makes the error for one that nothing was found for.

    Raises:
        DefinitionError: what `unknown` makes, for one that has no default or stands before one that is filled.
    """
    found = list(params)
    while found and found[-1] is None and not signature.arguments[len(found) - 1].is_required:
        found.pop()
    filled: list[Param] = []
    for argument, param in zip(signature.arguments, found, strict=False):
        if param is None:
            raise unknown(argument.name)
        filled.append(param)
    return tuple(filled)


def mode_of(fn: Callable[..., Any]) -> Mode:
    """Say how a function is called; a wrapper that returns its wrapped coroutine counts as async."""
    inner = inspect.unwrap(fn)
    functions = (fn,) if inner is fn else (fn, inner)
    if any(inspect.isasyncgenfunction(one) for one in functions):
        return "yields"
    return "async" if any(inspect.iscoroutinefunction(one) for one in functions) else "sync"


def _hints(fn: Callable[..., Any], where: str, types: Iterable[type]) -> dict[str, Any]:
    try:
        return get_type_hints(fn, include_extras=True)
    except NameError:
        pass  # Context under TYPE_CHECKING, a type that is local to the function around: looked up below
    except TypeError:  # a callable object or a partial: no annotations of its own
        return {}
    inner: Any = inspect.unwrap(fn)
    names: dict[str, Any] = CONTEXTS | {one.__name__: one for one in types} | getattr(inner, "__globals__", {})
    code = getattr(inner, "__code__", None)
    if code is not None:
        for name, cell in zip(code.co_freevars, inner.__closure__ or (), strict=True):
            names[name] = _content(cell)
    try:
        return get_type_hints(fn, localns=names, include_extras=True)
    except NameError as error:
        raise DefinitionError(
            "definition.annotation",
            f"{where}: an annotation cannot be read: {error}",
            hint="define the name at module level and not under TYPE_CHECKING, or pass its type in types=[...]",
        ) from error


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return None


def _is_context(name: str, annotation: Any, mode: Mode, where: str) -> bool:
    """Recognise the context by its type, or by the name `ctx` where there is no type.

    Raises:
        DefinitionError: a sync function takes the Context, which awaits (D22).
    """
    kind = bare(annotation)
    if kind is Context and mode == "sync":
        raise DefinitionError(
            "definition.sync_context", f"{where}: a sync function cannot use a Context, which awaits", hint=ON_SYNC
        )
    return kind in (Context, SyncContext) or (name == "ctx" and kind is Any)


def bare(annotation: Any) -> Any:
    """Take Annotated and Optional off a type; a type variable says nothing."""
    if type(annotation) is type:  # most are; the rest costs more to look at
        return annotation
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, UnionType):
        members = [one for one in get_args(annotation) if one is not NoneType]
        return bare(members[0]) if len(members) == 1 else annotation
    return Any if isinstance(annotation, TypeVar) else annotation


def items(annotation: Any) -> Any:
    """Return the type of a stream's items."""
    return get_args(annotation)[0] if get_origin(annotation) in STREAMS and get_args(annotation) else Any


def _output(annotation: Any) -> Any:
    if type(annotation) is type:
        return annotation
    if get_origin(annotation) in AWAITED and get_args(annotation):
        annotation = get_args(annotation)[-1]
    if get_origin(annotation) in STREAMS:
        yielded = items(annotation)
        members = get_args(yielded) if get_origin(yielded) in (Union, UnionType) else (yielded,)
        outputs = [one for one in members if get_origin(one) is Output]
        annotation = get_args(outputs[0])[0] if outputs else Any
    return Any if isinstance(annotation, TypeVar) else annotation


class Sources:
    """Digests of source texts, so that a changed body can be shown (D11). Functions that share code share the work."""

    def __init__(self) -> None:
        self._known: dict[CodeType, str] = {}

    def digest(self, *functions: Callable[..., Any] | None) -> str:
        """Return the SHA-256 of the functions' source texts, hex; "" where one has none to be found."""
        texts = [self._text(inspect.unwrap(fn)) for fn in functions if fn is not None]
        return sha256("\0".join(texts).encode()).hexdigest() if all(texts) else ""

    def _text(self, fn: Callable[..., Any]) -> str:
        code = getattr(fn, "__code__", None)
        if not isinstance(code, CodeType):
            return ""
        text = self._known.get(code)
        if text is None:
            text = self._known[code] = _source(code)
        return text


def _source(code: CodeType) -> str:
    """Cut a function's text out of its file, from its first decorator to the end of its last expression.

    Not inspect.getsource: that walks all loaded modules for each function without a file (0.3 ms), and tokenizes.
    """
    lines = linecache.getlines(code.co_filename)
    last, inner = 0, [code] if lines else []
    for one in inner:  # grows while it is read: functions inside functions
        last = max(last, *(end or 0 for _, end, _, _ in one.co_positions()))
        inner += [const for const in one.co_consts if isinstance(const, CodeType)]
    return "".join(lines[code.co_firstlineno - 1 : last])
