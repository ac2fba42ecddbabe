"""Which runs stay for the sake of others while a SQLite store is pruned: those that forks began at, and children."""

from collections import Counter

from windlass.stores.queries import queries
from windlass.stores.sqlite_file import Link
from windlass.stores.sqlite_read import RECORD, opened

SQL = queries("sqlite")


class Kin:
    """What a prune knows of forks and children; runs that are made meanwhile are looked up again."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.parents: dict[str, Counter[tuple[int, int]]] = {}  # run → the checkpoints that forks of it began at
        self.parent_of: dict[str, tuple[str, tuple[int, int]]] = {}
        self.above: dict[str, str] = {}  # run → the one that waits for it; it stays as long as that
        self.gone: set[str] = set()  # runs that were removed, or would be
        self.seen = 0  # number of the last run that is known

    def look(self) -> None:
        """Note the kin of runs that were made since the last look."""
        while rows := self.link.execute(SQL["records_after"], (self.seen,)).fetchall():
            for no, digest, body in rows:
                record = RECORD.decode(opened(digest, body))
                if record.parent is not None:
                    point = (record.parent.branch, record.parent.n)
                    self.parents.setdefault(record.parent.run, Counter())[point] += 1
                    self.parent_of[record.id] = (record.parent.run, point)
                if record.origin is not None and not record.origin.detached:
                    self.above[record.id] = record.origin.run
                self.seen = no

    def forks(self, run: str) -> frozenset[tuple[int, int]]:
        """Name the checkpoints of a run that forks began at and still need."""
        return frozenset(+self.parents.get(run, Counter()))

    def is_child(self, run: str) -> bool:
        """Say whether a run is kept for its parent's sake: as long as that is there, or would be."""
        above = self.above.get(run)
        return above is not None and above not in self.gone and self.link.value(SQL["run_number"], (above,)) is not None

    def remove(self, run: str) -> None:
        """A run is gone, or would be: it needs nobody any more."""
        self.gone.add(run)
        parent, point = self.parent_of.pop(run, ("", (0, 0)))
        if parent:
            self.parents[parent][point] -= 1
