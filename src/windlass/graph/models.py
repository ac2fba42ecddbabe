"""Models of a definition: made, named and checked while building. What they are is the user's own code."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, overload

from windlass.core.errors import DefinitionError
from windlass.core.talk import Answers, Model, Price, checked_name, models_of
from windlass.core.usage import Usage


@overload
def model(fn: Answers, /, *, name: str = "", version: str = "", cost: Usage | None = None, price: Price | None = None
          ) -> Model: ...  # fmt: skip
@overload
def model(*, name: str = "", version: str = "", cost: Usage | None = None, price: Price | None = None
          ) -> Callable[[Answers], Model]: ...  # fmt: skip
def model(
    fn: Answers | None = None, /, *, name: str = "", version: str = "", cost: Usage | None = None,
    price: Price | None = None,
) -> Any:  # fmt: skip
    """Make a model of an async function, bare (`@model`) or with options; list it in `models=[...]`.

    The function takes a ModelRequest and returns a ModelAnswer, or is an async generator and yields Chunks.

    Args:
        name: what tasks, grants and the Runtime call it; default: the function's.
        version: shown in the audit.
        cost: what a call is expected to use beside one model call: set aside in every budget before it.
        price: what tokens cost, where the answer's usage does not say the money.

    Raises:
        DefinitionError: it is no function, has no name, or an option is wrong.
    """
    if fn is None:
        return lambda function: model(function, name=name, version=version, cost=cost, price=price)
    if not callable(fn):
        raise DefinitionError("model.function", f"{fn!r} is no function", hint="write @model above an async def")
    called = checked_name(name or getattr(fn, "__name__", ""), fn)
    if cost is not None and not isinstance(cost, Usage):
        raise DefinitionError("model.cost", f"model {called}: cost is {cost!r}", hint="write cost=Usage(...)")
    if price is not None and not isinstance(price, Price):
        raise DefinitionError("model.price", f"model {called}: price is {price!r}", hint="write price=Price(...)")
    streams = inspect.isasyncgenfunction(fn) or inspect.isasyncgenfunction(inspect.getattr_static(fn, "__call__", None))
    return Model(
        name=called, fn=fn, version=str(version), streams=streams, cost=cost.amounts() if cost is not None else {},
        price=price,
    )  # fmt: skip


def fallback(
    name: str, models: Sequence[Model], *, on: type[Exception] | Sequence[type[Exception]] = Exception
) -> Model:
    """Make a model of several: where one raises, the next is asked the same conversation. One recorded call in all.

    Args:
        name: what tasks call it; each of the models keeps its own name for grants, budgets and the Runtime.
        on: errors after which the next is asked; what permission or a budget refuses is never one of them.

    Raises:
        DefinitionError: there are no models, or one is none.
    """
    called = checked_name(name, models)
    chosen: list[Model] = []
    for each in models_of(models, f"fallback {name!r}").values():
        chosen += each.choices or (each,)
    kinds: tuple[Any, ...] = tuple(on) if isinstance(on, Sequence) else (on,)
    if not chosen or not all(isinstance(kind, type) and issubclass(kind, Exception) for kind in kinds):
        raise DefinitionError(
            "model.fallback", f"fallback {called} of {len(chosen)} models on {kinds!r}",
            hint="fallback(name, [first, second], on=(ConnectionError,))",
        )  # fmt: skip
    return Model(name=called, choices=tuple(chosen), on=kinds)
