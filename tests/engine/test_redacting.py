"""Secrets and redacted values on their way through a run: what is kept, what a task sees, and what is told of it."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest

from windlass import (
    Allow,
    Ask,
    Context,
    DefinitionError,
    Edge,
    Expect,
    Graph,
    ModelAnswer,
    ModelRequest,
    Output,
    Pipeline,
    Platform,
    Redact,
    RunFailed,
    Runtime,
    Secret,
    Stream,
    ToolCall,
    Undo,
    Yields,
    append,
    model,
    task,
    tool,
)
from windlass.core.errors import SecretInName, ToolUnknown, WindlassError
from windlass.core.queries import Effects, Items, Questions
from windlass.core.records import Command
from windlass.core.secret import MASKS

VALUE = "sk_live_51Habc$/+"
MARK = "[secret:stripe]"


@pytest.fixture
def secret() -> Iterator[Secret]:
    made = Secret("stripe", value=VALUE)
    yield made
    MASKS.forget()


async def told(runtime: Runtime, run: str) -> list[dict[str, Any]]:
    """What `value.redacted` says, in order."""
    return [event.data async for event in runtime.events(run) if event.type == "value.redacted"]


async def everything(runtime: Runtime, run: str) -> str:
    """Everything that the store can be asked about a run, as text."""
    store = runtime.store
    loaded = await store.load(run)
    found: list[Any] = [await store.find(Effects(run=run)), await store.find(Questions(statuses=None))]
    found += [await store.find(Items(run=run)), await runtime.dead_letters(), await runtime.runs()]
    bodies = [row.body for row in loaded.rows] + ([loaded.manifest.body] if loaded.manifest else [])
    return repr((loaded, found)) + b"".join(bodies).decode()


async def test_a_task_sees_what_is_kept_and_a_resume_sees_the_same(runtime: Runtime, secret: Secret) -> None:
    seen: list[Any] = []

    async def fetch(key: Secret) -> dict[str, Any]:
        return {"echo": f"Bearer {key.reveal()}", "pin": "1234"}

    @task
    async def first(given: dict[str, Any], ctx: Context) -> dict[str, Any]:
        answer = await ctx.call("fetch", fetch, secret)
        seen.append((given, answer))
        if await ctx.ask("go on?", bool):
            return {"answer": answer, "own": VALUE}
        return {}

    @task
    async def second(first: dict[str, Any]) -> str:
        seen.append(first)
        return "done"

    pipeline = Pipeline("p", [first, second], redact=Redact(names=["pin"]))
    result = await runtime.run(pipeline, {"key": VALUE}, id="r", tags={"who": VALUE})
    await runtime.answer(result.waiting[0], True)
    await runtime.wait("r")
    kept = {"echo": f"Bearer {MARK}", "pin": "[redacted:pin]"}
    assert seen == [({"key": MARK}, kept), ({"key": MARK}, kept), {"answer": kept, "own": MARK}]
    assert (await runtime.get("r")).tags == {"who": MARK}
    assert (await runtime.replay("r")).differing == ()
    assert VALUE not in await everything(runtime, "r")
    assert await told(runtime, "r") == [
        {"where": "channels.input", "rules": {"secret:stripe": 1}},
        {"where": "call", "rules": {"secret:stripe": 1, "redacted:pin": 1}},
        {"where": "writes.first", "rules": {"secret:stripe": 2, "redacted:pin": 1}},
    ]
    assert VALUE not in repr([event async for event in runtime.events("r")])


async def test_texts_are_masked_too(runtime: Runtime, secret: Secret) -> None:
    @task
    async def fails(given: int, ctx: Context) -> str:
        ctx.emit({"at": VALUE})
        try:
            return {"a": "b"}[VALUE]
        except KeyError as error:
            raise ValueError(f"no answer for {VALUE}") from error

    with pytest.raises(RunFailed) as failed:
        await runtime.run(Pipeline("p", [fails]), 1, id="r")
    assert VALUE not in str(failed.value) + repr(failed.value.failure)
    letter = (await runtime.dead_letters())[0]
    assert letter.failure.message == f"no answer for {MARK}"
    assert letter.failure.cause is not None
    assert letter.failure.cause.message == f"'{MARK}'"
    await runtime.drop(letter.id, by="me", note=f"it was {VALUE}")
    assert VALUE not in await everything(runtime, "r")
    assert {"where": "failure", "rules": {"secret:stripe": 2}} in await told(runtime, "r")


async def test_questions_answers_and_edits_are_masked(runtime: Runtime, secret: Secret) -> None:
    class State(TypedDict):
        notes: Annotated[list[str], append]
        said: str

    async def asks(ctx: Context) -> dict[str, Any]:
        return {"said": await ctx.ask(f"is it {VALUE}?", str), "notes": [VALUE]}

    graph = Graph("g", State)
    graph.node(asks, writes=["said", "notes"])
    graph.start(asks)
    result = await runtime.run(graph, {"notes": []}, id="r")
    asked = (await runtime.questions("r"))[0]
    assert asked.prompt == f"is it {MARK}?"
    await runtime.answer(result.waiting[0], f"yes, {VALUE}", by=VALUE)
    done = await runtime.wait("r")
    assert done.output == {"said": f"yes, {MARK}", "notes": [MARK]}
    await runtime.rollback("r", 1)
    await runtime.resume("r", edits={"said": f"edited {VALUE}"})
    assert (await runtime.state("r"))["said"] == f"edited {MARK}"
    assert VALUE not in await everything(runtime, "r")


async def test_a_command_is_masked_before_it_is_posted(runtime: Runtime, secret: Secret) -> None:
    posted: list[Command] = []
    store: Any = runtime.store
    post = store.post

    async def listening(command: Command) -> None:
        posted.append(command)
        await post(command)

    store.post = listening

    @task
    async def asks(given: int, ctx: Context) -> str:
        return str(await ctx.ask("well?", str))

    result = await runtime.run(Pipeline("p", [asks]), 1)
    await runtime.answer(result.waiting[0], VALUE, by=VALUE)
    await runtime.wait(result.run)
    assert [(bytes(command.arguments["value"]), command.by) for command in posted] == [(f'"{MARK}"'.encode(), MARK)]


async def test_an_effect_keeps_the_name_and_its_undo_gets_the_handle(runtime: Runtime, secret: Secret) -> None:
    calls: list[tuple[str, str]] = []

    async def pay(key: Secret, password: str, amount: int) -> str:
        calls.append(("pay", key.reveal()))
        return f"paid with {key.reveal()}"

    async def refund(key: Secret, password: str, amount: int) -> None:
        calls.append(("refund", key.reveal() + password))

    @task(undo=[Undo(refund)])
    async def charge(amount: int, ctx: Context) -> str:
        return str(await ctx.effect("pay", pay, secret, "hunter2", amount, undo=refund))

    pipeline = Pipeline("p", [charge], redact=Redact(names=["password"]))
    assert (await runtime.run(pipeline, 5, id="r")).output == f"paid with {MARK}"
    line = (await runtime.store.find(Effects(run="r")))[0]
    assert bytes(line.arguments) == b'[[{"$":"secret","v":"stripe"},"[redacted:password]",5],{}]'
    await runtime.rollback("r", 1)
    assert calls == [("pay", VALUE), ("refund", VALUE + "[redacted:password]")]
    assert VALUE not in await everything(runtime, "r")


async def test_an_approval_shows_the_name(runtime: Runtime, secret: Secret) -> None:
    given: list[str] = []

    @tool(effect=True)
    async def push(key: Secret, text: str) -> str:
        given.append(key.reveal())
        return "pushed"

    @tool
    async def look(key: Secret) -> str:
        return key.reveal()

    @task
    async def pushes(text: str, ctx: Context) -> str:
        seen = await ctx.tool("look", key=secret)
        return f"{await ctx.tool('push', key=secret, text=text)} {seen}"

    grants = [Ask("push"), Allow("look", when='args.key == "secret:stripe"')]
    pipeline = Pipeline("p", [pushes], tools=[push, look], grants=grants)
    result = await runtime.run(pipeline, VALUE, id="r")
    about = (await runtime.questions("r"))[0].about
    assert about["arguments"] == {"key": "secret:stripe", "text": MARK}
    await runtime.answer(result.waiting[0], "allow")
    assert (await runtime.wait("r")).output == f"pushed {MARK}"
    assert given == [VALUE]
    assert VALUE not in await everything(runtime, "r")


async def test_stream_items_are_masked_for_followers_and_consumers(runtime: Runtime, secret: Secret) -> None:
    seen: list[Any] = []

    @task
    async def produce(n: int) -> Yields[str]:
        yield f"item {VALUE}"
        yield Output(n)

    @task
    async def consume(items: Stream[str]) -> int:
        seen.extend([item async for item in items])
        return len(seen)

    pipeline = Pipeline("p", [produce, consume], edges=[Edge(produce, consume, stream=True)])
    shown = [event.data async for event in runtime.execute(pipeline, 1, id="r") if event.type == "item"]
    assert seen == [f"item {MARK}"]
    assert [one["value"] for one in shown] == seen
    assert VALUE not in await everything(runtime, "r")


async def test_a_name_that_holds_a_secret_is_refused(runtime: Runtime, secret: Secret) -> None:
    async def nothing() -> int:
        return 1

    doings = {
        "call": lambda ctx: ctx.call(VALUE, nothing),
        "key": lambda ctx: ctx.call("n", nothing, key=VALUE),
        "effect": lambda ctx: ctx.effect("n", nothing, key=f"of {VALUE}"),
        "savepoint": lambda ctx: ctx.savepoint(VALUE),
    }

    @task
    async def does(what: str, ctx: Context) -> int:
        await doings[what](ctx)
        return 0

    pipeline = Pipeline("p", [does])
    for what in doings:
        with pytest.raises(RunFailed, match="holds the value of a secret"):
            await runtime.run(pipeline, what, id=what)
        assert VALUE not in await everything(runtime, what)
    with pytest.raises(SecretInName, match=r"^id:"):
        await runtime.run(pipeline, "call", id=f"run-{VALUE}")
    with pytest.raises(SecretInName, match="definition"):
        await runtime.run(Pipeline(f"p {VALUE}", [does]), "call")


async def test_the_platform_adds_its_rules(url: str) -> None:
    @task
    async def echo(given: dict[str, Any]) -> dict[str, Any]:
        return given

    pipeline = Pipeline("p", [echo], redact=Redact(names=["pin"]))
    async with Runtime(url, [pipeline], platform=Platform(redact=Redact(values=["(?:plat)(?:form)"]))) as runtime:
        result = await runtime.run(pipeline, {"pin": 1, "text": "a platform"})
        assert result.output == {"pin": "[redacted:pin]", "text": "a [redacted:value 1]"}


async def test_an_answer_of_who_knows_no_definition_is_masked_when_it_is_taken(url: str, tmp_path: Path) -> None:
    if url.startswith("memory"):
        return  # another Runtime on it would be this one's store

    @task
    async def asks(given: int, ctx: Context) -> dict[str, Any]:
        answer: dict[str, Any] = await ctx.ask("well?", dict)
        return answer

    pipeline = Pipeline("p", [asks], redact=Redact(names=["pin"]))
    async with Runtime(url) as runtime:
        result = await runtime.run(pipeline, 1, id="r")
    async with Runtime(url) as stranger:
        await stranger.answer(result.waiting[0], {"pin": "4711"})
    async with Runtime(url, [pipeline]) as runtime:
        await runtime.resume("r")
        assert (await runtime.wait("r")).output == {"pin": "[redacted:pin]"}
        assert "4711" not in await everything(runtime, "r")
        assert {"where": "answer", "rules": {"redacted:pin": 1}} in await told(runtime, "r")


async def test_what_a_model_says_is_masked_wherever_it_is_told(runtime: Runtime, secret: Secret) -> None:
    seen: list[Any] = []

    @model(name="parrot")
    async def parrot(request: ModelRequest) -> ModelAnswer:
        calls = (ToolCall(f"tool-{VALUE}", {"key": VALUE}),)
        return ModelAnswer(text=request.messages[-1].content, calls=calls, version=f"v{VALUE}", stop=VALUE, raw=VALUE)

    @task(expect=Expect(int, repairs=0))
    async def asks(given: str, ctx: Context) -> str:
        answer = await ctx.model(f"{'x' * 3_000} {given} {VALUE}")
        seen.append((answer.version, answer.calls[0].name, answer.text[-len(MARK) :]))
        with suppress(ToolUnknown):
            await ctx.use(answer.calls[0])
        with suppress(ToolUnknown):
            await ctx.tool("x" * 190 + VALUE)
        return "x" * 70 + VALUE

    with pytest.raises(RunFailed):
        await runtime.run(Pipeline("p", [asks], models=[parrot]), VALUE, id="r")
    assert seen == [(f"v{MARK}", f"tool-{MARK}", MARK)]
    kept = await everything(runtime, "r") + repr(await runtime.audit("r"))
    kept += repr([event async for event in runtime.events("r")])
    assert VALUE[:8] not in kept


async def test_what_stands_out_of_line_is_told_too(runtime: Runtime, secret: Secret) -> None:
    @task
    async def long(given: str) -> dict[str, Any]:
        return {"text": "x" * 70_000 + VALUE, "list": [VALUE] * 10_000}

    assert (await runtime.run(Pipeline("p", [long]), VALUE * 10_000, id="r")).output["list"] == [MARK] * 10_000
    assert await told(runtime, "r") == [
        {"where": "channels.input", "rules": {"secret:stripe": 10_000}},
        {"where": "writes.long", "rules": {"secret:stripe": 10_001}},
    ]


async def test_nothing_is_told_where_nothing_was_masked(runtime: Runtime) -> None:
    @task
    async def echo(given: str) -> str:
        return given

    await runtime.run(Pipeline("p", [echo]), "[secret:x]", id="r")
    assert await told(runtime, "r") == []


def test_rules_that_are_none_are_refused() -> None:
    @task
    async def echo(given: str) -> str:
        return given

    for wrong in ("password", ["password"], {"names": ["password"]}):
        with pytest.raises(DefinitionError, match="redact is"):
            Pipeline("p", [echo], redact=wrong).compile()  # type: ignore[arg-type]
        with pytest.raises(DefinitionError, match="redact is"):
            Platform(show=wrong)  # type: ignore[arg-type]


@task
async def nothing_done(n: int) -> int:
    return n


async def test_what_cannot_be_kept_is_refused_as_such_though_secrets_are_known(secret: Secret) -> None:
    assert MASKS.known
    pipeline = Pipeline("p", [nothing_done])
    async with Runtime("memory:") as runtime:
        for tag in ("\ud800", type("S", (str,), {})("x")):
            with pytest.raises(WindlassError):
                await runtime.start(pipeline, 1, tags={"k": tag})
