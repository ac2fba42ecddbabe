"""What a task does passes its boundary: permissions on the final arguments, a person asked, and again on resume."""

from functools import partial
from random import Random
from typing import Any

import pytest

from tests.engine.mortal import Death, House, begin, end, go_on, simulate, told
from windlass import (
    Allow,
    Ask,
    Budget,
    Context,
    Cost,
    Deny,
    Pipeline,
    Platform,
    Recover,
    Retry,
    Runtime,
    SyncContext,
    Usage,
    task,
    tool,
)
from windlass.engine.escrow import Escrow
from windlass.policies.permission import Rule

DONE: list[tuple[str, str, dict[str, Any]]] = []  # what was executed: kind, name, arguments


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    DONE.clear()


@tool
async def pricing(amount: int = 1) -> int:
    DONE.append(("tool", "pricing", {"amount": amount}))
    return amount


@tool(effect=True)
async def order(amount: int = 1) -> int:
    DONE.append(("tool", "order", {"amount": amount}))
    return amount


async def push(amount: int = 1) -> int:
    DONE.append(("effect", "push", {"amount": amount}))
    return amount


async def fetch(amount: int = 1) -> int:
    DONE.append(("call", "fetch", {"amount": amount}))
    return amount


async def do(ctx: Context, kind: str, name: str, amount: int, key: str = "") -> int:
    """Do one thing, as a model would have it done."""
    if kind == "tool":
        return int(await ctx.tool(name, amount=amount))
    if kind == "effect":
        return int(await ctx.effect(name, push, amount, key=key))
    return int(await ctx.call(name, fetch, amount))


ACTIONS = [("tool", "pricing"), ("tool", "order"), ("effect", "push"), ("call", "fetch")]


def doing(*steps: tuple[str, str, int], grants: list[Rule] | None = None, name: str = "p", **options: Any) -> Pipeline:
    """Make a task that does these things, one after the other."""

    @task(grants=grants, **options)
    async def act(n: int, ctx: Context) -> list[int]:
        return [await do(ctx, kind, what, amount, str(place)) for place, (kind, what, amount) in enumerate(steps)]

    return Pipeline(name, [act], tools=[pricing, order])


@pytest.mark.parametrize(("kind", "name"), ACTIONS)
@pytest.mark.parametrize(
    ("rules", "passes"),
    [
        ([], {"effect", "call"}),
        (["Allow *"], {"tool", "effect", "call"}),
        (["Allow *", "Deny * 2"], set()),
        (["Allow * 2"], {"tool", "effect", "call"}),
        (["Allow * 3"], set()),
        (["Deny *"], set()),
        (["Allow other"], {"none"}),
        (["Allow * broken"], set()),
        (["Allow *", "Deny * broken"], set()),
    ],
)
def test_only_what_is_granted_is_done(kind: str, name: str, rules: list[str], passes: set[str]) -> None:
    """A condition that cannot be judged denies, whatever else is allowed."""
    made = []
    for rule in rules:
        verb, pattern, *when = rule.split()
        condition = {"2": "args.amount == 2", "3": "args.amount == 3", "broken": "args.amount > 'x'"}
        made.append({"Allow": Allow, "Deny": Deny}[verb](
            f"{kind}:{name if pattern == '*' else pattern}", when=condition[when[0]] if when else None
        ))  # fmt: skip
    if passes == {"none"} and kind == "tool":
        made = [Allow("tool:pric*" if name == "order" else "tool:ord*")]

    async def main(house: House) -> None:
        found = await house.live(begin(doing((kind, name, 2), grants=made), 1))
        if kind in passes:
            assert (found.output, DONE) == ([2], [(kind, name, {"amount": 2})])
        else:
            assert (found["code"], DONE) == ("policy.denied", [])
            assert [letter.reason for letter in await house.letters()] == ["denied"]
        decided = await told(house, "permission.decided")
        if rules:
            assert decided[0]["verdict"] == ("allow" if kind in passes else "deny")
            assert decided[0]["why"]

    simulate(main)


LAYERS = {
    "task": lambda rules: (doing(("tool", "pricing", 2), grants=rules), Platform()),
    "definition": lambda rules: (_whole(rules), Platform()),
    "everybody": lambda rules: (doing(("tool", "pricing", 2), grants=[Allow("*")]), Platform(grants={"*": rules})),
    "tenant": lambda rules: (
        doing(("tool", "pricing", 2), grants=[Allow("*")]),
        Platform(grants={"tenant:acme": rules}),
    ),
    "role": lambda rules: (doing(("tool", "pricing", 2), grants=[Allow("*")]), Platform(grants={"role:clerk": rules})),
}


def _whole(rules: list[Rule]) -> Pipeline:
    @task
    async def act(n: int, ctx: Context) -> list[int]:
        return [await do(ctx, "tool", "pricing", 2)]

    return Pipeline("p", [act], tools=[pricing, order], grants=rules)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("rules", [[Allow("pricing")], [], [Allow("pricing"), Deny("pric*")], [Deny("*")]])
def test_every_layer_has_a_say(layer: str, rules: list[Rule]) -> None:
    pipeline, platform = LAYERS[layer](rules)

    async def main(house: House) -> None:
        found = await house.live(begin(pipeline, 1, tenant="acme", roles=("clerk",)), platform=platform)
        if rules == [Allow("pricing")]:
            assert found.output == [2]
        else:
            assert (found["code"], DONE) == ("policy.denied", [])

    simulate(main)


def test_who_has_no_grant_of_a_tenant_or_role_is_denied() -> None:
    pipeline = doing(("tool", "pricing", 2), grants=[Allow("*")])
    for grants in ({"tenant:acme": [Allow("*")]}, {"role:clerk": [Allow("*")]}):

        async def main(house: House, grants: dict[str, list[Rule]] = grants) -> None:
            found = await house.live(begin(pipeline, 1, tenant="else"), platform=Platform(grants=grants))
            assert (found["code"], DONE) == ("policy.denied", [])

        simulate(main)


# A person


@pytest.mark.parametrize(("kind", "name"), ACTIONS)
@pytest.mark.parametrize("answer", ["allow", "deny"])
@pytest.mark.parametrize("death", [None, Death("commit", 1), Death("commit", 1, after=True), Death("commit", 2)])
def test_a_person_is_asked_and_answered_elsewhere(kind: str, name: str, answer: str, death: Death | None) -> None:
    pipeline = doing((kind, name, 2), grants=[Ask(f"{kind}:{name}", when="args.amount > 1")])

    async def main(house: House) -> None:
        async def ask(runtime: Runtime) -> str:
            assert (await runtime.run(pipeline, 1, "r")).status == "waiting"
            (question,) = await runtime.questions("r")
            assert question.about["arguments"] == {"amount": 2}
            return question.id

        async def say(runtime: Runtime) -> Any:
            for question in await runtime.questions("r"):
                await runtime.answer(question.id, answer, by="ann")
            return await end(runtime, "r")

        assert await house.live(ask)
        assert DONE == []
        found = await house.live(say, pipeline, death=death)
        if found is None:
            found = await house.live(go_on(), pipeline)
        if answer == "allow":
            assert found.output == [2]
            assert DONE[-1:] == [(kind, name, {"amount": 2})]
        else:
            assert (found["code"], DONE) == ("policy.denied", [])

    simulate(main)


@pytest.mark.parametrize(("kind", "name"), ACTIONS)
@pytest.mark.parametrize("second", ["allow", "deny"])
def test_an_approval_holds_for_one_action(kind: str, name: str, second: str) -> None:
    """The same again, with the same arguments, is asked about again."""
    pipeline = doing((kind, name, 2), (kind, name, 2), grants=[Ask(f"{kind}:{name}")])

    async def main(house: House) -> None:
        async def work(runtime: Runtime) -> Any:
            await runtime.start(pipeline, 1, "r")
            for said in ("allow", second):
                assert (await runtime.wait("r")).status == "waiting"
                (question,) = await runtime.questions("r")
                await runtime.answer(question.id, said)
            return await end(runtime, "r")

        found = await house.live(work)
        if second == "allow":
            assert (found.output, len(DONE)) == ([2, 2], 2)
        else:
            assert (found["code"], len(DONE)) == ("policy.denied", 1)

    simulate(main)


def test_what_was_refused_is_asked_again_when_the_run_is_resumed() -> None:
    pipeline = doing(("tool", "pricing", 2), grants=[Ask("pricing")])

    async def main(house: House) -> None:
        async def work(runtime: Runtime) -> Any:
            found: Any = None
            await runtime.start(pipeline, 1, "r")
            for said in ("deny", "allow"):
                assert (await runtime.wait("r")).status == "waiting"
                (question,) = await runtime.questions("r")
                await runtime.answer(question.id, said)
                found = await end(runtime, "r")
                if said == "deny":
                    assert found["code"] == "policy.denied"
                    await runtime.resume("r")
            return found

        assert (await house.live(work)).output == [2]

    simulate(main)


def test_an_approval_does_not_hold_for_other_arguments() -> None:
    amounts = iter([2, 200])

    @task(grants=[Ask("pricing")])
    async def act(n: int, ctx: Context) -> int:
        return await do(ctx, "tool", "pricing", next(amounts))  # a model that says something else on a re-run

    pipeline = Pipeline("p", [act], tools=[pricing])

    async def main(house: House) -> None:
        async def work(runtime: Runtime) -> None:
            await runtime.start(pipeline, 1, "r")
            assert (await runtime.wait("r")).status == "waiting"
            (question,) = await runtime.questions("r")
            await runtime.answer(question.id, "allow")
            assert (await runtime.wait("r")).status == "waiting"
            assert DONE == []
            assert {"amount": 200} in [question.about["arguments"] for question in await runtime.questions("r")]

        await house.live(work)

    simulate(main)


def test_stricter_rules_hold_when_a_run_goes_on() -> None:
    """What was approved is judged again by the rules of the process that would do it."""

    def pipeline(grants: list[Rule]) -> Pipeline:
        return doing(("tool", "pricing", 2), ("tool", "order", 2), grants=grants)

    async def main(house: House) -> None:
        async def ask(runtime: Runtime) -> str:
            await runtime.run(pipeline([Allow("pricing"), Ask("order")]), 1, "r")
            (question,) = await runtime.questions("r")
            return question.id

        async def say(runtime: Runtime, question: str) -> Any:
            await runtime.answer(question, "allow")
            return await end(runtime, "r")

        question = str(await house.live(ask))
        found = await house.live(lambda runtime: say(runtime, question), pipeline([Allow("pricing"), Deny("order")]))
        assert found["code"] == "policy.denied"
        assert [name for _, name, _ in DONE] == ["pricing"]

    simulate(main)


@pytest.mark.parametrize("how", ["retry", "catch", "recover"])
def test_a_denied_task_does_not_get_its_way(how: str) -> None:
    @task(
        grants=[Deny("*")], retry=Retry.fixed(0, on=Exception, max_attempts=5),
        recover=lambda _: Recover.retry() if how == "recover" else Recover.abort(),
    )  # fmt: skip
    async def act(n: int, ctx: Context) -> int:
        for _ in range(3):
            try:
                return await do(ctx, "tool", "pricing", 2)
            except Exception:
                if how != "catch":
                    raise
        return 0

    async def main(house: House) -> None:
        found = await house.live(begin(Pipeline("p", [act], tools=[pricing]), 1))
        assert DONE == []
        assert found.output == 0 if how == "catch" else found["code"] == "policy.denied"

    simulate(main)


@pytest.mark.parametrize("kind", ["call", "effect"])
@pytest.mark.parametrize("changes", [False, True])
@pytest.mark.parametrize("holds", [False, True])
def test_arguments_that_change_after_the_decision_are_refused(
    kind: str, changes: bool, holds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The estimate has to be asked for, and while the call waits for it the task changes what was judged."""
    amounts = [1]
    reserve = Escrow.reserve

    async def slowly(escrow: Escrow, asked: dict[str, int], node: str) -> None:
        await reserve(escrow, asked, node)
        if changes:
            amounts[0] = 1_000_000

    async def pay(amounts: list[int]) -> int:
        DONE.append((kind, "pay", {"amounts": [*amounts]}))
        return amounts[0]

    @task(grants=[Allow(f"{kind}:pay", when="args.amounts[0] <= 10")])
    async def act(n: int, ctx: Context) -> int:
        way = ctx.call if kind == "call" else ctx.effect
        given = (partial(pay, amounts),) if holds else (pay, amounts)
        return int(await way("pay", *given, cost=Cost(estimate=Usage(money=1))))

    async def main(house: House) -> None:
        found = await house.live(begin(Pipeline("p", [act], budget=Budget(money=9)), 1))
        if changes:
            assert (found["code"], DONE) == ("policy.denied", [])
            assert (await house.tally("budget|run|r")).spent == {}
        else:
            assert (found.output, len(DONE)) == (1, 1)

    monkeypatch.setattr(Escrow, "reserve", slowly)
    simulate(main)


def test_a_sync_task_has_no_way_around() -> None:
    assert not any(hasattr(SyncContext, verb) for verb in ("call", "effect", "tool", "ask"))


# A hijacked model: it asks for everything, with every argument; what is done is what a reference allows.

NAMES, AMOUNTS = ["pricing", "order"], [0, 1, 5, 50]
CONDITIONS = {None: lambda _: True, "args.amount <= 5": lambda amount: amount <= 5,
              "args.amount > 1": lambda amount: amount > 1, "args.amount > 'x'": None}  # fmt: skip


def drawn(dice: Random) -> list[Rule]:
    """Draw some rules."""
    verbs: list[Any] = [Allow, Allow, Deny]
    return [
        dice.choice(verbs)(dice.choice(["*", "pricing", "order", "p*", "effect:push", "effect:*"]),
                           when=dice.choice(list(CONDITIONS)))
        for _ in range(dice.randrange(4))
    ]  # fmt: skip


def allows(layers: list[list[Rule]], kind: str, name: str, amount: int) -> bool:
    """Decide as the documentation says it, written a second time."""
    said = []
    for rules in layers:
        if kind != "tool" and not any(rule.kind == kind for rule in rules):
            continue
        mine = [rule for rule in rules if rule.kind == kind and (rule.pattern in ("*", name) or
                (rule.pattern.endswith("*") and name.startswith(rule.pattern[:-1])))]  # fmt: skip
        if any(rule.when is not None and CONDITIONS[rule.when] is None for rule in mine):
            return False
        holding = [rule for rule in mine if CONDITIONS[rule.when](amount)]  # type: ignore[misc]
        said.append(bool(holding) and not any(rule.effect == "deny" for rule in holding))
    return all(said) and (bool(said) or kind != "tool")


async def test_two_hundred_hijacked_runs_do_nothing_that_is_not_granted() -> None:
    wished = [("tool", name, amount) for name in NAMES for amount in AMOUNTS]
    wished += [("effect", "push", amount) for amount in AMOUNTS]
    tried = done = 0
    async with Runtime("memory:") as runtime:
        for seed in range(200):
            dice = Random(seed)
            own, whole = drawn(dice), drawn(dice)
            layers = [own, whole] if seed % 2 else [own]
            wishes = dice.sample(wished, len(wished))
            DONE.clear()

            @task(id="act", grants=own)
            async def act(n: int, ctx: Context, wishes: list[Any] = wishes) -> int:
                for place, (kind, name, amount) in enumerate(wishes):
                    try:
                        await do(ctx, kind, name, amount, str(place))
                    except Exception:  # noqa: BLE001 -- it goes on whatever it is told
                        continue
                return 0

            options: dict[str, Any] = {"grants": whole} if seed % 2 else {}
            await runtime.run(Pipeline(f"p{seed}", [act], tools=[pricing, order], **options), 1)
            executed = {(kind, name, arguments["amount"]) for kind, name, arguments in DONE}
            granted = {wish for wish in wished if allows(layers, *wish)}
            assert executed == granted, (seed, own, whole)
            tried, done = tried + len(wished), done + len(executed)
    assert 0.05 < done / tried < 0.8


async def test_a_task_sees_what_is_left() -> None:
    seen: list[dict[str, float]] = []

    async def pay() -> int:
        return 1

    @task
    async def work(n: int, ctx: Context) -> int:
        await ctx.call("pay", pay, cost=Cost(estimate=Usage(money="0.25")))
        await ctx.call("pay", pay, cost=Cost(estimate=Usage(money="0.25")), key="again")
        seen.append(ctx.budget)
        return n

    async with Runtime("memory:") as runtime:
        await runtime.run(Pipeline("p", [work], budget=Budget(money=2, tool_calls=3)), 1, id="left")
    assert seen == [{"money": 1.5, "tool_calls": 3.0}]
