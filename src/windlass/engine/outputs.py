"""What a run has come to: its channels, and which of them are its output."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import UNSET

from windlass.core.blueprint import Blueprint
from windlass.core.codec import Codec
from windlass.core.frames import Frame


def show(
    frame: Frame, blobs: Mapping[str, bytes], codec: Codec, names: Sequence[str] = ()
) -> dict[str, Any]:  # fmt: skip
    """Decode the public channels of a run or sub-graph that have a value: of those named, or all."""
    shown = {}
    for name in names or frame.channels:
        channel = frame.channels[name]
        value = UNSET if name.startswith("join:") else channel.decode(codec, blobs.__getitem__)
        if value is not UNSET and (channel.count or channel.version):
            shown[name] = value
    return shown


def output(shown: dict[str, Any], blueprint: Blueprint | None) -> Any:
    """Pick a run's output out of its channels: the single sink's value, a dict by sink, or all channels."""
    sinks = blueprint.sinks if blueprint is not None else ()
    if len(sinks) == 1:
        return shown.get(sinks[0])
    return {name: shown.get(name) for name in sinks} if sinks else shown
