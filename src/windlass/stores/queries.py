"""SQL lives in files: each query has a name and a sentence, and is compiled once into SQLite's statement cache.

A file holds queries that begin with `-- name: the_name`; the comment lines below it say what the query is for.
"""

import re
from functools import cache
from importlib.resources import files

NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


@cache
def queries(store: str) -> dict[str, str]:
    """Read the queries of a store: name → SQL, without its comments."""
    folder = files("windlass.stores") / "sql" / store
    texts = [entry.read_text(encoding="utf-8") for entry in folder.iterdir() if entry.name.endswith(".sql")]
    found: dict[str, str] = {}
    for text in texts:
        parts = NAME.split(text)[1:]
        for name, body in zip(parts[::2], parts[1::2], strict=True):
            found[name] = re.sub(r"^\s*--.*\n", "", body, flags=re.MULTILINE).strip().rstrip(";")
    return found


@cache
def migrations(store: str) -> tuple[tuple[int, str], ...]:
    """Read the migrations of a store, in order: number and SQL."""
    folder = files("windlass.stores") / "sql" / store / "migrations"
    found = [(int(entry.name[:4]), entry.read_text(encoding="utf-8")) for entry in folder.iterdir()]
    return tuple(sorted(found))
