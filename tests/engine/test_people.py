"""Questions with terms, edits and escalations: who may answer, until when, and what follows otherwise."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from hashlib import sha256
from typing import Annotated, Any, TypedDict
from uuid import UUID

import pytest
from msgspec import Raw, json
from pydantic import BaseModel, Field, field_validator

from windlass import Answered, Context, Escalate, Graph, Pipeline, Recover, RunFailed, Runtime, append, task
from windlass.core.errors import (
    AlreadyAnswered,
    AnswerInvalid,
    InputError,
    NotForYou,
    QuestionExpired,
    QuestionUnknown,
    ReducerFailed,
    RunState,
    WindlassError,
)
from windlass.core.ops import Terms
from windlass.core.queries import Questions
from windlass.core.records import Command, Question
from windlass.engine import escalations
from windlass.engine.terms import again


@dataclass
class Decision:
    """What a person decides."""

    amount: int
    why: str = ""


class Refund(BaseModel):
    """What a person decides, with a rule that no schema can say."""

    amount: int = Field(alias="Amount")
    on: date = date(2026, 1, 31)

    @field_validator("amount")
    @classmethod
    def little(cls, value: int) -> int:
        if value > 100:
            raise ValueError("at most 100 without the board")
        return value


@dataclass
class Rate:
    """Known to a question alone, not to a definition."""

    of: Decimal


ID = UUID("00000000-0000-4000-8000-000000000000")


@dataclass(frozen=True)
class Positive:
    """What its schema does not say in full."""

    n: int

    def __post_init__(self) -> None:
        if self.n < 0:
            raise ValueError("negative")


class Verdict(Enum):
    """A yes by its value, a yes by its name, and a no."""

    GO = "approve"
    APPROVE = "go"
    NO = "no"


async def kinds(runtime: Runtime, run: str) -> list[str]:
    return [event.type async for event in runtime.events(run)]


async def the_question(runtime: Runtime, run: str) -> Question:
    (found,) = await runtime.questions(run)
    return found


def asking(name: str = "asking", schema: Any = str, **terms: Any) -> Pipeline:
    @task(id="asks")
    async def asks(n: int, ctx: Context) -> Any:
        try:
            return await ctx.ask("Well?", schema, **terms)
        except QuestionExpired as error:
            return f"expired: {error.code}"

    return Pipeline(name, [asks], types=[Decision, Positive, Answered])


# Who may answer


@pytest.mark.parametrize(
    ("to", "wrong", "right"),
    [
        ("user:ann", {"by": "bob"}, {"by": "ann"}),
        ("user:ann", {"roles": ["ann"]}, {"by": "user:ann"}),
        ("role:cfo", {"by": "cfo", "roles": ["ceo"]}, {"by": "eve", "roles": ["ceo", "role:cfo"]}),
        ("tenant:acme", {"tenant": "other"}, {"tenant": "acme"}),
    ],
)
async def test_a_question_is_answered_by_whom_it_is_put_to(
    runtime: Runtime, to: str, wrong: dict[str, Any], right: dict[str, Any]
) -> None:
    run = (await runtime.run(asking(to=to), 1)).run
    asked = await the_question(runtime, run)
    with pytest.raises(NotForYou, match=to):
        await runtime.answer(asked.id, "yes", **wrong)
    assert await the_question(runtime, run) == asked  # nothing changed
    await runtime.answer(asked.id, "yes", **right)
    assert (await runtime.wait(run)).output == "yes"


async def test_who_is_refused_is_told_as_whom(runtime: Runtime) -> None:
    asked = await the_question(runtime, (await runtime.run(asking(to="role:cfo"), 1)).run)
    with pytest.raises(NotForYou, match="not to bob, role support, role sales, tenant acme"):
        await runtime.answer(asked.id, "yes", by="bob", roles=["support", "sales"], tenant="acme")


@pytest.mark.parametrize("to", ["ann", "user:", "group:x", "role: cfo", ":", 5])
async def test_a_question_to_nobody_is_refused(runtime: Runtime, to: Any) -> None:
    with pytest.raises(RunFailed, match="nobody"):
        await runtime.run(asking(to=to), 1)


@pytest.mark.parametrize("to", ["role:cfo", "role:staff"])
async def test_who_is_no_longer_asked_as_the_answer_arrives_is_refused(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    run = (await runtime.run(asking(to="user:ann"), 1)).run
    asked, post = await the_question(runtime, run), runtime.store.post
    passed: list[str] = []

    async def slow(command: Command) -> bool:
        if command.verb == "answer" and not passed:
            passed.append(await runtime.escalate(asked.id, to))
        return await post(command)

    monkeypatch.setattr(runtime.store, "post", slow)
    with pytest.raises(NotForYou, match="cfo") if to == "role:cfo" else _nothing():
        await runtime.answer(asked.id, "yes", by="ann", roles=["staff"])
    if to == "role:cfo":
        assert (await the_question(runtime, run)).terms.to == to
        await runtime.answer(asked.id, "yes", roles=["cfo"])
    assert (await runtime.wait(run)).output == "yes"


# What may be answered


@pytest.mark.parametrize(
    ("schema", "bad", "good", "output"),
    [
        (int, "5", 5, 5),
        (bool, 1, True, True),
        (str, 5, "5", "5"),
        (Decision, {"amount": "much"}, {"amount": 5}, Decision(5)),
        (Decision, {"why": "so"}, Decision(5), Decision(5)),
        (list[int], [1, "2"], [1, 2], [1, 2]),
        ({"type": "object", "properties": {"n": {"type": "integer", "minimum": 3}}}, {"n": 2}, {"n": 3}, {"n": 3}),
        (datetime, "x", "2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        (date, "x", date(2026, 1, 31), date(2026, 1, 31)),
        (timedelta, "5 min", "PT5M", timedelta(minutes=5)),
        (UUID, "x", str(ID), ID),
        (Decimal, "x", "1.50", Decimal("1.50")),
        (bytes, "red", "YQ==", b"a"),
        (dict[date, int], {"x": 1}, {"2026-01-31": 1}, {date(2026, 1, 31): 1}),
    ],
)
async def test_a_bad_answer_leaves_the_question_open(
    runtime: Runtime, schema: Any, bad: Any, good: Any, output: Any
) -> None:
    run = (await runtime.run(asking(schema=schema), 1)).run
    asked = await the_question(runtime, run)
    with pytest.raises(AnswerInvalid):
        await runtime.answer(asked.id, bad)
    assert await the_question(runtime, run) == asked
    assert await kinds(runtime, run) == ["run.created", "step.committed", "question.asked", "run.parked"]
    await runtime.answer(asked.id, good)
    assert (await runtime.wait(run)).output == output


async def test_an_answer_that_only_the_type_refuses_is_asked_for_anew_and_told_why(runtime: Runtime) -> None:
    @task(id="asks")
    async def asks(n: int, ctx: Context) -> int:
        return (await ctx.ask("How much?", Refund)).amount

    run = (await runtime.run(Pipeline("refunds", [asks]), 1)).run
    first = await the_question(runtime, run)
    await runtime.answer(first.id, {"Amount": 500})
    await runtime.wait(run)
    second = await the_question(runtime, run)
    why = "the last answer was refused: answer.Amount: value error, at most 100 without the board"
    assert (second.prompt, second.about) == (f"How much?\n({why})", {"why": why})
    told = [event async for event in runtime.events(run) if event.type == "question.asked"]
    assert [event.data["about"] for event in told] == [{}, {"why": why}]
    assert second.id != first.id
    await runtime.answer(second.id, {"Amount": 5})
    assert (await runtime.wait(run)).output == 5


@pytest.mark.parametrize("schema", [3, lambda: 1, "int", {"type": "strnig"}, {"type": str}])
async def test_a_schema_that_is_none_is_refused(runtime: Runtime, schema: Any) -> None:
    with pytest.raises(RunFailed, match="schema: "):
        await runtime.run(asking(schema=schema), 1)
    assert await runtime.questions() == []


async def test_what_a_schema_says_beside_does_not_make_another_question(runtime: Runtime) -> None:
    """Its key is made of the schema as it was before formats were said: what is open in an older store stays so."""
    run = (await runtime.run(asking(schema=datetime), 1)).run
    asked = await the_question(runtime, run)
    digest = sha256(json.encode(["Well?", {"type": "string"}], order="sorted")).hexdigest()[:16]
    assert asked.key == f"{digest}|0|0"
    assert json.decode(asked.schema) == {"type": "string", "format": "date-time"}


async def test_the_first_answer_wins_and_the_same_again_is_fine(runtime: Runtime) -> None:
    run = (await runtime.run(asking(), 1)).run
    asked = await the_question(runtime, run)
    found = await asyncio.gather(
        *(runtime.answer(asked.id, value) for value in ("a", "a", "b")), return_exceptions=True
    )
    assert sum(isinstance(one, AlreadyAnswered) for one in found) in (1, 2)
    said = (await runtime.wait(run)).output
    await runtime.answer(asked.id, said)
    with pytest.raises(AlreadyAnswered):
        await runtime.answer(asked.id, "c")
    with pytest.raises(QuestionUnknown):
        await runtime.answer("none", "c")


async def test_whoever_asks_may_see_who_answered(runtime: Runtime) -> None:
    run = (await runtime.run(asking(schema=Answered[int]), 1)).run
    await runtime.answer((await the_question(runtime, run)).id, 5, by="ann")
    assert (await runtime.wait(run)).output == Answered(5, "ann")


async def test_a_finished_run_leaves_no_question_behind(runtime: Runtime) -> None:
    @task
    async def either(n: int, ctx: Context) -> str:
        both = [asyncio.ensure_future(ctx.ask(name)) for name in ("first", "second")]
        done, rest = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for one in rest:
            one.cancel()
        return str(done.pop().result())

    run = (await runtime.run(Pipeline("either", [either]), 1)).run
    first, second = await runtime.questions(run)
    await runtime.answer(second.id, "b")
    assert (await runtime.wait(run)).output == "b"
    assert await runtime.questions(run) == []
    with pytest.raises(AlreadyAnswered):
        await runtime.answer(first.id, "late")
    assert (await kinds(runtime, run)).count("question.withdrawn") == 1


# Deadlines


async def test_nobody_in_time_is_a_rejection(runtime: Runtime) -> None:
    result = await runtime.run(asking(deadline=0.05), 1)
    result = await settled(runtime, result.run)
    assert result.output == "expired: question.expired"
    (expired,) = [event async for event in runtime.events(result.run) if event.type == "question.expired"]
    assert (expired.data["otherwise"], expired.data["by"]) == ("reject", "deadline")
    (line,) = await runtime.store.find(Questions(run=result.run, statuses=None))
    assert line.status == "expired"


async def settled(runtime: Runtime, run: str) -> Any:
    """Wait until a run has ended, though its questions have clocks."""
    for _ in range(400):
        if (result := await runtime.wait(run)).status != "waiting":
            return result
        await asyncio.sleep(0.01)
    raise AssertionError(run)


async def test_nobody_in_time_is_a_value(runtime: Runtime) -> None:
    run = (await runtime.run(asking(schema=int, deadline=0.05, otherwise=7), 1)).run
    assert (await settled(runtime, run)).output == 7
    assert "question.expired" in await kinds(runtime, run)


@pytest.mark.parametrize(
    ("schema", "otherwise", "output"),
    [
        (Refund, {"Amount": 5}, 5),
        (Refund, Refund(Amount=5), 5),
        (Answered[Refund], Refund(Amount=5), 5),
        (list[Refund], [{"Amount": 5}], 5),
        (Rate, Rate(Decimal("0.5")), Rate(Decimal("0.5"))),
        ({"type": "integer"}, 5, 5),
    ],
)
async def test_nobody_in_time_is_a_value_of_a_type_that_the_definition_does_not_know(
    runtime: Runtime, schema: Any, otherwise: Any, output: Any
) -> None:
    @task(id="asks")
    async def asks(n: int, ctx: Context) -> Any:
        found = await ctx.ask("Well?", schema, deadline=0.02, otherwise=otherwise)
        found = found.value if isinstance(found, Answered) else found
        found = found[0] if isinstance(found, list) else found
        assert (found.amount if isinstance(found, Refund) else found) == output
        return "as it was"

    run = (await runtime.run(Pipeline("asking", [asks]), 1)).run
    assert (await settled(runtime, run)).output == "as it was"


async def test_an_answer_may_be_a_model_that_only_the_question_knows(runtime: Runtime) -> None:
    @task(id="asks")
    async def asks(n: int, ctx: Context) -> int:
        return (await ctx.ask("How much?", Refund)).amount

    run = (await runtime.run(Pipeline("refunds", [asks]), 1)).run
    asked = await the_question(runtime, run)
    await runtime.answer(asked.id, Refund(Amount=5))
    await runtime.answer(asked.id, Refund(Amount=5))  # the same one again is fine
    assert (await runtime.wait(run)).output == 5


async def test_nobody_in_time_is_somebody_else(runtime: Runtime) -> None:
    run = (await runtime.run(asking(to="user:ann", deadline=0.05, otherwise=Escalate("role:boss")), 1)).run
    asked = await the_question(runtime, run)
    for _ in range(400):
        asked = await the_question(runtime, run)
        if asked.terms.to == "role:boss" and "question.escalated" in await kinds(runtime, run):
            break
        await asyncio.sleep(0.01)
    assert asked.terms.due_at is None
    with pytest.raises(NotForYou):
        await runtime.answer(asked.id, "x", by="ann")
    await runtime.answer(asked.id, "x", roles=["boss"])
    assert (await runtime.wait(run)).output == "x"


async def test_whoever_is_asked_is_reminded(runtime: Runtime) -> None:
    run = (await runtime.run(asking(to="user:ann", remind=[0.02, 0.04], deadline=0.08), 1)).run
    await settled(runtime, run)
    told = await kinds(runtime, run)
    assert told.count("question.reminded") == 2
    assert told.index("question.reminded") < told.index("question.expired")


async def test_an_answer_in_time_stops_the_clock(runtime: Runtime) -> None:
    run = (await runtime.run(asking(deadline=30, remind="20s"), 1)).run
    assert (await runtime.get(run)).head.due_at is not None
    await runtime.answer((await the_question(runtime, run)).id, "yes")
    assert (await runtime.wait(run)).output == "yes"


async def test_an_answer_after_the_deadline_is_refused_though_nobody_has_noticed_it(url: str) -> None:
    async with Runtime(url, timers=False) as runtime:
        run = (await runtime.run(asking(deadline=1.1), 1)).run
        asked = await the_question(runtime, run)
        late = Command(
            id="late", run=run, verb="answer", arguments={"question": asked.id, "value": "x"}, at=asked.asked_at + 2
        )
        with pytest.raises(QuestionExpired):
            await runtime.store.post(late)
        assert await the_question(runtime, run) == asked
        in_time = Command(
            id="in time", run=run, verb="answer", arguments={"question": asked.id, "value": "x"}, at=asked.asked_at + 1
        )
        assert await runtime.store.post(in_time)
        await asyncio.sleep(1.2)  # it is taken after the deadline: it was committed first
        await runtime.resume(run)
        assert (await runtime.wait(run)).output == "x"


async def test_the_clock_goes_on_without_a_process(url: str) -> None:
    definition = asking(deadline=1.2, otherwise="by default")
    async with Runtime(url) as runtime:
        run = (await runtime.run(definition, 1)).run
    await asyncio.sleep(1.3)
    async with Runtime(url, [definition]) as runtime:
        await runtime.pick_up(run)
        assert (await runtime.wait(run)).output == "by default"


@pytest.mark.parametrize(
    "terms",
    [
        {"deadline": datetime.now(UTC) - timedelta(seconds=1)},
        {"deadline": datetime(2100, 1, 1)},  # noqa: DTZ001 -- that it has no time zone is the point
        {"deadline": -1},
        {"deadline": 0},
        {"deadline": "soon"},
        {"deadline": float("nan")},
        {"deadline": 5, "remind": 6},
        {"otherwise": "x"},
        {"deadline": 5, "otherwise": "approve"},
        {"deadline": 5, "otherwise": 5},
        {"deadline": 5, "otherwise": "x", "schema": {"type": "integer"}},
        {"deadline": 5, "otherwise": {"Amount": 500}, "schema": Refund},
        {"deadline": 5, "otherwise": "x" * 100_000},
        {"deadline": 5, "otherwise": Escalate("")},
        {"deadline": 5, "otherwise": Escalate("user:")},
    ],
)
async def test_terms_that_cannot_be_are_refused(runtime: Runtime, terms: dict[str, Any]) -> None:
    @task
    async def asks(n: int, ctx: Context) -> str:
        with pytest.raises(InputError):
            await ctx.ask("Well?", **terms)
        return "refused"

    assert (await runtime.run(Pipeline("refused", [asks]), 1)).output == "refused"


async def test_no_clock_says_yes(runtime: Runtime) -> None:
    @task
    async def asks(n: int, ctx: Context) -> str:
        for kind, yes in ((bool, True), (str, " Allow"), (Verdict, Verdict.GO), (Verdict, "go")):
            with pytest.raises(InputError, match="never taken as a yes"):
                await ctx.ask("Ship?", kind, deadline="1h", otherwise=yes)
        return "refused"

    assert (await runtime.run(Pipeline("refused", [asks]), 1)).output == "refused"


async def test_a_resume_asks_again_what_expired(runtime: Runtime) -> None:
    seconds = [0.05]

    @task
    async def asks(n: int, ctx: Context) -> str:
        return await ctx.ask("Well?", str, deadline=seconds[0])

    run = "a"
    with pytest.raises(RunFailed, match="nobody answered in time"):
        await runtime.run(Pipeline("again", [asks]), 1, id=run)
    seconds[0] = 60
    await runtime.resume(run)
    await runtime.wait(run)
    await runtime.answer((await the_question(runtime, run)).id, "now")
    assert (await runtime.wait(run)).output == "now"


async def test_a_refused_answer_moves_neither_deadline_nor_addressee(runtime: Runtime) -> None:
    definition = asking(schema=Positive, to="user:ann", deadline="2 h", remind="1 h", otherwise=Positive(7))
    run = (await runtime.run(definition, 1)).run
    first = await the_question(runtime, run)
    await runtime.escalate(first.id, "user:bob")
    await runtime.answer(first.id, {"n": -1}, by="bob")
    for _ in range(200):
        asked = await runtime.questions(run)
        if asked and asked[0].id != first.id:
            break
        await asyncio.sleep(0.01)
    (second,) = await runtime.questions(run)
    was, now = first.terms, second.terms
    assert (now.to, now.due_at, now.remind, now.otherwise) == ("user:bob", was.due_at, was.remind, "value")
    await runtime.answer(second.id, {"n": 7}, by="bob")
    assert (await runtime.wait(run)).output == Positive(7)


def test_what_is_asked_again_is_not_asked_of_a_definition_nor_reminded_of_twice() -> None:
    terms = Terms("definition:doc", 9.0, "value", Raw(b"7"), remind=(3.0, 5.0), was="user:ann")
    assert again(terms, 3.0) == Terms("user:ann", 9.0, "value", Raw(b"7"), remind=(5.0,))


# Never another question's answer


@pytest.mark.parametrize(
    "changed",
    [
        {"prompt": "Pay 9,000?"},
        {"schema": bool},
        {"to": "role:cfo"},
        {"key": "another"},
        {"first": "something before?"},
    ],
)
async def test_an_answer_reaches_no_question_that_it_was_not_given_to(url: str, changed: dict[str, Any]) -> None:
    """The code is another when the answer comes: prompt, schema, addressee, key or order."""

    def definition(
        prompt: str = "Pay 9?", schema: Any = str, to: str = "", key: str = "k", first: str = ""
    ) -> Pipeline:
        @task(id="pays")
        async def pays(n: int, ctx: Context) -> Any:
            before = [await ctx.ask(first)] if first else []
            return [*before, await ctx.ask(prompt, schema, to=to, key=key)]

        return Pipeline("pays", [pays])

    async with Runtime(url) as runtime:
        run = (await runtime.run(definition(), 1)).run
        first = await the_question(runtime, run)
    async with Runtime(url, [definition(**changed)]) as runtime:
        await runtime.answer(first.id, "yes")
        result = await runtime.wait(run)
        assert result.status == "waiting"
        (asked,) = await runtime.questions(run)
        assert asked.id != first.id
        if "first" in changed:  # the one that was answered is still asked, after another
            await runtime.answer(asked.id, "before")
            assert (await runtime.wait(run)).output == ["before", "yes"]


async def test_answers_in_any_order_reach_loop_passes_and_parallel_nodes(runtime: Runtime) -> None:
    class State(TypedDict):
        said: Annotated[list[str], append]

    graph = Graph("loops", State)

    def passes(name: str) -> Any:
        async def node(said: list[str], ctx: Context) -> dict[str, Any]:
            one, two = await asyncio.gather(ctx.ask("same?"), ctx.ask("same?"))
            return {"said": [f"{ctx.address}={one}{two}"]}

        node.__name__ = name
        return node

    a, b = graph.node(passes("a"), writes=["said"]), graph.node(passes("b"), writes=["said"])
    graph.start(a, b)

    def again(said: Sequence[str]) -> list[str]:
        return ["a", "b"] if len(said) < 6 else ["__end__"]

    graph.branch(a, again, [a, b, "__end__"])
    result = await runtime.run(graph, {})
    run, expected = result.run, []
    for turn in range(1, 4):
        asked = await runtime.questions(run)
        assert len(asked) == 4
        for question in reversed(asked):
            await runtime.answer(question.id, question.id)
        expected += [
            f"{address}={''.join(q.id for q in asked if q.address == address)}"
            for address in (f"a#{turn}", f"b#{turn}")
        ]
        result = await runtime.wait(run)
    assert result.output["said"] == expected


# Edits


class Article(TypedDict):
    title: str
    notes: Annotated[list[str], append]
    words: int


def article() -> Graph:
    graph = Graph("article", Article)

    @graph.node(writes=["title", "notes"])
    async def write(words: int) -> dict[str, Any]:
        return {"title": "Teh news", "notes": ["written"]}

    @graph.node(writes=["notes"])
    async def review(title: str, ctx: Context) -> dict[str, Any]:
        verdict = await ctx.ask(f"Print {title!r}?", bool, to="role:editor")
        return {"notes": [f"{title}: {verdict}"]}

    @graph.node(writes=["words"])
    async def count(words: int) -> dict[str, Any]:
        return {"words": words + 1}

    graph.start(write)
    graph.edge(write, review)
    graph.edge(write, count)
    return graph


async def test_a_reviewer_corrects_fields_and_the_run_goes_on_with_them(runtime: Runtime) -> None:
    run = (await runtime.run(article(), {"words": 10})).run
    first = await the_question(runtime, run)
    await runtime.edit(run, {"title": "The news", "notes": ["typo"]}, by="ann", why="a typo")
    assert (await runtime.wait(run)).status == "waiting"
    asked = await the_question(runtime, run)
    assert (first.prompt, asked.prompt) == ("Print 'Teh news'?", "Print 'The news'?")
    with pytest.raises(AlreadyAnswered):
        await runtime.answer(first.id, True, roles=["editor"])  # what it asked about is gone
    await runtime.answer(asked.id, True, roles=["editor"])
    output = (await runtime.wait(run)).output
    assert output == {"title": "The news", "notes": ["written", "typo", "The news: True"], "words": 11}
    (edited,) = [event async for event in runtime.events(run) if event.type == "run.edited"]
    assert edited.data == {"channels": ["notes", "title"], "by": "ann", "why": "a typo", "overwrite": False}
    assert (await runtime.replay(run)).differing == ()


async def test_an_edit_may_overwrite(runtime: Runtime) -> None:
    run = (await runtime.run(article(), {"words": 10})).run
    await runtime.edit(run, {"notes": ["only this"]}, overwrite=True)
    assert (await runtime.state(run))["notes"] == ["only this"]


async def test_what_has_finished_beside_a_question_is_not_lost_by_an_edit(url: str) -> None:
    """`count` has finished in the step that waits for `review`: the edit is no end of that step."""
    async with Runtime(url) as runtime:
        run = (await runtime.run(article(), {"words": 10})).run
        await runtime.edit(run, {"title": "The news"})
        await runtime.wait(run)
    async with Runtime(url, [article()]) as runtime:
        asked = await the_question(runtime, run)
        await runtime.answer(asked.id, False, roles=["editor"])
        assert (await runtime.wait(run)).output["words"] == 11
        assert (await runtime.replay(run)).differing == ()


async def test_a_resume_with_edits_keeps_what_has_finished_in_the_step(runtime: Runtime) -> None:
    class State(TypedDict):
        one: int
        two: int
        start: int

    graph, fails = Graph("edited", State), [True]

    @graph.node(writes=["one"])
    async def first(start: int) -> dict[str, int]:
        return {"one": start + 1}

    @graph.node(writes=["two"])
    async def second(start: int) -> dict[str, int]:
        await asyncio.sleep(0.02)
        if fails.pop():
            raise ValueError("no")
        return {"two": start}

    graph.start(first, second)
    with pytest.raises(RunFailed):
        await runtime.run(graph, {"start": 1}, id="r")
    fails.append(False)
    await runtime.resume("r", edits={"start": 5})
    assert (await runtime.wait("r")).output == {"one": 2, "two": 5, "start": 5}
    assert (await runtime.replay("r")).differing == ()


@pytest.mark.parametrize("edits", [{"nothing": 1}, {"title": 5}, {"notes": "text"}, {}])
async def test_a_bad_edit_changes_nothing(runtime: Runtime, edits: dict[str, Any]) -> None:
    run = (await runtime.run(article(), {"words": 10})).run
    before = await runtime.get(run)
    with pytest.raises(InputError):
        await runtime.edit(run, {"words": 3, **edits} if edits else {})
    assert (await runtime.get(run)).head == before.head


async def test_an_edit_that_a_reducer_refuses_changes_nothing(runtime: Runtime) -> None:
    def only_up(current: int, incoming: int) -> int:
        if incoming < current:
            raise ValueError("down")
        return incoming

    class State(TypedDict):
        level: Annotated[int, only_up]

    graph = Graph("levels", State)

    @graph.node(writes=["level"])
    async def ask(level: int, ctx: Context) -> dict[str, Any]:
        return {"level": await ctx.ask("level?", int)}

    graph.start(ask)
    run = (await runtime.run(graph, {"level": 5})).run
    before = await runtime.get(run)
    with pytest.raises(ReducerFailed):
        await runtime.edit(run, {"level": 4})
    assert (await runtime.get(run)).head == before.head
    await runtime.edit(run, {"level": 6})
    await runtime.edit(run, {"level": 4}, overwrite=True)
    assert (await runtime.state(run))["level"] == 4


async def test_what_has_ended_is_not_edited(runtime: Runtime) -> None:
    run = (await runtime.run(asking(), 1)).run
    await runtime.cancel(run)
    with pytest.raises(RunState):
        await runtime.edit(run, {"asks": "x"})


async def test_a_paused_run_is_edited_and_asks_anew_when_it_goes_on(runtime: Runtime) -> None:
    run = (await runtime.run(article(), {"words": 10})).run
    await runtime.pause(run)
    await runtime.edit(run, {"title": "The news"})
    assert (await runtime.get(run)).head.status == "paused"
    await runtime.resume(run)
    await runtime.wait(run)
    assert (await the_question(runtime, run)).prompt == "Print 'The news'?"


# Escalation


@task
async def decides(input: dict[str, Any], ctx: Context) -> str:
    return f"{input['question']['prompt']} {input['state']['input']}"


deciding = Pipeline("deciding", [decides])


async def test_a_question_is_put_to_a_definition_once(url: str) -> None:
    async with Runtime(url) as runtime:
        run = (await runtime.run(asking(schema=Answered[str], to="user:ann"), 7)).run
        asked = await the_question(runtime, run)
        child = await runtime.escalate(asked.id, deciding, by="ann", why="too hard")
        again = await asyncio.gather(*(runtime.escalate(asked.id, deciding) for _ in range(3)), return_exceptions=True)
        assert all(one == child or isinstance(one, AlreadyAnswered) for one in again)
        await runtime.wait(child)
        answered = (await settled(runtime, run)).output
        assert (answered.value, answered.by) == ("Well? 7", "definition:deciding")
        assert answered.context["run"] == child
        assert answered.context["state"]["decides"] == "Well? 7"
        (told,) = [event async for event in runtime.events(run) if event.type == "question.escalated"]
        assert (told.data["to"], told.data["by"], told.data["why"]) == ("definition:deciding", "ann", "too hard")
        assert len(await runtime.runs(definitions=("deciding",))) == 1


async def test_a_worker_finds_an_escalation_that_a_death_left_undone(url: str) -> None:
    asks = asking()
    async with Runtime(url) as runtime:
        run = (await runtime.run(asks, 7)).run
        asked = await the_question(runtime, run)
        await runtime.escalate(asked.id, "definition:deciding")  # whose definition is not known here
        assert await runtime.runs(definitions=("deciding",)) == []
    async with Runtime(url, [asks, deciding]) as runtime:
        (child,) = await runtime.hand_on()
        await runtime.wait(child)
        assert (await settled(runtime, run)).output == "Well? 7"


async def test_a_question_is_put_to_nobody_by_a_slip(runtime: Runtime) -> None:
    run = (await runtime.run(asking(to="role:checker"), 7)).run
    asked = await the_question(runtime, run)
    with pytest.raises(InputError, match=r"no definition 'chief' is known here.*role:chief"):
        await runtime.escalate(asked.id, "chief")
    assert (await the_question(runtime, run)).terms.to == "role:checker"
    await runtime.run(deciding, {"question": {"prompt": "known"}, "state": {"input": 1}})
    child = await runtime.escalate(asked.id, "deciding")
    await runtime.wait(child)
    assert (await settled(runtime, run)).output == "Well? 7"


async def test_a_result_that_a_death_kept_back_is_handed_back(url: str) -> None:
    asks = asking()
    async with Runtime(url) as runtime:
        run = (await runtime.run(asks, 7)).run
        asked = await the_question(runtime, run)
        child = await runtime.escalate(asked.id, "definition:deciding")
    async with Runtime(url, [deciding]) as runtime:
        runtime.services.escalation_ended = None  # as if it died just before
        await runtime._control.services.escalate(asked.id)  # type: ignore[misc]
        await runtime.wait(child)
    async with Runtime(url, [asks, deciding]) as runtime:
        assert (await the_question(runtime, run)).status == "open"
        await runtime.hand_on()
        assert (await settled(runtime, run)).output == "Well? 7"


@pytest.mark.parametrize("what", ["fails", "answers badly"])
async def test_a_definition_that_gives_no_answer_gives_the_question_back(runtime: Runtime, what: str) -> None:
    @task(id="tries")
    async def tries(input: dict[str, Any]) -> Any:
        if what == "fails":
            raise ValueError("no idea")
        return "no number"

    run = (await runtime.run(asking(schema=int, to="user:ann"), 7)).run
    asked = await the_question(runtime, run)
    child = await runtime.escalate(asked.id, Pipeline("trying", [tries]))
    with pytest.raises(WindlassError) if what == "fails" else _nothing():
        await runtime.wait(child)
    for _ in range(200):
        asked = await the_question(runtime, run)
        if asked.terms.to == "user:ann" and (await kinds(runtime, run)).count("question.escalated") == 2:
            break
        await asyncio.sleep(0.01)
    await runtime.answer(asked.id, 5, by="ann")
    assert (await runtime.wait(run)).output == 5


async def test_a_definition_gives_nothing_back_that_was_put_to_somebody_else(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = (await runtime.run(asking(schema=int, to="user:ann"), 7)).run
    asked, post = await the_question(runtime, run), runtime.store.post
    passed: list[str] = []

    async def slow(command: Command) -> bool:
        if command.by == "definition:deciding" and not passed:  # its text is no number: it gives the question back
            passed.append(await runtime.escalate(asked.id, "role:cfo"))
        return await post(command)

    monkeypatch.setattr(runtime.store, "post", slow)
    await runtime.wait(await runtime.escalate(asked.id, deciding))
    for _ in range(200):
        if passed:
            break
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    assert passed
    assert (await the_question(runtime, run)).terms.to == "role:cfo"
    await runtime.answer(asked.id, 3, roles=["cfo"])
    assert (await runtime.wait(run)).output == 3


class _nothing:  # noqa: N801 -- a context
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


async def test_recover_escalates_to_a_role_or_a_definition(runtime: Runtime) -> None:
    def failing(name: str, to: str) -> Pipeline:
        def recover(_: Exception) -> Any:
            return Recover.escalate(to=to)

        @task(id="fails", recover=recover)
        async def fails(n: int) -> str:
            raise ValueError("broken")

        return Pipeline(name, [fails])

    run = (await runtime.run(failing("to-role", "role:cfo"), 1)).run
    asked = await the_question(runtime, run)
    assert (asked.terms.to, asked.about["failure"]["kind"]) == ("role:cfo", "ValueError")
    await runtime.answer(asked.id, "mended", roles=["cfo"])
    assert (await runtime.wait(run)).output == "mended"

    runtime._drives.learn(deciding)
    run = (await runtime.run(failing("to-definition", "deciding"), 1)).run
    assert (await settled(runtime, run)).output.startswith("fails#1 failed: broken")


async def test_nobody_in_time_is_a_definition(runtime: Runtime) -> None:
    runtime._drives.learn(deciding)
    run = (await runtime.run(asking(to="user:ann", deadline=0.05, otherwise=Escalate("deciding")), 3)).run
    assert (await settled(runtime, run)).output == "Well? 3"
    assert (await kinds(runtime, run)).count("question.escalated") == 1


async def test_a_large_state_is_not_handed_over_with_a_question() -> None:
    @task
    async def long(n: int, ctx: Context) -> str:
        return "x" * n

    pipeline = Pipeline("long", [long])
    async with Runtime("memory:") as runtime:
        for size, handed in ((1_000, 1_000), (escalations.MOST_STATE, None)):
            run = (await runtime.run(pipeline, size)).run
            state = await escalations.state_of(runtime._control, run)
            if handed is None:
                assert state.keys() == {"too large to show"}
            else:
                assert state["long"] == "x" * handed
