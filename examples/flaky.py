"""A flaky service: an HTTP server that fails twice before it answers, and a task that tries again.

    python examples/flaky.py [STORE]

It shows a retry policy that names the errors worth another try, and a recorded call: `order` succeeds at once and is
not made again when the attempt fails at `price` and is repeated. Attempts and their due times are kept in the store.
"""

import asyncio
import sys
from collections import Counter

from windlass import Context, Pipeline, Retry, Runtime, task

FAILURES = 2
asked: Counter[str] = Counter()  # how often the server was asked, by path


class ServiceDown(Exception):
    """The service answered with a 5xx."""


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request: 503 for the first two of /price, else 200 and the number of the request."""
    path = (await reader.readline()).split()[1].decode()
    while (await reader.readline()).strip():
        pass
    asked[path] += 1
    is_down = path == "/price" and asked[path] <= FAILURES
    body = str(asked[path])
    status = "503 Service Unavailable" if is_down else "200 OK"
    writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode())
    await writer.drain()
    writer.close()


async def get(port: int, path: str) -> str:
    """Ask the service."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    if " 5" in head.splitlines()[0]:
        raise ServiceDown(head.splitlines()[0])
    return body


@task(retry=Retry(on=ServiceDown, max_attempts=5, initial=0.05), timeout=10)
async def quote(port: int, ctx: Context) -> dict[str, str | int]:
    """Ask twice; only what failed is asked again."""
    order = await ctx.call("order", get, port, "/order")
    price = await ctx.call("price", get, port, "/price")
    return {"order": order, "price": price, "attempt": ctx.attempt}


flaky = Pipeline("flaky", [quote])


async def main(store: str = "memory:") -> Counter[str]:
    """Start the service, run the task, and print the attempts."""
    asked.clear()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, Runtime(store) as runtime:
        async for event in runtime.execute(flaky, server.sockets[0].getsockname()[1]):
            if event.type == "attempt.failed":
                print(f"attempt {event.data['attempt']} failed: {event.data['failure']['message']}")
            elif event.type == "activation.completed":
                print(f"attempt {event.data['attempt']} gave {event.data['writes']['quote']}")
    print(f"the server was asked {asked['/order']} time for /order and {asked['/price']} times for /price")
    return asked


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:2]))
