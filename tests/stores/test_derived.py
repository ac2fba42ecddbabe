"""What the log says of the tables beside it is what stands in them: judged at the end of simulations."""

import msgspec
import pytest

from windlass.core.ops import QuestionAnswered, QuestionAsked, Terms
from windlass.core.queries import Commands, Effects, Questions, Rows, Runs
from windlass.core.records import ENCODER, Body, Effect, Said
from windlass.core.states import COMPLETED, PAUSED, RUNNING, Status
from windlass.stores.base import Store
from windlass.stores.derived import Difference, Tables, differences
from windlass.testing.sim import scene_named, search
from windlass.testing.sim_play import Simulation
from windlass.testing.sim_scenes import SCENES
from windlass.testing.specimens import a_command, a_question, a_row

SCHEDULES = 20


async def read(store: Store, run: str) -> tuple[Tables, list[Difference]]:
    """Fold a run's log and compare it with its tables."""
    record = (await store.find(Runs(ids=(run,))))[0]
    tables = Tables(run, record.parent.tree if record.parent else run)
    for row in await store.find(Rows(run=run, limit=100_000)):
        tables.take(row)
    questions = await store.find(Questions(run=run, statuses=None, limit=100_000))
    effects, waiting = await store.find(Effects(run=run)), await store.find(Commands(run=run))
    return tables, list(differences(tables, questions, effects, waiting, born=record.created_at))


@pytest.mark.parametrize("name", SCENES)
def test_tables_are_what_the_log_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real, judged = Simulation._look_at, []

    async def look_at(self: Simulation, run: str, status: Status) -> None:
        tables, differing = await read(self.plain, run)
        head = (await self.plain.find(Runs(ids=(run,))))[0].head
        judged.append(run)
        for one in differing:
            self.watch.blame(f"{run}: {one.table}: {one.row} {one.said}")
        told = tables.head
        if head.status not in tables.statuses or (head.branch, head.n, head.seq, head.crashes) != (
            told.branch, told.n, told.seq, told.crashes
        ):  # fmt: skip
            self.watch.blame(f"{run}: it stands at {head}, by its log at {told}, {tables.statuses}")
        await real(self, run, status)

    monkeypatch.setattr(Simulation, "_look_at", look_at)
    report = search(scene_named(name), range(SCHEDULES))
    assert [violation.what for violation in report.violations] == []
    assert judged


def a_log(*bodies: Body) -> Tables:
    """Fold rows, each of one event, behind a first one."""
    tables = Tables("run-1", "run-1")
    first = Body(1.0, said=(Said("run.created"),))
    for seq, body in enumerate((first, *bodies), start=1):
        tables.take(a_row("run-1", seq, kind="record", body=ENCODER.encode(body)))
    return tables


def asked(id_: str = "q-1") -> QuestionAsked:
    question = a_question("run-1", id_)
    return QuestionAsked(question.address, question.key, id_, question.prompt, question.schema)


def told(tables: Tables, *rows: object, commands: tuple[object, ...] = ()) -> list[tuple[str, str]]:
    """Compare with rows, and return what differs."""
    questions = [row for row in rows if not isinstance(row, Effect)]
    effects = [row for row in rows if isinstance(row, Effect)]
    found = differences(tables, questions, effects, commands)  # type: ignore[arg-type]
    return [(one.row, one.said) for one in found]


def test_a_question_is_open_until_the_log_answers_it() -> None:
    tables = a_log(Body(2.0, ops=(asked(),)))
    for status in ("open", "taken"):
        assert told(tables, a_question("run-1", "q-1", status=status)) == []
    assert told(tables) == [("q-1", "is missing")]
    assert told(tables, a_question("run-1", "q-1", status="withdrawn")) == [
        ("q-1", "is withdrawn, and open by the log")
    ]
    assert told(tables, a_question("run-1", "q-1", prompt="Else?")) == [("q-1", "has another prompt than the log says")]
    assert told(tables, a_question("run-1", "q-1"), a_question("run-1", "q-2")) == [("q-2", "is not in the log")]


def test_an_answer_that_waits_is_told_by_its_command() -> None:
    tables = a_log(Body(2.0, ops=(asked(),)))
    command = a_command("run-1", "c", "answer", question="q-1", value=3)
    open_, answered = a_question("run-1", "q-1"), a_question("run-1", "q-1", status="answered")
    assert told(tables, open_, commands=(command,)) == [("q-1", "is open, and answered by the log")]
    assert told(tables, answered, commands=(command,)) == []


def test_an_answer_that_was_taken_has_its_value() -> None:
    question = a_question("run-1", "q-1")
    answer = QuestionAnswered(question.address, question.key, "q-1", question.schema)
    tables = a_log(Body(2.0, ops=(asked(),)), Body(3.0, ops=(answer,)))
    right = a_question("run-1", "q-1", status="taken", answer=question.schema)
    assert told(tables, right) == []
    assert told(tables, a_question("run-1", "q-1", status="taken")) == [("q-1", "has another answer than the log says")]


def test_a_question_that_nobody_answered_in_time_is_expired() -> None:
    question = a_question("run-1", "q-1")
    answer = QuestionAnswered(question.address, question.key, "q-1", question.schema, "deadline", "reject")
    tables = a_log(Body(2.0, ops=(asked(),)), Body(3.0, ops=(answer,)))
    assert told(tables, a_question("run-1", "q-1", status="expired")) == []
    assert told(tables, question) == [("q-1", "is open, and expired by the log")]


def test_a_question_that_was_passed_on_is_put_to_somebody_else() -> None:
    passed_on = Said("question.escalated", "read#1", {"id": "q-1", "to": "role:cfo", "expired": True})
    tables = a_log(Body(2.0, ops=(asked(),)), Body(3.0, said=(passed_on,)))
    theirs = a_question("run-1", "q-1", terms=Terms(to="role:cfo"))
    assert told(tables, theirs) == []
    assert told(tables, a_question("run-1", "q-1")) == [("q-1", "has another addressee or deadline than the log says")]
    command = a_command("run-1", "c", "escalate", question="q-1", to="role:ceo")
    assert told(tables, a_question("run-1", "q-1", terms=Terms(to="role:ceo")), commands=(command,)) == []


def test_what_was_pruned_is_not_guessed() -> None:
    stub = a_row("run-1", 4, kind="pruned")
    tables = a_log(Body(2.0, ops=(asked(),)))
    tables.take(stub)
    assert told(tables, a_question("run-1", "q-1", status="withdrawn"), a_question("run-1", "older")) == []
    assert set(tables.statuses) == set(Status)


def test_a_log_that_the_runtime_did_not_write_tells_nothing() -> None:
    tables = Tables("run-1", "run-1")
    tables.take(a_row("run-1", 1))
    tables.take(a_row("run-1", 2, body=b'{"said":"something"}'))
    assert not tables.is_told
    assert tables.head.seq == 2


def test_a_row_that_is_none_of_the_runtimes_is_refused_behind_one_that_is() -> None:
    with pytest.raises(msgspec.DecodeError):
        a_log().take(a_row("run-1", 2, body=b'{"said":"something"}'))


@pytest.mark.parametrize(
    ("said", "statuses"),
    [
        ("run.completed", (COMPLETED,)), ("run.paused", (PAUSED,)), ("run.rolled_back", (PAUSED, RUNNING)),
        ("lease.taken_over", (RUNNING,)),
    ],
)  # fmt: skip
def test_a_status_follows_from_what_was_said_last(said: str, statuses: tuple[Status, ...]) -> None:
    assert a_log(Body(2.0, said=(Said(said),))).statuses == statuses
