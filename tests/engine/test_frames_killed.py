"""A process dies at each of its writes, in runs of sub-graphs: whoever goes on comes to the same, and repeats nothing.

What a reload finds is compared with what the live engine had: the digest that stands in each row.
"""

from typing import Any

import pytest

from tests.engine.mortal import Death, House, begin, go_on
from tests.engine.test_frames import CHECKING, EFFECTS, deep, desk, sending, team
from windlass import Edge, Pipeline, Runtime, task


@task
async def three(n: int) -> list[int]:
    """Make a list to work on."""
    return [n, n + 1, n + 2]


def each() -> Pipeline:
    return Pipeline("each", [three, CHECKING], [Edge("three", CHECKING, each=True, concurrency=2)])


TALES: dict[str, tuple[Any, Any]] = {
    "loop": (lambda: desk(team()), {"topic": "x", "n": 0}),
    "each": (each, 4),
    "send": (sending, {}),
    "deep": (lambda: deep(4), {"topic": "x", "log": []}),
}


async def tell(house: House, name: str, life: int, death: Death | None) -> tuple[Any, list[str], bool]:
    """Drive it to its end, each answer in a life of its own, one of which ends early.

    Returns:
        The output, which questions were asked, and whether a process died.
    """
    make, given = TALES[name]
    definition = make()
    asked: list[str] = []
    died = False

    async def work(runtime: Runtime) -> Any:
        start = go_on() if "r" in house.world.runs else begin(definition, given)
        result = await start(runtime)
        assert not (await runtime.replay("r")).differing
        for question in (await runtime.questions("r"))[:1]:
            asked.append(f"{question.address} {question.id}")
            await runtime.answer(question.id, f"a {question.address.count('/')}")
        return result

    for number in range(60):
        result = await house.live(work, definition, death=death if number == life else None)
        died |= result is None
        if result is not None and result.status == "completed":
            return result.output, sorted({one.partition(" ")[0] for one in asked}), died
    raise AssertionError("it does not end")


@pytest.mark.parametrize("name", TALES)
def test_a_death_at_any_write_changes_nothing(name: str) -> None:
    def found(life: int, death: Death | None) -> tuple[Any, list[str], bool]:
        EFFECTS.clear()
        house = House(life)
        told = house.loop.run(tell(house, name, life, death))
        assert len(EFFECTS) - len(set(EFFECTS)) <= 3, "those in flight are in doubt: safe to repeat"
        return (told[0], [*told[1], f"{len(set(EFFECTS))} effects"], told[2])

    *expected, _ = found(-1, None)
    deaths = 0
    for life in range(4):
        for number in range(1, 40):
            ended = [found(life, Death("commit", number, after)) for after in (False, True)]
            deaths += sum(died for *_, died in ended)
            assert all(told == expected for *told, _ in ended), f"{name}: {life}, {number}"
            if not any(died for *_, died in ended):
                break
    assert deaths > 20
