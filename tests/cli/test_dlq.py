"""Dead letters on the command line: listed, grouped, shown, retried, dropped."""

import json
import signal
from pathlib import Path

import pytest

from tests.cli.conftest import Start, Windlass, wait_for

SHOP = """
from pathlib import Path
from typing import Any

from windlass import Budget, Context, Cost, Pipeline, Platform, Usage, task


@task
async def ship(order: int) -> int:
    if order < 0:
        raise ValueError(f"order {order} cannot be")
    if not Path("mended").exists():
        raise ConnectionError(f"order {order}: no answer from 'shop'")
    return order


orders = Pipeline("orders", [ship])


@task
async def note(letter: dict[str, Any]) -> str:
    with Path("noted.txt").open("a") as file:
        file.write(letter["id"] + "\\n")
    return letter["id"]


clerk = Pipeline("clerk", [note])
platform = Platform(handlers={"orders": "clerk"})
"""


@pytest.fixture(autouse=True)
def shop(windlass: Windlass, folder: Path) -> None:
    (folder / "shop.py").write_text(SHOP)


def failed(windlass: Windlass, *orders: int) -> list[str]:
    for order in orders:
        done = windlass("run", "shop.py:orders", "--input", str(order), "--id", f"o{order}")
        assert done.code == 1
    return [letter["id"] for letter in windlass("dlq", "list", "--json").objects][: len(orders)][::-1]


def test_list_and_filters(windlass: Windlass) -> None:
    windlass("run", "flows.py:failing", "--input", "x", "--id", "f")
    ids = failed(windlass, 1, 2, -3)
    listed = windlass("dlq", "list", "--json").objects
    assert [letter["run"] for letter in listed] == ["o-3", "o2", "o1", "f"]
    letter = listed[1]
    assert (letter["id"], letter["node"], letter["reason"], letter["attempts"]) == (ids[1], "ship", "error", 1)
    assert (letter["input"], letter["status"], letter["failure"]["kind"]) == ({"order": 2}, "open", "ConnectionError")
    heads, *lines = windlass("dlq", "list").out.splitlines()
    assert heads.split()[:4] == ["ID", "RUN", "NODE", "REASON"]
    assert len(lines) == 4

    def runs(*words: str) -> list[str]:
        return [letter["run"] for letter in windlass("dlq", "list", "--json", *words).objects]

    assert runs("--run", "o1") == ["o1"]
    assert runs("--definition", "failing") == runs("--reason", "attempts") == runs("--node", "work") == ["f"]
    assert runs("--definition", "failing", "--definition", "orders", "--limit", "2") == ["o-3", "o2"]
    assert runs("--after", ids[1]) == ["o1", "f"]
    assert runs("--pattern", letter["pattern"]) == ["o2", "o1"]
    assert runs("--tenant", "default", "--since", "1h") == ["o-3", "o2", "o1", "f"]
    assert runs("--tenant", "other") == runs("--status", "dropped") == []
    assert windlass("dlq", "list", "--tenant", "other").out == "no dead letters\n"
    for wrong in (
        ["--since", "long"],
        ["--reason", "none"],
        ["--status", "lost"],
        ["--limit", "0"],
        ["--after", "nosuch"],
    ):
        assert windlass("dlq", "list", *wrong).code == 2


def test_groups(windlass: Windlass) -> None:
    ids = failed(windlass, 1, -2, 3)
    first, second = windlass("dlq", "list", "--group", "--json").objects
    assert (first["count"], first["example"]["id"], second["count"]) == (2, ids[2], 1)
    assert first["first"] < first["last"]
    heads, *lines = windlass("dlq", "list", "--group").out.splitlines()
    assert heads.split()[:2] == ["PATTERN", "LETTERS"]
    assert [line.split()[1] for line in lines] == ["2", "1"]
    assert windlass("dlq", "list", "--group", "--status", "dropped").out == "no dead letters\n"


def test_show(windlass: Windlass) -> None:
    (id_,) = failed(windlass, 1)
    said = windlass("dlq", "show", id_).out
    for part in (
        "ConnectionError: order 1",
        "order = 1",
        "no retry is declared",
        f"windlass dlq retry {id_}",
        "ship#1",
    ):
        assert part in said
    assert windlass("dlq", "show", id_, "--json").object == windlass("dlq", "list", "--json").object
    done = windlass("dlq", "show", "nothing", "--json")
    assert (done.code, done.object["error"]) == (2, "letter.unknown")


def test_retry_all(windlass: Windlass, folder: Path) -> None:
    failed(windlass, 1, 2, -3)
    (folder / "mended").touch()
    done = windlass("dlq", "retry", "--all", "--json", "--rate", "100")
    assert done.code == 1  # one failed again
    told = [(each["run"], each["type"]) for each in done.objects if each["type"] != "result"]
    assert told == [("o-3", "retried"), ("o2", "retried"), ("o1", "retried")]
    ended = {each["run"]: each["status"] for each in done.objects if each["type"] == "result"}
    assert ended == {"o-3": "failed", "o2": "completed", "o1": "completed"}
    assert "3/3" in done.err
    assert "importing shop.py:orders" in done.err
    standing = windlass("dlq", "list", "--status", "resolved", "--status", "retried", "--status", "open", "--json")
    assert [letter["status"] for letter in standing.objects] == ["open", "retried", "resolved", "resolved"]
    assert all(letter["by"] for letter in standing.objects[1:])


def test_retry_with_edits_and_refusals(windlass: Windlass, folder: Path) -> None:
    ids = failed(windlass, 1, 2)
    windlass("runs", "cancel", "o1")
    (folder / "mended").touch()
    done = windlass("dlq", "retry", *ids, "--with", "input=7", "--file", "shop.py:orders", "--json")
    assert done.code == 2
    refused, retried, result = done.objects
    assert (refused["type"], refused["error"], retried["type"]) == ("refused", "run.state", "retried")
    assert "windlass runs fork o1" in refused["hint"]
    assert (result["run"], result["output"]) == ("o2", 7)
    assert windlass("dlq", "retry", ids[1]).code == 2
    assert "completed" in windlass("dlq", "retry", ids[1]).err
    assert windlass("dlq", "retry", ids[1], "--file", "shop.py:orders", "--rate", "0").code == 2


def test_retry_by_pattern_in_words(windlass: Windlass, folder: Path) -> None:
    failed(windlass, 1, -2)
    (pattern,) = {letter["pattern"] for letter in windlass("dlq", "list", "--run", "o1", "--json").objects}
    (folder / "mended").touch()
    done = windlass("dlq", "retry", "--pattern", pattern)
    assert (done.code, done.out) == (0, "o1 completed\n1 letters: 1 runs went on, 0 failed again, 0 refused\n")


def test_a_definition_that_is_not_there_is_said(windlass: Windlass, folder: Path) -> None:
    (id_,) = failed(windlass, 1)
    (folder / "shop.py").unlink()
    assert windlass("dlq", "retry", id_).code == 4
    assert windlass("dlq", "retry", id_, "--file", "flows.py:steady").code == 4
    assert [letter["status"] for letter in windlass("dlq", "list", "--json").objects] == ["open"]


def test_it_has_to_be_said_which_letters(windlass: Windlass) -> None:
    (id_,) = failed(windlass, 1)
    for verb in ("retry", "drop"):
        for words in ([], [id_, "--all"], ["--all", "--node", "ship"], [id_, "--node", "ship"], ["nothing"]):
            assert windlass("dlq", verb, *words).code == 2
    assert windlass("dlq", "retry", "--node", "other").code == 0


def test_drop(windlass: Windlass) -> None:
    ids = failed(windlass, 1, -2)
    assert windlass("dlq", "drop", ids[0], "--note", "no customer", "--json").objects == [
        {"type": "dropped", "letter": ids[0]}
    ]
    (dropped,) = windlass("dlq", "list", "--status", "dropped", "--json").objects
    assert (dropped["id"], dropped["note"]) == (ids[0], "no customer")
    assert "no customer" in windlass("dlq", "show", ids[0]).out
    assert windlass("dlq", "drop", "--all").out == "dropped 1 letters\n"
    assert windlass("dlq", "list").out == "no dead letters\n"


@pytest.mark.parametrize("said", ["option", "variable"])
def test_a_platform_binds_a_handler(
    windlass: Windlass, folder: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, said: str
) -> None:
    if said == "variable":
        monkeypatch.setenv("WINDLASS_PLATFORM", "shop.py:platform")
    words = [] if said == "variable" else ["--platform", "shop.py:platform"]
    assert windlass("run", "shop.py:orders", "--input", "4", "--id", "o4", *words).code == 1
    (letter,) = windlass("dlq", "list", "--json").objects
    assert (letter["handler"], letter["handled_by"]) == ("clerk", "")  # `run` knows no clerk
    start: Start = request.getfixturevalue("start")  # takes the variables as they are by now
    worker = start("worker", "shop.py:orders", "shop.py:clerk", "--json", *words)
    wait_for(folder / "noted.txt")
    worker.send_signal(signal.SIGTERM)
    out, err = worker.communicate(timeout=60)
    assert worker.returncode == 0, err
    picked = [json.loads(line)["run"] for line in out.splitlines() if json.loads(line)["event"] == "run.picked_up"]
    assert picked == [f"dead-{letter['id']}"]
    assert (folder / "noted.txt").read_text() == letter["id"] + "\n"
    (letter,) = windlass("dlq", "list", "--json").objects
    assert letter["handled_by"] == picked[0]
    assert f"clerk, run {picked[0]}" in windlass("dlq", "show", letter["id"]).out


def test_a_platform_that_is_not_there(windlass: Windlass, monkeypatch: pytest.MonkeyPatch) -> None:
    for target in ("shop.py:nothing", "shop.py:orders", "nowhere.py:platform"):
        assert windlass("run", "shop.py:orders", "--input", "4", "--platform", target).code == 4
    monkeypatch.setenv("WINDLASS_PLATFORM", "shop.py:nothing")
    assert windlass("run", "shop.py:orders", "--input", "4").code == 4
    assert windlass("runs", "list").code == 5  # it drives nothing, so no platform is needed, and there is no store
