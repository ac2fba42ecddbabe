"""Types flow through tasks and pipelines: DESIGN's first snippets, and mistakes that a checker must see.

mypy and pyright read this file; a `type: ignore` that is not needed is an error, so each mistake must stay one.
"""

from collections.abc import AsyncIterator, Awaitable, Coroutine
from dataclasses import dataclass
from typing import Any, assert_type

from windlass.core.errors import TaskError
from windlass.core.words import Output, Recover, RecoveryAction, Stream, ValidationResult, Yields
from windlass.engine.context import Context, SyncContext
from windlass.graph.pipeline import Edge, Pipeline
from windlass.graph.task import AgentSpec, Task, task
from windlass.policies.retry import Retry


@dataclass(frozen=True)
class Findings:
    files: tuple[str, ...]


@dataclass(frozen=True)
class Progress:
    share: float


@dataclass(frozen=True)
class Patch:
    text: str


def delete_branch(name: str) -> None: ...


@task(timeout=30, retry=Retry(on=ConnectionError, max_attempts=3))
async def analyze(repo: str, ctx: Context | None = None) -> Findings:
    return Findings((repo,))


@task(undo=[delete_branch])
async def refactor(analyze: Findings, ctx: Context | None = None) -> Yields[Patch]:
    yield Progress(0.9)
    yield Output(Patch(analyze.files[0]))


@task
def shout(refactor: Patch, ctx: SyncContext | None = None) -> str:
    return refactor.text.upper()


@task
async def follow(refactor: Stream[Progress]) -> float:
    return max([item.share async for item in refactor])


class Refactor(Task[Findings, Patch]):
    id = "refactor"
    spec = AgentSpec(role="senior engineer", model="any", tools=["git.push"], timeout=300, output=Patch)

    async def execute(self, input: Findings, ctx: Context) -> Patch:
        assert_type(input, Findings)
        return Patch(input.files[0])

    def validate(self, output: Patch) -> ValidationResult:
        return ValidationResult.ok() if output.text else ValidationResult.fail("empty")

    def recover(self, error: TaskError) -> RecoveryAction:
        return Recover.retry(fresh=True) if error.attempt < 3 else Recover.abort()


class Yielding(Task[Findings, Patch]):
    id = "refactor"

    async def execute(self, input: Findings, ctx: Context) -> Yields[Patch]:
        yield Progress(0.5)
        yield Output(Patch(input.files[0]))


review = Pipeline("review", tasks=[analyze, refactor], edges=[("analyze", "refactor")])
classes = Pipeline("classes", tasks=[analyze, Refactor(), shout], edges=[(analyze, Refactor), Edge("refactor", shout)])
yielding = Pipeline(
    "yielding", [analyze, Yielding, follow], [("analyze", Yielding), Edge(Yielding, follow, stream=True)]
)


class Mistaken(Task[Findings, Patch]):
    id = "mistaken"

    async def execute(self, input: str, ctx: Context) -> Patch:  # type: ignore[override]
        return Patch(input)

    def validate(self, output: str) -> ValidationResult:  # type: ignore[override]
        return ValidationResult.ok()

    def recover(self, error: TaskError) -> bool:  # type: ignore[override]
        return True


class MistakenOutput(Task[Findings, Patch]):
    id = "mistaken_output"

    async def execute(self, input: Findings, ctx: Context) -> str:  # type: ignore[override]
        return ""


class MistakenYield(Task[Findings, Patch]):
    id = "mistaken_yield"

    async def execute(self, input: Findings, ctx: Context) -> AsyncIterator[Output[str]]:
        yield Output("")  # as an item any object may be yielded: only Yields[str] would be a mistake


async def wrong_calls() -> None:
    """Never called: only a checker reads it."""
    await analyze(3)  # type: ignore[arg-type]
    await analyze()  # type: ignore[call-arg]
    task(timeout="soon")  # type: ignore[call-overload]
    task(timout=3)  # type: ignore[call-overload]
    Pipeline("p", [delete_branch])  # type: ignore[list-item]
    Pipeline("p", [analyze], durability="always")  # type: ignore[arg-type]
    Edge("a", "b", on_error="ignore")  # type: ignore[arg-type]


async def test_a_task_keeps_the_signature_of_its_function() -> None:
    analyzed: Coroutine[Any, Any, Findings] = analyze("src")
    assert_type(await analyzed, Findings)
    assert_type(shout(Patch("a")), str)
    assert_type(refactor(Findings(("a",))), AsyncIterator[object | Output[Patch]])
    assert await analyze("src") == Findings(("src",))
    assert shout(Patch("a")) == "A"
    assert [item async for item in refactor(Findings(("a",)))] == [Progress(0.9), Output(Patch("a"))]


def check(output: Patch) -> None:
    assert_type(Refactor().validate(output), ValidationResult)
    assert_type(Task[Findings, Patch]().execute, Any)  # type: ignore[assert-type]


def test_the_snippets_compile() -> None:
    assert review.compile().nodes["refactor"].returns is Patch
    assert classes.compile().sinks == ("shout",)
    assert yielding.compile().nodes["refactor"].mode == "yields"


def promise(of: Task[Findings, Patch], input: Findings, ctx: Context) -> Awaitable[Patch] | Yields[Patch]:
    return of.execute(input, ctx)
