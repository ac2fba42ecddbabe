"""The power cut trial in small, and its teeth; each in a process of its own, because it makes disks and forks."""

import json
import os
import subprocess
import sys
from random import Random
from typing import Any

import pytest

from trials import power, shutdown
from trials.figures import Figures
from trials.page import verdict
from trials.power import PAGE, Folder, Inode
from trials.rooms import ROOT, run_apart
from windlass.testing.disk import Call

TRUSTING = """
import json, tempfile
from pathlib import Path
from trials import power
from windlass.stores.sqlite_writer import Writer
def trust(writer, link):
    writer._in_doubt = False
assert Writer._trust
Writer._trust = trust
power.RECORDINGS = {name: work for name, work in power.RECORDINGS.items() if work[1]}
with tempfile.TemporaryDirectory() as folder:
    print(json.dumps(power.run(Path(folder), images=400).bad))
"""


def trial(**options: Any) -> Figures:
    return run_apart("power", power.TRIALS[0], options).figures


def test_what_is_acknowledged_outlives_a_power_cut() -> None:
    figures = trial(images=250)
    assert figures.trouble == []
    assert figures.passes


def test_without_its_syncs_it_would_not() -> None:
    assert trial(images=100, synchronous="NORMAL").bad["lost"] > 0


def test_a_sync_that_failed_must_not_be_believed_when_it_is_tried_again() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT)))}
    ended = subprocess.run(
        [sys.executable, "-c", TRUSTING], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert sum(json.loads(ended.stdout).values()) > 0


@pytest.mark.parametrize("place", [0, 1])
def test_a_file_system_that_goes_away_or_is_full_loses_nothing(place: int) -> None:
    few = shutdown.TRIALS[place]
    figures = run_apart("shutdown", few, {"cuts": 2} if few.name == "shutdown" else {"disks": 4}).figures
    assert figures.trouble == []
    assert verdict(figures) in ("yes", "skipped")


# What a disk may leave


def write(place: int, content: bytes) -> Call:
    return Call("write", "r.db-wal", place, content)


def left(inode: Inode) -> set[bytes]:
    return {bytes(inode.left(Random(seed))) for seed in range(200)}


def test_what_was_synced_stands() -> None:
    inode = Inode()
    inode.change(write(0, b"a" * 10))
    inode.sync(fails=False)
    assert left(inode) == {b"a" * 10}


def test_of_what_was_not_any_part_may_be_there() -> None:
    inode = Inode()
    inode.change(write(0, b"a" * 512))
    inode.change(write(512, b"b" * 512))
    a, b, none = b"a" * 512, b"b" * 512, bytes(512)
    assert left(inode) == {b"", a, a + b, none + b}


def test_a_page_whose_sync_failed_may_be_lost_until_it_is_written_again() -> None:
    inode = Inode()
    inode.change(write(0, b"a" * PAGE))
    inode.sync(fails=True)
    inode.change(write(PAGE, b"b"))
    inode.sync(fails=False)
    assert left(inode) == {b"a" * PAGE + b"b", bytes(PAGE) + b"b"}
    inode.change(write(0, b"c"))
    inode.sync(fails=False)
    assert left(inode) == {b"c" + b"a" * (PAGE - 1) + b"b"}


def test_a_name_that_was_removed_may_come_back_until_the_folder_is_synced() -> None:
    folder = Folder()
    for call in (Call("open", "r.db-wal"), write(0, b"a"), Call("sync", "r.db-wal"), Call("delete", "r.db-wal")):
        folder.take(call)
    found = [folder.left(Random(seed)).get("r.db-wal", b"gone") for seed in range(50)]
    assert {bytes(content) for content in found} == {b"a", b"gone"}
    folder.sync()
    assert all(not folder.left(Random(seed)) for seed in range(50))
