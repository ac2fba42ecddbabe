"""Tools as the engine calls them: on their final arguments, and only where a grant allows it."""

from typing import Any

import pytest

from windlass import Allow, Context, Deny, Pipeline, RunFailed, Runtime, Tool, task, tool
from windlass.policies.permission import Rule

CALLED: list[dict[str, Any]] = []


@tool
async def search(query: str, limit: int = 10_000, **more: Any) -> str:
    CALLED.append({"query": query, "limit": limit, **more})
    return query


@tool(effect=True)
def push(branch: str = "main") -> str:
    CALLED.append({"branch": branch})
    return branch


def program(named: str, args: dict[str, Any], grants: list[Rule] | None, tools: list[Tool[..., Any]]) -> Pipeline:
    @task(grants=grants)
    async def act(n: int, ctx: Context) -> str:
        return str(await ctx.tool(named, **args))

    return Pipeline("shop", [act], tools=tools)


@pytest.fixture(autouse=True)
def nothing_called() -> None:
    CALLED.clear()


SMALL = Allow("search", when="args.limit <= 100")
PAGED = Deny("search", when="has(args.page)")


@pytest.mark.parametrize(
    ("named", "args", "grants", "code"),
    [
        ("search", {"query": "x", "limit": 5}, [SMALL], ""),
        ("search", {"query": "x"}, [SMALL], "policy.denied"),  # the default is a final argument, too
        ("search", {"query": "x", "page": 7}, [Allow("search"), PAGED], "policy.denied"),
        ("search", {"query": "x", "pages": 7}, [Allow("search"), PAGED], ""),
        ("search", {"query": "x", "limit": float("nan")}, [SMALL], "value.tool_arguments"),
        ("search", {"query": "x", "limit": 2**70}, [SMALL], "policy.denied"),
        ("search", {"query": "x", "limit": [[{}]]}, [Allow("search")], "value.tool_arguments"),
        ("search", {}, [Allow("*")], "value.tool_arguments"),
        ("serach", {"query": "x"}, [Allow("*")], "policy.tool_unknown"),
        ("push", {}, [Allow("push", when='args.branch == "main"')], ""),
        ("push", {"branch": "other"}, [Allow("push", when='args.branch == "main"')], "policy.denied"),
        ("push", {}, [], "policy.denied"),
        ("push", {}, None, "policy.denied"),
    ],
)
async def test_what_is_called_is_what_was_allowed(
    named: str, args: dict[str, Any], grants: list[Rule] | None, code: str
) -> None:
    pipeline = program(named, args, grants, [search, push])
    async with Runtime("memory:", [pipeline]) as runtime:
        if not code:
            await runtime.run(pipeline, 1)
            assert len(CALLED) == 1
            return
        with pytest.raises(RunFailed) as caught:
            await runtime.run(pipeline, 1)
    assert caught.value.failure["code"] == code
    assert CALLED == []
