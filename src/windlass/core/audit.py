"""The account of an activation: which models and tools it used, and what was made of what they gave.

It is kept in the write that keeps the activation's end, and only refers to what stands elsewhere: requests, answers,
arguments and results are those of the recorded calls and effects. Reading puts them together (`runtime.audit`).
"""

from typing import Any

from msgspec import Struct


class ModelUse(Struct, frozen=True, omit_defaults=True):
    """One call of a model.

    Args:
        key: of the recorded call; empty for one that failed.
        name: by which the task asked; `model` and `version` say who answered.
        template, template_version, template_digest: of the prompt, where it was made of a template.
        usage: what it came to, by unit.
        failed: the code or class of the error that it ended with.
        partial: the answer is not whole.
        request, answer: as they are kept; put in by reading.
    """

    name: str
    key: str = ""
    model: str = ""
    version: str = ""
    template: str = ""
    template_version: str = ""
    template_digest: str = ""
    stop: str = ""
    confidence: float | None = None
    usage: dict[str, int] = {}
    failed: str = ""
    partial: bool = False
    request: Any = None
    answer: Any = None


class ToolUse(Struct, frozen=True, omit_defaults=True):
    """One call of a tool.

    Args:
        key: of the recorded call, or of the effect; empty for one that failed.
        digest: of the tool as it was described.
        failed: the code or class of the error that it ended with: not granted, unknown, raised.
        arguments, result: as they are kept; put in by reading.
    """

    name: str
    key: str = ""
    digest: str = ""
    effect: bool = False
    usage: dict[str, int] = {}
    failed: str = ""
    arguments: Any = None
    result: Any = None


class Account(Struct, frozen=True, omit_defaults=True):
    """What an attempt used, and what came of it.

    Args:
        models, tools: in the order in which they ended.
        judged: how the output was judged: parser, problems, repairs, verdict.
        output: the digest of what the activation wrote; reading puts the writes in its place.
        confidence: 0 to 1, of the output.
        cost: the sum of what its calls came to, by unit; of a call that an earlier attempt made, too.
        run, address, attempt, at, status: put in by reading; the status is `completed` or `failed`.
    """

    models: tuple[ModelUse, ...] = ()
    tools: tuple[ToolUse, ...] = ()
    judged: dict[str, Any] = {}
    output: Any = ""
    confidence: float | None = None
    cost: dict[str, int] = {}
    run: str = ""
    address: str = ""
    attempt: int = 1
    at: float = 0.0
    status: str = ""
