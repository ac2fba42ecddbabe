"""Orders that fail until the world is mended, and a clerk who is told of them."""

from typing import Any

import pytest

from windlass import Pipeline, Retry, RunFailed, Runtime, task
from windlass.core.letters import DeadLetter


class World:
    """What is outside: broken until it is mended."""

    def __init__(self) -> None:
        self.mended = False
        self.handled: list[dict[str, Any]] = []


def order(world: World, **options: Any) -> Pipeline:
    @task(retry=Retry(on=ConnectionError, max_attempts=2, initial=0))
    async def ship(number: int) -> int:
        if number < 0 or not world.mended:
            raise ConnectionError(f"order {number}: the shop is down")
        return number

    return Pipeline("order", [ship], **options)


def clerk(world: World) -> Pipeline:
    @task
    async def note(letter: dict[str, Any]) -> str:
        world.handled.append(letter)
        return str(letter["id"])

    return Pipeline("clerk", [note])


async def failed(runtime: Runtime, definition: Pipeline, value: Any, id: str) -> DeadLetter:
    with pytest.raises(RunFailed):
        await runtime.run(definition, value, id)
    return (await runtime.dead_letters(run=id))[0]
