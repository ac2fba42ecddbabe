"""Windlass: a durable runtime for agents. Plumbing, not intelligence."""

from windlass.core.blueprint import END, END_ONLY, EVERY_STEP, SAVEPOINTS, Blueprint, Checkpoints
from windlass.core.errors import (
    AttemptTimeout,
    DefinitionError,
    RunFailed,
    TaskError,
    ValidationFailed,
    WindlassError,
)
from windlass.core.events import Event
from windlass.core.states import Status
from windlass.core.words import (
    EffectNotDone,
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
from windlass.graph.pipeline import Edge, Pipeline
from windlass.graph.reducers import Initial, add, append, ephemeral, maximum, merge, overwrite, reducer, unique_by
from windlass.graph.task import AgentSpec, Task, task
from windlass.graph.tools import tool
from windlass.policies.breaker import Breaker
from windlass.policies.budget import Budget, Cost, HandTo, Usage, WrapUp
from windlass.policies.limit import Limit
from windlass.policies.permission import Allow, Ask, Deny
from windlass.policies.platform import Ceilings, Defaults, Platform
from windlass.policies.retry import NO_RETRY, Retry

__all__ = [
    "END", "END_ONLY", "EVERY_STEP", "NO_RETRY", "SAVEPOINTS", "AgentSpec", "Allow", "Ask", "AttemptTimeout",
    "Blueprint", "Breaker", "Budget", "Ceilings", "Checkpoints", "Context", "Cost", "Defaults", "DefinitionError",
    "Deny", "Edge", "EffectNotDone", "Event", "Failed", "Graph", "HandTo", "Happened", "Initial", "Limit",
    "Output", "Pipeline", "Platform", "Quorum", "Recover", "RecoveryAction", "Result", "Retry", "RunFailed",
    "Runtime", "Send", "Status", "Stream", "SyncContext", "Task", "TaskError", "Tool", "Undo", "Update", "Usage",
    "ValidationFailed", "ValidationResult", "WindlassError", "WrapUp", "Yields", "add", "append", "ephemeral",
    "maximum", "merge", "overwrite", "reducer", "task", "tool", "unique_by",
]  # fmt: skip
