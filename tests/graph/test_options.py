"""Policies and options, as a NodeSpec wants them."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

from windlass.core.errors import TaskError
from windlass.core.words import Recover, RecoveryAction, Undo
from windlass.graph.options import policies
from windlass.policies.retry import Retry

Refused = Callable[..., AbstractContextManager[None]]


def delete_branch() -> None: ...


def recover(error: TaskError) -> RecoveryAction:
    return Recover.abort()


async def too_late(error: TaskError) -> RecoveryAction:
    return Recover.abort()


def test_durations_are_seconds_and_undos_have_names() -> None:
    retry = Retry(on=OSError)
    assert policies(
        {
            "timeout": timedelta(minutes=2),
            "idle_timeout": 3,
            "retry": retry,
            "undo": [delete_branch],
            "recover": recover,
        },
        "task 'a'",
    ) == {
        "timeout": 120.0,
        "idle_timeout": 3.0,
        "retry": retry,
        "undo": {"delete_branch": Undo(delete_branch)},
        "validate": None,
        "recover": recover,
    }


def test_a_policy_that_cannot_be_is_refused(refused: Refused) -> None:
    wrong: list[tuple[dict[str, Any], str, str]] = [
        ({"timeout": 0}, "policy.timeout", "timeout is 0 seconds"),
        ({"idle_timeout": -1.5}, "policy.timeout", "idle_timeout is -1.5 seconds"),
        ({"timeout": float("nan")}, "policy.timeout", "nan"),
        ({"retry": 3}, "policy.retry", "retry is 3"),
        ({"undo": [delete_branch, delete_branch]}, "policy.undo", "delete_branch"),
        ({"undo": [lambda: None]}, "definition.unnamed", "an undo"),
        ({"undo": [Undo(delete_branch, on_doubt="maybe")]}, "policy.undo", "on_doubt='maybe'"),  # type: ignore[arg-type]
        ({"recover": too_late}, "definition.async_hook", "recover is async"),
    ]
    for declared, code, words in wrong:
        with refused(code, "task 'a'", words):
            policies(declared, "task 'a'")  # type: ignore[arg-type]
