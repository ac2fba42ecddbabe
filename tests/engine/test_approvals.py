"""Approvals: what is shown is what runs, once; whatever differs asks again, and says what differs."""

import asyncio
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from tests.engine.mortal import House, simulate
from windlass import (
    Allow,
    Approve,
    Ask,
    Budget,
    Context,
    Cost,
    ModelAnswer,
    ModelRequest,
    Pipeline,
    Platform,
    RunFailed,
    Runtime,
    Usage,
    model,
    task,
    tool,
)
from windlass.core.errors import PermissionDenied
from windlass.core.records import Question
from windlass.engine.escrow import Escrow


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


async def test_a_long_prompt_says_that_there_is_more(runtime: Runtime) -> None:
    asked = await the_question(runtime, (await runtime.run(paying({"amount": "9" * 300}, []), 1)).run)
    assert asked.prompt.endswith("999… (more is shown beside)?")
    assert "9" * 300 in asked.about["shown"]


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


@pytest.mark.parametrize(("answered", "found"), [(True, "paid 5"), (False, "nobody approved it in time")])
def test_what_is_said_in_time_counts_however_late_it_is_taken(answered: bool, found: str) -> None:
    async def main(house: House) -> None:
        until = datetime.fromtimestamp(house.seams.clock.now() + 60, UTC)
        flow = paying({"amount": 5, "approve": Approve("role:cfo", deadline=until)}, [])

        async def work(runtime: Runtime) -> str:
            run = (await runtime.run(flow, 1)).run
            await runtime.pause(run)
            if answered:
                await runtime.answer((await the_question(runtime, run)).id, "allow", roles=["cfo"])
            await asyncio.sleep(120)
            await runtime.resume(run)
            try:
                return str((await runtime.wait(run)).output)
            except RunFailed as error:
                return str(error)

        assert found in await house.live(work, flow)

    simulate(main)


async def test_until_when_is_read_as_it_is_asked(runtime: Runtime) -> None:
    world: dict[str, Any] = {"amount": 5, "approve": Approve("role:cfo", deadline="1 h")}
    run = (await runtime.run(paying(world, []), 1)).run
    world["approve"] = Approve("role:cfo", deadline=datetime(2020, 1, 1, tzinfo=UTC))
    await runtime.answer((await the_question(runtime, run)).id, "allow", roles=["cfo"])
    assert (await runtime.wait(run)).output == "paid 5"


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
    assert first.prompt == 'May pays do effect \'pay\' with {"amount":5,"note":""}?'
    assert "again" not in first.about
    assert (
        again.prompt
        == 'Asked again, as it differs in arguments: May pays do effect \'pay\' with {"amount":6,"note":""}?'
    )
    assert again.about["again"] == {"id": first.id, "differs": ["arguments"], "shown": first.about["shown"]}
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


def acting(kind: str, ran: list[str], code: str) -> Pipeline:
    """Do one action of a kind, of which a rule says that a person is asked."""

    async def first(amount: int) -> int:
        ran.append("first")
        return amount

    async def second(amount: int) -> int:
        ran.append("second")
        return amount

    fn = first if code == "first" else second

    async def answers(request: ModelRequest) -> ModelAnswer:
        return ModelAnswer(str(await fn(5)))

    async def answers_anew(request: ModelRequest) -> ModelAnswer:
        return ModelAnswer(str(await fn(6)))

    @task(id="acts")
    async def acts(n: int, ctx: Context) -> None:
        match kind:
            case "effect":
                await ctx.effect("pay", fn, n)
            case "call":
                await ctx.call("pay", fn, n)
            case "tool":
                await ctx.tool("pay", amount=n)
            case "model":
                await ctx.model("pay", model="pay")

    given = tool(fn, name="pay")
    asked = model(answers if code == "first" else answers_anew, name="pay")
    return Pipeline("acting", [acts], tools=[given], models=[asked], grants=[Ask(f"{kind}:pay")])


@pytest.mark.parametrize("kind", ["effect", "call", "tool", "model"])
async def test_other_code_asks_again_where_a_rule_asks(url: str, kind: str) -> None:
    ran: list[str] = []
    async with Runtime(url) as runtime:
        run = (await runtime.run(acting(kind, ran, "first"), 5)).run
        first = await the_question(runtime, run)
    async with Runtime(url, [acting(kind, ran, "second")]) as runtime:
        await runtime.answer(first.id, "allow")
        assert (await runtime.wait(run)).status == "waiting"
        again = await the_question(runtime, run)
        assert (again.id != first.id, ran) == (True, [])
        (void,) = await told(runtime, run, "approval.void")
        assert (void["id"], "definition" in void["fields"]) == (first.id, True)
        await runtime.answer(again.id, "allow")
        assert (await runtime.wait(run)).status == "completed"
        assert ran == ["second"]


def paying_in_part(kind: str, world: dict[str, Any], paid: list[int]) -> Pipeline:
    async def pay(amount: int, to: str) -> None:
        paid.append(amount)

    @task(id="pays", grants=None if kind == "approve" else [Ask(f"{kind}:pay", when="args.amount > 1")])
    async def pays(n: int, ctx: Context) -> None:
        given = partial(pay, world["amount"])
        match kind:
            case "approve":
                await ctx.effect("pay", given, "bob", approve="")
            case "effect":
                await ctx.effect("pay", given, "bob")
            case _:
                await ctx.call("pay", given, "bob")

    return Pipeline("paying", [pays])


@pytest.mark.parametrize("kind", ["approve", "effect", "call"])
async def test_what_a_partial_holds_is_shown_and_bound(runtime: Runtime, kind: str) -> None:
    world, paid = {"amount": 5}, list[int]()
    run = (await runtime.run(paying_in_part(kind, world, paid), 1)).run
    first = await the_question(runtime, run)
    assert first.about["arguments"] == {"amount": 5, "to": "bob"}
    world["amount"] = 5_000_000
    await runtime.answer(first.id, "allow")
    assert (await runtime.wait(run)).status == "waiting"
    (void,) = await told(runtime, run, "approval.void")
    assert (void["fields"], paid) == (["arguments"], [])
    await runtime.answer((await the_question(runtime, run)).id, "allow")
    assert (await runtime.wait(run)).status == "completed"
    assert paid == [5_000_000]


async def test_what_a_partial_holds_may_be_anything_where_nobody_is_asked(runtime: Runtime) -> None:
    async def pay(client: object, amount: int) -> int:
        return amount

    @task(grants=[Allow("effect:*"), Allow("call:*")])
    async def pays(n: int, ctx: Context) -> int:
        given = partial(pay, object())
        return int(await ctx.effect("pay", given, n)) + int(await ctx.call("pay", given, n))

    assert (await runtime.run(Pipeline("paying", [pays]), 5)).output == 10


@pytest.mark.parametrize("holds", [False, True])
async def test_what_was_approved_cannot_be_changed_before_it_happens(
    runtime: Runtime, holds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The estimate has to be asked for, and while the effect waits for it the task changes what was approved."""
    paid: list[Any] = []
    amounts, reserve = [5], Escrow.reserve

    async def slowly(escrow: Escrow, asked: dict[str, int], node: str) -> None:
        await reserve(escrow, asked, node)
        amounts[0] = 5_000_000

    async def pay(amounts: list[int]) -> None:
        paid.append(amounts)

    @task(id="pays")
    async def pays(n: int, ctx: Context) -> None:
        given = (partial(pay, amounts),) if holds else (pay, amounts)
        await ctx.effect("pay", *given, approve="", cost=Cost(estimate=Usage(money=1)))

    monkeypatch.setattr(Escrow, "reserve", slowly)
    run = (await runtime.run(Pipeline("paying", [pays], budget=Budget(money=9)), 1)).run
    await runtime.answer((await the_question(runtime, run)).id, "allow")
    with pytest.raises(RunFailed, match="changed after the approval"):
        await runtime.wait(run)
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


def asking_for(name: str, to: str) -> Pipeline:
    async def pay(n: int) -> int:
        return n

    @task(id="pays")
    async def pays(n: int, ctx: Context) -> str:
        try:
            await ctx.effect("pay", pay, n, approve=to)
        except PermissionDenied as error:
            return str(error.args[0])
        return "paid"

    return Pipeline(name, [pays])


async def test_an_approver_is_asked_for_so_many_by_all_runs(url: str) -> None:
    cfo, ceo = asking_for("cfo", "role:cfo"), asking_for("ceo", "role:ceo")
    platform = Platform(approvals_each=3)
    async with Runtime(url, platform=platform) as one, Runtime(url, platform=platform) as two:
        found = [await (one, two)[place % 2].run(cfo, place) for place in range(8)]
        denied = [result for result in found if result.status == "completed"]
        assert (len(await one.questions()), len(denied)) == (3, 5)
        assert "role:cfo was asked for 3 approvals" in denied[0].output
        (said,) = await told(one, denied[0].run, "approval.denied")
        assert said["name"] == "pay"
        assert (await one.run(ceo, 1)).status == "waiting"  # another approver
        assert (await one.run(cfo, 1, tenant="acme")).status == "waiting"  # another tenant's runs
        (first, *_) = await one.questions()
        await one.answer(first.id, "allow", roles=["cfo"])
        assert (await one.wait(first.run)).output == "paid"  # what was asked is not counted again


def test_an_approver_is_asked_again_after_an_hour() -> None:
    async def main(house: House) -> None:
        flow = asking_for("cfo", "")

        async def work(runtime: Runtime) -> list[str]:
            found = [(await runtime.run(flow, 1, f"r{place}")).status for place in range(3)]
            await asyncio.sleep(3700)
            return found + [(await runtime.run(flow, 1, f"s{place}")).status for place in range(3)]

        found = await house.live(work, flow, platform=Platform(approvals_each=2))
        assert found == 2 * ["waiting", "waiting", "completed"]

    simulate(main)


async def test_nobody_may_be_asked(url: str) -> None:
    async with Runtime(url, platform=Platform(approvals_each=0)) as runtime:
        assert "anybody was asked for 0" in (await runtime.run(asking_for("none", ""), 1)).output


async def test_a_refusal_by_the_approvers_limit_uses_none_of_the_runs(url: str) -> None:
    @tool
    async def wipe(n: int) -> int:
        return n

    @task(grants=[Ask("wipe")])
    async def floods(n: int, ctx: Context) -> int:
        denied = 0
        for place in range(n):
            try:
                await ctx.tool("wipe", n=place)
            except PermissionDenied as error:
                denied += "within an hour by all runs" in str(error)
        return denied

    async with Runtime(url, platform=Platform(approvals=3, approvals_each=0)) as runtime:
        assert (await runtime.run(Pipeline("flood", [floods], tools=[wipe]), 9)).output == 9
