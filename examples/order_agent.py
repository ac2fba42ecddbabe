"""An order agent in front of a shop that is flaky, slow and rate-limited: each order is placed exactly once.

    python examples/order_agent.py [STORE]

The shop is a real HTTP server on the loopback. It answers 429 with a Retry-After to whoever comes too often, takes an
order and hangs instead of saying so, and is down for a while. The agent's code knows nothing of that: a timeout, a
retry that honours Retry-After, a breaker and a limit are declared once, beside it, and an effect carries the key by
which the shop knows an order that it has already.
"""

import asyncio
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from windlass import AttemptTimeout, Breaker, Context, Edge, Limit, Pipeline, Retry, Runtime, task

ORDERS = 12
PER_SECOND = 10  # requests that the shop takes; whoever sends more is refused
DOWN_FROM, DOWN_SECONDS = 16, 0.8  # after so many requests it is down for so long
HANGS, HANG_SECONDS = "item-3", 3.0
BUSY, DOWN = HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE


class Shop:
    """The service: it quotes a price, takes an order, and has its bad moments."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.answered: Counter[int] = Counter()  # requests, by status
        self.times: list[float] = []  # of requests that were not refused
        self.placed: dict[str, str] = {}  # key → what was ordered
        self.again: list[str] = []  # orders that came once more, with a key that was known
        self.barred: dict[str, float] = {}  # what was refused → until when
        self.early: list[str] = []  # who came back before
        self.down_until = 0.0

    def answer(self, path: str, key: str) -> tuple[int, Any]:
        """Answer a request: a status, and what it says."""
        with self.lock:
            status, said, wait = self.judge(path, key, time.monotonic())
            self.answered[status] += 1
        time.sleep(wait)
        return status, said

    def judge(self, path: str, key: str, now: float) -> tuple[int, Any, float]:
        """Say what is answered, and after how many seconds."""
        self.early += [path] * (now < self.barred.pop(path, 0.0))
        self.times = [at for at in self.times if at > now - 1]
        if len(self.times) >= PER_SECOND:
            self.barred[path] = now + 1
            return BUSY, "too many requests", 0.0
        self.times.append(now)
        if self.answered.total() >= DOWN_FROM and not self.down_until:
            self.down_until = now + DOWN_SECONDS
        if now < self.down_until:
            return DOWN, "down", 0.0
        _, item, what = path.split("/")
        if what == "price":
            return HTTPStatus.OK, 100 + len(item), 0.0
        if key in self.placed:
            self.again.append(item)
            return HTTPStatus.OK, f"order of {item}", 0.0
        self.placed[key] = item
        return HTTPStatus.OK, f"order of {item}", HANG_SECONDS * (item == HANGS)


class Door(BaseHTTPRequestHandler):
    """What hands requests to the shop."""

    shop: Shop

    def do_POST(self) -> None:
        """Answer a request."""
        self.rfile.read(int(self.headers["Content-Length"]))
        status, said = self.shop.answer(self.path, self.headers.get("Idempotency-Key", ""))
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if status == BUSY:
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Refused(Exception):
    """The shop answered that it is busy, or down.

    Args:
        retry_after: what the shop said about when to come back; a Retry looks for it under this name.
    """

    def __init__(self, status: int, retry_after: str | None) -> None:
        super().__init__(f"{status}")
        self.status, self.retry_after = status, retry_after


def send(url: str, price: int = 0, key: str = "") -> Any:
    """Ask the shop, as a client does that knows nothing of retries and timeouts."""
    try:
        request = Request(url, json.dumps(price).encode(), {"Idempotency-Key": key})  # noqa: S310 -- to the loopback
        with urlopen(request) as answer:  # noqa: S310 -- as above
            return json.load(answer)
    except HTTPError as error:
        raise Refused(error.code, error.headers.get("Retry-After")) from error


def is_down(error: BaseException) -> bool:
    """Say whether an error is the shop's fault, and not ours for coming too often."""
    return isinstance(error, AttemptTimeout) or (isinstance(error, Refused) and error.status == DOWN)


@task
async def items(shop: str) -> list[str]:
    """Say what to order; an agent would ask a model here."""
    return [f"{shop}/item-{number}" for number in range(ORDERS)]


@task(
    timeout=0.6,
    retry=Retry(on=(Refused, AttemptTimeout), max_attempts=20, initial=0.1, cap=1.0),
    breaker=Breaker("shop", failures=3, cooldown=0.4, on=is_down),
    limits=[Limit("shop", concurrency=4)],
)
async def order(items: str, ctx: Context) -> str:
    """Ask for the price, which is asked for once, and order, which happens once."""
    price: int = await ctx.call("price", send, f"{items}/price")
    placed: str = await ctx.effect("order", send, f"{items}/order", price, ctx.key("order"), on_doubt="retry")
    return placed


agent = Pipeline("order-agent", [items, order], [Edge(items, order, each=True)])


@contextmanager
def opened(shop: Shop) -> Iterator[str]:
    """Open the shop, and return its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("DoorOf", (Door,), {"shop": shop}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()


async def main(store: str = "memory:") -> None:
    """Order, and print what the runtime and the shop have to say about it."""
    failed: Counter[str] = Counter()
    happened: Counter[str] = Counter()
    shop = Shop()
    with opened(shop) as url:
        async with Runtime(store) as runtime:
            async for event in runtime.execute(agent, url):
                happened[event.type] += 1
                if event.type == "attempt.failed":
                    failed[event.data["failure"]["kind"]] += 1
    print(f"attempts: {failed['Refused']} refused, {failed['AttemptTimeout']} timed out,", end=" ")
    print(f"all of them tried again; the breaker opened {happened['breaker.opened']} times")
    print(f"the shop answered {', '.join(f'{status:d} {n} times' for status, n in sorted(shop.answered.items()))};")
    print(f"  {len(shop.early)} came back before their Retry-After was over")
    print(f"sent once more, as nobody knew whether it had arrived, with a key that the shop knew: {len(shop.again)}")
    print(f"{ORDERS} orders, {len(shop.placed)} placed, each once: {len(set(shop.placed.values())) == ORDERS}")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:2]))
