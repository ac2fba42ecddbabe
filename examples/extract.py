"""Read invoices out of messy mails: an extraction pipeline with rules, repair, confidence and a person.

    python examples/extract.py [--store URL]

    mails ── each mail ──▶ read ──▶ total

`read` asks a model, here a scripted one that answers as models do: with prose around it, with `-50` for a price,
"soon" for a day, unsure, not at all. What is expected of its answers stands above the task, and the business rules
stand apart from it: a new rule touches neither. Nothing needs a key or a network. With OPENAI_API_KEY (and, if you
like, OPENAI_BASE_URL and OPENAI_MODEL) the Runtime is given another model called `reader`, and nothing else changes;
this needs `pip install openai`.
"""

import argparse
import asyncio
import json
import os
from dataclasses import dataclass
from datetime import date

from windlass import (
    Case,
    Context,
    Edge,
    Expect,
    Failed,
    Judged,
    ModelAnswer,
    ModelRequest,
    Normal,
    Pipeline,
    Prompt,
    Rules,
    Runtime,
    Secret,
    Usage,
    model,
    task,
)
from windlass.policies import normal

MAILS = [
    "Hi, attached R-1042 from Acme. 1.299,00 € by 5 December 2099 please.",
    "FW: FW: lamp shop, invoice 77, total fifty, thirty days from now",
    "Reminder!! you still owe us (Desk & Co, D-9) 1,200.50 USD, due 2099-03-01",
    "scan0001.pdf (hard to read: R-?44, 310 EUR?)",
    "Dear Sir, I am a prince and have a proposal.",
]
ANSWERS = {  # by mail and take, as a model might write them
    (0, 1): 'Sure! Here it is:\n\n```json\n{"vendor": "Acme", "number": "R-1042", "total": "1.299,00 €", '
    '"due": "5 December 2099", "sure": 0.97}\n```\nAnything else?',
    (1, 1): '{"vendor": "Lamp shop", "number": "77", "total": -50, "due": "soon", "sure": 0.9}',
    (1, 2): '{"vendor": "Lamp shop", "number": "77", "total": 50, "due": "in 30 days", "sure": 0.9}',
    (2, 1): "{'vendor': 'Desk & Co', 'number': 'D-9', 'total': '1,200.50', 'due': '2099-03-01', 'sure': 0.88,}",
    (3, 1): '{"vendor": "unknown", "number": "R-?44", "total": 310, "due": "2099-01-01", "sure": 0.55}',
}


@dataclass(frozen=True)
class Invoice:
    """What is wanted of a mail."""

    vendor: str
    number: str
    total: float | str
    due: str
    sure: float = 0.0


rules = Rules()


@rules.rule(Invoice, field="total")
def amount(total: float | str) -> Normal | str:
    """Bring an amount to a number above zero."""
    found = float(normal.number(total)) if isinstance(total, str) else total
    return Normal(found) if found > 0 else "is not above 0"


@rules.rule(Invoice, field="due")
def not_past(due: str, case: Case) -> Normal | str:
    """Bring words for a day to a date that is not over."""
    day = normal.day(due, case.now)
    return Normal(day) if date.fromisoformat(day) >= case.now.date() else "is in the past"


PROMPT = Prompt(
    "Give vendor, number, total, due and how sure you are (0 to 1) as JSON.\nMail: {{ mail }}\nMend: {{ wrong }}",
    name="invoice",
    version="2",
)


@model(name="reader", version="scripted", cost=Usage(tokens_in=60, tokens_out=60))
async def reader(request: ModelRequest) -> ModelAnswer:
    """Answer as a model would."""
    asked = request.messages[-1].content
    number = next(n for n, mail in enumerate(MAILS) if mail in asked)
    take = 1 if asked.endswith("Mend: nothing") else 2
    answer = ANSWERS.get((number, take), "I'm sorry, there is no invoice in this mail.")
    return ModelAnswer(answer, usage=Usage(tokens_in=len(asked) // 4, tokens_out=len(answer) // 4))


IS_REAL = "OPENAI_API_KEY" in os.environ
if IS_REAL:  # it takes long to import
    from openai import AsyncOpenAI

KEY = Secret.env("OPENAI_API_KEY")
MODEL = os.environ.get("OPENAI_MODEL", "gpt-5-mini")


@model(name="reader", version=MODEL, cost=Usage(tokens_in=200, tokens_out=200))
async def endpoint(request: ModelRequest) -> ModelAnswer:
    """Ask a real model."""
    async with AsyncOpenAI(api_key=KEY.reveal()) as client:
        answer = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": message.content} for message in request.messages]
        )
    used = answer.usage
    usage = Usage(tokens_in=used.prompt_tokens, tokens_out=used.completion_tokens) if used else None
    return ModelAnswer(answer.choices[0].message.content or "", usage=usage, stop=answer.choices[0].finish_reason)


@task
async def mails(count: int) -> list[str]:
    """Fetch what has come in."""
    return MAILS[:count]


@task(expect=Expect(Invoice, confidence="sure", act=0.8, ask=0.4, whole=True))
async def read(mails: str, ctx: Context) -> ModelAnswer:
    """Ask the model for the invoice in a mail; in a second take with what was wrong with its first answer."""
    wrong = "; ".join(map(str, ctx.problems)) or "nothing"
    return await ctx.model(PROMPT.fill(mail=mails, wrong=wrong))


@task
async def total(read: list[Judged[Invoice] | Failed]) -> dict[str, object]:
    """Add up what was read, and say what was not read smoothly."""
    good = [one for one in read if isinstance(one, Judged)]
    return {
        "total": sum(float(one.value.total) for one in good),
        "due": sorted(one.value.due for one in good),
        "degraded": [f"{one.value.number}: {one.trail[0]}" for one in good if one.degraded],
        "put aside": [one.message for one in read if isinstance(one, Failed)],
    }


edges = [Edge("mails", "read", each=True, on_error="collect")]
pipeline = Pipeline("extract", [mails, read, total], edges, rules=rules, models=[reader])


async def main(store: str) -> None:
    """Run it, and answer for the person."""
    models = [endpoint] if IS_REAL else []
    async with Runtime(store, models=models) as runtime:
        result = await runtime.run(pipeline, len(MAILS))
        for asked in await runtime.questions(result.run):
            print(asked.prompt)
            await runtime.answer(asked.id, {**asked.about["output"], "vendor": "Chair Ltd", "number": "R-144"})
        done = await runtime.wait(result.run)
        print(json.dumps(done.output, indent=2, ensure_ascii=False))
        for letter in await runtime.dead_letters(run=result.run):
            print(f"dead letter {letter.id}: {letter.reason}, {letter.failure.message}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--store", default="memory:extract", help="where runs are kept, for instance sqlite:///w.db")
    asyncio.run(main(parser.parse_args().store))
