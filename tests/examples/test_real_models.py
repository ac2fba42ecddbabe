"""The examples that ask a model run unchanged against an endpoint: here a server on this machine."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.examples.conftest import Program
from windlass import ToolCall
from windlass.testing.model_server import ModelServer

pytest.importorskip("openai", reason="the client is not installed: openai")
KEY = "sk-not-a-real-key-0123"
SLOW = ("something has blocked the event loop", "  ")  # the client's imports, on a busy machine, and their stack
Reply = Callable[[str], str | Sequence[ToolCall]]


async def against(
    reply: Reply, program: Program, monkeypatch: pytest.MonkeyPatch, *arguments: str
) -> tuple[Any, ModelServer]:
    """Run an example with an environment that names the server."""
    async with ModelServer(reply) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_MODEL", "loopback-1")
        ended = await asyncio.to_thread(program, *arguments)
    said = [line for line in ended.stderr.splitlines() if not line.startswith(SLOW)]
    assert (ended.returncode, said) == (0, [])
    assert {headers["authorization"] for headers in server.headers} == {f"Bearer {KEY}"}
    assert {body["model"] for body in server.asked} == {"loopback-1"}
    return ended, server


async def test_support(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str | list[ToolCall]] = [
        [ToolCall("find_order", {"order": "A-17"}, "c1"), ToolCall("delete_account", {"email": "b@x"}, "c2")],
        '{"done": false, "reply": "", "sure": 0.9}',
        [ToolCall("refund", {"order": "A-17"}, "c3"), ToolCall("nothing", {}, "c4")],
        '{"done": true, "reply": " ", "sure": 0.9}',  # the rule refuses it, and it is mended
        '{"done": false, "reply": "not yet", "sure": 0.9}',
        [ToolCall("refund", {"order": "A-17", "amount": 49.5}, "c5")],
        '{"done": true, "reply": "It is paid back.", "sure": 0.8}',
    ]
    answers = iter(said)
    ended, server = await against(lambda _: next(answers), program, monkeypatch, "support_agent.py")
    assert ended.stdout.splitlines()[-1] == "completed: It is paid back."
    assert "act#1 used delete_account: policy.denied" in ended.stdout
    assert "May act do tool 'refund'" in ended.stdout
    assert "act#3 used refund: paid 49.50 back for A-17" in ended.stdout
    assert ended.stdout.count("asked assistant loopback-1") == len(said)
    tools = [one["function"]["name"] for one in server.asked[0]["tools"]]
    assert tools == ["find_order", "refund", "delete_account"]
    heard = {one["tool_call_id"]: one["content"] for one in server.asked[-1]["messages"] if one["role"] == "tool"}
    assert "lamp" in heard["c1"]
    assert all(heard[call].startswith("refused") for call in ("c2", "c3", "c4"))
    assert "tool_calls" in next(one for one in server.asked[1]["messages"] if one["role"] == "assistant")
    assert server.asked[1]["response_format"] == {"type": "json_object"}
    assert "is done, and has no reply" in server.asked[4]["messages"][-1]["content"]


async def test_extract(program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    def read(asked: str) -> str:
        if "prince" in asked:
            return "There is none."
        total = 50 if "above 0" in asked or "lamp" not in asked else -50
        return json.dumps({"vendor": "A", "number": "1", "total": total, "due": "2099-01-01", "sure": 0.95})

    store = f"sqlite:///{tmp_path}/runs.db"
    ended, server = await against(read, program, monkeypatch, "extract.py", "--store", store)
    assert '"total": 200' in ended.stdout
    assert "is not above 0" in ended.stdout
    assert "dead letter" in ended.stdout
    assert len(server.asked) == 7  # five mails, of which two are asked about again
    assert all(KEY.encode() not in path.read_bytes() for path in tmp_path.iterdir())
