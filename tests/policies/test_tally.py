"""One function changes every shared number: bodies in, bodies and an answer out."""

import msgspec
import pytest

from windlass.core.tallies import BreakerAnswer, BreakerOp, BudgetAnswer, BudgetOp, LimitAnswer, LimitOp, held_key
from windlass.policies.tally import apply, kind_of, rows_of

FAILED = BreakerOp("failed", "a|1|x", 5.0, failures=1, window=1.0, cooldown=2.0, patience=3.0)


def test_a_body_is_json_that_says_what_is_not_as_it_always_was() -> None:
    bodies, answer = apply((None, None), BudgetOp("a", 1, 1.0, want={"money": 3}, limit={"money": 5}))
    assert bodies == (b'{"held":{"money":3}}', b'[1,{"money":3}]')
    assert answer == BudgetAnswer({"money": 3}, is_granted=True, left={"money": 2})
    assert apply((None,), FAILED) == (
        (b'{"status":"open","failures":[5.0],"until":7.0,"times":1}',),
        BreakerAnswer(admitted=False, status="open", retry_at=7.0),
    )
    assert apply((None,), LimitOp("a", 1, 1.0, take=1, until=9.0, concurrency=1)) == (
        (b'{"held":{"a":[1,1,9.0]}}',), LimitAnswer(1, 9.0, 1),
    )  # fmt: skip


def test_what_is_empty_has_no_row() -> None:
    assert apply((b'{"held":{"a":[1,1,9.0]}}',), LimitOp("a", 1, 1.0, close=True))[0] == (None,)
    assert apply((b'{"held":{"money":3}}', b'[1,{"money":3}]'), BudgetOp("a", 1, 1.0, close=True))[0] == (None, None)
    assert apply((None,), msgspec.structs.replace(FAILED, verb="ask"))[0] == (None,)


def test_a_run_s_own_budget_is_one_row_and_any_other_two() -> None:
    assert rows_of("budget|run|a", BudgetOp("a", 1, 1.0)) == ("budget|run|a",)
    assert rows_of("budget|run|a%7Cb", BudgetOp("a|b", 1, 1.0)) == ("budget|run|a%7Cb",)
    assert rows_of("budget|run|a", BudgetOp("b", 1, 1.0)) == ("budget|run|a", held_key("budget|run|a", "b"))
    assert rows_of("breaker|fleet||x", FAILED) == ("breaker|fleet||x",)
    (body,), _ = apply((None,), BudgetOp("a", 1, 1.0, want={"money": 3}))
    assert body == b'{"held":{"money":3},"own":[1,{"money":3}]}'
    (shared, child), _ = apply((body, None), BudgetOp("b", 1, 1.0, want={"money": 1}))
    assert (shared, child) == (b'{"held":{"money":4},"own":[1,{"money":3}]}', b'[1,{"money":1}]')
    assert apply((shared,), BudgetOp("a", 2, 1.0))[0] == (b'{"spent":{"money":3},"held":{"money":1}}',)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"held":1}', b'{"spent":{"money":"x"}}', b"{"])
def test_a_body_of_something_else_is_an_error(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        apply((body, None), BudgetOp("a", 1, 1.0))


def test_a_key_says_its_kind() -> None:
    assert [kind_of(key) for key in ("budget|run|a", "held|x", "")] == ["budget", "held", ""]
