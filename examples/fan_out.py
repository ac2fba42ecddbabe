"""Fan-out and join: 1,000 items, one activation for each, and one task that waits for all of them.

    python examples/fan_out.py [STORE]

It shows a mapped edge. Each finished item is durable by itself (a crash at item 500 repeats none of the first 500), the
join gets the results in the order of the items, whatever the order in which they ended, and an item that fails is a
`Failed` in the list instead of the end of the run.
"""

import asyncio
import sys
import tempfile
import time

from windlass import Edge, Failed, Pipeline, Runtime, task

ITEMS = 1_000
UNLUCKY = 13


@task
async def numbers(count: int) -> list[int]:
    """Make the items."""
    return list(range(1, count + 1))


@task
async def steps(number: int) -> int:
    """Count the steps of the Collatz sequence from a number down to 1."""
    if number == UNLUCKY:
        raise ValueError(f"{number} is not counted here")
    count = 0
    while number != 1:
        number = 3 * number + 1 if number % 2 else number // 2
        count += 1
    return count


@task
async def longest(numbers: list[int], steps: list[int | Failed]) -> dict[str, int]:
    """Join: find the number with the longest way."""
    counted = [(found, number) for number, found in zip(numbers, steps, strict=True) if isinstance(found, int)]
    most, number = max(counted)
    return {"number": number, "steps": most, "counted": len(counted), "failed": len(steps) - len(counted)}


fan_out = Pipeline("fan-out", [numbers, steps, longest], [Edge(numbers, steps, each=True, on_error="collect")])


async def main(store: str) -> dict[str, int]:
    """Run it and print the figures."""
    began = time.perf_counter()
    async with Runtime(store) as runtime:
        result = await runtime.run(fan_out, ITEMS)
    output: dict[str, int] = result.output
    print(f"{ITEMS} activations and a join in {time.perf_counter() - began:.2f} s, each of them durable")
    print(f"  longest way: {output['number']} needs {output['steps']} steps")
    print(f"  {output['counted']} counted, {output['failed']} failed and collected")
    return output


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else f"sqlite:///{folder}/fan_out.db"))
