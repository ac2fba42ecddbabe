"""How a SQLite store writes the changes beside a log: each becomes statements before its transaction begins."""

from collections.abc import Sequence
from typing import Any

from windlass.core.changes import (
    Adjust,
    BlobPut,
    Change,
    CommandPut,
    CommandTaken,
    EffectPut,
    ItemsDropped,
    ItemsPut,
    LetterPut,
    ManifestPut,
    QuestionPut,
    TurnBegun,
)
from windlass.core.errors import StoreError
from windlass.core.records import ENCODER, Item
from windlass.stores.queries import queries
from windlass.stores.sqlite_read import compression, sealed
from windlass.stores.tallies import check_adjust

SQL = queries("sqlite")
Statement = tuple[str, tuple[Any, ...]]


def prepare(run: str, puts: Sequence[Change]) -> tuple[list[Statement], list[Adjust]]:
    """Encode changes before their transaction begins; what becomes of tallies is only known inside it.

    Raises:
        StoreError: a change cannot be kept.
    """
    prepared: list[Statement] = []
    adjusts: list[Adjust] = []
    try:
        for change in puts:
            if isinstance(change, Adjust):
                check_adjust(change)
                adjusts.append(change)
            elif not isinstance(change, TurnBegun):  # that is a condition
                prepared += statements(run, change)
    except (TypeError, ValueError) as error:
        raise StoreError(f"run {run}: a change cannot be kept: {error}") from error
    return prepared, adjusts


def statements(run: str, change: Change) -> list[Statement]:
    """Turn a change into statements: SQL, and its bindings after the run's number."""
    match change:
        case QuestionPut(question) if question.run == run:
            return [(SQL["save_question"], (question.id, question.status, *sealed(question)))]
        case EffectPut(effect):
            key = (effect.tree, effect.address, effect.run, effect.branch, effect.name, effect.key)
            return [(SQL["save_effect"], (*key, *sealed(effect)))]
        case CommandTaken(id_):
            return [(SQL["take_command"], (id_,))]
        case CommandPut(command):
            target = (command.id, command.run, command.verb == "child")
            return [(SQL["post_to_other"], (*target, *sealed(command)))]
        case ItemsPut(items):
            return [(SQL["add_item"], item_row(run, item)) for item in items]
        case ItemsDropped(address, attempt, lane, before):
            return [(SQL["drop_items"], (address, attempt, lane, before))]
        case BlobPut(blob):
            digest = bytes.fromhex(blob.digest)
            packed = (digest, len(blob.content), *pack(blob.content))
            # A prune that has found it unused must not delete it now.
            return [(SQL["add_blob"], packed), (SQL["unmark_blob"], (digest,))]
        case ManifestPut(manifest) if manifest.run == run:
            kept = (manifest.seq, manifest.branch, manifest.n, bytes.fromhex(manifest.digest))
            return [(SQL["add_manifest"], (*kept, ENCODER.encode(manifest.blobs).decode(), manifest.body))]
        case LetterPut(letter):
            names = (letter.tenant, letter.definition, letter.node, letter.pattern, letter.reason, letter.status)
            return [(SQL["save_letter"], (letter.id, letter.run, *names, letter.at, *sealed(letter)))]
        case _:
            raise StoreError(f"run {run}: a {type(change).__name__} that is unknown or of another run cannot be kept")


def item_row(run: str, item: Item) -> tuple[Any, ...]:
    """Return an item's bindings after the run's number."""
    if item.run != run:
        raise StoreError(f"run {run}: an item of run {item.run} cannot be kept")
    return (item.arrival, item.lane, item.address, item.attempt, item.ordinal, *sealed(item))


def pack(content: bytes) -> tuple[int, bytes]:
    """Compress if that makes it smaller: a flag, and what is kept."""
    packed: bytes = compression().compress(content)
    return (1, packed) if len(packed) < len(content) else (0, content)
