"""kill -9 in the middle of a model call and of a stream: what had ended is not asked for again, what had not is."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from windlass import Chunk, Context, ModelAnswer, ModelRequest, Pipeline, Runtime, model, task

ASKED = "asked.txt"
ROOT = Path(__file__).parents[2]


def pipeline(folder: Path, *, deadly: str) -> Pipeline:
    """A task that asks three times: a plain answer, a stream, and a plain answer again."""

    def note(request: ModelRequest) -> str:
        text = request.messages[0].content
        with (folder / ASKED).open("a") as asked:
            asked.write(f"{text}\n")
        return text

    def die(place: str) -> None:
        if place == deadly:
            os.kill(os.getpid(), signal.SIGKILL)

    @model
    async def plain(request: ModelRequest) -> ModelAnswer:
        text = note(request)
        await asyncio.sleep(0)
        die(text)
        return ModelAnswer(text)

    @model
    async def streaming(request: ModelRequest) -> AsyncIterator[Chunk]:
        text = note(request)
        yield Chunk("half")
        await asyncio.sleep(0)
        die(text)
        yield Chunk(" whole")

    @task
    async def ask(name: str, ctx: Context) -> list[str]:
        first = await ctx.model("first", model="plain")
        second = await ctx.model("second", model="streaming")
        third = await ctx.model("third", model="plain")
        return [first.text, second.text, third.text]

    return Pipeline("asking", [ask], models=[plain, streaming])


async def work(folder: Path, deadly: str) -> None:
    definition = pipeline(folder, deadly=deadly)
    async with Runtime(f"sqlite:///{folder}/w.db", [definition]) as runtime:
        await runtime.run(definition, "x", "r")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize(
    ("deadly", "asked"),
    [
        ("first", ["first", "first", "second", "third"]),
        ("second", ["first", "second", "second", "third"]),
        ("third", ["first", "second", "third", "third"]),
    ],
)
async def test_only_what_had_not_ended_is_asked_for_again(deadly: str, asked: list[str], tmp_path: Path) -> None:
    program = f"import asyncio; from pathlib import Path; from {__name__} import work; asyncio.run(work(Path({str(tmp_path)!r}), {deadly!r}))"  # noqa: E501
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    died = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program], env=environment, check=False)
    assert died.returncode == -signal.SIGKILL
    definition = pipeline(tmp_path, deadly="")
    async with Runtime(f"sqlite:///{tmp_path}/w.db", [definition]) as runtime:
        await runtime.pick_up("r")
        assert (await runtime.wait("r")).output == ["first", "half whole", "third"]
        accounts = await runtime.audit("r")
    assert (tmp_path / ASKED).read_text().split() == asked
    assert [use.answer.text for use in accounts[0].models] == ["first", "half whole", "third"]
