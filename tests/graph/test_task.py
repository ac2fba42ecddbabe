"""The function form and the class form of a task."""

from datetime import timedelta
from typing import Any

import pytest

from windlass.core.errors import TaskError
from windlass.core.words import Output, Recover, RecoveryAction, ValidationResult, Yields
from windlass.engine.context import Context
from windlass.graph.task import AgentSpec, Task, declared_types, policies_of, task
from windlass.policies.retry import Retry


def never_empty(output: str) -> ValidationResult:
    return ValidationResult.ok() if output else ValidationResult.fail("empty")


def give_up(error: TaskError) -> RecoveryAction:
    return Recover.fallback(str(error))


@task
async def analyze(repo: str) -> str:
    """Analyze a repository."""
    return repo.upper()


@task
async def stream(repo: str) -> Yields[str]:
    yield 1
    yield Output(repo)


@task(
    id="second",
    timeout=timedelta(minutes=1),
    validate=never_empty,
    recover=give_up,
    spec=AgentSpec(role="engineer", timeout=5, idle_timeout=3, extras={"team": "a"}),
)
def with_options(analyze: str) -> str:
    return analyze


class Refactor(Task[str, int]):
    id = "refactor"
    spec = AgentSpec(role="senior engineer", retry=Retry(on=OSError))

    async def execute(self, input: str, ctx: Context) -> int:
        return len(input)

    def validate(self, output: int) -> ValidationResult:
        return ValidationResult(output > 0)


async def test_a_task_called_directly_is_its_function() -> None:
    assert await analyze("src") == "SRC"
    assert with_options("x") == "x"
    assert [item async for item in stream("src")] == [1, Output("src")]
    assert (analyze.id, analyze.__doc__) == ("analyze", "Analyze a repository.")


def test_options_win_over_the_spec() -> None:
    spec = with_options.spec
    assert with_options.id == "second"
    assert (spec.role, spec.timeout, spec.idle_timeout, spec.extras) == (
        "engineer",
        timedelta(minutes=1),
        3,
        {"team": "a"},
    )


def test_hooks_of_the_function_form_can_be_called() -> None:
    assert not with_options.validate("").valid
    assert with_options.recover(TaskError("no")) == Recover.fallback("no")
    assert analyze.validate("").valid
    assert analyze.recover(TaskError("no")) == Recover.abort()


def test_policies_name_only_hooks_that_do_something() -> None:
    of_attempts = ("timeout", "idle_timeout", "retry", "breaker", "limits", "grants", "expect", "before", "after")
    nothing = dict.fromkeys(of_attempts)
    assert policies_of(analyze) == {**nothing, "undo": ()}
    assert policies_of(with_options)["validate"] is never_empty
    declared = policies_of(Refactor())
    assert declared["retry"] == Retry(on=OSError)
    assert declared["validate"](1).valid
    assert "recover" not in declared


def test_the_types_of_a_class_form() -> None:
    class Child(Refactor): ...

    class Loose(Task[Any, Any]): ...

    assert declared_types(Child) == (str, int)
    assert declared_types(Loose) == (Any, Any)
    assert declared_types(Task) == (Any, Any)


def test_an_unknown_option_is_an_unexpected_keyword() -> None:
    with pytest.raises(TypeError, match="timout"):
        task(timout=3)(never_empty)  # type: ignore[call-overload]


async def test_execute_must_be_written() -> None:
    with pytest.raises(NotImplementedError):
        Task[int, int]().execute(1, None)  # type: ignore[arg-type]
    with pytest.raises(NotImplementedError):
        analyze.execute("src", None)  # type: ignore[arg-type]
