import subprocess
import sys

import pytest
from msgspec.structs import replace

from windlass.core import owner
from windlass.core.owner import is_alive, look_up, this_process


def test_this_process_is_alive() -> None:
    me = this_process()
    assert is_alive(me) is True
    assert this_process().id != me.id
    assert str(me.pid) in me.id
    assert me.started
    assert me.boot


def test_a_reused_process_id_is_another_process() -> None:
    assert is_alive(replace(this_process(), started="1")) is False


@pytest.mark.parametrize("field", ["host", "boot"])
def test_from_elsewhere_nobody_can_tell(field: str) -> None:
    assert is_alive(replace(this_process(), **{field: "other"})) is None


def test_a_process_that_ended_is_gone_before_and_after_its_parent_asks() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    found = look_up(child.pid)
    assert found is not None
    its_owner = replace(this_process(), pid=child.pid, started=found[1])
    assert is_alive(its_owner) is True
    child.kill()
    while (seen := look_up(child.pid)) is not None and not seen[0].startswith("Z"):
        pass
    assert is_alive(its_owner) is False
    child.communicate()
    assert is_alive(its_owner) is False


def test_a_process_that_the_system_hides_may_be_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "look_up", lambda _: None)
    assert is_alive(replace(this_process(), pid=1)) is None


def test_other_systems_ask_ps(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"ps": "Ss   Sun Jun 15 15:06:40 2025", "sysctl": "5E1F"}
    monkeypatch.setattr(owner, "LINUX", False)
    monkeypatch.setattr(owner, "answer_of", lambda *command: said[command[0]])
    assert look_up(7) == ("Ss", "Sun Jun 15 15:06:40 2025")
    assert owner.boot.__wrapped__() == "5E1F"
    said["ps"] = ""
    assert look_up(7) is None
