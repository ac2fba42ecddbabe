"""What a run asked of models and tools, as the command line shows it."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Windlass
from windlass import (
    Allow,
    Context,
    Message,
    ModelAnswer,
    ModelRequest,
    Pipeline,
    Prompt,
    Runtime,
    ToolCall,
    Usage,
    task,
    tool,
)
from windlass.core.errors import WindlassError
from windlass.testing.doubles import ScriptedModel

PROMPT = Prompt("Where is {{ what }}?", name="where", version="2")
SCRIPT = [
    ModelAnswer(
        "let me \u202elook\x1b[31m", (ToolCall("look", {"place": 3}, "c1"),), Usage(tokens_in=9), confidence=0.5
    ),
    ModelAnswer("there", usage=Usage(money="0.5")),
]


@tool
async def look(place: int) -> str:
    return f"a key {place}"


@tool(effect=True)
async def take(place: int) -> str:
    return "taken"


@task(grants=[Allow("look"), Allow("take")])
async def find(what: str, ctx: Context) -> str:
    answer = await ctx.model(ModelRequest.of(PROMPT.fill(what=what)))
    seen = [await ctx.use(call) for call in answer.calls]
    try:
        await ctx.tool("burn")
    except WindlassError:
        await ctx.tool("take", place=1)
    asked = ModelRequest((Message("tool", str(seen), call_id="c1"),), parameters={"temperature": 0.5}, tools=("look",))
    return (await ctx.model(asked)).text


@task
async def plain(find: str) -> str:
    return find


@pytest.fixture
def run(folder: Path) -> str:
    """A run in the folder's store."""
    scripted = ScriptedModel(SCRIPT, name="seer", version="1")
    pipeline = Pipeline("finding", [find, plain], models=[scripted.model], tools=[look, take])
    place = folder / ".windlass"
    place.mkdir(exist_ok=True)

    async def main() -> None:
        async with Runtime(f"sqlite:///{place}/windlass.db") as runtime:
            await runtime.run(pipeline, "my \u0007key", "r")

    asyncio.run(main())
    return "r"


def test_everything_is_shown(windlass: Windlass, run: str) -> None:
    done = windlass("audit", "show", run)
    assert done.code == 0
    shown = done.out
    for said in (
        "find#1  attempt 1  completed", "model seer (seer 1)", "template where 2", "user     Where is my \\x07key?",
        "answer   let me \\u202elook\\x1b[31m", 'asks for look {"place": 3}', "confidence 0.5",
        "usage    1 model_calls, 9 tokens_in",
        "tool look", 'given    {"place": 3}', "returned a key 3", "tool burn  FAILED: policy.tool_unknown",
        "tool take (effect)",
        'given    {"place": 1}', "returned taken", 'parameters {"temperature": 0.5}', "0.5 money",
        'output     {"find": "there"}',
    ):  # fmt: skip
        assert said in shown, said
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "plain#1" not in shown


def test_programs_get_it_whole(windlass: Windlass, run: str) -> None:
    done = windlass("audit", "show", run, "--json")
    [account] = [json.loads(line) for line in done.out.splitlines()]
    assert account["cost"] == {"model_calls": 2, "tokens_in": 9, "tool_calls": 2, "money": 500_000}
    first, second = account["models"]
    assert first["request"]["messages"][0]["content"] == "Where is my \u0007key?"
    assert first["answer"]["text"] == "let me \u202elook\x1b[31m"
    assert second["request"]["parameters"] == {"temperature": 0.5}
    assert [tool["name"] for tool in account["tools"]] == ["look", "burn", "take"]


def test_one_node_may_be_asked_for(windlass: Windlass, run: str) -> None:
    assert windlass("audit", "show", run, "--node", "plain").out == "no model and no tool was used\n"
    assert "find#1" in windlass("audit", "show", run, "--node", "find").out
    assert windlass("audit", "show", "none").code == 2
