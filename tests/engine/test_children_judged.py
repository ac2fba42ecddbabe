"""Children of activations that people are asked about, whose outputs are refused, and whose state is edited."""

import asyncio

from windlass import Context, Expect, Pipeline, Runtime, task

STARTED: list[str] = []


@task
async def review(text: str, ctx: Context) -> str:
    STARTED.append(ctx.run_id)
    answer: str = await ctx.ask(f"What of {text}?", str, to="role:cfo", deadline="2h", remind="1h")
    return answer


reviewing = Pipeline("reviewing", [review])


@task
async def lead(text: str, ctx: Context) -> str:
    said: str = await ctx.run(reviewing, text)
    return said


team = Pipeline("team", [lead], children=[reviewing])


async def test_the_clock_of_a_childs_question_is_no_timer() -> None:
    async with Runtime() as runtime:
        result = await runtime.run(team, "a")
        assert result.status == "waiting"
        (asked,) = await runtime.questions(result.run)
        assert (asked.id,) == result.waiting
        assert asked.terms.due_at is not None
        await runtime.answer(asked.id, "fine", roles=["cfo"])
        assert (await runtime.wait(result.run)).output == "fine"


@task
async def count(text: str, ctx: Context) -> int:
    STARTED.append(ctx.run_id)
    return len(STARTED)


counting = Pipeline("counting", [count])


async def test_what_led_to_a_refused_output_is_started_anew() -> None:
    def is_late(value: int) -> str | None:
        return None if value > 1 else "too early"

    @task(expect=Expect(int, rules=[is_late], repairs=2))
    async def judged(text: str, ctx: Context) -> int:
        found: int = await ctx.run(counting, text)
        return found

    STARTED.clear()
    async with Runtime() as runtime:
        result = await runtime.run(Pipeline("judged_team", [judged], children=[counting]), "a")
        assert result.output == 2
        assert len(set(STARTED)) == 2


async def test_an_edit_of_a_parent_asks_anew_and_leaves_its_child_alone() -> None:
    @task
    async def both(text: str, ctx: Context) -> str:
        said, mine = await asyncio.gather(ctx.run(reviewing, "child"), ctx.ask(f"{text}?", str))
        return f"{said} {mine}"

    STARTED.clear()
    async with Runtime() as runtime:
        result = await runtime.run(Pipeline("both_team", [both], children=[reviewing]), "a")
        assert len(result.waiting) == 2
        await runtime.edit(result.run, {"input": "b"}, overwrite=True, by="me")
        await runtime.wait(result.run)
        for asked in await runtime.questions(result.run):
            await runtime.answer(asked.id, asked.prompt, roles=["cfo"])
        assert (await runtime.wait(result.run)).output == "What of child? b?"
        assert len(set(STARTED)) == 1
