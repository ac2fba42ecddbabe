"""What follows from an output that was refused, and the event that one was judged: what every attempt may need.

What judges is imported with the first node that expects something.
"""

from collections.abc import Mapping
from typing import Any

from windlass.core.errors import OutputRefused
from windlass.engine.activation import Activation
from windlass.policies.chain import Ruling


def ruling(error: BaseException, activation: Activation) -> Ruling | None:
    """Rule on an output that was refused; None for any other error. Its repairs are no retries, and need none."""
    if not isinstance(error, OutputRefused):
        return None
    taken, allowed = len(activation.pending.refused), activation.node.expect.repairs
    if error.repair:
        return Ruling(wait=0.0, fresh=True, said=f"output refused: repair {taken + 1} of {allowed}")
    clamped = f"the platform allows {activation.chain.attempts} attempts" if taken < allowed and error.problems else ""
    clamped = clamped if activation.attempt >= activation.chain.attempts else ""
    return Ruling(reason="output", said=f"output refused after {taken} of {allowed} repairs", clamped=clamped)


def tell(activation: Activation, told: Mapping[str, Any]) -> None:
    """Put the event that an output was judged into the next write."""
    activation.journal.say(
        "output.judged", activation.address, outcome=told["outcome"], attempt=told["attempt"], layers=told["layers"],
        problems=told["problems"], confidence=told["confidence"], source=told["source"], degraded=told["degraded"],
        trail=told["trail"],
    )  # fmt: skip
