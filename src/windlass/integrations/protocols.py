"""What is known of the protocols that clients of models speak over HTTP: which request is one, what its answer used.

Pure, and about the wire alone: the fields below are those of the OpenAI API (chat completions, completions, responses,
embeddings; many servers speak it) and of the Anthropic API (messages), streams included, as documented in 2026.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

ENDS: Final = {  # how the path of a request ends → the protocol
    "/chat/completions": "openai.chat",
    "/completions": "openai.completions",
    "/responses": "openai.responses",
    "/embeddings": "openai.embeddings",
    "/messages": "anthropic.messages",
}
MOST_OUT: Final = ("max_tokens", "max_completion_tokens", "max_output_tokens")
IN, OUT = ("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens")
CACHED: Final = ("cache_creation_input_tokens", "cache_read_input_tokens")  # Anthropic counts them beside input_tokens
STOPS: Final = ("finish_reason", "stop_reason")
LAST: Final = ("message_stop", "response.completed", "response.incomplete")
BROKEN: Final = ("error", "response.failed")
BYTES_PER_TOKEN: Final = 3  # of a request, at the least: English has four, other languages and code have fewer
MEDIA: Final = re.compile(rb"[\w+/=-]{2000,}")  # a picture or a sound, in base64
MEDIA_TOKENS: Final = 2000


@dataclass(slots=True)
class ModelAsk:
    """A request to a model.

    Args:
        body: the whole of it, parsed.
        tokens_in: what it may be at most, guessed from its length.
        tokens_out: the most that it lets the model write; None where it does not say.
    """

    protocol: str
    model: str
    body: dict[str, Any]
    tokens_in: int
    tokens_out: int | None


def asked(method: str, path: str, body: bytes) -> ModelAsk | None:
    """Read a request to a model; None if it is none."""
    if method != "POST":
        return None
    path = path.rstrip("/")
    protocol = next((name for end, name in ENDS.items() if path.endswith(end)), "")
    parsed = as_object(body) if protocol else None
    if parsed is None or not isinstance(parsed.get("model"), str):
        return None
    most = next((parsed[name] for name in MOST_OUT if is_count(parsed.get(name))), None)
    if protocol == "openai.embeddings":
        most = 0
    return ModelAsk(protocol, parsed["model"], parsed, guess(body), most)


def guess(body: bytes) -> int:
    """Guess how many tokens a request has, rather too many than too few."""
    rest, media = MEDIA.subn(b"", body)
    return len(rest) // BYTES_PER_TOKEN + 1 + media * MEDIA_TOKENS


@dataclass(slots=True)
class Answered:
    """What an answer has told so far.

    Attributes:
        tokens_in: that it used; None where it does not say, and so below.
        broken: why it is no answer; empty if it may be one.
        is_last: its own end has come: nothing follows that belongs to it.
        may_end: it would be whole if it ended here.
        model: who answered.
        stop: why the model stopped, in the protocol's words.
        text: what it wrote so far, for people; of a stream only.
    """

    protocol: str
    tokens_in: int | None = None
    tokens_out: int | None = None
    broken: str = ""
    is_last: bool = False
    may_end: bool = False
    model: str = ""
    stop: str = ""
    text: list[str] = field(default_factory=list)
    _line: bytes = b""

    def whole(self, body: bytes) -> None:
        """Take an answer that came in one piece."""
        parsed = as_object(body)
        if parsed is None:
            self.broken = "the answer is empty" if not body.strip() else "the answer is no JSON object"
            return
        if parsed.get("error") and not parsed.get("id"):  # a proxy that answers 200 for a failure
            self.broken = "the answer tells of an error"
            return
        self._note(parsed)
        self.is_last = self.may_end = True

    def feed(self, chunk: bytes) -> None:
        """Take a part of a stream of server-sent events."""
        *lines, self._line = (self._line + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                self._data(line[5:].strip())

    def end(self) -> None:
        """Take the end of a stream; what was not whole by then is broken."""
        if self._line:
            self.feed(b"\n")
        if not self.broken and not self.may_end:
            self.broken = "the stream ended before its own end"

    def _data(self, data: bytes) -> None:
        if data == b"[DONE]":
            self.is_last = self.may_end = True
            return
        event = as_object(data)
        if event is None:
            self.broken = self.broken or ("a part of the stream is no JSON object" if data else "")
            return
        kind = event.get("type")
        if kind in BROKEN or event.get("error"):
            self.broken = "the stream tells of an error"
        elif kind in LAST:
            self.is_last = self.may_end = True
        for holder in (event, event.get("message"), event.get("response")):
            if isinstance(holder, dict):
                self._note(holder)
        self._write(event)

    def _note(self, part: dict[str, Any]) -> None:
        self._count(part.get("usage"))
        choices = [choice for choice in listed(part.get("choices")) if isinstance(choice, dict)]
        found = part.get("delta")
        delta: dict[str, Any] = found if isinstance(found, dict) else {}
        stops = [holder.get(name) for holder in (*choices, part, delta) for name in STOPS]
        self.stop = next((stop for stop in stops if isinstance(stop, str)), self.stop)
        self.model = part["model"] if isinstance(part.get("model"), str) else self.model
        self.may_end = self.may_end or any(choice.get("finish_reason") for choice in choices)

    def _write(self, event: dict[str, Any]) -> None:
        delta = event.get("delta")
        for choice in listed(event.get("choices")):
            if isinstance(choice, dict):
                delta = choice.get("delta") or choice.get("text")
        found = delta.get("content") or delta.get("text") if isinstance(delta, dict) else delta
        if isinstance(found, str):
            self.text.append(found)

    def _count(self, usage: Any) -> None:
        """Take the usage that a part tells; later ones are of the whole, as far as they tell it."""
        if not isinstance(usage, dict):
            return
        found = next((usage[name] for name in IN if is_count(usage.get(name))), None)
        if found is not None:
            self.tokens_in = found + sum(usage[name] for name in CACHED if is_count(usage.get(name)))
        self.tokens_out = next((usage[name] for name in OUT if is_count(usage.get(name))), self.tokens_out)
        if self.protocol == "openai.embeddings" and self.tokens_in is not None:
            self.tokens_out = 0


def as_object(data: bytes) -> dict[str, Any] | None:
    """Read a JSON object; None if it is none."""
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def listed(value: object) -> list[Any]:
    """Return a list; an empty one where it is none."""
    return value if isinstance(value, list) else []


def is_count(value: object) -> bool:
    """Say whether it is a number of tokens: whole, from 0 up; truth values are none."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53
