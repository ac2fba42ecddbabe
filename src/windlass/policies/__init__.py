"""Pure decisions about how a task may fail and wait: declared once, enforced by the engine."""
