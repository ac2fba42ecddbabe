"""Task: the unit of work that a user writes, as a function or as a class."""

import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, TypeVar, Unpack, get_args, get_origin, overload

from windlass.core.errors import DefinitionError, TaskError
from windlass.core.words import Approve, Recover, RecoveryAction, Undo, ValidationResult, Yields
from windlass.engine.context import Context
from windlass.graph.options import Policies, check_known
from windlass.policies.breaker import Breaker
from windlass.policies.limit import Limit
from windlass.policies.numbers import Duration
from windlass.policies.permission import Rule
from windlass.policies.retry import Retry

if TYPE_CHECKING:  # what judges outputs is a tenth of an import of Windlass: who expects nothing does without
    from windlass.policies.output import Expect

In = TypeVar("In")
Out = TypeVar("Out")
P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSpec:
    """What a task says about itself: words for people and tools, and the policies of its attempts.

    Windlass gives `role`, `model`, `tools` and `extras` no meaning; the task's own code reads them.

    Args:
        output: the type of the output, where the annotation does not say it.
        timeout, idle_timeout: for an attempt, and between two signs of life of one; seconds or timedelta.
        retry: one Retry, or several of which the first that names the error decides; NO_RETRY is a single attempt.
        breaker: the dependency that an attempt needs: a name, a Breaker, or several.
        limits: Limits that an attempt needs a permit of, or names of the platform's.
        grants: what the task may do: Allow, Ask and Deny; None leaves it to the definition and the platform.
        undo: compensations that `ctx.effect(undo=...)` may name.
        expect: what the output has to be, and what follows where it is not.
        before, after: who is shown what the task is given, or what it returned, and approves, edits or rejects it.
        version: a word in the fingerprint: a change is a change of structure.
    """

    role: str = ""
    model: str = ""
    tools: Sequence[str] = ()
    output: Any = None
    timeout: Duration | None = None
    idle_timeout: Duration | None = None
    retry: Retry | Sequence[Retry] | None = None
    breaker: str | Breaker | Sequence[str | Breaker] | None = None
    limits: Sequence[str | Limit] | None = None
    grants: Sequence[Rule] | None = None
    undo: Sequence[Callable[..., Any] | Undo] = ()
    expect: "Expect | None" = None
    before: str | Approve | None = None
    after: str | Approve | None = None
    version: str = ""
    extras: Mapping[str, Any] = field(default_factory=dict)


SPEC_POLICIES: Final = (
    "timeout", "idle_timeout", "retry", "breaker", "limits", "grants", "undo", "expect", "before", "after",
)  # fmt: skip


class TaskOptions(Policies, total=False):
    """What `@task` takes: policies, which win over those of `spec`.

    Attributes:
        spec: role, model, tools and the like.
        version: a word in the fingerprint.
    """

    spec: AgentSpec
    version: str


class Task(Generic[In, Out]):
    """A unit of work: subclass it, name it with `id`, and write `execute`.

    With one task upstream, `input` is its output; with several, a dict of their outputs by id; with none, the run's
    input. A task is called anew after a crash or a wait; what it did through `ctx` is not done again.
    """

    id: str = ""
    spec: AgentSpec = AgentSpec()

    def execute(self, input: In, ctx: Context, /) -> Awaitable[Out] | Yields[Out]:
        """Do the work: `async def` that returns the output, or yields items and one `Output(...)`."""
        raise NotImplementedError

    def validate(self, output: Out, /) -> ValidationResult:  # noqa: ARG002 -- accepts whatever comes
        """Judge an output before it is kept; the next attempt makes its calls afresh."""
        return ValidationResult.ok()

    def recover(self, error: TaskError, /) -> RecoveryAction:  # noqa: ARG002 -- proposes the same for any error
        """Propose what to do when no attempt is left."""
        return Recover.abort()


class FunctionTask(Task[Any, Any], Generic[P, R]):
    """A task made of a function by `@task`. Called directly, as in a unit test, it is that function."""

    def __init__(self, fn: Callable[P, R], id: str, options: TaskOptions) -> None:
        check_known(options, TaskOptions, "task()")
        functools.update_wrapper(self, fn)
        self.fn = fn
        self.id = id or getattr(fn, "__name__", "")
        spec = options.get("spec", AgentSpec())
        own = (*SPEC_POLICIES, "version")
        self.spec = replace(spec, **{name: options[name] for name in own if name in options})  # type: ignore[literal-required]
        self.hooks = options

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself: no run, no record, no policy."""
        return self.fn(*args, **kwargs)

    def execute(self, input: Any, ctx: Context, /) -> Any:
        """Refuse: the parameters of a function say what each of them is, so it is called with its own."""
        raise NotImplementedError

    def validate(self, output: Any, /) -> ValidationResult:
        """Judge an output by the declared `validate`."""
        judge = self.hooks.get("validate")
        return judge(output) if judge else super().validate(output)

    def recover(self, error: TaskError, /) -> RecoveryAction:
        """Propose what the declared `recover` does."""
        propose = self.hooks.get("recover")
        return propose(error) if propose else super().recover(error)


@overload
def task(fn: Callable[P, R], /, *, id: str = "", **options: Unpack[TaskOptions]) -> FunctionTask[P, R]: ...
@overload
def task(*, id: str = "", **options: Unpack[TaskOptions]) -> Callable[[Callable[P, R]], FunctionTask[P, R]]: ...
def task(fn: Callable[..., Any] | None = None, /, *, id: str = "", **options: Unpack[TaskOptions]) -> Any:
    """Make a task of a function, bare (`@task`) or with options (`@task(timeout=30)`).

    In a Pipeline a parameter named after a task gets its output; the one parameter of a task without upstream that
    names no task gets the run's input; a parameter annotated `Context`, or called `ctx`, gets the context. A plain
    `def` runs in a thread and may take a `SyncContext`; a generator annotated `Yields[T]` yields items and one
    `Output(...)`.

    Args:
        id: the task's name in a pipeline; default: the function's.
        options: see TaskOptions.
    """
    if fn is not None:
        return FunctionTask(fn, id, options)
    return lambda function: FunctionTask(function, id, options)


def policies_of(task: Task[Any, Any]) -> Policies:
    """Collect the policies that a task declares; hooks that do nothing are left out."""
    spec = task.spec
    declared: Policies = {
        "timeout": spec.timeout,
        "idle_timeout": spec.idle_timeout,
        "retry": spec.retry,
        "breaker": spec.breaker,
        "limits": spec.limits,
        "grants": spec.grants,
        "undo": spec.undo,
        "expect": spec.expect,
        "before": spec.before,
        "after": spec.after,
    }
    if isinstance(task, FunctionTask):
        if "validate" in task.hooks:
            declared["validate"] = task.hooks["validate"]
        if "recover" in task.hooks:
            declared["recover"] = task.hooks["recover"]
        return declared
    if type(task).validate is not Task.validate:
        declared["validate"] = task.validate
    if type(task).recover is not Task.recover:
        declared["recover"] = task.recover
    return declared


def declared_types(kind: type) -> tuple[Any, Any]:
    """Return the In and Out that a class form declares in `Task[In, Out]`; Any where it does not say."""
    for ancestor in kind.__mro__:
        for origin in getattr(ancestor, "__orig_bases__", ()):
            if get_origin(origin) is Task:
                given, made = get_args(origin)
                return (Any if isinstance(given, TypeVar) else given), (Any if isinstance(made, TypeVar) else made)
    return Any, Any


def instance(task: Any, where: str) -> Task[Any, Any]:
    """Return the task itself, made of its class where the class was given.

    Raises:
        DefinitionError: it is no task.
    """
    made = task() if isinstance(task, type) and issubclass(task, Task) else task
    if not isinstance(made, Task):
        name = getattr(made, "__name__", repr(made))
        raise DefinitionError("definition.task", f"{where}: {name} is not a Task", hint=f"write @task above {name}")
    return made
