"""The commands as cyclopts sees them, and what becomes of an error: one line, a hint, and the exit code (D34)."""

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Final

from cyclopts import App, CycloptsError, Parameter

from windlass.cli.output import Out, Shown, show
from windlass.cli.table import COMMANDS, GROUPS
from windlass.core.errors import (
    DefinitionChanged,
    DefinitionError,
    DefinitionUnknown,
    RunFailed,
    StoreError,
    WindlassError,
)
from windlass.core.redact import NOTHING

FAILED, USAGE, DEFINITION, STORE, INTERRUPTED = 1, 2, 4, 5, 130
CODES: Final = (  # the first that fits; any other error of ours says that what was asked for cannot be
    (DefinitionError, DEFINITION),
    (DefinitionUnknown, DEFINITION),
    (DefinitionChanged, DEFINITION),
    (StoreError, STORE),
    (RunFailed, FAILED),
    (WindlassError, USAGE),
)


def build() -> App:
    """Register every command of the table by the name of its function: imported when it is called."""
    plain = Parameter(negative=(), show_default=False)
    root = App(name="windlass", help_format="plaintext", version_flags=(), default_parameter=plain)
    groups = {name: App(name=name, help=said, version_flags=()) for name, said in GROUPS.items()}
    for app in groups.values():
        root.command(app)
    for command in COMMANDS:
        group, _, name = command.words.rpartition(" ")
        groups.get(group, root).command(command.target, name=name)
    return root


def run(words: Sequence[str]) -> int:
    """Run a command line; every error becomes what a person, or with `--json` a program, can read."""
    out = Out(as_json="--json" in words)
    show(NOTHING)
    try:
        code = build()(words, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        tell(out, "usage", str(error), f"windlass {words[0]} --help" if words[0] in GROUPS else "windlass --help")
        return USAGE
    except WindlassError as error:
        tell(out, error.code, str(error.args[0]), error.hint)
        return next(code for kind, code in CODES if isinstance(error, kind))
    except KeyboardInterrupt:
        out.say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception:  # noqa: BLE001 -- a defect of ours, or of what was imported: shown whole
        out.say(traceback.format_exc().rstrip())
        return FAILED
    return code if isinstance(code, int) else 0


def tell(out: Out, code: str, message: str, hint: str) -> None:
    """Say what went wrong, with its code; as one object with `--json`."""
    show(Shown.rules)
    if out.as_json:
        out.give({"error": code, "message": message, "hint": hint})
        return
    out.say(f"error: {message}")
    if hint:
        out.say(f"hint: {hint}")
    out.say(f"code: {code}")
