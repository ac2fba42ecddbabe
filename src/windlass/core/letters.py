"""Dead letters: what a run leaves that ran out of attempts, budget or time, for people and for redrive."""

from typing import Literal

from msgspec import Raw, Struct

from windlass.core.ops import Failure


class DeadLetter(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What ran out of attempts, budget or time, with all that is needed to look at it and to try it again.

    Args:
        id: a digest of run, branch, address, attempts and event, so that writing it again changes nothing.
        pattern: of the error, so that letters of one cause are found together.
        n: the checkpoint before the activation.
        trail: what each policy decided, in words.
        by: who retried, resolved or dropped it.
        handler: the definition bound to letters of this kind; `handled_by` is its run.
    """

    id: str
    run: str
    tenant: str
    definition: str
    fingerprint: str
    address: str
    node: str
    reason: Literal["attempts", "budget", "timeout", "poison", "denied", "step_limit", "output", "error"]
    attempts: int
    failure: Failure
    pattern: str
    input: Raw
    branch: int
    n: int
    trail: tuple[str, ...]
    at: float
    status: Literal["open", "retried", "resolved", "dropped"] = "open"
    by: str = ""
    tags: dict[str, str] = {}
    note: str = ""
    handler: str = ""
    handled_by: str = ""
