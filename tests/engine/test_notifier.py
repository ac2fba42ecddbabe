"""The notifier: who listens is told, in the order in which they came, so that a simulation can be repeated."""

from windlass.core.clock import Seams
from windlass.engine.notifier import Notifier
from windlass.stores.memory import MemoryStore


async def test_listeners_are_told_in_the_order_in_which_they_came() -> None:
    store = MemoryStore()
    await store.open()
    notifier = Notifier(store, Seams())
    heard: list[int] = []
    ears = [lambda place=place: heard.append(place) for place in range(50)]
    for ear in reversed(ears):
        notifier.listen("r", ear)
    notifier.forget("r", ears[7])
    notifier.wake("r")
    assert heard == [place for place in reversed(range(50)) if place != 7]
    notifier.close()
