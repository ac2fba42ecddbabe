"""What the engine's parts share within one Runtime: the store, the seams, the wake-ups, the threads."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from windlass.core.clock import Seams
from windlass.core.records import Owner
from windlass.engine.notifier import Notifier
from windlass.engine.pool import Pool
from windlass.stores.base import Store


@dataclass(slots=True)
class Services:
    """One Runtime's tools.

    Args:
        context: makes the context object of an activation.
    """

    store: Store
    seams: Seams
    owner: Owner
    notifier: Notifier
    pool: Pool
    context: Callable[[Any], Any]
