"""A registry of named things: it refuses duplicates, and an unknown name lists the choices."""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from icrl.errors import UsageError, did_you_mean

T = TypeVar("T")


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
