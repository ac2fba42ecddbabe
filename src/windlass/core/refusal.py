"""Why a walk over a value stopped, and where: collected on the way up, spelled as a path from the top."""

from typing import Final

from windlass.core.secret import MASKS

MAX_DEPTH: Final = 200  # containers inside each other; reading takes 3 frames a level and Python allows 1,000
LONGEST: Final = 40  # characters of a key in a path
SPELLED: Final = frozenset({type(None), bool, int, float})  # keys whose repr is short and runs no code of the user's


class Refused(Exception):
    """A value met on the walk cannot be written; collects the way up to the whole as it passes.

    Attributes:
        steps: from the refused value upwards: the step, the container, and what that had used of the room by then.
    """

    def __init__(self, kind: str, *, hint: str | None = None) -> None:
        super().__init__(kind)
        self.kind = kind
        self.hint = hint
        self.steps: list[tuple[str, object, int]] = []

    def path(self, where: str) -> str:
        """Spell the way from the whole down to the refused value."""
        return where + "".join(step for step, _, _ in reversed(self.steps))


class TooDeep(Refused):
    """A structure has more levels than are kept, most often because it contains itself."""

    def __init__(self) -> None:
        super().__init__(f"a structure of more than {MAX_DEPTH} levels", hint="keep it flat")

    def path(self, where: str) -> str:
        """Spell the way down to where a container comes back, or the beginning of it."""
        seen: set[int] = set()
        for depth, (_, owner, _) in enumerate(reversed(self.steps)):
            if id(owner) in seen:
                self.kind = f"a {name_of(type(owner))} that contains itself"
                return where + "".join(step for step, _, _ in self.steps[: -depth - 1 : -1])
            seen.add(id(owner))
        return where + "".join(step for step, _, _ in self.steps[:-6:-1]) + "…"


class Oversized(Refused):
    """A part, or the walk so far, is larger than the whole may be."""

    def __init__(self, size: int) -> None:
        super().__init__("a value above the limit")
        self.size = size

    def largest(self, where: str, limit: int) -> tuple[str, int]:
        """Go down from the whole for as long as a part is above the limit by itself; give its path and size."""
        steps = self.steps[::-1]
        sizes = [max(used, self.size) for _, _, used in steps] + [self.size]
        path, size = where, sizes[0]
        for (step, _, _), inside in zip(steps, sizes[1:], strict=True):
            if inside <= limit:
                break
            path, size = path + step, inside
        return path, size


def name_of(kind: type) -> str:
    """Name a type as its author sees it."""
    return kind.__qualname__.rpartition("<locals>.")[2]


def step_of(key: object) -> str:
    """Spell the step into a dict's entry; a key of the user's own type is never asked for its repr."""
    kind = type(key)
    if kind is str:
        text = MASKS.text(str(key))  # before it is cut: half a secret would not be found
        return f".{text}" if text.isidentifier() and len(text) <= LONGEST else f"[{text[:LONGEST]!r}]"
    return f"[{MASKS.text(repr(key)):.40}]" if kind in SPELLED else f"[a {name_of(kind)} key]"
