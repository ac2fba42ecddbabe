"""What a person is shown of values: as they are kept, for a repr may leave out whatever it likes.

A long text stands there whole, and `capped` says how much of it is not shown. Any other long content (of bytes, of an
array) stands by its size and its SHA-256: another one is shown otherwise, and so asked about again.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from windlass.core.codec import Codec, Encoded
from windlass.core.errors import ValueNotKept, WindlassError
from windlass.core.pieces import REFERENCE, Blobs


def readable(codec: Codec, values: Mapping[str, Any]) -> str:
    """Write values as JSON for a person, long ones included.

    Raises:
        ValueTooLarge: one of them is.
    """
    try:
        return _whole(codec.encode(dict(values), "shown", handles=True)).decode()
    except (WindlassError, TypeError, ValueError):  # one of them cannot be kept, or all together are too large
        return msgspec.json.encode({name: Raw(_alone(codec, name, value)) for name, value in values.items()}).decode()


def spelled(data: bytes, blobs: Blobs) -> bytes:
    """Give an encoded value with its long texts in their places."""
    return msgspec.json.encode(_spelled(msgspec.json.decode(data), blobs)) if REFERENCE.search(data) else data


def _alone(codec: Codec, name: str, value: Any) -> bytes:
    """Write one value; one that cannot be kept as it says of itself."""
    try:
        return _whole(codec.encode(value, name, handles=True))
    except (ValueNotKept, TypeError, ValueError):
        return _whole(codec.encode(repr(value), name))


def _whole(encoded: Encoded) -> bytes:
    contents = {blob.digest: blob.content for blob in encoded.blobs}
    return spelled(encoded.data, contents.__getitem__)


def _spelled(raw: Any, blobs: Blobs) -> Any:
    if isinstance(raw, list):
        return [_spelled(part, blobs) for part in raw]
    if not isinstance(raw, dict):
        return raw
    content = raw.get("v")
    if raw.get("$") == "str" and isinstance(content, dict):
        return blobs(content["blob"]).decode("utf-8", "backslashreplace")
    return {name: _spelled(part, blobs) for name, part in raw.items()}
