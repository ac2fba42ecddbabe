"""The scenes of the simulation that are about boundaries: budgets, limits, breakers, retries, and their edges.

Runs of one tenant share what the platform gives it for a day, which may end in between; what they pay for takes as
much as was estimated, less, more, or says nothing, and the dependency behind it fails, as the tape says.
"""

import asyncio
from typing import Annotated, Any, NamedTuple, TypedDict

from windlass.core import records as r
from windlass.core.blueprint import END
from windlass.core.states import ENDED, FAILED
from windlass.core.usage import Usage
from windlass.core.words import Update
from windlass.engine.context import Context
from windlass.graph.graph import Graph
from windlass.graph.pipeline import Edge, Pipeline
from windlass.graph.reducers import append
from windlass.graph.task import task
from windlass.policies.breaker import Breaker
from windlass.policies.budget import Budget, Cost, WrapUp
from windlass.policies.limit import Limit
from windlass.policies.platform import Platform
from windlass.policies.retry import Retry
from windlass.testing.clock import START
from windlass.testing.sim_audit import Audit
from windlass.testing.sim_balance import balance
from windlass.testing.sim_play import Outcome, Scene, Simulation, here
from windlass.testing.sim_process import LONG_STALL, PROCESS

MIDNIGHT = 86_400 * (START // 86_400 + 1)
BEFORE = (3_600.0, 1.0, 4.0)  # seconds before it at which a scene begins
ESTIMATE = 4  # tokens that a call is expected to take
RUN_SECONDS = 12.0  # active, of a run that has a limit
ROUNDS = 3  # of the research, in which it looks again
ENDLESS = 20.0  # seconds that a slow call takes
SOON = 20.0  # seconds in which all that have to wait for each other are through
LOOKS = 4  # in that time
LEFT = 30.0  # seconds after the end in which what is held has to be given back


class Way(NamedTuple):
    """How a call goes: what it takes, what it says of that, whether it fails, how long it lasts."""

    takes: int = ESTIMATE
    says: bool = True
    fails: bool = False
    seconds: float = 0.2


WAYS = (
    *(Way(),) * 3,
    Way(takes=2), Way(takes=9), Way(says=False), Way(takes=1, says=False, seconds=1.5),
    *(Way(takes=3, fails=True),) * 3,
)  # fmt: skip
SLOWLY = (*(Way(),) * 4, Way(takes=9), Way(says=False), Way(fails=True), Way(seconds=ENDLESS))


def audit() -> Audit:
    """Return the audit of the simulation around the caller."""
    found: Audit = here().outside["audit"]
    return found


def used(bill: list[int]) -> Usage | None:
    """Read from a call's result what it took."""
    return None if bill[1] < 0 else Usage(tokens_out=bill[1], model_calls=1)


COST = Cost(estimate=Usage(tokens_out=ESTIMATE, model_calls=1), read=used)


async def buy(ctx: Context, ways: tuple[Way, ...] = WAYS) -> int:
    """Pay for something, as the tape says; returns what it took."""
    activation = ctx._activation  # noqa: SLF001 -- the world outside looks through the task

    async def pay(address: str, attempt: int) -> list[int]:
        del address, attempt
        way = ways[here().tape.pick(len(ways))]
        await asyncio.sleep(way.seconds / 2)
        number = audit().pay(activation, {"tokens_out": way.takes, "model_calls": 1})
        await asyncio.sleep(way.seconds / 2)
        if way.fails:
            raise ConnectionError("down")
        return [number, way.takes if way.says else -1]

    with audit().attempt(activation, PROCESS.get()):
        bill: list[int] = await ctx.call("pay", pay, ctx.address, ctx.attempt, cost=COST)
    return bill[1]


AGAIN = Retry(on=ConnectionError, max_attempts=3, initial=0.5, factor=6.0, cap=4.0, jitter=0.5)
SHOP = Breaker("shop", failures=2, window=60.0, cooldown=5.0, on=ConnectionError, patience=15.0)
TILL, CART = Limit("till", concurrency=2), Limit("cart", concurrency=1)
SEAT = Limit("seat", concurrency=1)
DOOR = Limit("door", rate=1.0, burst=2)
CITY = Platform(budgets=[Budget(per="tenant", window="day", tokens_out=34, model_calls=9)])


@task
async def wishes(n: int) -> list[int]:
    """Make a list."""
    return list(range(n))


@task(retry=AGAIN, breaker=SHOP, limits=[TILL, DOOR])
async def shop(wishes: int, ctx: Context) -> int:
    """Buy one."""
    return wishes + 0 * await buy(ctx)


@task
async def carry(shop: list[int]) -> int:
    """Join."""
    return sum(shop)


shopping = Pipeline(
    "shopping", [wishes, shop, carry], [Edge("wishes", "shop", each=True), ("shop", "carry")],
    budget=Budget(tokens_out=18, steps=30),
)  # fmt: skip


@task(limits=[SEAT, CART])
async def take(n: int, ctx: Context) -> int:
    """Need two things at once."""
    with audit().attempt(ctx._activation, PROCESS.get()):  # noqa: SLF001 -- as in `buy`
        await asyncio.sleep(0.2)
    return n


@task(limits=[CART, DOOR])
async def push(take: int, ctx: Context) -> int:
    """Need one of them, and another thing."""
    with audit().attempt(ctx._activation, PROCESS.get()):  # noqa: SLF001 -- as in `buy`
        await asyncio.sleep(0.2)
    return take


@task(limits=[SEAT])
async def stand(n: int, ctx: Context) -> int:
    """Need the other one."""
    with audit().attempt(ctx._activation, PROCESS.get()):  # noqa: SLF001 -- as in `buy`
        await asyncio.sleep(0.2)
    return n


queueing = Pipeline("queueing", [take, push, stand], [("take", "push")])


async def play_limits(sim: Simulation) -> None:
    """See runs to their ends that wait for each other."""
    _night(sim)
    await asyncio.gather(*(_live(sim, queueing, number, f"q{number}") for number in range(3)))
    await _settle(sim)


def _night(sim: Simulation) -> None:
    """Begin some time before the day ends, with an audit."""
    sim.outside["audit"] = Audit(sim)
    sim.loop.clock.jump(MIDNIGHT - START - BEFORE[sim.tape.pick(len(BEFORE))])


async def _live(sim: Simulation, definition: Any, input: Any, run: str, more: int = 0) -> None:
    """Start a run, and see it to an end, whichever it is."""

    def say(_: r.Question) -> Any:
        return 0 if sim.tape.pick(3) > 1 else more

    await sim.start(definition, input, run)
    await sim.finish(run, mend=False, answers=say)


async def _settle(sim: Simulation) -> None:
    """Wait until nothing is held any more, as long as that may take."""
    for _ in range(LOOKS):
        if audit_of(sim).is_idle:
            return
        await asyncio.sleep((LEFT + LONG_STALL) / LOOKS)


async def play_bounds(sim: Simulation) -> None:
    """See two runs to their ends that share everything."""
    _night(sim)
    await asyncio.gather(_live(sim, shopping, 2, "r"), _live(sim, shopping, 1, "s"))
    await _settle(sim)


def check_ends(sim: Simulation, outcome: Outcome) -> list[str]:
    """Every run has ended, and the books balance."""
    ends = [f"{run} ended {end}" for run, end in outcome.runs.items() if end[0] not in ENDED]
    found = [*ends, *balance(audit_of(sim))]
    outcome.reached = dict(sim.watch.reached)
    for run, (status, _) in outcome.runs.items():
        if status == FAILED and outcome.faults == 0 and sim.tape.taken[1:] == [0] * (len(sim.tape.taken) - 1):
            found.append(f"{run} failed, and nothing went wrong")
    return found


def audit_of(sim: Simulation) -> Audit:
    """Return the audit of a simulation."""
    found: Audit = sim.outside["audit"]
    return found


def check_limits(sim: Simulation, outcome: Outcome) -> list[str]:
    """As `check_ends`; and where nothing went wrong, nobody has waited for what nobody used."""
    found = check_ends(sim, outcome)
    if outcome.faults == 0 and sim.loop.time() > SOON:
        found.append(f"it took {sim.loop.time():.0f} s, and nothing went wrong")
    return found


class Notes(TypedDict):
    """Channels of the research."""

    topic: int
    notes: Annotated[list[int], append]
    report: str


def _research() -> Graph:
    budget = Budget(tokens_out=16, edge=WrapUp(node="sum_up", reserve=0.25))
    graph = Graph("research", Notes, budget=budget, step_limit=12)

    @graph.node(writes=["notes"], goto=["look", "sum_up"], retry=Retry.fixed(0.5, on=ConnectionError))
    async def look(notes: list[int], ctx: Context) -> Update:
        return Update(notes=[len(notes) + 0 * await buy(ctx)], goto="look" if len(notes) < ROUNDS else "sum_up")

    @graph.node(writes=["report"], goto=[END], retry=Retry.fixed(0.5, on=ConnectionError))
    async def sum_up(notes: list[int], ctx: Context) -> Update:
        await buy(ctx)
        return Update(report=f"{len(notes)} notes", goto=END)

    graph.start("look")
    return graph


research = _research()


@task(retry=Retry.fixed(0.5, on=ConnectionError))
async def first(n: int, ctx: Context) -> int:
    """Buy something."""
    return n + 0 * await buy(ctx, SLOWLY)


@task(retry=Retry.fixed(0.5, on=ConnectionError))
async def second(first: int, ctx: Context) -> int:
    """Buy something that a person has to give more for."""
    return first + 0 * await buy(ctx, SLOWLY)


asking = Pipeline("thrifty", [first, second], budget=Budget(model_calls=1, edge="ask"), run_timeout=RUN_SECONDS)


async def play_edges(sim: Simulation) -> None:
    """See one run to the edge at which it wraps up, and one to where it asks."""
    _night(sim)
    await asyncio.gather(_live(sim, research, {"topic": 1}, "w"), _live(sim, asking, 1, "a", more=1))
    await _settle(sim)


BOUNDS = (
    Scene("bounds", [shopping], play_bounds, check_ends, platform=CITY),
    Scene("limits", [queueing], play_limits, check_limits),
    Scene("edges", [research, asking], play_edges, check_ends, platform=CITY),
)
