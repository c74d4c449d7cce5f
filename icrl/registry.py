"""A registry of named things: it refuses duplicates, and an unknown name lists the choices.

In a `PlaceRegistry` a name is one of

- a built-in one, `dark-room`; its module is imported when it is first asked for, and may need an extra;
- an entry point of the registry's group of an installed package;
- `package.module:Class`, anything that Python can import from here;
- `path/file.py:Class`, a file; a relative path counts from the working directory.
"""

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar

from icrl.errors import UsageError, did_you_mean
from icrl.own_code import add_own_code, in_one_line
from icrl.places import Accepts, defines, is_place, load_file, load_place

T = TypeVar("T")


class MissingExtra(UsageError):
    """The package that a built-in name needs is not installed."""


class Registry(Generic[T]):
    """Names of one kind, such as task families or source learners.

    Args:
        kind: what a name stands for, used in messages ("task family").
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def add(self, name: str, entry: T) -> T:
        """Adds `entry` under `name`; raises ValueError where the name is taken."""
        if name in self._entries:
            raise ValueError(f"{self.kind} {name!r} is registered twice")
        self._entries[name] = entry
        return entry

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator form of `add`."""
        return lambda entry: self.add(name, entry)

    def __getitem__(self, name: str) -> T:
        """The entry of that name; raises UsageError, which lists the choices."""
        if name not in self._entries:
            hint = did_you_mean(name, self._entries)
            raise UsageError(f"unknown {self.kind} {name!r}{hint}; choose from {', '.join(self._entries)}")
        return self._entries[name]

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)


class PlaceRegistry(Registry[T]):
    """Classes by name, whose modules are loaded when they are asked for; `add` takes those of the program at hand.

    Args:
        kind: what a name stands for, used in messages ("task family").
        group: of the entry points through which installed packages name their own.
        built_in: per extra, with "" for no extra, the place ("module:Class") of every built-in one by name.
        accepts: whether a class is of this kind; expected: that in words ("a subclass of icrl.tasks.TaskFamily").
        listing: what a message says of the choices, where these are too many for it.
    """

    def __init__(
        self,
        kind: str,
        group: str,
        built_in: Mapping[str, Mapping[str, str]],
        accepts: Accepts,
        expected: str,
        listing: str = "",
    ) -> None:
        super().__init__(kind)
        self.group, self._accepts, self._expected, self._listing = group, accepts, expected, listing
        self._places = {name: place for names in built_in.values() for name, place in names.items()}
        self._extras = {name: extra for extra, names in built_in.items() for name in names}

    def add(self, name: str, entry: T) -> T:
        if name in self._places:
            raise ValueError(f"{self.kind} {name!r} is registered twice")
        return super().add(name, entry)

    def __iter__(self) -> Iterator[str]:
        """The names: built-in ones, whether or not their extra is installed, then plug-ins and added ones."""
        return iter(dict.fromkeys((*self._places, *self._plug_ins(), *self._entries)))

    def __contains__(self, name: str) -> bool:
        return name in set(self)

    def __getitem__(self, name: str) -> T:
        """The class of that name.

        Raises:
            UsageError: for an unknown name, which lists the choices, a place that holds nothing of this kind, or a
                missing extra.
        """
        if name in self._entries:
            return self._entries[name]
        if name in self._places:
            return self._built_in(name)
        if ":" in name:
            return self._checked(name, load_place(name, self._accepts))
        if plug_in := self._plug_ins().get(name):
            return self._checked(name, _load_plug_in(plug_in))
        if name.endswith(".py"):
            found = defines(load_file(Path(name)), self._accepts)
            raise UsageError(f"{name} names no class: expected {name}:Class{found}")
        raise UsageError(
            f"unknown {self.kind} {name!r}{did_you_mean(name, self)}; "
            f"{self._listing or 'choose from ' + ', '.join(self)}, and your own is package.module:Class or "
            "path/file.py:Class"
        )

    def extra(self, name: str) -> str:
        """The extra that a built-in one needs: "mujoco", or "" for none."""
        return self._extras.get(name, "")

    def is_added(self, name: str) -> bool:
        """Whether only this process knows the name: another one would have to be told."""
        return name in self._entries

    def is_place(self, name: str) -> bool:
        """Whether asking for the name runs a file or module that it names, rather than what is installed or added."""
        return name not in self._entries and is_place(name)

    def is_built_in(self, name: str) -> bool:
        return name in self._places

    def hidden(self) -> list[str]:
        """Plug-ins that nobody can name, since built-in ones have their names."""
        return [name for name in self._plug_ins() if name in self._places]

    def _built_in(self, name: str) -> T:
        module, _, attribute = self._places[name].partition(":")
        try:
            return getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            if not (extra := self._extras[name]) or (error.name or "").split(".")[0] == "icrl":
                raise
            raise MissingExtra(
                f"{name} needs {error.name}, which is not installed: pip install 'icrl[{extra}]'"
            ) from None

    def _checked(self, name: str, found: Any) -> T:
        if not (isinstance(found, type) and self._accepts(found)):
            raise UsageError(f"{name} is no {self.kind}: expected {self._expected}, got {found!r}")
        return found

    def _plug_ins(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self.group)}


def _load_plug_in(point: EntryPoint) -> Any:
    try:
        add_own_code(point.module.partition(".")[0])
        return point.load()
    except Exception as error:
        package = f" of {point.dist.name}" if point.dist else ""
        raise UsageError(
            f"the entry point {point.name} = {point.value}{package} cannot be loaded: {in_one_line(error)}"
        ) from error
