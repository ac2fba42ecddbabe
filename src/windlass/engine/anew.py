"""The input that a node gives to the run that its own continues as, encoded where it is returned."""

from typing import Any

from msgspec import Raw

from windlass.core.thread_errors import NotContinued
from windlass.core.words import ContinueAsNew
from windlass.engine.activation import Activation
from windlass.engine.inputs import input_writes


def asked(activation: Activation, anew: ContinueAsNew) -> dict[str, Any]:
    """Encode the input of the run that a node continues as.

    Raises:
        NotContinued: its run is a child run, or of a Pipeline, or it stands in a sub-graph.
        InputError, ValueNotKept, ValueTooLarge: the input is not what it should be.
    """
    record, blueprint = activation.journal.record, activation.blueprint
    if record.origin is not None:
        raise NotContinued(
            f"{activation.address}: run {record.id} is a child run, whose parent waits for this very run"
        )
    if "/" in activation.address:
        raise NotContinued(f"{activation.address}: it is the run that continues, and this node is of a sub-graph of it")
    if blueprint.kind != "graph":
        raise NotContinued(f"{activation.address}: a Pipeline has no state to go on with")
    return {name: _kept(activation, name, value) for name, value in input_writes(blueprint, anew.input).items()}


def _kept(activation: Activation, name: str, value: Any) -> Any:
    encoded = activation.blueprint.codec.encode(value, name)
    activation.journal.keep(encoded.blobs)
    return Raw(encoded.data)
