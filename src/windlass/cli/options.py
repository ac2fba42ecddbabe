"""What every command takes: where the runs are kept, and how to answer."""

import os
import shlex
from dataclasses import dataclass
from typing import Annotated, Final

from cyclopts import Parameter
from cyclopts.validators import Number

DEFAULT_STORE: Final = "sqlite:///.windlass/windlass.db"
STORE_VARIABLE: Final = "WINDLASS_STORE"
PLATFORM_VARIABLE: Final = "WINDLASS_PLATFORM"

Limit = Annotated[int, Parameter(validator=Number(gte=1))]  # of how much is listed


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """The parameters of every command."""

    store: Annotated[
        str, Parameter(help=f"URL of the store; else {STORE_VARIABLE}, else {DEFAULT_STORE}.", show_default=False)
    ] = ""
    json: Annotated[
        bool, Parameter(help="Results as JSON on standard output, one object a line.", show_default=False)
    ] = False

    @property
    def url(self) -> str:
        """The store's URL (D33)."""
        return self.store or os.environ.get(STORE_VARIABLE) or DEFAULT_STORE

    def paste(self, *words: str) -> str:
        """Spell a command that works as pasted: for the same store, quoted for the shell."""
        store = ["--store", self.store] if self.store else []
        return shlex.join(["windlass", *words, *store])


COMMON: Final = Common()


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Driving(Common):
    """The parameters of every command that drives runs."""

    platform: Annotated[
        str,
        Parameter(help=f"FILE.py:NAME of the Platform to drive on; else {PLATFORM_VARIABLE}.", show_default=False),
    ] = ""


DRIVING: Final = Driving()
