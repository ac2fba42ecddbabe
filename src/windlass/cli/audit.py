"""`windlass audit show`: what a run asked of models and tools, what it got, what was made of it, and what it cost."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any, Final

from windlass.cli.opening import opened
from windlass.cli.options import COMMON, Common
from windlass.cli.output import Out, iso, plain, spell
from windlass.core.audit import Account, ModelUse, ToolUse
from windlass.core.position import parse, place
from windlass.engine.accounts import visible
from windlass.policies.budget import spell_amount

WIDE: Final = 400  # characters of a text; --json has the whole


def show(run: str, /, *, node: str = "", common: Common = COMMON) -> int:
    """Show what each attempt of a run used of models and tools: prompts, answers, arguments, results, verdicts, cost.

    Args:
        run: the run's id.
        node: only attempts of this node.
    """
    out = Out(as_json=common.json)

    async def go() -> list[Account]:
        async with opened(common) as runtime:
            return await runtime.audit(run)

    found = [
        account for account in asyncio.run(go()) if node in ("", parse(account.address)[0], place(account.address))
    ]
    for account in found:
        out.give(as_object(account))
        out.lines((*lines(account), ""))
    if not found:
        out.line("no model and no tool was used")
    return 0


def as_object(account: Account) -> dict[str, Any]:
    """Spell an account out for programs."""
    found: dict[str, Any] = {name: getattr(account, name) for name in account.__struct_fields__}
    for name in ("models", "tools"):
        uses = [{part: getattr(use, part) for part in use.__struct_fields__} for use in found[name]]
        found[name] = uses
    shown: dict[str, Any] = plain({**found, "at": iso(account.at)})
    return shown


def lines(account: Account) -> Iterator[str]:
    """Write an account for a person."""
    status = account.status or "under way"
    yield f"{account.address}  attempt {account.attempt}  {status}  {iso(account.at) if account.at else ''}".rstrip()
    for use in account.models:
        yield from _model(use)
    for call in account.tools:
        yield from _tool(call)
    if account.judged:
        yield f"  judged     {_text(account.judged)}"
    if account.output:
        yield f"  output     {_text(account.output)}"
    if account.confidence is not None:
        yield f"  confidence {account.confidence:g}"
    if account.cost:
        yield f"  cost       {_amounts(account.cost)}"


def _model(use: ModelUse) -> Iterator[str]:
    version = f" {use.version}" if use.version else ""
    by = f" ({use.model}{version})" if use.model and (use.model != use.name or version) else ""
    failed = f"  FAILED: {use.failed}" if use.failed else ""
    yield f"  model {visible(use.name + by, WIDE)}{failed}{'  partial' if use.partial else ''}"
    if use.template_digest:
        name = " ".join(filter(None, (use.template, use.template_version, use.template_digest)))
        yield f"    template {visible(name, WIDE)}"
    request = plain(use.request)
    if isinstance(request, dict):
        for message in request.get("messages", ()):
            yield f"    {message['role']:<9}{_text(message['content'])}"
            for call in message["calls"]:
                yield f"             asks for {_text(call['name'])} {_text(call['arguments'])}"
        for name in ("parameters", "tools", "output"):
            if request.get(name):
                yield f"    {name:<10} {_text(request[name])}"
    answer = plain(use.answer)
    if isinstance(answer, dict):
        yield f"    answer   {_text(answer['text'])}"
        for call in answer["calls"]:
            yield f"             asks for {_text(call['name'])} {_text(call['arguments'])}"
    if use.confidence is not None:
        yield f"    confidence {use.confidence:g}"
    if use.usage:
        yield f"    usage    {_amounts(use.usage)}"


def _tool(use: ToolUse) -> Iterator[str]:
    failed = f"  FAILED: {use.failed}" if use.failed else ""
    yield f"  tool {visible(use.name, WIDE)}{' (effect)' if use.effect else ''}{failed}"
    if use.key:
        yield f"    given    {_text(use.arguments)}"
        yield f"    returned {_text(use.result)}"


def _amounts(amounts: Mapping[str, int]) -> str:
    return ", ".join(f"{spell_amount(unit, number)} {unit}" for unit, number in amounts.items())


def _text(value: Any) -> str:
    """Write a value on one line, with nothing in it that a terminal would act on."""
    return visible(value if isinstance(value, str) else spell(value), WIDE)
