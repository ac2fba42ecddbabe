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
    Undo,
    Update,
    ValidationResult,
    Yields,
)
from windlass.engine.context import Context, SyncContext
from windlass.engine.runtime import Runtime
from windlass.graph.graph import Graph
from windlass.graph.pipeline import Edge, Pipeline
from windlass.graph.reducers import Initial, add, append, ephemeral, maximum, merge, overwrite, reducer, unique_by
from windlass.graph.task import AgentSpec, Task, task
from windlass.policies.retry import Retry

__all__ = [
    "END", "END_ONLY", "EVERY_STEP", "SAVEPOINTS", "AgentSpec", "AttemptTimeout", "Blueprint", "Checkpoints", "Context",
    "DefinitionError", "Edge", "EffectNotDone", "Event", "Failed", "Graph", "Happened", "Initial",
    "Output", "Pipeline", "Recover", "RecoveryAction", "Result", "Retry", "RunFailed", "Runtime", "Send", "Status",
    "Stream", "SyncContext", "Task", "TaskError", "Undo", "Update", "ValidationFailed", "ValidationResult",
    "WindlassError", "Yields", "add", "append", "ephemeral", "maximum", "merge", "overwrite", "reducer", "task",
    "unique_by",
]  # fmt: skip
