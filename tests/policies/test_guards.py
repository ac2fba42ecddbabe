"""Validators of other houses, by stubs of what their objects can do."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from windlass import DefinitionError, Expect, OutputRefused, Problem, judge
from windlass.policies.guards import guardrails, nemo


@dataclass(frozen=True)
class Reply:
    text: str
    to: str = "Ada"


class Guard:
    """Passes what is polite, and mends what is loud."""

    name = "polite"

    def validate(self, text: str) -> Any:
        summaries = [SimpleNamespace(failure_reason="is rude")] if "fool" in text else []
        return SimpleNamespace(
            validation_passed="fool" not in text,
            validated_output=text.replace("!!", "."),
            validation_summaries=summaries,
        )


class Rails:
    """Refuses secrets, and masks names."""

    def check(self, messages: list[dict[str, str]]) -> Any:
        text = messages[-1]["content"]
        assert messages[-1]["role"] == "assistant"
        if "secret" in text:
            return SimpleNamespace(status=SimpleNamespace(value="blocked"), content=text, rail="no secrets")
        masked = text.replace("Bob", "X")
        return SimpleNamespace(status="PASSED" if masked == text else "modified", content=masked, rail=None)


def wrong(answer: Any, rule: Any, schema: Any = str) -> list[Problem]:
    with pytest.raises(OutputRefused) as refused:
        judge(answer, Expect(schema, rules=[rule]), 0.0)
    return list(refused.value.problems)


@pytest.mark.parametrize("guard", [Guard(), SimpleNamespace(parse=Guard().validate)])
def test_a_guard_passes_mends_and_refuses(guard: Any) -> None:
    expect = Expect(str, rules=[guardrails(guard)])
    assert judge("Thank you.", expect, 0.0).value == "Thank you."
    assert judge("Thanks!!", expect, 0.0).value == "Thanks."
    assert wrong("You fool", guardrails(guard)) == [Problem("rules", "", "is rude", "'You fool'")]


def test_a_guard_of_a_field_and_of_a_record() -> None:
    field = Expect(Reply, rules=[guardrails(Guard(), Reply, field="text")])
    assert judge('{"text": "Hi!!"}', field, 0.0).value == Reply("Hi.")
    whole = Expect(Reply, rules=[guardrails(Guard(), Reply)])
    assert judge('{"text": "Hi!!", "to": "Bo"}', whole, 0.0).value == Reply("Hi.", "Bo")


def test_a_guard_that_says_nothing_refuses() -> None:
    rule = guardrails(SimpleNamespace(validate=lambda _: SimpleNamespace()))
    assert wrong("x", rule)[0].message == "the guard refuses it"
    rule = guardrails(SimpleNamespace(validate=lambda _: SimpleNamespace(validation_passed=False, error="timed out")))
    assert wrong("x", rule)[0].message == "timed out"


def test_rails_pass_mend_and_refuse() -> None:
    expect = Expect(str, rules=[nemo(Rails())])
    assert judge("Hello", expect, 0.0).value == "Hello"
    assert judge("Hello Bob", expect, 0.0).value == "Hello X"
    assert wrong("the secret", nemo(Rails()))[0].message == "refused by the rail no secrets"


def answering(text: Any) -> Any:
    return SimpleNamespace(generate=lambda messages, options: text)


def test_older_rails_that_only_generate() -> None:
    same = Expect(str, rules=[nemo(answering({"role": "assistant", "content": "Hello"}))])
    assert judge("Hello", same, 0.0).value == "Hello"
    response = SimpleNamespace(response=[{"role": "assistant", "content": "I can't say that."}])
    assert wrong("Hello", nemo(answering(response)))[0].message == "the rails say: I can't say that."


def test_what_fails_in_a_guard_lets_nothing_pass() -> None:
    def broken(_: str) -> Any:
        raise ConnectionError("no network")

    assert wrong("x", guardrails(SimpleNamespace(validate=broken)))[0].message == (
        "rule guardrails raised ConnectionError: no network"
    )


def test_what_is_no_guard() -> None:
    for make in (guardrails, nemo):
        with pytest.raises(DefinitionError, match=r"has no (validate|check)"):
            make(object())
    assert guardrails(Guard()).slow
