"""Which class a task family's name stands for: a built-in one, an installed plug-in's, or one named by its place.

A name is one of

- a built-in family, `dark-room`; its module is imported when it is first asked for, and may need an extra;
- an entry point of the group `icrl.families` of an installed package;
- `package.module:Class`, anything that Python can import from here;
- `path/file.py:Class`, a file; a relative path counts from the working directory.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from icrl.errors import UsageError, did_you_mean
from icrl.own_code import add_own_code, in_one_line
from icrl.registry import Registry
from icrl.tasks import TaskFamily

ENTRY_POINT_GROUP = "icrl.families"
FamilyFactory = Callable[..., TaskFamily]


class MissingExtra(UsageError):
    """A family's package is not installed."""


class FamilyRegistry(Registry[FamilyFactory]):
    """Task families by name; `add` takes those of the program at hand.

    Args:
        built_in: per extra, with "" for no extra, the place ("module:Class") of every family by name.
    """

    def __init__(self, built_in: Mapping[str, Mapping[str, str]]) -> None:
        super().__init__("task family")
        self._places = {name: place for families in built_in.values() for name, place in families.items()}
        self._extras = {name: extra for extra, families in built_in.items() for name in families}

    def add(self, name: str, entry: FamilyFactory) -> FamilyFactory:
        if name in self._places:
            raise ValueError(f"{self.kind} {name!r} is registered twice")
        return super().add(name, entry)

    def __iter__(self) -> Iterator[str]:
        """The names: built-in families, whether or not their extra is installed, then plug-ins and added ones."""
        return iter(dict.fromkeys((*self._places, *self._plug_ins(), *self._entries)))

    def __contains__(self, name: str) -> bool:
        return name in set(self)

    def __getitem__(self, name: str) -> FamilyFactory:
        """The class of that name.

        Raises:
            UsageError: for an unknown name, which lists the choices, a place that holds no family, or a missing extra.
        """
        if name in self._entries:
            return self._entries[name]
        if name in self._places:
            return self._built_in(name)
        if ":" in name:
            return _checked(name, load_place(name))
        if plug_in := self._plug_ins().get(name):
            return _checked(name, _load_plug_in(plug_in))
        if name.endswith(".py"):
            raise UsageError(f"{name} names no class: expected {name}:Class{_defines(_load_file(Path(name)))}")
        raise UsageError(
            f"unknown {self.kind} {name!r}{did_you_mean(name, self)}; `icrl tasks` lists them, and your own is "
            "package.module:Class or path/file.py:Class"
        )

    def extra(self, name: str) -> str:
        """The extra that a built-in family needs: "mujoco", or "" for none."""
        return self._extras.get(name, "")

    def is_added(self, name: str) -> bool:
        """Whether only this process knows the name: another one would have to be told."""
        return name in self._entries

    def is_place(self, name: str) -> bool:
        """Whether asking for the name runs a file or module that it names, rather than what is installed or added."""
        return name not in self._entries and is_place(name)

    def is_built_in(self, name: str) -> bool:
        return name in self._places

    def _built_in(self, name: str) -> FamilyFactory:
        module, _, attribute = self._places[name].partition(":")
        try:
            return getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            if not (extra := self._extras[name]) or (error.name or "").split(".")[0] == "icrl":
                raise
            raise MissingExtra(
                f"{name} needs {error.name}, which is not installed: pip install 'icrl[{extra}]'"
            ) from None

    def hidden(self) -> list[str]:
        """Plug-ins that nobody can name, since built-in families have their names."""
        return [name for name in self._plug_ins() if name in self._places]

    @staticmethod
    def _plug_ins() -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def _load_plug_in(point: EntryPoint) -> Any:
    try:
        add_own_code(point.module.partition(".")[0])
        return point.load()
    except Exception as error:
        package = f" of {point.dist.name}" if point.dist else ""
        raise UsageError(
            f"the entry point {point.name} = {point.value}{package} cannot be loaded: {in_one_line(error)}"
        ) from error


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
        UsageError: where it is not to be found, with the way to name it anew.
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


def load_place(place: str) -> Any:
    """What stands at `package.module:Name` or `path/file.py:Name`; raises UsageError where nothing does."""
    where, _, attribute = place.rpartition(":")
    module = _load_file(Path(where)) if where.endswith(".py") else _import(where)
    if not hasattr(module, attribute):
        raise UsageError(f"{where} has no {attribute!r}{_defines(module)}")
    return getattr(module, attribute)


def _defines(module: ModuleType) -> str:
    """ " (it defines Corridor)": the families of a module, where it has any."""
    own = [
        name for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, TaskFamily) and value.__module__ == module.__name__
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


def _load_file(path: Path) -> ModuleType:
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


def _checked(name: str, found: Any) -> FamilyFactory:
    if not (isinstance(found, type) and issubclass(found, TaskFamily)):
        raise UsageError(f"{name} is no task family: expected a subclass of icrl.tasks.TaskFamily, got {found!r}")
    return found
