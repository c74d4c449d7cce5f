"""What stands at a place, `package.module:Name` or `path/file.py:Name`: a class of the user's own.

A relative path counts from the working directory. Which names there are besides is a registry's (`icrl.registry`).
"""

import os
import sys
from collections.abc import Callable
from hashlib import blake2b
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from icrl.errors import UsageError
from icrl.own_code import add_own_code, in_one_line

Accepts = Callable[[Any], bool]
"""Whether a value is of the kind that is looked for."""


def is_place(name: str) -> bool:
    """Whether a name has the form of a place: `package.module:Class`, `path/file.py:Class`, or a file alone."""
    return ":" in name or name.endswith(".py")


def portable(place: str) -> str:
    """The place without an absolute path, which would mean nothing to others: relative to the working directory."""
    where, colon, attribute = place.rpartition(":")
    absolute = where.endswith(".py") and Path(where).is_absolute()
    return f"{os.path.relpath(where)}{colon}{attribute}" if absolute else place


def counts_from(place: str) -> Path | None:
    """The folder that a place counts from, once it is loaded; None where it is found from anywhere."""
    where = place.rpartition(":")[0] or place
    if where.endswith(".py"):
        return None if Path(where).is_absolute() else Path.cwd()
    top = sys.modules.get(where.partition(".")[0])
    files = [file for file in (getattr(top, "__file__", None), *getattr(top, "__path__", ())) if file]
    if not files or {"site-packages", "dist-packages"} & set(Path(files[0]).parts):
        return None
    return Path(files[-1]).resolve().parent


def find_place(place: str, folder: Path | None) -> str:
    """A stored place as this process and those that it starts can load it: as it stands, else from `folder`.

    Nothing of it is run.

    Raises:
        UsageError: where it is not to be found, with the way to name it again.
    """
    where, _, attribute = place.rpartition(":")
    if where.endswith(".py"):
        for candidate in (Path(where), *([folder / where] if folder else [])):
            if candidate.is_file():
                return f"{candidate}:{attribute}"
    elif attribute.endswith(".py") and not where:
        return place  # A file without a class: loading it tells what it defines.
    else:
        _search(Path.cwd())
        if folder:
            _search(folder)
        top = where.partition(".")[0]
        if top in sys.modules or (top and find_spec(top) is not None):
            return place
    raise UsageError(
        f"{where} is not there: name it where it is now, --family NEW/{Path(where).name}:{attribute}"
        if where.endswith(".py")
        else f"there is no module {where!r} to import: name it where it is now, --family PACKAGE.MODULE:{attribute}"
    )


def _search(folder: Path) -> None:
    """Has modules looked for in a folder too, last."""
    if folder.resolve() not in (Path(entry).resolve() for entry in sys.path):
        sys.path.append(str(folder))


def load_place(place: str, accepts: Accepts) -> Any:
    """What stands at `package.module:Name` or `path/file.py:Name`; raises UsageError where nothing does.

    Args:
        accepts: tells what else of the module a message is to name.
    """
    where, _, attribute = place.rpartition(":")
    module = load_file(Path(where)) if where.endswith(".py") else _import(where)
    if not hasattr(module, attribute):
        raise UsageError(f"{where} has no {attribute!r}{defines(module, accepts)}")
    return getattr(module, attribute)


def defines(module: ModuleType, accepts: Accepts) -> str:
    """ " (it defines Corridor)": what a module has of the kind that is looked for, if anything."""
    own = [
        name for name, value in vars(module).items()
        if isinstance(value, type) and accepts(value) and value.__module__ == module.__name__
    ]  # fmt: skip
    return f" (it defines {', '.join(own)})" if own else ""


def _import(name: str) -> ModuleType:
    # A console script does not look for modules where it was started; `python -m` does.
    _search(Path.cwd())
    add_own_code(name.partition(".")[0])
    try:
        return import_module(name)
    except Exception as error:
        if not name or (isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}.")):
            raise UsageError(
                f"there is no module {name!r} to import from {Path.cwd()}: expected package.module:Class"
            ) from None
        raise UsageError(f"{name} cannot be imported: {in_one_line(error)}") from error


def load_file(path: Path) -> ModuleType:
    """The module of a file, loaded once as long as it stays as it is, under a name of its own; its folder is searched
    for what it imports, last.

    Raises:
        UsageError: where the file is not there, or cannot be run.
    """
    if not path.is_file():
        raise UsageError(f"{path} is not there (from {Path.cwd()}): expected path/file.py:Class")
    # Never from a cache: it would take an edit of the same second and length for what was there before, and worker
    # processes, which read the file anew, would step another family than this one.
    source = path.read_bytes()
    name = f"icrl_family_{blake2b(str(path.resolve()).encode() + source, digest_size=6).hexdigest()}"
    if name not in sys.modules:
        spec = spec_from_file_location(name, path.resolve())
        module = module_from_spec(spec)
        sys.modules[name] = module
        if (folder := path.resolve().parent) not in map(Path, sys.path):
            sys.path.append(str(folder))
        add_own_code(folder)
        try:
            exec(compile(source, path.resolve(), "exec"), vars(module))
        except BaseException as error:
            del sys.modules[name]
            if not isinstance(error, Exception):
                raise
            raise UsageError(f"{path} cannot be run: {in_one_line(error)}") from error
    return sys.modules[name]
