"""FILE:NAME: finding a definition in a file or an installed module, and saying what is wrong when it is not there."""

import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from windlass.cli.options import PLATFORM_VARIABLE
from windlass.core.blueprint import Definition
from windlass.core.errors import DefinitionError, WindlassError
from windlass.policies.chain import NO_PLATFORM
from windlass.policies.platform import Platform

HOW = "write FILE.py:NAME, or package.module:NAME"
PASSED = (WindlassError, KeyboardInterrupt)  # they say themselves what is wrong


class _Fresh(SourceFileLoader):
    """Compile the source as it stands: byte code kept beside it may be that of an edit within the same second."""

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 -- the signature of a loader
        return self.source_to_code(self.get_data(self.path), self.path)


def load(targets: Sequence[str]) -> list[Definition]:
    """Import what FILE:NAME names, each file once, and compile it.

    Raises:
        DefinitionError: the file or the name is not there, cannot be imported, is no definition, or cannot be one.
    """
    modules: dict[str, ModuleType] = {}
    found = []
    for target in targets:
        place, name = _split(target)
        if place not in modules:
            modules[place] = _import(place)
        found.append(_pick(modules[place], place, name))
    return found


def load_platform(target: str) -> Platform:
    """Import the Platform that FILE:NAME names; "" is that of WINDLASS_PLATFORM, or else one that declares nothing.

    Raises:
        DefinitionError: the file or the name is not there, cannot be imported, or is no Platform.
    """
    target = target or os.environ.get(PLATFORM_VARIABLE, "")
    if not target:
        return NO_PLATFORM
    place, name = _split(target)
    module = _imported(place) or _import(place)  # a file of definitions may hold the platform, too
    value = getattr(module, name, None)
    if isinstance(value, Platform):
        return value
    there = [known for known, found in vars(module).items() if isinstance(found, Platform)]
    hint = f"platforms there: {', '.join(there)}" if there else "write NAME = Platform(...) in it"
    if value is None:
        raise DefinitionError("definition.attribute", f"{place} has no {name!r}", hint=hint)
    raise DefinitionError(
        "definition.kind", f"{name!r} in {place} is a {type(value).__name__}, not a Platform", hint=hint
    )


def _split(target: str) -> tuple[str, str]:
    place, colon, name = target.rpartition(":")
    if not colon or not place or not name:
        raise DefinitionError("definition.target", f"{target!r} is not FILE:NAME", hint=HOW)
    return place, name


def _import(place: str) -> ModuleType:
    return _import_file(Path(place)) if is_file(place) else _import_module(place)


def _imported(place: str) -> ModuleType | None:
    """Find the module that was imported from this file already: a second import would run it again."""
    path = str(Path(place).resolve())
    return next((found for found in list(sys.modules.values()) if getattr(found, "__file__", None) == path), None)


def is_file(place: str) -> bool:
    """Say whether a place is a file's path, and not a module's name."""
    return place.endswith(".py") or "/" in place or "\\" in place or Path(place).is_file()


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise DefinitionError("definition.file", f"there is no file {path}", hint=HOW)
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    name = path.stem
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) != str(path.resolve()):
        name = f"{name}_of_{path.resolve().parent.name}"  # a file may be called as a module that is there already
    spec = spec_from_loader(name, _Fresh(name, str(path.resolve())))
    if spec is None or spec.loader is None:
        raise DefinitionError("definition.file", f"{path} is no Python source", hint=HOW)
    module = sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, PASSED):
            raise
        raise _refusal(str(path), error) from error
    return module


def _import_module(place: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return import_module(place)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{place}.".startswith(f"{error.name}."):
            raise _refusal(place, error) from error
        raise DefinitionError("definition.file", f"there is no file and no module {place!r}", hint=HOW) from error
    except PASSED:
        raise
    except BaseException as error:
        raise _refusal(place, error) from error


def _refusal(place: str, error: BaseException) -> DefinitionError:
    """Say why an import failed, with the frames of the user's code only."""
    lines = [f"{place} cannot be imported: {type(error).__name__}: {error}"]
    lines += [f"  {line}" for line in frames(error)]
    return DefinitionError("definition.import", "\n".join(lines))


def frames(error: BaseException) -> list[str]:
    """List the frames of the user's code, outermost first: `flow.py:3 in load`."""
    shown = [
        f"{frame.filename}:{frame.lineno} in {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__ and "importlib" not in frame.filename
    ]
    if isinstance(error, SyntaxError) and error.filename:
        shown.append(f"{error.filename}:{error.lineno}: {(error.text or '').strip()}")
    return shown


def _pick(module: ModuleType, place: str, name: str) -> Definition:
    value: Any = module
    for part in name.split("."):
        value = getattr(value, part, None)
    if value is not None and is_definition(value):
        value.compile()
        definition: Definition = value
        return definition
    there = [known for known, found in vars(module).items() if is_definition(found)]
    hint = f"definitions there: {', '.join(there)}" if there else "there is no Pipeline or Graph in it"
    if value is None:
        raise DefinitionError("definition.attribute", f"{place} has no {name!r}", hint=hint)
    said = f"{name!r} in {place} is a {type(value).__name__}, not a definition"
    raise DefinitionError("definition.kind", said, hint=hint)


def is_definition(value: Any) -> bool:
    """Say whether a value compiles to a Blueprint."""
    return not isinstance(value, type) and callable(getattr(value, "compile", None)) and isinstance(
        getattr(value, "name", None), str
    )  # fmt: skip
