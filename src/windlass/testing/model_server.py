"""A server on this machine that speaks as model providers do, and fails as they do: no key, no network, no model.

It answers the OpenAI API (chat completions) and the Anthropic API (messages), streamed or not, and counts what it was
asked. What it does wrong is said before: `server.script` has one word for each request to come.
"""

import asyncio
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Literal, Self

from windlass.core.errors import InputError
from windlass.core.talk import ToolCall

Word = Literal["ok", "429", "500", "529", "401", "400", "404", "hang", "cut", "short", "malformed", "empty", "error"]
REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}
CHUNKED = b"%x\r\n%s\r\n"


def echo(text: str) -> str:
    """Answer a prompt with itself."""
    return f"You said: {text}"


class ModelServer:
    """Serve answers on a port of 127.0.0.1 while the block runs.

    Args:
        reply: makes an answer of the last message's text: a text, or the tool calls that it asks for.
        script: what happens to the requests to come, a word each; `ok` to all after them. `hang` answers nothing,
            `cut` breaks off in the middle, `short` ends a stream before its end mark, `error` tells of an error in it.
        pause: seconds between the parts of a stream.
        watch: is told before each part is sent: the number of the request, from 1, and that of the part, from 0.

    Attributes:
        asked: the bodies of all requests, in order; `headers` those that came with them.
    """

    def __init__(
        self, reply: Callable[[str], str | Sequence[ToolCall]] = echo, script: Iterable[Word] = (), *,
        pause: float = 0.0, watch: Callable[[int, int], None] = lambda *_: None,
    ) -> None:  # fmt: skip
        self.reply = reply
        self.script: deque[Word] = deque(script)
        self.pause = pause
        self.watch = watch
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._open.values():
            writer.transport.abort()
        if self._open:
            await asyncio.wait(list(self._open))

    @property
    def url(self) -> str:
        """The address, without a path; of an OpenAI client the `base_url` is this and `/v1`."""
        if self._server is None:
            raise InputError("server", "it does not serve yet", hint="async with ModelServer() as server: ...")
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        me = asyncio.current_task()
        if me is not None:
            self._open[me] = writer
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client went away
        finally:
            writer.close()
            if me is not None:
                del self._open[me]

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; say whether the connection is still good."""
        line = (await reader.readline()).decode()
        if not line:
            return False
        path = line.split()[1]
        headers: dict[str, str] = {}
        while field := (await reader.readline()).decode().strip():
            name, _, value = field.partition(":")
            headers[name.lower()] = value.strip()
        raw = await reader.readexactly(int(headers.get("content-length", "0")))
        body = read_object(raw)
        self.asked.append(body)
        self.headers.append(headers)
        word: Word = self.script.popleft() if self.script else "ok"
        self.watch(len(self.asked), 0)
        if word == "hang":
            await reader.read()
            return False
        if word.isdigit():
            self._refuse(writer, int(word))
        elif word == "empty":
            self._whole(writer, 200, b"")
        elif word == "malformed":
            self._whole(writer, 200, b'{"id": "x", "choices": [{')
        elif body.get("stream"):
            return await self._stream(writer, path, body, word)
        else:
            whole = json.dumps(self._answer(path, body)).encode()
            self._whole(writer, 200, whole if word != "cut" else whole[: len(whole) // 2], length=len(whole))
        await writer.drain()
        return word != "cut"

    def _refuse(self, writer: asyncio.StreamWriter, status: int) -> None:
        body = {"type": "error", "error": {"type": "some_error", "message": f"scripted {status}", "code": None}}
        self._whole(writer, status, json.dumps(body).encode(), retry_after=status in (429, 529))

    def _whole(
        self, writer: asyncio.StreamWriter, status: int, body: bytes, *, retry_after: bool = False, length: int = -1
    ) -> None:
        head = [
            f"HTTP/1.1 {status} {REASONS.get(status, 'Server Error')}",
            "content-type: application/json",
            f"content-length: {len(body) if length < 0 else length}",
            f"x-request-id: req-{len(self.asked)}",
            "set-cookie: trace=crumbs",
        ]
        if retry_after:
            head.append("retry-after: 0.05")
        writer.write("\r\n".join([*head, "", ""]).encode() + body)

    async def _stream(self, writer: asyncio.StreamWriter, path: str, body: dict[str, Any], word: Word) -> bool:
        head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
        writer.write(head.encode())
        parts = list(self._parts(path, body))
        if word in ("cut", "short", "error"):
            parts = parts[: len(parts) // 2]
        if word == "error":
            parts.append(
                event("error", {"type": "error", "error": {"type": "overloaded_error", "message": "scripted"}})
            )
        number = len(self.asked)
        for place, part in enumerate(parts, 1):
            self.watch(number, place)
            writer.write(CHUNKED % (len(part), part))
            await writer.drain()
            await asyncio.sleep(self.pause)
        if word == "cut":
            return False
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    def _answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        said = self.reply(last_text(body))
        text, calls = (said, ()) if isinstance(said, str) else ("", said)
        used = self._usage(body, text)
        number = len(self.asked)
        if path.endswith("/messages"):
            return {
                "id": f"msg_{number}", "type": "message", "role": "assistant", "model": body.get("model", ""),
                "content": [block_of(call) for call in calls] or [{"type": "text", "text": text}],
                "stop_reason": "tool_use" if calls else "end_turn", "stop_sequence": None,
                "usage": {"input_tokens": used[0], "output_tokens": used[1]},
            }  # fmt: skip
        message = {"role": "assistant", "content": text, **({"tool_calls": list(map(part_of, calls))} if calls else {})}
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
        return {
            "id": f"chatcmpl-{number}", "object": "chat.completion", "created": 0, "model": body.get("model", ""),
            "choices": [choice],
            "usage": {"prompt_tokens": used[0], "completion_tokens": used[1], "total_tokens": sum(used)},
        }  # fmt: skip

    def _usage(self, body: dict[str, Any], text: str) -> tuple[int, int]:
        return len(last_text(body).split()), len(text.split())

    def _parts(self, path: str, body: dict[str, Any]) -> Iterator[bytes]:
        whole = self._answer(path, body)
        used = whole["usage"]
        if not path.endswith("/messages"):
            frame = {"id": whole["id"], "object": "chat.completion.chunk", "created": 0, "model": body.get("model", "")}
            message, why = whole["choices"][0]["message"], whole["choices"][0]["finish_reason"]
            calls = [{"index": place, **call} for place, call in enumerate(message.get("tool_calls", ()))]
            words = [] if calls else message["content"].split(" ")
            for delta in [*({"content": word + " "} for word in words), *({"tool_calls": [call]} for call in calls)]:
                yield event("", {**frame, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
            yield event("", {**frame, "choices": [{"index": 0, "delta": {}, "finish_reason": why}]})
            yield event("", {**frame, "choices": [], "usage": used})
            yield b"data: [DONE]\n\n"
            return
        start = {**whole, "content": [], "stop_reason": None, "usage": {**used, "output_tokens": 1}}
        yield event("message_start", {"type": "message_start", "message": start})
        for place, block in enumerate(whole["content"]):
            empty, deltas = {**block, "text": ""}, [{"type": "text_delta", "text": f"{w} "} for w in text_of(block)]
            if block["type"] == "tool_use":
                empty, wanted = {**block, "input": {}}, json.dumps(block["input"])
                deltas = [{"type": "input_json_delta", "partial_json": wanted}]
            yield event("content_block_start", {"type": "content_block_start", "index": place, "content_block": empty})
            for delta in deltas:
                yield event("content_block_delta", {"type": "content_block_delta", "index": place, "delta": delta})
            yield event("content_block_stop", {"type": "content_block_stop", "index": place})
        end = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
        used_out = {"output_tokens": used["output_tokens"]}
        yield event("message_delta", {"type": "message_delta", "delta": end, "usage": used_out})
        yield event("message_stop", {"type": "message_stop"})


def event(name: str, data: dict[str, Any]) -> bytes:
    """Write a server-sent event."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data)}\n\n".encode()


def part_of(call: ToolCall) -> dict[str, Any]:
    """Spell a tool call as the OpenAI API does: its arguments are a text."""
    wanted = call.arguments if isinstance(call.arguments, str) else json.dumps(call.arguments)
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": wanted}}


def block_of(call: ToolCall) -> dict[str, Any]:
    """Spell a tool call as the Anthropic API does."""
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": call.read()}


def text_of(block: dict[str, Any]) -> list[str]:
    """Cut the text of a block into words."""
    words: list[str] = block.get("text", "").split(" ")
    return words


def read_object(raw: bytes) -> dict[str, Any]:
    """Read the body of a request; an empty object where it is none."""
    try:
        found = json.loads(raw)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def last_text(body: dict[str, Any]) -> str:
    """Return the text of the last message that was sent."""
    messages = body.get("messages") or [{}]
    content = messages[-1].get("content", "")
    return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)
