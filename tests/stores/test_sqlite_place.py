# ruff: noqa: ASYNC240 -- nothing else runs on the loop of these tests

from pathlib import Path

import pytest

from windlass.core.errors import StoreUnavailable, StoreUnknown
from windlass.stores import sqlite_place
from windlass.stores.base import open_store
from windlass.stores.sqlite_place import file_system_of, mounts, path_of


def test_a_url_has_three_slashes_and_a_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert path_of("sqlite:///runs.db") == str(tmp_path / "runs.db")
    assert path_of("sqlite:///.windlass/runs.db") == str(tmp_path / ".windlass/runs.db")
    assert path_of("sqlite:////var/runs.db") == "/var/runs.db"
    assert path_of("sqlite:///:memory:") == ":memory:"


@pytest.mark.parametrize("url", ["sqlite:", "sqlite://host/runs.db", "sqlite:///", "sqlite:///folder/", "file:///x.db"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(StoreUnknown, match="names no SQLite file"):
        path_of(url)


def test_a_url_is_refused_before_anything_is_made() -> None:
    with pytest.raises(StoreUnknown):
        open_store("sqlite://runs.db")


async def test_the_file_and_its_folder_are_private(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("sqlite:///.windlass/windlass.db")
    await store.open()
    folder = tmp_path / ".windlass"
    assert (folder / ".gitignore").read_text() == "*\n"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.glob("*.db*")} == dict.fromkeys(
        ("windlass.db", "windlass.db-wal", "windlass.db-shm", "windlass.db.anchor"), 0o600
    )
    await store.close()


async def test_a_folder_that_was_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".windlass").mkdir()
    store = open_store(f"sqlite:///{tmp_path}/.windlass/windlass.db")
    await store.open()
    await store.close()
    assert sorted(path.name for path in (tmp_path / ".windlass").iterdir()) == ["windlass.db", "windlass.db.anchor"]


@pytest.mark.parametrize("path", ["missing/runs.db", "file/runs.db"])
async def test_no_other_folder_is_made(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="cannot make"):
        await open_store(f"sqlite:///{tmp_path}/{path}").open()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


async def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        await open_store(f"sqlite:///{tmp_path}").open()


@pytest.mark.parametrize("kind", ["nfs4", "nfs", "cifs", "smb3", "smbfs", "fuse.sshfs", "fuse.glusterfs"])
async def test_network_file_systems_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str) -> None:
    monkeypatch.setattr(sqlite_place, "mounts", lambda: [("/", "ext4"), (str(tmp_path.resolve()), kind)])
    with pytest.raises(StoreUnknown, match=kind):
        await open_store(f"sqlite:///{tmp_path}/runs.db").open()
    assert list(tmp_path.iterdir()) == []


def test_the_nearest_mount_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    near = str(tmp_path.resolve())
    table = [("/", "ext4"), (near, "xfs"), (near, "tmpfs"), (near + "x", "nfs"), (near + "/deeper", "nfs")]
    monkeypatch.setattr(sqlite_place, "mounts", lambda: table)
    assert file_system_of(tmp_path) == "tmpfs"
    monkeypatch.setattr(sqlite_place, "mounts", list)
    assert file_system_of(tmp_path) == ""


def test_the_system_tells_its_mounts() -> None:
    assert "/" in dict(mounts())
