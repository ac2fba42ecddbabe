"""The discipline by itself: what can be declared, how the layers follow each other, where an output goes."""

import gc
import math
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass import DefinitionError, Expect, Judged, ModelAnswer, OutputRefused, Problem, Rated, ToolCall, judge, rule
from windlass.core.codec import Codec
from windlass.core.types import collect
from windlass.policies.output import LAYERS, Verdict, assess, passed, route


@dataclass(frozen=True)
class Reply:
    text: str
    sure: float = 1.0


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"act": 2}, "output.threshold"),
        ({"act": -0.1}, "output.threshold"),
        ({"act": math.nan}, "output.threshold"),
        ({"act": True}, "output.threshold"),
        ({"act": "0.5"}, "output.threshold"),
        ({"ask": 1.5}, "output.threshold"),
        ({"act": 0.5, "ask": 0.6}, "output.threshold"),
        ({"repairs": -1}, "output.repairs"),
        ({"repairs": 1.5}, "output.repairs"),
        ({"repairs": True}, "output.repairs"),
        ({"parser": "yaml"}, "output.parser"),
        ({"parser": None}, "output.parser"),
        ({"confidence": "certainty"}, "output.confidence"),
        ({"confidence": 0.5}, "output.confidence"),
        ({"confidence": ""}, "output.confidence"),
        ({"limit": 0}, "output.limit"),
        ({"rules": "none"}, "output.rule"),
    ],
)
def test_what_cannot_be_declared(options: dict[str, Any], code: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        Expect(Reply, **options)
    assert refused.value.code == code


SHARES = st.floats(0, 1)


@given(st.none() | SHARES, st.booleans(), SHARES, st.none() | SHARES, st.integers(0, 2))
def test_an_output_has_one_way(
    confidence: float | None, is_wrong: bool, act: float, ask: float | None, repairs: int
) -> None:
    ask = None if ask is None else min(ask, act)
    problems = (Problem("schema", "", "no"),) if is_wrong else ()
    way = route(Verdict(problems=problems, confidence=confidence), Expect(str, act=act, ask=ask), repairs)
    if is_wrong:
        assert way == ("repair" if repairs else "ask" if ask == 0.0 else "dead_letter")
    elif confidence is None or confidence >= act:
        assert way == "act"
    else:
        assert way == ("ask" if ask is not None and confidence >= ask else "dead_letter")


def test_the_layers_follow_each_other_and_the_first_that_fails_is_the_last() -> None:
    asked: list[str] = []

    @rule(Reply, field="text")
    def polite(text: str) -> bool:
        asked.append("rule")
        return text != "fool"

    def confidence(value: Reply, answer: Any) -> float:
        asked.append("confidence")
        return value.sure

    expect = Expect(Reply, rules=[polite], confidence=confidence)
    for text, failed, calls in (
        ("none", "parser", []), ('{"text": 1}', "schema", []), ('{"text": "fool"}', "rules", ["rule"]),
        ('{"text": "a", "sure": 7}', "confidence", ["rule", "confidence"]),
        ('{"text": "a"}', "", ["rule", "confidence"]),
    ):  # fmt: skip
        asked.clear()
        layers = assess(text, expect, 0.0).layers()
        place = LAYERS.index(failed) if failed else len(LAYERS)
        assert [*layers.values()] == ["passed"] * place + (["failed"] if failed else []) + ["not reached"] * (3 - place)
        assert asked == calls


@pytest.mark.parametrize(
    ("given", "options", "confidence", "source"),
    [
        ("yes", {}, None, ""),
        (ModelAnswer("yes", confidence=0.7, model="m-1"), {}, 0.7, "m-1"),
        (ModelAnswer("yes", confidence=0.7), {}, 0.7, "model"),
        (Rated("yes", 0.8, "judge"), {}, 0.8, "judge"),
        (Rated(ModelAnswer("yes", confidence=0.1), 0.8), {}, 0.8, "task"),
        (ModelAnswer("yes", raw={"p": 0.6}), {"confidence": lambda value, answer: answer.raw["p"]}, 0.6, "<lambda>"),
    ],
)
def test_who_says_how_sure_it_is(given: Any, options: dict[str, Any], confidence: float | None, source: str) -> None:
    found = judge(given, Expect(str, **options), 0.0)
    assert (found.value, found.confidence, found.source) == ("yes", confidence, source)


@pytest.mark.parametrize("said", [math.nan, 1.01, -1, "high", None, True, math.inf])
def test_what_is_no_share_is_a_problem(said: Any) -> None:
    with pytest.raises(OutputRefused, match="which is no number from 0 to 1"):
        judge("yes", Expect(str, confidence=lambda value, answer: said), 0.0)


def test_what_fails_in_a_function_of_confidence_is_a_problem() -> None:
    with pytest.raises(OutputRefused, match="it raised TypeError"):
        judge("yes", Expect(str, confidence=lambda value, answer: answer["p"]), 0.0)


def test_an_answer_may_be_so_long() -> None:
    assert judge("y" * 10, Expect(str, limit=10), 0.0).value == "y" * 10
    with pytest.raises(OutputRefused, match="11 characters, at most 10 are read"):
        judge("y" * 11, Expect(str, limit=10), 0.0)


def test_nothing_says_how_sure_it_is() -> None:
    with pytest.raises(OutputRefused, match="nothing says how sure it is"):
        judge("yes", Expect(str, act=0.5), 0.0)


def test_too_little_confidence_is_said() -> None:
    with pytest.raises(OutputRefused) as refused:
        judge(Rated("yes", 0.25, "judge"), Expect(str, act=0.5), 0.0)
    assert refused.value.problems == (Problem("confidence", "", "0.25 by judge is below act=0.5"),)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (ModelAnswer("", calls=(ToolCall("search"),)), "the model asks for tools (search), and answers nothing"),
        (ModelAnswer(""), "there is no"),
        (ModelAnswer("Dear A", partial=True), "the answer breaks off"),
    ],
)
def test_answers_that_are_none(answer: ModelAnswer, message: str) -> None:
    verdict = assess(answer, Expect(str if answer.text else Reply), 0.0)
    assert verdict.problems[0].message.startswith(message) or "empty" in verdict.problems[0].message


def test_a_cut_stream_whose_object_is_whole_is_whole() -> None:
    assert judge(ModelAnswer('{"text": "a"} and', partial=True), Expect(Reply), 0.0) == Judged(Reply("a"))
    found = judge(ModelAnswer("Dear A", partial=True), Expect(str, partial=True), 0.0)
    assert (found.value, found.degraded, found.trail[0].message) == ("Dear A", True, "the answer breaks off")


def test_a_parser_of_the_users() -> None:
    def lines(text: str) -> dict[str, str]:
        return dict(line.split(": ", 1) for line in text.splitlines())

    assert judge("text: a", Expect(Reply, parser=lines), 0.0).value == Reply("a")
    with pytest.raises(OutputRefused, match="the parser raised ValueError"):
        judge("text", Expect(Reply, parser=lines), 0.0)


def test_turned_text_may_be_wanted() -> None:
    assert judge("\u202eabc", Expect(str, bidi=True), 0.0).value == "\u202eabc"


def test_degraded_is_that_there_is_a_trail() -> None:
    trail = (Problem("rules", "x", "no"),)
    assert passed(Verdict(1), ()) == Judged(1)
    assert passed(Verdict(1), trail) == Judged(1, degraded=True, trail=trail)


def test_many_problems_make_a_short_message() -> None:
    with pytest.raises(OutputRefused) as refused:
        judge(list(range(50)), Expect(list[str], rules=[]), 0.0)
    assert len(refused.value.problems) <= 20
    with pytest.raises(OutputRefused, match=r"; and 3 more$"):
        judge("x", Expect(str, rules=[lambda _: "no"] * 8), 0.0)


def test_the_collector_is_left_as_it_was() -> None:
    text = '{"text": "' + "a" * 100_000 + '"}'
    seen: list[bool] = []
    expect = Expect(Reply, rules=[lambda _: seen.append(gc.isenabled())])
    judge(text, expect, 0.0)
    assert gc.isenabled()
    gc.disable()
    try:
        judge(text, expect, 0.0)
        assert not gc.isenabled()
    finally:
        gc.enable()
    assert seen == [False, False]


def test_a_result_is_kept_by_the_codec() -> None:
    found = Judged(Reply("a", 0.5), 0.5, "field sure", True, (Problem("rules", "x", "no", "1"),))
    codec = Codec(collect([Expect(Reply, whole=True).returns]))
    assert codec.decode(codec.encode(found, "x").data) == found


@given(st.text(max_size=200) | st.binary(max_size=50) | st.integers() | st.lists(st.none(), max_size=3))
def test_any_answer_passes_or_has_problems(answer: Any) -> None:
    verdict = assess(answer, Expect(Reply), 0.0)
    assert bool(verdict.problems) != isinstance(verdict.value, Reply)
