"""What the trial `wire` plays: a program that asks a model through unchanged clients, a server, and who kills whom."""

import asyncio
import json
import os
import random
import signal
import ssl
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from trials.figures import Figures
from windlass import Pipeline, Retry, Runtime, task
from windlass.core.ops import CallRecorded
from windlass.core.queries import Rows
from windlass.core.records import BODY
from windlass.integrations.http import RecordingTransport
from windlass.testing.crash_forks import Say, fork
from windlass.testing.model_server import ModelServer, Word, last_text

KINDS = ("openai", "openai stream", "anthropic", "anthropic stream")
RUN = "asks"
PROMPTS = [f"{kind} {place}" for place, kind in enumerate(KINDS)]
BOTH = "to both"
WHOLE = [*PROMPTS, BOTH, BOTH]
PARTS = 9  # of a stream, at most, in this trial
WRONG: tuple[Word, ...] = ("429", "500", "cut", "short", "malformed", "empty", "error")
SECONDS = 60.0
TLS = ssl.create_default_context()  # nothing here is encrypted, but each transport would make one, which takes long


async def ask(url: str, client: httpx2.AsyncClient, kind: str, text: str) -> str:
    """Ask in one of four ways; the server is told which process does."""
    messages: Any = [{"role": "user", "content": text}]
    headers = {"x-pid": str(os.getpid())}
    if kind.startswith("openai"):
        openai = AsyncOpenAI(
            api_key="k", base_url=f"{url}/v1", http_client=client, max_retries=0, default_headers=headers
        )
        if kind == "openai":
            answer = await openai.chat.completions.create(model="m", messages=messages)
            return answer.choices[0].message.content or ""
        stream = await openai.chat.completions.create(model="m", messages=messages, stream=True)
        return "".join([part.choices[0].delta.content or "" async for part in stream if part.choices]).strip()
    anthropic = AsyncAnthropic(api_key="k", base_url=url, http_client=client, max_retries=0, default_headers=headers)
    if kind == "anthropic":
        message = await anthropic.messages.create(model="m", max_tokens=99, messages=messages)
        return "".join(part.text for part in message.content if part.type == "text")
    async with anthropic.messages.stream(model="m", max_tokens=99, messages=messages) as streamed:
        return (await streamed.get_final_text()).strip()


@task(retry=Retry(on=Exception, max_attempts=20, initial=0.0))
async def asks(url: str) -> list[str]:
    """Ask one after the other, then two at once."""
    transport = RecordingTransport(httpx2.AsyncHTTPTransport(verify=TLS))
    async with httpx2.AsyncClient(transport=transport) as client:
        found = [await ask(url, client, kind, f"{kind} {place}") for place, kind in enumerate(KINDS)]
        found += await asyncio.gather(*(ask(url, client, "openai stream", "to both") for _ in range(2)))
    return found


flow = Pipeline("asks", [asks])


def serving(script: list[Word], kill_at: tuple[int, int], log: Path) -> Callable[[Say], None]:
    """Serve until it is killed; write down who asked for what, and kill who asks at one place."""

    def work(say: Say) -> None:
        async def main() -> None:
            def watch(request: int, part: int) -> None:
                pid = int(server.headers[request - 1]["x-pid"])
                if part == 0:
                    word = script[request - 1] if request <= len(script) else "ok"
                    file.write(json.dumps([pid, last_text(server.asked[request - 1]), word]) + "\n")
                if (request, part) == kill_at:
                    os.kill(pid, signal.SIGKILL)

            async with ModelServer(script=script, watch=watch) as server:
                say(server.url)
                await asyncio.Event().wait()

        with log.open("a", buffering=1) as file:
            asyncio.run(main())

    return work


def asking(url: str, store: str) -> Callable[[Say], None]:
    """Run the program to its end, from wherever it stands."""

    def work(say: Say) -> None:
        async def main() -> None:
            async with Runtime(store, [flow]) as runtime:
                await runtime.start(flow, url, id=RUN)
                say(json.dumps((await runtime.wait(RUN)).output))

        asyncio.run(main())

    return work


def reading(store: str) -> Callable[[Say], None]:
    """Say what of the run is recorded."""

    def work(say: Say) -> None:
        async def main() -> None:
            async with Runtime(store) as runtime:
                rows = await runtime.store.find(Rows(run=RUN))
            kept = [op for row in rows for op in BODY.decode(row.body).ops if isinstance(op, CallRecorded)]
            say(json.dumps([last_text(json.loads(json.loads(bytes(op.request))["body"])) for op in kept]))

        asyncio.run(main())

    return work


def story(folder: Path, dice: random.Random, figures: Figures) -> None:
    """Kill it at one part of one request; some answers go wrong before and after."""
    folder.mkdir(parents=True)
    store, log = f"sqlite:///{folder}/runs.db", folder / "asked"
    kill_at = (dice.randint(1, len(WHOLE) + 1), dice.choice([0, *range(PARTS)]))
    script: list[Word] = [dice.choice(WRONG) if dice.random() < 0.2 else "ok" for _ in WHOLE]
    where = f"killed at {kill_at}, {script}"
    server = fork(serving(script, kill_at, log))
    url = server.hear()
    child = fork(asking(url, store))
    said, code = child.hear(SECONDS), child.end(SECONDS)
    kept: Counter[str] = Counter()
    if code == -signal.SIGKILL:
        figures.reach("killed in a stream" if kill_at[1] else "killed in a call")
        reader = fork(reading(store))
        kept = Counter(json.loads(reader.hear(SECONDS) or "[]"))
        reader.end(SECONDS)
        figures.reach("recorded before", sum(kept.values()))
        child = fork(asking(url, store))
        said, code = child.hear(SECONDS), child.end(SECONDS)
    server.send(signal.SIGKILL)
    server.end(SECONDS)
    figures.trials += 1
    if code != 0:
        figures.blame("stuck", f"{code}; {where}")
        return
    asked = [json.loads(line) for line in log.read_text().splitlines()]
    again = Counter(text for pid, text, word in asked if pid == child.pid and word == "ok")
    for prompt, number in kept.items():
        if again[prompt] > WHOLE.count(prompt) - number:
            figures.blame("asked again", f"{prompt}: {number} recorded, {again[prompt]} asked for; {where}")
    if json.loads(said) != [f"You said: {prompt}" for prompt in WHOLE]:
        figures.blame("another answer", f"{said}; {where}")
    figures.reach("answers that went wrong", sum(word != "ok" for _, _, word in asked))
    figures.shown["requests"] = figures.shown.get("requests", 0) + len(asked)


async def warm() -> None:
    """Ask once in each way: the clients import and make much when they are first used, and the children inherit it."""
    async with ModelServer() as server, httpx2.AsyncClient(verify=TLS) as client:
        for kind in KINDS:
            await ask(server.url, client, kind, "hello")


def play(folder: Path, stories: int, seed: int) -> Figures:
    """Play so many stories, one after the other."""
    figures = Figures(
        bad={"asked again": 0, "another answer": 0, "stuck": 0},
        reached={"killed in a call": 0, "killed in a stream": 0, "recorded before": 0, "answers that went wrong": 0},
    )
    asyncio.run(warm())
    for place in range(stories):
        story(folder / str(place), random.Random(f"{seed} {place}"), figures)
    return figures
