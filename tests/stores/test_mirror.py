"""The memory store is the specification: any series of calls has the same results on SQLite."""

import asyncio
from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from windlass.core.changes import (
    Change,
    CommandTaken,
    EffectPut,
    ItemsDropped,
    ItemsPut,
    ManifestPut,
    QuestionPut,
    Write,
)
from windlass.core.errors import WindlassError
from windlass.core.queries import Commands, Effects, Items, Manifests, Query, Questions, Rows, Runs
from windlass.core.states import CREATED, Status
from windlass.stores.base import Store
from windlass.stores.memory import MemoryStore
from windlass.stores.sqlite import SQLiteStore
from windlass.testing.mirror import MirrorStore
from windlass.testing.specimens import (
    NOON,
    HandClock,
    a_command,
    a_manifest,
    a_question,
    a_record,
    a_row,
    a_write,
    an_effect,
    an_item,
    an_owner,
)

RUN = st.sampled_from(["run-1", "run-2"])
OWNER = st.sampled_from([an_owner("one"), an_owner("two")])
SMALL = st.integers(0, 3)
NAME = st.sampled_from(["a", "b"])


CHANGE = st.one_of(
    st.tuples(st.just("question"), NAME, st.sampled_from(["open", "taken"])),
    st.tuples(st.just("effect"), NAME, st.sampled_from(["intended", "done"])),
    st.tuples(st.just("taken"), NAME),
    st.tuples(st.just("items"), SMALL),
    st.tuples(st.just("dropped"), st.none() | SMALL),
    st.tuples(st.just("manifest")),
)
COMMIT = st.fixed_dictionaries({
    "run": RUN, "off": st.sampled_from([(0, 0)] * 8 + [(1, 0), (0, 1), (0, -1)]), "branch": st.integers(0, 1),
    "size": st.integers(1, 2), "kind": st.sampled_from(["step", "writes", "record"]),
    "status": st.sampled_from(list(Status)), "due_at": st.none() | st.just(NOON + 10),
    "changes": st.lists(CHANGE, max_size=3), "release": st.sampled_from([False, False, False, True]),
})  # fmt: skip


def changed(run: str, seq: int, branch: int, change: tuple[Any, ...]) -> Change:
    match change:
        case ("question", name, status):
            return QuestionPut(a_question(run, f"{run} {name}", status=status))
        case ("effect", name, status):
            return EffectPut(an_effect(run, name, tree="tree", status=status))
        case ("taken", name):
            return CommandTaken(name)
        case ("items", arrival):
            return ItemsPut((an_item(run, arrival),))
        case ("dropped", before):
            return ItemsDropped("read#1", 1, before=before)
        case _:
            return ManifestPut(a_manifest(run, seq, branch=branch))


async def written(store: Store, asked: dict[str, Any]) -> Write:
    """Make a write that the fence accepts, but for the offsets of epoch and head that were asked for."""
    run, (epoch, after) = asked["run"], asked["off"]
    for record in await store.find(Runs(ids=(run,))):
        epoch, after = epoch + record.epoch, after + record.head.seq
    row = a_row(run, after + 1, asked["size"], branch=asked["branch"], kind=asked["kind"])
    changes = tuple(changed(run, row.last, asked["branch"], change) for change in asked["changes"])
    return a_write(
        run, epoch, after, rows=[row], status=asked["status"], due_at=asked["due_at"], changes=changes,
        release=asked["release"],
    )  # fmt: skip


CALL = st.one_of(
    st.tuples(st.just("create"), RUN, st.none() | OWNER),
    st.tuples(st.just("commit"), COMMIT),
    st.tuples(st.just("commit"), COMMIT),
    st.tuples(st.just("commit"), COMMIT),
    st.tuples(st.just("commit"), COMMIT),
    st.tuples(st.just("claim"), RUN, OWNER),
    st.tuples(st.just("release"), RUN, SMALL),
    st.tuples(st.just("renew"), OWNER),
    st.tuples(st.just("retire"), OWNER),
    st.tuples(st.just("post"), st.builds(a_command, RUN, NAME)),
    st.tuples(
        st.just("post"),
        st.builds(lambda run, id_, name: a_command(run, id_, "answer", question=f"{run} {name}"), RUN, NAME, NAME),
    ),
    st.builds(lambda run, epoch, n: ("append_items", run, epoch, [an_item(run, n)]), RUN, SMALL, SMALL),
    st.tuples(st.just("wait"), st.sampled_from([5.0, 16.0])),
)
QUERIES: tuple[Query[Any], ...] = (
    Runs(), Runs(claimable=True, due_before=NOON + 20), Questions(), Questions(statuses=None), Effects(tree="tree"),
    *(query for run in ("run-1", "run-2") for query in (
        Rows(run=run), Rows(run=run, kind="step", newest_first=True), Manifests(run=run, until=4), Commands(run=run),
        Items(run=run), Effects(run=run),
    )),
)  # fmt: skip


async def told(store: Store, clock: HandClock, call: tuple[Any, ...]) -> None:
    """Do a call; the mirror compares how it went."""
    verb, *arguments = call
    if verb == "wait":
        clock.time += arguments[0]
        return
    if verb == "create":
        run, owner = arguments
        arguments = [a_record(run), a_write(run, epoch=0, status=CREATED), owner]
    if verb == "commit":
        arguments = [await written(store, arguments[0])]
    with suppress(WindlassError):
        await getattr(store, verb)(*arguments)


async def state(store: Store) -> None:
    """Ask everything."""
    for query in QUERIES:
        await store.find(query)
    for run in ("run-1", "run-2"):
        with suppress(WindlassError):
            await store.load(run)


@settings(max_examples=60)
@given(st.lists(CALL, min_size=5, max_size=40))
def test_two_stores_cannot_be_told_apart(calls: list[tuple[Any, ...]]) -> None:
    async def play() -> None:
        clock = HandClock()
        store = MirrorStore(MemoryStore(clock=clock), SQLiteStore("sqlite:///:memory:", clock=clock))
        await store.open()
        for call in calls:
            await told(store, clock, call)
        await state(store)
        await store.close()

    asyncio.run(play())
