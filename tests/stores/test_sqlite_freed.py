"""What was deleted is not left in the file: a value that the owner of a run masks was posted as it was."""

from pathlib import Path

from windlass import Context, Pipeline, Runtime, Secret, task

CANARY = "canary-4f1c9e77-in-the-clear"


def holds(folder: Path) -> bool:
    return CANARY.encode() in (folder / "runs.db").read_bytes()


@task
async def ask(n: int, ctx: Context) -> str:
    return str(await ctx.ask("which key?"))


async def test_an_answer_that_its_owner_masks_leaves_no_copy_behind(tmp_path: Path) -> None:
    url, pipeline = f"sqlite:///{tmp_path}/runs.db", Pipeline("asks", [ask])
    async with Runtime(url, [pipeline]) as runtime:
        await runtime.run(pipeline, 1, "r")
    async with Runtime(url) as other:  # knows neither the definition nor the secret
        [question] = await other.questions("r")
        await other.answer(question.id, " ".join([CANARY] * 50))  # more than what is written next can cover
    assert holds(tmp_path)
    Secret("late", value=CANARY)
    async with Runtime(url, [pipeline]) as runtime:
        await runtime.resume("r")
        assert (await runtime.wait("r")).output == " ".join(["[secret:late]"] * 50)
    assert not holds(tmp_path)
