"""What may be dropped of a log: the rules, for any log; and that every store follows them alike."""

import asyncio
import tempfile
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from windlass.core.queries import Manifests, Rows
from windlass.core.records import Parent
from windlass.core.states import COMPLETED
from windlass.stores.base import Store, open_store
from windlass.stores.retention import Mark, Rule, Stretch, stretches, stub, to_rule
from windlass.testing.specimens import a_record, a_row, a_write, an_owner

KINDS = st.sampled_from(["step", "step", "step", "record", "writes", "pruned"])


@st.composite
def logs(draw: st.DrawFn) -> list[Mark]:
    """A log of one branch; times may stand still, never go back."""
    marks, at, n, last = [], 0.0, 0, 0
    for kind in draw(st.lists(KINDS, max_size=25)):
        at += draw(st.integers(0, 2))
        last += draw(st.integers(1, 3))
        n += kind == "step"
        marks.append(Mark(last, 0, n, kind, at, kind == "step" and draw(st.integers(0, 5)) == 0))
    return marks


def rule(before: float) -> Rule:
    return to_rule(0.0, before=before, keep="heads")


def dropped(found: Sequence[Stretch], marks: Sequence[Mark]) -> set[int]:
    return {mark.last for mark in marks for one in found if one.first <= mark.last <= one.last}


@given(logs(), st.integers(0, 40), st.frozensets(st.tuples(st.just(0), st.integers(1, 10)), max_size=3))
def test_what_has_to_stay_stays_and_the_rest_goes(
    marks: list[Mark], before: int, forks: frozenset[tuple[int, int]]
) -> None:
    last_step = max((mark.last for mark in marks if mark.kind == "step"), default=0)
    found = stretches(marks, rule(before), last_step, forks)
    gone = dropped(found, marks)
    old = [mark for mark in marks if mark.at < before]
    for mark in marks:
        is_fork_point = mark.kind == "step" and (0, mark.n) in forks
        must_stay = mark.at >= before or mark == old[-1] or mark.has_savepoint or is_fork_point
        if must_stay or mark.last == last_step:
            assert mark.last not in gone
        elif mark.kind != "pruned":
            assert mark.last in gone
    assert sum(one.rows for one in found) == sum(mark.kind != "pruned" for mark in marks if mark.last in gone)


@given(logs(), st.integers(0, 40))
def test_the_row_behind_what_goes_stays_and_is_its_anchor(marks: list[Mark], before: int) -> None:
    found = stretches(marks, rule(before), 0, frozenset())
    gone = dropped(found, marks)
    order = [mark.last for mark in marks]
    for one in found:
        assert one.anchor not in gone
        assert order[order.index(one.last) + 1] == one.anchor


def test_a_log_that_only_begins_with_a_stub_has_nothing_to_drop() -> None:
    marks = [Mark(9, 0, 9, "pruned", 1.0, False), Mark(10, 0, 10, "step", 2.0, False)]
    assert stretches(marks, rule(100.0), 10, frozenset()) == []


async def played(store: Store, sizes: list[tuple[int, bool]], before: list[int], fork: int) -> list[object]:
    """Write a log, prune it several times, and tell what is left."""
    await store.open()
    await store.create(a_record("r", created_at=0.0), a_write("r"), an_owner())
    after = 1
    for size, savepoint in sizes:
        said = b',"said":[["savepoint.made","",{"name":"s"}]]' if savepoint else b""
        row = replace(a_row("r", after + 1, size, body=b'{"at":1.0%s}' % said), at=float(after))
        await store.commit(a_write("r", after=after, rows=[row]))
        after += size
    parent = Parent("r", 0, fork, "r")
    await store.create(a_record("f", created_at=1e12, parent=parent), a_write("f", status=COMPLETED), an_owner())
    told = [await store.maintain("prune", before=float(time), keep="heads") for time in before]
    left = await store.find(Rows(run="r"))
    snapshots = [await store.find(Manifests(run="r", until=row.last)) for row in left]
    loaded = await store.load("r")
    await store.close()
    counts = [(one["rows"], one["snapshots"], one["kept"]) for one in told]
    return [counts, left, snapshots, loaded.manifest, loaded.rows]


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(1, 3), st.booleans()), max_size=12),
    st.lists(st.integers(0, 40), min_size=1, max_size=3),
    st.integers(0, 20),
)
def test_every_store_prunes_alike(sizes: list[tuple[int, bool]], before: list[int], fork: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        memory = asyncio.run(played(open_store("memory:"), sizes, before, fork))
        sqlite = asyncio.run(played(open_store(f"sqlite:///{folder}/runs.db"), sizes, before, fork))
    assert memory == sqlite


def test_a_stub_is_signed_and_covers_its_events() -> None:
    row = stub("r", 3, 9, 1, 4, 2.5)
    assert (row.first, row.last, row.kind, row.body, len(row.digest)) == (3, 9, "pruned", b'{"at":2.5}', 64)
