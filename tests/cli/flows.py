"""What the tests of the command line run: small definitions that wait, fail, loop and act outside."""

import asyncio
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, TypedDict

from windlass import END, Context, ContinueAsNew, Edge, Graph, Output, Pipeline, Retry, Yields, append, task


@dataclass(frozen=True)
class Verdict:
    """What a person decides."""

    ship: bool
    why: str = ""


@task
async def numbers(size: int) -> list[int]:
    return list(range(size))


@task
async def double(numbers: int) -> int:
    return 2 * numbers


@task
async def total(double: list[int]) -> int:
    return sum(double)


steady = Pipeline("steady", tasks=[numbers, double, total], edges=[Edge("numbers", "double", each=True)])


@task
async def draft(topic: str, ctx: Context) -> Yields[str]:
    yield {"words": 3}
    yield Output(f"about {topic}")


@task
async def approve(draft: str, ctx: Context) -> bool:
    return await ctx.ask(f"Ship {draft!r}?", bool)


asking = Pipeline("asking", tasks=[draft, approve])


@task
async def judge(topic: str, ctx: Context) -> Verdict:
    return await ctx.ask("Your verdict?", Verdict)


judging = Pipeline("judging", tasks=[judge])


@dataclass
class Share:
    of: Decimal
    until: date

    def __post_init__(self) -> None:
        """Refuse what no schema can."""
        if self.until > date(2026, 12, 31) or self.until < date(2026, 1, 1):
            raise ValueError("the budget is for 2026")


@task
async def split(topic: str, ctx: Context) -> str:
    share = await ctx.ask("Which share?", Share)
    return f"{share.of} until {share.until}"


splitting = Pipeline("splitting", tasks=[split])


@task
async def name(ctx: Context) -> str:
    return await ctx.ask("Which name?", str)


naming = Pipeline("naming", tasks=[name])


known: dict[str, str] = {}


def check_mended(topic: str) -> None:
    try:
        known[topic]
    except KeyError as error:
        if not Path("mended").exists():
            raise ValueError("not mended") from error


@task(retry=Retry(on=ValueError, max_attempts=2, initial=0.01, jitter=0))
async def work(draft: str) -> str:
    check_mended(draft)
    return draft.upper()


failing = Pipeline("failing", tasks=[draft, work])


@task
async def nap(seconds: float, ctx: Context) -> str:
    await ctx.sleep(seconds)
    return "rested"


napping = Pipeline("napping", tasks=[nap])


class Count(TypedDict):
    """A number that grows, and how it did."""

    count: int
    seen: Annotated[list[int], append]


looping = Graph("looping", Count)


@looping.node(writes=["count", "seen"])
async def grow(count: int) -> dict[str, object]:
    return {"count": count + 1, "seen": [count]}


def enough(count: int) -> str:
    return END if count >= 3 else "grow"


looping.start("grow")
looping.branch("grow", enough, ["grow", END])


def write(line: str) -> int:
    path = Path("outside.txt")
    path.write_text(path.read_text() + line + "\n" if path.exists() else line + "\n")
    return len(line)


def unwrite(line: str) -> None:
    path = Path("outside.txt")
    path.write_text(path.read_text().replace(line + "\n", ""))


@task
async def choose(line: str) -> str:
    return line


@task(undo=[unwrite])
async def publish(choose: str, ctx: Context) -> int:
    written: int = await ctx.effect("write", write, choose, undo=unwrite)
    return written


publishing = Pipeline("publishing", tasks=[choose, publish])


async def lose(n: int) -> int:
    if Path("lost").exists():  # noqa: ASYNC240 -- a mark for the second time
        return n + 1
    Path("lost").touch()  # noqa: ASYNC240
    raise ConnectionError("the answer was lost")


@task(retry=Retry(on=ConnectionError, max_attempts=2, initial=0))
async def lost(n: int, ctx: Context) -> int:
    given: int = await ctx.effect("lose", lose, n)
    return given


losing = Pipeline("losing", tasks=[lost])


async def until(name: str) -> None:
    while not Path(name).exists():  # noqa: ASYNC110, ASYNC240 -- what the test makes in another process
        await asyncio.sleep(0.005)


@task
async def gate(ctx: Context) -> str:
    Path("begun").touch()  # noqa: ASYNC240 -- a mark for the test
    ctx.emit({"at": "gate"})
    await until("release")
    return "through"


@task
async def after(gate: str) -> str:
    return gate.upper()


gated = Pipeline("gated", tasks=[gate, after])


async def for_long() -> str:
    Path("begun").touch()  # noqa: ASYNC240 -- a mark for the test
    await until("release")
    return "over"


@task
async def insist(ctx: Context) -> str:
    done: str = await ctx.effect("insist", for_long, on_doubt="retry")
    return done


stubborn = Pipeline("stubborn", tasks=[insist])

plain = {"not": "a definition"}


@task
async def shop(n: int, ctx: Context) -> int:
    return await ctx.ask("How much \u202eis it?", int, to="role:cfo", deadline="2h", remind="1h")


paying = Pipeline("paying", tasks=[shop])


def transfer(amount: int) -> str:
    return f"paid {amount}"


def price() -> int:
    return int(Path("price").read_text()) if Path("price").exists() else 120


@task
async def refund(n: int, ctx: Context) -> str:
    paid: str = await ctx.effect("pay", transfer, price(), approve="role:cfo")
    return paid


refunding = Pipeline("refunding", tasks=[refund])


class Text(TypedDict):
    title: str
    notes: Annotated[list[str], append]


article = Graph("article", Text)


@article.node(writes=["notes"])
async def print_it(title: str, ctx: Context) -> dict[str, list[str]]:
    verdict = await ctx.ask(f"Print {title!r}?", bool)
    return {"notes": [f"{title}: {verdict}"]}


article.start(print_it)


@task
async def estimate(input: dict[str, object]) -> int:
    return len(str(input["question"]))


estimating = Pipeline("estimating", tasks=[estimate])


@task
async def delegate(topic: str, ctx: Context) -> str:
    said: str = await ctx.run(asking, topic, name="editor")
    return said


delegating = Pipeline("delegating", [delegate], children=[asking])


@task
async def oversee(topic: str, ctx: Context) -> str:
    said: str = await ctx.run(delegating, topic)
    return said


overseeing = Pipeline("overseeing", [oversee], children=[delegating])


class Talk(TypedDict):
    """A conversation."""

    messages: Annotated[list[str], append]


chatting = Graph("chatting", Talk)


@chatting.node(writes=["messages"])
async def reply(messages: list[str], ctx: Context) -> dict[str, list[str]] | ContinueAsNew:
    if messages[-1] == "anew":
        return ContinueAsNew({"messages": ["and on"]})
    said = await ctx.ask("Well?", str) if messages[-1].endswith("?") else "yes"
    return {"messages": [said]}


chatting.start(reply)
