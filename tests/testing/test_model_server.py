"""The server speaks as providers do, counts what it was asked, and goes wrong when it is told to."""

import json
from typing import Any

import pytest

from windlass.core.errors import InputError
from windlass.core.talk import ToolCall
from windlass.testing.model_server import ModelServer, Word

httpx2 = pytest.importorskip("httpx2", reason="the clients are not installed: httpx2, openai, anthropic")

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"


def body(text: Any = "hi", **options: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **options}


async def ask(server: ModelServer, path: str, sent: dict[str, Any]) -> Any:
    async with httpx2.AsyncClient() as client:
        return await client.post(server.url + path, json=sent)


async def test_it_answers_in_both_protocols_and_counts() -> None:
    async with ModelServer(lambda text: text.upper()) as server:
        chat = (await ask(server, CHAT, body("one two"))).json()
        message = (await ask(server, MESSAGES, body([{"type": "text", "text": "three"}]))).json()
    assert chat["choices"][0]["message"]["content"] == "ONE TWO"
    assert chat["usage"]["total_tokens"] == 4
    assert message["content"] == [{"type": "text", "text": "THREE"}]
    assert [len(server.asked), server.asked[0]["model"]] == [2, "m"]


@pytest.mark.parametrize(("path", "last"), [(CHAT, "data: [DONE]"), (MESSAGES, "event: message_stop")])
async def test_a_stream_has_the_same_text_in_parts(path: str, last: str) -> None:
    parts: list[tuple[int, int]] = []
    async with ModelServer(watch=lambda *where: parts.append(where)) as server:
        text = (await ask(server, path, body("a b", stream=True))).text
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    found = "".join(
        delta.get("content") or delta.get("text") or ""
        for event in events
        for delta in ([event["delta"]] if "delta" in event else [each["delta"] for each in event.get("choices", [])])
    )
    assert found == "You said: a b "
    assert last in text
    assert parts == [(1, place) for place in range(len(parts))]


@pytest.mark.parametrize("stream", [False, True])
async def test_it_asks_for_tools_as_both_clients_read_it(stream: bool) -> None:
    openai, anthropic = pytest.importorskip("openai"), pytest.importorskip("anthropic")
    messages: Any = [{"role": "user", "content": "how is the weather?"}]
    wanted = [ToolCall("look", {"city": "Paris"}, "c1"), ToolCall("look", {"city": "Rome"}, "c2")]
    async with (
        ModelServer(lambda _: wanted) as server,
        openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="k", max_retries=0) as chatting,
        anthropic.AsyncAnthropic(base_url=server.url, api_key="k", max_retries=0) as asking,
    ):
        if stream:
            async with await chatting.chat.completions.create(model="m", messages=messages, stream=True) as streamed:
                parts = [part async for part in streamed]
            made = [call for part in parts if part.choices for call in part.choices[0].delta.tool_calls or ()]
            async with asking.messages.stream(model="m", max_tokens=9, messages=messages) as coming:
                message = await coming.get_final_message()
        else:
            answer = await chatting.chat.completions.create(model="m", messages=messages)
            made = answer.choices[0].message.tool_calls
            message = await asking.messages.create(model="m", max_tokens=9, messages=messages)
    assert [ToolCall(one.function.name, json.loads(one.function.arguments), one.id) for one in made] == wanted
    assert [ToolCall(one.name, one.input, one.id) for one in message.content] == wanted
    assert message.stop_reason == "tool_use"


@pytest.mark.parametrize(("word", "status"), [("429", 429), ("500", 500), ("529", 529), ("401", 401), ("404", 404)])
async def test_it_refuses_when_it_is_told_to(word: Word, status: int) -> None:
    async with ModelServer(script=[word]) as server:
        first, second = await ask(server, CHAT, body()), await ask(server, CHAT, body())
    assert (first.status_code, second.status_code) == (status, 200)
    assert ("retry-after" in first.headers) == (status in {429, 529})


@pytest.mark.parametrize("stream", [False, True])
async def test_it_breaks_off_when_it_is_told_to(stream: bool) -> None:
    async with ModelServer(script=["cut", "malformed", "empty"]) as server:
        with pytest.raises(httpx2.RemoteProtocolError):
            await ask(server, CHAT, body(stream=stream))
        assert not (await ask(server, CHAT, body())).text.endswith("}")
        assert (await ask(server, CHAT, body())).content == b""


def test_it_has_no_address_before_it_serves() -> None:
    with pytest.raises(InputError, match="does not serve yet"):
        _ = ModelServer().url
