"""Letting go: a run that this process owns and does not drive, because its store failed on the way.

The heartbeat keeps the lease of the whole process, so such a run would stay owned, and nobody could claim it, for as
long as the process lives. It is released as soon as the store can be reached again; then any worker may claim it.
"""

from collections.abc import Callable

from windlass.core import queries
from windlass.core.errors import StoreError
from windlass.engine.services import Services

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0


async def let_go(services: Services, run: str, is_wanted: Callable[[], bool]) -> bool:
    """Release a run if this process owns it; returns False when the store cannot be reached.

    Args:
        is_wanted: says whether it is driven here again, or need not be released any more.
    """
    try:
        found = await services.store.find(queries.Runs(ids=(run,)))
        owner = found[0].owner if found else None
        if owner is not None and owner.id == services.owner.id and not is_wanted():
            await services.store.release(run, found[0].epoch)
    except StoreError:
        return False
    return True
