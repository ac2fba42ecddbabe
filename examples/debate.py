"""Two agents talk to each other in a loop, until what they have said so far says that they are done.

    python examples/debate.py [STORE]

    seller ──▶ buyer ──▶ seller, until they agree or have talked for long enough

Both are nodes of one graph that append to the same messages, and each is shown all of them. A branch looks at the
state after every step: it stops when the two offers have met, and gives up after eight messages. The models are doubles
that answer from scripts, so the talk is the same each time; `models=[...]` takes real ones just as well.
"""

import asyncio
import sys
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

from windlass import END, Context, Graph, Message, ModelRequest, Prompt, Runtime, append
from windlass.testing.doubles import ScriptedModel

MOST_MESSAGES = 8
SELL = Prompt("You sell a boat, and want as much for it as you can get. Answer with a price.", name="sell", version="1")
BUY = Prompt("You buy a boat, and want to pay as little as you can. Answer with a price.", name="buy", version="1")


@dataclass(frozen=True)
class Offer:
    """What one of them has said."""

    by: str
    price: int


class Talk(TypedDict):
    """What both have said so far, and for whom it is shown."""

    offers: Annotated[list[Offer], append]


seller = ScriptedModel(["900", "700", "620", "600"], name="seller", loop=True)
buyer = ScriptedModel(["300", "500", "600"], name="buyer", loop=True)
debate = Graph("debate", Talk, models=[seller.model, buyer.model], types=[Offer], step_limit=2 * MOST_MESSAGES)


async def ask(ctx: Context, who: str, prompt: Prompt, offers: list[Offer]) -> dict[str, list[Offer]]:
    """Let one of them make an offer, after all that was said."""
    heard = [Message("assistant" if offer.by == who else "user", str(offer.price)) for offer in offers]
    told = prompt.fill()
    answer = await ctx.model(ModelRequest((Message("system", told.text), *heard), prompt=told), model=who)
    return {"offers": [Offer(who, int(answer.text))]}


@debate.node(writes=["offers"])
async def sell(offers: list[Offer], ctx: Context) -> dict[str, list[Offer]]:
    """Let the seller speak."""
    return await ask(ctx, "seller", SELL, offers)


@debate.node(writes=["offers"])
async def buy(offers: list[Offer], ctx: Context) -> dict[str, list[Offer]]:
    """Let the buyer speak."""
    return await ask(ctx, "buyer", BUY, offers)


def agreed(offers: list[Offer]) -> int | None:
    """Return the price at which the last two offers have met."""
    prices = {offer.by: offer.price for offer in offers[-2:]}
    return prices["buyer"] if len(prices) > 1 and prices["buyer"] >= prices["seller"] else None


def next_speaker(offers: list[Offer]) -> str:
    """Stop when they agree, or never will; else it is the other one's turn."""
    if agreed(offers) is not None or len(offers) >= MOST_MESSAGES:
        return END
    return "buy" if offers[-1].by == "seller" else "sell"


debate.start(sell)
debate.branch(sell, next_speaker, [buy, END])
debate.branch(buy, next_speaker, [sell, END])


async def main(store: str = "memory:") -> None:
    """Let them talk, and show what was said."""
    async with Runtime(store) as runtime:
        result = await runtime.run(debate, {})
        offers: list[Any] = result.output["offers"]
        for offer in offers:
            print(f"{offer.by}: {offer.price}")
        price = agreed(offers)
        print(f"agreed on {price} after {len(offers)} messages" if price else f"no deal after {len(offers)} messages")
        seen = [len(request.messages) for request in (*seller.requests, *buyer.requests)]
        print(f"the last speaker was shown {max(seen)} messages")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:2]))
