import re
from pathlib import Path

import pytest

from windlass.stores.queries import migrations, queries
from windlass.stores.sqlite import SQLiteStore

ROOM = Path(__file__).parents[2] / "src" / "windlass" / "stores"
USED = "".join(path.read_text() for path in ROOM.glob("sqlite*.py"))
CHECKED = {f"all_{table}" for table in ("records", "questions", "effects", "commands", "items")}
CHECKED |= {f"bodies_of_{table}" for table in ("log", "questions", "effects", "commands", "dead_letters")}  # by table
CHECKED |= {f"{table}_beside" for table in ("questions", "effects")}


def test_migrations_are_numbered_from_one_without_a_gap() -> None:
    assert [number for number, _ in migrations("sqlite")] == list(range(1, len(migrations("sqlite")) + 1))


@pytest.mark.parametrize("name", queries("sqlite"))
def test_every_query_has_a_sentence_and_is_used(name: str) -> None:
    (text,) = [
        path.read_text() for path in (ROOM / "sql/sqlite").glob("*.sql") if f"-- name: {name}\n" in path.read_text()
    ]
    sentence = text.partition(f"-- name: {name}\n")[2].splitlines()[0]
    assert sentence.startswith("-- ")
    assert sentence[3].isupper()
    assert f'"{name}"' in USED or name in CHECKED


async def test_every_query_compiles(tmp_path: Path) -> None:
    store = SQLiteStore(f"sqlite:///{tmp_path}/runs.db")
    await store.open()
    link = store._main()
    for sql in queries("sqlite").values():
        named = dict.fromkeys(re.findall(r":(\w+)", sql), None)
        numbered = [int(number) for number in re.findall(r"\?(\d+)", sql)]
        unnamed = (None,) * max([*numbered, len(re.findall(r"\?(?!\d)", sql))])
        link.execute(f"EXPLAIN {sql}", named or unnamed).fetchall()
    await store.close()
