"""Unchanged clients: what `openai` sends from inside a task is recorded, so that nothing is paid for twice.

    python examples/openai_client.py [STORE]

Without a key it asks a server on this machine that speaks as a provider does; with OPENAI_BASE_URL and OPENAI_API_KEY
(and OPENAI_MODEL) the same lines ask a real one. The task fails once on the way: its second attempt gets the first
answer from the record, and streams the second one.

Needs `pip install 'windlass[http]' openai`.
"""

import asyncio
import os
import sys

import httpx2
from openai import AsyncOpenAI

from windlass import Budget, Context, Pipeline, Retry, Runtime, task
from windlass.integrations.http import RecordingTransport
from windlass.testing.model_server import ModelServer

MODEL = os.environ.get("OPENAI_MODEL", "gpt-5-mini")
transport = RecordingTransport()


class Stumbled(Exception):
    """What goes wrong between two answers."""


@task(retry=Retry(on=Stumbled, max_attempts=3, initial=0.05), timeout=120)
async def story(subject: str, ctx: Context) -> str:
    """Ask for a title, then for the story, which comes as a stream."""
    async with httpx2.AsyncClient(transport=transport) as http:
        client = AsyncOpenAI(http_client=http, max_retries=0)  # Windlass tries again, and remembers that it did
        titled = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": f"A title for a story about {subject}, in five words."}]
        )
        title = titled.choices[0].message.content or ""
        if ctx.attempt == 1:
            raise Stumbled("the title is there, and then this")
        stream = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": f"Three sentences for: {title}"}], stream=True
        )
        parts = []
        async with stream:
            async for chunk in stream:
                if chunk.choices and (text := chunk.choices[0].delta.content):
                    ctx.emit(text)
                    parts.append(text)
    return f"{title}\n{''.join(parts)}"


stories = Pipeline("stories", [story], budget=Budget(model_calls=10, tokens_out=20_000))


async def tell(store: str, subject: str = "a lighthouse") -> str:
    """Run it, and print what happens."""
    async with Runtime(store) as runtime:
        run = await runtime.start(stories, subject)
        async for event in runtime.events(run, follow=True):
            if event.type == "call.recorded":
                print(f"attempt {event.data['attempt']}: {event.data['name']} used {event.data['usage']}")
            elif event.type == "attempt.failed":
                print(f"attempt {event.data['attempt']} failed: {event.data['failure']['message']}")
        output: str = (await runtime.wait(run)).output
    print(output)
    return output


async def main(store: str = "memory:") -> int:
    """Ask the endpoint that the environment names, or a server of our own; return how often ours was asked."""
    if "OPENAI_BASE_URL" in os.environ or "OPENAI_API_KEY" in os.environ:
        await tell(store)
        return 0
    async with ModelServer() as server:
        os.environ.update(OPENAI_BASE_URL=f"{server.url}/v1", OPENAI_API_KEY="no key is needed here")
        try:
            await tell(store)
        finally:
            del os.environ["OPENAI_BASE_URL"], os.environ["OPENAI_API_KEY"]
    print(f"the server was asked {len(server.asked)} times")
    return len(server.asked)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:2]))
