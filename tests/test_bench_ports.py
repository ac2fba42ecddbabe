"""The benchmark of the ports runs, and its table says what was measured."""

from pathlib import Path

import pytest

from benchmarks import ports


def test_every_port_is_measured_over_the_bare_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ports.main(["--quick", "--folder", str(tmp_path), "--json", str(tmp_path / "found.json")]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 2 * 2 * len(ports.WORKS)
    assert sum("150 µs" in line for line in lines) == 4
    assert (tmp_path / "found.json").exists()
