"""`import windlass` brings what every program needs, and nothing else."""

import subprocess
import sys
from pathlib import Path

import windlass

LATE = (
    "cel", "google.protobuf", "httpx2", "json", "jsonschema_rs", "pydantic", "windlass.core.prompts",
    "windlass.engine.audits", "windlass.engine.judging", "windlass.engine.models", "windlass.policies.cel",
    "windlass.policies.output", "windlass.policies.parsers", "windlass.policies.rules",
)  # fmt: skip


def test_what_few_programs_need_comes_with_its_first_use() -> None:
    program = f"import sys; import windlass; print([name for name in {LATE} if name in sys.modules])"
    command = [sys.executable, "-c", program]
    source = str(Path(windlass.__file__).parents[1])
    done = subprocess.run(command, env={"PYTHONPATH": source}, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_public_name_is_there() -> None:
    assert [name for name in windlass.__all__ if not hasattr(windlass, name)] == []
    assert not hasattr(windlass, "no_such_name")
