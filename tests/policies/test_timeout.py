"""How long an attempt may take."""

from datetime import timedelta
from typing import Any

import pytest

from windlass.core.errors import DefinitionError
from windlass.policies.timeout import seconds


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), True, "30s", timedelta(0)])
def test_a_timeout_that_cannot_be(wrong: Any) -> None:
    with pytest.raises(DefinitionError, match="task 'a': timeout") as caught:
        seconds(wrong, "timeout", "task 'a'")
    assert caught.value.code == "timeout.value"


def test_durations_are_seconds() -> None:
    inf = float("inf")
    assert [seconds(d, "timeout", "") for d in (None, 3, timedelta(minutes=1), inf)] == [None, 3, 60, inf]
