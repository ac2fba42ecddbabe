"""Tools and grants, checked while a definition is built."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import pytest

from windlass import Context, Pipeline, task
from windlass.core.errors import DefinitionError, InputError, ToolArgumentsInvalid
from windlass.core.usage import Usage
from windlass.core.words import Happened, Tool
from windlass.graph.tools import grants_of, tool, tools_of
from windlass.policies.permission import Allow, Ask, Deny


@tool
async def pricing(amount: int, city: str = "Paris") -> int:
    return amount + len(city)


@tool(name="git.push", effect=True, cost=Usage(money="0.5"), on_doubt="retry")
def push(branch: str) -> str:
    return branch


@tool
def search(query: str, **more: Any) -> list[str]:
    return [query, *more]


TOOLS = tools_of([pricing, push, search], "pipeline 'x'")


def refusal(act: Callable[[], object]) -> DefinitionError:
    with pytest.raises(DefinitionError) as caught:
        act()
    return caught.value


async def test_a_tool_is_its_function_with_a_name() -> None:
    assert await pricing(5) == 10
    assert push("main") == "main"
    assert (pricing.name, pricing.effect, pricing.on_doubt, pricing.cost) == ("pricing", False, "ask", {})
    assert dict(pricing.parameters) == {"amount": msgspec.UNSET, "city": "Paris"}
    assert (push.name, push.effect, push.on_doubt, push.cost) == ("git.push", True, "retry", {"money": 500_000})
    assert search.takes_more
    assert tool(Happened, name="look").name == "look"
    assert list(TOOLS) == ["pricing", "git.push", "search"]


def test_final_arguments_have_their_defaults() -> None:
    assert pricing.arguments({"amount": 5}) == {"city": "Paris", "amount": 5}
    assert pricing.arguments({"amount": 5, "city": "Rome"}) == {"amount": 5, "city": "Rome"}
    assert search.arguments({"query": "x", "page": 2}) == {"query": "x", "page": 2}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "'amount' is missing"),
        ({"amount": 1, "amuont": 2}, "there is no 'amuont'"),
        ({"amount": 1, "\ud800": 2}, "there is no '\\ud800'"),
        ({"amount": 1, "self": 2}, "there is no 'self'"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match="tool pricing") as caught:
        pricing.arguments(given)
    assert said in str(caught.value)
    str(caught.value).encode()


class Unreadable:
    __signature__ = "none"

    def __call__(self) -> None: ...


def untyped(amount) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001
def untyped_more(amount: int, **more) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN003
def nameless(amount: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821
def positional(amount: int, /) -> None: ...
def many(*amounts: int) -> None: ...


@pytest.mark.parametrize(
    ("act", "code"),
    [
        (lambda: tool(lambda: None), "tool.name"),
        (lambda: tool(functools.partial(print)), "tool.name"),
        (lambda: tool(print, name="a b"), "tool.name"),
        (lambda: tool(print, name="a*"), "tool.name"),
        (lambda: tool(print, name="a\x00"), "tool.name"),
        (lambda: tool(print, name="\ud800"), "tool.name"),
        (lambda: tool(3), "tool.function"),  # type: ignore[call-overload]
        (lambda: tool(positional), "tool.parameters"),
        (lambda: tool(many), "tool.parameters"),
        (lambda: tool(Unreadable(), name="x"), "tool.parameters"),
        (lambda: tool(untyped), "tool.types"),
        (lambda: tool(untyped_more), "tool.types"),
        (lambda: tool(nameless), "tool.types"),
        (lambda: tool(push.fn, cost=0.5), "tool.cost"),  # type: ignore[call-overload]
        (lambda: tool(push.fn, cost=Usage(tokens_in=-1)), "budget.usage"),
        (lambda: tool(push.fn, on_doubt="never"), "tool.on_doubt"),  # type: ignore[call-overload]
        (lambda: tools_of([pricing.fn], "x"), "tool.kind"),
        (lambda: tools_of(pricing, "x"), "tool.kind"),
        (lambda: tools_of("pricing", "x"), "tool.kind"),
        (lambda: tools_of(["pricing"], "x"), "tool.kind"),
        (lambda: tools_of([pricing, tool(push.fn, name="pricing")], "x"), "tool.duplicate"),
        (lambda: grants_of([Allow("pricng")], TOOLS, "x"), "permission.tool"),
        (lambda: grants_of([Deny("pricing*"), Ask("nothing*")], TOOLS, "x"), "permission.tool"),
        (lambda: grants_of([Allow("pricing")], {}, "x"), "permission.tool"),
        (lambda: grants_of([Allow("pricing", when="args.amuont < 3")], TOOLS, "x"), "permission.field"),
        (lambda: grants_of([Deny("git.*", when="has(args.force)")], TOOLS, "x"), "permission.field"),
        (lambda: grants_of([Allow("pricing", when="amount < 3")], TOOLS, "x"), "permission.condition"),
        (lambda: grants_of([Allow("pricing", when="args.amount <")], TOOLS, "x"), "permission.condition"),
        (lambda: grants_of(["pricing"], TOOLS, "x"), "permission.rule"),
        (lambda: grants_of("pricing", TOOLS, "x"), "permission.rule"),
        (lambda: grants_of(Allow("pricing"), TOOLS, "x"), "permission.rule"),
        (lambda: grants_of({"pricing": True}, TOOLS, "x"), "permission.rule"),
    ],
)
def test_what_cannot_be_is_refused(act: Callable[[], object], code: str) -> None:
    error = refusal(act)
    assert error.code == code
    assert error.hint
    str(error).encode()


def test_a_refusal_names_what_is_there() -> None:
    assert "did you mean 'pricing'? tools: pricing, git.push, search" in str(
        refusal(lambda: grants_of([Allow("pricng")], TOOLS, "task 'a'"))
    )
    said = str(refusal(lambda: grants_of([Allow("pricing", when="args.amuont < 3")], TOOLS, "task 'a'")))
    assert said == (
        "task 'a': the grant 'allow pricing when args.amuont < 3' looks at args.amuont, which no such tool takes"
        " (did you mean 'amount'? parameters: amount, city)"
    )


def test_grants_that_fit_are_kept_as_they_are() -> None:
    rules = [
        Allow("*"),
        Allow("pricing", when="args.amount <= 10 && args['city'] == 'Paris'"),
        Allow("*r*", when="args.amount > 3"),  # one of the tools that it fits has the parameter
        Ask("search", when="has(args.page)"),  # takes any argument
        Deny("effect:push", when="args.anything == 1"),  # nobody knows the parameters of an effect
    ]
    assert grants_of(rules, TOOLS, "x") == tuple(rules)
    assert grants_of(None, TOOLS, "x") is None
    assert grants_of((), TOOLS, "x") == ()
    assert grants_of([Allow("*")], {}, "x") == (Allow("*"),)


@dataclass(frozen=True)
class Place:
    city: str
    zip: int = 0


class Shop:
    def __call__(self, item: str) -> str:
        return item


def test_the_schema_of_a_tool_is_that_of_its_signature() -> None:
    @tool
    def order(
        place: Place, *, amount: Annotated[int, msgspec.Meta(ge=1)] = 1, kind: Literal["a", "b"] | None = None,
        others: tuple[Place, ...] = (), anything: Any = None,
    ) -> None:  # fmt: skip
        """Order something."""

    assert order.description == "Order something."
    assert order.schema == {
        "type": "object",
        "properties": {
            "place": {"$ref": "#/$defs/Place"},
            "amount": {"type": "integer", "minimum": 1},
            "kind": {"anyOf": [{"enum": ["a", "b"]}, {"type": "null"}]},
            "others": {"type": "array", "items": {"$ref": "#/$defs/Place"}},
            "anything": {},
        },
        "additionalProperties": False,
        "required": ["place"],
        "$defs": {
            "Place": {
                "title": "Place", "type": "object", "required": ["city"],
                "properties": {"city": {"type": "string"}, "zip": {"type": "integer", "default": 0}},
            },
        },
    }  # fmt: skip
    assert search.schema["additionalProperties"] == {}
    assert tool(Shop(), name="shop").schema["properties"] == {"item": {"type": "string"}}
    assert order.arguments({"place": {"city": "Paris"}})["place"] == Place("Paris")
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"place": {"city": 3}}, "tool order.place.city"),
        ({"place": {"city": "x"}, "amount": 0}, "tool order.amount"),
        ({"place": {"city": "x"}, "kind": "c"}, "tool order.kind"),
        ({"place": {"city": "x"}, "others": [{}]}, "tool order.others[0]"),
    ]
    for given, path in wrong:
        with pytest.raises(ToolArgumentsInvalid) as caught:
            order.arguments(given)
        assert caught.value.path == path


def test_the_digest_of_a_tool_is_of_what_a_model_is_told() -> None:
    def made(name: str = "pay", doc: str = "Pay.", kind: Any = int) -> str:
        def pay(amount: int) -> None: ...

        pay.__doc__ = doc
        pay.__annotations__["amount"] = kind
        return tool(pay, name=name).digest

    assert made() == made()
    assert len({made(), made(name="buy"), made(doc="Pay all."), made(kind=float)}) == 4


def test_values_of_a_tools_types_are_kept() -> None:
    @tool
    async def order(place: Place) -> str:
        return place.city

    @task(grants=[Allow("order")])
    async def act(n: int, ctx: Context) -> str:
        return str(await ctx.tool("order", place=Place("Paris", n)))

    codec = Pipeline("p", [act], tools=[order]).compile().codec
    assert codec.decode(codec.encode(Place("Paris")).data) == Place("Paris")


def test_a_tool_is_frozen() -> None:
    with pytest.raises(AttributeError):
        push.name = "other"  # type: ignore[misc]
    assert isinstance(push, Tool)
