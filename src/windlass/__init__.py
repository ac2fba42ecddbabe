"""Windlass: a durable runtime for agents. Plumbing, not intelligence."""

from importlib import import_module
from typing import TYPE_CHECKING

from windlass.core.blueprint import END, END_ONLY, EVERY_STEP, SAVEPOINTS, Blueprint, Checkpoints
from windlass.core.child_errors import ChildFailed
from windlass.core.errors import (
    AttemptTimeout,
    DefinitionError,
    OutputRefused,
    RunFailed,
    TaskError,
    ValidationFailed,
    WindlassError,
)
from windlass.core.events import Event
from windlass.core.judged import Judged, Problem, Rated
from windlass.core.logs import SecretFilter
from windlass.core.redact import Redact
from windlass.core.secret import Secret
from windlass.core.states import Status
from windlass.core.talk import Chunk, Filled, Message, Model, ModelAnswer, ModelRequest, Price, ToolCall
from windlass.core.usage import Usage
from windlass.core.words import (
    Answered,
    Approve,
    ContinueAsNew,
    EffectNotDone,
    Escalate,
    Failed,
    Happened,
    Output,
    Recover,
    RecoveryAction,
    Result,
    Send,
    Stream,
    Tool,
    Undo,
    Update,
    ValidationResult,
    Yields,
)
from windlass.engine.children import Quorum
from windlass.engine.context import Context, SyncContext
from windlass.engine.runtime import Runtime
from windlass.graph.graph import Graph
from windlass.graph.models import fallback, model
from windlass.graph.pipeline import Edge, Pipeline
from windlass.graph.reducers import Initial, add, append, ephemeral, maximum, merge, overwrite, reducer, unique_by
from windlass.graph.subgraph import Subgraph
from windlass.graph.task import AgentSpec, Task, task
from windlass.graph.tools import tool
from windlass.policies.breaker import Breaker
from windlass.policies.budget import Budget, Cost, HandTo, WrapUp
from windlass.policies.limit import Limit
from windlass.policies.permission import Allow, Ask, Deny
from windlass.policies.platform import Ceilings, Defaults, Platform
from windlass.policies.retry import NO_RETRY, Retry

if TYPE_CHECKING:
    from windlass.core.prompts import Prompt
    from windlass.policies.output import Expect, judge
    from windlass.policies.parsers import PartialJson
    from windlass.policies.rules import Case, Normal, Rules, rule
else:
    LATE = {  # what judges outputs is a tenth of an import of Windlass: who expects nothing does without
        "Expect": "policies.output", "judge": "policies.output", "PartialJson": "policies.parsers",
        "Case": "policies.rules", "Normal": "policies.rules", "Rules": "policies.rules", "rule": "policies.rules",
        "Prompt": "core.prompts",
    }  # fmt: skip

    def __getattr__(name: str) -> object:
        if name not in LATE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(f"windlass.{LATE[name]}"), name)
        return found


__all__ = [
    "END", "END_ONLY", "EVERY_STEP", "NO_RETRY", "SAVEPOINTS", "AgentSpec", "Allow", "Answered", "Approve", "Ask",
    "AttemptTimeout", "Blueprint", "Breaker", "Budget", "Case", "Ceilings", "Checkpoints", "ChildFailed", "Chunk",
    "Context", "ContinueAsNew", "Cost",
    "Defaults", "DefinitionError", "Deny", "Edge", "EffectNotDone", "Escalate", "Event", "Expect", "Failed", "Filled",
    "Graph", "HandTo", "Happened", "Initial", "Judged", "Limit", "Message", "Model", "ModelAnswer", "ModelRequest",
    "Normal", "Output", "OutputRefused", "PartialJson", "Pipeline", "Platform", "Price", "Problem", "Prompt", "Quorum",
    "Rated", "Recover", "RecoveryAction", "Redact", "Result", "Retry", "Rules", "RunFailed", "Runtime", "Secret",
    "SecretFilter", "Send", "Status", "Stream", "Subgraph", "SyncContext", "Task", "TaskError", "Tool", "ToolCall",
    "Undo", "Update", "Usage", "ValidationFailed", "ValidationResult", "WindlassError", "WrapUp", "Yields", "add",
    "append", "ephemeral", "fallback", "judge", "maximum", "merge", "model", "overwrite", "reducer", "rule", "task",
    "tool", "unique_by",
]  # fmt: skip
