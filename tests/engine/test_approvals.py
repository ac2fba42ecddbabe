"""Approvals: what is shown is what runs, once; whatever differs asks again, and says what differs."""

import asyncio
from typing import Any

import pytest

from windlass import Allow, Approve, Ask, Context, Pipeline, Platform, RunFailed, Runtime, task, tool
from windlass.core.errors import PermissionDenied
from windlass.core.records import Question


async def the_question(runtime: Runtime, run: str) -> Question:
    (found,) = await runtime.questions(run)
    return found


async def told(runtime: Runtime, run: str, kind: str) -> list[dict[str, Any]]:
    return [event.data async for event in runtime.events(run) if event.type == kind]


def paying(world: dict[str, Any], paid: list[Any], **more: Any) -> Pipeline:
    """Pay what the world says, once the chief financial officer approves."""

    async def pay(amount: Any, note: str = "") -> str:
        paid.append(amount)
        return f"paid {amount}"

    @task(id="pays")
    async def pays(n: int, ctx: Context) -> str:
        said: str = await ctx.effect("pay", pay, world["amount"], approve=world.get("approve", "role:cfo"))
        return said

    return Pipeline("paying", [pays], **more)


async def test_what_was_approved_runs_once(url: str) -> None:
    paid: list[Any] = []
    async with Runtime(url) as runtime:
        run = (await runtime.run(paying({"amount": 5}, paid), 1)).run
        asked = await the_question(runtime, run)
        assert paid == []
        assert (asked.terms.to, asked.about["arguments"], asked.about["shown"]) == (
            "role:cfo", {"amount": 5, "note": ""}, '{"amount":5,"note":""}',
        )  # fmt: skip
    async with Runtime(url, [paying({"amount": 5}, paid)]) as runtime:
        await runtime.answer(asked.id, "allow", roles=["cfo"])
        assert (await runtime.wait(run)).output == "paid 5"
        assert paid == [5]
        assert await told(runtime, run, "approval.void") == []


async def test_what_was_refused_does_not_run(runtime: Runtime) -> None:
    paid: list[Any] = []
    run = (await runtime.run(paying({"amount": 5}, paid), 1)).run
    await runtime.answer((await the_question(runtime, run)).id, "deny", roles=["cfo"])
    with pytest.raises(RunFailed, match="a person refused it"):
        await runtime.wait(run)
    assert paid == []


async def test_nobody_in_time_denies(runtime: Runtime) -> None:
    paid: list[Any] = []
    world = {"amount": 5, "approve": Approve("role:cfo", deadline=0.05)}
    with pytest.raises(RunFailed, match="nobody approved it in time"):
        await runtime.run(paying(world, paid), 1)
    assert paid == []


async def test_other_arguments_ask_again_and_say_so(runtime: Runtime) -> None:
    paid: list[Any] = []
    world: dict[str, Any] = {"amount": 5}
    run = (await runtime.run(paying(world, paid), 1)).run
    first = await the_question(runtime, run)
    world["amount"] = 6
    await runtime.answer(first.id, "allow", roles=["cfo"])
    assert (await runtime.wait(run)).status == "waiting"
    again = await the_question(runtime, run)
    assert (again.id != first.id, paid) == (True, [])
    (void,) = await told(runtime, run, "approval.void")
    assert (void["id"], void["fields"]) == (first.id, ["arguments"])
    await runtime.answer(again.id, "allow", roles=["cfo"])
    assert (await runtime.wait(run)).output == "paid 6"
    assert paid == [6]


async def test_another_input_asks_again(runtime: Runtime) -> None:
    paid: list[Any] = []
    run = (await runtime.run(paying({"amount": 5}, paid), 1)).run
    first = await the_question(runtime, run)
    await runtime.edit(run, {"input": 2})
    await runtime.wait(run)
    again = await the_question(runtime, run)
    (void,) = await told(runtime, run, "approval.void")
    assert (again.id != first.id, void["fields"], paid) == (True, ["input"], [])


async def test_another_branch_asks_again(runtime: Runtime) -> None:
    paid: list[Any] = []
    run = (await runtime.run(paying({"amount": 5}, paid), 1)).run
    await runtime.pause(run)
    first = await the_question(runtime, run)
    await runtime.answer(first.id, "allow", roles=["cfo"])
    await runtime.rollback(run, 1)
    await runtime.resume(run)
    assert (await runtime.wait(run)).status == "waiting"
    assert (await the_question(runtime, run)).id != first.id
    assert paid == []


async def test_other_code_and_other_rules_ask_again(url: str) -> None:
    paid: list[Any] = []
    async with Runtime(url) as runtime:
        run = (await runtime.run(paying({"amount": 5}, paid), 1)).run
        first = await the_question(runtime, run)

    async def pay(amount: Any, note: str = "") -> str:
        paid.append(2 * amount)
        return f"paid {amount}"

    @task(id="pays", grants=[Allow("effect:*")])
    async def pays(n: int, ctx: Context) -> str:
        said: str = await ctx.effect("pay", pay, 5, approve="role:cfo")
        return said

    async with Runtime(url, [Pipeline("paying", [pays])]) as runtime:
        await runtime.answer(first.id, "allow", roles=["cfo"])
        assert (await runtime.wait(run)).status == "waiting"
        (void,) = await told(runtime, run, "approval.void")
        assert void["fields"] == ["definition", "policy"]
        assert paid == []


async def test_a_tool_that_a_rule_asks_about_is_bound_as_well(runtime: Runtime) -> None:
    done: list[int] = []
    world = {"n": 1}

    @tool
    async def wipe(n: int) -> int:
        done.append(n)
        return n

    @task(grants=[Ask("wipe")])
    async def wipes(n: int, ctx: Context) -> int:
        found: int = await ctx.tool("wipe", n=world["n"])
        return found

    run = (await runtime.run(Pipeline("wiping", [wipes], tools=[wipe]), 1)).run
    world["n"] = 2
    await runtime.answer((await the_question(runtime, run)).id, "allow")
    await runtime.wait(run)
    assert done == []
    assert [void["fields"] for void in await told(runtime, run, "approval.void")] == [["arguments"]]
    await runtime.answer((await the_question(runtime, run)).id, "allow")
    assert (await runtime.wait(run)).output == 2


async def test_several_of_one_name_are_no_change_of_one(runtime: Runtime) -> None:
    @tool
    async def wipe(n: int) -> int:
        return n

    @task(grants=[Ask("wipe")])
    async def wipes(n: int, ctx: Context) -> list[int]:
        two = await asyncio.gather(ctx.tool("wipe", n=1), ctx.tool("wipe", n=2))
        return [*two, await ctx.tool("wipe", n=3)]

    run = (await runtime.run(Pipeline("wiping", [wipes], tools=[wipe]), 1)).run
    for count in (2, 1):
        asked = await runtime.questions(run)
        assert len(asked) == count
        for question in reversed(asked):
            await runtime.answer(question.id, "allow")
            await runtime.wait(run)
    assert (await runtime.wait(run)).output == [1, 2, 3]
    assert await told(runtime, run, "approval.void") == []


async def test_a_dialog_cannot_lie(runtime: Runtime) -> None:
    evil = "harmless\u202egnp.exe\x1b[2K\u200b" + "x" * 1_000_000
    run = (await runtime.run(paying({"amount": evil}, []), 1)).run
    asked = await the_question(runtime, run)
    shown = asked.about["shown"]
    assert shown.startswith('{"amount":"harmless\\u202egnp.exe\\u001b[2K\\u200bxxx')
    assert shown.endswith("bytes hidden)")
    assert len(shown.encode()) < 5_000
    assert "arguments" not in asked.about


async def test_a_flood_is_denied(url: str) -> None:
    @tool
    async def wipe(n: int) -> int:
        return n

    @task(grants=[Ask("wipe")])
    async def floods(n: int, ctx: Context) -> int:
        async def one(place: int) -> int:
            try:
                await ctx.tool("wipe", n=place)
            except PermissionDenied:
                return 1
            return 0

        return sum(await asyncio.gather(*(one(place) for place in range(n))))

    async with Runtime(url, platform=Platform(approvals=3)) as runtime:
        run = (await runtime.run(Pipeline("flood", [floods], tools=[wipe]), 50)).run
        assert len(await runtime.questions(run)) == 3
        assert len(await told(runtime, run, "approval.denied")) == 47
        for asked in await runtime.questions(run):
            await runtime.answer(asked.id, "allow")
        assert (await runtime.wait(run)).output == 47
