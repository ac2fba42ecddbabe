"""How long something may take: an attempt, the time between two signs of life of one, and the whole run.

Timers count active time (C19): a run that waits for a person or a due time does not grow older.
"""

import math

from windlass.core.errors import DefinitionError
from windlass.policies.numbers import Duration, length


def seconds(duration: Duration | None, what: str, where: str) -> float | None:
    """Turn a declared duration into seconds; `math.inf` says that there is no limit, whatever a default says.

    Raises:
        DefinitionError: it is no length of time above zero.
    """
    if duration is None:
        return None
    found = length(duration)
    if not found > 0:
        shown = f"{found:g} seconds" if not math.isnan(found) else repr(duration)
        raise DefinitionError(
            "timeout.value", f"{where}: {what} is {shown}: more than 0 are needed",
            hint="None leaves it to the defaults, math.inf is no limit",
        )  # fmt: skip
    return found
