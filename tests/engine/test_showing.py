"""What a person is shown of values leaves nothing out that is not told, and other values are shown otherwise."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec
import pytest

from windlass import Ask, Context, Pipeline, Redact, RunFailed, Runtime, task
from windlass.core.codec import PLAIN, Codec
from windlass.core.errors import ValueTooLarge
from windlass.engine.showing import readable

LONG = 100_000


class Box:
    """What no store can keep, and what says of itself whatever it likes."""

    def __init__(self, amount: int, said: str = "Box") -> None:
        self.amount = amount
        self.said = said

    def __repr__(self) -> str:
        return f"{self.said}({self.amount})"


@dataclass
class Bill:
    amount: int


def shown(values: dict[str, Any], codec: Codec = PLAIN) -> Any:
    return msgspec.json.decode(readable(codec, values))


def test_what_is_short_stands_as_it_is_kept() -> None:
    assert readable(PLAIN, {"n": 5, "to": "ann"}) == '{"n":5,"to":"ann"}'


def test_a_long_text_stands_whole_wherever_it_is() -> None:
    text = "x" * LONG
    assert shown({"text": text, "more": [1, {"in": text}]}) == {"text": text, "more": [1, {"in": text}]}
    assert shown({"text": text + "\ud800"})["text"].startswith("xxx")


def test_another_long_content_stands_by_its_size_and_digest() -> None:
    content = b"\x00" * LONG
    (data,) = shown({"data": content}).values()
    assert data == {"$": "bytes", "v": {"blob": sha256(content).hexdigest(), "size": LONG}}
    assert shown({"data": content[:-1] + b"\x01"})["data"] != data


def test_an_array_stands_by_its_digest() -> None:
    numpy = pytest.importorskip("numpy")
    array = numpy.zeros(LONG)
    before = shown({"array": array})
    array[LONG // 2] = 1e6
    assert (before["array"]["v"]["shape"], shown({"array": array}) != before) == ([LONG], True)


def test_only_what_cannot_be_kept_says_of_itself_what_it_is() -> None:
    said = "x" * LONG
    found = shown({"box": Box(5), "data": b"\x01", "bill": Bill(5), "long": Box(5, said)})
    assert found["box"] == "Box(5)"
    assert found["data"] == {"$": "bytes", "v": "AQ=="}
    assert found["bill"] == "Bill(amount=5)"
    assert found["long"] == f"{said}(5)"


def test_what_it_says_of_itself_is_masked() -> None:
    codec = PLAIN.redacting(Redact(["password"]))
    assert shown({"password": Box(5), "n": 1}, codec) == {"password": "[redacted:password]", "n": 1}


def test_values_that_are_too_large_together_are_shown_each() -> None:
    codec, most = Codec(max_value=LONG), LONG - 200
    assert shown({"one": "x" * most, "two": "y" * most}, codec) == {"one": "x" * most, "two": "y" * most}


def test_what_is_too_large_does_not_say_of_itself_what_it_is() -> None:
    numpy = pytest.importorskip("numpy")
    with pytest.raises(ValueTooLarge):
        readable(Codec(max_value=LONG), {"array": numpy.zeros(LONG)})


def paying(world: dict[str, Any], paid: list[Any], **more: Any) -> Pipeline:
    async def pay(given: Any) -> None:
        paid.append(given)

    @task(id="pays")
    async def pays(n: int, ctx: Context) -> None:
        await ctx.call("pay", pay, world["given"], key="k")

    return Pipeline("paying", [pays], grants=[Ask("call:pay")], **more)


async def test_what_cannot_be_kept_is_put_to_nobody(runtime: Runtime) -> None:
    paid: list[Any] = []
    with pytest.raises(RunFailed, match=r"nobody can be shown what it would be given: arguments\[0\]\[0\]: Box"):
        await runtime.run(paying({"given": Box(5)}, paid), 1, "r")
    assert (paid, await runtime.questions("r")) == ([], [])
    denied = [event.data async for event in runtime.events("r") if event.type == "approval.denied"]
    assert [(one["name"], "Box is not a value" in one["why"]) for one in denied] == [("pay", True)]


async def test_a_key_does_not_stand_for_the_arguments(runtime: Runtime) -> None:
    paid: list[Any] = []
    world = {"given": Bill(5)}
    run = (await runtime.run(paying(world, paid, types=[Bill]), 1)).run
    (first,) = await runtime.questions(run)
    world["given"] = Bill(5_000)
    await runtime.answer(first.id, "allow")
    assert (await runtime.wait(run)).status == "waiting"
    (again,) = await runtime.questions(run)
    assert (first.about["shown"] != again.about["shown"], paid) == (True, [])
    await runtime.answer(again.id, "allow")
    assert (await runtime.wait(run)).status == "completed"
    assert paid == [Bill(5_000)]


@pytest.mark.parametrize("side", ["before", "after"])
async def test_a_breakpoint_shows_the_size_and_digest_of_what_is_long(runtime: Runtime, side: str) -> None:
    content = b"\x00" * LONG

    @task(id="makes", after="" if side == "after" else None)
    async def makes(n: int) -> bytes:
        return content

    @task(id="takes", before="" if side == "before" else None)
    async def takes(makes: bytes) -> int:
        return len(makes)

    run = (await runtime.run(Pipeline("flow", [makes, takes]), 1)).run
    (asked,) = await runtime.questions(run)
    found = msgspec.json.decode(asked.about["shown"])["makes"]
    assert found == {"$": "bytes", "v": {"blob": sha256(content).hexdigest(), "size": LONG}}
    await runtime.answer(asked.id, "approve")
    assert (await runtime.wait(run)).output == LONG
