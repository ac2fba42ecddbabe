"""The command line: noun, verb. Front pages need nothing but this; everything else is imported when it is called."""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

from windlass.cli.table import GROUPS, page

HELP = ("--help", "-h", "help")
NEEDED = ("cyclopts", "rich")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code (D34).

    Args:
        arguments: without the program's name; None takes the process's own.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    group = words[0] if words and words[0] in GROUPS else ""
    rest = words[bool(group) :]
    if not rest or rest[0] in HELP:
        sys.stdout.write(page(group))
        return 0
    if words in (["--version"], ["-V"]):
        from importlib.metadata import version

        sys.stdout.write(f"windlass {version('windlass')}\n")
        return 0
    if sys.platform == "win32":
        sys.stderr.write("error: the command line needs Linux or macOS\nhint: on Windows, use WSL\n")
        return 2
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        sys.stderr.write(f"error: the command line needs {' and '.join(missing)}: pip install 'windlass[cli]'\n")
        return 2
    try:
        code: int = import_module("windlass.cli.app").run(words)
    except KeyboardInterrupt:  # while it was still being imported
        return 130
    return code
