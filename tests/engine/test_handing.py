"""A definition that is bound to dead letters is started on each of them, once."""

import asyncio
from typing import Any

import msgspec
import pytest

from tests.engine.orders import World, clerk, failed, order
from windlass import (
    END,
    Budget,
    Context,
    Cost,
    Graph,
    HandTo,
    Pipeline,
    Platform,
    RunFailed,
    Runtime,
    Usage,
    task,
)
from windlass.core.changes import LetterPut
from windlass.core.errors import StoreUnavailable
from windlass.engine import handing


@pytest.fixture
def world() -> World:
    return World()


async def test_the_bound_definition_is_started_on_a_letter(runtime: Runtime, world: World) -> None:
    handler = clerk(world)
    definition = order(world, dead_letters=handler)
    runtime._drives.learn(handler)
    letter = await failed(runtime, definition, 4, "r")
    assert letter.handled_by == f"dead-{letter.id}"
    assert (await runtime.wait(letter.handled_by)).output == letter.id
    (told,) = world.handled
    assert told["input"] == {"number": 4}
    assert (told["run"], told["reason"], told["checkpoint"]) == ("r", "attempts", 1)
    assert told["failure"]["kind"] == "ConnectionError"
    assert (await runtime.get(letter.handled_by)).tags == {"dead_letter": letter.id}
    await runtime.resume("r")  # a second failure is a second letter
    with pytest.raises(RunFailed):
        await runtime.wait("r")
    (second,) = await runtime.dead_letters()
    await runtime.wait(second.handled_by)
    assert [told["id"] for told in world.handled] == [letter.id, second.id]


async def test_a_platform_binds_by_pattern(url: str, world: World) -> None:
    platform = Platform(handlers={"ord*": "clerk"})
    async with Runtime(url, [clerk(world)], platform=platform) as runtime:
        letter = await failed(runtime, order(world), 4, "r")
        await runtime.wait(letter.handled_by)
    assert len(world.handled) == 1


@pytest.mark.parametrize("inside", [False, True])
async def test_a_used_up_budget_hands_over(runtime: Runtime, world: World, inside: bool) -> None:
    @task
    async def spend(ctx: Context) -> int:
        for number in range(9):
            cost = Cost(estimate=Usage(money=1)) if inside else None
            await ctx.call(f"model {number}", asyncio.sleep, 0, cost=cost)
        return 1

    @task
    async def more(spend: int) -> int:
        return spend

    runtime._drives.learn(clerk(world))
    budget = Budget(money=3 if inside else None, steps=None if inside else 1, edge=HandTo("clerk"))
    letter = await failed(runtime, Pipeline("spender", [spend, more], budget=budget), None, "s")
    assert (letter.reason, letter.handler) == ("budget", "clerk")
    await runtime.wait(letter.handled_by)
    assert len(world.handled) == 1


async def test_a_handler_that_fails_is_not_handled(runtime: Runtime) -> None:
    @task
    async def note(letter: dict[str, Any]) -> str:
        raise ValueError("the clerk is ill")

    first = Pipeline("first", [note], dead_letters="second")
    second = Pipeline("second", [note], dead_letters="first")
    runtime._drives.learn(second)
    letter = await failed(runtime, first, {}, "r")
    with pytest.raises(RunFailed):
        await runtime.wait(letter.handled_by)
    assert [(each.definition, each.handler) for each in await runtime.dead_letters()] == [
        ("second", ""), ("first", "second"),
    ]  # fmt: skip


async def test_a_handler_that_cannot_take_letters_is_noted(runtime: Runtime, world: World) -> None:
    @task
    async def note(letter: int) -> int:
        return letter

    runtime._drives.learn(Pipeline("clerk", [note]))
    letter = await failed(runtime, order(world, dead_letters="clerk"), 4, "r")
    assert letter.handled_by == ""
    assert "its handler clerk could not be started" in letter.note
    assert await runtime.hand_on() == []


async def test_a_graph_is_given_the_letter_as_a_channel(runtime: Runtime, world: World) -> None:
    graph = Graph("clerk", msgspec.defstruct("State", [("letter", dict[str, Any])]))

    @graph.node(writes=["letter"])
    async def note(letter: dict[str, Any]) -> dict[str, Any]:
        world.handled.append(letter)
        return {"letter": letter}

    graph.start("note")
    graph.edge("note", END)
    runtime._drives.learn(graph)
    letter = await failed(runtime, order(world, dead_letters="clerk"), 4, "r")
    await runtime.wait(letter.handled_by)
    assert [told["id"] for told in world.handled] == [letter.id]


async def test_what_a_death_left_is_handed_on_once(url: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    definition = order(world, dead_letters="clerk")
    async with Runtime(url, [definition]) as runtime:  # it knows no clerk, as one that died before it could start him
        letter = await failed(runtime, definition, 4, "r")
        assert letter.handled_by == ""
        assert await runtime.hand_on() == []
    for _ in range(2):  # the first dies before it notes that he was started
        async with Runtime(url, [definition, clerk(world)]) as runtime:
            with monkeypatch.context() as patched:

                async def dies(*_: object, **__: object) -> None:
                    raise StoreUnavailable("gone")

                patched.setattr(handing, "_put", dies)
                if not world.handled:
                    with pytest.raises(StoreUnavailable):
                        await runtime.hand_on()
                    await runtime.wait(f"dead-{letter.id}")
    async with Runtime(url, [definition, clerk(world)]) as runtime:
        assert await runtime.hand_on() == []
        (kept,) = await runtime.dead_letters()
        assert kept.handled_by == f"dead-{letter.id}"
        await runtime.store.adjust([LetterPut(msgspec.structs.replace(kept, handled_by=""))])
        assert await runtime.hand_on() == []
    assert len(world.handled) == 1


async def test_a_handler_that_is_given_itself_need_not_be_known() -> None:
    @task
    async def note(letter: dict[str, Any]) -> str:
        return str(letter["reason"])

    @task
    async def breaks(n: int) -> int:
        raise ValueError(n)

    clerk = Pipeline("clerk-itself", tasks=[note])
    broken = Pipeline("broken-itself", tasks=[breaks], dead_letters=clerk)
    async with Runtime("memory:") as runtime:
        run = await runtime.start(broken, 1, "b")
        with pytest.raises(RunFailed):
            await runtime.wait(run)
        letter = (await runtime.dead_letters(statuses=None))[0]
        assert letter.handled_by
        assert (await runtime.wait(letter.handled_by)).output == "error"
