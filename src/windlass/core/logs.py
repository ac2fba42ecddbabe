"""Logs without secrets: a filter for any handler, and the loggers of the product, which have it."""

import logging
import traceback

from windlass.core.secret import MASKS


class SecretFilter(logging.Filter):
    """Put marks where a known secret stands in a log record: its message, its arguments, its traceback.

    A filter of a logger sees only what is logged there: add it to the handlers, and it sees everything that they write.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask a record; it is never dropped."""
        if not MASKS:
            return True
        said = record.getMessage()
        masked = MASKS.text(said)
        if masked != said:
            record.msg, record.args = masked, None
        if record.exc_info and record.exc_info[1] is not None:
            whole = "".join(traceback.format_exception(record.exc_info[1])).rstrip("\n")
            if MASKS.text(whole) != whole:
                record.exc_text, record.exc_info = MASKS.text(whole), None
        if record.stack_info:
            record.stack_info = MASKS.text(record.stack_info)
        return True


def logger(name: str) -> logging.Logger:
    """Return a logger of the product."""
    found = logging.getLogger(name)
    if not any(isinstance(known, SecretFilter) for known in found.filters):
        found.addFilter(SecretFilter())
    return found
