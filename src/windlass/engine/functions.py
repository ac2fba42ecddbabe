"""Calling the user's functions from inside a task: async ones are awaited, sync ones run in a thread."""

import asyncio
import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any, get_type_hints

from windlass.core.codec import Codec
from windlass.core.types import collect
from windlass.engine.current import IN_PORT
from windlass.engine.pool import Pool
from windlass.engine.services import Services


async def run_function(pool: Pool, fn: Callable[..., Any], arguments: Any, named: Any) -> Any:
    """Call `fn` and return its result, awaited if it is awaitable."""
    before = IN_PORT.get()
    IN_PORT.set(True)
    try:
        if _is_async(fn):
            return await fn(*arguments, **named)
        value = await pool.run(fn, *arguments, **named)
        return await value if inspect.isawaitable(value) else value
    finally:
        IN_PORT.set(before)  # not by a token: what nobody awaits any more is closed from another context


@lru_cache(maxsize=1024)
def _is_async(fn: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004


class LeftBehind(Exception):
    """A function took longer than it may, and was left to itself: nobody knows what it has done."""


async def run_within(
    services: Services, fn: Callable[..., Any], arguments: Any, named: Any, *, seconds: float | None = None,
    enough: "asyncio.Future[None] | None" = None,
) -> Any:  # fmt: skip
    """Call `fn` for at most so many seconds, or until `enough` is set; one that ignores its cancellation is left.

    Raises:
        LeftBehind: it had not ended by then.
    """
    call = services.seams.spawn(run_function(services.pool, fn, arguments, named), getattr(fn, "__name__", "function"))
    waits: set[asyncio.Future[Any]] = {call} if enough is None else {call, enough}
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if call.done():
            return call.result()
        raise LeftBehind
    finally:
        if not call.done():
            call.add_done_callback(_look_at)
            call.cancel()


def _look_at(call: "asyncio.Task[Any]") -> None:
    if not call.cancelled():
        call.exception()


def result_type(fn: Callable[..., Any], returns: Any) -> Any:
    """Return what a result is declared to be: `returns`, else the annotation of `fn`."""
    return _returns(fn) if returns is None else returns


def result_codec(codec: Codec, fn: Callable[..., Any], returns: Any) -> Codec:
    """Return the definition's codec, widened by the types that the result's annotation names.

    Raises:
        DefinitionError: the annotation names a type that clashes with one of the definition's.
    """
    declared = result_type(fn, returns)
    return codec if declared in (None, Any, type(None)) else widened(codec, declared)


@lru_cache(maxsize=1024)
def _returns(fn: Callable[..., Any]) -> Any:
    try:
        return get_type_hints(fn).get("return", Any)
    except (TypeError, NameError, AttributeError):  # a builtin, or a name that cannot be resolved: nothing is declared
        return Any


def parameter_codec(codec: Codec, fn: Callable[..., Any]) -> Codec:
    """Return a definition's codec, widened by the types that a function's parameters name."""
    try:
        hints = get_type_hints(fn)
    except (TypeError, NameError, AttributeError):
        return codec
    for hint in hints.values():
        codec = widened(codec, hint)
    return codec


def check_call(fn: Callable[..., Any], arguments: list[Any], named: dict[str, Any]) -> None:
    """Look whether a function takes these arguments, before anything depends on it.

    Raises:
        TypeError: it does not.
    """
    try:
        signature = inspect.signature(fn)
    except ValueError:  # a builtin: nobody can say
        return
    signature.bind(*arguments, **named)


def keyword_only(fn: Callable[..., Any]) -> set[str]:
    """Name the parameters of a function that can only be given by name."""
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return set()
    return {parameter.name for parameter in parameters if parameter.kind is inspect.Parameter.KEYWORD_ONLY}


@lru_cache(maxsize=1024)
def widened(codec: Codec, declared: Any) -> Codec:
    """Return a codec that knows, besides its own types, those that an annotation names."""
    return codec.widen(collect([declared]))
