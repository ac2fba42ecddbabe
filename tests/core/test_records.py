"""What a record says beside its fields."""

from msgspec import Raw, json

from windlass import Context, Pipeline, Runtime, task
from windlass.core.ops import Terms
from windlass.core.records import Question

PLAIN = {"id": "q", "run": "r", "address": "a#1", "key": "k", "prompt": "Well?", "asked_at": 1.0}


def test_a_question_says_what_it_wants_of_whom_and_until_when() -> None:
    asked = Question(**PLAIN, schema=Raw(b'{"type":"integer"}'), terms=Terms(to="role:editor", due_at=9.0))  # type: ignore[arg-type]
    assert (asked.wants, asked.to, asked.due_at) == ({"type": "integer"}, "role:editor", 9.0)
    assert set(json.decode(json.encode(asked))) == {*PLAIN, "schema", "terms"}  # kept as ever


async def test_so_does_one_that_a_runtime_gives() -> None:
    @task
    async def decide(order: str, ctx: Context) -> bool:
        return await ctx.ask("Ship?", bool, to="role:shipping", deadline="1 h")

    async with Runtime() as runtime:
        run = await runtime.run(Pipeline("orders", [decide]), "7")
        (asked,) = await runtime.questions(run.run)
        assert (asked.wants, asked.to) == ({"type": "boolean"}, "role:shipping")
        assert asked.due_at == asked.terms.due_at
