"""Clients of both providers, each with a transport that records; and a task that asks through one of them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from windlass import Context, Pipeline, Retry, task
from windlass.testing.model_server import ModelServer

MISSING = "the clients are not installed: httpx2, openai, anthropic"
KEY = "sk-canary-f0e1d2c3b4a5"
Asks = Callable[[str], Awaitable[str]]


@dataclass
class Clients:
    """Clients of one server; their own tries are counted without the first, as they count them."""

    server: ModelServer
    transport: Any
    retries: int = 0
    opened: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        import anthropic
        import httpx2
        import openai

        options: dict[str, Any] = {"api_key": KEY, "max_retries": self.retries}
        self.http: Any = httpx2.AsyncClient(transport=self.transport)
        self.openai: Any = openai.AsyncOpenAI(base_url=f"{self.server.url}/v1", http_client=self.http, **options)
        self.anthropic: Any = anthropic.AsyncAnthropic(base_url=self.server.url, http_client=self.http, **options)

    def ways(self) -> dict[str, Asks]:
        return {
            "openai": self.openai_whole,
            "openai stream": self.openai_stream,
            "anthropic": self.anthropic_whole,
            "anthropic stream": self.anthropic_stream,
        }

    async def openai_whole(self, text: str) -> str:
        answer = await self.openai.chat.completions.create(
            model="gpt-5-mini", max_tokens=100, messages=[{"role": "user", "content": text}]
        )
        found: str = answer.choices[0].message.content
        return found

    async def openai_stream(self, text: str) -> str:
        stream = await self.openai.chat.completions.create(
            model="gpt-5-mini", max_tokens=100, messages=[{"role": "user", "content": text}],
            stream=True, stream_options={"include_usage": True},
        )  # fmt: skip
        async with stream:
            parts = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
        return "".join(parts).strip()

    async def anthropic_whole(self, text: str) -> str:
        answer = await self.anthropic.messages.create(
            model="claude-x", max_tokens=100, messages=[{"role": "user", "content": text}]
        )
        found: str = answer.content[0].text
        return found

    async def anthropic_stream(self, text: str) -> str:
        asked = {"model": "claude-x", "max_tokens": 100, "messages": [{"role": "user", "content": text}]}
        async with self.anthropic.messages.stream(**asked) as stream:
            parts = [part async for part in stream.text_stream]
        return "".join(parts).strip()


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    async with ModelServer() as started:
        yield started


@pytest.fixture
async def clients(server: ModelServer) -> AsyncIterator[Callable[..., Clients]]:
    from windlass.integrations.http import RecordingTransport

    made: list[Clients] = []

    def make(retries: int = 0, **options: Any) -> Clients:
        made.append(Clients(server, RecordingTransport(**options), retries))
        return made[-1]

    yield make
    for one in made:
        await one.http.aclose()


def twice(work: Callable[[str], Awaitable[Any]], **options: Any) -> Pipeline:
    """Do the work in a task that fails after its first time: what is kept answers for the second."""

    @task(retry=Retry(on=ConnectionResetError, initial=0.0))
    async def asking(text: str, ctx: Context) -> Any:
        found = await work(text)
        if ctx.attempt == 1:
            raise ConnectionResetError
        return found

    return Pipeline("asking", [asking], **options)
