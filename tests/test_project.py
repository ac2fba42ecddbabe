"""The tree installs the same everywhere: pinned, hashed, without a registry's address or a machine's path."""

import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

TREE = Path(__file__).parents[1]
PROJECT = tomllib.loads((TREE / "pyproject.toml").read_text())
REQUIREMENTS = sorted((TREE / "requirements").glob("*.txt"))

REGISTRY = re.compile(
    r"pypi\.org|pythonhosted\.org|npmjs\.|yarnpkg\.com|deb\.debian|debian\.org|archive\.ubuntu|anaconda\.org"
    r"|crates\.io|proxy\.golang|rubygems\.org|docker\.io|ghcr\.io|quay\.io"
)
INDEX = re.compile(
    r"(?<!\S)(--(extra-|default-)?index(-url)?|--find-links|--trusted-host)\b|^(-i|-f) |\[\[?tool\.uv\b", re.MULTILINE
)
MACHINE_PATH = re.compile(r"(?<![\w.~<}-])/(?:work|tmp|root|home|Users)/")
ENTRY = re.compile(r"^([A-Za-z0-9][\w.-]*)==(\S+)((?:.*\\\n)+.*)$", re.MULTILINE)


def tracked() -> Iterator[Path]:
    """Walk what a clone holds or soon will: git's list, or without git every file outside of dot folders."""
    names = ""
    if shutil.which("git"):
        git = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(git, cwd=TREE, capture_output=True, text=True, check=False).stdout
    paths = [TREE / name for name in names.split("\0") if name] or [
        path
        for path in TREE.rglob("*")
        if not any(
            part == "__pycache__" or (part.startswith(".") and part not in {".ci", ".gitignore"})
            for part in path.relative_to(TREE).parts
        )
    ]
    yield from (path for path in sorted(paths) if path.is_file())


def places(pattern: re.Pattern[str]) -> list[str]:
    """List file, line and text of each match in the tree."""
    found = []
    for path in tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue  # a picture
        lines = (text.count("\n", 0, match.start()) + 1 for match in pattern.finditer(text))
        found += [f"{path.relative_to(TREE)}:{line}: {text.splitlines()[line - 1].strip()}" for line in lines]
    return found


def pins(path: Path) -> dict[str, str]:
    return {match[1]: match[2] for match in ENTRY.finditer(path.read_text())}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_no_file_names_a_registry() -> None:
    assert places(REGISTRY) == []


def test_no_file_names_an_index() -> None:
    assert places(INDEX) == []
    assert not (TREE / "uv.lock").exists()


def test_no_file_names_a_path_of_one_machine() -> None:
    assert places(MACHINE_PATH) == []


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.stem)
def test_every_requirement_is_pinned_with_hashes(path: Path) -> None:
    text = path.read_text()
    starts = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    hashed = [match[1] for match in ENTRY.finditer(text) if "--hash=sha256:" in match[3]]
    assert starts
    assert [re.split(r"[=\s]", line)[0] for line in starts] == hashed


def test_requirements_cover_the_project_and_agree() -> None:
    dev, run = (pins(TREE / "requirements" / name) for name in ("dev.txt", "run.txt"))
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = {normal(re.split(r"[ ;<>=!~]", entry)[0]) for entry in PROJECT["project"]["dependencies"] + extras["cli"]}
    assert wanted <= run.keys()
    assert run.items() <= dev.items()
    assert {normal(re.split(r"[ ;<>=!~]", entry)[0]) for entries in extras.values() for entry in entries} <= dev.keys()


def test_every_exemption_has_its_reason() -> None:
    text = (TREE / "pyproject.toml").read_text()
    ruff = PROJECT["tool"]["ruff"]["lint"]
    rules = [*ruff["ignore"], *(rule for rules in ruff["per-file-ignores"].values() for rule in rules)]
    assert [rule for rule in rules if not re.search(rf'^    "{rule}",  # \S', text, re.MULTILINE)] == []


def test_the_source_is_one_package() -> None:
    assert {path.name for path in (TREE / "src").iterdir()} == {"windlass"}
    assert (TREE / "src" / "windlass" / "py.typed").exists()


def test_the_readme_shows_the_two_commands() -> None:
    readme = (TREE / "README.md").read_text()
    assert "make demo" in readme
    assert "make test" in readme
    assert PROJECT["project"]["readme"] == "README.md"
