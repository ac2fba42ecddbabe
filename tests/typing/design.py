"""The snippets that the design begins with, as they came to be: type checkers read them here, test_snippets runs them.

What a later issue brings (an answer's deadline, roles, budgets) is left out.
"""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Annotated, TypedDict, assert_type

from windlass import (
    END,
    AgentSpec,
    Context,
    Event,
    Graph,
    Output,
    Pipeline,
    Recover,
    RecoveryAction,
    Result,
    Retry,
    Runtime,
    Send,
    Task,
    TaskError,
    Update,
    ValidationResult,
    Yields,
    append,
    merge,
    task,
)


@dataclass(frozen=True)
class Findings:
    """What an analysis gives."""

    files: tuple[str, ...]


@dataclass(frozen=True)
class Progress:
    """An item of a stream."""

    share: float


@dataclass(frozen=True)
class Verdict:
    """A person's answer."""

    ship: bool


@dataclass(frozen=True)
class Patch:
    """What a refactoring gives."""

    text: str
    branch: str


class Model:
    """Stands for a model."""

    async def complete(self, prompt: str) -> str:
        """Say something."""
        return f"do {prompt}"


model = Model()
branches: list[str] = []


async def push_branch(text: str) -> str:
    """Do something to the world."""
    branches.append(text)
    return f"branch-{len(branches)}"


async def delete_branch(text: str) -> None:
    """Take it back."""
    branches.remove(text)


# A first program


@task(timeout=30, retry=Retry(on=ConnectionError, max_attempts=3))
async def analyze(repo: str, ctx: Context) -> Findings:
    """Look at a repository."""
    return Findings((f"{repo}a.py", f"{repo}b.py"))


@task(undo=[delete_branch])
async def refactor(analyze: Findings, ctx: Context) -> Yields[Patch]:
    """Change it."""
    text: str = await ctx.call("draft", model.complete, analyze.files[0])
    branch: str = await ctx.effect("push", push_branch, text, undo=delete_branch)
    verdict = await ctx.ask("Ship it?", Verdict)
    assert_type(verdict, Verdict)
    yield Progress(0.9)
    yield Output(Patch(text if verdict.ship else "", branch))


review = Pipeline("review", tasks=[analyze, refactor], edges=[("analyze", "refactor")])


async def first_program(url: str) -> list[Event]:
    """Run it; again after a crash, it goes on."""
    seen: list[Event] = []
    async with Runtime(url) as runtime:
        async for event in runtime.execute(review, input="src/", id="review-1"):
            assert_type(event, Event)
            seen.append(event)
    return seen


async def answered(url: str) -> Result:
    """Answer from another process."""
    async with Runtime(url, [review]) as runtime:
        for question in await runtime.questions("review-1"):
            await runtime.answer(question.id, Verdict(ship=True))
        return await runtime.wait("review-1")


# The class form


class Refactor(Task[Findings, Patch]):
    """The same thing with room for the other hooks."""

    id = "refactor"
    spec = AgentSpec(role="senior engineer", model="any", tools=["git.push"], timeout=300, output=Patch)

    async def execute(self, input: Findings, ctx: Context) -> Patch:
        """Change it."""
        assert_type(input, Findings)
        if ctx.attempt == 1:
            raise ConnectionError("the model is not there")
        return Patch(input.files[-1], "")

    def validate(self, output: Patch) -> ValidationResult:
        """Look at it."""
        return ValidationResult.ok() if output.text else ValidationResult.fail("there is nothing in it")

    def recover(self, error: TaskError) -> RecoveryAction:
        """Try once more."""
        return Recover.retry() if error.attempt < 3 else Recover.abort()


classes = Pipeline("classes", tasks=[analyze, Refactor], edges=[("analyze", "refactor")])


def promise(of: Task[Findings, Patch], input: Findings, ctx: Context) -> Awaitable[Patch] | Yields[Patch]:
    """Show what `execute` may be, of any task."""
    return of.execute(input, ctx)


# A graph with a loop


@dataclass(frozen=True)
class Message:
    """A message that nobody can change."""

    text: str


class State(TypedDict):
    """Channels."""

    messages: Annotated[list[Message], append]
    draft: str
    votes: Annotated[dict[str, int], merge]


graph = Graph("writer", State, step_limit=50)


@graph.node(writes=["draft"])
async def write(messages: list[Message], ctx: Context) -> dict[str, str]:
    """Write a draft."""
    return {"draft": f"draft {len(messages)}"}


@graph.node(writes=["messages", "votes"])
async def judge(draft: str) -> Update:
    """Vote on it."""
    return Update(messages=[Message(f"of {draft}")], votes={draft: len(draft)})


def done_or_again(votes: dict[str, int]) -> str:
    """Stop after three votes."""
    return END if len(votes) >= 3 else "write"


graph.start("write")
graph.edge("write", "judge")
graph.branch("judge", done_or_again, ["write", END])


fan = Graph("fan", State)


@fan.node(sends=["vote"])
async def split(draft: str) -> Update:
    """Fan out at run time."""
    return Update(sends=[Send("vote", name) for name in draft.split()])


@fan.node(writes=["votes"])
async def vote(item: str) -> dict[str, dict[str, int]]:
    """Do one part."""
    return {"votes": {item: len(item)}}


@fan.node(on=["votes"], writes=["messages"])
async def count(votes: dict[str, int]) -> dict[str, list[Message]]:
    """Run whenever its channel has changed."""
    return {"messages": [Message(f"{sum(votes.values())} in all")]}


fan.start("split")
