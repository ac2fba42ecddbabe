"""What the tests of definitions share."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from windlass.core.errors import DefinitionError

Refused = Callable[..., AbstractContextManager[None]]


@contextmanager
def _refused(code: str, *words: str) -> Iterator[None]:
    with pytest.raises(DefinitionError) as caught:
        yield
    assert caught.value.code == code, str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.fixture
def refused() -> Refused:
    """Expect a DefinitionError of this code that says these words."""
    return _refused
