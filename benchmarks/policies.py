"""`python -m benchmarks policies`: what every policy costs that is declared and does not fire.

Two loops are measured in one process, in turns, in short blocks, so that what else the machine does meets both: one
declares nothing, the other a timeout, an idle timeout, a retry, a breaker, a limit, grants with a condition, a run
timeout, and budgets of the run and of its tenant in every unit. A figure is the median of the ratios of neighbouring
blocks. The calls of the store are counted as well: on the fast path both make the same.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple, TypedDict

from benchmarks import machine
from benchmarks.stage import ROOT
from windlass import (
    END,
    Allow,
    Breaker,
    Budget,
    Context,
    Cost,
    Deny,
    Graph,
    Limit,
    Platform,
    Retry,
    Runtime,
    Usage,
    tool,
)
from windlass.policies.chain import NO_PLATFORM
from windlass.policies.permission import Action, Layer, decide
from windlass.stores.base import Store, open_store

PAGE = ROOT / "docs" / "performance.md"
BEGIN, END_MARK = "<!-- policies: begin -->", "<!-- policies: end -->"
HEAD = ["every policy declared", "reach", "ratio (quartiles)", "without", "with", "calls without", "with", "reached?"]
MOST_RATIO, MOST_MICROSECONDS = 1.25, 50.0
MUCH = 10**9
AMOUNTS: dict[str, Any] = {
    **dict.fromkeys(("tokens_in", "tokens_out", "model_calls", "tool_calls", "steps"), MUCH),
    "money": MUCH // 1000, "wall_time": 86_400 * 365, "bytes": 10**15,
}  # fmt: skip
USAGE = Usage(tokens_in=900, tokens_out=400, money="0.008", model_calls=1)
COST = Cost(estimate=Usage(tokens_in=1000, tokens_out=500, money="0.01", model_calls=1), read=lambda _: USAGE)
PLATFORM = Platform(budgets=[Budget(**AMOUNTS, per="tenant", window="day")])
ATTEMPT: dict[str, Any] = {
    "timeout": 60, "idle_timeout": 30, "retry": Retry(on=ConnectionError, max_attempts=5), "breaker": Breaker("api"),
    "limits": [Limit("api", concurrency=1000)],
}  # fmt: skip
SMALL, BELOW = Allow("pricing", when="args.amount <= 10000"), Deny("pricing", when="args.amount < 0")
GRANTS: dict[str, Any] = {"grants": [SMALL, BELOW]}
RUN: dict[str, Any] = {"run_timeout": 86_400, "budget": Budget(**AMOUNTS)}


class Sizes(NamedTuple):
    """How much is measured: pairs of blocks, steps of a block on the memory store and on SQLite, decisions."""

    pairs: int
    memory: int
    file: int
    decisions: int


FULL, QUICK = Sizes(60, 400, 100, 20_000), Sizes(4, 40, 20, 200)


class Count(TypedDict):
    """The state of the loop."""

    n: int


@tool
async def pricing(amount: int) -> int:
    """What the step calls, as a tool or as a plain call."""
    return amount


@dataclass(frozen=True, slots=True)
class Side:
    """One of two that are compared: options of the node and of the definition, and the platform."""

    node: dict[str, Any]
    definition: dict[str, Any]
    platform: Platform = NO_PLATFORM


BARE = Side({}, {})
ALL = Side({**ATTEMPT, **GRANTS}, {"tools": [pricing], **RUN}, PLATFORM)
ALONE = {
    "timeout": Side({"timeout": 60}, {}),
    "idle timeout": Side({"idle_timeout": 30}, {}),
    "retry": Side({"retry": ATTEMPT["retry"]}, {}),
    "breaker": Side({"breaker": ATTEMPT["breaker"]}, {}),
    "limit": Side({"limits": ATTEMPT["limits"]}, {}),
    "grants": Side(GRANTS, {"tools": [pricing]}),
    "run timeout": Side({}, {"run_timeout": RUN["run_timeout"]}),
    "budget of the run": Side({}, {"budget": RUN["budget"]}),
    "budget of the tenant": Side({}, {}, PLATFORM),
}


def loop(side: Side, steps: int, work: str) -> Graph:
    """Build a loop of one node: it counts; or it makes a call as well, or a tool call where there are grants."""
    graph = Graph("loop", Count, step_limit=steps + 10, **side.definition)
    is_tool, is_paid = bool(side.node.get("grants")), "budget" in side.definition

    async def nothing(n: int) -> dict[str, int]:
        return {"n": n + 1}

    async def called(n: int, ctx: Context) -> dict[str, int]:
        if is_tool:
            await ctx.tool("pricing", amount=5)
        else:
            await ctx.call("pricing", pricing.fn, amount=5)
        return {"n": n + 1}

    async def paid(n: int, ctx: Context) -> dict[str, int]:
        await ctx.call("model", pricing.fn, amount=5, cost=COST if is_paid else None)
        return {"n": n + 1}

    works: dict[str, Callable[..., Any]] = {"nothing": nothing, "tool": called, "model": paid}
    node = graph.node(id="count", writes=["n"], **side.node)(works[work])

    def more(n: int) -> str:
        return END if n >= steps else "count"

    graph.start(node)
    graph.branch(node, more, [node, END])
    graph.compile()
    return graph


class Counting:
    """A store that counts what is asked of it."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.asked: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if name not in ("create", "commit", "adjust", "claim", "release", "find", "post", "load", "append_items"):
            return found

        async def call(*arguments: Any, **named: Any) -> Any:
            self.asked[name] += 1
            return await found(*arguments, **named)

        return call


class Compared(NamedTuple):
    """What two sides came to: the ratio of each pair of blocks, microseconds of a step, store calls of a block."""

    ratios: list[float]
    plain: float
    guarded: float
    plain_calls: Counter[str]
    guarded_calls: Counter[str]


async def compare(url: str, sides: tuple[Side, Side], work: str, steps: int, pairs: int) -> Compared:
    """Let two sides run in turns, on stores of their own; the first pair warms up."""
    times: tuple[list[float], list[float]] = ([], [])
    calls: list[Counter[str]] = [Counter(), Counter()]
    async with AsyncExitStack() as stack:
        stores, runtimes = [], []
        for place, side in enumerate(sides):
            store: Any = Counting(open_store(url.replace("$", f"{place}")))
            await store.open()
            stack.push_async_callback(store.close)
            stores.append(store)
            runtimes.append(await stack.enter_async_context(Runtime(store, platform=side.platform)))
        graphs = [loop(side, steps, work) for side in sides]
        for pair in range(pairs + 1):
            for place in (0, 1) if pair % 2 else (1, 0):
                before = stores[place].asked.copy()
                begun = time.perf_counter()
                found = await runtimes[place].run(graphs[place], {"n": 0})
                seconds = time.perf_counter() - begun
                assert found.output == {"n": steps}
                if pair:
                    times[place].append(seconds)
                    calls[place] = stores[place].asked - before
    plain, guarded = times
    ratios = [with_all / without for without, with_all in zip(plain, guarded, strict=True)]
    return Compared(ratios, median(plain) / steps * 1e6, median(guarded) / steps * 1e6, calls[0], calls[1])


def decisions(number: int) -> dict[str, list[float]]:
    """Time decisions about a tool call once everything is loaded: microseconds of each of some blocks."""
    kinds = {
        "a grant": [Layer("task", (Allow("pricing"),))],
        "a grant with a condition": [Layer("task", (SMALL,))],
        "four layers, six conditions": [
            Layer("task", (SMALL, BELOW)),
            Layer("definition", (Allow("*"), Deny("shell*"))),
            Layer("tenant", (Allow("*", when='tenant == "acme"'), Deny("*", when="args.amount == 13"))),
            Layer("role", (Allow("*", when='"analyst" in roles'), Deny("*", when='run.startsWith("test-")'))),
        ],
    }
    found: dict[str, list[float]] = {}
    for name, layers in kinds.items():
        blocks = []
        for _ in range(11):
            begun = time.perf_counter()
            for amount in range(number // 10):
                given = {"amount": amount % 400 + 14}
                action = Action(kind="tool", name="pricing", args=given, tenant="acme", roles=("analyst",), run="r")
                assert decide(layers, action).verdict == "allow"
            blocks.append((time.perf_counter() - begun) / (number // 10) * 1e6)
        found[name] = blocks[1:]
    return found


def measured(sizes: Sizes, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure everything."""
    works = {"nothing": "a step", "tool": "a step with a tool call", "model": "a step with a paid call"}
    stores = {"memory store": ("memory:policies$", sizes.memory), "SQLite": (f"sqlite:///{folder}/$.db", sizes.file)}
    found: dict[str, Any] = {"steps": [], "alone": {}, "decisions": {}}
    for work, said in works.items():
        for store, (url, steps) in stores.items():
            say(f"{said}, {store} ...")
            one = asyncio.run(compare(url.replace("$", f"{work}$"), (BARE, ALL), work, steps, sizes.pairs))
            found["steps"].append({"name": f"{said}, {store}", "steps": steps, **shown(one)})
    for name, side in ALONE.items():
        say(f"{name} alone ...")
        one = asyncio.run(compare(f"memory:{name}$", (BARE, side), "nothing", sizes.memory, max(2, sizes.pairs // 2)))
        found["alone"][name] = shown(one)
    for name, blocks in decisions(sizes.decisions).items():
        found["decisions"][name] = {"median": median(blocks), "most": max(blocks)}
    return found


def shown(one: Compared) -> dict[str, Any]:
    """Put what was compared into plain values."""
    low, middle, high = quantiles(one.ratios, n=4)
    return {
        "ratio": middle, "quartiles": [low, high], "plain_us": one.plain, "guarded_us": one.guarded,
        "plain_calls": dict(one.plain_calls), "guarded_calls": dict(one.guarded_calls),
    }  # fmt: skip


def table(found: dict[str, Any]) -> str:
    """Return the tables, as Markdown."""
    rows = [HEAD, ["---"] * len(HEAD)]
    for one in found["steps"]:
        low, high = one["quartiles"]
        rows.append([
            one["name"], f"≤ {MOST_RATIO:g} ×", f"{one['ratio']:.2f} × ({low:.2f} to {high:.2f})",
            f"{one['plain_us']:.0f} µs", f"{one['guarded_us']:.0f} µs",
            *(per_step(one[which], one["steps"]) for which in ("plain_calls", "guarded_calls")),
            "yes" if one["ratio"] <= MOST_RATIO else "**no**",
        ])  # fmt: skip
    for name, one in found["decisions"].items():
        reached = "yes" if one["median"] <= MOST_MICROSECONDS else "**no**"
        rows.append([f"a decision, {name}", f"≤ {MOST_MICROSECONDS:g} µs", "–", "–", f"{one['median']:.1f} µs", "–"])
        rows[-1] += ["–", reached]
    alone = ", ".join(f"{name} {one['guarded_us'] - one['plain_us']:+.1f} µs" for name, one in found["alone"].items())
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([*lines, "", f"Each alone, on the memory store, to a step: {alone}."])


def per_step(calls: dict[str, int], steps: int) -> str:
    """Write the commits of a step, and the other calls of a whole run."""
    others = sum(number for verb, number in calls.items() if verb != "commit")
    return f"{calls['commit'] / steps:.2f} commits a step, {others} others a run"


def write(page: Path, found: dict[str, Any], facts: dict[str, str]) -> bool:
    """Write the part of a page between the markers anew; False if the page has none."""
    text = page.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END_MARK)
    if not (begin and end):
        return False
    made_on = [f"- {name}: {fact}" for name, fact in facts.items()]
    page.write_text(before + "\n".join([BEGIN, "", *made_on, "", table(found), "", END_MARK]) + after)
    return True


def main(given: list[str] | None = None) -> int:
    """Measure, print the table, and keep it if it was measured at full size."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks policies", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep all values there")
    parser.add_argument("--quick", action="store_true", help="small sizes: a try, no figures")
    parser.add_argument("--folder", type=Path, default=Path(".windlass"), help="for databases, on a disk")
    asked = parser.parse_args(given)
    asked.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=asked.folder.resolve()) as folder:
        before = machine.load()
        found = measured(QUICK if asked.quick else FULL, Path(folder), lambda said: print(said, file=sys.stderr))
    facts = {**machine.describe(), "command": "python -m benchmarks policies"}
    facts = {name: facts[name] for name in ("date", "machine", "system", "python", "windlass", "command")}
    facts["load average"] = f"{before} before, {machine.load()} after"
    print(table(found))
    if asked.json is not None:
        asked.json.write_text(json.dumps({"machine": facts, **found}, indent=1) + "\n")
    if not asked.quick and write(PAGE, found, facts):
        print(f"written: {PAGE.relative_to(ROOT)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
