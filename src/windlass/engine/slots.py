"""How many runs one process drives at once, as far as it starts them by itself: children beyond that wait here.

They stand in the store already, unowned, so any worker that knows them may be faster.
"""

from collections import deque
from collections.abc import Callable, Sized

MOST_DRIVES = 1_000


class Slots:
    """Children that wait for a slot.

    Args:
        driven: the runs that are driven.
        start: drives one more, in the background.
    """

    def __init__(self, driven: Sized, start: Callable[[str], None]) -> None:
        self.driven = driven
        self.start = start
        self.most = MOST_DRIVES
        self.queue: deque[str] = deque()

    @property
    def has_room(self) -> bool:
        """Whether one more may be driven without keeping others from their turn."""
        return len(self.driven) < self.most and not self.queue

    def enqueue(self, run: str) -> None:
        """Drive a child that was just made as soon as there is a slot."""
        self.queue.append(run)
        self.next()

    def next(self) -> None:
        """Fill the slots that are free."""
        for _ in range(min(self.most - len(self.driven), len(self.queue))):
            self.start(self.queue.popleft())
