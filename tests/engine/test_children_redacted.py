"""What goes between a run and its children is masked: secrets, and what either definition does not keep."""

from collections.abc import Iterator
from typing import TypedDict

import pytest

from windlass import Context, Pipeline, Redact, RunFailed, Runtime, Secret, task
from windlass.core.errors import SecretInName
from windlass.core.queries import Commands
from windlass.core.secret import MASKS

VALUE = "sk_live_51Habc$/+"
MARK = "[secret:stripe]"


class Found(TypedDict):
    name: str
    password: str


@pytest.fixture
def secret() -> Iterator[Secret]:
    made = Secret("stripe", value=VALUE)
    made.reveal()
    yield made
    MASKS.forget()


async def everything(runtime: Runtime) -> str:
    """All that the store says of all runs."""
    said = []
    for record in await runtime.runs():
        loaded = await runtime.store.load(record.id)
        said += [repr(loaded), *(row.body.decode() for row in loaded.rows)]
        said += [repr(one) for one in await runtime.store.find(Commands(run=record.id))]
        said += [repr(event) async for event in runtime.events(record.id)]
    return "".join(said)


@task
async def echo(text: str) -> Found:
    return {"name": f"{text} with {VALUE}", "password": "swordfish"}


@task
async def fail(text: str) -> Found:
    raise ValueError(f"no {VALUE} for {text}")


@task
async def lead(text: str, ctx: Context) -> Found:
    found: Found = await ctx.run("child", f"{text} {VALUE}", tags={"why": VALUE})
    return found


@task
async def named(text: str, ctx: Context) -> Found:
    found: Found = await ctx.run("child", text, name=VALUE)
    return found


async def test_a_secret_is_masked_on_its_way_to_a_child_and_back(secret: Secret) -> None:
    child = Pipeline("child", [echo])
    async with Runtime() as runtime:
        found = (await runtime.run(Pipeline("parent", [lead], children=[child]), "a")).output
        assert found == {"name": f"a {MARK} with {MARK}", "password": "swordfish"}
        assert VALUE not in await everything(runtime)
        (record,) = await runtime.runs(definitions=("child",))
        assert record.tags == {"why": MARK}


async def test_what_a_parent_does_not_keep_it_does_not_keep_of_its_children_either() -> None:
    child = Pipeline("child", [echo])
    parent = Pipeline("parent", [lead], children=[child], redact=Redact(names=["password"]))
    async with Runtime() as runtime:
        run = await runtime.start(parent, "a")
        assert (await runtime.wait(run)).output["password"] == "[redacted:password]"
        loaded = await runtime.store.load(run)
        assert not [row for row in loaded.rows if b"swordfish" in row.body]
        told = [event.data["where"] async for event in runtime.events(run) if event.type == "value.redacted"]
        assert "child" in told


async def test_what_a_child_failed_with_is_masked(secret: Secret) -> None:
    child = Pipeline("child", [fail])
    async with Runtime() as runtime:
        with pytest.raises(RunFailed) as caught:
            await runtime.run(Pipeline("parent", [lead], children=[child]), "a")
        assert VALUE not in str(caught.value)
        assert VALUE not in await everything(runtime)


async def test_a_child_that_is_named_after_a_secret_is_refused(secret: Secret) -> None:
    child = Pipeline("child", [echo])
    async with Runtime() as runtime:
        with pytest.raises(RunFailed) as caught:
            await runtime.run(Pipeline("parent", [named], children=[child]), "a")
        assert caught.value.failure["kind"] == SecretInName.__name__
        assert not await runtime.runs(definitions=("child",))
