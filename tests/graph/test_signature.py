"""What a function's signature says."""

import functools
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import pytest
from msgspec import UNSET

from windlass.core.words import Output, Stream, Yields
from windlass.engine.context import Context, SyncContext
from windlass.graph.signature import Sources, items, read

if TYPE_CHECKING:
    from decimal import Decimal as Hidden

    from windlass.engine.context import Context as Shown

Refused = Callable[..., AbstractContextManager[None]]
T = TypeVar("T")


async def plain(repo: str, ctx: Context, depth: int = 3) -> list[int]: ...  # type: ignore[empty-body]
async def optional(other: "Context | None", any_name: Annotated[int, "x"]) -> None: ...
async def bare(ctx, value): ...  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
async def items_and_output(ctx: Context) -> Yields[list[int]]:
    yield Output([1])


async def only_items() -> AsyncIterator[int]:
    yield 1


def sync(value: int, ctx: SyncContext) -> int: ...  # type: ignore[empty-body]
def sync_bare(ctx, value=None): ...  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
def promising(value: int) -> Awaitable[str]: ...  # type: ignore[empty-body]
async def generic(value: T) -> T: ...  # type: ignore[empty-body]


def wrapped(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return inner


def seen(fn: Callable[..., Any]) -> list[tuple[str, Any, Any, bool]]:
    return [(a.name, a.type, a.default, a.is_context) for a in read(fn, "f").arguments]


def test_parameters_types_defaults_and_the_context() -> None:
    assert seen(plain) == [("repo", str, UNSET, False), ("ctx", Context, UNSET, True), ("depth", int, 3, False)]
    assert seen(optional) == [
        ("other", Context | None, UNSET, True),
        ("any_name", Annotated[int, "x"], UNSET, False),
    ]
    assert seen(bare) == [("ctx", Any, UNSET, True), ("value", Any, UNSET, False)]
    assert seen(sync) == [("value", int, UNSET, False), ("ctx", SyncContext, UNSET, True)]
    assert seen(sync_bare)[0] == ("ctx", Any, UNSET, True)


def test_a_ctx_of_another_type_is_no_context() -> None:
    async def odd(ctx: dict[str, int]) -> None: ...

    assert seen(odd) == [("ctx", dict[str, int], UNSET, False)]


@pytest.mark.parametrize(
    ("fn", "mode", "returns"),
    [
        (plain, "async", list[int]),
        (optional, "async", type(None)),
        (bare, "async", Any),
        (items_and_output, "yields", list[int]),
        (only_items, "yields", Any),
        (sync, "sync", int),
        (promising, "sync", str),
        (generic, "async", Any),
        (wrapped(plain), "async", list[int]),
        (wrapped(items_and_output), "yields", list[int]),
        (functools.partial(plain, depth=4), "async", Any),
    ],
)
def test_mode_and_output(fn: Callable[..., Any], mode: str, returns: Any) -> None:
    signature = read(fn, "f")
    assert signature.mode == mode
    assert signature.returns == returns


def test_the_items_of_a_stream() -> None:
    assert items(Stream[int]) is int
    assert items(int) is Any


def test_names_that_only_a_type_checker_sees(refused: Refused) -> None:
    async def typed(here: "Shown", value: "Hidden") -> None: ...

    with refused("definition.annotation", "task 'a'", "Shown"):
        read(typed, "task 'a'")

    class Local: ...

    async def local(value: "Local") -> "Local": ...  # type: ignore[empty-body]

    with refused("definition.annotation", "Local", "types="):
        read(local, "task 'a'")
    assert read(local, "task 'a'", [Local]).returns is Local

    async def closed_over(value: "Local") -> "list[Local]":
        return [Local(), value]

    assert read(closed_over, "task 'a'").returns == list[Local]


def test_a_context_imported_for_the_type_checker_only() -> None:
    names: dict[str, Any] = {}
    exec('async def typed(here: "Context", there: "SyncContext | None"): ...', names)
    assert [a.is_context for a in read(names["typed"], "f").arguments] == [True, True]


def test_a_sync_function_cannot_take_the_context_that_awaits(refused: Refused) -> None:
    def wrong(ctx: Context) -> None: ...

    with refused("definition.sync_context", "task 'a'", "SyncContext"):
        read(wrong, "task 'a'")


def test_parameters_that_nothing_can_fill(refused: Refused) -> None:
    async def many(*values: int) -> None: ...
    async def named(**values: int) -> None: ...
    async def by_keyword(*, value: int) -> None: ...
    async def setting(value: int, *, depth: int = 3) -> None: ...

    for fn, name in ((many, "*values"), (named, "**values"), (by_keyword, "value")):
        with refused("definition.parameter", name):
            read(fn, "task 'a'")
    assert [a.name for a in read(setting, "f").arguments] == ["value"]
    with refused("definition.function"):
        read(3, "task 'a'")  # type: ignore[arg-type]


def test_source_digests_follow_the_text_and_nothing_else(tmp_path: Path) -> None:
    def load(text: str, name: str) -> Callable[..., Any]:
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        names: dict[str, Any] = {}
        exec(compile(text, str(path), "exec"), names)
        found: Callable[..., Any] = names["f"]
        return found

    body = "def f(a):\n    def inner():\n        return (\n            a,\n        )\n    return inner()\n"
    one, moved, other = load(body, "one"), load("\n\n" + body, "moved"), load(body.replace("a,", "a, 1,"), "other")
    sources = Sources()
    assert sources.digest(one) == hashlib.sha256(body.rstrip().encode() + b"\n").hexdigest()
    assert sources.digest(one) == sources.digest(moved)
    assert sources.digest(one) != sources.digest(other)
    assert sources.digest(one, None, moved) != sources.digest(one)
    assert sources.digest(wrapped(one)) == sources.digest(one)
    assert sources.digest(eval("lambda: 1")) == ""
    assert sources.digest(len) == ""
