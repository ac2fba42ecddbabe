"""What goes over the wire is hostile: whatever comes, it is read or called broken, and no reader raises."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.integrations.protocols import Answered, ModelAsk, as_object, asked, guess
from windlass.testing.model_server import event

CHAT = "/v1/chat/completions"
BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
PROTOCOLS = ("openai.chat", "openai.completions", "openai.responses", "openai.embeddings", "anthropic.messages")

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["usage", "choices", "delta", "message", "type", "error", "content", "text", "input_tokens",
                         "prompt_tokens", "completion_tokens", "finish_reason", "model", "id"]), inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


def read(body: Any, path: str = CHAT, method: str = "POST") -> ModelAsk | None:
    return asked(method, path, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("path", "protocol"),
    [
        (CHAT, "openai.chat"),
        ("/openai/deployments/x/chat/completions/", "openai.chat"),
        ("/v1/completions", "openai.completions"),
        ("/v1/responses", "openai.responses"),
        ("/v1/embeddings", "openai.embeddings"),
        ("/v1/messages", "anthropic.messages"),
    ],
)
def test_a_request_to_a_model_is_known_by_its_path(path: str, protocol: str) -> None:
    found = read(BODY, path)
    assert found is not None
    assert (found.protocol, found.model) == (protocol, "m")


@pytest.mark.parametrize(
    ("body", "path", "method"),
    [
        (BODY, CHAT, "GET"),
        (BODY, "/v1/messages/batches", "POST"),
        (BODY, "/v1/messages/count_tokens", "POST"),
        ({"text": "no model"}, "/api/messages", "POST"),
        ({"model": 3}, CHAT, "POST"),
        ([], CHAT, "POST"),
    ],
)
def test_other_requests_are_none(body: Any, path: str, method: str) -> None:
    assert read(body, path, method) is None


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "max_output_tokens"])
@pytest.mark.parametrize(
    ("most", "found"), [(50, 50), (-1, None), (True, None), ("9", None), (None, None), (1.5, None)]
)
def test_a_limit_of_tokens_is_believed_if_it_is_one(name: str, most: Any, found: int | None) -> None:
    known = read({**BODY, name: most})
    assert known is not None
    assert known.tokens_out == found


def test_a_picture_is_no_text() -> None:
    picture = "A" * 1_000_000
    assert guess(json.dumps({"image": picture}).encode()) < 3000
    assert guess(b"a word " * 3000) == 7001


WHOLE: dict[str, tuple[dict[str, Any], int, int]] = {
    "openai.chat": ({"usage": {"prompt_tokens": 3, "completion_tokens": 5}}, 3, 5),
    "openai.responses": ({"usage": {"input_tokens": 3, "output_tokens": 5}}, 3, 5),
    "openai.embeddings": ({"usage": {"prompt_tokens": 3, "total_tokens": 3}}, 3, 0),
    "anthropic.messages": (
        {"usage": dict.fromkeys(["input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"], 1)
         | {"output_tokens": 5}}, 3, 5,
    ),
}  # fmt: skip


@pytest.mark.parametrize("protocol", WHOLE)
def test_usage_is_read(protocol: str) -> None:
    body, tokens_in, tokens_out = WHOLE[protocol]
    answered = Answered(protocol)
    answered.whole(json.dumps({"id": "x", **body}).encode())
    assert (answered.tokens_in, answered.tokens_out, answered.broken) == (tokens_in, tokens_out, "")


@pytest.mark.parametrize(
    "usage", [None, 3, [], {}, {"prompt_tokens": -1}, {"prompt_tokens": "3"}, {"input_tokens": True}]
)
def test_usage_that_is_none_is_missing(usage: Any) -> None:
    answered = Answered("openai.chat")
    answered.whole(json.dumps({"id": "x", "usage": usage}).encode())
    assert answered.tokens_in is None
    assert answered.broken == ""


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"<html>", "no JSON object"),
        (b"[]", "no JSON object"),
        (b'{"a": "\xff"}', "no JSON object"),
        (b"[" * 100_000, "no JSON object"),
        (b'{"error": {"message": "x"}}', "an error"),
    ],
)
def test_what_is_no_answer_is_broken(body: bytes, said: str) -> None:
    answered = Answered("openai.chat")
    answered.whole(body)
    assert said in answered.broken


def streamed(protocol: str, *events: bytes) -> Answered:
    answered = Answered(protocol)
    for chunk in events:
        answered.feed(chunk)
    return answered


def choice(**parts: Any) -> bytes:
    return event("", {"choices": [{"index": 0, **parts}]})


def test_a_stream_may_end_after_its_reason_and_has_ended_with_its_mark() -> None:
    parts = [choice(delta={"content": "a"}), choice(delta={"content": "b"}, finish_reason="stop")]
    answered = streamed("openai.chat", *parts)
    assert (answered.may_end, answered.is_last) == (True, False)
    answered.feed(event("", {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}))
    answered.feed(b"data: [DONE]\r\n\r\n")
    assert answered.is_last
    assert (answered.text, answered.stop) == (["a", "b"], "stop")
    assert (answered.tokens_in, answered.tokens_out) == (1, 2)


def test_a_stream_that_ends_before_is_broken() -> None:
    answered = streamed("openai.chat", choice(delta={"content": "a"}))
    answered.end()
    assert "before its own end" in answered.broken


@pytest.mark.parametrize(
    "part",
    [
        event("error", {"type": "error", "error": {"type": "overloaded_error"}}),
        event("", {"error": {"message": "x"}}),
        event("", {"type": "response.failed", "response": {}}),
        b"data: {half\n\n",
        b"data: []\n\n",
    ],
)
def test_a_stream_that_tells_of_an_error_is_broken(part: bytes) -> None:
    answered = streamed("openai.chat", part, b"data: [DONE]\n\n")
    assert answered.broken
    assert answered.is_last


def test_the_responses_protocol_has_its_usage_at_its_end() -> None:
    answered = streamed(
        "openai.responses",
        event("response.output_text.delta", {"type": "response.output_text.delta", "delta": "hi"}),
        event("response.completed", {"type": "response.completed",
              "response": {"model": "m", "usage": {"input_tokens": 2, "output_tokens": 1}}}),
    )  # fmt: skip
    assert answered.is_last
    assert (answered.text, answered.model, answered.tokens_in, answered.tokens_out) == (["hi"], "m", 2, 1)


@given(st.lists(JSON, max_size=4), st.sampled_from(PROTOCOLS), st.integers(1, 40))
def test_no_reader_raises_and_no_cut_matters(found: list[Any], protocol: str, size: int) -> None:
    """Whatever the parts are, they are read the same wherever the network cuts them."""
    data = b"".join(b"data: " + json.dumps(part).encode() + b"\n\n" for part in found)
    whole, parts = Answered(protocol), Answered(protocol)
    whole.feed(data)
    for place in range(0, len(data), size):
        parts.feed(data[place : place + size])
    whole.end()
    parts.end()
    assert whole == parts
    whole.whole(json.dumps(found[0] if found else None).encode())
    assert whole.tokens_in is None or whole.tokens_in >= 0


@given(st.binary(max_size=60), st.sampled_from(PROTOCOLS))
def test_no_bytes_raise(data: bytes, protocol: str) -> None:
    answered = Answered(protocol)
    answered.feed(b"data:" + data)
    answered.end()
    answered.whole(data)
    assert asked("POST", "/v1/messages", data) is None or isinstance(as_object(data), dict)
