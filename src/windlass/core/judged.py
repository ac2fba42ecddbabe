"""What became of an output that had to pass a discipline: the value, how sure it is, what was wrong on the way."""

from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, TypeAlias, TypeVar

T = TypeVar("T")

Layer: TypeAlias = Literal["parser", "schema", "rules", "confidence"]
"""Which part of the discipline found a problem; they are passed in this order."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with an output.

    Args:
        path: where in the value, `items[2].price`; empty for the whole.
        got: what stood there, shortened.
    """

    __windlass_tag__: ClassVar[str] = "windlass.Problem"

    layer: Layer
    path: str
    message: str
    got: str = ""

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        return f"{self.layer}: {where}{self.message}" + (f" (got {self.got})" if self.got else "")


@dataclass(frozen=True, slots=True)
class Judged(Generic[T]):
    """An output that passed, and how surely.

    Args:
        confidence: 0 to 1; None where nothing says it.
        source: who says so: a field of the answer, the model, or a function's name.
        degraded: it passed only after a repair, was cut or mended by the reader, or a person confirmed it.
        trail: what was wrong on the way; empty unless degraded.
    """

    __windlass_tag__: ClassVar[str] = "windlass.Judged"

    value: T
    confidence: float | None = None
    source: str = ""
    degraded: bool = False
    trail: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Rated:
    """What a task returns that knows itself how sure its answer is, for instance because it asked a second model.

    Args:
        answer: what it would return otherwise.
        confidence: 0 to 1.
        source: who says so.
    """

    answer: Any
    confidence: float
    source: str = "task"
