"""Models as a task asks them: recorded, settled, checked; what comes to nothing is told, and asked for again."""

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.engine.mortal import KILLS, Death, House, begin, go_on, simulate, told
from windlass import (
    Allow,
    Ask,
    Budget,
    Chunk,
    Context,
    Deny,
    Filled,
    Message,
    ModelAnswer,
    ModelRequest,
    Pipeline,
    Price,
    Prompt,
    Retry,
    RunFailed,
    Runtime,
    ToolCall,
    Usage,
    fallback,
    model,
    task,
)
from windlass.core.errors import DefinitionError, ModelAnswerInvalid, ModelError, ModelInterrupted, WindlassError
from windlass.core.talk import Model
from windlass.testing.doubles import ScriptedModel

PAID = Usage(tokens_in=10, tokens_out=5)
AGAIN = Retry(on=ModelError, max_attempts=3, initial=0.01)


@task
async def write(text: str, ctx: Context) -> ModelAnswer:
    return await ctx.model(text)


def said_by(*models: Model, **options: Any) -> Pipeline:
    return Pipeline("p", [write], models=list(models), **options)


async def events(runtime: Runtime, kind: str, run: str = "r") -> list[dict[str, Any]]:
    return [event.data async for event in runtime.events(run) if event.type == kind]


async def test_an_answer_is_recorded_and_settled(url: str) -> None:
    asked: list[ModelRequest] = []

    @model(version="7", cost=Usage(tokens_in=100), price=Price(tokens_in=3, tokens_out="15.5"))
    async def writer(request: ModelRequest) -> ModelAnswer:
        asked.append(request)
        return ModelAnswer(f"to {request.messages[-1].content}", usage=PAID, confidence=0.5, raw={"n": [1]})

    pipeline = said_by(writer, budget=Budget(tokens_in=1000, money=1, model_calls=5))
    whole = ModelAnswer("to hello", usage=PAID, model="writer", version="7", confidence=0.5, raw={"n": [1]})
    spent = {"model_calls": 1, "tokens_in": 10, "tokens_out": 5, "money": 108}
    async with Runtime(url, [pipeline]) as runtime:
        assert (await runtime.run(pipeline, "hello", "r")).output == whole
        [recorded] = await events(runtime, "call.recorded")
        [account] = await runtime.audit("r")
    assert (recorded["kind"], recorded["name"], recorded["usage"]) == ("model", "writer", spent)
    assert asked == [ModelRequest((Message("user", "hello"),))]
    [use] = account.models
    assert (account.run, account.address, account.attempt, account.status) == ("r", "write#1", 1, "completed")
    assert account.cost == use.usage == spent
    assert (use.name, use.model, use.version, use.confidence, use.failed) == ("writer", "writer", "7", 0.5, "")
    assert (use.request, use.answer) == (asked[0], whole)
    assert account.output == {"write": whole}


@pytest.mark.parametrize("death", KILLS)
def test_what_was_answered_is_not_asked_again(death: Death | None) -> None:
    """Two calls and a failure between them: whatever kills the process, each answer is paid for once, or the last."""
    scripted = ScriptedModel(["one", "two", "three", "four"], loop=True, usage=PAID)
    failed: list[int] = []

    @task(retry=Retry(on=OSError, max_attempts=3, initial=0.01))
    async def twice(text: str, ctx: Context) -> list[str]:
        first = await ctx.model(text)
        if not failed:
            failed.append(1)
            raise OSError("down")
        second = await ctx.model(text)
        return [first.text, second.text, (await ctx.model([Message("user", text), first.message()])).text]

    pipeline = Pipeline("p", [twice], models=[scripted.model])

    async def main(house: House) -> None:
        found = await house.live(begin(pipeline, "x"), death=death)
        deaths = 0 if found is not None else 1
        if found is None:
            found = await house.live(go_on(), pipeline)
        recorded = await told(house, "call.recorded")
        assert len(recorded) == 3
        assert len(scripted.requests) - 3 in (0, deaths)
        texts = [one["value"]["v"]["text"] if "v" in one["value"] else one["value"]["text"] for one in recorded]
        assert found.output == texts

    simulate(main)


async def test_identical_questions_are_told_apart_by_their_order(url: str) -> None:
    scripted = ScriptedModel(["one", OSError("down"), "two", "three"])
    failed: list[int] = []

    @task(retry=Retry(on=OSError, max_attempts=3, initial=0.01))
    async def thrice(text: str, ctx: Context) -> list[str]:
        found = []
        for _ in range(3):
            try:
                found.append((await ctx.model(text)).text)
            except OSError:
                found.append((await ctx.model(text)).text)
        if not failed:
            failed.append(1)
            raise OSError("down")
        return found

    pipeline = Pipeline("p", [thrice], models=[scripted.model])
    async with Runtime(url, [pipeline]) as runtime:
        assert (await runtime.run(pipeline, "x", "r")).output == ["one", "two", "three"]
    assert len(scripted.requests) == 4


async def test_a_stream_is_shown_as_it_comes_and_kept_as_one_answer(url: str) -> None:
    scripted = ScriptedModel([ModelAnswer("so it is", (ToolCall("look", {"n": 1}),), PAID, stop="end")], stream=True)
    pipeline = said_by(scripted.model)
    async with Runtime(url, [pipeline]) as runtime:
        seen = [event async for event in runtime.execute(pipeline, "hello", "r")]
        whole = ModelAnswer("so it is", (ToolCall("look", {"n": 1}),), PAID, "scripted", stop="end")
        assert (await runtime.run(pipeline, "hello", "r")).output == whole
    assert [event.data["value"] for event in seen if event.type == "item"] == ["so", " it", " is"]


async def test_a_stream_can_be_asked_for_in_silence(url: str) -> None:
    scripted = ScriptedModel(["so it is"], stream=True)

    @task
    async def quiet(text: str, ctx: Context) -> str:
        return (await ctx.model(text, stream=False)).text

    pipeline = Pipeline("p", [quiet], models=[scripted.model])
    async with Runtime(url, [pipeline]) as runtime:
        found = [event async for event in runtime.execute(pipeline, "hello", "r")]
    assert [event for event in found if event.type == "item"] == []


async def test_a_cut_stream_is_told_with_what_was_heard_and_asked_for_again(url: str) -> None:
    cut: list[Any] = [Chunk("so it "), Chunk("i"), ConnectionError("reset")]
    scripted = ScriptedModel([cut, "so it is"], stream=True, cost=Usage(tokens_out=50))
    pipeline = said_by(scripted.model, defaults={"retry": AGAIN}, budget=Budget(tokens_out=1000))
    async with Runtime(url, [pipeline]) as runtime:
        assert (await runtime.run(pipeline, "hello", "r")).output.text == "so it is"
        [failed] = await events(runtime, "call.failed")
        [attempt] = await events(runtime, "attempt.failed")
        lost, whole = await runtime.audit("r")
    assert (failed["code"], failed["name"], failed["kind"]) == ("model.interrupted", "scripted", "model")
    assert failed["usage"] == {"model_calls": 1, "tokens_out": 50}
    assert "so it i" in str(failed["partial"])
    assert attempt["failure"]["code"] == "model.interrupted"
    assert [(use.failed, use.partial) for use in lost.models] == [("model.interrupted", True)]
    assert [(use.failed, use.partial) for use in whole.models] == [("", False)]
    assert (lost.status, whole.status) == ("failed", "completed")


async def test_a_stream_that_hangs_is_told_when_its_time_is_up(url: str) -> None:
    @model
    async def slow(request: ModelRequest) -> AsyncIterator[Chunk]:
        yield Chunk("well")
        await asyncio.Event().wait()

    pipeline = said_by(slow, defaults={"timeout": 0.05})
    async with Runtime(url, [pipeline]) as runtime:
        with pytest.raises(RunFailed):
            await runtime.run(pipeline, "hello", "r")
        [failed] = await events(runtime, "call.failed")
    assert failed["code"] == "CancelledError"
    assert "well" in str(failed["partial"])


async def test_before_the_first_chunk_an_error_is_its_own(url: str) -> None:
    scripted = ScriptedModel([[ConnectionError("no way")], "yes"], stream=True)
    pipeline = said_by(scripted.model, defaults={"retry": Retry(on=ConnectionError, initial=0.01)})
    async with Runtime(url, [pipeline]) as runtime:
        assert (await runtime.run(pipeline, "hello", "r")).output.text == "yes"
        [failed] = await events(runtime, "call.failed")
    assert (failed["code"], failed["partial"]) == ("ConnectionError", None)


async def endless(_: ModelRequest) -> AsyncIterator[Chunk]:
    while True:
        yield Chunk("x" * 1_000_000)


HOSTILE: dict[str, Any] = {
    "bytes": lambda _: b"text",
    "nothing": lambda _: None,
    "a class": lambda _: ModelAnswer,
    "empty": ModelAnswer(""),
    "blank": ModelAnswer(" \n\t"),
    "no text": ModelAnswer(3),  # type: ignore[arg-type]
    "calls that are none": ModelAnswer("x", ({"name": "a"},)),  # type: ignore[arg-type]
    "calls that are no list": ModelAnswer("x", 3),  # type: ignore[arg-type]
    "a call without a name": ModelAnswer("x", (ToolCall(None),)),  # type: ignore[arg-type]
    "a call of a list": ModelAnswer("x", (ToolCall("a", [1]),)),  # type: ignore[arg-type]
    "too sure": ModelAnswer("x", confidence=1.5),
    "not a number": ModelAnswer("x", confidence=math.nan),
    "sure by word": ModelAnswer("x", confidence="high"),  # type: ignore[arg-type]
    "an object": ModelAnswer("x", raw=object()),
    "too deep": ModelAnswer("x", raw=[]),
    "too large": ModelAnswer("x" * 17_000_000),
    "no chunk": [Chunk("x"), "y"],
    "a chunk of bytes": [Chunk(b"x")],  # type: ignore[arg-type]
    "a chunk with no calls": [Chunk("x", calls=3)],  # type: ignore[arg-type]
    "nothing streamed": [],
    "endless": endless,
}
DEEP: Any = HOSTILE["too deep"].raw
for _ in range(2_000):
    DEEP.append([])
    DEEP = DEEP[0]


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_answer_is_refused_told_and_retried(name: str) -> None:
    line = HOSTILE[name]
    if name == "endless":
        models = iter([Model(name="m", fn=endless, streams=True), ScriptedModel(["good"], name="m").model])
        given = next(models)
    else:
        scripted = ScriptedModel([line, "good"], name="m", stream=isinstance(line, list), usage=PAID)
        given = scripted.model
    pipeline = said_by(given, defaults={"retry": AGAIN}, budget=Budget(model_calls=10))

    async def main(house: House) -> None:
        found = await house.live(begin(pipeline, "x"))
        [failed, *_] = await told(house, "call.failed")
        assert failed["code"] == "model.answer"
        assert failed["usage"]["model_calls"] == 1
        assert failed["why"].isprintable()
        if name == "endless":
            assert found["code"] == "model.answer"
        else:
            assert found.output.text == "good"

    simulate(main)


@pytest.mark.parametrize(
    ("usage", "said"),
    [
        (None, "says no usage"),
        ({"tokens_in": 3}, "says no usage"),
        (Usage(tokens_in=-5), "-5 tokens_in"),
        (Usage(money="NaN"), "'NaN' money"),
        (Usage(tokens_out=True), "True tokens_out"),
    ],
)
async def test_an_answer_without_usage_counts_at_its_estimate(usage: Any, said: str, url: str) -> None:
    estimate = Usage(tokens_in=70, money="0.5")
    scripted = ScriptedModel([lambda _: ModelAnswer("x", usage=usage)], cost=estimate)
    pipeline = said_by(scripted.model, budget=Budget(money=1))
    async with Runtime(url, [pipeline]) as runtime:
        await runtime.run(pipeline, "hello", "r")
        [estimated] = await events(runtime, "budget.estimated")
        [recorded] = await events(runtime, "call.recorded")
    assert said in estimated["why"]
    assert recorded["usage"] == {"model_calls": 1, "tokens_in": 70, "money": 500_000}


async def test_text_in_any_script_is_kept_as_it_is(url: str) -> None:
    text = "price: \u202e05$ \ud800 \u0000 \u200b e\u0301 \U0001f600" + "\u05d0" * 5_000_000
    scripted = ScriptedModel([text])
    pipeline = said_by(scripted.model)
    async with Runtime(url, [pipeline]) as runtime:
        assert (await runtime.run(pipeline, "hello", "r")).output.text == text
        [account] = await runtime.audit("r")
    assert account.models[0].answer.text == text


async def test_a_fallback_carries_the_conversation_on(url: str) -> None:
    first = ScriptedModel([ConnectionError("down"), "fine"], name="first", cost=Usage(tokens_in=40))
    second = ScriptedModel(["from the second"], name="second", usage=PAID)
    both = fallback("both", [first.model, second.model], on=(ConnectionError, ModelError))
    pipeline = said_by(both, budget=Budget(tokens_in=1000))
    async with Runtime(url, [pipeline]) as runtime:
        answer = (await runtime.run(pipeline, "hello", "r")).output
        [fell] = await events(runtime, "model.fell_back")
        [recorded] = await events(runtime, "call.recorded")
        [account] = await runtime.audit("r")
    assert (answer.text, answer.model) == ("from the second", "second")
    assert fell == {"name": "both", "model": "first", "to": "second", "why": "ConnectionError"}
    assert recorded["name"] == "both"
    assert recorded["usage"] == {"model_calls": 1, "tokens_in": 10, "tokens_out": 5}
    assert first.requests == second.requests
    assert [(use.name, use.model, use.failed) for use in account.models] == [
        ("first", "first", "ConnectionError"), ("both", "second", ""),
    ]  # fmt: skip
    assert account.cost == {"model_calls": 2, "tokens_in": 50, "tokens_out": 5}


async def test_a_fallback_goes_on_after_named_errors_only(url: str) -> None:
    first = ScriptedModel([KeyError("oops")], name="first")
    second = ScriptedModel(["x"], name="second")
    pipeline = said_by(fallback("both", [first.model, second.model], on=OSError))
    async with Runtime(url, [pipeline]) as runtime:
        with pytest.raises(RunFailed, match="oops"):
            await runtime.run(pipeline, "hello", "r")
    assert second.requests == []


async def test_permission_and_budget_are_no_reason_to_fall_back(url: str) -> None:
    first, second = ScriptedModel(["x"], name="first"), ScriptedModel(["y"], name="second")
    pipeline = said_by(fallback("both", [first.model, second.model]), grants=[Allow("model:second")])
    async with Runtime(url, [pipeline]) as runtime:
        with pytest.raises(RunFailed) as caught:
            await runtime.run(pipeline, "hello", "r")
    assert caught.value.failure["code"] == "policy.denied"
    assert first.requests == second.requests == []


async def test_a_deployment_swaps_models_by_name(url: str) -> None:
    mine, theirs = ScriptedModel(["mine"], name="writer"), ScriptedModel(["theirs"], name="writer")
    other = ScriptedModel(["other"], name="other")

    @task
    async def both(text: str, ctx: Context) -> list[str]:
        return [(await ctx.model(text)).text, (await ctx.model(text, model="other")).text]

    pipeline = Pipeline("p", [both], models=[mine.model])
    async with Runtime(url, [pipeline], models=[theirs.model, other.model]) as runtime:
        assert (await runtime.run(pipeline, "hello")).output == ["theirs", "other"]
    assert mine.requests == []


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (3, "value.input"),
        ([], "value.input"),
        (["hello"], "value.input"),
        (ModelRequest(()), "value.input"),
        ([Message("boss", "hello")], "value.input"),  # type: ignore[arg-type]
        (ModelRequest((Message("user", "x"),), model="\u202eno"), "model.unknown"),
        (ModelRequest((Message("user", "x"),), tools=("rm",)), "policy.tool_unknown"),
        (ModelRequest((Message("user", "x"),), parameters={"x": object()}), "value.not_kept"),
    ],
)
async def test_what_is_no_request_is_refused(given: Any, code: str) -> None:
    scripted = ScriptedModel(["x"])

    @task
    async def odd(text: str, ctx: Context) -> str:
        return (await ctx.model(given)).text

    pipeline = Pipeline("p", [odd], models=[scripted.model])
    async with Runtime("memory:", [pipeline]) as runtime:
        with pytest.raises(RunFailed) as caught:
            await runtime.run(pipeline, "hello")
    assert caught.value.failure["code"] == code
    assert scripted.requests == []


async def test_where_there_is_no_model_none_is_asked() -> None:
    async with Runtime("memory:", [pipeline := said_by()]) as runtime:
        with pytest.raises(RunFailed, match="models: none"):
            await runtime.run(pipeline, "hello")


@pytest.mark.parametrize(
    ("grants", "is_asked"),
    [
        ([Deny("model:*")], False),
        ([Allow("model:scripted")], True),
        ([Allow("model:scripted", when="args.parameters.temperature < 1.0")], True),
        ([Allow("model:scripted", when="args.parameters.temperature > 1.0")], False),
        ([Allow("model:scripted", when='args.messages[0].role == "user" && size(args.tools) == 0')], True),
        ([Allow("model:other")], False),
    ],
)
async def test_a_model_needs_a_grant_once_a_layer_speaks_of_models(grants: list[Any], is_asked: bool) -> None:
    scripted = ScriptedModel(["x"])

    @task(grants=grants)
    async def ask(text: str, ctx: Context) -> str:
        return (await ctx.model(ModelRequest((Message("user", text),), parameters={"temperature": 0.5}))).text

    pipeline = Pipeline("p", [ask], models=[scripted.model])
    async with Runtime("memory:", [pipeline]) as runtime:
        if is_asked:
            assert (await runtime.run(pipeline, "hello")).output == "x"
        else:
            with pytest.raises(RunFailed, match="model 'scripted'"):
                await runtime.run(pipeline, "hello")
    assert len(scripted.requests) == is_asked


async def test_a_person_may_be_asked_first(url: str) -> None:
    scripted = ScriptedModel(["x"])

    @task(grants=[Ask("model:*")])
    async def ask(text: str, ctx: Context) -> str:
        return (await ctx.model(text)).text

    pipeline = Pipeline("p", [ask], models=[scripted.model])
    async with Runtime(url, [pipeline]) as runtime:
        found = await runtime.run(pipeline, "hello", "r")
        assert (found.status, scripted.requests) == ("waiting", [])
        [question] = await runtime.questions("r")
        await runtime.answer(question.id, "allow")
        assert (await runtime.wait("r")).output == "x"
        assert await events(runtime, "call.failed") == []


async def test_a_budget_lets_no_call_through_that_it_has_nothing_for(url: str) -> None:
    scripted = ScriptedModel(["x", "y"], usage=PAID, cost=Usage(tokens_in=60))

    @task
    async def twice(text: str, ctx: Context) -> str:
        return (await ctx.model(text)).text + (await ctx.model(text)).text

    pipeline = Pipeline("p", [twice], models=[scripted.model], budget=Budget(model_calls=1))
    async with Runtime(url, [pipeline]) as runtime:
        with pytest.raises(RunFailed) as caught:
            await runtime.run(pipeline, "hello")
    assert caught.value.failure["code"] == "policy.budget"
    assert len(scripted.requests) == 1


async def test_a_template_stands_in_the_account_and_the_prompt_in_the_call(url: str) -> None:
    prompt = Prompt("Be short. {{ text }}", name="short", version="3")
    scripted = ScriptedModel(["x"])

    @task
    async def ask(text: str, ctx: Context) -> str:
        return (await ctx.model(prompt.fill(text="{{ text }} is text"))).text

    pipeline = Pipeline("p", [ask], models=[scripted.model])
    async with Runtime(url, [pipeline]) as runtime:
        await runtime.run(pipeline, "hello", "r")
        [account] = await runtime.audit("r")
    [use] = account.models
    assert (use.template, use.template_version, use.template_digest) == ("short", "3", prompt.digest)
    assert use.request.messages == (Message("user", "Be short. {{ text }} is text"),)
    assert use.request.prompt == Filled("", "short", "3", prompt.digest)


async def test_the_schemas_of_tools_reach_the_model_and_no_record(url: str) -> None:
    from windlass import tool

    @tool
    async def look(place: int, *, deep: bool = False) -> str:
        """Look somewhere."""
        return ""

    scripted = ScriptedModel(["x"])

    @task
    async def ask(text: str, ctx: Context) -> str:
        return (await ctx.model(ModelRequest((Message("user", text),), tools=("look",)))).text

    pipeline = Pipeline("p", [ask], models=[scripted.model], tools=[look])
    async with Runtime(url, [pipeline]) as runtime:
        await runtime.run(pipeline, "hello", "r")
        [account] = await runtime.audit("r")
    assert account.models[0].request.schemas == ()
    assert scripted.requests[0].schemas == (
        {"name": "look", "description": "Look somewhere.", "parameters": dict(look.schema)},
    )


def test_what_cannot_be_a_model_is_refused() -> None:
    scripted = ScriptedModel(["x"])
    for make in (
        lambda: model(3),  # type: ignore[call-overload]
        lambda: model(lambda _: None),  # type: ignore[arg-type, return-value]
        lambda: ScriptedModel([], name="a*"),
        lambda: model(scripted._answer, cost=0.5),  # type: ignore[call-overload]
        lambda: model(scripted._answer, price=0.5),  # type: ignore[call-overload]
        lambda: model(scripted._answer, cost=Usage(tokens_in=-1)),
        lambda: Price(tokens_in=-1),
        lambda: Price(tokens_out="x"),
        lambda: fallback("f", []),
        lambda: fallback("f", [scripted.model, scripted.model]),
        lambda: fallback("f", [scripted.model], on=3),  # type: ignore[arg-type]
        lambda: fallback("f", [scripted]),  # type: ignore[list-item]
        lambda: Runtime("memory:", models=[scripted]),  # type: ignore[list-item]
        lambda: said_by(scripted).compile(),  # type: ignore[arg-type]
        lambda: Pipeline("p", [write], models="x").compile(),  # type: ignore[arg-type]
    ):
        with pytest.raises(DefinitionError) as caught:
            make()
        assert caught.value.code.startswith(("model.", "budget."))


def test_errors_of_models_may_be_retried() -> None:
    kinds: list[type[WindlassError]] = [ModelAnswerInvalid, ModelInterrupted]
    assert all(kind.retryable for kind in kinds)
