"""Each small program runs as its docstring says, ends with 0, and shows what it is there to show."""

import re
from pathlib import Path

import pytest

from tests.examples.conftest import EXAMPLES, Program

SHOWN = {
    "chat.py": [
        r"m2: may I have a day off\? -> \(waiting\)\nm3: and a cup of tea -> \(created\)",
        "  agent: the boss says yes\n  ann: and a cup of tea\n  agent: and a cup of tea, noted as number 3",
        "turn 4: m4 cancelled\nturn 5: m5 completed",
        r"  ann: may I have another\?\n  ann: never mind\n  agent: never mind, noted as number 5",
    ],
    "debate.py": [
        "seller: 900\nbuyer: 300\nseller: 700\nbuyer: 500\nseller: 620\nbuyer: 600\nseller: 600\n",
        "agreed on 600 after 7 messages",
        "the last speaker was shown 7 messages",
    ],
    "converge.py": ["completed after 39 rounds", r"core +0\.3685"],
    "extract.py": [
        r"What is the output of read#1\[3\]\? confidence: 0.55 by field sure is below act=0.8",
        '"total": 2859.5',
        r"77: rules: total: is not above 0 \(got -50\.0\)",
        "D-9: parser: strings in other quotes",
        "R-144: confidence: 0.55",
        "dead letter .*: output, .* there is no JSON object in the answer",
    ],
    "fan_out.py": ["1000 activations and a join", "871 needs 178 steps", "999 counted, 1 failed and collected"],
    "editor.py": [
        r"write#1 has written what is shown",
        "Print 'Teh truth about windlasses'",
        "Print 'The truth about windlasses'",
        "completed: drafted, title mended, printed: The truth about windlasses: Windlasses lift.",
        "ed edited notes, title: a typo",
    ],
    "fleet.py": [
        "50 of 50 agents completed with 200 answers, at most ([1-9]|10) calls at once",
        r"down for 2 s: (\d|1\d) calls met that; the breaker opened [1-9]\d* times",
    ],
    "flaky.py": ["attempt 2 failed: .*503", "attempt 3 gave", "asked 1 time for /order and 3 times for /price"],
    "newsroom.py": [
        r"team#1\[0\]/edit#1: Print this\?",
        r"team#1\[1\]/edit#2: Print this\?",
        r"trade: All there is to say about \(51 characters, 25 characters\)",
    ],
    "openai_client.py": [
        "attempt 1: gpt-5-mini used .*'tokens_out': 13",
        "attempt 1 failed: the title is there",
        "attempt 2: gpt-5-mini used",
        "the server was asked 2 times",
    ],
    "order_agent.py": [
        r"[1-9]\d* refused, [1-9]\d* timed out.* the breaker opened [1-9]\d* times",
        r"429 [1-9]\d* times, 503 [1-9]\d* times",
        " 0 came back before their Retry-After",
        r"a key that the shop knew: [1-9]",
        "12 orders, 12 placed, each once: True",
    ],
    "refund.py": [
        r"waiting: May refund do effect 'pay' .*\"amount\":500",
        r"asked again: True, .*\"amount\":90",
        "ann may not: question.not_for_you",
        "^(?s:(?!.*paid.*paid).*paid 90 for order 7)",
        r"approval.void .*\['input', 'arguments'\]",
        "question.answered .*'carl'",
    ],
    "research_budget.py": [
        "no money is left for another call: wrap up at report",
        "completed: A windlass has 17 parts",
        "18 calls for 0.83 of 1.00",
    ],
    "support_agent.py": [
        r"May act do \w+ 'refund' with .*49.5",
        "act#1 used find_order: .*lamp",
        "act#1 used delete_account: policy.denied",
        "act#2 used refund: paid 49.50 back for A-17",
        "completed: We have paid 49.50 back for the lamp",
    ],
    "streaming.py": ["tally: after 1 words(.|\n)*read: won(.|\n)*read has ended", "tally has ended with .*'the': 3"],
    "organisation.py": ["research: [456] of 6 answered", "decision: yes", "50 agents"],
    "rollback.py": [
        "failed at bill#1: 180 is above 100",
        "freed  12B\n  freed  12A",
        "0 seats .* paused",
        "under 4 keys",
    ],
}


@pytest.mark.parametrize("name", SHOWN)
def test_it_shows_what_it_says(name: str, program: Program) -> None:
    ended = program(name)
    assert ended.returncode == 0, ended.stderr
    assert [shown for shown in SHOWN[name] if not re.search(shown, ended.stdout)] == [], ended.stdout
    assert ended.stderr == ""


def test_it_takes_a_store(program: Program, tmp_path: Path) -> None:
    ended = program("converge.py", f"sqlite:///{tmp_path}/runs.db")
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "runs.db").exists()


def test_every_example_is_run_here_or_in_a_test_of_its_own() -> None:
    own = {path.name.removeprefix("test_") for path in Path(__file__).parent.glob("test_*.py")}
    assert {path.name for path in EXAMPLES.glob("*.py")} <= SHOWN.keys() | own
