"""Log records without secrets."""

import io
import logging
from collections.abc import Iterator

import pytest

from windlass import SecretFilter
from windlass.core.logs import logger
from windlass.core.secret import MASKS

VALUE = "sk_live_51Habc"


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What a handler with the filter writes of a program's log."""
    MASKS.learn("stripe", VALUE)
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(SecretFilter())
    program = logging.getLogger("program")
    program.addHandler(handler)
    program.propagate = False
    yield stream
    program.removeHandler(handler)
    MASKS.forget()


def test_message_arguments_and_traceback_are_masked(written: io.StringIO) -> None:
    program = logging.getLogger("program")
    program.warning("key %s of %d", VALUE, 1)
    program.warning({"key": VALUE})
    try:
        int(VALUE)
    except ValueError:
        program.exception("it failed", stack_info=True)
    program.warning("%s of %s", "nothing", "it")
    said = written.getvalue()
    assert VALUE not in said
    assert "key [secret:stripe] of 1\n{'key': '[secret:stripe]'}\nit failed\nTraceback" in said
    assert "ValueError: invalid literal for int() with base 10: '[secret:stripe]'" in said
    assert said.endswith("nothing of it\n")


def test_without_secrets_a_record_stays_as_it_is() -> None:
    MASKS.forget()
    record = logging.LogRecord("n", logging.INFO, "", 1, "key %s", (VALUE,), None)
    assert SecretFilter().filter(record)
    assert record.args == (VALUE,)


def test_the_loggers_of_the_product_have_the_filter_once() -> None:
    assert logger("windlass.store") is logger("windlass.store")
    for name in ("windlass.store", "windlass.watchdog"):
        assert [type(one) for one in logger(name).filters] == [SecretFilter]
