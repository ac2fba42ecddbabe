"""`windlass store prune`."""

import pytest

from tests.cli.conftest import Windlass


def test_old_runs_go_and_a_dry_run_only_counts(windlass: Windlass) -> None:
    for run in ("a", "b"):
        windlass("run", "flows.py:steady", "--input", "3", "--id", run)
    dry = windlass("store", "prune", "--older-than", "0s", "--dry-run", "--json")
    assert (dry.code, dry.object["runs"], dry.object["dry_run"]) == (0, 2, True)
    assert windlass("store", "prune", "--older-than", "1d").out.count("dropped 0 runs") == 1
    assert windlass("store", "prune", "--older-than", "0s", "--status", "failed").out.count("dropped 0 runs") == 1
    assert windlass("store", "prune", "--older-than", "0s", "--tenant", "other").out.count("dropped 0 runs") == 1
    done = windlass("store", "prune", "--older-than", "0s", "--status", "completed", "--status", "failed")
    assert "dropped 2 runs" in done.out
    assert windlass("store", "check").out.endswith("all is well\n")
    assert windlass("runs", "show", "a").code != 0


def test_history_goes_and_the_run_stays(windlass: Windlass) -> None:
    windlass("run", "flows.py:steady", "--input", "3", "--id", "a")
    done = windlass("store", "prune", "--older-than", "0s", "--history", "--json")
    assert done.object["runs"] == 0
    assert done.object["rows"] > 0
    assert windlass("runs", "show", "a", "--json").object["output"] == 6
    assert windlass("runs", "replay", "a").code == 0
    assert "log.pruned" in windlass("runs", "events", "a").out
    assert windlass("store", "check").code == 0


@pytest.mark.parametrize(
    "bad", [("--older-than", "soon"), ("--older-than", "-1d"), ("--older-than", "1d", "--status", "running"), ()]
)
def test_a_bad_rule_is_2(windlass: Windlass, bad: tuple[str, ...]) -> None:
    windlass("run", "flows.py:steady", "--input", "3", "--id", "a")
    assert windlass("store", "prune", *bad).code == 2
    assert windlass("runs", "show", "a").code == 0


def test_a_worker_with_a_wrong_age_does_not_begin(windlass: Windlass) -> None:
    refused = windlass("worker", "flows.py:steady", "--retain", "for ever")
    assert refused.code == 2
    assert "--retain" in refused.err
