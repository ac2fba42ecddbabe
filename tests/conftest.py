"""What every test lives with: deterministic examples, and no skip that goes unseen."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings

ALLOWED = Path(__file__).with_name("allowed-skips.txt")

# The same examples in every run, and no verdict by the clock: a busy machine must not turn a test red.
settings.register_profile("house", derandomize=True, deadline=None, database=None)
settings.load_profile("house")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--strict-skips", action="store_true", help="fail on any skip that tests/allowed-skips.txt does not name"
    )


def skips(config: pytest.Config) -> list[tuple[str, str]]:
    """Return node id and reason of each skip so far."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    reports = terminal.stats.get("skipped", []) if terminal else []
    return [(report.nodeid, report.longrepr[2].removeprefix("Skipped: ")) for report in reports]


def allowed_skips() -> list[tuple[str, str]]:
    """Read the lines `beginning of a node id | reason`."""
    lines = [line for line in ALLOWED.read_text().splitlines() if line and not line.startswith("#")]
    pairs = [line.partition(" | ")[::2] for line in lines]
    return [(where.strip(), reason.strip()) for where, reason in pairs]


def unexpected_skips(config: pytest.Config) -> list[tuple[str, str]]:
    allowed = allowed_skips()
    return [
        (node, reason)
        for node, reason in skips(config)
        if not any(node.startswith(where) and reason == said for where, said in allowed)
    ]


def pytest_sessionfinish(session: pytest.Session) -> None:
    # An xdist worker sees only its own part: the process that prints the summary decides.
    if session.config.getoption("--strict-skips") and unexpected_skips(session.config) and not session.exitstatus:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    found = skips(config)
    if not found:
        return
    reasons = "; ".join(f"{count} × {reason}" for reason, count in Counter(reason for _, reason in found).items())
    terminalreporter.write_line(f"skips: {len(found)} ({reasons})")
    if config.getoption("--strict-skips"):
        for node, reason in unexpected_skips(config):
            terminalreporter.write_line(f"NOT ALLOWED in tests/{ALLOWED.name}: {node} | {reason}", red=True)
