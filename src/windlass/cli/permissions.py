"""`windlass permissions test`: what would be decided about a call, by which rule, without a run."""

from typing import Any, Final

from windlass.cli.loader import load, load_platform
from windlass.cli.options import COMMON, Common
from windlass.cli.output import Out, short
from windlass.cli.values import parse
from windlass.core.blueprint import Blueprint
from windlass.core.errors import InputError, ToolUnknown
from windlass.graph.validate import did_you_mean
from windlass.policies.chain import resolve_at
from windlass.policies.permission import KINDS, Action, Kind, decide

EXIT: Final = {"allow": 0, "deny": 1, "ask": 3}
SHAPE: Final = """--call 'pricing {"amount": 5}', or --call 'effect:push {"branch": "main"}'"""


def try_call(
    definition: str, /, *, task: str, call: str, role: tuple[str, ...] = (), tenant: str = "default",
    platform: str = "", common: Common = COMMON,
) -> int:  # fmt: skip
    """Say whether a task may make a call, by which rule, and why; nothing is called.

    Args:
        definition: FILE.py:NAME or package.module:NAME.
        task: the task that would make it; one of a sub-graph by its path, TEAM/TASK.
        call: what it would call, with the arguments as a JSON object.
        role: a role of the person or service whose run it is; as often as needed.
        tenant: the tenant whose run it is.
        platform: FILE.py:NAME of the Platform that it would run on.
    """
    out = Out(as_json=common.json)
    (loaded,) = load([definition])
    blueprint = loaded.compile()
    places = {one.path: one for one in blueprint.tree() if one.node.sub is None}
    if task not in places:
        raise InputError("--task", f"{blueprint.name} has no task {task!r}", hint=did_you_mean(
            task, places, "tasks"))  # fmt: skip
    chain = resolve_at(places[task], load_platform(platform), tenant=tenant, roles=role)
    kind, name, args = read_call(call, places[task].of)
    action = Action(
        kind=kind, name=name, args=args, task=task, definition=blueprint.name, tenant=tenant, roles=role,
    )  # fmt: skip
    decision = decide(chain.layers, action)
    rule = "" if decision.rule is None else str(decision.rule)
    out.give({
        "verdict": decision.verdict, "rule": rule, "layer": decision.layer, "why": decision.why,
        "kind": kind, "name": name, "args": args, "task": task, "tenant": tenant, "roles": role,
        "layers": [{"name": layer.name, "rules": [str(rule) for rule in layer.rules]} for layer in chain.layers],
    })  # fmt: skip
    out.lines((
        f"verdict  {decision.verdict}",
        f"rule     {rule or 'none'}",
        f"layer    {decision.layer or 'none'}",
        f"why      {decision.why}",
        f"for      {kind} {name} {short(args)}",
    ))  # fmt: skip
    return EXIT[decision.verdict]


def read_call(text: str, blueprint: Blueprint) -> tuple[Kind, str, dict[str, Any]]:
    """Read NAME {JSON}, with a kind before the name or none; a tool's arguments come with their defaults.

    Raises:
        InputError: there is no name, the arguments are no JSON object, or the tool does not take them.
        ToolUnknown: the definition has no such tool.
    """
    named, _, spelled = text.strip().partition(" ")
    kind, colon, name = named.partition(":")
    what: Kind = next((known for known in KINDS if colon and known == kind), "tool")
    name = name if colon and what == kind else named
    args = parse(spelled.strip(), "--call", strict=True) if spelled.strip() else {}
    if not name or not isinstance(args, dict):
        raise InputError("--call", f"{text!r} is not NAME followed by a JSON object", hint=SHAPE)
    if what != "tool":
        return what, name, args
    if name not in blueprint.tools:
        raise ToolUnknown(f"{blueprint.name} has no tool {name!r}", hint=did_you_mean(name, blueprint.tools, "tools"))
    return what, name, blueprint.tools[name].arguments(args)
