"""A user's definition is killed, judged and reported; one that cannot be is refused, and the message says why."""

import json
import os
import random
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import windlass
from windlass.testing.crash import Report, plan, prove
from windlass.testing.crash_judge import End, Evidence, Verdict
from windlass.testing.crash_trial import Model
from windlass.testing.errors import LabelUnknown, NotDeterministic, ProofFailed, ProofRefused

SOURCE = Path(windlass.__file__).parents[1]
FLOWS = """
import asyncio, os, time
from windlass import Context, Pipeline, task
from windlass.testing.crash import Target, prove

bank = Target("bank", "neither")

async def pay(n, key):
    await asyncio.sleep(0.002)
    return bank.do(n * 10, key)

@task
async def order(n: int, ctx: Context) -> int:
    return await ctx.effect("pay", pay, n, ctx.key("pay"), on_doubt=bank.on_doubt)

@task
async def ask(order: int, ctx: Context) -> str:
    return f"{await ctx.ask('well?', str)} {order}"

flow = Pipeline("flow", [order, ask])

@task
async def when(n: int) -> float:
    return time.monotonic()

@task
async def later(when: float) -> int:
    return 1

timed = Pipeline("timed", [when, later])

@task
async def breaks(n: int) -> int:
    raise ValueError("no")

broken = Pipeline("broken", [breaks])

async def pay_anyhow(n):
    bank.do(n, os.urandom(4).hex())
    await asyncio.sleep(0.002)
    return n

async def never(n):
    return None

@task
async def forgetful(n: int, ctx: Context) -> int:
    return await ctx.effect("pay", pay_anyhow, n, on_doubt=never)

wrong = Pipeline("wrong", [forgetful])

@task
async def nests(n: int, ctx: Context) -> str:
    first, second = await ctx.run_all([(flow, n), (flow, n + 1)])
    return f"{first} {second} {await ctx.run(wrong if n < 0 else flow, n + 2)}"

nested = Pipeline("nested", [nests], children=[flow, wrong])
"""


@pytest.fixture
def flows(tmp_path: Path) -> Path:
    path = tmp_path / "flows.py"
    path.write_text(FLOWS)
    return path


def program(flows: Path, code: str) -> Any:
    """Run a program beside the flows; return what it prints, as JSON."""
    path = flows.with_name("program.py")
    path.write_text("import json\nfrom flows import *\n" + textwrap.dedent(code))
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONWARNINGS": "error"}
    ended = subprocess.run(
        [sys.executable, path.name], cwd=flows.parent, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def test_a_pipeline_is_killed_twenty_times_and_loses_nothing(flows: Path) -> None:
    code = """
        made = []
        report = prove(flow, input=3, trials=20, answers={"well?": "yes"}, progress=lambda *seen: made.append(seen))
        report.raise_if_bad()
        print(json.dumps([report.trials, report.nested, report.trouble, sum(report.labels.values()), made[-1]]))
    """
    trials, nested, trouble, killed, made = program(flows, code)
    assert (trials, trouble, made) == (20, [], [20, 20])
    assert nested >= 4
    assert killed == 16  # the others at random times


def test_child_runs_are_killed_and_judged_each_by_itself(flows: Path) -> None:
    code = """
        report = prove(nested, input=3, trials=12, answers={"well?": "yes"}, labels=["child.start", "child.end"])
        print(json.dumps([report.trials, report.trouble, sorted(report.labels)]))
    """
    assert program(flows, code) == [12, [], ["child.end", "child.start"]]


def test_an_effect_of_a_child_that_cannot_be_trusted_is_found(flows: Path) -> None:
    code = """
        report = prove(nested, input=-9, trials=3, answers={"well?": "yes"}, labels=["world.done"])
        print(json.dumps([report.duplicated > 0, report.trouble[0]]))
    """
    found, trouble = program(flows, code)
    assert found
    assert "forgetful#1: pay done 2 times with one key" in trouble


def test_kills_at_one_label_fall_where_it_says(flows: Path) -> None:
    code = """
        report = prove(flow, input=3, trials=4, answers=lambda question: "yes", labels=["effect.call.after"])
        print(json.dumps([report.passes, report.labels, report.between, report.parked, report.doubts]))
    """
    assert program(flows, code) == [True, {"effect.call.after": 4}, 4, 4, 4]


def test_an_effect_that_cannot_be_trusted_is_found(flows: Path) -> None:
    code = """
        report = prove(wrong, input=3, trials=3, labels=["world.done"])
        print(json.dumps([report.passes, report.duplicated, report.line(), report.trouble]))
    """
    passes, duplicated, line, trouble = program(flows, code)
    assert (passes, duplicated) == (False, 3)
    assert line.startswith("trials 3, lost 0, duplicated 3, rerun 0, asked wrongly 0, stuck 0")
    assert trouble[0].startswith("world.done 1: duplicated: forgetful#1: pay done 2 times with one key")


async def test_a_name_is_proven_in_an_interpreter_of_its_own(flows: Path) -> None:
    made: list[tuple[int, int]] = []
    told = {"progress": lambda *seen: made.append(seen)}
    report = prove(f"{flows}:flow", input=3, trials=2, answers={"well?": "yes"}, **told)  # type: ignore[arg-type]
    report.raise_if_bad()
    assert (report.trials, made[-1]) == (2, (2, 2))


@pytest.mark.parametrize(
    ("name", "options", "error", "said"),
    [
        ("timed", {}, NotDeterministic, r"when#1 wrote .* in one run, and wrote .* in another"),
        ("broken", {}, ProofRefused, "ended failed"),
        ("flow", {}, ProofRefused, r"ask#1 asks 'well\?', and answers= has no such prompt"),
        (
            "flow", {"answers": {"well?": "yes"}, "labels": ["effect.cal.after"]}, LabelUnknown,
            "does not reach a label 'effect.cal.after'.*there are effect.call.after",
        ),
        ("flow", {"answers": {"well?": "yes"}, "labels": []}, LabelUnknown, "names none"),
        ("nothing", {}, windlass.WindlassError, "has no 'nothing'"),
        ("flow", {"prepare": print}, ProofRefused, "functions cannot be handed"),
        ("flow", {"answers": str}, ProofRefused, "functions cannot be handed"),
    ],
)  # fmt: skip
def test_what_cannot_be_proven_is_refused(
    flows: Path, name: str, options: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        prove(f"{flows}:{name}", input=3, trials=2, **options)


async def test_a_definition_itself_is_not_forked_from_a_running_loop() -> None:
    @windlass.task
    async def one(n: int) -> int:
        return n

    with pytest.raises(ProofRefused, match="an event loop runs here"):
        prove(windlass.Pipeline("one", [one]), input=1)


def test_a_report_counts_trials_by_what_is_wrong_with_them() -> None:
    report = Report(seed=7)
    with pytest.raises(ProofFailed, match="every run ended before it was to be killed"):
        report.raise_if_bad()
    report.add("one", Verdict(is_between=True, parked=1))
    report.raise_if_bad()
    report.add("two", Verdict(lost=["a", "b"], stuck=["c"]))
    assert (report.trials, report.lost, report.stuck, report.share) == (2, 1, 1, 0.5)
    assert report.trouble == ["two: lost: a", "two: lost: b", "two: stuck: c"]
    with pytest.raises(ProofFailed, match=r"seed 7: .* two: lost: a"):
        report.raise_if_bad()


def test_the_same_seed_plans_the_same_kills() -> None:
    known = Model(Evidence([], End(), []), {"commit.after": 5, "world.done": 2, "node.before": 1}, 0.1)
    first, again = ([*plan(known, 40, random.Random(3))] for _ in range(2))
    assert first == again
    assert {kill.label for kills in first for kill in kills} == {"", *known.reached}
    assert [str(kills[0]) for kills in first[:7] if len(kills) == 1 and kills[0].label][:2] == [
        "commit.after 1", "node.before 1",
    ]  # fmt: skip
    assert max(len(kills) for kills in first) == 4
