"""A transport for httpx2 that makes the requests of an unchanged client recorded calls of the task that it runs in.

    client = AsyncOpenAI(http_client=httpx2.AsyncClient(transport=RecordingTransport()))

Inside a task each request is permitted, set aside in the budgets, sent, recorded, and on a re-run answered from the
record, byte for byte. A crash before the record leaves nothing, and the request is sent again. Request headers are
never kept.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from decimal import Decimal
from fnmatch import fnmatchcase
from hashlib import sha256
from types import TracebackType
from typing import Any, Final, Self

import httpx2

from windlass.core.audit import ModelUse
from windlass.core.errors import DefinitionError, OutsideTask, ValueTooLarge
from windlass.core.secret import MASKS
from windlass.core.talk import Price
from windlass.core.tallies import Amounts
from windlass.core.usage import MILLION, Money, Usage
from windlass.engine.accounts import books_of
from windlass.engine.activation import Activation
from windlass.engine.called import Call
from windlass.engine.current import CURRENT, IN_PORT
from windlass.engine.opened import OpenCall, open_call
from windlass.integrations.protocols import Answered, ModelAsk, as_object, asked
from windlass.policies.budget import Cost

MOST_BYTES: Final = 16 * 1024 * 1024  # of a request's body, and of an answer's
MOST_TOLD: Final = 4000  # characters of a stream that was cut
UNSAID_OUT: Final = 1024  # tokens that an answer is expected to have, where the request sets no limit
AGAIN: Final = frozenset({401, 402, 403, 407, 408, 409, 421, 423, 425, 429})  # may be answered otherwise, later
SECRET_HEADERS: Final = frozenset(
    {"authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie", "set-cookie"}
)
OF_THE_WIRE: Final = frozenset({"content-encoding", "content-length", "transfer-encoding", "connection", "keep-alive"})
UNSHOWN: Final = SECRET_HEADERS | OF_THE_WIRE
SECRET_PARAMS: Final = frozenset({"key", "api_key", "apikey", "api-key", "access_token", "token", "sig", "signature"})
NOTHING: Final = Usage()
UNSENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol)


class RecordingTransport(httpx2.AsyncBaseTransport):
    """Record what a client sends from inside a task; anywhere else, let it pass.

    Requests that speak a model's protocol are calls of kind `model`, with the model's name; others are of kind `http`,
    named by host and path. What runs inside `ctx.call`, `ctx.effect`, a tool or a model is theirs, and passes. So do
    sync tasks.

    Args:
        inner: sends the requests; by default httpx2's own.
        cost: what a request to a model is expected to use, the same for all or worked out for each; by default what
            its length and its limit of tokens say.
        prices: by the model's name, or a pattern of names; a model without a price costs tokens and no money.
        strict: refuse a request that no task runs for.

    Raises:
        DefinitionError: a cost is no Usage, or a price no Price.
    """

    def __init__(
        self, inner: httpx2.AsyncBaseTransport | None = None, *,
        cost: Usage | Callable[[ModelAsk], Usage] | None = None, prices: Mapping[str, Price] | None = None,
        strict: bool = False,
    ) -> None:  # fmt: skip
        if not (cost is None or isinstance(cost, Usage) or callable(cost)):
            raise DefinitionError("budget.usage", f"a cost of {cost!r}", hint="cost=Usage(...), or a function")
        for name, price in (prices or {}).items():
            if not isinstance(price, Price):
                raise DefinitionError("budget.usage", f"a price of {price!r} for {name}", hint="Price(tokens_in=...)")
        self.inner = inner or httpx2.AsyncHTTPTransport()
        self.cost = cost
        self.prices = dict(prices or {})
        self.strict = strict

    async def __aenter__(self) -> Self:
        await self.inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None = None, error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:  # fmt: skip
        await self.inner.__aexit__(kind, error, trace)

    async def aclose(self) -> None:
        """Close the connections."""
        await self.inner.aclose()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request, or answer it from the record.

        Raises:
            PermissionDenied, BudgetExceeded: it may not be sent.
            ValueTooLarge: its body, or the answer's, has more than 16 MiB.
            OutsideTask: the transport is strict, and no task runs here.
            ContextClosed: the task's attempt is over.
        """
        activation = attempt_here()
        if activation is None:
            if self.strict and not IN_PORT.get():
                raise OutsideTask(f"{request.method} {request.url.host}: no task runs here")
            return await self.inner.handle_async_request(request)
        body = await read_request(request)
        model = asked(request.method, request.url.path, body)
        exchange = Exchange(request, body, model, *self._expects(model))
        opened = await open_call(
            activation, "http" if model is None else "model", exchange.name, exchange.call, exchange.digest,
            exchange.amounts,
        )  # fmt: skip
        if opened.kept is not None:
            exchange.note(opened, model=opened.kept.get("model", ""), stop=opened.kept.get("stop", ""))
            return answer(opened.kept)
        with Port(activation):
            return await self._send(request, exchange, opened)

    def _expects(self, model: ModelAsk | None) -> tuple[Usage, Price | None]:
        """Say what a request is expected to use, beside one call, and what a model costs."""
        if model is None:
            return NOTHING, None
        if self.cost is None:
            out = UNSAID_OUT if model.tokens_out is None else model.tokens_out
            return Usage(tokens_in=model.tokens_in, tokens_out=out), self._price(model.model)
        given = self.cost if isinstance(self.cost, Usage) else self.cost(model)
        return given, self._price(model.model)

    def _price(self, name: str) -> Price | None:
        if name in self.prices:
            return self.prices[name]
        return next((price for pattern, price in self.prices.items() if fnmatchcase(name, pattern)), None)

    async def _send(self, request: httpx2.Request, exchange: "Exchange", opened: OpenCall) -> httpx2.Response:
        """Send it; keep the answer if it is one, else pass it on and tell of it."""
        try:
            response = await self.inner.handle_async_request(request)
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind == "text/event-stream" and response.status_code == httpx2.codes.OK:
                return exchange.response(response, LiveStream(exchange, opened, response))
            body = await read_response(response)
        except BaseException as error:
            stopped = isinstance(error, asyncio.CancelledError)
            spent = {} if isinstance(error, UNSENT) else opened.amounts
            opened.drop(spent, "" if stopped else spell(error), code=type(error).__name__)
            exchange.note(opened, failed=type(error).__name__)
            raise
        answered = exchange.answered
        why = refusal(response.status_code, is_model=answered is not None)
        if answered is not None and not why:
            answered.whole(body)
            why = answered.broken
        if why:
            said = response.headers.get("retry-after", "")
            calls = {unit: number for unit, number in opened.amounts.items() if unit == "model_calls"}
            spent = calls if response.is_error else opened.amounts
            opened.drop(spent, why, status=response.status_code, **({"retry_after": said} if said else {}))
            exchange.note(opened, failed=str(response.status_code) if response.is_error else "broken")
            if not response.is_error:  # the client might take it for an answer without words
                raise httpx2.RemoteProtocolError(why, request=request)
            return exchange.response(response, httpx2.ByteStream(body))
        return answer(await exchange.keep(opened, response, body))


class Exchange:
    """One request, and what is kept of it and of its answer.

    Attributes:
        answered: what the answer of a model has told so far; None for other requests.
    """

    def __init__(
        self, request: httpx2.Request, body: bytes, model: ModelAsk | None, expected: Usage, price: Price | None
    ) -> None:
        self.request, self.body, self.model, self.expected, self.price = request, body, model, expected, price
        self.url = shown_url(request.url)
        self.answered: Answered | None = None
        self.cost: Cost | None = None
        if model is None:
            self.name = request.url.netloc.decode("ascii").rpartition("@")[2] + request.url.path
        else:
            self.name, self.answered = model.model, Answered(model.protocol)
            estimate = self._usage(expected.tokens_in, expected.tokens_out)
            self.cost = Cost(estimate=estimate, read=lambda _: self.used())
        whole = (request.method.encode(), self.url.encode(), without_boundary(request.headers, body))
        self.digest = sha256(b"\0".join(whole)).hexdigest()[:32]

    def _usage(self, tokens_in: int, tokens_out: int) -> Usage:
        money: Money = self.expected.money
        if self.price is not None:
            money = Decimal(self.price.of({"tokens_in": tokens_in, "tokens_out": tokens_out})) / MILLION
        return Usage(tokens_in=tokens_in, tokens_out=tokens_out, money=money, model_calls=1)

    def used(self) -> Usage | None:
        """Say what the answer has told that it used; None if it has told nothing."""
        told, expected = self.answered, self.expected
        if told is None or (told.tokens_in is None and told.tokens_out is None):
            return None
        tokens_in = expected.tokens_in if told.tokens_in is None else told.tokens_in
        return self._usage(tokens_in, expected.tokens_out if told.tokens_out is None else told.tokens_out)

    @property
    def call(self) -> Call:
        """What a permission's rules see of it."""
        body = as_text(self.body) if self.model is None else self.model.body
        if self.model is None:
            body = as_object(self.body) or body
        named = {"method": self.request.method, "url": self.url, "body": body}
        return (send, (), named)

    def amounts(self) -> Amounts:
        """Say what it is expected to use."""
        return self.cost.amounts if self.cost is not None else {}

    def spent(self, reserved: Amounts) -> Amounts:
        """Say what an answer that was cut counts as: what was set aside, or what it has told if that is more."""
        told = self.used()
        found = told.amounts() if told is not None else {}
        return {unit: max(number, found.get(unit, 0)) for unit, number in (found | reserved).items()}

    def response(self, response: httpx2.Response, stream: httpx2.AsyncByteStream) -> httpx2.Response:
        """Pass an answer on whose body was decoded."""
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in shown_headers(response)]
        return httpx2.Response(response.status_code, headers=headers, stream=stream, extensions=response.extensions)

    async def keep(self, opened: OpenCall, response: httpx2.Response, body: bytes) -> dict[str, Any]:
        """Record the exchange; returns it as a re-run will see it."""
        value: dict[str, Any] = {
            "status": response.status_code,
            "headers": [[name, value] for name, value in shown_headers(response)],
            "body": as_text(body),
        }
        if self.answered is not None:
            value |= {
                "protocol": self.answered.protocol,
                "model": self.answered.model,
                "stop": self.answered.stop,
            }
        request = {"method": self.request.method, "url": self.url, "body": as_text(self.body)}
        kept: dict[str, Any] = await opened.keep(value, self.cost, request)
        self.note(opened, model=value.get("model", ""), stop=value.get("stop", ""))
        return kept

    def note(self, opened: OpenCall, **told: Any) -> None:
        """Put a call of a model into the attempt's books."""
        if self.model is not None:
            key = "" if "failed" in told else opened.identity
            use = ModelUse(self.name, key, usage=opened.usage, **told)
            books_of(opened.activation).models.append(use)


class LiveStream(httpx2.AsyncByteStream):
    """A stream of events as it comes; recorded as a whole at its end, before the last part is passed on.

    One that is cut, or left, is not kept: `call.failed` tells of it, with the text so far.
    """

    def __init__(self, exchange: Exchange, opened: OpenCall, response: httpx2.Response) -> None:
        self._exchange, self._opened, self._response = exchange, opened, response
        self._chunks = decoded(response)
        self._parts: list[bytes] = []
        self._size = 0
        self._answered = exchange.answered

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        with Port(self._opened.activation):
            try:
                chunk = await anext(self._chunks, b"")
                if chunk:
                    await self._take(chunk)
                elif not self._opened.is_over:
                    await self._end()
            except BaseException as error:
                self._drop(spell(error))
                raise
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        """Close the connection; a stream that was not read to its end is not kept."""
        self._drop("the task left the stream before its end")
        if isinstance(self._chunks, AsyncGenerator):
            await self._chunks.aclose()
        await self._response.aclose()

    async def _take(self, chunk: bytes) -> None:
        if self._opened.is_over:
            return  # what follows the last event of the protocol is not part of it
        self._parts.append(chunk)
        self._size += len(chunk)
        if self._size > MOST_BYTES:
            raise ValueTooLarge("response", self._size, MOST_BYTES)
        if self._answered is not None:
            self._answered.feed(chunk)
            if self._answered.is_last and not self._answered.broken:
                await self._keep()

    async def _end(self) -> None:
        if self._answered is not None:
            self._answered.end()
            if self._answered.broken:
                self._drop(self._answered.broken)
                raise httpx2.RemoteProtocolError(self._answered.broken, request=self._exchange.request)
        await self._keep()

    async def _keep(self) -> None:
        await self._exchange.keep(self._opened, self._response, b"".join(self._parts))

    def _drop(self, why: str) -> None:
        if self._opened.is_over:
            return
        answered = self._answered
        partial = "".join(answered.text) if answered is not None else ""
        if answered is not None and answered.broken:
            why = answered.broken
        spent = self._exchange.spent(self._opened.amounts)
        self._opened.drop(spent, why, received=self._size, partial=MASKS.text(partial)[:MOST_TOLD])
        self._exchange.note(self._opened, failed="cut", partial=True)


class Port:
    """What an attempt does through the transport: an operation that will end by itself, and nobody else's concern."""

    def __init__(self, activation: Activation) -> None:
        self._activation = activation
        self._before = False

    def __enter__(self) -> None:
        self._before = IN_PORT.get()
        IN_PORT.set(True)
        self._activation.begin_op()

    def __exit__(self, *_: object) -> None:
        self._activation.end_op()
        IN_PORT.set(self._before)  # not by a token: a stream may be closed from another context


def attempt_here() -> Activation | None:
    """Return the attempt whose own code runs here, on its own loop; None inside its ports, and anywhere else."""
    activation = CURRENT.get()
    if activation is None or IN_PORT.get() or activation.node.mode == "sync":
        return None
    task = activation.task
    return activation if task is not None and task.get_loop() is asyncio.get_running_loop() else None


def send(method: str, url: str, body: Any) -> None:
    """Name the arguments that a permission's rules see."""


def refusal(status: int, *, is_model: bool) -> str:
    """Say why an answer with this status is not kept; empty if it is.

    The client of a model raises for each error; a call that raised is made again (D14). Other clients may well ask
    whether something is there, and take a 404 for an answer.
    """
    is_kept = status < httpx2.codes.BAD_REQUEST if is_model else status < 500 and status not in AGAIN  # noqa: PLR2004
    return "" if is_kept else f"the answer is {status}"


async def read_request(request: httpx2.Request) -> bytes:
    """Read the body of a request, which is sent from memory then.

    Raises:
        ValueTooLarge: it has more than 16 MiB.
    """
    try:
        body = request.content
    except httpx2.RequestNotRead:
        stream: Any = request.stream
        body = await bounded(aiter(stream), "request")
        request.stream = httpx2.ByteStream(body)
    if len(body) > MOST_BYTES:
        raise ValueTooLarge("request", len(body), MOST_BYTES)
    return body


async def read_response(response: httpx2.Response) -> bytes:
    """Read an answer, decoded.

    Raises:
        ValueTooLarge: it has more than 16 MiB.
    """
    try:
        return await bounded(decoded(response), "response")
    finally:
        await response.aclose()


def decoded(response: httpx2.Response) -> AsyncIterator[bytes]:
    """Pass on the parts of an answer as they come, decoded where they were encoded."""
    stream: Any = response.stream
    return response.aiter_bytes() if "content-encoding" in response.headers else aiter(stream)


async def bounded(chunks: AsyncIterator[bytes], what: str) -> bytes:
    """Put a body together.

    Raises:
        ValueTooLarge: it has more than 16 MiB.
    """
    parts, size = [], 0
    async for chunk in chunks:
        parts.append(chunk)
        size += len(chunk)
        if size > MOST_BYTES:
            raise ValueTooLarge(what, size, MOST_BYTES)
    return b"".join(parts)


def answer(kept: dict[str, Any]) -> httpx2.Response:
    """Make the answer that was kept."""
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in kept["headers"]]
    body = kept["body"]
    content = body.encode() if isinstance(body, str) else body
    return httpx2.Response(kept["status"], headers=headers, content=content)


def shown_headers(response: httpx2.Response) -> list[tuple[str, str]]:
    """List the headers of an answer without secrets, and without those of the wire: its body was decoded."""
    named = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers.raw]
    return [pair for pair in named if pair[0].lower() not in UNSHOWN]


def shown_url(url: httpx2.URL) -> str:
    """Spell an address without the secrets that some services take in it."""
    if url.userinfo:
        url = url.copy_with(username="", password="")
    for name in url.params if url.query else ():
        if name.lower() in SECRET_PARAMS:
            url = url.copy_set_param(name, "***")
    return str(url)


def without_boundary(headers: httpx2.Headers, body: bytes) -> bytes:
    """Replace the boundary of a multipart body, which is drawn anew each time."""
    kind, _, boundary = headers.get("content-type", "").partition("boundary=")
    if not kind.startswith("multipart/") or not boundary:
        return body
    return body.replace(boundary.strip('"').encode(), b"boundary")


def as_text(body: bytes) -> str | bytes:
    """Return a body as text where it is some: people read it, and redaction looks into it."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body


def spell(error: BaseException) -> str:
    """Name an error."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
