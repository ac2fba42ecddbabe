"""What is given from outside, as channel writes: a run's input, and the edits of a resume or fork."""

from typing import Any

from windlass.core.blueprint import Blueprint
from windlass.core.errors import InputError
from windlass.core.types import convert


def unknown_channel(blueprint: Blueprint, name: str) -> InputError:
    """Make the error for a channel that does not exist; it names those that do."""
    public = ", ".join(sorted(channel for channel in blueprint.channels if not channel.startswith("join:")))
    return InputError(name, f"{blueprint.name} has no channel {name!r}", hint=f"there are: {public}")


def input_writes(blueprint: Blueprint, given: Any) -> dict[str, Any]:
    """Turn a run's input into channel writes: a pipeline has one channel for it, a graph takes a dict of channels.

    Raises:
        InputError: it has not the declared type, or names a channel that does not exist.
    """
    if blueprint.kind == "pipeline":
        if "input" not in blueprint.channels:
            return {}
        return {"input": convert(given, blueprint.input_type, "input")}
    if given is None:
        return {}
    plain = given if isinstance(given, dict) else {
        name: getattr(given, name) for name in blueprint.channels if hasattr(given, name)
    }  # fmt: skip
    for name in plain:
        if name not in blueprint.channels or name.startswith("join:"):
            raise unknown_channel(blueprint, name)
    return {name: convert(value, blueprint.channels[name].type, f"input.{name}") for name, value in plain.items()}


def check_edits(blueprint: Blueprint, edits: dict[str, Any] | None) -> None:
    """Refuse edits of channels that do not exist, or of another type.

    Raises:
        InputError: see above; it names the channel.
    """
    for name, value in (edits or {}).items():
        if name not in blueprint.channels or name.startswith("join:"):
            raise unknown_channel(blueprint, name)
        convert(value, blueprint.channels[name].type, f"edits.{name}")
