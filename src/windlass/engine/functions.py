"""Calling the user's functions from inside a task: async ones are awaited, sync ones run in a thread."""

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any, get_type_hints

from windlass.core.codec import Codec
from windlass.core.types import collect
from windlass.engine.pool import Pool


async def run_function(pool: Pool, fn: Callable[..., Any], arguments: Any, named: Any) -> Any:
    """Call `fn` and return its result, awaited if it is awaitable."""
    if _is_async(fn):
        return await fn(*arguments, **named)
    value = await pool.run(fn, *arguments, **named)
    return await value if inspect.isawaitable(value) else value


@lru_cache(maxsize=1024)
def _is_async(fn: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004


def result_codec(codec: Codec, fn: Callable[..., Any], returns: Any) -> Codec:
    """Return the definition's codec, widened by the types that the result's annotation names.

    Raises:
        DefinitionError: the annotation names a type that clashes with one of the definition's.
    """
    declared = _returns(fn) if returns is None else returns
    return codec if declared in (None, Any, type(None)) else widened(codec, declared)


@lru_cache(maxsize=1024)
def _returns(fn: Callable[..., Any]) -> Any:
    try:
        return get_type_hints(fn).get("return", Any)
    except (TypeError, NameError, AttributeError):  # a builtin, or a name that cannot be resolved: nothing is declared
        return Any


@lru_cache(maxsize=1024)
def widened(codec: Codec, declared: Any) -> Codec:
    """Return a codec that knows, besides its own types, those that an annotation names."""
    return codec.widen(collect([declared]))
