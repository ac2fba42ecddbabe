"""The keys of tallies: which row of the store a breaker, a limit or a budget is kept in; and how tasks name them."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, TypeVar, get_args

from windlass.core.errors import DefinitionError

Scope = Literal["fleet", "tenant", "definition", "node"]


class Named(Protocol):
    """What tasks that name the same one share."""

    @property
    def name(self) -> str:
        """Its name."""


N = TypeVar("N", bound=Named)


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


def read_named(
    given: Any, kind: type[N], *, wrong: Callable[[Any], DefinitionError], twice: Callable[[str], DefinitionError]
) -> tuple[N | str, ...] | None:
    """Read what a task names: a name, one of the kind, or a sequence of them; None where nothing is declared.

    Args:
        wrong: makes the error about something else, `twice` that about names of which one stands twice.

    Raises:
        DefinitionError: it is something else, or one name stands twice.
    """
    if given is None:
        return None
    found = (given,) if isinstance(given, str | kind) else tuple(given) if isinstance(given, Sequence) else (given,)
    for one in found:
        if not isinstance(one, str | kind) or not one:
            raise wrong(one)
    names = [one if isinstance(one, str) else one.name for one in found]
    if len(set(names)) < len(names):
        raise twice(", ".join(names))
    return found
