"""Any execution answers what was asked of which model, with which tools, and what was made of it (section M).

A run is driven to its end by one process; another one, which knows no definition, asks the store.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from windlass import (
    Allow,
    Context,
    Expect,
    Message,
    ModelAnswer,
    ModelRequest,
    Pipeline,
    Prompt,
    Runtime,
    ToolCall,
    Usage,
    rule,
    task,
    tool,
)
from windlass.core.audit import Account, ModelUse
from windlass.testing.doubles import ScriptedModel

PROMPT = Prompt("Give an offer for {{ what }}. Mend: {{ wrong }}", name="offer", version="7")
BAD, GOOD = '{"price": -5.0, "sure": 0.9}', 'Here:\n```json\n{"price": 5.0, "sure": 0.9}\n```'
PARAMETERS = {"temperature": 0.25, "top_p": 0.9}


@dataclass(frozen=True)
class Offer:
    price: float
    sure: float


@rule(Offer, field="price")
def above_zero(price: float) -> bool | str:
    return price > 0 or "is not above 0"


@tool
async def stock(item: str, most: int = 10) -> dict[str, Any]:
    """Look how many there are."""
    return {"item": item, "left": min(3, most)}


@task(expect=Expect(Offer, rules=[above_zero], confidence="sure"), grants=[Allow("stock")])
async def offer(what: str, ctx: Context) -> ModelAnswer:
    filled = PROMPT.fill(what=what, wrong="; ".join(map(str, ctx.problems)) or "nothing")
    asked = ModelRequest.of(filled)
    said = await ctx.model(ModelRequest(asked.messages, tools=("stock",), parameters=PARAMETERS, prompt=asked.prompt))
    if not said.calls:
        return said
    seen = [Message("tool", str(await ctx.use(call)), call_id=call.id) for call in said.calls]
    return await ctx.model(ModelRequest((*asked.messages, said.message(), *seen)))


@pytest.fixture
async def told(tmp_path: Path) -> AsyncIterator[list[Account]]:
    """The accounts of a run with two takes, read by somebody else."""
    url = f"sqlite:///{tmp_path}/runs.db"
    look = ModelAnswer("I look", (ToolCall("stock", '{"item": "lamp"}', "c1"),), raw={"id": "resp-1"})
    script = ScriptedModel([BAD, look, GOOD], name="writer", version="2026-05", usage=Usage(tokens_in=3, tokens_out=2))
    async with Runtime(url) as runtime:
        pipeline = Pipeline("offers", [offer], models=[script.model], tools=[stock])
        assert (await runtime.run(pipeline, "a lamp", "r")).output == Offer(5.0, 0.9)
    async with Runtime(url) as other:
        yield await other.audit("r")


def uses(told: list[Account]) -> list[ModelUse]:
    return [use for account in told for use in account.models]


def test_which_version_of_a_template_was_used(told: list[Account]) -> None:
    assert [(use.template, use.template_version) for use in uses(told)[:2]] == [("offer", "7")] * 2
    assert {use.template_digest for use in uses(told)[:2]} == {PROMPT.digest}


def test_which_model_answered_in_which_version(told: list[Account]) -> None:
    assert {(use.name, use.model, use.version) for use in uses(told)} == {("writer", "writer", "2026-05")}


def test_with_which_parameters(told: list[Account]) -> None:
    assert [use.request.parameters for use in uses(told)] == [PARAMETERS, PARAMETERS, {}]


def test_the_prompt_as_it_was_sent(told: list[Account]) -> None:
    first, second, third = (use.request.messages for use in uses(told))
    assert first == (Message("user", "Give an offer for a lamp. Mend: nothing"),)
    assert "Mend: rules: price: is not above 0" in second[0].content
    assert third[0] == second[0]
    assert third[2].content == "{'item': 'lamp', 'left': 3}"


def test_the_answer_as_it_came(told: list[Account]) -> None:
    first, second, third = (use.answer for use in uses(told))
    assert (first.text, third.text) == (BAD, GOOD)
    assert second.raw == {"id": "resp-1"}
    assert second.calls == (ToolCall("stock", '{"item": "lamp"}', "c1"),)


def test_the_tools_with_arguments_and_results(told: list[Account]) -> None:
    assert [[one.name for one in account.tools] for account in told] == [[], ["stock"]]
    [used] = told[1].tools
    assert (used.arguments, used.result) == ({"item": "lamp", "most": 10}, {"item": "lamp", "left": 3})
    assert used.digest == stock.digest


def test_how_the_output_was_judged(told: list[Account]) -> None:
    first, second = (account.judged for account in told)
    assert (first["outcome"], second["outcome"]) == ("repair", "act")
    assert first["layers"]["rules"] != second["layers"]["rules"]
    assert [problem["message"] for problem in first["problems"]] == ["is not above 0"]
    assert (second["degraded"], len(second["trail"])) == (True, 1)


def test_how_sure_it_was_and_who_said_so(told: list[Account]) -> None:
    assert [account.confidence for account in told] == [None, 0.9]
    assert told[1].judged["source"] == "field sure"


def test_what_came_out(told: list[Account]) -> None:
    assert [(account.attempt, account.status) for account in told] == [(1, "failed"), (2, "completed")]
    assert "5.0" in str(told[1].output["offer"])
    assert told[1].cost == {"model_calls": 2, "tool_calls": 1, "tokens_in": 6, "tokens_out": 4}
