"""What is called, seen through what wraps it: rules judge the same function and arguments that a person approves.

A partial is its function, and what it holds is among the arguments. A decorator is itself and what it decorates. What
a function closes over beside functions, and what an object keeps whose method is called, is nobody's argument: it is
neither shown nor digested.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from hashlib import sha256
from types import CodeType, FunctionType, MethodType
from typing import Any

import msgspec

from windlass.core.codec import Codec
from windlass.core.errors import WindlassError

Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]
FUNCTIONS = (FunctionType, MethodType, partial)
signature = lru_cache(maxsize=1024)(inspect.signature)


def unwrapped(call: Call) -> Call:
    """Give what a call comes to: of a partial the function, with what it holds among the arguments."""
    fn: Any
    fn, given, named = call
    while isinstance(fn, partial):
        fn, given, named = fn.func, (*fn.args, *given), {**fn.keywords, **named}
    return fn, given, named


def by_name(fn: Callable[..., Any], arguments: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
    """Name the arguments of a call as the function's signature does, defaults included."""
    try:
        bound = signature(fn).bind(*arguments, **named)
    except (TypeError, ValueError):  # a builtin, or arguments that do not fit: the call itself will say so
        return {**{str(place): value for place, value in enumerate(arguments)}, **named}
    bound.apply_defaults()
    found = dict(bound.arguments)
    for parameter in bound.signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:  # each under its own name, as a condition says it
            found = {**found.pop(parameter.name), **found}
    return found


def called_digest(codec: Codec, fn: Any) -> str:
    """Digest what is called: its code and defaults, and those of all functions that it wraps."""
    said: list[Any] = []
    seen: dict[int, Any] = {}
    ahead = [fn]
    while ahead:
        one = ahead.pop()
        one = getattr(one, "__func__", one)  # a bound method is another object each time it is looked at
        if id(one) not in seen:
            seen[id(one)] = one  # kept, so that no other gets its id
            said.append(_said(codec, one))
            ahead += _wraps(one)
    return digested(said)


def _said(codec: Codec, one: Any) -> list[Any]:
    """Say what a single one of them is, by what stays the same in another process."""
    if isinstance(one, partial):
        return ["partial", _kept(codec, one.args, one.keywords)]
    code, kind = getattr(one, "__code__", None), type(one)
    if type(code) is CodeType:
        return [code_digest(code), _kept(codec, one.__defaults__ or (), one.__kwdefaults__ or {})]
    return [str(getattr(one, "__module__", kind.__module__)), str(getattr(one, "__qualname__", kind.__qualname__))]


def _kept(codec: Codec, given: tuple[Any, ...], named: Mapping[str, Any]) -> list[Any]:
    """Say what values are, each by itself; of one that cannot be encoded its type."""
    said = []
    for name, value in (*enumerate(given), *sorted(named.items())):
        try:
            said.append([name, codec.key(value).decode()])
        except WindlassError:
            said.append([name, type(value).__qualname__])
    return said


def _wraps(one: Any) -> Iterator[Any]:
    """Give what runs when this is called, as far as it can be seen: what it wraps, closes over, or is made of."""
    if isinstance(one, partial):
        yield one.func
    elif isinstance(one, type):
        yield from (inspect.getattr_static(one, name) for name in ("__new__", "__init__"))
    elif not isinstance(one, FunctionType):
        yield inspect.getattr_static(type(one), "__call__")
    wrapped = getattr(one, "__wrapped__", None)
    if callable(wrapped):
        yield wrapped
    kept = {} if isinstance(one, type) else getattr(one, "__dict__", {})
    held = [kept[name] for name in sorted(kept)]
    for cell in getattr(one, "__closure__", None) or ():
        try:
            held.append(cell.cell_contents)
        except ValueError:  # it is filled later
            continue
    yield from (part for part in held if isinstance(part, FUNCTIONS))


@lru_cache(maxsize=1024)
def code_digest(code: CodeType) -> str:
    """Digest compiled code, what is nested in it included; another Python gives another digest, and asks again."""
    names = [list(names) for names in (code.co_names, code.co_varnames, code.co_freevars)]
    parts = [code.co_name, code.co_code.hex(), code.co_exceptiontable.hex(), *names]
    for const in code.co_consts:
        if isinstance(const, CodeType):
            parts.append(code_digest(const))
        else:
            parts.append(sorted(map(repr, const)) if isinstance(const, frozenset) else repr(const))
    return digested(parts)


def digested(parts: Any) -> str:
    """Digest what JSON can say."""
    return sha256(msgspec.json.encode(parts)).hexdigest()[:32]
