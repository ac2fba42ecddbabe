"""A stream edge: a consumer that starts at the producer's first item, not at its end.

    python examples/streaming.py [STORE]

It shows `Yields` and `Edge(stream=True)`. Each item is durable before it is handed over; a crash makes neither side
begin at nothing: the consumer gets the kept items again, in the order in which they came.
"""

import asyncio
import sys
from collections import Counter

from windlass import Edge, Output, Pipeline, Runtime, Stream, Yields, task

TEXT = """the pawl keeps every inch that was won and the load goes up by every inch that the pawl keeps"""


@task
async def read(text: str) -> Yields[int]:
    """Produce: one word after the other, slowly, as from a model."""
    words = text.split()
    for word in words:
        await asyncio.sleep(0.002)
        yield word
    yield Output(len(words))


@task
async def tally(read: Stream[str]) -> Yields[dict[str, int]]:
    """Consume: tell each new leader while words still come."""
    seen: Counter[str] = Counter()
    leader = ""
    async for word in read:
        seen[word] += 1
        first = seen.most_common(1)[0][0]
        if first != leader:
            leader = first
            yield f"after {seen.total()} words, '{leader}' leads"
    yield Output(dict(seen.most_common(3)))


streaming = Pipeline("streaming", [read, tally], [Edge(read, tally, stream=True)])


async def main(store: str = "memory:") -> list[str]:
    """Run it, print what both sides do, and return the order in which it happened."""
    happened: list[str] = []
    async with Runtime(store) as runtime:
        async for event in runtime.execute(streaming, TEXT):
            if event.type == "item":
                happened.append(event.node)
                print(f"{event.node:>6}: {event.data['value']}")
            elif event.type == "activation.completed":
                happened.append(f"{event.node} ended")
                print(f"{event.node:>6} has ended with {event.data['writes'][event.node]}")
    return happened


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:2]))
