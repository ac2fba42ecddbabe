"""A strict runtime: what a task does outside past its ports is refused, where Python can see it."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Self

import pytest

from windlass import (
    Allow,
    Context,
    ModelAnswer,
    ModelRequest,
    Pipeline,
    RunFailed,
    Runtime,
    SyncContext,
    model,
    task,
    tool,
)

ECHO = [sys.executable, "-c", "pass"]


class Door:
    """A server on the loopback that counts who comes."""

    def __init__(self) -> None:
        self.came = 0
        self.seen = asyncio.Event()
        self.expected = 7

    async def __aenter__(self) -> Self:
        async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.came += 1
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            if self.came == self.expected:
                self.seen.set()

        self.server = await asyncio.start_server(greet, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        await self.server.wait_closed()


async def knock(port: int) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await reader.read()
    writer.close()
    await writer.wait_closed()
    return 1


def knock_blocking(port: int) -> int:
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        return 1


async def gathered(port: int) -> int:
    return sum(await asyncio.gather(asyncio.create_task(knock(port)), asyncio.to_thread(knock_blocking, port)))


async def start(_: int) -> int:
    return await (await asyncio.create_subprocess_exec(*ECHO)).wait()


async def asked(port: int) -> int:
    socket.getaddrinfo("localhost", port)
    return 1


PAST: dict[str, Callable[[int], Any]] = {
    "a connection": knock,
    "tasks of its own": gathered,
    "a process": start,
    "a name": asked,
    "a system call": lambda _: os.system("true"),
    "a plain function": knock_blocking,
    "a plain process": lambda _: subprocess.run(ECHO, check=True).returncode,
}


@pytest.mark.parametrize("name", PAST)
@pytest.mark.parametrize("strict", [False, True])
async def test_what_goes_past_the_ports_is_refused(name: str, strict: bool, url: str) -> None:
    work = PAST[name]

    @task
    async def awaited(port: int) -> int:
        found = work(port)
        return int(await found if asyncio.iscoroutine(found) else found)

    @task
    def blocking(port: int) -> int:
        return int(work(port))

    is_plain = not asyncio.iscoroutinefunction(work)
    async with Door() as door:
        bodies: list[Any] = [awaited, blocking] if is_plain else [awaited]
        for body in bodies:
            pipeline = Pipeline("p", [body])
            async with Runtime(url, [pipeline], strict=strict) as runtime:
                if strict:
                    with pytest.raises(RunFailed) as caught:
                        await runtime.run(pipeline, door.port)
                    assert caught.value.failure["code"] == "policy.port_bypassed"
                else:
                    await runtime.run(pipeline, door.port)
        assert not (strict and door.came)


async def test_what_goes_through_a_port_passes(url: str) -> None:
    @model
    async def far(request: ModelRequest) -> ModelAnswer:
        await knock(int(request.messages[0].content))
        return ModelAnswer("well")

    @tool
    async def near(port: int) -> int:
        return await knock(port)

    @tool(effect=True)
    def push(port: int) -> int:
        return knock_blocking(port)

    @task(grants=[Allow("*")])
    async def act(port: int, ctx: Context) -> int:
        await ctx.model(str(port))
        found = [await ctx.tool("near", port=port), await ctx.tool("push", port=port)]
        found += await asyncio.gather(ctx.call("a", knock, port), ctx.call("b", knock_blocking, port))
        total: int = sum(found) + await ctx.effect("c", gathered, port)
        return total

    pipeline = Pipeline("p", [act], models=[far], tools=[near, push])
    async with Door() as door, Runtime(url, [pipeline], strict=True) as runtime:
        assert (await runtime.run(pipeline, door.port)).output == 6
        async with asyncio.timeout(10):
            await door.seen.wait()


async def test_the_rest_of_the_process_is_left_alone(url: str) -> None:
    @task
    def nothing(port: int, ctx: SyncContext) -> int:
        return port

    pipeline = Pipeline("p", [nothing])
    async with Door() as door, Runtime(url, [pipeline], strict=True) as runtime:
        await runtime.run(pipeline, door.port)
        assert await knock(door.port) == 1
        door.expected = 2
        assert await asyncio.to_thread(knock_blocking, door.port) == 1
        async with asyncio.timeout(10):
            await door.seen.wait()
