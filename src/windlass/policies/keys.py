"""The keys of tallies: which row of the store a breaker, a limit or a budget is kept in."""

from typing import Any, Literal, get_args

Scope = Literal["fleet", "tenant", "definition", "node"]


def tally_key(*parts: str) -> str:
    """Join the parts of a key with `|`, which none of them can bring in itself."""
    return "|".join(part.replace("%", "%25").replace("|", "%7C") for part in parts)


def is_scope(scope: Any) -> bool:
    """Say whether there is such a scope."""
    return scope in get_args(Scope)


def scope_key(kind: str, scope: Scope, name: str, *, tenant: str, definition: str, node: str) -> str:
    """Name the tally of something that all, or only those of one tenant, definition or node share."""
    ids = {"fleet": "", "tenant": tenant, "definition": definition, "node": f"{definition}.{node}"}
    return tally_key(kind, scope, ids[scope], name)
