"""The last strokes of every definition: which types its codec knows, and what its fingerprint covers."""

from collections.abc import Iterable, Mapping
from typing import Any, Unpack

from windlass.core.blueprint import ChannelSpec, NodeSpec
from windlass.core.codec import MAX_VALUE, Codec
from windlass.core.errors import DefinitionError
from windlass.core.redact import read_redact
from windlass.core.thread import POLICIES
from windlass.core.types import collect, spell
from windlass.core.words import Failed
from windlass.graph.options import DefinitionOptions

DURABILITIES = ("sync", "async", "exit")


def codec(annotations: Iterable[Any], **options: Unpack[DefinitionOptions]) -> Codec:
    """Make the codec of a definition: it keeps the types that annotations of tasks and tools and `types=` name.

    Raises:
        DefinitionError: two types have one tag.
    """
    named: dict[Any, None] = {}
    unhashable: dict[int, Any] = {}
    of_tools = [kind for one in options.get("tools", ()) for kind in one.types.values()]
    failed = (Failed,) if options.get("children") else ()  # what a fan-out of children may hand back
    for annotation in (*annotations, *of_tools, *options.get("types", ()), *failed):
        try:
            named[annotation] = None
        except TypeError:  # an Annotated with a list or dict in it
            unhashable[id(annotation)] = annotation
    types = collect((*named, *unhashable.values()), aliases=options.get("aliases", {}))
    rules = read_redact(options.get("redact"), "definition")
    return Codec(types, max_value=options.get("max_value", MAX_VALUE), redact=rules)


def check_options(name: str, where: str, **options: Unpack[DefinitionOptions]) -> None:
    """Refuse a definition without a name, or with a durability or a policy for busy threads that does not exist.

    Raises:
        DefinitionError: see above.
    """
    if not name:
        raise DefinitionError("definition.name", f"{where} has no name")
    durability = options.get("durability", "sync")
    if durability not in DURABILITIES:
        raise DefinitionError(
            "definition.durability", f"{where}: no durability {durability!r}", hint=f"one of {', '.join(DURABILITIES)}"
        )
    on_busy = options.get("on_busy", "enqueue")
    if on_busy not in POLICIES:
        raise DefinitionError("definition.on_busy", f"{where}: no {on_busy!r}", hint=f"one of {', '.join(POLICIES)}")


def structure(
    nodes: Mapping[str, NodeSpec], channels: Mapping[str, ChannelSpec], details: Mapping[str, Mapping[str, Any]],
    types: Mapping[str, Any], **rest: Any,
) -> dict[str, Any]:  # fmt: skip
    """Describe a structure as plain JSON: what the fingerprint covers, and neither code nor policies (D11).

    Args:
        details: by node, what its NodeSpec does not hold (version, goto, sends, on).
        types: by channel, its type, where the spec's own holds what is no structure.
        rest: kind, version, edges, …
    """
    spelled: dict[int, str] = {}  # by identity: not every annotation can be hashed

    def spelling(annotation: Any) -> str:
        if id(annotation) not in spelled:
            spelled[id(annotation)] = spell(annotation)
        return spelled[id(annotation)]

    return {
        **rest,
        "nodes": {name: {**_described(node), **details.get(name, {})} for name, node in nodes.items()},
        "channels": {
            name: {"type": spelling(types.get(name, spec.type)), "kind": spec.kind, "reducer": spec.reducer_name}
            for name, spec in channels.items()
        },
    }


def _described(node: NodeSpec) -> dict[str, Any]:
    """Leave out the context: a body may begin to use it without a change of structure."""
    params = {
        p.name: " ".join((p.kind, *filter(None, (p.source, *p.sources)))) for p in node.params if p.kind != "context"
    }
    described: dict[str, Any] = {"params": params, "writes": sorted(node.writes)}
    if node.mapped is not None:
        described["mapped"] = node.mapped
    return described
