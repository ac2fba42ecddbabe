"""`windlass graph show`: a definition as a listing or a picture."""

from typing import Annotated, Literal

from cyclopts import Parameter

from windlass.cli.loader import load
from windlass.cli.options import COMMON, Common
from windlass.cli.output import Out
from windlass.graph.render import mermaid, text


def show(
    definition: str, /, *,
    as_: Annotated[Literal["text", "mermaid"], Parameter(name="--format", show_default=True)] = "text",
    common: Common = COMMON,
) -> int:  # fmt: skip
    """Draw a definition.

    Args:
        definition: FILE.py:NAME or package.module:NAME.
        as_: a listing for the terminal, or a Mermaid flowchart.
    """
    out = Out(as_json=common.json)
    (loaded,) = load([definition])
    blueprint = loaded.compile()
    drawn = text(blueprint) if as_ == "text" else mermaid(blueprint)
    out.give({
        "name": blueprint.name, "kind": blueprint.kind, "fingerprint": blueprint.fingerprint,
        "structure": blueprint.structure, as_: drawn,
    })  # fmt: skip
    out.line(drawn.rstrip("\n"))
    return 0
