"""What recover proposes, what survives a restart, what a dead owner leaves, and limits that fire."""

import asyncio
from typing import Any

import msgspec
import pytest

from windlass import Context, Pipeline, Recover, RecoveryAction, Retry, RunFailed, Runtime, SyncContext, TaskError, task
from windlass.core.records import Owner
from windlass.core.states import Status
from windlass.engine import loop


async def kinds(runtime: Runtime, run: str) -> list[str]:
    return [event.type async for event in runtime.events(run)]


async def test_recover_may_roll_the_run_back(runtime: Runtime) -> None:
    made: list[str] = []

    def again(error: TaskError) -> RecoveryAction:
        return Recover.rollback("draw") if len(made) < 3 else Recover.abort()

    @task
    async def draw(n: int) -> int:
        made.append("draw")
        return len(made)

    @task(recover=again)
    async def check(draw: int) -> int:
        if draw < 3:
            raise ValueError(draw)
        return draw

    assert (await runtime.run(Pipeline("again", tasks=[draw, check]), 0)).output == 3
    assert made == ["draw"] * 3


async def test_recover_may_escalate_to_a_person(runtime: Runtime) -> None:
    @task(recover=lambda _: Recover.escalate())
    async def guess(n: int) -> int:
        raise ValueError("no idea")

    @task
    async def double(guess: int) -> int:
        return guess * 2

    result = await runtime.run(Pipeline("guess", tasks=[guess, double]), 0, id="g")
    assert result.status == "waiting"
    (question,) = await runtime.questions("g")
    assert "no idea" in question.prompt
    await runtime.answer(question.id, 21)
    assert (await runtime.wait("g")).output == 42


async def test_attempts_are_counted_over_a_restart(url: str) -> None:
    tries = 0

    @task(retry=Retry(on=ConnectionError, max_attempts=3, initial=1.2, factor=1, jitter=0))
    async def flaky(n: int) -> int:
        nonlocal tries
        tries += 1
        raise ConnectionError("down")

    pipeline = Pipeline("flaky", tasks=[flaky])
    async with Runtime(url) as runtime:
        run = await runtime.start(pipeline, 0)
        assert (await runtime.wait(run, timers=True)).status == "waiting"
    async with Runtime(url, [pipeline]) as runtime:
        await runtime.pick_up(run)
        with pytest.raises(RunFailed, match="down"):
            await runtime.wait(run)
        events = [event.data["attempt"] async for event in runtime.events(run) if event.type == "attempt.failed"]
    assert tries == 3
    assert events == [1, 2, 3]


async def test_a_cancel_waits_for_the_effect_in_flight(runtime: Runtime) -> None:
    begun = asyncio.Event()
    done: list[str] = []

    @task
    async def push(n: int, ctx: Context) -> str:
        async def send() -> str:
            begun.set()
            await asyncio.sleep(0.05)
            done.append("sent")
            return "sent"

        said: str = await ctx.effect("send", send)
        return said

    run = await runtime.start(Pipeline("push", tasks=[push]), 0)
    await begun.wait()
    await runtime.cancel(run)
    assert (await runtime.get(run)).head.status == Status.CANCELLED
    assert done == ["sent"]
    assert "effect.completed" in await kinds(runtime, run)


async def test_a_run_that_kills_its_owners_is_stopped(runtime: Runtime) -> None:
    @task
    async def ask(n: int, ctx: Context) -> str:
        return await ctx.ask("well?", str)

    pipeline = Pipeline("poison", tasks=[ask])
    await runtime.run(pipeline, 0, id="p")
    store = runtime.store
    dead = Owner("dead", "nowhere", "boot", 1, "then")
    for crashes in (1, 2, 3):
        await store.claim("p", dead)
        await store.retire(dead)
        record = await runtime.get("p")
        taken = msgspec.structs.replace(record, epoch=record.epoch, owner=dead)
        drive = await _drive_after(runtime, taken)
        assert drive.journal.head.crashes == crashes
    assert (await runtime.get("p")).head.status == Status.FAILED


async def test_a_completed_run_that_is_rolled_back_is_no_poison(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    @task
    async def plus(n: int) -> int:
        return n + 1

    await runtime.run(Pipeline("whole", tasks=[plus]), 0, id="w")
    dead = Owner("dead", "nowhere", "boot", 1, "then")
    monkeypatch.setattr("windlass.engine.entry.MOST_CRASHES", 1)
    await runtime.store.claim("w", dead)
    await runtime.store.retire(dead)
    await _drive_after(runtime, msgspec.structs.replace(await runtime.get("w"), owner=dead))
    assert (await runtime.get("w")).head.status == Status.COMPLETED


async def _drive_after(runtime: Runtime, record: Any) -> loop.RunLoop:
    """Drive a run as if its owner had been found dead."""
    from windlass.core.position import load
    from windlass.engine.ledger import ledger_of

    drives = runtime._drives
    claimed = await runtime.store.claim(record.id, runtime.services.owner)
    position = load(await runtime.store.load(record.id))
    taken = msgspec.structs.replace(claimed, owner=record.owner)
    drive = loop.RunLoop(
        runtime.services,
        drives.blueprints[record.definition],
        taken,
        position,
        await ledger_of(runtime.store, claimed),
        {},
    )
    await drive.drive()
    return drive


@pytest.mark.parametrize("timeout", [5, None])  # with or without a time limit: a timer beside it looks
async def test_silence_is_told(runtime: Runtime, monkeypatch: pytest.MonkeyPatch, timeout: float | None) -> None:
    monkeypatch.setattr(loop, "STALL_SECONDS", 0.03)

    @task(timeout=timeout)
    async def quiet(n: int) -> int:
        await asyncio.sleep(0.1)
        return n

    seen = [event.type async for event in runtime.execute(Pipeline("quiet", tasks=[quiet]), 0)]
    assert "activation.stalled" in seen


async def test_a_sync_task_that_overruns_is_abandoned_and_changes_nothing(runtime: Runtime) -> None:
    import time

    @task(timeout=0.05)
    def busy(n: int, ctx: SyncContext) -> int:
        time.sleep(0.3)
        return n

    with pytest.raises(RunFailed, match="longer than"):
        await runtime.run(Pipeline("busy", tasks=[busy]), 1, id="b")
    await asyncio.sleep(0.4)
    assert (await runtime.get("b")).head.status == Status.FAILED


async def test_a_coroutine_that_swallows_its_timeout_is_abandoned(runtime: Runtime) -> None:
    @task(timeout=0.05)
    async def stubborn(n: int, ctx: Context) -> int:
        for _ in range(40):
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                continue
        await ctx.call("late", _late)
        return n

    with pytest.raises(RunFailed, match="longer than"):
        await runtime.run(Pipeline("stubborn", tasks=[stubborn]), 1, id="s")
    assert "attempt.abandoned" in await kinds(runtime, "s")


async def _late() -> int:
    raise AssertionError("an abandoned attempt may call nothing")


async def test_large_values_come_back_and_stand_once(runtime: Runtime) -> None:
    @task
    async def make(n: int) -> list[str]:
        return ["x" * 1000] * n

    @task
    async def keep(make: list[str], ctx: Context) -> bytes:
        return b"y" * 3_000_000

    @task
    async def count(keep: bytes, make: list[str]) -> int:
        return len(keep) + len(make)

    result = await runtime.run(Pipeline("large", tasks=[make, keep, count]), 500)
    assert result.output == 3_000_500
    assert (await runtime.state(result.run))["keep"] == b"y" * 3_000_000
    fork = await runtime.fork(result.run, at=("count", 1))
    assert (await runtime.wait(fork)).output == 3_000_500


async def test_a_timeout_is_worth_another_try_where_the_policy_says_so(runtime: Runtime) -> None:
    tries = 0

    @task(timeout=0.1, retry=Retry(on=TimeoutError, max_attempts=2, initial=0))
    async def slow(n: int) -> int:
        nonlocal tries
        tries += 1
        await asyncio.sleep(5 if tries == 1 else 0)
        return tries

    assert (await runtime.run(Pipeline("slow", tasks=[slow]), 0)).output == 2


async def test_an_answer_from_elsewhere_wakes_the_runtime_that_parked_the_run(url: str) -> None:
    @task
    async def ask(n: int, ctx: Context) -> str:
        return await ctx.ask("well?", str)

    async with Runtime(url) as owner, Runtime(url) as other:
        await owner.run(Pipeline("ask", tasks=[ask]), 0, id="a")
        (question,) = await other.questions("a")
        await other.answer(question.id, "yes")
        async with asyncio.timeout(10):
            async for event in owner.events("a", follow=True):
                if event.type == "run.completed":
                    break
            while (await owner.get("a")).head.status != Status.COMPLETED:  # noqa: ASYNC110 -- a test waits by looking
                await asyncio.sleep(0.01)
        assert (await owner.wait("a")).output == "yes"
