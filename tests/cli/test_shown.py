"""What commands do not show: known secrets, and what the platform's `show` says."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Windlass
from windlass import Redact
from windlass.cli.output import Out, plain, show
from windlass.core.redact import NOTHING
from windlass.core.secret import MASKS

VALUE = "sk_live_51Habc"
FLOWS = """
from windlass import Context, Pipeline, Platform, Redact, task

@task
async def first(given: dict, ctx: Context) -> dict:
    await ctx.effect("send", send, given)
    return given

@task
async def second(first: dict) -> dict:
    raise ValueError(f"no answer for {first['card']}")

async def send(given: dict) -> dict:
    return given

flow = Pipeline("flow", [first, second])
rules = Platform(show=Redact(names=["pin"], values={"card": "4929[0-9]{12}"}))
"""


@pytest.fixture(autouse=True)
def _forgetting() -> Iterator[None]:
    yield
    MASKS.forget()
    show(NOTHING)


def test_the_platform_says_what_is_not_shown(windlass: Windlass, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "shy.py").write_text(FLOWS)
    given = json.dumps({"pin": "4711", "card": "4929123412341234", "name": "Jo"})
    windlass("run", "shy.py:flow", "--input", given, "--id", "r")
    assert "4711" in windlass("runs", "events", "r").out
    monkeypatch.setenv("WINDLASS_PLATFORM", "shy.py:rules")
    for words in (
        ("runs", "show", "r"), ("runs", "events", "r"), ("runs", "list"), ("effects", "list", "r"), ("dlq", "list"),
        ("effects", "show", "r"), ("runs", "diff", "r", "1", "2"), ("runs", "replay", "r"),
        ("runs", "resume", "r", "shy.py:flow"),
    ):  # fmt: skip
        for more in ((), ("--json",)):
            done = windlass(*words, *more)
            assert "4711" not in done.out + done.err, words
            assert "4929" not in done.out + done.err, words
            assert not more or all(json.loads(line) for line in done.out.splitlines())
    assert "[redacted:pin]" in windlass("runs", "events", "r").out
    assert "[redacted:card]" in windlass("runs", "show", "r").out


def test_without_the_platform_that_is_named_nothing_is_shown(
    windlass: Windlass, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "shy.py").write_text(FLOWS)
    windlass("run", "shy.py:flow", "--input", '{"pin": "4711", "card": "x"}', "--id", "r")
    monkeypatch.setenv("WINDLASS_PLATFORM", "shy.py:nothing")
    for words in (("runs", "events", "r"), ("runs", "list"), ("runs", "show", "r", "--json"), ("runs", "cancel", "r")):
        done = windlass(*words)
        assert done.out == ""
        said = "nothing is shown: the platform that says what may be is not there: shy.py has no 'nothing'\n"
        assert done.err == said
    missing = windlass("runs", "show", "nobody")
    assert missing.code == 2
    assert "code: run.unknown" in missing.err
    monkeypatch.delenv("WINDLASS_PLATFORM")
    assert "cancelled" in windlass("runs", "list").out


def test_known_secrets_are_shown_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    MASKS.learn("stripe", VALUE)
    for as_json in (False, True):
        out = Out(as_json=as_json)
        out.say(f"say {VALUE}")
        out.line(f"line {VALUE}")
        out.give({"key": VALUE, VALUE: [VALUE]})
    said = capsys.readouterr()
    assert said.out == 'line [secret:stripe]\n{"key": "[secret:stripe]", "[secret:stripe]": ["[secret:stripe]"]}\n'
    assert said.err == "say [secret:stripe]\n" * 2


def test_what_is_not_shown_is_masked_at_any_depth() -> None:
    show(Redact(names=["pin"], values=["secret"]))
    assert plain({"a": [{"pin": 1, "b": "a secret"}], "pin": None}) == {
        "a": [{"pin": "[redacted:pin]", "b": "a [redacted:value 1]"}], "pin": None
    }  # fmt: skip
