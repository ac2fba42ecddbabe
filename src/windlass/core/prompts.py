"""Prompt templates with versions: plain text with `{{ name }}`, strict about what is put in."""

import re
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Final, Self

from windlass.core.errors import DefinitionError, PromptInvalid
from windlass.core.talk import Filled

PLACE: Final = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
Variable = str | int | float | Decimal


@dataclass(frozen=True, slots=True)
class Prompt:
    """A template: `Prompt("Summarise {{ text }}", name="summary", version="3")`.

    Each `{{ name }}` is a variable, and nothing else has a meaning: no expression, no loop, no include. They are put
    in at one pass, so that a value that holds `{{ x }}` stays as it is.

    Args:
        version: a word of the author's own; the digest of the text stands in the audit beside it.

    Attributes:
        digest: 16 hex digits of the SHA-256 of the text.
        variables: in the order in which they stand there first.

    Raises:
        DefinitionError: it is no text, or has braces `{{` that are no variable.
    """

    text: str
    name: str = ""
    version: str = ""
    digest: str = field(init=False, repr=False, compare=False, default="")
    variables: tuple[str, ...] = field(init=False, repr=False, compare=False, default=())

    def __post_init__(self) -> None:
        text: object = self.text
        if not isinstance(text, str):
            raise DefinitionError("prompt.text", f"prompt {self.name!r}: {text!r:.80} is no text")
        rest = PLACE.sub("", text)
        if "{{" in rest or "}}" in rest:
            place = min(place for sign in ("{{", "}}") if (place := rest.find(sign)) >= 0)
            raise DefinitionError(
                "prompt.syntax", f"prompt {self.name!r}: {rest[place : place + 40]!r} is no variable",
                hint="write {{ name }}, a letter and then letters, digits and _; other text goes in as a variable",
            )  # fmt: skip
        object.__setattr__(self, "variables", tuple(dict.fromkeys(PLACE.findall(text))))
        object.__setattr__(self, "digest", sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16])

    @classmethod
    def file(cls, path: str | Path, *, name: str = "", version: str = "") -> Self:
        """Read a template from a file, now; its name is that of the file without its ending.

        Raises:
            DefinitionError: it cannot be read, or is no template.
        """
        place = Path(path)
        try:
            text = place.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DefinitionError("prompt.file", f"the prompt {place} cannot be read: {error}") from error
        return cls(text, name or place.stem, version)

    def fill(self, **variables: Variable) -> Filled:
        """Put the variables in.

        Raises:
            PromptInvalid: one is missing, or unknown, or neither text nor number.
        """
        where = f"prompt {self.name}" if self.name else "prompt"
        missing = [name for name in self.variables if name not in variables]
        unknown = [name for name in variables if name not in self.variables]
        if missing or unknown:
            said = [f"{name!a} is missing" for name in missing] + [f"there is no {name!a}" for name in unknown]
            hint = f"variables: {', '.join(self.variables) or 'none'}"
            raise PromptInvalid(where, "; ".join(said), hint=hint)
        for name, value in variables.items():
            if isinstance(value, bool) or not isinstance(value, Variable):
                said_of = f"a {type(value).__name__} is neither text nor number"
                raise PromptInvalid(f"{where}.{name}", said_of, hint="turn it into text as it is to be read")
        texts = {name: str(variables[name]) for name in self.variables}
        return Filled(PLACE.sub(lambda found: texts[found[1]], self.text), self.name, self.version, self.digest, texts)
