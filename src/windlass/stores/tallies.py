"""What every store does with the shared numbers that a write adjusts: check, work out, sign."""

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from math import isfinite

import msgspec
from msgspec import MsgspecError, Raw, Struct
from msgspec.structs import replace

from windlass.core.changes import Adjust, LetterPut
from windlass.core.errors import StoreCorrupt, StoreError
from windlass.core.tallies import MOST, Answer, BreakerOp, BudgetAnswer, BudgetOp, LimitOp, Op, Tally
from windlass.policies.tally import apply, kind_of, rows_of, wanting_nothing


class Stand(Struct, frozen=True, gc=False):
    """A tally as it is kept."""

    body: bytes
    version: int
    at: float

    def sign(self, key: str) -> bytes:
        """Digest it so that neither a changed bit nor a row under another key passes: the 32 bytes of SHA-256."""
        return sha256(b"%s|%d|%r|%s" % (key.encode(), self.version, self.at, self.body)).digest()

    def opened(self, key: str, digest: bytes) -> "Stand":
        """Return itself, compared with its digest.

        Raises:
            StoreCorrupt: it does not match.
        """
        if self.sign(key) != digest:
            raise StoreCorrupt(f"the tally {key} does not match its digest: {self.body[:80].decode(errors='replace')}")
        return self

    def shown(self, key: str) -> Tally:
        """Return it as a query finds it."""
        return Tally(key, kind_of(key), Raw(self.body), self.version, self.at)


Changed = Mapping[str, Stand | None]


def check_adjust(adjust: Adjust) -> None:
    """Refuse an operation that would leave a row nobody can read.

    Raises:
        StoreError: the key is of another kind or no text, or a number is none, or below zero; the caller is at fault.
    """
    key, op = adjust.key, adjust.op
    tag = type(op).__struct_config__.tag
    if kind_of(key) != tag or not is_text(key + (op.holder if isinstance(op, BreakerOp) else op.run)):
        raise StoreError(f"a {tag} operation cannot go to the tally {key!r}")
    if not (isfinite(op.at) and _fits(op)):
        raise StoreError(f"{key}: a time that is no number, an amount that is no whole number, or below zero: {op}")


def _fits(op: Op) -> bool:
    match op:
        case BudgetOp():
            for amounts in (op.used, op.spent, op.want, op.need, op.limit):
                for amount in amounts.values():
                    if type(amount) is not int or not 0 <= amount <= MOST:
                        return False
            return all(type(amount) is int and abs(amount) <= MOST for amount in op.raise_by.values())  # or lower it
        case BreakerOp():
            return op.failures >= 1 and all(isfinite(n) and n >= 0 for n in (op.window, op.cooldown, op.patience))
        case LimitOp():
            rate, most = op.rate, op.concurrency
            is_possible = min(op.take, op.give) >= 0 and op.burst >= 1 and (most is None or most >= 0)
            return is_possible and isfinite(op.until) and (rate is None or (isfinite(rate) and rate > 0))


def is_text(key: str) -> bool:
    """Say whether a key can be written down: a lone surrogate cannot."""
    try:
        return bool(key.encode())
    except UnicodeEncodeError:
        return False


def settle(
    adjusts: Sequence[Adjust], read: Callable[[str], Stand | None], may: Callable[[str, int], bool] | None = None
) -> tuple[Changed, tuple[Answer, ...]]:
    """Work out what operations come to, one after the other, without writing anything.

    Args:
        read: finds a tally as it stands before.
        may: whether a run may be granted anything by this epoch; of a write's own operations its fence says so.

    Returns:
        The tallies that change (None: the row falls away), and what came of each operation.

    Raises:
        StoreCorrupt: a tally cannot be read.
        StoreError: what an operation says cannot be kept.
    """
    stands: dict[str, Stand | None] = {}
    changed: dict[str, Stand | None] = {}
    answers: list[Answer] = []
    for adjust in adjusts:
        op = adjust.op
        is_overtaken = may is not None and not isinstance(op, BreakerOp) and not may(op.run, op.epoch)
        if is_overtaken:
            op = wanting_nothing(op)
        keys = rows_of(adjust.key, op)
        olds: list[bytes | None] = []
        for key in keys:
            if key not in stands:
                stands[key] = read(key)
            stand = stands[key]
            olds.append(None if stand is None else stand.body)
        try:
            bodies, answer = apply(olds, op)
        except msgspec.DecodeError as error:
            raise StoreCorrupt(f"the tally {adjust.key} cannot be read: {error}") from error
        except (TypeError, ValueError, OverflowError, MsgspecError) as error:
            raise StoreError(f"{adjust.key}: an operation that cannot be kept: {error}") from error
        if is_overtaken and isinstance(answer, BudgetAnswer):
            answer = replace(answer, is_granted=False)
        answers.append(answer)
        for number, key in enumerate(keys):
            if (body := bodies[number]) != olds[number]:
                stand = stands[key]
                version = 1 if stand is None else stand.version + 1
                stands[key] = changed[key] = None if body is None else Stand(body, version, float(op.at))
    return changed, tuple(answers)


def check_unfenced(changes: Sequence[Adjust | LetterPut]) -> None:
    """Refuse what may only go with a fenced write.

    Raises:
        StoreError: a change is of another kind.
    """
    for change in changes:
        if not isinstance(change, Adjust | LetterPut):
            raise StoreError(f"a {type(change).__name__} needs a write that says whose it is")
