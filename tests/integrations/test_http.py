"""The requests of unchanged clients are recorded calls: kept, counted, permitted, told, and never sent again."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integrations.conftest import KEY, MISSING, Clients, twice
from windlass import Ask, Budget, Context, Deny, Pipeline, Retry, RunFailed, Runtime, Secret, Usage, task
from windlass.core.errors import DefinitionError, OutsideTask
from windlass.core.secret import MASKS
from windlass.core.talk import Price
from windlass.testing.model_server import ModelServer

httpx2 = pytest.importorskip("httpx2", reason=MISSING)
openai = pytest.importorskip("openai", reason=MISSING)
pytest.importorskip("anthropic", reason=MISSING)
http = pytest.importorskip("windlass.integrations.http")

WAYS = ("openai", "openai stream", "anthropic", "anthropic stream")
STREAMS = WAYS[1::2]
Make = Callable[..., Clients]


async def events(runtime: Runtime, run: str, kind: str) -> list[dict[str, Any]]:
    return [event.data async for event in runtime.events(run) if event.type == kind]


async def failed(runtime: Runtime, definition: Pipeline, given: Any) -> dict[str, Any]:
    """Run what has to fail; return the failure."""
    with pytest.raises(RunFailed) as raised:
        await runtime.run(definition, given, id="r")
    return raised.value.failure


def patient(work: Callable[[str], Any], attempts: int = 2, **options: Any) -> Pipeline:
    """Do the work in a task that is tried again whatever happens."""

    @task(retry=Retry(on=Exception, max_attempts=attempts, initial=0.0), **options)
    async def asking(text: str) -> Any:
        return await work(text)

    return Pipeline("asking", [asking])


@pytest.mark.parametrize("way", WAYS)
async def test_an_answer_is_kept_and_counted_and_given_again(way: str, clients: Make, server: ModelServer) -> None:
    definition = twice(clients().ways()[way])
    async with Runtime() as runtime:
        result = await runtime.run(definition, "how are you", id="r")
        assert result.output == "You said: how are you"
        assert len(server.asked) == 1
        (call,) = await events(runtime, "r", "call.recorded")
        first, second = await runtime.audit("r")
    for (use,) in (first.models, second.models):
        assert "how are you" in use.request["body"]
        assert "You" in use.answer["body"]
        assert (use.stop, use.model) == ("end_turn" if "anthropic" in way else "stop", call["name"])
        assert use.usage == call["usage"]
    assert call["kind"] == "model"
    assert call["name"] == server.asked[0]["model"]
    assert call["usage"] == {"model_calls": 1, "tokens_in": 3, "tokens_out": 5}
    assert call["value"]["status"] == 200


@pytest.mark.parametrize("way", WAYS)
async def test_what_is_given_again_is_the_same_to_the_byte(way: str, clients: Make, server: ModelServer) -> None:
    made = clients()
    seen: list[tuple[int, bytes, list[tuple[str, str]]]] = []

    async def note(response: Any) -> None:
        body = await response.aread()
        seen.append((response.status_code, body, response.headers.multi_items()))

    made.http.event_hooks = {"response": [note]}
    async with Runtime() as runtime:
        await runtime.run(twice(made.ways()[way]), "bytes: äöü 🎈")
    assert len(seen) == 2
    assert seen[0][:2] == seen[1][:2]
    assert {pair for pair in seen[0][2] if pair[0] != "content-length"} == {
        pair for pair in seen[1][2] if pair[0] != "content-length"
    }


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("word", ["429", "500", "529"])
async def test_the_clients_own_tries_leave_one_call(way: str, word: Any, clients: Make, server: ModelServer) -> None:
    """A refused try is told, and gives its number back: the second attempt finds what the last try got."""
    server.script.extend([word, word])
    made = clients(retries=2)
    made.openai._calculate_retry_timeout = made.anthropic._calculate_retry_timeout = lambda *_, **__: 0.0
    async with Runtime() as runtime:
        result = await runtime.run(twice(made.ways()[way]), "again", id="r")
        told = await events(runtime, "r", "call.failed")
        assert len(await events(runtime, "r", "call.recorded")) == 1
    assert result.output == "You said: again"
    assert len(server.asked) == 3
    assert [data["status"] for data in told] == [int(word)] * 2
    assert [data["usage"] for data in told] == [{"model_calls": 1}] * 2
    assert {data.get("retry_after") for data in told} == ({None} if word == "500" else {"0.05"})


@pytest.mark.parametrize("way", WAYS)
async def test_a_last_429_says_when_the_next_attempt_is_made(way: str, clients: Make, server: ModelServer) -> None:
    server.script.append("429")
    async with Runtime() as runtime:
        result = await runtime.run(patient(clients().ways()[way]), "later", id="r")
        (told,) = await events(runtime, "r", "attempt.failed")
    assert result.output == "You said: later"
    assert "again after 0.05 s" in told["said"]
    assert told["failure"]["kind"] == "RateLimitError"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("word", ["cut", "malformed", "empty", "400", "401", "404"])
async def test_what_is_no_answer_is_asked_for_again(way: str, word: Any, clients: Make, server: ModelServer) -> None:
    server.script.append(word)
    async with Runtime() as runtime:
        result = await runtime.run(patient(clients().ways()[way]), "once more", id="r")
        (told,) = await events(runtime, "r", "call.failed")
        assert len(await events(runtime, "r", "call.recorded")) == 1
    assert result.output == "You said: once more"
    assert len(server.asked) == 2
    assert told["why"]


@pytest.mark.parametrize("way", STREAMS)
@pytest.mark.parametrize("word", ["cut", "short", "error"])
async def test_a_stream_that_is_cut_is_told_and_made_again(
    way: str, word: Any, clients: Make, server: ModelServer
) -> None:
    server.script.append(word)
    async with Runtime() as runtime:
        result = await runtime.run(patient(clients().ways()[way]), "one two three four five", id="r")
        (told,) = await events(runtime, "r", "call.failed")
    assert result.output == "You said: one two three four five"
    assert len(server.asked) == 2
    assert told["partial"].startswith("You said:")
    assert told["received"] > 0
    assert told["usage"]["tokens_out"] == 100
    assert told["why"]


async def test_a_stream_comes_live(clients: Make, server: ModelServer) -> None:
    """The first parts are passed on before the last are sent."""
    made = clients()
    passed: list[bytes] = []
    seen: list[int] = []
    server.watch = lambda _, part: seen.append(len(passed)) if part else None
    server.pause = 0.01

    @task
    async def asking(text: str) -> int:
        body = {"model": "m", "stream": True, "messages": [{"content": text}]}
        async with made.http.stream("POST", f"{server.url}/v1/chat/completions", json=body) as response:
            async for part in response.aiter_raw():
                passed.append(part)  # noqa: PERF401 -- while the server looks on
        return len(passed)

    async with Runtime() as runtime:
        await runtime.run(Pipeline("asking", [asking]), "a b c d e f")
    assert len(passed) > 5
    assert seen[-1] > 0


async def test_a_stream_that_the_task_leaves_is_not_kept(clients: Make, server: ModelServer) -> None:
    made = clients()

    @task
    async def asking(text: str) -> str:
        path, body = "/v1/chat/completions", {"model": "m", "stream": True, "messages": [{"content": text}]}
        async with made.http.stream("POST", server.url + path, json=body) as response:
            async for part in response.aiter_lines():
                return str(part)
        return ""

    async with Runtime() as runtime:
        await runtime.run(Pipeline("asking", [asking]), "a b c d", id="r")
        assert await events(runtime, "r", "call.recorded") == []
        (told,) = await events(runtime, "r", "call.failed")
    assert told["why"] == "the task left the stream before its end"


@pytest.mark.parametrize("way", WAYS)
async def test_a_provider_that_hangs_costs_an_attempt(way: str, clients: Make, server: ModelServer) -> None:
    server.script.append("hang")
    async with Runtime() as runtime:
        result = await runtime.run(patient(clients().ways()[way], timeout=0.3), "hello?", id="r")
        (told,) = await events(runtime, "r", "attempt.failed")
    assert result.output == "You said: hello?"
    assert told["failure"]["kind"] == "AttemptTimeout"
    assert len(server.asked) == 2


async def test_identical_requests_at_once_are_told_apart(clients: Make, server: ModelServer) -> None:
    numbers = iter(range(100))
    server.reply = lambda _: f"number {next(numbers)}"
    made = clients()

    async def work(text: str) -> list[str]:
        return await asyncio.gather(*(made.openai_whole(text) for _ in range(5)))

    seen: list[list[str]] = []

    async def noted(text: str) -> list[str]:
        seen.append(await work(text))
        return seen[-1]

    async with Runtime() as runtime:
        await runtime.run(twice(noted), "same")
    assert len(server.asked) == 5
    assert seen[0] == seen[1]
    assert len(set(seen[0])) == 5


@pytest.mark.parametrize("way", WAYS)
async def test_a_denied_model_is_not_asked(way: str, clients: Make, server: ModelServer) -> None:
    @task(grants=[Deny("model:*", when="args.body.max_tokens >= 100")])
    async def asking(text: str) -> str:
        return await clients().ways()[way](text)

    async with Runtime() as runtime:
        failure = await failed(runtime, Pipeline("asking", [asking]), "please")
    assert failure["code"] == "policy.denied"
    assert server.asked == []


@pytest.mark.parametrize("way", WAYS)
async def test_a_budget_is_asked_before_and_told_after(way: str, clients: Make, server: ModelServer) -> None:
    """A request may use 100 tokens, and uses 4: of 107 there is enough for a second one, not for a third."""
    made = clients()

    @task
    async def asking(text: str) -> list[str]:
        return [await made.ways()[way](f"{text} {number}") for number in range(3)]

    async with Runtime() as runtime:
        failure = await failed(runtime, Pipeline("asking", [asking], budget=Budget(tokens_out=107)), "hello")
        assert failure["code"] == "policy.budget"
        assert len(await events(runtime, "r", "call.recorded")) == 2
    assert len(server.asked) == 2


async def test_prices_make_money_of_tokens(clients: Make, server: ModelServer) -> None:
    made = clients(prices={"gpt-*": Price(tokens_in=2, tokens_out=8), "claude-x": Price(tokens_out="15")})

    async def work(text: str) -> list[str]:
        return [await ask(text) for ask in made.ways().values()]

    async with Runtime() as runtime:
        await runtime.run(twice(work), "a b c", id="r")
        spent = [data["usage"]["money"] for data in await events(runtime, "r", "call.recorded")]
    assert spent == [3 * 2 + 5 * 8, 3 * 2 + 5 * 8, 5 * 15, 5 * 15]  # in millionths


async def test_a_stream_without_usage_counts_at_the_estimate(clients: Make, server: ModelServer) -> None:
    made = clients(cost=Usage(tokens_in=7, tokens_out=11))

    @task
    async def asking(text: str) -> str:
        body = {"model": "m", "input": text}
        return str((await made.http.post(f"{server.url}/v1/completions", json=body)).status_code)

    server.reply = lambda _: "no usage here"
    server._usage = lambda *_: (-1, True)  # type: ignore[method-assign]
    async with Runtime() as runtime:
        await runtime.run(Pipeline("asking", [asking]), "x", id="r")
        (call,) = await events(runtime, "r", "call.recorded")
        (said,) = await events(runtime, "r", "budget.estimated")
    assert call["usage"] == {"model_calls": 1, "tokens_in": 7, "tokens_out": 11}
    assert said["why"] == "the result says no usage"


async def test_no_key_and_no_cookie_reaches_the_store(tmp_path: Path, clients: Make, server: ModelServer) -> None:
    made = clients()

    async def work(text: str) -> list[str]:
        url = server.url.replace("//", "//user:hunter2@") + "/search?q=1&api_key=swordfish"
        await made.http.get(url, headers={"cookie": "a=chocolate"})
        return [await ask(text) for ask in made.ways().values()]

    async with Runtime(f"sqlite:///{tmp_path}/runs.db") as runtime:
        await runtime.run(twice(work), "hello", id="r")
        assert KEY in server.headers[1]["authorization"]
        kept = everything(tmp_path)
    assert b"search?q=1&api_key=***" in kept.replace(b"%2A", b"*")
    assert b"You said: hello" in kept
    assert [secret for secret in (KEY, "hunter2", "swordfish", "chocolate", "crumbs") if secret.encode() in kept] == []


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file())


async def test_another_request_is_of_kind_http(clients: Make, server: ModelServer) -> None:
    """Its answer is kept as it is, a 404 as well: it may be what the task wants to know."""
    server.script.extend(["404", "ok"])
    made = clients()

    async def work(text: str) -> list[int]:
        found = [await made.http.get(f"{server.url}/{text}"), await made.http.put(f"{server.url}/{text}", json=[1])]
        return [response.status_code for response in found]

    async with Runtime() as runtime:
        result = await runtime.run(twice(work), "page", id="r")
        calls = await events(runtime, "r", "call.recorded")
    assert result.output == [404, 200]
    assert len(server.asked) == 2
    host = server.url.removeprefix("http://")
    assert [(data["kind"], data["name"]) for data in calls] == [("http", f"{host}/page")] * 2
    assert calls[0]["usage"] == {}


async def test_rules_speak_of_http(clients: Make, server: ModelServer) -> None:
    @task(grants=[Deny("http:*/admin*")])
    async def asking(text: str) -> int:
        return int((await clients().http.get(server.url + text)).status_code)

    async with Runtime() as runtime:
        failure = await failed(runtime, Pipeline("asking", [asking]), "/admin/x")
    assert failure["code"] == "policy.denied"
    assert server.asked == []


async def test_a_multipart_body_is_the_same_request_each_time(clients: Make, server: ModelServer) -> None:
    made = clients()

    async def work(text: str) -> int:
        answer = await made.http.post(
            f"{server.url}/upload", files={"file": ("a.txt", text.encode())}, data={"n": "{}"}
        )
        return int(answer.status_code)

    async with Runtime() as runtime:
        await runtime.run(twice(work), "content")
    assert len(server.asked) == 1


async def test_a_body_that_comes_in_parts_is_read_first(clients: Make, server: ModelServer) -> None:
    made = clients()

    async def parts() -> AsyncIterator[bytes]:
        yield b'{"model": "m", '
        yield b'"messages": [{"content": "in parts"}]}'

    async def work(text: str) -> str:
        headers = {"content-length": "53"}
        answer = await made.http.post(f"{server.url}/v1/chat/completions", content=parts(), headers=headers)
        found: str = answer.json()["choices"][0]["message"]["content"]
        return found

    async with Runtime() as runtime:
        result = await runtime.run(twice(work), "x")
    assert result.output == "You said: in parts"
    assert len(server.asked) == 1


@pytest.mark.parametrize("in_parts", [False, True])
async def test_a_body_above_16_mib_is_refused(in_parts: bool, clients: Make, server: ModelServer) -> None:
    async def many() -> AsyncIterator[bytes]:
        for _ in range(17):
            yield bytes(1 << 20)

    @task
    async def asking(text: str) -> int:
        body = many() if in_parts else bytes(17 << 20)
        return int((await clients().http.post(server.url, content=body)).status_code)

    async with Runtime() as runtime:
        failure = await failed(runtime, Pipeline("asking", [asking]), "x")
    assert failure["code"] == "value.too_large"
    assert server.asked == []


async def test_a_large_answer_is_kept_beside_the_row(clients: Make, server: ModelServer) -> None:
    server.reply = lambda _: "long " * 100_000
    made = clients()

    async def work(text: str) -> int:
        return len(await made.openai_whole(text))

    async with Runtime() as runtime:
        result = await runtime.run(twice(work), "x")
    assert result.output == 500_000
    assert len(server.asked) == 1


async def test_outside_a_task_it_passes_or_is_refused(clients: Make, server: ModelServer) -> None:
    assert await clients().openai_whole("free") == "You said: free"
    with pytest.raises(OutsideTask) as raised:
        await clients(strict=True).openai_whole("free")
    assert raised.value.code == "context.outside"
    assert len(server.asked) == 1


async def test_inside_a_call_or_an_effect_it_is_theirs(clients: Make, server: ModelServer) -> None:
    made = clients(strict=True)

    @task(retry=Retry(on=ConnectionResetError, initial=0.0))
    async def asking(text: str, ctx: Context) -> list[str]:
        found = [await ctx.call("ask", made.openai_whole, text), await ctx.effect("tell", made.openai_whole, text)]
        if ctx.attempt == 1:
            raise ConnectionResetError
        return found

    async with Runtime() as runtime:
        await runtime.run(Pipeline("asking", [asking]), "hello", id="r")
        calls = await events(runtime, "r", "call.recorded")
    assert [(data["kind"], data["name"]) for data in calls] == [("call", "ask")]
    assert len(server.asked) == 2


async def test_a_person_may_be_asked_before_a_request_is_sent(clients: Make, server: ModelServer) -> None:
    @task(grants=[Ask("model:*")])
    async def asking(text: str) -> str:
        return await clients().anthropic_stream(text)

    async with Runtime() as runtime:
        assert (await runtime.run(Pipeline("asking", [asking]), "may I", id="r")).status == "waiting"
        (question,) = await runtime.questions()
        assert (question.about["name"], server.asked) == ("claude-x", [])
        assert question.about["arguments"]["body"]["messages"] == [{"role": "user", "content": "may I"}]
        assert KEY not in str(question)
        await runtime.answer(question.id, "allow")
        assert (await runtime.wait("r")).output == "You said: may I"
    assert len(server.asked) == 1


@pytest.mark.parametrize("way", WAYS)
async def test_a_secret_in_a_prompt_is_masked_in_what_is_kept(
    way: str, tmp_path: Path, clients: Make, server: ModelServer
) -> None:
    """The provider gets it. A whole answer that repeats it is masked before the task sees it, each time."""
    secret = Secret("password", value="correct-horse-battery")
    made = clients()
    seen: list[str] = []

    async def work(_: str) -> None:
        seen.append(await made.ways()[way](f"it is {secret.reveal()}"))

    try:
        async with Runtime(f"sqlite:///{tmp_path}/runs.db") as runtime:
            await runtime.run(twice(work), "x")
            kept = everything(tmp_path)
    finally:
        MASKS.forget()
    assert b"correct-horse-battery" not in kept
    assert server.asked[0]["messages"][0]["content"] == "it is correct-horse-battery"
    assert len(server.asked) == 1
    assert "battery" not in seen[1]
    assert ("battery" in seen[0]) == ("stream" in way)


@pytest.mark.parametrize("way", STREAMS)
async def test_a_secret_in_a_stream_that_was_cut_is_masked(
    way: str, tmp_path: Path, clients: Make, server: ModelServer
) -> None:
    secret = Secret("password", value="correct-horse-battery")
    server.script.append("cut")
    server.reply = lambda text: f"{text} {'and more ' * 10}"
    try:
        async with Runtime(f"sqlite:///{tmp_path}/runs.db") as runtime:
            await runtime.run(patient(lambda _: clients().ways()[way](secret.reveal())), "x", id="r")
            (told,) = await events(runtime, "r", "call.failed")
            kept = everything(tmp_path)
    finally:
        MASKS.forget()
    assert "and more" in told["partial"]
    assert b"horse-battery" not in kept


async def test_a_strict_runtime_takes_it_for_a_port(clients: Make, server: ModelServer) -> None:
    made = clients()

    async def work(text: str) -> list[str]:
        return [await ask(text) for ask in made.ways().values()]

    @task
    async def past(text: str) -> int:
        async with httpx2.AsyncClient() as client:
            return int((await client.get(server.url + text)).status_code)

    async with Runtime(strict=True) as runtime:
        assert (await runtime.run(twice(work), "hi", id="w")).output == ["You said: hi"] * 4
        failure = await failed(runtime, Pipeline("past", [past]), "/")
        assert failure.get("code") == "policy.port_bypassed", failure
    assert len(server.asked) == 4


async def test_a_sync_task_is_outside(clients: Make, server: ModelServer) -> None:
    """It has a thread and, if it makes one, a loop of its own, from which nothing can be recorded."""

    @task
    def asking(text: str) -> str:
        async def main() -> str:
            async with httpx2.AsyncClient(transport=http.RecordingTransport()) as client:
                body = {"model": "m", "messages": [{"content": text}]}
                answer = await client.post(f"{server.url}/v1/chat/completions", json=body)
                found: str = answer.json()["choices"][0]["message"]["content"]
                return found

        return asyncio.run(main())

    async with Runtime() as runtime:
        result = await runtime.run(Pipeline("asking", [asking]), "hi", id="r")
        assert await events(runtime, "r", "call.recorded") == []
    assert result.output == "You said: hi"


async def test_after_its_attempt_nothing_is_sent(clients: Make, server: ModelServer) -> None:
    made = clients()
    left: list[asyncio.Task[str]] = []

    @task
    async def asking(text: str) -> str:
        async def late() -> str:
            await asyncio.sleep(0.05)
            return await made.openai_whole(text)

        left.append(asyncio.create_task(late()))
        return text

    async with Runtime() as runtime:
        await runtime.run(Pipeline("asking", [asking]), "hi")
        with pytest.raises(Exception, match="is over"):
            await left[0]
    assert server.asked == []


async def test_the_error_of_a_provider_is_the_clients_own(clients: Make, server: ModelServer) -> None:
    server.script.append("401")
    seen: list[Exception] = []

    @task
    async def asking(text: str) -> str:
        try:
            return await clients().openai_whole(text)
        except openai.AuthenticationError as error:
            seen.append(error)
            return "refused"

    async with Runtime() as runtime:
        assert (await runtime.run(Pipeline("asking", [asking]), "hi")).output == "refused"
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [({"cost": 3}, "a cost of 3"), ({"prices": {"m": 3}}, "a price of 3 for m")],
)
def test_what_is_no_cost_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        http.RecordingTransport(**options)
