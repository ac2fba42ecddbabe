"""Channels: how writes become state, and how state is read.

A channel is kept as *pieces*: the encoded writes as they came (deltas), or one whole value. Kinds differ only in what
the pieces mean, so a log folds without the definition; custom reducers run once, at reconcile, and their result is
kept. A Channel is a value: `after` gives the next one and leaves this one as it was.

| kind | a piece is | the value is |
|---|---|---|
| last, ephemeral | the value | the last piece |
| append | a list of items | all items, in order |
| merge | a dict | all entries, later ones win |
| unique | a list of [place or null, item] | items, each appended or put in its place |
| gather | a list of [index, item] | items by index |
| barrier | a list of names | the names that have arrived |
"""

from hashlib import sha256
from typing import Any

from msgspec import UNSET, Raw, Struct, json

from windlass.core.codec import Blob, Codec
from windlass.core.pieces import FOLDS, LONG, Blobs, inside, joined, outside

REPLACING = frozenset({"last", "ephemeral"})
MUTABLE = object()  # known of a channel whose readers each need a decoding of their own


class Channel:
    """One channel's kept pieces, its version and its mark in the state digest.

    `known` is the decoded value where readers may share it (nothing in it can change, apart from an append channel's
    own list, which readers get as a copy); MUTABLE where they may not; UNSET where nobody has looked yet.
    """

    __slots__ = ("chain", "count", "kind", "known", "length", "mark", "name", "parts", "pieces", "version")

    def __init__(self, name: str, kind: str) -> None:
        self.name = name
        self.kind = kind
        self.version = 0
        self.pieces: list[bytes] = []
        self.count = 0  # pieces beyond it belong to a later Channel that shares the list
        self.known: Any = UNSET
        self.length = 0  # of `known`, when it is a list that later Channels share
        self.parts: list[Raw] | None = None  # the elements of a list, once one of them was asked for
        self.chain = b""
        self.mark = 0

    def after(self, pieces: tuple[bytes, ...], known: Any = UNSET, *, whole: bool = False) -> "Channel":
        """Return the channel after one version more.

        Args:
            pieces: deltas in their order; empty with `whole`: the channel is unset.
            known: the delta's decoded value if readers may share it (for append: a list of such items), MUTABLE if
                they may not, UNSET if that is not known.
            whole: the pieces replace what was there.
        """
        new = Channel(self.name, self.kind)
        new.version = self.version + 1
        whole = whole or self.kind in REPLACING
        if whole:
            new.pieces = list(pieces)
        else:
            new.pieces = _grown(self.pieces, self.count, pieces)
        new.count = len(new.pieces)
        if self.kind in REPLACING or known is MUTABLE:
            new.known = known
        elif self.kind == "append" and known is not UNSET:
            before = [] if whole or not self.count else self.known
            if isinstance(before, list):
                new.known = _grown(before, 0 if whole else self.length, known)
                new.length = len(new.known)
            else:
                new.known = before
        new._seal(self, pieces, whole)
        return new

    def _seal(self, before: "Channel", pieces: tuple[bytes, ...], whole: bool) -> None:
        """Work out chain and mark: a digest of the name and of the writes that made the value.

        The order of writes counts, except for `gather`, whose indices say the order: activations of one map may end
        in any order and give one digest.
        """
        if self.kind == "gather" and not whole:
            self.mark = before.mark
            for piece in pieces:
                for pair in json.decode(piece, type=list[Raw]):
                    self.mark += int.from_bytes(sha256(self.name.encode() + bytes(pair)).digest(), "big")
            return
        start = b"" if whole else before.chain
        head = b"%s|%d|%s" % (self.name.encode(), self.version, start)
        self.chain = sha256(head + b"|".join(pieces)).digest()
        self.mark = int.from_bytes(self.chain, "big")

    @property
    def is_set(self) -> bool:
        """Whether anything was written."""
        return self.count > 0

    def read(self, codec: Codec, blobs: Blobs) -> Any:
        """Return a value that the reader may do with as it likes; UNSET if there is none.

        Shared where nothing in it can change (D26), else decoded anew for this reader.
        """
        if self.known is UNSET and self.count:
            self._look(self.decode(codec, blobs), codec)
        if self.known is MUTABLE or self.known is UNSET:
            return self.decode(codec, blobs)
        if self.kind == "append":
            return self.known[: self.length]
        return self.known

    def _look(self, value: Any, codec: Codec) -> None:
        """Find out once, after a load, whether readers may share the value."""
        if self.kind == "append" and codec.encode(tuple(value)).frozen:
            self.known, self.length = value, len(value)
        elif self.kind in REPLACING and codec.encode(value).frozen:
            self.known = value
        else:
            self.known = MUTABLE

    def decode(self, codec: Codec, blobs: Blobs) -> Any:
        """Decode the pieces into a fresh value; UNSET if there is none."""
        pieces = [inside(piece, blobs) for piece in self.pieces[: self.count]]
        if self.kind in REPLACING:
            return codec.decode(pieces[-1], blobs, trusted=True) if pieces else UNSET
        return FOLDS[self.kind]([codec.decode(piece, blobs, trusted=True) for piece in joined(pieces)])

    def element(self, place: int, codec: Codec, blobs: Blobs) -> Any:
        """Return one element of a list, decoded for this reader: each activation of a map reads its own."""
        if self.parts is None and self.kind in REPLACING and self.pieces[-1:]:
            piece = inside(self.pieces[-1], blobs)
            self.parts = json.decode(piece, type=list[Raw]) if piece[:1] == b"[" else []
        if self.parts:
            return codec.decode(bytes(self.parts[place]), blobs, trusted=True)
        return self.read(codec, blobs)[place]

    def compact(self, codec: Codec | None, blobs: Blobs) -> list[Blob]:
        """Shorten the pieces without changing what they mean, before a snapshot; return new out-of-line contents.

        Neighbouring lists are joined, and stand out of line once they are long: they are never written again. A dict
        is written whole once its deltas are more than itself.
        """
        pieces = self.pieces[: self.count]
        if self.kind == "merge" and codec is not None and len(pieces) > 1:
            whole = codec.rewrite(self.decode(codec, blobs), self.name)
            if sum(map(len, pieces)) >= 2 * len(whole.data):
                pieces, self.known = [whole.data], UNSET
        elif self.kind not in REPLACING and self.kind != "merge":
            pieces = joined(pieces)
        new = []
        for place, piece in enumerate(pieces):
            if len(piece) >= LONG:
                pieces[place], blob = outside(piece)
                new.append(blob)
        self.pieces, self.count = pieces, len(pieces)
        return new

    def dump(self) -> "Kept":
        """Make the record of the channel that a snapshot keeps."""
        pieces = [Raw(piece) for piece in self.pieces[: self.count]]
        return Kept(self.kind, self.version, self.chain.hex(), f"{self.mark:x}", pieces)

    @classmethod
    def restore(cls, name: str, kept: "Kept") -> "Channel":
        """Rebuild a channel from a snapshot's record."""
        channel = cls(name, kept.kind)
        channel.version = kept.version
        channel.chain = bytes.fromhex(kept.chain)
        channel.mark = int(kept.mark, 16)
        channel.pieces = [bytes(piece) for piece in kept.pieces]
        channel.count = len(channel.pieces)
        return channel


class Kept(Struct, frozen=True, array_like=True):
    """A channel in a snapshot."""

    kind: str
    version: int
    chain: str
    mark: str
    pieces: list[Raw]


def _grown(shared: list[Any], length: int, more: Any) -> list[Any]:
    """Append to a list of which the first `length` elements are ours; copy only if somebody appended already."""
    if len(shared) != length:
        shared = shared[:length]
    shared.extend(more)
    return shared
