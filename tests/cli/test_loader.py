"""FILE:NAME, and each way in which it can be wrong: exit code 4, and what to do."""

import sys
from pathlib import Path

import pytest

from windlass.cli.loader import load
from windlass.core.errors import DefinitionError


def refusal(target: str) -> DefinitionError:
    with pytest.raises(DefinitionError) as refused:
        load([target])
    return refused.value


def test_a_file_is_imported_once() -> None:
    first, second = load(["flows.py:steady", "flows.py:asking"])
    assert (first.name, second.name) == ("steady", "asking")
    assert type(first) is type(second)


def test_an_edit_within_the_same_second_is_seen(folder: Path) -> None:
    source = (
        "from windlass import Pipeline, task\n@task\nasync def a() -> int: return 1\np = Pipeline({!r}, tasks=[a])\n"
    )
    (folder / "one.py").write_text(source.format("x"))
    assert load(["one.py:p"])[0].name == "x"
    (folder / "one.py").write_text(source.format("y"))
    assert load(["one.py:p"])[0].name == "y"


def test_the_folder_of_a_file_is_on_the_path(folder: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "deep" / "beside.py").write_text("NAME = 'found'\n")
    source = "import beside\nfrom windlass import Pipeline, task\n@task\nasync def a() -> int: return 1\n"
    (folder / "deep" / "main.py").write_text(source + "p = Pipeline(beside.NAME, tasks=[a])\n")
    assert load(["deep/main.py:p"])[0].name == "found"


def test_a_file_may_be_called_as_a_module_that_is_there(folder: Path) -> None:
    before = sys.modules["json"]
    (folder / "json.py").write_text((folder / "flows.py").read_text())
    assert load(["json.py:steady"])[0].name == "steady"
    assert sys.modules["json"] is before


def test_a_module_by_its_name(folder: Path) -> None:
    (folder / "package_of_flows").mkdir()
    (folder / "package_of_flows" / "inner.py").write_text((folder / "flows.py").read_text())
    assert load(["package_of_flows.inner:looping"])[0].name == "looping"


@pytest.mark.parametrize("target", ["flows.py", "flows.py:", ":steady", ""])
def test_no_name_is_given(target: str) -> None:
    assert refusal(target).code == "definition.target"


def test_the_file_is_missing() -> None:
    refused = refusal("none.py:x")
    assert refused.code == "definition.file"
    assert "there is no file none.py" in str(refused)
    assert refusal("no_such_module:x").code == "definition.file"


def test_the_name_is_missing() -> None:
    refused = refusal("flows.py:nothing")
    assert refused.code == "definition.attribute"
    assert "definitions there: steady, asking," in refused.hint


def test_what_is_named_is_no_definition() -> None:
    refused = refusal("flows.py:plain")
    assert refused.code == "definition.kind"
    assert "'plain' in flows.py is a dict" in str(refused)
    assert refusal("flows.py:Pipeline").code == "definition.kind"


def test_the_import_fails_and_only_the_users_frames_are_shown(folder: Path) -> None:
    (folder / "bad.py").write_text("def f():\n    return 1 / 0\n\n\nf()\n")
    refused = refusal("bad.py:x")
    assert refused.code == "definition.import"
    assert str(refused.args[0]).splitlines() == [
        "bad.py cannot be imported: ZeroDivisionError: division by zero",
        f"  {folder}/bad.py:5 in <module>",
        f"  {folder}/bad.py:2 in f",
    ]


def test_the_syntax_is_wrong(folder: Path) -> None:
    (folder / "bad.py").write_text("x = (\n")
    refused = refusal("bad.py:x")
    assert "SyntaxError" in str(refused)
    assert f"{folder}/bad.py:1: x = (" in str(refused)


def test_a_script_that_exits_is_no_module(folder: Path) -> None:
    (folder / "bad.py").write_text("raise SystemExit(3)\n")
    assert "SystemExit: 3" in str(refusal("bad.py:x"))


def test_a_module_that_misses_another(folder: Path) -> None:
    (folder / "needs_more.py").write_text("import no_such_thing\n")
    assert refusal("needs_more:x").code == "definition.import"


def test_a_definition_that_cannot_be_one(folder: Path) -> None:
    (folder / "bad.py").write_text("from windlass import Pipeline\np = Pipeline('empty', tasks=[])\n")
    assert refusal("bad.py:p").code == "pipeline.empty"
