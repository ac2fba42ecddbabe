"""Pieces out of line."""

from windlass.core.channels import Channel
from windlass.core.codec import Codec
from windlass.core.pieces import REFERENCE, inside, outside

BIG = "a long text " * 7_000


def test_a_piece_out_of_line_comes_back() -> None:
    stand_in, blob = outside(b'["a","b"]')
    assert inside(stand_in, {blob.digest: blob.content}.__getitem__) == b'["a","b"]'
    assert inside(b'["a"]', {blob.digest: b""}.__getitem__) == b'["a"]'


def test_what_stands_in_for_a_piece_names_what_the_piece_refers_to() -> None:
    """Else a snapshot of a list of many large values would not know that it needs them."""
    codec = Codec()
    values = [codec.encode([f"{n}{BIG}"]) for n in range(700)]
    held = {blob.digest: bytes(blob.content) for encoded in values for blob in encoded.blobs}
    channel = Channel("log", "append")
    for encoded in values:
        channel = channel.after((encoded.data,))
    new = channel.compact(codec, held.__getitem__)
    assert new
    named = {match.decode() for piece in channel.pieces for match in REFERENCE.findall(piece)}
    assert named == set(held) | {blob.digest for blob in new}
    known = held | {blob.digest: bytes(blob.content) for blob in new}
    assert len(channel.decode(codec, known.__getitem__)) == 700
