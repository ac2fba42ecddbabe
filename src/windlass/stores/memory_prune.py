"""Pruning in memory: the specification of what a prune drops, done in one go."""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable
from typing import Any

from windlass.core import records as r
from windlass.core.errors import StoreCorrupt
from windlass.core.states import Status
from windlass.core.tallies import held_key
from windlass.policies.keys import tally_key
from windlass.stores import retention
from windlass.stores.checks import is_kin, thread_of
from windlass.stores.memory_world import COMMAND, EFFECT, LAST, LETTER, QUESTION, Kept, World
from windlass.stores.retention import Mark, Pruned, Rule

Points = dict[str, Counter[tuple[int, int]]]  # run → the checkpoints that forks of it began at


def prune(world: World, now: float, **options: Any) -> dict[str, Any]:
    """Drop what a rule allows; see `sqlite_prune.prune`.

    Raises:
        InputError: an option is not what it has to be; nothing was changed.
    """
    rule = retention.to_rule(now, **options)
    done = Pruned()
    before = weigh(world)
    points = _points(world)
    gone: set[str] = set()
    left = [kept for kept in reversed(world.runs.values()) if _matches(kept, rule)]
    late: list[Kept] = []  # last turns of threads: they go after the others
    while left:
        ready, children = list[Kept](), list[Kept]()
        for kept in left:
            (children if rule.keep == "nothing" and _is_child(world, kept, gone) else ready).append(kept)
        for kept in ready:
            try:
                if rule.keep == "heads":
                    _trim(world, kept, rule, frozenset(+points.get(kept.record.id, Counter())), done)
                elif _reason_to_keep(world, kept, rule, points) == "turn":
                    late.append(kept)
                elif _remove(world, kept, rule, points, done):
                    gone.add(kept.record.id)
            except StoreCorrupt:
                done.keep("damaged")
        if len(children) == len(left):
            for _ in children:
                done.keep("child")
            break
        left = children
    for kept in late:
        _remove(world, kept, rule, points, done)
    if not rule.dry_run:
        _sweep(world, rule, done)
        world.writes += 1
    return done.told(rule, bytes_before=before, bytes=weigh(world), free=0)


def _points(world: World) -> Points:
    points: Points = {}
    for kept in world.runs.values():
        if kept.record.parent is not None:
            _count(points, kept.record.parent, 1)
    return points


def weigh(world: World) -> int:
    """Count the bytes of rows, snapshots and large values."""
    rows = sum(len(row.body) for kept in world.runs.values() for row in kept.rows)
    snapshots = sum(len(made.body) for kept in world.runs.values() for made in kept.manifests.values())
    return rows + snapshots + sum(map(len, world.blobs.values()))


def _count(points: Points, parent: r.Parent, number: int) -> None:
    points.setdefault(parent.run, Counter())[parent.branch, parent.n] += number


def _matches(kept: Kept, rule: Rule) -> bool:
    at = kept.updated_at if rule.keep == "nothing" else kept.record.created_at
    return (
        at < rule.before
        and (not rule.statuses or Status(kept.head.status) in rule.statuses)
        and rule.tenant in (None, kept.record.tenant)
    )


def _is_child(world: World, kept: Kept, gone: set[str]) -> bool:
    """Say whether a run is kept for its parent's sake: as long as that is there, or would be."""
    origin = kept.record.origin
    return origin is not None and not origin.detached and origin.run in world.runs and origin.run not in gone


def _remove(world: World, kept: Kept, rule: Rule, points: Points, done: Pruned) -> bool:
    why = _reason_to_keep(world, kept, rule, points)
    if why:
        done.keep(why)
        return False
    run = kept.record.id
    done.runs += 1
    done.rows += sum(row.kind != "pruned" for row in kept.rows)
    done.snapshots += len(kept.manifests)
    if kept.record.parent is not None:
        _count(points, kept.record.parent, -1)
    if rule.dry_run:
        return True
    if kept.record.turn:
        world.threads[thread_of(kept.record)].remove(kept)
    del world.runs[run]
    world.commands -= kept.commands
    for id_ in [id_ for id_, body in world.questions.items() if QUESTION.decode(body).run == run]:
        del world.questions[id_]
    for id_, letter in [(id_, LETTER.decode(body)) for id_, body in world.letters.items()]:
        if letter.run == run and letter.status != "open":  # an open one waits for a person, with or without its run
            del world.letters[id_]
    budget = tally_key("budget", "run", run)
    world.tallies.pop(budget, None)
    for name in [name for name in world.tallies if name.startswith(held_key(budget))]:
        del world.tallies[name]
    if kept.record.parent is None:  # the effects of a tree go with its first run
        for key in [key for key in world.effects if key[0] == run]:
            del world.effects[key]
    return True


def _reason_to_keep(world: World, kept: Kept, rule: Rule, points: Points) -> str:
    run = kept.record.id
    until = world.lease(kept)[1]
    if until is not None and until > rule.now:
        return "owned"
    if +points.get(run, Counter()):
        return "forked"
    questions = (QUESTION.decode(body) for body in world.questions.values())
    posted = (COMMAND.decode(body) for body in kept.waiting.values())
    is_asked = any(asked.run == run and asked.status in ("open", "answered") for asked in questions)
    if is_asked or not all(map(is_kin, posted)):
        return "asked"
    if kept.record.turn and _stays(world, kept):
        return "turn"
    effects = (EFFECT.decode(body) for body in world.effects.values())
    if any(effect.run == run and effect.status in ("intended", "undoing") for effect in effects):
        return "in doubt"
    return ""


def _stays(world: World, mine: Kept) -> bool:
    """Say whether a turn has to stay while others are there: it is the last that has begun, its state the thread's."""
    turns = world.turns(mine.record)
    begun = [kept for kept in turns if kept.head.n or kept.head.branch]
    return len(turns) > 1 and begun[-1:] == [mine]


def _trim(world: World, kept: Kept, rule: Rule, forks: frozenset[tuple[int, int]], done: Pruned) -> None:
    steps = (row.last for row in reversed(kept.rows) if row.kind == "step" and row.branch == kept.head.branch)
    marks = [
        Mark(row.last, row.branch, row.n, row.kind, row.at, row.kind == "step" and retention.SAVEPOINT in row.body)
        for row in kept.rows
    ]
    if kept.record.turn and not kept.head.n:  # it has not begun: its input stands in its first row
        return
    for stretch in retention.stretches(marks, rule, next(steps, 0), forks):
        if rule.dry_run:
            done.rows += stretch.rows
            continue
        if stretch.anchor not in kept.manifests:
            before = max((seq for seq in kept.manifests if seq < stretch.anchor), default=0)
            rows = kept.rows[bisect_right(kept.rows, before, key=LAST) : _place(kept, stretch.anchor) + 1]
            made, blobs = retention.snapshot(world.record(kept), kept.manifests.get(before), rows)
            kept.manifests[stretch.anchor] = made
            for blob in blobs:
                world.keep(blob)
        low, high = _place(kept, stretch.first), _place(kept, stretch.last)
        first, last = kept.rows[low], kept.rows[high]
        stub = retention.stub(kept.record.id, first.first, last.last, last.branch, last.n, last.at)
        kept.rows[low : high + 1] = [stub]
        done.rows += stretch.rows
        for seq in [seq for seq in kept.manifests if stretch.first <= seq <= stretch.last]:
            del kept.manifests[seq]
            done.snapshots += 1


def _place(kept: Kept, last: int) -> int:
    return bisect_left(kept.rows, last, key=LAST)


def _sweep(world: World, rule: Rule, done: Pruned) -> None:
    unused = set(world.blobs) - retention.references(_bodies(world))
    for kept in world.runs.values():
        unused -= {name for made in kept.manifests.values() for name in made.blobs}
    world.marked = {digest: world.marked.get(digest, rule.now) for digest in unused}
    for digest in unused:
        if world.marked[digest] <= rule.now - rule.grace:
            del world.blobs[digest], world.marked[digest]
            done.blobs += 1
    done.marked = len(world.marked)


def _bodies(world: World) -> Iterable[bytes]:
    yield from world.questions.values()
    yield from world.effects.values()
    yield from world.letters.values()
    for kept in world.runs.values():
        yield from (row.body for row in kept.rows)
        yield from kept.items.values()
        yield from kept.waiting.values()
