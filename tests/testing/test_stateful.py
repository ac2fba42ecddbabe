"""The stores do what the model says, whatever is called in whatever order."""

from hypothesis import settings

from windlass.stores.memory import MemoryStore
from windlass.stores.sqlite import SQLiteStore
from windlass.testing.stateful import machine

SMALL = settings(max_examples=15, stateful_step_count=25)

TestMemory = machine(lambda clock, _: MemoryStore(clock=clock)).TestCase
TestFile = machine(lambda clock, folder: SQLiteStore(f"sqlite:///{folder / 'runs.db'}", clock=clock)).TestCase
TestMemory.settings = TestFile.settings = SMALL
