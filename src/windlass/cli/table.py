"""Every command in one table: its words, where its function is, and what it does, in a line.

The front pages are printed from it without importing anything; `app` registers it, so that a command's module is
imported when the command is called.
"""

from typing import Final, NamedTuple


class Command(NamedTuple):
    """One command.

    Attributes:
        words: as typed: `run`, `runs list`.
        target: `module:function`, imported when it is called.
        said: one line for the front page.
    """

    words: str
    target: str
    said: str


COMMANDS: Final = (
    Command("demo", "windlass.cli.demo:demo", "Review a source tree, be killed in the middle, and go on."),
    Command("run", "windlass.cli.run:run", "Start a run, or go on with it, and show it until it ends or waits."),
    Command("worker", "windlass.cli.worker:worker", "Drive the runs of some definitions until told to stop."),
    Command("explain", "windlass.cli.explain:explain", "Show every limit in force for a definition, and who set it."),
    Command("doctor", "windlass.cli.doctor:doctor", "Look whether this machine and this store are fit for use."),
    Command("runs list", "windlass.cli.runs:list_runs", "List runs, newest first."),
    Command("runs show", "windlass.cli.runs:show", "Show how a run stands, its nodes, and what failed it."),
    Command("runs watch", "windlass.cli.runs:watch", "Follow a run, whoever drives it."),
    Command("runs events", "windlass.cli.runs:events", "Print the events of a run."),
    Command("runs diff", "windlass.cli.runs:diff", "Show which channels differ between two checkpoints."),
    Command("runs replay", "windlass.cli.runs:replay", "Apply a run's log again and compare every digest."),
    Command("runs pause", "windlass.cli.steer:pause", "Stop a run at its next boundary."),
    Command("runs resume", "windlass.cli.steer:resume", "Let a paused, failed or interrupted run go on, here."),
    Command("runs cancel", "windlass.cli.steer:cancel", "End a run."),
    Command("runs signal", "windlass.cli.steer:signal", "Send a signal to a run."),
    Command("runs rollback", "windlass.cli.steer:rollback", "Take a run back to an earlier checkpoint."),
    Command("runs fork", "windlass.cli.steer:fork", "Begin a new run from a checkpoint of another."),
    Command("threads list", "windlass.cli.threads:list_threads", "List threads by their last turns."),
    Command("threads show", "windlass.cli.threads:show", "Show the turns of a thread."),
    Command("inbox list", "windlass.cli.inbox:list_questions", "List open questions."),
    Command("inbox show", "windlass.cli.inbox:show", "Show a question, and the state of its run."),
    Command("inbox answer", "windlass.cli.inbox:answer", "Answer a question."),
    Command("inbox edit", "windlass.cli.inbox:edit", "Correct the state of a run that waits."),
    Command("inbox escalate", "windlass.cli.inbox:escalate", "Put a question to somebody else."),
    Command("effects list", "windlass.cli.effects:list_effects", "List what a run did outside."),
    Command("effects show", "windlass.cli.effects:show", "Show all that is known of a run's effects, or of one."),
    Command("audit show", "windlass.cli.audit:show", "Show what a run asked of models and tools, and what it got."),
    Command("dlq list", "windlass.cli.dlq:list_letters", "List what ran out of attempts, budget or time."),
    Command("dlq show", "windlass.cli.dlq:show", "Show all that is known of a dead letter."),
    Command("dlq retry", "windlass.cli.dlq:retry", "Let the runs of dead letters go on, here."),
    Command("dlq drop", "windlass.cli.dlq:drop", "Put dead letters aside for good."),
    Command("budget show", "windlass.cli.budget:show", "Show what was spent, what is held, and what is left."),
    Command("breakers list", "windlass.cli.breakers:list_breakers", "List how breakers and limits stand."),
    Command("graph show", "windlass.cli.graph:show", "Draw a definition."),
    Command("permissions test", "windlass.cli.permissions:try_call", "Say whether a task may make a call, and why."),
    Command("store migrate", "windlass.cli.store:migrate", "Bring a store's schema forward."),
    Command("store check", "windlass.cli.store:check", "Compare everything in a store with its digests."),
    Command("store backup", "windlass.cli.store:backup", "Copy a store to a file, while runs go on."),
    Command("store prune", "windlass.cli.store:prune", "Drop old runs, or old history, and give the space back."),
)

GROUPS: Final = {
    "runs": "Look at runs and steer them.",
    "threads": "Runs that follow one another.",
    "inbox": "Questions that runs ask people.",
    "effects": "What runs did outside.",
    "audit": "What runs asked of models and tools.",
    "dlq": "Dead letters: what ran out of attempts, budget or time.",
    "budget": "What runs and tenants spend.",
    "breakers": "Breakers and limits that all processes share.",
    "graph": "Definitions.",
    "permissions": "What tasks may do.",
    "store": "Look after a store.",
}

FOOT: Final = """\
Every command takes --help, --json (results on standard output, prose on standard error) and --store URL
(else WINDLASS_STORE, else sqlite:///.windlass/windlass.db).

Exit codes: 0 completed, 1 failed, 2 usage, 3 waiting or paused, 4 definition, 5 store, 130 stopped by Ctrl-C.
"""


def page(group: str = "") -> str:
    """Write the front page, or that of a group."""
    begin = f"{group} " if group else ""
    shown = [command for command in COMMANDS if command.words.startswith(begin)]
    width = max(len(command.words) for command in shown)
    title = GROUPS.get(
        group, "Run graphs of tasks durably: what finished is kept, and a finished effect is not repeated."
    )
    lines = [f"Usage: windlass {begin}COMMAND", "", title, ""]
    lines += [f"  {command.words:<{width}}  {command.said}" for command in shown]
    return "\n".join(lines) + "\n\n" + FOOT
