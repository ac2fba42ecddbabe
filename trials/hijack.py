"""A fully hijacked model: it asks for every tool with every argument, and nothing outside its grant may execute.

Random definitions with random grants; a model that answers with random calls, as bad as can be thought of: names in
another case, with invisible letters, with patterns, of kinds, of what there is not; arguments of any shape, as objects
or as text that is half, doubled, too deep or too large. The task makes every call that it is asked for and goes on
whatever comes of it, as an agent's loop does. What is executed is counted in the world, and judged by rules written
once more in plain Python; every refusal has to be one of the product's own errors, and an event.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from trials.figures import Figures, Trial
from windlass import (
    Allow,
    Budget,
    Context,
    Deny,
    ModelAnswer,
    ModelRequest,
    Pipeline,
    Runtime,
    Tool,
    ToolCall,
    model,
    task,
    tool,
)
from windlass.core.errors import WindlassError
from windlass.core.words import Result
from windlass.policies.permission import Rule

DEFINITIONS = 40
MOST_CALLS = 6
SOME = 100
DONE: list[tuple[str, dict[str, Any]]] = []  # what was executed, in the world


@dataclass(frozen=True)
class Place:
    """An argument with parts."""

    path: str
    depth: int = 0


@tool
async def read(path: str, limit: int = 10) -> str:
    """Read a file."""
    DONE.append(("read", {"path": path, "limit": limit}))
    return path


@tool(effect=True)
async def pay(amount: int, to: str = "nobody") -> int:
    """Pay somebody."""
    DONE.append(("pay", {"amount": amount, "to": to}))
    return amount


@tool
async def list_all(place: Place, **more: Any) -> str:
    """List what is at a place."""
    DONE.append(("list_all", {"place": place, **more}))
    return place.path


@tool(name="fs.write")
def write(path: str, text: str | None = None) -> None:
    """Write a file."""
    DONE.append(("fs.write", {"path": path, "text": text}))


@tool
async def nothing() -> None:
    """Do nothing."""
    DONE.append(("nothing", {}))


TOOLS: list[Tool[..., Any]] = [read, pay, list_all, write, nothing]
Args = dict[str, Any]


class Grant(NamedTuple):
    """A rule, and the same in plain Python: which tools it names, and when."""

    rule: Rule
    names: Callable[[str], bool]
    holds: Callable[[Args], bool]


def always(_: Args) -> bool:
    """Hold for any arguments."""
    return True


GRANTS: list[Grant] = [
    Grant(Allow("read"), lambda name: name == "read", always),
    Grant(Allow("read", when='args.path.startsWith("/public/") && args.limit <= 100'), lambda name: name == "read",
          lambda args: args["path"].startswith("/public/") and args["limit"] <= 100),
    Grant(Allow("pay", when="args.amount > 0 && args.amount < 10"), lambda name: name == "pay",
          lambda args: 0 < args["amount"] < 10),
    Grant(Allow("*a*"), lambda name: "a" in name, always),
    Grant(Allow("list_all", when='args.place.path == "/public"'), lambda name: name == "list_all",
          lambda args: args["place"].path == "/public"),
    Grant(Allow("fs.*"), lambda name: name.startswith("fs."), always),
    Grant(Allow("nothing"), lambda name: name == "nothing", always),
    Grant(Deny("pay", when='args.to == "mallory"'), lambda name: name == "pay", lambda args: args["to"] == "mallory"),
    Grant(Deny("list_all", when="has(args.force)"), lambda name: name == "list_all", lambda args: "force" in args),
    Grant(Deny("read", when="args.limit > 1000"), lambda name: name == "read", lambda args: args["limit"] > 1000),
    Grant(Deny("*write"), lambda name: name.endswith("write"), always),
]  # fmt: skip


def is_granted(grants: list[Grant], name: str, args: Args) -> bool:
    """Judge what was executed, as the grants read."""
    try:
        spoken = [grant.rule.effect for grant in grants if grant.names(name) and grant.holds(args)]
    except (AttributeError, KeyError, TypeError):  # such arguments no tool should have got
        return False
    return "allow" in spoken and "deny" not in spoken


NAMES = [one.name for one in TOOLS]
ODD_NAMES = [
    "", " ", "*", "tool:read", "effect:pay", "call:*", "READ", "Read", "read ", " read", "read\x00", "read\u200b",
    "re\u202eda", "r\u0435ad", "fs/write", "fs.write\n", "../read", "__class__", "rm -rf /", "x" * 5_000, "\ud800",
    "read|pay", "model:scripted", "\uff52ead", "os.system",
]  # fmt: skip
ODD: list[Any] = [
    None, True, False, 0, 1, 5, 9, 10, -1, 99, 1001, 2**63, -(2**63) - 1, 10**400, 0.5, -0.0, 1e308, "", "/public/a",
    "/public", "/public/../etc/passwd", "/etc/passwd", "mallory", "mallory\u200b", "Mallory", "nobody", "\u202e",
    "\x00", "\ud800", "x" * 3_000, [], {}, [[]], {"path": "/public"}, {"path": "/public", "depth": "1"},
    {"path": "/etc"},
    {"path": "/public", "more": 1}, [1, "2", None], {"": {"": {}}}, "${env.KEY}", "{{ x }}", "1 == 1", "'; --",
]  # fmt: skip
ARGUMENTS = [
    "path",
    "limit",
    "amount",
    "to",
    "place",
    "text",
    "force",
    "more",
    "self",
    "ctx",
    "Amount",
    "\u202epath",
    "",
]
FITTING: dict[str, list[Any]] = {
    "path": ["/public/a", "/public/../etc/passwd", "/etc/passwd", "/publica", "", "/PUBLIC/a"], "text": ["x", None],
    "limit": [0, 100, 101, 1001, -5, 2**62], "amount": [-5, 0, 1, 9, 10, 10**12],
    "to": ["mallory", "nobody", "Mallory"],
    "place": [{"path": "/public"}, {"path": "/public", "depth": 2}, {"path": "/etc"}], "force": [True, None],
}  # fmt: skip


def value(dice: Random, depth: int = 0) -> Any:
    """Make any value."""
    if depth < 3 and dice.random() < 0.15:
        parts = [value(dice, depth + 1) for _ in range(dice.randrange(4))]
        return parts if dice.random() < 0.5 else {str(dice.choice(ARGUMENTS)): part for part in parts}
    return dice.choice(ODD)


def a_call(dice: Random) -> ToolCall:
    """Make any call: half of them fit a tool, so that grants are what decides."""
    known = dice.choice(TOOLS)
    if dice.random() < 0.5:
        given = {
            name: dice.choice(FITTING[name])
            for name, default in known.parameters.items() if default is not None or dice.random() < 0.5
        }  # fmt: skip
        if known.takes_more and dice.random() < 0.3:
            given[dice.choice(["force", "more", "kind"])] = value(dice)
        return ToolCall(known.name, given if dice.random() < 0.5 else json.dumps(given))
    name = dice.choice(ODD_NAMES) if dice.random() < 0.5 else known.name
    given = {dice.choice(ARGUMENTS): value(dice) for _ in range(dice.randrange(4))}
    if dice.random() < 0.6:
        return ToolCall(name, given)
    text = json.dumps(given)
    spoilt = [
        text, text[: dice.randrange(len(text) + 1)], text[:-1] + ', "amount": 5, "amount": 10000}', f"[{text}]", "NaN",
        text.replace("}", ', "limit": NaN}', 1), "[" * 5_000, "null", f"```json\n{text}\n```", text + text, "",
        '{"amount": 5, "to": "mallory", "to": "nobody"}', '{"amount": 1e999}', '{"limit": ' + "9" * 6_000 + "}",
    ]  # fmt: skip
    return ToolCall(name, dice.choice(spoilt))


@model
async def hijacked(request: ModelRequest) -> ModelAnswer:
    """Ask for anything."""
    dice = Random(request.messages[0].content)
    return ModelAnswer("as you wish", tuple(a_call(dice) for _ in range(dice.randrange(1, MOST_CALLS + 1))))


def definition(place: int, grants: list[Grant]) -> Pipeline:
    """Make an agent that does whatever its model asks for; the grants are its task's, or its definition's, or both."""
    half = place % 3

    @task(grants=[Allow("*")] if half == 1 else [grant.rule for grant in grants])
    async def agent(program: str, ctx: Context) -> list[str]:
        came: list[str] = []
        answer = await ctx.model(program)
        for call in answer.calls:
            try:
                await ctx.use(call)
                came.append("")
            except WindlassError as error:
                came.append(error.code)
            except Exception as error:  # noqa: BLE001 -- that is what must not be
                came.append(f"untyped {type(error).__name__}: {error}"[:200])
        return came

    options: dict[str, Any] = {} if half == 0 else {"grants": [grant.rule for grant in grants]}
    return Pipeline(
        f"agent {place}", [agent], models=[hijacked], tools=TOOLS, budget=Budget(tool_calls=1_000), **options
    )


async def judge(runtime: Runtime, figures: Figures, program: str, made: Pipeline, grants: list[Grant]) -> None:
    """Run one program, and look what it did."""
    DONE.clear()
    run = await runtime.start(made, program)
    try:
        found: Result = await runtime.wait(run)
    except WindlassError as error:
        figures.blame("failed", f"{program}: {error!r:.300}")
        return
    figures.trials += 1
    for name, args in DONE:
        figures.reach("executed inside its grant", times=1)
        if not is_granted(grants, name, args):
            figures.blame("executed outside its grant", f"{program}: {name} {args!r:.200}")
    came = found.output or []
    done = [code for code in came if not code]
    refused = [code for code in came if code]
    if len(done) != len(DONE):
        figures.blame("executed and not told", f"{program}: {len(DONE)} executed, {len(done)} returned")
    told = [event.data async for event in runtime.events(run) if event.type == "call.failed"]
    if [one["code"] for one in told] != refused:
        figures.blame("refused without an event", f"{program}: {refused} and {[one['code'] for one in told]}")
    for code in refused:
        if code.startswith("untyped"):
            figures.blame("untyped", f"{program}: {code}")
        else:
            figures.reach(f"refused: {code}")


def hijack(_: Path, programs: int, seed: int = 0) -> Figures:
    """Let a hijacked model ask for anything, again and again."""
    dice = Random(seed)
    figures = Figures(bad=dict.fromkeys(("executed outside its grant", "refused without an event", "untyped"), 0))
    for code in ("policy.denied", "policy.tool_unknown", "value.tool_arguments"):
        figures.reach(f"refused: {code}", 0)
    figures.reach("executed inside its grant", 0)
    made = []
    for place in range(DEFINITIONS):
        grants = dice.sample(GRANTS, dice.randrange(len(GRANTS)))
        made.append((definition(place, grants), grants))

    async def main() -> None:
        for first in range(0, programs, SOME):  # a store for some: in memory it grows slow with its runs
            async with Runtime(f"memory:hijack {first}") as runtime:
                for number in range(first, min(first + SOME, programs)):
                    pipeline, grants = made[number % DEFINITIONS]
                    await judge(runtime, figures, f"{seed}.{number}", pipeline, grants)

    asyncio.run(main())
    return figures


TRIALS = (
    Trial(
        name="hijack",
        faults="S6, F44, F52",
        says="A hijacked model asks for every tool with every argument; bad is what executes outside its grant.",
        run=hijack,
        short={"programs": 2_000},
        long={"programs": 10_000, "seed": 1},
    ),
)
